"""Operators that give the same elements another shape or order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minidnn.errors import OpError, ShapeError
from minidnn.ops.checks import broadcast_shapes, normalize_axes, normalize_axis, want_min_rank
from minidnn.ops.registry import Attr, Attrs, Op, TensorType, register
from minidnn.ops.traits import IF_ALL, IF_FIRST

__all__ = ["npx_reshape_shape"]

Array = np.ndarray[Any, Any]


# What stands for a size of zero while a -1 is looked for: a prime, larger than any size there can be.
_ZERO = (1 << 127) - 1


def _marked(shape: Sequence[int]) -> list[int]:
    return [n or _ZERO for n in shape]


def _inferred(op: str, data: TensorType, shape: Sequence[int]) -> tuple[int, ...]:
    """`shape` with its one -1, if there is one, replaced by what is left over."""
    known = math.prod(n for n in shape if n != -1)
    if -1 in shape:
        if list(shape).count(-1) > 1:
            raise ShapeError(f"{op}: only one dimension can be -1, got {tuple(shape)}")
        if known == 0 and data.size == 0:
            return _left_over(op, data, _marked(data.shape), _marked(shape))
        if known and data.size % known == 0:
            return tuple(data.size // known if n == -1 else n for n in shape)
    elif known == data.size:
        return tuple(shape)
    raise _misfit(op, data, shape)


def _left_over(op: str, data: TensorType, source: Sequence[int], shape: Sequence[int]) -> tuple[int, ...]:
    """`shape` with its -1 replaced, where both shapes have sizes of zero, which are marked: zeros cancel.

    So a batch of nothing keeps its other dimensions: (0, 3, 4) becomes (0, 12) by (0, -1).
    """
    rest, misfit = divmod(math.prod(source), math.prod(n for n in shape if n != -1))
    if misfit:
        raise _misfit(op, data, [n % _ZERO for n in shape])
    return tuple((rest if n == -1 else n) % _ZERO for n in shape)


def _misfit(op: str, data: TensorType, shape: Sequence[int]) -> ShapeError:
    return ShapeError(f"{op}: data of shape {data.shape} ({data.size} elements) does not fit into shape {tuple(shape)}")


def _check_newshape(op: str, low: int) -> Any:
    def check(attrs: Attrs) -> None:
        if any(n is None or n < low for n in attrs.newshape):
            raise OpError(f"{op}: the numbers of the new shape must be at least {low}, got {attrs.newshape}")

    return check


def _infer_reshape(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    return [TensorType(_inferred("reshape", types[0], attrs.newshape), types[0].dtype)]


_ORDER = Attr("order", "str", "C", choices=("C", "F", "A"))

register(
    Op(
        "reshape",
        _infer_reshape,
        lambda attrs, x: x.reshape(_inferred("reshape", TensorType.of(x), attrs.newshape), order=attrs.order),
        ("data",),
        attrs=(Attr("newshape", "ints"), _ORDER),
        kind="shape",
        mxnet=("_npi_reshape", "_np_reshape"),
        check=_check_newshape("reshape", -1),
        keeps_order=lambda attrs: attrs.order == "C",
        scale_transparent=True,
        nonnegative=IF_ALL,
    )
)


def npx_reshape_shape(data: TensorType, newshape: Sequence[int], reverse: bool = False) -> tuple[int, ...]:
    """The shape that npx.reshape's special codes describe.

    -1 takes what is left over, -2 copies a dimension, -3 drops one of size one, -4 copies all that remain,
    -5 merges two, -6 splits one into the two numbers that follow (one of them may be -1). With `reverse`
    both shapes are read from the back.

    Raises:
        ShapeError: the codes do not fit the shape.
    """
    result = _follow_codes(data, data.shape, newshape, reverse)
    if data.size == 0 and -1 in result and 0 in result:
        source = _marked(data.shape)
        shape = _left_over("npx_reshape", data, source, _marked(_follow_codes(data, source, newshape, reverse)))
    else:
        shape = _inferred("npx_reshape", data, result)
    return shape[::-1] if reverse else shape


def _follow_codes(data: TensorType, sizes: Sequence[int], newshape: Sequence[int], reverse: bool) -> list[int]:
    """What the codes make of `sizes`, but for a -1; with `reverse`, from the back."""
    op = "npx_reshape"
    source = tuple(sizes)[::-1] if reverse else tuple(sizes)
    codes = list(newshape)[::-1] if reverse else list(newshape)
    result: list[int] = []
    position = i = 0

    def take(count: int, code: int) -> tuple[int, ...]:
        nonlocal position
        taken = source[position : position + count]
        if len(taken) < count:
            raise ShapeError(
                f"{op}: code {code} in {tuple(newshape)} needs more dimensions than shape {data.shape} has"
            )
        position += count
        return taken

    while i < len(codes):
        code = codes[i]
        i += 1
        if code >= -1:
            result.append(code)
            position += 1
        elif code == -2:
            result.extend(take(1, code))
        elif code == -3:
            if take(1, code) != (1,):
                raise ShapeError(
                    f"{op}: code -3 in {tuple(newshape)} drops a dimension of size 1 only; data is {data.shape}"
                )
        elif code == -4:
            result.extend(take(max(len(source) - position, 0), code))
        elif code == -5:
            result.append(math.prod(take(2, code)))
        else:
            result.extend(_split(data, newshape, take(1, code)[0], codes[i : i + 2]))
            i += 2
    return result


def _split(data: TensorType, newshape: Sequence[int], size: int, parts: Sequence[int]) -> tuple[int, int]:
    """The two numbers after -6, with a -1 among them resolved."""
    if len(parts) == 2 and min(parts) >= -1 and max(parts) > 0:
        first, second = parts
        first = size // second if first == -1 else first
        second = size // first if second == -1 and first else second
        if first * second == size:
            return first, second
    raise ShapeError(
        f"npx_reshape: code -6 in {tuple(newshape)} must be followed by two numbers whose product is {size}; "
        f"data is {data.shape}"
    )


def _infer_npx_reshape(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    return [TensorType(npx_reshape_shape(types[0], attrs.newshape, attrs.reverse), types[0].dtype)]


register(
    Op(
        "npx_reshape",
        _infer_npx_reshape,
        lambda attrs, x: x.reshape(
            npx_reshape_shape(TensorType.of(x), attrs.newshape, attrs.reverse), order=attrs.order
        ),
        ("data",),
        attrs=(Attr("newshape", "ints"), Attr("reverse", "bool", False), _ORDER),
        kind="shape",
        mxnet=("_npx_reshape",),
        check=_check_newshape("npx_reshape", -6),
        keeps_order=lambda attrs: attrs.order == "C",
        scale_transparent=True,
        nonnegative=IF_ALL,
    )
)


def _range(attrs: Attrs, side: str, ndim: int) -> tuple[int, int]:
    """First and last of the dimensions from ``SIDE_begin`` to, without, ``SIDE_end``."""

    def position(name: str, default: int) -> int:
        value = default if attrs[name] is None else attrs[name]
        if not -ndim <= value <= ndim:
            raise ShapeError(f"reshape_like: {name} must lie in [{-ndim}, {ndim}], got {value}")
        return int(value) + ndim if value < 0 else int(value)

    begin, end = position(f"{side}_begin", 0), position(f"{side}_end", ndim)
    if begin > end:
        raise ShapeError(f"reshape_like: {side}_begin {begin} lies behind {side}_end {end}")
    return begin, end


def _reshape_like_shape(attrs: Attrs, lhs: TensorType, rhs: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of lhs in which a range of dimensions is replaced by one of rhs."""
    begin, end = _range(attrs, "lhs", lhs.ndim)
    first, last = _range(attrs, "rhs", len(rhs))
    return _inferred("reshape_like", lhs, (*lhs.shape[:begin], *rhs[first:last], *lhs.shape[end:]))


