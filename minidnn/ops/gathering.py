"""Operators that read or write elements at positions given by arrays: index, take_along_axis, scatters; and resize."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidnn.errors import OpError, ShapeError, TypeMismatchError
from minidnn.ops.checks import DTYPES, INTEGERS, broadcast_shapes, normalize_axis, want_integer, want_min_rank
from minidnn.ops.elementwise import want_supported
from minidnn.ops.numpy_dtypes import defaulted
from minidnn.ops.registry import Attr, Attrs, Op, TensorType, register
from minidnn.ops.traits import IF_ALL, IF_FIRST

__all__: list[str] = []

Array = np.ndarray[Any, Any]


def _indexed_axes(attrs: Attrs, data: TensorType) -> tuple[int, ...]:
    if None in attrs.axes or not attrs.axes:
        raise OpError(f"index: axes must be one or more integers, got {attrs.axes}")
    axes = tuple(normalize_axis("index", axis, data.ndim, "axes") for axis in attrs.axes)
    if list(axes) != sorted(set(axes)):
        raise OpError(f"index: axes must increase, got {attrs.axes}")
    return axes


def _place(attrs: Attrs, axes: tuple[int, ...]) -> int:
    """Where the dimensions of the indices stand in the result."""
    is_one_block = axes[-1] - axes[0] == len(axes) - 1
    return axes[0] if is_one_block and not attrs.front else 0


def _infer_index(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op, data, indices = "index", types[0], types[1:]
    want_supported(op, [data])
    axes = _indexed_axes(attrs, data)
    for i, t in enumerate(indices):
        want_integer(op, f"index{i}", t)
    found = broadcast_shapes(op, indices)
    if 0 not in found and any(data.shape[axis] == 0 for axis in axes):
        raise ShapeError(f"{op}: an axis of size 0 has no elements to read, got {data} and axes {axes}")
    rest = [n for i, n in enumerate(data.shape) if i not in axes]
    place = _place(attrs, axes)
    return [TensorType((*rest[:place], *found, *rest[place:]), data.dtype)]


def _index(attrs: Attrs, data: Array, *indices: Array) -> Array:
    axes = _indexed_axes(attrs, TensorType.of(data))
    for axis, index in zip(axes, indices, strict=True):
        size = data.shape[axis]
        if index.size and not (-size <= index.min() and index.max() < size):
            found = f"{index.min()}..{index.max()}"
            raise IndexError(f"indices {found} are out of bounds for axis {axis} with size {size}")
    # The indexed axes stand in front, so that NumPy's rule for the place of the result never matters.
    moved = np.moveaxis(data, axes, range(len(axes)))
    result = np.asarray(moved[indices])
    rank = np.broadcast(*indices).ndim
    place = _place(attrs, axes)
    return np.moveaxis(result, range(rank), range(place, place + rank))


register(
    Op(
        "index",
        _infer_index,
        _index,
        lambda attrs: ("data", *(f"index{i}" for i in range(len(attrs.axes)))),
        attrs=(Attr("axes", "ints"), Attr("front", "bool", False)),
        nonnegative=IF_FIRST,
    )
)


def _infer_take_along_axis(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op, (data, indices) = "take_along_axis", types
    want_supported(op, [data])
    want_min_rank(op, "data", data, 1)
    want_integer(op, "indices", indices)
    if indices.ndim != data.ndim:
        raise ShapeError(f"{op}: indices must have as many dimensions as data, got {indices} and {data}")
    axis = normalize_axis(op, attrs.axis, data.ndim)
    if indices.shape[axis] and not data.shape[axis]:
        raise ShapeError(f"{op}: axis {axis} has no elements to read, got {data}")
    # Along the other axes both are broadcast.
    like = TensorType((*data.shape[:axis], 1, *data.shape[axis + 1 :]), data.dtype)
    return [TensorType(broadcast_shapes(op, [like, indices]), data.dtype)]


def _take_along_axis(attrs: Attrs, data: Array, indices: Array) -> Array:
    return np.take_along_axis(data, indices, attrs.axis)


register(
    Op(
        "take_along_axis",
        _infer_take_along_axis,
        _take_along_axis,
        ("data", "indices"),
        attrs=(Attr("axis", "int"),),
        nonnegative=IF_FIRST,
    )
)


def _infer_choose(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op = "choose"
    want_supported(op, types)
    want_integer(op, "a", types[0])
    return [TensorType(broadcast_shapes(op, types), defaulted(np.result_type(*(t.dtype for t in types[1:])), types))]


def _choose(attrs: Attrs, a: Array, *choices: Array) -> Array:
    # NumPy's own is limited to 64 choices.
    count = len(choices)
    if attrs.mode == "raise" and a.size and not (a.min() >= 0 and a.max() < count):
        raise OpError(f"choose: a must lie in [0, {count}) for {count} choices, got {a.min()}..{a.max()}")
    position = a % count if attrs.mode == "wrap" else np.clip(a, 0, count - 1)
    dtype = np.result_type(*choices)
    shape = np.broadcast_shapes(a.shape, *(c.shape for c in choices))
    result = np.empty(shape, dtype)
    for i, choice in enumerate(choices):
        np.copyto(result, choice, where=np.broadcast_to(position == i, shape))
    return result


register(
    Op(
        "choose",
        _infer_choose,
        _choose,
        lambda attrs: ("a", *(f"choice{i}" for i in range(attrs.num_args))),
        attrs=(Attr("num_args", "int", low=1), Attr("mode", "str", "raise", choices=("raise", "wrap", "clip"))),
    )
)


def _infer_resize(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    want_supported("resize", types)
    if None in attrs.new_shape:
        raise OpError(f"resize: new_shape must be all integers, got {attrs.new_shape}")
    return [TensorType(attrs.new_shape, types[0].dtype)]


register(
    Op(
        "resize",
        _infer_resize,
        lambda attrs, x: np.resize(x, attrs.new_shape),
        ("data",),
        attrs=(Attr("new_shape", "ints", low=0),),
        nonnegative=IF_ALL,
    )
)


def _infer(op: str, attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    """`ind` is one position along the first axis, a vector of them, or has a row for each of the first axes."""
    a, ind, val = types
    for name, t in (("a", a), ("val", val)):
        if t.dtype not in DTYPES:
            raise TypeMismatchError(f"{op}: {name} must be bool, integer or float, got {t}")
    if ind.dtype not in INTEGERS:
        raise TypeMismatchError(f"{op}: ind must be of an integer dtype, got {ind}")
    if ind.ndim > 2:
        raise ShapeError(f"{op}: ind must have at most two dimensions, got {ind}")
    depth = ind.shape[0] if ind.ndim == 2 else 1
    if depth > a.ndim:
        raise ShapeError(f"{op}: ind has positions along {depth} axes, but a has {a.ndim}: {a}")
    wanted = (ind.shape[-1] if ind.ndim else 1, *a.shape[depth:])
    if broadcast_shapes(op, [val, TensorType(wanted, val.dtype)]) != wanted:
        raise ShapeError(f"{op}: val of shape {val.shape} does not broadcast to {wanted}: positions, rest of a")
    return [a]


def _positions(op: str, a: Array, ind: Array) -> tuple[Array, ...]:
    """One vector of positions for each indexed axis.

    Raises:
        OpError: a position is out of range.
    """
    rows = tuple(ind) if ind.ndim == 2 else (ind.reshape(-1),)
    for axis, (row, size) in enumerate(zip(rows, a.shape, strict=False)):
        if row.size and (row.min() < -size or row.max() >= size):
            found = f"{row.min()}..{row.max()}"
            raise OpError(f"{op}: positions along axis {axis} must lie in [{-size}, {size}), got {found}")
    return rows


def _index_add(attrs: Attrs, a: Array, ind: Array, val: Array) -> Array:
    result = a.copy()
    np.add.at(result, _positions("index_add", a, ind), val.astype(a.dtype))
    return result


def _index_update(attrs: Attrs, a: Array, ind: Array, val: Array) -> Array:
    result = a.copy()
    result[_positions("index_update", a, ind)] = val.astype(a.dtype)
    return result


for _name, _reference in (("index_add", _index_add), ("index_update", _index_update)):
    register(
        Op(
            _name,
            lambda attrs, types, name=_name: _infer(name, attrs, types),  # type: ignore[misc]
            _reference,
            ("a", "ind", "val"),
            mxnet=(f"_npx_{_name}",),
        )
    )


# ---- x[key] = value ------------------------------------------------------------------------------------


def _check_key(attrs: Attrs) -> None:
    """A key has integers, slices as three numbers or None, ``new`` axes, the ``rest`` of them, places for arrays."""

    def is_part(part: Any) -> bool:
        if isinstance(part, tuple):
            return len(part) == 3 and all(n is None or _is_integer(n) for n in part)
        return part in ("new", "rest", "array") if isinstance(part, str) else _is_integer(part)

    if not isinstance(attrs.key, tuple) or not all(map(is_part, attrs.key)):
        raise OpError(f"index_assign: key must have integers, slices, 'new', 'rest' and 'array', got {attrs.key!r}")


def _is_integer(n: Any) -> bool:
    return isinstance(n, int) and not isinstance(n, bool)


def _key(attrs: Attrs, indices: Sequence[Any]) -> tuple[Any, ...]:
    """The key as NumPy takes it."""
    rest = iter(indices)
    words = {"new": None, "rest": Ellipsis}
    return tuple(
        slice(*part) if isinstance(part, tuple) else next(rest) if part == "array" else words.get(part, part)
        for part in attrs.key
    )


def _infer_index_assign(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op, (data, value), indices = "index_assign", types[:2], types[2:]
    for name, t in (("data", data), ("value", value), *((f"index{i}", t) for i, t in enumerate(indices))):
        if t.dtype not in DTYPES or (name.startswith("index") and t.dtype.kind not in "biu"):
            raise TypeMismatchError(f"{op}: {name} must be of {'integers or bools' if indices else 'numbers'}, got {t}")
    if not indices:
        # No memory: one element, seen as an array of that shape.
        _want_writable(op, np.broadcast_to(np.zeros((), np.bool_), data.shape)[_key(attrs, ())].shape, value, attrs)
    return [data]


def _want_writable(op: str, shape: tuple[int, ...], value: TensorType, attrs: Attrs) -> None:
    """Whether a value can be written to elements of that shape: NumPy drops dimensions of size one in front of it."""
    front = value.ndim - len(shape)
    fits = value.shape == shape
    if attrs.broadcasts and not fits and all(n == 1 for n in value.shape[: max(front, 0)]):
        kept = value.shape[max(front, 0) :]
        fits = all(n in (1, m) for n, m in zip(reversed(kept), reversed(shape), strict=False))
    if not fits:
        raise ShapeError(f"{op}: a value of shape {value.shape} cannot be written to elements of shape {shape}")


def _index_assign(attrs: Attrs, data: Array, value: Array, *indices: Array) -> Array:
    result = data.copy()
    try:
        result[_key(attrs, indices)] = value
    except ValueError as error:
        raise ShapeError(f"index_assign: {error}") from None
    return result


register(
    Op(
        "index_assign",
        _infer_index_assign,
        _index_assign,
        lambda attrs: ("data", "value", *(f"index{i}" for i in range(attrs.key.count("array")))),
        attrs=(Attr("key", "tree"), Attr("broadcasts", "bool", True)),
        check=_check_key,
        nonnegative=lambda attrs, inputs: all(inputs[:2]),
    )
)
