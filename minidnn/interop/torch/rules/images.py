"""Resampling of images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidnn.interop.onnx.rules.images import resample, scaled_sizes
from minidnn.interop.onnx.values import Value
from minidnn.interop.torch.call import Call, Rule, aten

__all__: list[str] = []


def _resized(
    call: Call, x: Value, sizes: Sequence[Any] | None, scales: Sequence[Any] | None, attrs: dict[str, Any]
) -> Value:
    """All spatial axes at the sizes that are given, or that follow from factors.

    Where a factor is given, positions follow from it; where it is not, from the sizes.
    """
    spatial = x.shape[2:]
    if sizes is None:
        assert scales is not None
        sizes = scaled_sizes(call, spatial, scales)
    if attrs["coordinates"] == "align_corners" or not scales:
        scales = [None] * len(spatial)
    ratios = [m / n if s is None else s for m, n, s in zip(sizes, spatial, scales, strict=True)]
    return resample(call, x, range(2, x.ndim), sizes, ratios, attrs)


_NEAREST = {"mode": "nearest", "coordinates": "asymmetric", "rounding": "floor"}
_NEAREST_EXACT = {"mode": "nearest", "coordinates": "half_pixel", "rounding": "round_prefer_ceil"}


def _interpolation(mode: str, align_corners: bool, antialias: bool) -> dict[str, Any]:
    coordinates = "align_corners" if align_corners else "half_pixel"
    attrs = {"mode": mode, "coordinates": coordinates, "antialias": antialias, "exclude_outside": antialias}
    # With antialiasing PyTorch takes the coefficient of Pillow.
    return {**attrs, "cubic_coeff": -0.5 if antialias else -0.75}


def _nearest_rules(attrs: dict[str, Any]) -> tuple[Rule, Rule]:
    def by_vectors(call: Call, x: Value, output_size: Any, scale_factors: Any = None) -> Value:
        return _resized(call, x, output_size, scale_factors, attrs)

    def by_numbers(call: Call, x: Value, output_size: Any, *scales: Any) -> Value:
        return _resized(call, x, output_size, scales if scales and None not in scales else None, attrs)

    return by_vectors, by_numbers


def _smooth_rules(mode: str, antialias: bool) -> tuple[Rule, Rule]:
    def by_vectors(call: Call, x: Value, output_size: Any, align_corners: bool, scale_factors: Any = None) -> Value:
        return _resized(call, x, output_size, scale_factors, _interpolation(mode, align_corners, antialias))

    def by_numbers(call: Call, x: Value, output_size: Any, align_corners: bool, *scales: Any) -> Value:
        given = scales if scales and None not in scales else None
        return _resized(call, x, output_size, given, _interpolation(mode, align_corners, antialias))

    return by_vectors, by_numbers


def _enter(name: str, rules: tuple[Rule, Rule]) -> None:
    aten(f"{name}.vec")(rules[0])
    aten(name)(rules[1])


for _rank in (1, 2, 3):
    _enter(f"upsample_nearest{_rank}d", _nearest_rules(_NEAREST))
    _enter(f"_upsample_nearest_exact{_rank}d", _nearest_rules(_NEAREST_EXACT))
for _name in ("upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d"):
    _enter(_name, _smooth_rules("linear", False))
_enter("upsample_bicubic2d", _smooth_rules("cubic", False))
_enter("_upsample_bilinear2d_aa", _smooth_rules("linear", True))
_enter("_upsample_bicubic2d_aa", _smooth_rules("cubic", True))

_MODES = ("linear", "nearest", "cubic")
_PADDINGS = ("zeros", "border", "reflection")
# More than there are.
_ALL_BOXES = (1 << 31) - 1


@aten("grid_sampler_2d", "grid_sampler_3d", "grid_sampler")
def _grid_sampler(
    call: Call, x: Value, grid: Value, interpolation_mode: int, padding_mode: int, align_corners: bool
) -> Value:
    return call.emit(
        "grid_sample",
        x,
        grid,
        mode=_MODES[interpolation_mode],
        padding=_PADDINGS[padding_mode],
        align_corners=bool(align_corners),
    )


@aten("torchvision.roi_align.default")
def _roi_align(
    call: Call, x: Value, rois: Value, scale: float, height: int, width: int, sampling_ratio: int, aligned: bool
) -> Value:
    """Rows of `rois` are the number of a sample and the corners of a box."""
    batch = call.emit("squeeze", call.emit("slice_axis", rois, axis=1, begin=0, end=1), axis=(1,))
    return call.emit(
        "roi_align",
        x,
        call.emit("slice_axis", rois, axis=1, begin=1, end=5),
        call.cast(batch, np.int64),
        pooled=(height, width),
        scale=scale,
        samples=max(sampling_ratio, 0),
        mode="avg",
        aligned=bool(aligned),
    )


@aten("torchvision.nms.default")
def _suppressed(call: Call, boxes: Value, scores: Value, iou_threshold: float) -> Value:
    """Places of the boxes that overlap no better one, the best first."""
    count = boxes.dim(0)
    rows, kept = call.emit_all(
        "non_max_suppression",
        call.reshape(boxes, (1, count, 4)),
        call.reshape(scores, (1, 1, count)),
        max_boxes=_ALL_BOXES,
        iou_threshold=float(iou_threshold),
    )
    found = call.emit("first_rows", rows, kept)
    return call.emit("squeeze", call.emit("slice_axis", found, axis=1, begin=2, end=3), axis=(1,))
