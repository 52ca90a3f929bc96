"""Resampling of pictures, and what detectors do with boxes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minidnn.interop.onnx.call import Call, rule
from minidnn.interop.onnx.maker import Maker
from minidnn.interop.onnx.values import Value
from minidnn.ops.sampling import COORDINATES, ROUNDINGS, resample_indices
from minidnn.sizes import Size, example_of, has_sizes

__all__ = ["resample", "scaled_sizes"]


@rule("Upsample")
def _upsample(call: Call) -> Value:
    mode = call.text("mode", "nearest", ("nearest", "linear", "bilinear"))
    if call.opset < 7:
        call.fail("it is read from version 7 on")
    scales = call.reals("scales") if call.opset < 9 else call.numbers(1, "scales")
    return resample(
        call,
        call[0],
        range(call[0].ndim),
        scaled_sizes(call, call[0].shape, scales),
        scales,
        {
            "mode": "linear" if mode == "bilinear" else mode,
            "coordinates": "asymmetric",
            "rounding": "floor",
        },
    )


@rule("Resize")
def _resize(call: Call) -> Value:
    x, mode = call[0], call.text("mode", "nearest", ("nearest", "linear", "cubic"))
    if call.opset < 11:
        scales = call.numbers(1, "scales")
        attrs: dict[str, Any] = {"mode": mode, "coordinates": "asymmetric", "rounding": "floor"}
        return resample(call, x, range(x.ndim), scaled_sizes(call, x.shape, scales), scales, attrs)
    attrs = {
        "mode": mode,
        "coordinates": call.text("coordinate_transformation_mode", "half_pixel", COORDINATES),
        "rounding": call.text("nearest_mode", "round_prefer_floor", ROUNDINGS),
        "cubic_coeff": call.real("cubic_coeff_a", -0.75),
        "exclude_outside": call.flag("exclude_outside"),
        "extrapolation": call.real("extrapolation_value", 0.0),
        "antialias": call.flag("antialias"),
    }
    axes = [call.axis(a, x.ndim) for a in call.integers("axes", None) or range(x.ndim)]
    policy = call.text("keep_aspect_ratio_policy", "stretch", ("stretch", "not_larger", "not_smaller"))
    spatial = [x.dim(axis) for axis in axes]
    if call.get(2) is not None and call[2]._type.size:
        scales = call.numbers(2, "scales")
        sizes = scaled_sizes(call, spatial, scales)
    else:
        sizes = list(call.ints(3, "sizes"))
        scales = [m / n if has_sizes((m, n)) or n else 1.0 for m, n in zip(sizes, spatial, strict=True)]
        if policy != "stretch":
            call.want_numbers(*sizes, *spatial)
            scale = min(scales) if policy == "not_larger" else max(scales)
            scales = [scale] * len(axes)
            sizes = [math.floor(scale * n + 0.5) for n in spatial]
    roi = call.numbers(1, "roi") if attrs["coordinates"] == "tf_crop_and_resize" else None
    return resample(call, x, axes, sizes, scales, attrs, roi)


def scaled_sizes(call: Maker, sizes: Sequence[Any], scales: Sequence[float]) -> list[Any]:
    """The sizes times their scales, rounded down; symbolic where that is a product or a quotient of whole numbers."""
    if len(sizes) != len(scales):
        call.fail(f"scales must have {len(sizes)} numbers, got {len(scales)}")
    result: list[Any] = []
    for n, scale in zip(sizes, scales, strict=True):
        if has_sizes(scale):
            result.append(math.floor(n * scale))
        elif not scale > 0 or not math.isfinite(scale):
            call.misfit(f"scales must be positive, got {scale}")
        elif float(scale).is_integer():
            result.append(n * int(scale))
        elif (1 / scale).is_integer():
            result.append(n // int(1 / scale))
        else:
            result.append(math.floor(n * scale))
    return result


def resample(
    call: Maker,
    x: Value,
    axes: Sequence[int],
    sizes: Sequence[Any],
    scales: Sequence[Any],
    attrs: dict[str, Any],
    roi: Sequence[float] | None = None,
) -> Value:
    """One axis after the other: all kinds of interpolation are products of those along the axes."""
    count = len(axes)
    for i, (axis, size, scale) in enumerate(zip(axes, sizes, scales, strict=True)):
        crops = roi is not None and (roi[i], roi[i + count]) != (0.0, 1.0)
        n = x.dim(axis)
        if _is_times(size, n, 1) and not crops and (has_sizes(scale) or scale == 1):
            continue
        factor = round(example_of(size) / max(example_of(n), 1))
        if not crops and factor > 1 and _is_times(size, n, factor) and _repeats(factor, scale, attrs):
            x = call.emit("repeat", x, repeats=factor, axis=axis)
            continue
        window = {} if roi is None else {"start": roi[i], "end": roi[i + count]}
        if not x.element.is_float and attrs["mode"] != "nearest":
            wide = call.emit("resample", call.cast(x, np.float32), axis=axis, size=size, scale=scale, **attrs, **window)
            x = call.cast(call.emit("trunc", wide), x.dtype).as_element(x.element)
        else:
            x = call.emit("resample", x, axis=axis, size=size, scale=scale, **attrs, **window)
    return x


def _is_times(size: Any, n: Any, factor: int) -> bool:
    """Whether a size is another one times a number, whatever they are."""
    rest = size - factor * n
    return not isinstance(rest, Size) and not has_sizes(rest) and rest == 0


def _repeats(factor: int, scale: Any, attrs: dict[str, Any]) -> bool:
    """Whether each element is only repeated; it does not depend on how many there are."""
    if attrs["mode"] != "nearest" or example_of(scale) != factor:
        return False
    if attrs["coordinates"] not in ("half_pixel", "pytorch_half_pixel", "asymmetric", "half_pixel_symmetric"):
        return False
    places = resample_indices(4, 4 * factor, float(factor), attrs["coordinates"], attrs["rounding"])
    return bool((places == np.repeat(np.arange(4), factor)).all())


@rule("GridSample")
def _grid_sample(call: Call) -> Value:
    mode = call.text("mode", "linear", ("linear", "nearest", "cubic", "bilinear", "bicubic"))
    padding = call.text("padding_mode", "zeros", ("zeros", "border", "reflection"))
    return call.emit(
        "grid_sample",
        call[0],
        call.cast(call[1], call[0].dtype),
        mode={"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode),
        padding=padding,
        align_corners=call.flag("align_corners"),
    )


@rule("RoiAlign")
def _roi_align(call: Call) -> Value:
    mode = call.text("coordinate_transformation_mode", "half_pixel", ("half_pixel", "output_half_pixel"))
    return call.emit(
        "roi_align",
        call[0],
        call[1],
        call.cast(call[2], np.int64),
        pooled=(call.integer("output_height", 1), call.integer("output_width", 1)),
        scale=call.real("spatial_scale", 1.0),
        samples=call.integer("sampling_ratio", 0),
        mode=call.text("mode", "avg", ("avg", "max")),
        aligned=mode == "half_pixel" and call.opset >= 16,
    )


@rule("MaxRoiPool")
def _max_roi_pool(call: Call) -> Value:
    return call.emit(
        "max_roi_pool", call[0], call[1], pooled=call.integers("pooled_shape"), scale=call.real("spatial_scale", 1.0)
    )


@rule("NonMaxSuppression")
def _non_max_suppression(call: Call) -> Value:
    most = 0 if call.get(2) is None else int(call.number(2, "max_output_boxes_per_class"))
    overlap = 0.0 if call.get(3) is None else float(call.number(3, "iou_threshold"))
    least = None if call.get(4) is None else float(call.number(4, "score_threshold"))
    rows, count = call.emit_all(
        "non_max_suppression",
        call[0],
        call[1],
        max_boxes=max(most, 0),
        iou_threshold=overlap,
        score_threshold=least,
        center_point=call.flag("center_point_box"),
    )
    return call.emit("first_rows", rows, count)