def _infer_reshape_like(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    return [TensorType(_reshape_like_shape(attrs, types[0], types[1].shape), types[0].dtype)]


register(
    Op(
        "reshape_like",
        _infer_reshape_like,
        lambda attrs, x, like: x.reshape(_reshape_like_shape(attrs, TensorType.of(x), like.shape)),
        ("lhs", "rhs"),
        attrs=tuple(Attr(f"{side}_{end}", "int", None) for side in ("lhs", "rhs") for end in ("begin", "end")),
        kind="shape",
        mxnet=("reshape_like", "_npx_reshape_like"),
        keeps_order=True,
        nonnegative=IF_FIRST,
    )
)


def _infer_flatten(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    want_min_rank("flatten", "data", types[0], 1)
    shape = types[0].shape
    return [TensorType((shape[0], math.prod(shape[1:])), types[0].dtype)]


register(
    Op(
        "flatten",
        _infer_flatten,
        lambda attrs, x: x.reshape(x.shape[0], math.prod(x.shape[1:])),
        ("data",),
        kind="shape",
        mxnet=("Flatten", "flatten", "_npx_batch_flatten"),
        keeps_order=True,
        scale_transparent=True,
        keeps_samples=True,
        moves_axes=True,
        nonnegative=IF_ALL,
    )
)


def _permutation(attrs: Attrs, ndim: int) -> tuple[int, ...]:
    if not attrs.axes:
        return tuple(reversed(range(ndim)))
    if None in attrs.axes:
        raise OpError(f"transpose: axes must be all integers, got {attrs.axes}")
    axes = tuple(normalize_axis("transpose", axis, ndim, "axes") for axis in attrs.axes)
    if sorted(axes) != list(range(ndim)):
        raise ShapeError(f"transpose: axes must be a permutation of the {ndim} dimensions, got {attrs.axes}")
    return axes


def _infer_transpose(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    shape = types[0].shape
    return [TensorType(tuple(shape[a] for a in _permutation(attrs, len(shape))), types[0].dtype)]


register(
    Op(
        "transpose",
        _infer_transpose,
        lambda attrs, x: x.transpose(_permutation(attrs, x.ndim)),
        ("data",),
        attrs=(Attr("axes", "ints", None),),
        kind="shape",
        mxnet=("_npi_transpose", "transpose"),
        scale_transparent=True,
        keeps_samples=lambda attrs: bool(attrs.axes) and attrs.axes[0] == 0,
        moves_axes=True,
        nonnegative=IF_ALL,
    )
)


def _infer_swapaxes(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    shape = list(types[0].shape)
    a, b = (normalize_axis("swapaxes", attrs[name], len(shape), name) for name in ("dim1", "dim2"))
    shape[a], shape[b] = shape[b], shape[a]
    return [TensorType(tuple(shape), types[0].dtype)]


register(
    Op(
        "swapaxes",
        _infer_swapaxes,
        lambda attrs, x: np.swapaxes(x, attrs.dim1, attrs.dim2),
        ("data",),
        attrs=(Attr("dim1", "int", 0), Attr("dim2", "int", 0)),
        kind="shape",
        mxnet=("SwapAxis", "_npi_swapaxes", "swapaxes"),
        scale_transparent=True,
        nonnegative=IF_ALL,
    )
)


def _infer_moveaxis(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op, shape = "moveaxis", types[0].shape
    if len(attrs.source) != len(attrs.destination):
        raise OpError(f"{op}: source and destination must be of one length, got {attrs.source} and {attrs.destination}")
    source = [normalize_axis(op, a, len(shape), "source") for a in attrs.source]
    destination = [normalize_axis(op, a, len(shape), "destination") for a in attrs.destination]
    if len(set(source)) < len(source) or len(set(destination)) < len(destination):
        raise OpError(f"{op}: duplicate axis in {attrs.source} or {attrs.destination}")
    order = [n for n in range(len(shape)) if n not in source]
    for to, axis in sorted(zip(destination, source, strict=True)):
        order.insert(to, axis)
    return [TensorType(tuple(shape[a] for a in order), types[0].dtype)]


register(
    Op(
        "moveaxis",
        _infer_moveaxis,
        lambda attrs, x: np.moveaxis(x, attrs.source, attrs.destination),
        ("data",),
        attrs=(Attr("source", "ints"), Attr("destination", "ints")),
        kind="shape",
        mxnet=("_npi_moveaxis",),
        scale_transparent=True,
        nonnegative=IF_ALL,
    )
)


def _infer_expand_dims(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    shape = list(types[0].shape)
    shape.insert(normalize_axis("expand_dims", attrs.axis, len(shape) + 1), 1)
    return [TensorType(tuple(shape), types[0].dtype)]


register(
    Op(
        "expand_dims",
        _infer_expand_dims,
        lambda attrs, x: np.expand_dims(x, attrs.axis),
        ("data",),
        attrs=(Attr("axis", "int"),),
        kind="shape",
        mxnet=("_npi_expand_dims", "expand_dims"),
        keeps_order=True,
        scale_transparent=True,
        keeps_samples=lambda attrs: attrs.axis > 0,
        moves_axes=True,
        nonnegative=IF_ALL,
    )
)


def _infer_squeeze(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op, shape = "squeeze", types[0].shape
    if attrs.axis is None:
        return [TensorType(tuple(n for n in shape if n != 1), types[0].dtype)]
    axes = normalize_axes(op, attrs.axis, len(shape))
    if any(shape[a] != 1 for a in axes):
        raise ShapeError(f"{op}: only dimensions of size 1 can be dropped, got axis={attrs.axis} of shape {shape}")
    return [TensorType(tuple(n for i, n in enumerate(shape) if i not in axes), types[0].dtype)]


register(
    Op(
        "squeeze",
        _infer_squeeze,
        lambda attrs, x: np.squeeze(x, attrs.axis),
        ("data",),
        attrs=(Attr("axis", "ints", None),),
        kind="shape",
        mxnet=("_npi_squeeze", "squeeze"),
        keeps_order=True,
        scale_transparent=True,
        keeps_samples=lambda attrs: bool(attrs.axis) and min(attrs.axis) > 0,
        moves_axes=True,
        nonnegative=IF_ALL,
    )
)


def _broadcast_to_shape(attrs: Attrs, shape: tuple[int, ...]) -> tuple[int, ...]:
    """`attrs.shape` with the dimension of `shape` in the same place, counted from the end, instead of each -2."""
    wanted = list(attrs.shape)
    for i, n in enumerate(wanted):
        if n == -2:
            if len(wanted) - i > len(shape):
                raise ShapeError(f"broadcast_to: -2 in {attrs.shape} stands for no dimension of {shape}")
            wanted[i] = shape[i - len(wanted)]
    return tuple(wanted)


def _check_broadcast_to(attrs: Attrs) -> None:
    if any(n is None or (n < 0 and n != -2) for n in attrs.shape):
        raise OpError(f"broadcast_to: the numbers of the shape must be at least 0, or -2, got {attrs.shape}")


def _infer_broadcast_to(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    wanted = TensorType(_broadcast_to_shape(attrs, types[0].shape), types[0].dtype)
    if broadcast_shapes("broadcast_to", [types[0], wanted]) != wanted.shape:
        raise ShapeError(f"broadcast_to: data of shape {types[0].shape} does not broadcast to {wanted.shape}")
    return [wanted]


register(
    Op(
        "broadcast_to",
        _infer_broadcast_to,
        lambda attrs, x: np.broadcast_to(x, _broadcast_to_shape(attrs, x.shape)),
        ("data",),
        attrs=(Attr("shape", "ints"),),
        kind="shape",
        mxnet=("_npi_broadcast_to",),
        check=_check_broadcast_to,
        scale_transparent=True,
        nonnegative=IF_ALL,
    )
)


def _broadcast_like_shape(attrs: Attrs, lhs: tuple[int, ...], rhs: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of lhs with its `lhs_axes` as large as the `rhs_axes` of rhs; the shape of rhs without axes."""
    op = "broadcast_like"
    if attrs.lhs_axes is None and attrs.rhs_axes is None:
        return rhs
    if attrs.lhs_axes is None or attrs.rhs_axes is None or len(attrs.lhs_axes) != len(attrs.rhs_axes):
        raise OpError(f"{op}: lhs_axes and rhs_axes must match, got {attrs.lhs_axes} and {attrs.rhs_axes}")
    shape = list(lhs)
    for a, b in zip(attrs.lhs_axes, attrs.rhs_axes, strict=True):
        shape[normalize_axis(op, a, len(lhs), "lhs_axes")] = rhs[normalize_axis(op, b, len(rhs), "rhs_axes")]
    return tuple(shape)


def _infer_broadcast_like(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    lhs, rhs = types
    wanted = TensorType(_broadcast_like_shape(attrs, lhs.shape, rhs.shape), lhs.dtype)
    if broadcast_shapes("broadcast_like", [lhs, wanted]) != wanted.shape:
        raise ShapeError(f"broadcast_like: lhs of shape {lhs.shape} does not broadcast to {wanted.shape}")
    return [wanted]


register(
    Op(
        "broadcast_like",
        _infer_broadcast_like,
        lambda attrs, x, like: np.broadcast_to(x, _broadcast_like_shape(attrs, x.shape, like.shape)),
        ("lhs", "rhs"),
        attrs=(Attr("lhs_axes", "ints", None), Attr("rhs_axes", "ints", None)),
        kind="shape",
        mxnet=("broadcast_like", "_npx_broadcast_like"),
        nonnegative=IF_FIRST,
    )
)
