"""Operators that give elements another shape or order, reductions, gathers and what makes arrays, as nodes of ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidnn.interop.onnx.export.writer import Tensor, Writer, export_rule
from minidnn.ops.registry import Attrs, TensorType
from minidnn.sizes import has_sizes

__all__: list[str] = []


@export_rule("reshape", "npx_reshape", "reshape_like")
def _reshape(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    if w.op != "reshape_like" and attrs.order != "C":
        w.fail(f"order {attrs.order!r} is not supported")
    return w.reshaped(w.name_of(x[0]), out[0].shape)


@export_rule("flatten")
def _flatten(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    return w.node("Flatten", x[0], axis=1)


@export_rule("transpose")
def _transpose(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    ndim = x[0].ndim
    axes = range(ndim)[::-1] if not attrs.axes else [a % ndim for a in attrs.axes]
    return w.transposed(w.name_of(x[0]), list(axes))


@export_rule("swapaxes")
def _swapaxes(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    return w.transposed(w.name_of(x[0]), _moved(lambda a: np.swapaxes(a, attrs.dim1, attrs.dim2), x[0].ndim))


@export_rule("moveaxis")
def _moveaxis(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    return w.transposed(w.name_of(x[0]), _moved(lambda a: np.moveaxis(a, attrs.source, attrs.destination), x[0].ndim))


def _moved(move: Any, ndim: int) -> list[int]:
    """The permutation of axes that a function of NumPy's makes."""
    shape = move(np.empty(range(2, ndim + 2), np.bool_)).shape
    return [n - 2 for n in shape]


