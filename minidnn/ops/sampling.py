"""Operators that read pictures between their pixels: resampling, grids, deformed convolutions; and columns to images.

Coordinates are computed in float64, elements in at least float32.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidnn.errors import OpError, ShapeError
from minidnn.ops.checks import normalize_axis, want_dtype, want_filled, want_float, want_rank, want_shape
from minidnn.ops.elementwise import want_supported
from minidnn.ops.registry import Attr, Attrs, Op, TensorType, register
from minidnn.ops.traits import AnchorTraits

__all__ = ["COORDINATES", "ROUNDINGS", "columns_windows", "only_moves", "resample_indices", "resample_taps"]

Array = np.ndarray[Any, Any]

# Where a new pixel lies among the old ones, and which is the nearest, by ONNX's names.
COORDINATES = (
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
    "tf_crop_and_resize",
    "tf_half_pixel_for_nn",
)
ROUNDINGS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")


def _coordinates(attrs: Attrs, n: int, size: int, scale: float) -> Any:
    """Where each of `size` results lies among `n` elements (ONNX, "Resize")."""
    x, kind = np.arange(size, dtype=np.float64), attrs.coordinates
    whole = scale * n
    if kind == "asymmetric":
        return np.asarray(x / scale)
    if kind == "align_corners":
        return np.asarray(x * 0 if whole == 1 else x * (n - 1) / (whole - 1))
    if kind == "tf_crop_and_resize":
        if whole == 1:
            return x * 0 + (attrs.end - attrs.start) * (n - 1) / 2
        return attrs.start * (n - 1) + x * (attrs.end - attrs.start) * (n - 1) / (whole - 1)
    if kind == "tf_half_pixel_for_nn":
        return (x + 0.5) / scale
    if kind == "pytorch_half_pixel" and whole == 1:
        return x * 0 - 0.5
    moved = (x + 0.5) / scale - 0.5
    if kind == "half_pixel_symmetric":
        # Where the size was rounded down, the middle stays in the middle.
        moved = n / 2 * (1 - size / whole) + moved
    return moved


def _rounded(at: Array, rounding: str) -> Array:
    down = np.ceil(at) - 1
    ratio = at - down  # in (0, 1]: an integer is its upper neighbour
    if rounding == "floor":
        up = ratio == 1
    elif rounding == "ceil":
        up = np.ones_like(ratio, bool)
    else:
        up = ratio > 0.5 if rounding == "round_prefer_floor" else ratio >= 0.5
    return np.asarray(down + up, np.int64)


def resample_indices(n: int, size: int, scale: float, coordinates: str, rounding: str) -> Array:
    """Of each result of nearest resampling, the index of the element it is."""
    attrs = Attrs({"coordinates": coordinates, "start": 0.0, "end": 1.0})
    return np.clip(_rounded(_coordinates(attrs, n, size, scale), rounding), 0, n - 1)


def _cubic(distance: Array, a: float) -> Array:
    """Keys' kernel: one at 0, zero from 2 on."""
    near = ((a + 2) * distance - (a + 3)) * distance * distance + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))


def _weights(attrs: Attrs, at: Array, scale: float) -> tuple[Array, Array]:
    """For each result the places of the elements it is made of, and their weights."""
    squeeze = min(scale, 1.0) if attrs.antialias else 1.0
    reach = 1 if attrs.mode == "linear" else 2
    first = math.floor(-reach / squeeze) + 1
    count = 2 - 2 * first if attrs.mode == "linear" or attrs.antialias else 4
    if attrs.mode == "cubic" and attrs.antialias:
        count = 2 * (1 - first)
    base = np.ceil(at) - 1
    places = base[:, None] + np.arange(first, first + count)
    distance = np.abs((places - at[:, None]) * squeeze)
    weights = np.clip(1 - distance, 0, 1) if attrs.mode == "linear" else _cubic(distance, attrs.cubic_coeff)
    return places.astype(np.int64), weights


