"""Reductions, running sums, and what sorts."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidnn.interop.onnx.call import Call, rule
from minidnn.interop.onnx.values import Value

__all__: list[str] = []

_PLAIN = {"ReduceMax": "max", "ReduceMean": "mean", "ReduceMin": "min", "ReduceProd": "prod", "ReduceSum": "sum"}
# Those that got their axes as an input later than ReduceSum did.
_AXES_SINCE = {"ReduceSum": 13}


@rule(
    *_PLAIN,
    *("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare"),
)
def _reduce(call: Call) -> Value:
    x, keep = call[0], call.flag("keepdims", True)
    empty_is_none = call.flag("noop_with_empty_axes")
    axes = call.integers("axes", None)
    if call.opset >= _AXES_SINCE.get(call.op, 18) and call.get(1) is not None:
        axes = call.plain_ints(1, "axes")
    if not axes:
        if empty_is_none:
            return _as_element_op(call, x)
        axes = None
    where: dict[str, Any] = {"axis": None if axes is None else call.axes(axes, x.ndim), "keepdims": keep}
    return _reduced(call, x, where)


def _as_element_op(call: Call, x: Value) -> Value:
    """What a reduction over no axes computes on each element."""
    if call.op in ("ReduceL1", "ReduceL2"):
        return call.emit("abs", x)
    if call.op == "ReduceSumSquare":
        return call.emit("multiply", x, x)
    return call.emit("log", x) if call.op == "ReduceLogSum" else x


def _reduced(call: Call, x: Value, where: dict[str, Any]) -> Value:
    if call.op in _PLAIN:
        return _plain(call, _PLAIN[call.op], x, where)
    if call.op == "ReduceL1":
        return _plain(call, "sum", call.emit("abs", x), where)
    if call.op == "ReduceLogSumExp":
        return _log_sum_exp(call, x, where)
    if call.op == "ReduceLogSum":
        return call.cast(call.emit("log", _plain(call, "sum", x, where)), x.dtype)
    total = _plain(call, "sum", call.emit("multiply", x, x), where)
    return call.cast(call.emit("sqrt", total), x.dtype) if call.op == "ReduceL2" else total


def _plain(call: Call, op: str, x: Value, where: dict[str, Any]) -> Value:
    """A reduction in the type of its input; NumPy's sums of integers are wider."""
    if op in ("max", "min") and x._type.size == 0:
        return _of_nothing(call, op, x, where)
    if op in ("max", "min") and x.dtype == np.bool_:
        return call.cast(call.emit("any" if op == "max" else "all", x, **where), np.bool_)
    return call.cast(call.emit(op, x, **where), x.dtype).as_element(x.element)


def _of_nothing(call: Call, op: str, x: Value, where: dict[str, Any]) -> Value:
    """The least or largest number of the type, where there are no elements to compare."""
    shape = call.emit("sum", call.cast(x, np.float32), **where).shape
    info = (-np.inf, np.inf) if x.element.is_float else x.element.limits
    return call.filled(shape, info[0] if op == "max" else info[1], x.dtype).as_element(x.element)


def _log_sum_exp(call: Call, x: Value, where: dict[str, Any]) -> Value:
    """With the largest element taken out, so that nothing overflows."""
    wide = x if x.element.is_float else call.cast(x, np.float32)
    if wide._type.size == 0:
        return call.cast(call.emit("log", call.emit("sum", call.emit("exp", wide), **where)), x.dtype)
    top = call.emit("max", wide, axis=where["axis"], keepdims=True)
    top = call.emit("where", call.emit("isfinite", top), top, call.like(0, top))
    total = call.emit("sum", call.emit("exp", call.emit("subtract", wide, top)), **where)
    result = call.emit("log", total)
    shown = top if where["keepdims"] else call.reshape(top, result.shape)
    return call.cast(call.emit("add", result, shown), x.dtype)


