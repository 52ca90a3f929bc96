"""Boxes, anchors and detections against loops written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from npx_helpers import both

import minidnn as mx
from minidnn.errors import OpError

npx = mx.npx
RNG = np.random.default_rng(7)


def boxes(*shape: int) -> np.ndarray:
    low = RNG.uniform(0, 0.6, (*shape, 2))
    return np.concatenate([low, low + RNG.uniform(0.05, 0.4, (*shape, 2))], -1).astype(np.float32)


def iou(a, b) -> float:
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    common = max(w, 0) * max(h, 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common
    return common / union if union > 0 else 0.0


def centers(b: np.ndarray) -> np.ndarray:
    return np.concatenate([(b[..., :2] + b[..., 2:]) / 2, b[..., 2:] - b[..., :2]], -1)


def test_box_iou_of_all_pairs():
    a, b = boxes(2, 3), boxes(5)
    wanted = [[[iou(p, q) for q in b] for p in row] for row in a]
    np.testing.assert_allclose(
        both(npx.box_iou, mx.np.array(a), mx.np.array(b)).asnumpy(), wanted, rtol=1e-4, atol=1e-6
    )
    got = npx.box_iou(mx.np.array(centers(a)), mx.np.array(centers(b)), format="center").asnumpy()
    np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-6)
    empty = mx.np.array([[0.5, 0.5, 0.5, 0.5]])
    assert npx.box_iou(empty, empty).asnumpy().tolist() == [[0.0]]
    with pytest.raises(OpError, match="box_iou: lhs must have four numbers"):
        npx.box_iou(mx.np.zeros((2, 3)), mx.np.zeros((2, 4)))


def nms(rows, thresh, valid=0.0, topk=-1, ids=-1, background=-1, force=False):
    """Rows (score at 1, corners from 2 on) that are left, the best first."""
    rows = [r for r in rows if r[1] > valid and not (ids >= 0 and background >= 0 and r[ids] == background)]
    rows = sorted(rows, key=lambda r: -r[1])
    rows = rows[:topk] if topk > 0 else rows
    kept: list = []
    for r in rows:
        rivals = [k for k in kept if force or ids < 0 or k[ids] == r[ids]]
        if all(iou(k[2:6], r[2:6]) <= thresh for k in rivals):
            kept.append(r)
    return kept


@pytest.mark.parametrize(
    "options",
    [{}, {"topk": 6}, {"id_index": 0}, {"id_index": 0, "background_id": 1}, {"id_index": 0, "force_suppress": True},
     {"valid_thresh": 0.4}],
)  # fmt: skip
def test_box_nms_keeps_what_a_loop_keeps(options):
    data = np.concatenate(
        [RNG.integers(0, 3, (2, 12, 1)), RNG.permutation(24).reshape(2, 12, 1) / 24, boxes(2, 12)], -1
    ).astype(np.float32)
    got = both(lambda x: npx.box_nms(x, overlap_thresh=0.2, **options), mx.np.array(data)).asnumpy()
    names = {"valid_thresh": "valid", "topk": "topk", "id_index": "ids", "background_id": "background"}
    names |= {"force_suppress": "force"}
    for sample, rows in zip(got, data, strict=True):
        wanted = nms(list(rows), 0.2, **{names[k]: v for k, v in options.items()})
        np.testing.assert_array_equal(sample[: len(wanted)], wanted)
        assert (sample[len(wanted) :] == -1).all()


def test_box_nms_in_other_formats_and_places():
    rows = np.array([[0.1, 0.1, 0.3, 0.3, 0.9], [0.1, 0.1, 0.3, 0.29, 0.8], [0.6, 0.6, 0.9, 0.9, 0.7]], np.float32)
    place = {"coord_start": 0, "score_index": 4}
    got = npx.box_nms(mx.np.array(rows), **place, out_format="center").asnumpy()
    np.testing.assert_allclose(got[:2], [[0.2, 0.2, 0.2, 0.2, 0.9], [0.75, 0.75, 0.3, 0.3, 0.7]], rtol=1e-5)
    assert (got[2] == -1).all()
    back = npx.box_nms(mx.np.array(got), **place, in_format="center").asnumpy()
    np.testing.assert_allclose(back[:2], rows[[0, 2]], rtol=1e-5)
    with pytest.raises(OpError, match="box_nms: coord_start=3 does not fit rows of 6 numbers"):
        npx.box_nms(mx.np.zeros((2, 6)), coord_start=3)


def test_bipartite_matching_pairs_the_best():
    x = mx.np.array([[0.5, 0.6], [0.1, 0.2], [0.3, 0.4]])
    rows, columns = both(lambda s: npx.bipartite_matching(s, threshold=1e-12), x)
    assert rows.asnumpy().tolist() == [1, -1, 0]
    assert columns.asnumpy().tolist() == [2, 0]
    rows, columns = npx.bipartite_matching(x, threshold=0.45, is_ascend=True, topk=1)
    assert rows.asnumpy().tolist() == [-1, 0, -1]
    assert columns.asnumpy().tolist() == [1, -1]


def test_boxes_are_encoded_and_decoded():
    anchors, refs = boxes(1, 4), boxes(2, 3)
    samples = np.array([[1, 0, -1, 1], [1, 1, 0, 0]], np.float32)
    matches = np.array([[0, 1, 2, 2], [1, 0, 0, 2]], np.float32)
    means, stds = np.array([0, 0.1, 0, 0.2], np.float32), np.array([0.1, 0.1, 0.2, 0.2], np.float32)
    every = np.broadcast_to(anchors, (2, 4, 4)).copy()
    targets, mask = both(npx.box_encode, *map(mx.np.array, (samples, matches, every, refs, means, stds)))
    for b in range(2):
        for n in range(4):
            a, r = centers(anchors[0, n]), centers(refs[b, int(matches[b, n])])
            moved = [(r[0] - a[0]) / a[2], (r[1] - a[1]) / a[3], math.log(r[2] / a[2]), math.log(r[3] / a[3])]
            wanted = (np.array(moved) - means) / stds if samples[b, n] > 0.5 else np.zeros(4)
            np.testing.assert_allclose(targets.asnumpy()[b, n], wanted, rtol=1e-3, atol=1e-4)
            assert mask.asnumpy()[b, n].tolist() == [float(samples[b, n] > 0.5)] * 4

    def decode(t, a):
        return npx.box_decode(t + mx.np.array(means / stds), a, 0.1, 0.1, 0.2, 0.2, format="corner")

    found = both(decode, targets, mx.np.array(anchors)).asnumpy()
    for b, n in ((0, 0), (0, 3), (1, 0), (1, 1)):
        np.testing.assert_allclose(found[b, n], refs[b, int(matches[b, n])], rtol=1e-3, atol=1e-5)
    far = mx.np.full((1, 1, 4), 9.0)
    got = npx.box_decode(far, mx.np.array([[[0.5, 0.5, 0.2, 0.2]]]), clip=1.0).asnumpy()[0, 0]
    np.testing.assert_allclose(got[2:] - got[:2], 0.2 * math.e, rtol=1e-5)


def test_anchors_of_a_feature_map():
    x = mx.np.zeros((1, 2, 3, 4))
    got = both(lambda d: npx.multibox_prior(d, sizes=(0.5, 0.3), ratios=(1, 2), clip=True), x).asnumpy()
    assert got.shape == (1, 36, 4)
    wanted = []
    for i in range(3):
        for j in range(4):
            cx, cy = (j + 0.5) / 4, (i + 0.5) / 3
            for size, ratio in ((0.5, 1), (0.3, 1), (0.5, 2)):
                w, h = size * 3 / 4 * math.sqrt(ratio) / 2, size / math.sqrt(ratio) / 2
                wanted.append([cx - w, cy - h, cx + w, cy + h])
    np.testing.assert_allclose(got[0], np.clip(wanted, 0, 1), rtol=1e-5, atol=1e-6)
    moved = npx.multibox_prior(x, sizes=0.1, steps=(0.5, 0.25), offsets=(0, 0)).asnumpy().reshape(3, 4, 4)
    np.testing.assert_allclose(moved[2, 3], [0.75 - 0.0375, 0.95, 0.75 + 0.0375, 1.05], rtol=1e-5)
    with pytest.raises(OpError, match="multibox_prior: sizes must be positive"):
        npx.multibox_prior(x, sizes=(0.0,))


def test_targets_of_anchors():
    anchors = np.array([[[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1], [0, 0, 0.45, 0.5], [0.1, 0.6, 0.3, 0.9]]], np.float32)
    label = np.array([[[2, 0, 0, 0.5, 0.48], [-1, 0, 0, 0, 0]], [[-1] * 5, [-1] * 5]], np.float32)
    scores = np.zeros((2, 4, 4), np.float32)
    scores[0, 0] = [0, 3, 0, -2]
    feed = [mx.np.array(v) for v in (anchors, label, scores)]
    moved, mask, kinds = both(npx.multibox_target, *feed)
    assert kinds.asnumpy().tolist() == [[3, 0, 3, 0], [-1] * 4]
    assert mask.asnumpy()[0].tolist() == [1] * 4 + [0] * 4 + [1] * 4 + [0] * 4
    np.testing.assert_allclose(
        moved.asnumpy()[0, :4], [0, -0.01 / 0.5 / 0.1, 0, math.log(0.96) / 0.2], rtol=1e-4, atol=1e-6
    )
    assert not moved.asnumpy()[1].any()
    mined = npx.multibox_target(*feed, negative_mining_ratio=0.5)[2].asnumpy()
    assert mined[0].tolist() == [3, -1, 3, 0]  # the one that is most wrong about the background


def test_detections_of_a_single_shot_detector():
    anchors = boxes(1, 6)
    scores = RNG.dirichlet([1, 1, 1], (2, 6)).transpose(0, 2, 1).astype(np.float32)
    moves = RNG.normal(0, 1, (2, 24)).astype(np.float32)
    feed = [mx.np.array(v) for v in (scores, moves, anchors)]
    got = both(lambda *a: npx.multibox_detection(*a, threshold=0.2, nms_threshold=0.3), *feed).asnumpy()
    for b in range(2):
        rows = []
        for n in range(6):
            kind = int(scores[b, 1:, n].argmax())
            a, m = centers(anchors[0, n]), moves[b].reshape(6, 4)[n] * [0.1, 0.1, 0.2, 0.2]
            at, half = m[:2] * a[2:] + a[:2], np.exp(m[2:]) * a[2:] / 2
            if scores[b, kind + 1, n] >= 0.2:
                rows.append([kind, scores[b, kind + 1, n], *np.clip([*(at - half), *(at + half)], 0, 1)])
        rows.sort(key=lambda r: -r[1])
        kept = nms(rows, 0.3, ids=0)
        np.testing.assert_allclose(got[b, : len(rows), 1:], np.array(rows)[:, 1:], rtol=1e-4, atol=1e-5)
        shown = got[b][got[b, :, 0] >= 0]
        np.testing.assert_allclose(shown, kept, rtol=1e-4, atol=1e-5)
        assert (got[b, len(rows) :] == -1).all()


def test_regions_are_pooled():
    x = RNG.normal(size=(2, 3, 8, 9)).astype(np.float32)
    rois = np.array([[1, 0, 0, 15, 13], [0, 4, 2, 9, 9]], np.float32)
    got = both(lambda d, r: npx.roi_pooling(d, r, (2, 3), 0.5), mx.np.array(x), mx.np.array(rois)).asnumpy()
    # From (0, 0) to (8, 7), both rounded up from a half and within: bins of 3 by 4 pixels.
    np.testing.assert_array_equal(got[0, :, 0, 0], x[1, :, 0:4, 0:3].max((1, 2)))
    np.testing.assert_array_equal(got[0, :, 1, 2], x[1, :, 4:8, 6:9].max((1, 2)))
    aligned = both(lambda d, r: npx.roi_align(d, r, (1, 1), 1.0, 1), mx.np.array(x), mx.np.array(rois)).asnumpy()
    # One point in the middle of a region: (7.5, 6.5), between four pixels.
    np.testing.assert_allclose(aligned[0, :, 0, 0], x[1, :, 6:8, 7:9].mean((1, 2)), rtol=1e-5)
