"""Resampling, grids, scatters, regions and boxes: against torch, ml_dtypes, and plain loops."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from minidnn.errors import OpError, ShapeError, SizeError, TypeMismatchError
from minidnn.ops import get_op

Array = np.ndarray[Any, Any]
RNG = np.random.default_rng(9)


def reference(op: str, *arrays: Any, **attrs: Any) -> Array:
    found = get_op(op)
    (result, *_) = found.compute(found.make_attrs(attrs), *map(np.asarray, arrays))
    return result


def normal(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("size", [3, 7, 13, 16])
@pytest.mark.parametrize(
    ("mode", "coordinates", "options"),
    [
        ("nearest", "asymmetric", {}),
        ("linear", "pytorch_half_pixel", {"align_corners": False}),
        ("linear", "align_corners", {"align_corners": True}),
        ("cubic", "pytorch_half_pixel", {"align_corners": False}),
        ("cubic", "align_corners", {"align_corners": True}),
        ("linear", "antialias", {"align_corners": False, "antialias": True}),
    ],
)
def test_resampling_agrees_with_torch(size: int, mode: str, coordinates: str, options: dict[str, Any]) -> None:
    x = normal(2, 3, 8, 8)
    named = {"linear": "bilinear", "cubic": "bicubic"}.get(mode, mode)
    wanted = F.interpolate(torch.from_numpy(x), size=(size, 8), mode=named, **options).numpy()
    attrs: dict[str, Any] = {"mode": mode, "coordinates": coordinates, "rounding": "floor"}
    if coordinates == "antialias":
        attrs |= {"coordinates": "half_pixel", "antialias": True, "exclude_outside": True}
    got = reference("resample", x, axis=2, size=size, scale=size / 8, **attrs)
    np.testing.assert_allclose(got, wanted, 1e-4, 1e-5)


def test_resampling_refuses_what_it_cannot_do() -> None:
    with pytest.raises(OpError, match="scale must be positive, got 0"):
        reference("resample", normal(2, 2), axis=0, size=2, scale=0)
    with pytest.raises(ShapeError, match="resample: axis must lie in"):
        reference("resample", normal(2, 2), axis=2, size=2, scale=1)
    with pytest.raises(ShapeError, match="data must not be empty"):
        reference("resample", normal(2, 0), axis=1, size=2, scale=1)


@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize(("mode", "rank"), [("linear", 2), ("nearest", 2), ("cubic", 2), ("linear", 3), ("nearest", 3)])
def test_grids_agree_with_torch(mode: str, rank: int, padding: str, align: bool) -> None:
    x = normal(2, 3, *(5, 6, 4)[:rank])
    grid = RNG.uniform(-1.6, 1.6, (2, *(4, 5, 3)[:rank], rank)).astype(np.float32)
    named = {"linear": "bilinear", "cubic": "bicubic"}.get(mode, mode)
    wanted = F.grid_sample(torch.from_numpy(x), torch.from_numpy(grid), named, padding, align_corners=align).numpy()
    got = reference("grid_sample", x, grid, mode=mode, padding=padding, align_corners=align)
    np.testing.assert_allclose(got, wanted, 1e-3, 1e-4)


@pytest.mark.parametrize("how", ["none", "add", "mul", "max", "min"])
def test_scatters_agree_with_torch(how: str) -> None:
    data, updates = normal(5, 4), normal(3, 4)
    # Each place once, where the order of writing would decide.
    indices = np.stack([RNG.permutation(5)[:3] for _ in range(4)], 1)
    if how != "none":
        indices[1] = indices[0]
    named = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}
    base = torch.from_numpy(data.copy())
    places, values = torch.from_numpy(indices), torch.from_numpy(updates)
    if how == "none":
        wanted = base.scatter(0, places, values)
    else:
        wanted = base.scatter_reduce(0, places, values, named[how], include_self=True)
    got = reference("scatter_elements", data, indices, updates, axis=0, reduction=how)
    np.testing.assert_allclose(got, wanted.numpy(), 1e-6)
    np.testing.assert_allclose(reference("scatter_elements", data, indices - 5, updates, reduction=how), got)


def test_points_are_written_row_by_row() -> None:
    data, indices = np.zeros((3, 4, 2), np.int64), np.array([[0, 1], [2, 3], [0, 1]])
    updates = np.arange(6).reshape(3, 2)
    got = reference("scatter_points", data, indices, updates, reduction="add")
    wanted = data.copy()
    for place, row in zip(indices, updates, strict=True):
        wanted[tuple(place)] += row
    assert got.tolist() == wanted.tolist()
    with pytest.raises(OpError, match=r"indices along axis 1 must lie in \[-4, 4\), got 1..4"):
        reference("scatter_points", data, np.array([[0, 1], [2, 4], [0, 1]]), updates)
    with pytest.raises(ShapeError, match="updates must have shape"):
        reference("scatter_points", data, indices, updates[:2])
    with pytest.raises(TypeMismatchError, match="updates must be int64 like data"):
        reference("scatter_points", data, indices, updates.astype(np.int32))
    with pytest.raises(OpError, match="reduction add of bools"):
        reference("scatter_points", data.astype(bool), indices, updates.astype(bool), reduction="add")


def test_columns_become_an_image_as_in_torch() -> None:
    x = normal(2, 3 * 6, 20)
    attrs: dict[str, Any] = {"kernel": (2, 3), "stride": (1, 1), "dilate": (2, 1), "pad": (1, 0, 1, 0)}
    wanted = F.fold(torch.from_numpy(x), (5, 6), (2, 3), (2, 1), (1, 0), (1, 1)).numpy()
    np.testing.assert_allclose(reference("columns_to_image", x, image=(5, 6), **attrs), wanted, 1e-5, 1e-6)
    with pytest.raises(ShapeError, match="columns_to_image: 6 taps"):
        reference("columns_to_image", x, image=(5, 7), **attrs)


@pytest.mark.parametrize("dtype", ["float32", "int8", "uint8"])
def test_places_of_the_largest_agree_with_torch(dtype: str) -> None:
    x = (normal(2, 3, 9, 8) * 20).astype(dtype)
    wanted = F.max_pool2d(torch.from_numpy(x.astype(np.float32)), (3, 2), (2, 1), (1, 0), (1, 2), return_indices=True)[
        1
    ]
    attrs: dict[str, Any] = {"kernel": (3, 2), "stride": (2, 1), "dilate": (1, 2), "pad": (1, 1, 0, 0)}
    got = reference("max_pool_indices", x, **attrs)
    first = np.arange(6).reshape(2, 3, 1, 1) * 72
    assert (got - first).tolist() == wanted.tolist()


def test_a_deformed_convolution_without_offsets_is_a_convolution() -> None:
    x, weight, offset = normal(2, 4, 6, 7), normal(6, 2, 3, 3), np.zeros((2, 36, 3, 7), np.float32)
    attrs: dict[str, Any] = {"stride": (2, 1), "dilate": (1, 1), "pad": (1, 1, 1, 1), "num_group": 2, "offset_group": 2}
    wanted = F.conv2d(torch.from_numpy(x), torch.from_numpy(weight), None, (2, 1), (1, 1), 1, 2).numpy()
    np.testing.assert_allclose(reference("deformable_sampling", x, weight, offset, **attrs), wanted, 1e-4, 1e-4)
    mask = np.full((2, 18, 3, 7), 0.5, np.float32)
    got = reference("deformable_sampling", x, weight, offset, mask, has_mask=True, **attrs)
    np.testing.assert_allclose(got, wanted / 2, 1e-4, 1e-4)
    # A whole pixel to the right is the picture moved to the left.
    offset[:, 1::2] = 1
    moved = np.pad(x, [(0, 0)] * 3 + [(0, 1)])[..., 1:]
    padded = torch.from_numpy(np.concatenate([x[..., :1], moved], -1))
    wanted = F.conv2d(padded, torch.from_numpy(weight), None, (2, 1), (1, 0), 1, 2).numpy()
    got = reference("deformable_sampling", x, weight, offset, **{**attrs, "pad": (1, 1, 1, 1)})
    np.testing.assert_allclose(got[..., :5], wanted[..., :5], 1e-4, 1e-4)


@pytest.mark.parametrize(
    "kind", ["float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz"]
)
def test_narrow_floats_round_as_ml_dtypes_does(kind: str) -> None:
    dtype = np.dtype(np.float16 if kind == "float16" else getattr(ml_dtypes, kind))
    largest = float(ml_dtypes.finfo(dtype).max)
    x = np.concatenate([RNG.normal(size=500) * 10.0 ** RNG.integers(-8, 3, 500), [0.0, largest, -largest, np.nan]])
    x = x.astype(np.float32)
    x = x[~(np.abs(x) > largest)]
    wanted = x.astype(dtype).astype(np.float32)
    np.testing.assert_array_equal(reference("round_float", x, kind=kind), wanted)
    limits = np.array([largest, -largest], np.float64) * 4
    beyond = reference("round_float", limits, kind=kind, saturate=True)
    is_byte = kind.startswith("float8")
    assert beyond.tolist() == ([largest, -largest] if is_byte else [np.inf, -np.inf])


def test_bits() -> None:
    x = np.float32([1.0, -0.0])
    assert reference("view_bits", x, dtype="int32").tolist() == x.view(np.int32).tolist()
    with pytest.raises(OpError, match="different sizes"):
        reference("view_bits", x, dtype="int64")


def test_values_that_a_graph_was_made_for() -> None:
    x = np.array([[1.0, np.nan]])
    assert reference("expect_values", x, expected=(1.0, np.nan), shape=(1, 2)).tolist()[0][0] == 1
    for other in ([[1.0, 2.0]], [[1.0]]):
        with pytest.raises(SizeError, match="the graph was made for"):
            reference("expect_values", np.array(other), expected=(1.0, np.nan), shape=(1, 2))


# ---- detection --------------------------------------------------------------------------------------------


def suppressed(boxes: Array, scores: Array, most: int, overlap: float, least: float) -> list[list[int]]:
    """Greedy selection, box by box."""
    found = []
    for n in range(len(boxes)):
        for kind in range(scores.shape[1]):
            kept: list[int] = []
            for i in np.argsort(-scores[n, kind], kind="stable"):
                is_free = all(intersection_over_union(boxes[n, i], boxes[n, j]) <= overlap for j in kept)
                if scores[n, kind, i] > least and len(kept) < most and is_free:
                    kept.append(int(i))
            found += [[n, kind, i] for i in kept]
    return found


def intersection_over_union(a: Array, b: Array) -> float:
    height, width = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(height, 0) * max(width, 0)
    areas = [(c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)]
    return float(common / (sum(areas) - common))


def kept_boxes(boxes: Array, scores: Array, **attrs: Any) -> list[list[int]]:
    """The rows that there are; what lies behind them is zero."""
    op = get_op("non_max_suppression")
    rows, count = op.compute(op.make_attrs(attrs), boxes, scores)
    assert not rows[count[0] :].any()
    return rows[: count[0]].tolist()


def test_boxes_that_overlap_others_are_left_out() -> None:
    corner = RNG.uniform(0, 5, (2, 20, 2))
    boxes = np.concatenate([corner, corner + RNG.uniform(1, 4, (2, 20, 2))], -1)
    scores = RNG.uniform(size=(2, 3, 20))
    attrs: dict[str, Any] = {"max_boxes": 6, "iou_threshold": 0.3, "score_threshold": 0.2}
    wanted = suppressed(boxes, scores, 6, 0.3, 0.2)
    assert kept_boxes(boxes, scores, **attrs) == wanted
    flipped = boxes[..., [2, 3, 0, 1]]
    assert kept_boxes(flipped, scores, **attrs) == wanted
    middle, size = (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]
    centered = np.concatenate([middle, size], -1)
    assert kept_boxes(centered, scores, center_point=True, **attrs) == wanted
    assert reference("non_max_suppression", boxes, scores, max_boxes=0).shape == (0, 3)


def test_regions_of_whole_pixels() -> None:
    x = normal(2, 3, 8, 8)
    rois = np.float32([[0, 0, 3, 4], [4, 4, 7, 7]])
    # Without a shift, sampling points in the middles of bins of two pixels lie between four of them.
    got = reference("roi_align", x, rois, np.array([0, 1]), pooled=(2, 2), samples=1, aligned=False)
    for region, (roi, n) in enumerate(zip(rois, (0, 1), strict=True)):
        left, top, right, bottom = roi
        for i in range(2):
            for j in range(2):
                at = torch.tensor([top + (bottom - top) * (i + 0.5) / 2, left + (right - left) * (j + 0.5) / 2])
                grid = (at.flip(0) * 2 / 7 - 1).reshape(1, 1, 1, 2).float()
                wanted = F.grid_sample(torch.from_numpy(x[n : n + 1]), grid, align_corners=True)[0, :, 0, 0]
                np.testing.assert_allclose(got[region, :, i, j], wanted.numpy(), 1e-4, 1e-5)
    with pytest.raises(OpError, match=r"batch_indices must lie in \[0, 2\)"):
        reference("roi_align", x, rois, np.array([0, 2]), pooled=(2, 2))
    pooled = reference("max_roi_pool", x, np.float32([[1, 2, 1, 5, 6]]), pooled=(1, 1))
    np.testing.assert_array_equal(pooled[0, :, 0, 0], x[1, :, 1:7, 2:6].max((1, 2)))
    with pytest.raises(OpError, match="region 0 is of sample 2"):
        reference("max_roi_pool", x, np.float32([[2, 0, 0, 1, 1]]), pooled=(1, 1))