@export_rule("expand_dims")
def _expand_dims(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    axes = attrs.axis if isinstance(attrs.axis, tuple) else (attrs.axis,)
    return w.unsqueezed(w.name_of(x[0]), [a % out[0].ndim for a in axes])


@export_rule("squeeze")
def _squeeze(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    axes: Sequence[int] = attrs.axis if isinstance(attrs.axis, tuple) else (attrs.axis,)
    if attrs.axis is None:
        axes = [i for i, n in enumerate(x[0].shape) if not has_sizes(n) and n == 1]
    return w.squeezed(w.name_of(x[0]), [a % x[0].ndim for a in axes])


@export_rule("concatenate")
def _concatenate(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    return w.node("Concat", *(w.cast(y, out[0].dtype) for y in x), axis=attrs.axis)


@export_rule("stack")
def _stack(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    axis = attrs.axis % out[0].ndim
    return w.node("Concat", *(w.unsqueezed(w.cast(y, out[0].dtype), [axis]) for y in x), axis=axis)


@export_rule("split")
def _split(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    axis = attrs.axis % x[0].ndim
    sizes = [1 if attrs.squeeze_axis else t.shape[axis] for t in out]
    made = w.all("Split", x[0], w.ints(sizes), count=len(out), axis=axis)
    return [w.squeezed(name, [axis]) for name in made] if attrs.squeeze_axis else made


@export_rule("slice_axis")
def _slice_axis(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    return w.part(w.name_of(x[0]), attrs.axis % x[0].ndim, attrs.begin, attrs.end)


@export_rule("slice")
def _slice(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    name, steps = w.name_of(x[0]), attrs.step or (None,) * len(attrs.begin)
    for axis, (begin, end, step) in enumerate(zip(attrs.begin, attrs.end, steps, strict=False)):
        if (begin, end, step) != (None, None, None):
            name = w.part(name, axis, begin, end, 1 if step is None else step)
    return name


@export_rule("slice_like")
def _slice_like(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    name = w.name_of(x[0])
    axes = [a % x[0].ndim for a in attrs.axes] or range(min(x[0].ndim, x[1].ndim))
    for axis in axes:
        name = w.part(name, axis, 0, out[0].shape[axis])
    return name


@export_rule("flip")
def _flip(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    name, axis = w.name_of(x[0]), attrs.axis
    axes = range(x[0].ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    for one in axes:
        name = w.part(name, one % x[0].ndim, None, None, -1)
    return name


@export_rule("broadcast_to", "broadcast_like")
def _broadcast(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    return w.node("Expand", x[0], w.ints(out[0].shape))


@export_rule("tile")
def _tile(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    reps = attrs.reps if isinstance(attrs.reps, tuple) else (attrs.reps,)
    name, ndim = w.name_of(x[0]), max(len(reps), x[0].ndim)
    name = w.unsqueezed(name, list(range(ndim - x[0].ndim)))
    return w.node("Tile", name, w.ints([*(1,) * (ndim - len(reps)), *reps]))


@export_rule("repeat")
def _repeat(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    if attrs.axis is None or isinstance(attrs.repeats, tuple):
        w.fail("it is supported along an axis, as often for all elements")
    axis = attrs.axis % x[0].ndim
    wide = w.unsqueezed(w.name_of(x[0]), [axis + 1])
    reps = [1] * (x[0].ndim + 1)
    reps[axis + 1] = attrs.repeats
    return w.reshaped(w.node("Tile", wide, w.ints(reps)), out[0].shape)


_PAD_MODES = {"constant": "constant", "edge": "edge", "reflect": "reflect", "wrap": "wrap"}


@export_rule("pad")
def _pad(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    if attrs.mode not in _PAD_MODES or attrs.reflect_type != "even":
        w.fail(f"mode {attrs.mode!r} is not supported")
    widths = [a for a, _ in attrs.pad_width] + [b for _, b in attrs.pad_width]
    value = w.number(attrs.constant_values, x[0].dtype) if attrs.mode == "constant" else None
    return w.node("Pad", x[0], w.ints(widths), value, mode=_PAD_MODES[attrs.mode])


@export_rule("tril", "triu")
def _triangle(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    return w.node("Trilu", x[0], w.number(attrs.k, np.int64), upper=int(w.op == "triu"))


# ---- what makes arrays


@export_rule("full")
def _full(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    return w.node("Expand", w.number(attrs.value, out[0].dtype), w.ints(out[0].shape))


@export_rule("arange")
def _arange(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    dtype = out[0].dtype
    wide = dtype if dtype.name in ("float32", "float64", "int16", "int32", "int64") else np.dtype(np.int64)
    made = w.node("Range", *(w.number(n, wide) for n in (attrs.start, attrs.stop, attrs.step)))
    return made if wide == dtype else w.node("Cast", made, to=w.element(dtype))


@export_rule("shape_array")
def _shape_array(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    return w.node("Shape", x[0])


# ---- reductions

_REDUCTIONS = {"sum": "ReduceSum", "mean": "ReduceMean", "prod": "ReduceProd", "max": "ReduceMax", "min": "ReduceMin"}


def _axes_of(attrs: Attrs, x: Tensor) -> list[int]:
    axis = attrs.axis
    axes = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    return [a % x.ndim for a in axes]


@export_rule(*_REDUCTIONS)
def _reduce(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    name = w.cast(x[0], out[0].dtype)
    if x[0].ndim == 0:
        return name
    return w.node(_REDUCTIONS[w.op], name, w.ints(_axes_of(attrs, x[0])), keepdims=int(attrs.keepdims))


@export_rule("any", "all")
def _logic(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    bits = w.node("Cast", w.cast(x[0], np.bool_), to=w.element(np.int32))
    op = "ReduceMax" if w.op == "any" else "ReduceMin"
    made = w.node(op, bits, w.ints(_axes_of(attrs, x[0])), keepdims=int(attrs.keepdims))
    return w.node("Cast", made, to=w.element(out[0].dtype))


@export_rule("var", "std")
def _variance(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    name, axes = w.cast(x[0], out[0].dtype), _axes_of(attrs, x[0])
    count: Any = 1
    for axis in axes:
        count = count * x[0].shape[axis]
    centered = w.node("Sub", name, w.node("ReduceMean", name, w.ints(axes), keepdims=1))
    total = w.node("ReduceSumSquare", centered, w.ints(axes), keepdims=int(attrs.keepdims))
    made = w.node("Div", total, w.number(count - attrs.ddof, out[0].dtype))
    return made if w.op == "var" else w.node("Sqrt", made)


@export_rule("argmax", "argmin")
def _arg(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    op, name, axis = "ArgMax" if w.op == "argmax" else "ArgMin", w.name_of(x[0]), attrs.axis
    if axis is None:
        flat = w.node(op, w.node("Reshape", name, w.ints([-1])), axis=0, keepdims=0)
        made = w.reshaped(flat, out[0].shape)
    else:
        made = w.node(op, name, axis=axis, keepdims=int(attrs.keepdims))
    return made if out[0].dtype == np.int64 else w.node("Cast", made, to=w.element(out[0].dtype))


@export_rule("cumsum")
def _cumsum(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    name = w.cast(x[0], out[0].dtype)
    if attrs.axis is None:
        return w.node("CumSum", w.node("Reshape", name, w.ints([-1])), w.number(0, np.int64))
    return w.node("CumSum", name, w.number(attrs.axis, np.int64))


@export_rule("sort", "argsort", "topk")
def _sorted(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    if attrs.axis is None:
        w.fail("it is supported along an axis")
    axis = attrs.axis % x[0].ndim
    is_top = w.op == "topk"
    count = attrs.k if is_top and attrs.k > 0 else x[0].shape[axis]
    largest = not attrs.is_ascend if is_top else attrs.descending
    values, places = w.all("TopK", x[0], w.ints([count]), count=2, axis=axis, largest=int(largest))
    kind = attrs.ret_typ if is_top else {"sort": "value", "argsort": "indices"}[w.op]
    if kind == "mask":
        w.fail("ret_typ 'mask' is not supported")
    dtype = out[-1].dtype
    places = places if dtype == np.int64 or kind == "value" else w.node("Cast", places, to=w.element(dtype))
    return [values, places] if kind == "both" else values if kind == "value" else places


@export_rule("searchsorted")
def _searchsorted(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    """How many elements lie in front of each value: all are compared."""
    dtype = np.result_type(x[0].dtype, x[1].dtype)
    values = w.node("Unsqueeze", w.cast(x[1], dtype), w.ints([-1]))
    smaller = w.node("LessOrEqual" if attrs.side == "right" else "Less", w.cast(x[0], dtype), values)
    return w.node("ReduceSum", w.node("Cast", smaller, to=w.element(np.int64)), w.ints([-1]), keepdims=0)


# ---- gathers


@export_rule("embedding")
def _embedding(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    # What is out of range is the first or the last row.
    rows = x[1].shape[0]
    index = w.node("Clip", w.cast(x[0], np.int64), w.number(0, np.int64), w.number(rows - 1, np.int64))
    return w.node("Gather", x[1], index, axis=0)


@export_rule("take")
def _take(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    size, index = x[0].shape[attrs.axis], w.cast(x[1], np.int64)
    if attrs.mode == "wrap":
        index = w.node("Mod", index, w.number(size, np.int64))
    else:
        index = w.node("Clip", index, w.number(0, np.int64), w.number(size - 1, np.int64))
    return w.node("Gather", x[0], index, axis=attrs.axis)


@export_rule("index")
def _index(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    indices, axes = x[1:], attrs.axes
    if len(indices) == 1:
        return w.node("Gather", x[0], w.cast(indices[0], np.int64), axis=axes[0])
    if tuple(axes) != tuple(range(len(axes))):
        w.fail("several indices are supported for the first axes")
    rank = max(y.ndim for y in indices)
    shape: tuple[Any, ...] = out[0].shape[:rank]
    parts = [w.unsqueezed(w.node("Expand", w.cast(y, np.int64), w.ints(shape)), [rank]) for y in indices]
    return w.node("GatherND", x[0], w.node("Concat", *parts, axis=rank))


@export_rule("gather_nd")
def _gather_nd(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    # Our indices have their first axis where ONNX has its last one.
    order = [*range(1, x[1].ndim), 0]
    return w.node("GatherND", x[0], w.transposed(w.cast(x[1], np.int64), order))


@export_rule("take_along_axis")
def _take_along_axis(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    axis = attrs.axis % x[0].ndim
    shape = [*out[0].shape]
    index = w.cast(x[1], np.int64)
    if any(has_sizes((a, b)) or a != b for a, b in zip(x[1].shape, shape, strict=True)):
        index = w.node("Expand", index, w.ints(shape))
    shape[axis] = x[0].shape[axis]
    data = w.name_of(x[0])
    if any(not has_sizes(n) and n == 1 and (has_sizes(m) or m != 1) for n, m in zip(x[0].shape, shape, strict=True)):
        data = w.node("Expand", data, w.ints(shape))
    return w.node("GatherElements", data, index, axis=axis)


@export_rule("pick")
def _pick(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    axis = attrs.axis % x[0].ndim
    count, index = x[0].shape[axis], w.cast(x[1], np.int64)
    if x[1].dtype.kind == "f":
        index = w.node("Cast", w.node("Floor", x[1]), to=w.element(np.int64))
    if attrs.mode == "wrap":
        index = w.node("Mod", index, w.number(count, np.int64))
    else:
        index = w.node("Clip", index, w.number(0, np.int64), w.number(count - 1, np.int64))
    if x[1].ndim < x[0].ndim:
        index = w.unsqueezed(index, [axis])
    made = w.node("GatherElements", x[0], index, axis=axis)
    return made if attrs.keepdims else w.squeezed(made, [axis])


@export_rule("scatter_elements", "scatter_points")
def _scatter(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    how = None if attrs.reduction == "none" else attrs.reduction
    if w.op == "scatter_points":
        return w.node("ScatterND", x[0], w.cast(x[1], np.int64), x[2], reduction=how)
    return w.node("ScatterElements", x[0], w.cast(x[1], np.int64), x[2], axis=attrs.axis, reduction=how)


@export_rule("one_hot")
def _one_hot(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    index, depth, dtype = w.cast(x[0], np.int64), w.number(attrs.depth, np.int64), out[0].dtype
    places = w.node("Range", w.number(0, np.int64), depth, w.number(1, np.int64))
    # Indices out of range are nowhere; ONNX's OneHot counts them from the end.
    hits = w.node("Equal", w.unsqueezed(index, [x[0].ndim]), places)
    return w.node("Where", hits, w.number(attrs.on_value, dtype), w.number(attrs.off_value, dtype))


@export_rule("argwhere")
def _argwhere(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    return w.transposed(w.node("NonZero", x[0]), (1, 0))


# ---- images


@export_rule("resample")
def _resample(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    axis = attrs.axis % x[0].ndim
    size, scale = out[0].shape[axis], attrs.scale
    # By the sizes, unless the scale is another one than they give.
    by_scale = not has_sizes((size, scale, x[0].shape[axis])) and abs(size / x[0].shape[axis] - scale) > 1e-9
    roi = None
    if attrs.coordinates == "tf_crop_and_resize":
        w.fail("regions of an image are not supported")
    scales: str | None = None
    sizes: str | None = None
    if by_scale:
        factors = np.ones(x[0].ndim, np.float32)
        factors[axis] = scale
        scales = w.constant(factors)
    else:
        shape = [*x[0].shape]
        shape[axis] = size
        sizes = w.ints(shape)
    return w.node(
        "Resize",
        x[0],
        roi,
        scales,
        sizes,
        mode=attrs.mode,
        coordinate_transformation_mode=attrs.coordinates,
        nearest_mode=attrs.rounding,
        cubic_coeff_a=float(attrs.cubic_coeff),
        exclude_outside=int(attrs.exclude_outside),
        antialias=int(attrs.antialias),
    )


@export_rule("grid_sample")
def _grid_sample(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    return w.node("GridSample", *x, mode=attrs.mode, padding_mode=attrs.padding, align_corners=int(attrs.align_corners))