def _infer_resample(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op, data = "resample", types[0]
    if attrs.mode == "nearest":
        want_supported(op, types)
    else:
        want_float(op, "data", data)
    axis = normalize_axis(op, attrs.axis, data.ndim)
    if attrs.size:
        want_filled(op, "data", data, [axis])
    return [TensorType((*data.shape[:axis], attrs.size, *data.shape[axis + 1 :]), data.dtype)]


def resample_taps(attrs: Attrs, n: int) -> tuple[Array, Array, Array]:
    """What each result along an axis of `n` elements is made of.

    Args:
        attrs: of ``resample``.
        n: elements.

    Returns:
        Places of elements, int64 [size, taps]; their weights, float64 [size, taps]; and whether a result lies outside
        and is ``extrapolation`` instead, bool [size].
    """
    at = _coordinates(attrs, n, attrs.size, attrs.scale)
    outside = (at < 0) | (at > n - 1) if attrs.coordinates == "tf_crop_and_resize" else np.zeros(at.shape, np.bool_)
    if attrs.mode == "nearest":
        places = _rounded(at, attrs.rounding)[:, None]
        return np.clip(places, 0, n - 1), np.ones(places.shape), outside
    places, weights = _weights(attrs, at, attrs.scale)
    if attrs.exclude_outside:
        weights = np.where((places >= 0) & (places < n), weights, 0.0)
    if attrs.exclude_outside or attrs.antialias:
        weights = weights / weights.sum(1, keepdims=True)
    return np.clip(places, 0, n - 1), weights, outside


def _resample(attrs: Attrs, x: Array) -> Array:
    axis, n, size = attrs.axis % x.ndim, x.shape[attrs.axis], attrs.size
    places, weights, outside = resample_taps(attrs, n)
    if attrs.mode == "nearest":
        result = np.take(x, places[:, 0], axis)
    else:
        wide = np.promote_types(x.dtype, np.float32)
        matrix = np.zeros((size, n))
        np.add.at(matrix, (np.arange(size)[:, None], places), weights)
        moved = np.moveaxis(x.astype(wide, copy=False), axis, -1) @ matrix.T.astype(wide)
        result = np.moveaxis(moved, -1, axis)
    if outside.any():
        result = np.array(result)
        np.moveaxis(result, axis, 0)[outside] = attrs.extrapolation
    return result


def only_moves(attrs: Attrs) -> bool:
    """Whether all results are elements."""
    return bool(attrs.mode == "nearest" and attrs.coordinates != "tf_crop_and_resize")


def _check_resample(attrs: Attrs) -> None:
    if not attrs.scale > 0 or not math.isfinite(attrs.scale):
        raise OpError(f"resample: scale must be positive, got {attrs.scale}")


register(
    Op(
        "resample",
        _infer_resample,
        _resample,
        ("data",),
        attrs=(
            Attr("axis", "int"),
            Attr("size", "int", low=0),
            Attr("scale", "float"),
            Attr("mode", "str", "linear", choices=("nearest", "linear", "cubic")),
            Attr("coordinates", "str", "half_pixel", choices=COORDINATES),
            Attr("rounding", "str", "round_prefer_floor", choices=ROUNDINGS),
            Attr("cubic_coeff", "float", -0.75),
            Attr("exclude_outside", "bool", False),
            Attr("extrapolation", "float", 0.0),
            Attr("antialias", "bool", False),
            Attr("start", "float", 0.0),
            Attr("end", "float", 1.0),
        ),
        check=_check_resample,
        scale_transparent=only_moves,
        nonnegative=lambda attrs, inputs: all(inputs) and only_moves(attrs),
    )
)


# ---- grids ---------------------------------------------------------------------------------------------


def _reflected(x: Array, low: float, high: float) -> Array:
    """Coordinates mirrored at both ends until they lie between."""
    span = high - low
    if span <= 0:
        return np.zeros_like(x) + low
    folded = np.mod(x - low, 2 * span)
    return np.where(folded > span, 2 * span - folded, folded) + low


def _infer_grid_sample(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op, (data, grid) = "grid_sample", types
    want_float(op, "data", data)
    want_dtype(op, "grid", grid, data.dtype, "data")
    if data.ndim not in (4, 5) or (attrs.mode == "cubic" and data.ndim != 4):
        raise ShapeError(f"{op}: data must have 4 dimensions, or 5 unless mode is cubic, got {data}")
    want_rank(op, "grid", grid, data.ndim)
    want_shape(op, "grid", grid, (data.shape[0], *grid.shape[1:-1], data.ndim - 2), "a position for each result")
    if 0 not in grid.shape:
        want_filled(op, "data", data, range(2, data.ndim))
    return [TensorType((*data.shape[:2], *grid.shape[1:-1]), data.dtype)]


def _grid_sample(attrs: Attrs, x: Array, grid: Array) -> Array:
    """Elements at positions from -1 to 1; the last number of a position belongs to the last axis."""
    rank = x.ndim - 2
    at = []
    for axis in range(rank):
        n, g = x.shape[2 + axis], grid[..., rank - 1 - axis].astype(np.float64)
        at.append((g + 1) / 2 * (n - 1) if attrs.align_corners else ((g + 1) * n - 1) / 2)
    at = [_within(attrs, a, n) for a, n in zip(at, x.shape[2:], strict=True)]
    return _interpolated(x, at, attrs.mode, lambda place, n: _padded_place(attrs, place, n))


def _bounds(attrs: Attrs, n: int) -> tuple[float, float]:
    return (0.0, n - 1.0) if attrs.align_corners else (-0.5, n - 0.5)


def _within(attrs: Attrs, at: Array, n: int) -> Array:
    if attrs.mode == "cubic":
        return at
    if attrs.padding == "border":
        return np.clip(at, 0, n - 1)
    return _reflected(at, *_bounds(attrs, n)) if attrs.padding == "reflection" else at


# Far outside of any picture, and far from the ends of int64.
_FAR = float(1 << 62)


def _whole(x: Array) -> Array:
    """Whole numbers as int64; those that are too large, and NaN, lie far outside on either side."""
    return np.asarray(np.where(np.isnan(x), -_FAR, np.clip(x, -_FAR, _FAR)), np.int64)


def _padded_place(attrs: Attrs, place: Array, n: int) -> tuple[Array, Array]:
    """The index that is read for a place, and whether it counts."""
    if attrs.padding == "reflection":
        place = _whole(np.rint(_reflected(place.astype(np.float64), *_bounds(attrs, n))))
    inside = (place >= 0) & (place < n)
    return np.clip(place, 0, n - 1), inside if attrs.padding == "zeros" else np.ones_like(inside)


def _taps(at: Array, mode: str) -> list[tuple[Array, Array]]:
    """Places along one axis and their weights."""
    if mode == "nearest":
        return [(_whole(np.rint(at)), np.ones_like(at))]
    base = np.floor(at)
    ratio, first = at - base, _whole(base)
    if mode == "linear":
        return [(first, 1 - ratio), (first + 1, ratio)]
    return [(first + i, _cubic(np.abs(ratio - i), -0.75)) for i in (-1, 0, 1, 2)]


def _interpolated(
    x: Array, at: Sequence[Array], mode: str, place_of: Callable[[Array, int], tuple[Array, Array]]
) -> Array:
    """Elements of (N, C, spatial ...) at positions of shape (N, result ...), one array for each spatial axis."""
    wide = np.promote_types(x.dtype, np.float32)
    sample = np.arange(x.shape[0]).reshape(-1, *(1,) * (at[0].ndim - 1))
    channels_last = np.moveaxis(x, 1, -1)
    total = np.zeros((*at[0].shape, x.shape[1]), wide)
    for taps in itertools.product(*(_taps(a, mode) for a in at)):
        weight = np.ones(at[0].shape)
        index = []
        for (place, factor), n in zip(taps, x.shape[2:], strict=True):
            where, counts = place_of(place, n)
            index.append(where)
            weight = weight * factor * counts
        found = channels_last[(sample, *index)]
        total += np.where(weight[..., None] == 0, 0, found * weight[..., None].astype(wide))
    return np.moveaxis(total, -1, 1)


register(
    Op(
        "grid_sample",
        _infer_grid_sample,
        _grid_sample,
        ("data", "grid"),
        attrs=(
            Attr("mode", "str", "linear", choices=("linear", "nearest", "cubic")),
            Attr("padding", "str", "zeros", choices=("zeros", "border", "reflection")),
            Attr("align_corners", "bool", False),
        ),
    )
)


# ---- deformed convolutions -----------------------------------------------------------------------------


def _want_numbers(op: str, attrs: Attrs, rank: int, names: dict[str, int]) -> None:
    for name, count in names.items():
        if len(attrs[name]) != count * rank or None in attrs[name]:
            raise OpError(f"{op}: {name} must have {count * rank} numbers, got {attrs[name]}")


def _infer_deformable(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op, (data, weight, offset) = "deformable_sampling", types[:3]
    want_rank(op, "data", data, 4)
    want_rank(op, "weight", weight, 4)
    want_float(op, "data", data)
    for name, t in zip(("weight", "offset", "mask"), types[1:], strict=False):
        want_dtype(op, name, t, data.dtype, "data")
    _want_numbers(op, attrs, 2, {"stride": 1, "dilate": 1, "pad": 2})
    channels, filters = data.shape[1], weight.shape[0]
    if channels != weight.shape[1] * attrs.num_group or filters % attrs.num_group or channels % attrs.offset_group:
        raise ShapeError(f"{op}: weight {weight.shape} in {attrs.num_group} groups does not fit data {data.shape}")
    spatial = []
    for i, (n, k) in enumerate(zip(data.shape[2:], weight.shape[2:], strict=True)):
        extent = attrs.dilate[i] * (k - 1) + 1
        spatial.append((n + attrs.pad[2 * i] + attrs.pad[2 * i + 1] - extent) // attrs.stride[i] + 1)
    if min(spatial) < 1:
        raise ShapeError(f"{op}: the kernel of {weight.shape} does not fit into the padded data {data}")
    taps = attrs.offset_group * weight.shape[2] * weight.shape[3]
    want_shape(op, "offset", offset, (data.shape[0], 2 * taps, *spatial), "two numbers for each tap")
    if attrs.has_mask:
        want_shape(op, "mask", types[3], (data.shape[0], taps, *spatial), "a number for each tap")
    return [TensorType((data.shape[0], filters, *spatial), data.dtype)]


def _deformable(attrs: Attrs, x: Array, weight: Array, offset: Array, mask: Array | None = None) -> Array:
    batch, channels = x.shape[:2]
    filters, per_group, *kernel = weight.shape
    rows, columns = offset.shape[2:]
    groups, taps = attrs.offset_group, kernel[0] * kernel[1]
    moves = offset.reshape(batch, groups, taps, 2, rows, columns).astype(np.float64)
    scale = None if mask is None else mask.reshape(batch, groups, taps, rows, columns)
    wide = np.promote_types(x.dtype, np.float32)
    sampled = np.zeros((batch, channels, taps, rows, columns), wide)
    each = channels // groups
    starts = [
        np.arange(n, dtype=np.float64) * s - p
        for n, s, p in zip((rows, columns), attrs.stride, attrs.pad[::2], strict=True)
    ]
    for group, tap in itertools.product(range(groups), range(taps)):
        i, j = divmod(tap, kernel[1])
        at = [
            starts[0][None, :, None] + i * attrs.dilate[0] + moves[:, group, tap, 0],
            starts[1][None, None, :] + j * attrs.dilate[1] + moves[:, group, tap, 1],
        ]
        part = slice(group * each, (group + 1) * each)
        found = _interpolated(x[:, part], at, "linear", _zeros_outside)
        sampled[:, part, tap] = found if scale is None else found * scale[:, group, tap][:, None]
    columns_of = sampled.reshape(batch, attrs.num_group, per_group * taps, rows * columns)
    matrix = weight.astype(wide).reshape(attrs.num_group, filters // attrs.num_group, per_group * taps)
    return np.asarray((matrix @ columns_of).reshape(batch, filters, rows, columns))


def _zeros_outside(place: Array, n: int) -> tuple[Array, Array]:
    return np.clip(place, 0, n - 1), (place >= 0) & (place < n)


register(
    Op(
        "deformable_sampling",
        _infer_deformable,
        _deformable,
        lambda attrs: ("data", "weight", "offset", "mask") if attrs.has_mask else ("data", "weight", "offset"),
        attrs=(
            Attr("stride", "ints", low=1),
            Attr("dilate", "ints", low=1),
            Attr("pad", "ints"),
            Attr("num_group", "int", 1, low=1),
            Attr("offset_group", "int", 1, low=1),
            Attr("has_mask", "bool", False),
        ),
        kind="anchor",
        parameters=frozenset({"weight"}),
        anchor=AnchorTraits("deform", channel_axis=1, output_rank=lambda attrs: 4),
    )
)


# ---- columns to an image ---------------------------------------------------------------------------------


def columns_windows(attrs: Attrs) -> list[int]:
    """How many windows of ``columns_to_image`` there are along each axis of the image."""
    rank = len(attrs.image)
    return [
        (n + attrs.pad[i] + attrs.pad[i + rank] - d * (k - 1) - 1) // s + 1
        for i, (n, k, s, d) in enumerate(zip(attrs.image, attrs.kernel, attrs.stride, attrs.dilate, strict=True))
    ]


def _infer_columns(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op, data = "columns_to_image", types[0]
    want_rank(op, "data", data, 3, "(N, C * taps, windows)")
    want_float(op, "data", data)
    rank = len(attrs.image)
    _want_numbers(op, attrs, rank, {"image": 1, "kernel": 1, "stride": 1, "dilate": 1, "pad": 2})
    taps, windows = math.prod(attrs.kernel), columns_windows(attrs)
    if data.shape[1] % taps or data.shape[2] != math.prod(windows) or min(windows, default=1) < 1:
        raise ShapeError(f"{op}: {taps} taps at {windows} places of an image of {attrs.image} do not fit data {data}")
    return [TensorType((data.shape[0], data.shape[1] // taps, *attrs.image), data.dtype)]


def _columns_to_image(attrs: Attrs, x: Array) -> Array:
    """Each tap of the kernel adds its columns at the places that it covers."""
    rank, windows = len(attrs.image), columns_windows(attrs)
    padded = [n + attrs.pad[i] + attrs.pad[i + rank] for i, n in enumerate(attrs.image)]
    taps = math.prod(attrs.kernel)
    parts = x.reshape(x.shape[0], x.shape[1] // taps, taps, *windows)
    total = np.zeros((*parts.shape[:2], *padded), np.promote_types(x.dtype, np.float32))
    for number, tap in enumerate(itertools.product(*map(range, attrs.kernel))):
        covered = tuple(
            slice(t * d, t * d + (w - 1) * s + 1, s)
            for t, d, w, s in zip(tap, attrs.dilate, windows, attrs.stride, strict=True)
        )
        total[(slice(None), slice(None), *covered)] += parts[:, :, number]
    inside = tuple(slice(attrs.pad[i], attrs.pad[i] + n) for i, n in enumerate(attrs.image))
    return total[(slice(None), slice(None), *inside)]


register(
    Op(
        "columns_to_image",
        _infer_columns,
        _columns_to_image,
        ("data",),
        attrs=(
            Attr("image", "ints", low=1),
            Attr("kernel", "ints", low=1),
            Attr("stride", "ints", low=1),
            Attr("dilate", "ints", low=1),
            Attr("pad", "ints", low=0),
        ),
    )
)