@rule("ArgMax", "ArgMin")
def _arg_reduce(call: Call) -> Value:
    op = "argmax" if call.op == "ArgMax" else "argmin"
    x, keep = call[0], call.flag("keepdims", True)
    axis = call.axis(call.integer("axis", 0), x.ndim)
    if not call.flag("select_last_index"):
        return call.cast(call.emit(op, x, axis=axis, keepdims=keep), np.int64)
    from_back = call.emit(op, call.emit("flip", x, axis=(axis,)), axis=axis, keepdims=keep)
    last = call.sizes([x.dim(axis) - 1])
    return call.emit("subtract", call.reshape(last, ()), call.cast(from_back, np.int64))


@rule("CumSum", "CumProd")
def _cumulate(call: Call) -> Value:
    x, axis = call[0], call.axis(int(call.number(1, "axis")), call[0].ndim)
    op, start = ("cumsum", 0) if call.op == "CumSum" else ("cumprod", 1)
    exclusive, reverse = call.flag("exclusive"), call.flag("reverse")
    if reverse:
        x = call.emit("flip", x, axis=(axis,))
    if exclusive:
        pairs = [(0, 0)] * x.ndim
        pairs[axis] = (1, 0)
        kept = call.emit("slice_axis", x, axis=axis, begin=0, end=x.dim(axis) - 1)
        x = call.emit("pad", kept, pad_width=tuple(pairs), constant_values=start)
    result = call.cast(call.emit(op, x, axis=axis, dtype=x.dtype), x.dtype).as_element(x.element)
    return call.emit("flip", result, axis=(axis,)) if reverse else result


@rule("TopK")
def _top_k(call: Call) -> list[Value]:
    x = call[0]
    axis = call.axis(call.integer("axis", -1), x.ndim)
    k = call.integer("k") if call.opset < 10 else call.number(1, "k")
    largest = call.flag("largest", True)
    call.ignore("sorted")
    if k < 0 or k > x.dim(axis):
        call.misfit(f"k must lie in 0..{x.dim(axis)}, got {k}")
    order = call.emit("argsort", x, axis=axis, descending=largest)
    first = call.emit("slice_axis", order, axis=axis, begin=0, end=k)
    return [call.emit("take_along_axis", x, first, axis=axis), call.cast(first, np.int64)]


@rule("Hardmax")
def _hardmax(call: Call) -> Value:
    x = call[0]
    axis = call.integer("axis", 1 if call.opset < 13 else -1)
    if call.opset < 13:
        axis = call.axis(axis, x.ndim)
        flat = call.reshape(x, _two_dimensions(x, axis))
        return call.reshape(_hot(call, flat, 1), x.shape)
    return _hot(call, x, call.axis(axis, x.ndim))


def _hot(call: Call, x: Value, axis: int) -> Value:
    """1 at the first largest element along an axis, 0 elsewhere."""
    place = call.cast(call.emit("argmax", x, axis=axis, keepdims=True), np.int64)
    shape = [1] * x.ndim
    shape[axis] = x.dim(axis)
    all_places = call.reshape(_arange(call, x.dim(axis)), shape)
    return call.cast(call.emit("equal", all_places, place), x.dtype).as_element(x.element)


def _arange(call: Call, stop: Any) -> Value:
    return call.emit("arange", start=0, stop=stop, dtype=np.dtype(np.int64))


def _two_dimensions(x: Value, axis: int) -> tuple[Any, Any]:
    front: Any = 1
    for n in x.shape[:axis]:
        front = front * n
    back: Any = 1
    for n in x.shape[axis:]:
        back = back * n
    return front, back


@rule("Softmax", "LogSoftmax")
def _softmax(call: Call) -> Value:
    op = "softmax" if call.op == "Softmax" else "log_softmax"
    x = call[0]
    if call.opset >= 13:
        return call.emit(op, x, axis=call.axis(call.integer("axis", -1), x.ndim))
    axis = call.axis(call.integer("axis", 1), max(x.ndim, 1))
    if axis == x.ndim - 1:
        return call.emit(op, x, axis=-1)
    return call.reshape(call.emit(op, call.reshape(x, _two_dimensions(x, axis)), axis=-1), x.shape)
