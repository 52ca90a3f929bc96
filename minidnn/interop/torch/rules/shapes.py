"""Operators that give elements another shape or order, and slices and pads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minidnn.interop.onnx.rules.slicing import pad
from minidnn.interop.onnx.values import Value
from minidnn.interop.torch.call import Call, aten
from minidnn.sizes import Size, has_sizes

__all__: list[str] = []

# From here on a bound means: to the end.
_FAR = 1 << 62


@aten("view", "_unsafe_view", "reshape")
def _view(call: Call, x: Value, size: Sequence[Any]) -> Value:
    return call.reshape(x, size)


@aten("flatten.using_ints")
def _flatten(call: Call, x: Value, start_dim: int = 0, end_dim: int = -1) -> Value:
    if x.ndim == 0:
        return call.reshape(x, (1,))
    first, last = (call.axis(d, x.ndim) for d in (start_dim, end_dim))
    if first == 1 and last == x.ndim - 1 and x.ndim > 1:
        return call.emit("flatten", x)
    return call.reshape(x, (*x.shape[:first], -1, *x.shape[last + 1 :]))


@aten("permute")
def _permute(call: Call, x: Value, dims: Sequence[int]) -> Value:
    order = call.dims(dims, x.ndim)
    return _transposed(call, x, order)


def _transposed(call: Call, x: Value, order: Sequence[int]) -> Value:
    result = call.transpose(x, order)
    return call.note_transposed(result, x) if tuple(order) == (1, 0) else result


@aten("transpose.int")
def _transpose(call: Call, x: Value, dim0: int, dim1: int) -> Value:
    if x.ndim == 0:
        return x
    order = list(range(x.ndim))
    a, b = call.axis(dim0, x.ndim), call.axis(dim1, x.ndim)
    order[a], order[b] = order[b], order[a]
    return _transposed(call, x, order)


@aten("t")
def _t(call: Call, x: Value) -> Value:
    return _transposed(call, x, (1, 0)) if x.ndim == 2 else x


@aten("expand")
def _expand(call: Call, x: Value, size: Sequence[Any], implicit: bool = False) -> Value:
    own = (1,) * (len(size) - x.ndim) + tuple(x.shape)
    shape = tuple(n if not has_sizes(m) and m == -1 else m for n, m in zip(own, size, strict=True))
    return call.emit("broadcast_to", x, shape=shape)


@aten("copy")
def _copy(call: Call, x: Value, source: Value, non_blocking: bool = False) -> Value:
    return call.emit("broadcast_to", call.cast(source, x.dtype), shape=tuple(x.shape))


@aten("squeeze")
def _squeeze(call: Call, x: Value) -> Value:
    return _squeezed(call, x, tuple(range(x.ndim)))


@aten("squeeze.dim", "squeeze.dims")
def _squeeze_dims(call: Call, x: Value, dim: Any) -> Value:
    return _squeezed(call, x, call.dims(dim, x.ndim)) if x.ndim else x


def _squeezed(call: Call, x: Value, axes: Sequence[int]) -> Value:
    """The value without those of the axes that have one element."""
    ones = tuple(axis for axis in axes if x.dim(axis) == 1)
    return call.emit("squeeze", x, axis=ones) if ones else x


@aten("unsqueeze")
def _unsqueeze(call: Call, x: Value, dim: int) -> Value:
    return call.expand_dims(x, (call.axis(dim, x.ndim + 1),))


@aten("cat")
def _cat(call: Call, tensors: Sequence[Value], dim: int = 0) -> Value:
    # An empty vector fits everywhere.
    kept = [x for x in tensors if x._type.shape != (0,)] or list(tensors[:1])
    wide = [call.cast(x, call.dtype) for x in kept]
    return call.concatenate(wide, call.axis(dim, kept[0].ndim))


@aten("stack")
def _stack(call: Call, tensors: Sequence[Value], dim: int = 0) -> Value:
    wide = [call.cast(x, call.dtype) for x in tensors]
    axis = call.axis(dim, tensors[0].ndim + 1)
    return call.emit("stack", *wide, num_args=len(wide), axis=axis)


def _split_at(call: Call, x: Value, sizes: Sequence[Any], axis: int) -> list[Value]:
    starts: list[Any] = [0]
    for size in sizes[:-1]:
        starts.append(starts[-1] + size)
    if len(sizes) == 1:
        return [x]
    return list(call.emit_all("split", x, indices=tuple(starts), axis=axis))


@aten("split.Tensor", "split")
def _split(call: Call, x: Value, split_size: Any, dim: int = 0) -> list[Value]:
    axis = call.axis(dim, x.ndim)
    count, size = call.count, x.dim(axis)
    return _split_at(call, x, [split_size] * (count - 1) + [size - split_size * (count - 1)], axis)


@aten("split_with_sizes", "split.sizes")
def _split_with_sizes(call: Call, x: Value, split_sizes: Sequence[Any], dim: int = 0) -> list[Value]:
    return _split_at(call, x, split_sizes, call.axis(dim, x.ndim))


@aten("chunk")
def _chunk(call: Call, x: Value, chunks: int, dim: int = 0) -> list[Value]:
    axis = call.axis(dim, x.ndim)
    size = -(-x.dim(axis) // chunks)
    return _split(call, x, size, axis)


@aten("unbind.int")
def _unbind(call: Call, x: Value, dim: int = 0) -> list[Value]:
    axis = call.axis(dim, x.ndim)
    if call.count == 1:
        return [call.emit("squeeze", x, axis=(axis,))]
    return list(call.emit_all("split", x, sections=call.count, axis=axis, squeeze_axis=True))


@aten("slice.Tensor")
def _slice(call: Call, x: Value, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Value:
    axis = call.axis(dim, x.ndim)
    size = x.dim(axis)
    if isinstance(end, Size) and isinstance(size, Size) and end.structure == size.structure:
        end = None
    end = None if end is not None and not has_sizes(end) and end >= _FAR else end
    starts_at_zero = start is None or (not has_sizes(start) and start == 0)
    if starts_at_zero and end is None and step == 1:
        return x
    if step == 1:
        return call.emit("slice_axis", x, axis=axis, begin=0 if start is None else start, end=end)
    begins, ends, steps = ([None] * x.ndim for _ in range(3))
    begins[axis], ends[axis], steps[axis] = start, end, step  # type: ignore[call-overload]
    return call.emit("slice", x, begin=tuple(begins), end=tuple(ends), step=tuple(steps))


@aten("narrow")
def _narrow(call: Call, x: Value, dim: int, start: Any, length: Any) -> Value:
    return call.emit("slice_axis", x, axis=call.axis(dim, x.ndim), begin=start, end=start + length)


@aten("select.int")
def _select(call: Call, x: Value, dim: int, index: Any) -> Value:
    axis = call.axis(dim, x.ndim)
    end = None if not has_sizes(index) and index == -1 else index + 1
    row = call.emit("slice_axis", x, axis=axis, begin=index, end=end)
    return call.emit("squeeze", row, axis=(axis,))


@aten("flip")
def _flip(call: Call, x: Value, dims: Sequence[int]) -> Value:
    return call.emit("flip", x, axis=call.dims(dims, x.ndim)) if dims else x


@aten("roll")
def _roll(call: Call, x: Value, shifts: Any, dims: Any = ()) -> Value:
    """The elements of an axis moved on, those of its end to its beginning."""
    if not dims:
        return call.reshape(_roll(call, call.reshape(x, (-1,)), shifts, (0,)), x.shape)
    for shift, axis in zip(shifts, call.dims(dims, x.ndim), strict=True):
        size = x.dim(axis)
        shift = shift % size
        if not has_sizes(shift) and shift == 0:
            continue
        tail = call.emit("slice_axis", x, axis=axis, begin=size - shift, end=None)
        head = call.emit("slice_axis", x, axis=axis, begin=0, end=size - shift)
        x = call.concatenate([tail, head], axis)
    return x


@aten("repeat", "tile")
def _repeat(call: Call, x: Value, repeats: Sequence[Any]) -> Value:
    if all(not has_sizes(n) and n == 1 for n in repeats) and len(repeats) == x.ndim:
        return x
    return call.emit("tile", x, reps=tuple(repeats))


@aten("repeat_interleave.self_int")
def _repeat_interleave(call: Call, x: Value, repeats: int, dim: int | None = None, **_: Any) -> Value:
    if dim is None:
        return call.emit("repeat", call.reshape(x, (-1,)), repeats=repeats, axis=0)
    return call.emit("repeat", x, repeats=repeats, axis=call.axis(dim, x.ndim))


@aten("tril", "triu")
def _triangle(call: Call, x: Value, diagonal: int = 0) -> Value:
    op = "tril" if "tril" in call.label else "triu"
    if x.dtype.kind == "b":
        return call.cast(call.emit(op, call.cast(x, "uint8"), k=diagonal), x.dtype)
    return call.emit(op, x, k=diagonal)


@aten("diagonal")
def _diagonal(call: Call, x: Value, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Value:
    return call.emit("diagonal", x, offset=offset, axis1=call.axis(dim1, x.ndim), axis2=call.axis(dim2, x.ndim))


@aten("pixel_shuffle")
def _pixel_shuffle(call: Call, x: Value, factor: int) -> Value:
    *front, c, h, w = x.shape
    depth, n = c // (factor * factor), len(front)
    parts = call.reshape(x, (*front, depth, factor, factor, h, w))
    order = [*range(n), n, n + 3, n + 1, n + 4, n + 2]
    return call.reshape(call.transpose(parts, order), (*front, depth, h * factor, w * factor))


@aten("pixel_unshuffle")
def _pixel_unshuffle(call: Call, x: Value, factor: int) -> Value:
    *front, c, h, w = x.shape
    n = len(front)
    parts = call.reshape(x, (*front, c, h // factor, factor, w // factor, factor))
    order = [*range(n), n, n + 2, n + 4, n + 1, n + 3]
    return call.reshape(call.transpose(parts, order), (*front, c * factor * factor, h // factor, w // factor))


# ---- pads


def _pairs(call: Call, x: Value, pads: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Pads in front and behind by axis; ATen begins with the last one."""
    pairs: list[tuple[Any, Any]] = [(0, 0)] * x.ndim
    for i in range(len(pads) // 2):
        pairs[x.ndim - 1 - i] = pads[2 * i], pads[2 * i + 1]
    return pairs


@aten("constant_pad_nd")
def _constant_pad(call: Call, x: Value, pads: Sequence[Any], value: Any = 0) -> Value:
    return pad(call, x, _pairs(call, x, pads), value=value)


@aten("reflection_pad1d", "reflection_pad2d", "reflection_pad3d")
def _reflection_pad(call: Call, x: Value, pads: Sequence[Any]) -> Value:
    return pad(call, x, _pairs(call, x, pads), "reflect")


@aten("replication_pad1d", "replication_pad2d", "replication_pad3d")
def _replication_pad(call: Call, x: Value, pads: Sequence[Any]) -> Value:
    return pad(call, x, _pairs(call, x, pads), "edge")


@aten("_pad_circular")
def _circular_pad(call: Call, x: Value, pads: Sequence[Any]) -> Value:
    return pad(call, x, _pairs(call, x, pads), "wrap")
