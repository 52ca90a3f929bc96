"""Slices and pads."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidnn.interop.onnx.call import Call, rule
from minidnn.interop.onnx.maker import Maker
from minidnn.interop.onnx.values import Value
from minidnn.sizes import Size, has_sizes

__all__ = ["crop", "pad"]

# From here on a bound means: to the end.
_FAR = 1 << 30


@rule("Slice")
def _slice(call: Call) -> Value:
    x = call[0]
    if call.opset < 10:
        starts, ends = call.integers("starts"), call.integers("ends")
        axes, steps = call.integers("axes", None), None
    else:
        starts, ends = call.ints(1, "starts"), call.ints(2, "ends")
        axes = None if call.get(3) is None else call.plain_ints(3, "axes")
        steps = None if call.get(4) is None else call.plain_ints(4, "steps")
    axes = tuple(range(len(starts))) if axes is None else axes
    steps = (1,) * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(axes) == len(steps):
        call.fail("starts, ends, axes and steps must be of one length")
    if 0 in steps:
        call.fail("steps must not be zero")
    begin: list[Any] = [None] * x.ndim
    end: list[Any] = [None] * x.ndim
    step: list[Any] = [None] * x.ndim
    for axis, first, last, by in zip(call.axes(axes, x.ndim), starts, ends, steps, strict=True):
        begin[axis], end[axis] = _bounds(first, last, by, x.dim(axis) if has_sizes((first, last)) else None)
        step[axis] = by if by != 1 else None
    if all(b in (None, 0) and e is None and s is None for b, e, s in zip(begin, end, step, strict=True)):
        return x
    return call.emit("slice", x, begin=tuple(begin), end=tuple(end), step=tuple(step) if any(step) else None)


def _bounds(first: Any, last: Any, step: int, size: Any) -> tuple[Any, Any]:
    """Begin and end as a slice of Python's takes them."""
    if step > 0:
        if isinstance(last, Size) and isinstance(size, Size) and last.structure == size.structure:
            last = None
        return first, None if not isinstance(last, Size) and last is not None and last >= _FAR else last
    begin = None if not isinstance(first, Size) and first >= _FAR else first
    return begin, None if not isinstance(last, Size) and last <= -_FAR else last


_MODES = {"constant": "constant", "edge": "edge", "reflect": "reflect", "wrap": "wrap"}


@rule("Pad")
def _pad(call: Call) -> Value:
    x = call[0]
    mode = _MODES[call.text("mode", "constant", tuple(_MODES))]
    value: Any = 0
    if call.opset < 11:
        widths = call.integers("pads" if call.opset > 1 else "paddings")
        value = call.real("value", 0.0)
    else:
        widths = call.ints(1, "pads")
        if call.get(2) is not None:
            value = call.number(2, "constant_value")
    axes = range(x.ndim) if call.get(3) is None else call.axes(call.plain_ints(3, "axes"), x.ndim)
    if len(widths) != 2 * len(axes):
        call.fail(f"pads must have {2 * len(axes)} numbers, got {len(widths)}")
    pairs: list[tuple[Any, Any]] = [(0, 0)] * x.ndim
    for i, axis in enumerate(axes):
        pairs[axis] = widths[i], widths[i + len(axes)]
    return pad(call, x, pairs, mode, value)


def pad(call: Maker, x: Value, pairs: list[tuple[Any, Any]], mode: str = "constant", value: Any = 0) -> Value:
    """The value with so many elements more before and behind, along each axis; fewer where a number is negative."""
    x = crop(call, x, [(max(-a, 0), max(-b, 0)) if _below(a) or _below(b) else (0, 0) for a, b in pairs])
    pairs = [(a if not _below(a) else 0, b if not _below(b) else 0) for a, b in pairs]
    if all(not has_sizes(pair) and pair == (0, 0) for pair in pairs):
        return x
    if mode == "wrap":
        return _wrapped(call, x, pairs)
    if x.dtype == np.bool_:
        value = int(bool(value))
    return call.emit("pad", x, pad_width=tuple(pairs), mode=mode, constant_values=value)


def _below(number: Any) -> bool:
    """Whether it is negative, decided by the sizes of the call where it depends on them."""
    return bool(number < 0)


def _wrapped(call: Maker, x: Value, pairs: list[tuple[Any, Any]]) -> Value:
    """Pads with elements from the other end, as often as it takes."""
    for axis, (before, behind) in enumerate(pairs):
        if has_sizes((before, behind)) or before or behind:
            size = x.dim(axis)
            places = call.emit("arange", start=-before, stop=size + behind, dtype=np.dtype(np.int64))
            around = call.emit("mod", places, call.sizes([size]))
            x = call.emit("take", x, around, axis=axis)
    return x


def crop(call: Maker, x: Value, pairs: list[tuple[Any, Any]]) -> Value:
    """The value without so many elements at the beginning and the end of each axis."""
    if all(not has_sizes(pair) and pair == (0, 0) for pair in pairs):
        return x
    shape = x.shape
    end = tuple(n - b for n, (_, b) in zip(shape, pairs, strict=True))
    return call.emit("slice", x, begin=tuple(a for a, _ in pairs), end=end)
