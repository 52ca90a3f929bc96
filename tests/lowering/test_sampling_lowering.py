"""Kernels that read pictures at computed positions, against the references, PyTorch and ONNX's evaluator."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from onnx_evaluator import by_onnx
from small_graphs import Array, compared, compiled, fuse, inner, node, normal, run, steps

from minidnn.errors import OpError
from minidnn.ir.graph import Graph, make_variable
from minidnn.lowering.values import CHANNELS_LAST, PLAIN
from minidnn.ops import get_op

RNG = np.random.default_rng(5)
TOLERANCES = {"float32": 1e-4, "float64": 1e-9, "float16": 1e-2}
TYPES = pytest.mark.parametrize("dtype", list(TOLERANCES))


# ---- grids -----------------------------------------------------------------------------------------------


@TYPES
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["linear", "nearest", "cubic"])
def test_grids(mode: str, padding: str, dtype: str) -> None:
    for align, layout, channels in ((False, PLAIN, 19), (True, CHANNELS_LAST, 3)):
        x, grid = RNG.normal(size=(2, channels, 6, 5)).astype(dtype), RNG.uniform(-1.7, 1.7, (2, 7, 3, 2)).astype(dtype)
        attrs: dict[str, Any] = {"mode": mode, "padding": padding, "align_corners": align}
        feed = {"x": x, "grid": grid}
        (got,) = compared("grid_sample", feed, (), {"x": layout}, TOLERANCES[dtype], **attrs)
        named = {"linear": "bilinear", "cubic": "bicubic"}.get(mode, mode)
        given = (torch.from_numpy(a.astype(np.float32)) for a in (x, grid))
        wanted = torch.nn.functional.grid_sample(*given, mode=named, padding_mode=padding, align_corners=align)
        np.testing.assert_allclose(got, wanted.numpy(), atol=max(TOLERANCES[dtype], 1e-4))


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["linear", "nearest"])
def test_grids_in_volumes(mode: str, padding: str) -> None:
    x, grid = normal(2, 3, 4, 1, 5), RNG.uniform(-1.7, 1.7, (2, 3, 2, 4, 3)).astype(np.float32)
    (got,) = compared("grid_sample", {"x": x, "grid": grid}, mode=mode, padding=padding)
    named = "bilinear" if mode == "linear" else mode
    given = (torch.from_numpy(a) for a in (x, grid))
    wanted = torch.nn.functional.grid_sample(*given, mode=named, padding_mode=padding, align_corners=False).numpy()
    np.testing.assert_allclose(got, wanted, atol=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["linear", "nearest", "cubic"])
def test_positions_that_are_nowhere(mode: str, padding: str, dtype: str) -> None:
    x, grid = normal(1, 5, 4, 6).astype(dtype), np.zeros((1, 3, 4, 2), dtype)
    grid.reshape(-1)[:14] = [np.nan, 0, np.inf, 0.1, 0, -np.inf, 1e30, 0, -1e30, 0, 2e9, 0, 37, -1e5]
    for align in (False, True):
        compared("grid_sample", {"x": x, "grid": grid}, mode=mode, padding=padding, align_corners=align)


# ---- regions ---------------------------------------------------------------------------------------------

ROIS = [[0, 0, 10, 10], [-5, -4, 3, 2], [5, 5, 40, 30], [8, 8, 8, 8], [9, 9, 3, 2], [1.5, 2.25, 1.75, 9.5]]
PICTURES = np.array([0, 1, 1, 0, 1, 0])


@TYPES
@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("aligned", [False, True])
def test_aligned_regions(aligned: bool, mode: str, dtype: str) -> None:
    for samples, layout in ((0, PLAIN), (1, CHANNELS_LAST), (3, PLAIN)):
        x, rois = normal(2, 9, 13, 17).astype(dtype), np.array(ROIS, dtype)
        feed = {"x": x, "rois": rois, "pictures": PICTURES.astype("int32" if samples else "int64")}
        attrs: dict[str, Any] = {"scale": 0.5, "samples": samples, "mode": mode, "aligned": aligned}
        compared("roi_align", feed, (), {"x": layout}, TOLERANCES[dtype], pooled=(3, 2), **attrs)


@pytest.mark.parametrize("kind", ["output_half_pixel", "half_pixel"])
def test_aligned_regions_as_onnx_has_them(kind: str) -> None:
    x, rois = normal(2, 3, 13, 17), np.float32([[0, 0, 10, 10], [2, 3, 25, 20.5], [1.5, 2.25, 9.75, 9.5]])
    samples = np.array([1, 0, 1])
    feed = {"x": x, "rois": rois, "pictures": samples}
    (got,) = compared("roi_align", feed, pooled=(3, 2), scale=0.5, samples=2, aligned=kind == "half_pixel")
    wanted = by_onnx(
        "RoiAlign",
        [x, rois, samples],
        output_height=3,
        output_width=2,
        sampling_ratio=2,
        spatial_scale=0.5,
        coordinate_transformation_mode=kind,
    )
    np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_regions_of_more_pixels_than_a_kernel_has_taps() -> None:
    feed = {"x": normal(1, 20, 40, 50), "rois": np.float32([[0, 0, 50, 40], [0, 0, 2000, 9]]), "of": np.array([0, 0])}
    compared("roi_align", feed, pooled=(1, 2), samples=0)


@TYPES
def test_regions_of_whole_pixels(dtype: str) -> None:
    x = normal(2, 9, 13, 17).astype(dtype)
    x[0, 0, 2, 2] = np.nan
    rois = np.concatenate([PICTURES[:, None], ROIS], 1).astype(dtype)
    compared("max_roi_pool", {"x": x, "rois": rois}, pooled=(3, 2), scale=0.5)
    if dtype != "float16":
        far = np.array([[0, -1e20, 0, 1e20, 3], [0, 1e30, 3, 1e31, 5]], dtype)
        compared("max_roi_pool", {"x": x, "rois": far}, pooled=(3, 2))
    if dtype == "float32":
        inside = np.float32([[0, 0, 0, 9, 9], [1, 3, 2, 12, 11]])
        x = normal(2, 3, 13, 17)
        (got,) = compared("max_roi_pool", {"x": x, "rois": inside}, pooled=(2, 2))
        for region, (of, left, top, right, bottom) in enumerate(inside.astype(int)):
            crop = torch.from_numpy(x[of, :, top : bottom + 1, left : right + 1].copy())
            np.testing.assert_array_equal(got[region], torch.nn.functional.adaptive_max_pool2d(crop, 2).numpy())


@pytest.mark.parametrize("bad", [[0, 0, np.nan, 1], [0, np.inf, 1, 1], [-np.inf, 0, 1, 1], [0, 0, 1e9, 1]])
def test_regions_that_cannot_be_pooled(bad: list[float]) -> None:
    x, rois, of = normal(1, 2, 5, 5), np.float32([[0, 0, 2, 2], bad]), np.array([0, 0])
    _refused("roi_align", {"x": x, "rois": rois, "of": of}, "roi_align: region 1 is too large", pooled=(2, 2))
    if not np.isfinite(bad).all():
        numbered = np.concatenate([[[0], [0]], rois], 1).astype(np.float32)
        _refused("max_roi_pool", {"x": x, "rois": numbered}, "region 1 has no finite corners", pooled=(2, 2))


@pytest.mark.parametrize("number", [-1, 1, 2**31 - 1])
def test_regions_of_pictures_that_do_not_exist(number: int) -> None:
    x, rois = normal(1, 2, 5, 5), np.float32([[0, 0, 2, 2]])
    feed = {"x": x, "rois": rois, "of": np.array([number])}
    _refused("roi_align", feed, r"batch_indices must lie in \[0, 1\)", pooled=(2, 2))
    numbered = np.concatenate([[[number]], rois], 1).astype(np.float32)
    _refused("max_roi_pool", {"x": x, "rois": numbered}, "is of sample .*, data has 1", pooled=(2, 2))


def _refused(op: str, feed: dict[str, Array], message: str, **attrs: Any) -> None:
    """Both the kernel and the reference raise this."""
    program = compiled(Graph([node(op, *map(make_variable, feed), **attrs)]), feed)
    assert "host" not in steps(program)
    with pytest.raises(OpError, match=message):
        run(program, list(feed.values()))
    with pytest.raises(OpError, match=message):
        get_op(op).compute(get_op(op).make_attrs(attrs), *feed.values())


# ---- deformed convolutions -------------------------------------------------------------------------------


def _deformed(dtype: str, groups: int, offset_groups: int, masked: bool) -> dict[str, Array]:
    feed = {
        "x": RNG.normal(size=(2, 12, 7, 6)),
        "w": RNG.normal(size=(8, 12 // groups, 3, 2)),
        "offset": 2 * RNG.normal(size=(2, 12 * offset_groups, 4, 4)),
        "mask": RNG.uniform(size=(2, 6 * offset_groups, 4, 4)),
    }
    return {name: a.astype(dtype) for name, a in feed.items() if masked or name != "mask"}


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize(
    ("groups", "offset_groups", "masked"), [(1, 1, False), (2, 1, True), (2, 3, True), (4, 2, False)]
)
def test_deformed_convolutions(groups: int, offset_groups: int, masked: bool, dtype: str) -> None:
    feed = _deformed(dtype, groups, offset_groups, masked)
    attrs: dict[str, Any] = {"stride": (2, 1), "dilate": (1, 2), "num_group": groups, "offset_group": offset_groups}
    tolerance = 2e-2 if dtype == "float16" else 1e-4
    (got,) = compared("deformable_sampling", feed, ("w",), None, tolerance, pad=(1, 1, 0, 0), has_mask=masked, **attrs)
    if dtype == "float32":
        bias = np.zeros(8, np.float32)
        wanted = by_onnx(
            "DeformConv",
            [feed["x"], feed["w"], feed["offset"], bias, *([feed["mask"]] if masked else [])],
            strides=[2, 1],
            dilations=[1, 2],
            pads=[1, 0, 1, 0],
            group=groups,
            offset_group=offset_groups,
        )
        np.testing.assert_allclose(got, wanted, 1e-3, 1e-4)


def test_offsets_that_lead_nowhere() -> None:
    feed = _deformed("float32", 1, 1, True)
    feed["offset"].reshape(-1)[:6] = [np.nan, np.inf, -np.inf, 1e30, -1e30, 3e9]
    feed["mask"].reshape(-1)[50:53] = [np.nan, np.inf, 0]
    attrs: dict[str, Any] = {"stride": (2, 1), "dilate": (1, 2), "pad": (1, 1, 0, 0), "has_mask": True}
    compared("deformable_sampling", feed, ("w",), None, 1e-4, **attrs)


def test_what_follows_a_deformed_convolution_is_its_epilogue() -> None:
    x, w, offset = inner(3)
    attrs: dict[str, Any] = {"stride": (1, 1), "dilate": (1, 1), "pad": (1, 1, 1, 1)}
    result = node("relu", node("deformable_sampling", x, w, offset, **attrs))
    graph = fuse("fused", [make_variable(name) for name in ("x", "w", "offset")], [result])
    feed = {"x": normal(1, 4, 9, 8), "w": normal(8, 4, 3, 3), "offset": normal(1, 18, 9, 8)}
    program = compiled(graph, feed, ["w"])
    assert [step for step in steps(program) if step != "copy_loop"] == ["deform_loop", "matmul_loop"]
    record = get_op("deformable_sampling")
    (wanted,) = record.compute(record.make_attrs(attrs), *feed.values())
    np.testing.assert_allclose(run(program, [feed["x"], feed["offset"]])[0], np.maximum(wanted, 0), atol=1e-4)
