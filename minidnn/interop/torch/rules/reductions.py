"""Reductions, running sums, and what sorts."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidnn.interop.onnx.values import Value
from minidnn.interop.torch.call import Call, Rule, aten

__all__: list[str] = []


def _reduced(call: Call, op: str, x: Value, dim: Any, keepdim: bool, **attrs: Any) -> Value:
    """A reduction in the dtype of the result."""
    x = call.cast(x, call.dtype)
    if x.ndim == 0:
        return x
    return call.cast(call.emit(op, x, axis=call.dims(dim, x.ndim), keepdims=bool(keepdim), **attrs), call.dtype)


def _sum_rule(op: str) -> Rule:
    def read(call: Call, x: Value, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Value:
        return _reduced(call, op, x, dim, keepdim)

    return read


def _whole_rule(op: str) -> Rule:
    def read(call: Call, x: Value, dtype: Any = None) -> Value:
        return _reduced(call, op, x, None, False)

    return read


aten("mean.dim")(_sum_rule("mean"))
aten("mean")(_whole_rule("mean"))
aten("sum.dim_IntList")(_sum_rule("sum"))
aten("sum")(_whole_rule("sum"))
aten("prod.dim_int")(_sum_rule("prod"))
aten("prod")(_whole_rule("prod"))
aten("amax")(_sum_rule("max"))
aten("amin")(_sum_rule("min"))


def _extreme_rule(op: str) -> Rule:
    def read(call: Call, x: Value, dim: int, keepdim: bool = False) -> list[Value | None]:
        if x.ndim == 0:
            return [x, call.reshape(call.sizes([0]), ())]
        axis = call.axis(dim, x.ndim)
        places = None
        if call.wants(1):
            places = call.cast(call.emit(f"arg{op}", x, axis=axis, keepdims=bool(keepdim)), np.int64)
        return [call.emit(op, x, axis=(axis,), keepdims=bool(keepdim)) if call.wants(0) else None, places]

    return read


def _place_rule(op: str) -> Rule:
    def read(call: Call, x: Value, dim: int | None = None, keepdim: bool = False) -> Value:
        if dim is None:
            flat = call.emit(op, call.reshape(x, (-1,)), axis=0, keepdims=False)
            return call.reshape(flat, (1,) * x.ndim if keepdim else ())
        if x.ndim == 0:
            return call.reshape(call.sizes([0]), ())
        return call.emit(op, x, axis=call.axis(dim, x.ndim), keepdims=bool(keepdim))

    return read


for _op in ("max", "min"):
    aten(_op)(_whole_rule(_op))
    aten(f"{_op}.dim")(_extreme_rule(_op))
    aten(f"arg{_op}")(_place_rule(f"arg{_op}"))


def _logic_rule(op: str) -> Rule:
    def read(call: Call, x: Value, dim: Any = None, keepdim: bool = False) -> Value:
        x = call.cast(x, np.bool_)
        return x if x.ndim == 0 else call.emit(op, x, axis=call.dims(dim, x.ndim), keepdims=bool(keepdim))

    return read


for _op in ("any", "all"):
    aten(_op, f"{_op}.dim", f"{_op}.dims")(_logic_rule(_op))


def _spread_of(call: Call, op: str, x: Value, dim: Any, correction: Any, keepdim: bool) -> Value:
    ddof = 1 if correction is None else correction
    if float(ddof) != int(ddof):
        call.refuse(f"argument 'correction' must be a whole number, got {ddof}")
    return call.emit(op, x, axis=call.dims(dim, x.ndim), ddof=int(ddof), keepdims=bool(keepdim))


@aten("var.correction")
def _var(call: Call, x: Value, dim: Any = None, correction: Any = None, keepdim: bool = False) -> Value:
    return _spread_of(call, "var", x, dim, correction, keepdim)


@aten("std.correction")
def _std(call: Call, x: Value, dim: Any = None, correction: Any = None, keepdim: bool = False) -> Value:
    return _spread_of(call, "std", x, dim, correction, keepdim)


@aten("var_mean.correction")
def _var_mean(call: Call, x: Value, dim: Any = None, correction: Any = None, keepdim: bool = False) -> list[Value]:
    mean = call.emit("mean", x, axis=call.dims(dim, x.ndim), keepdims=bool(keepdim))
    return [_spread_of(call, "var", x, dim, correction, keepdim), mean]


@aten("cumsum", "cumprod")
def _cumulated(call: Call, x: Value, dim: int, dtype: Any = None) -> Value:
    op = "cumprod" if "cumprod" in call.label else "cumsum"
    x = call.cast(x, call.dtype)
    return x if x.ndim == 0 else call.emit(op, x, axis=call.axis(dim, x.ndim), dtype=x.dtype)


def _first(call: Call, x: Value, dim: int, descending: bool, count: Any = None) -> list[Value]:
    """The elements along an axis in order, with their places; the first ones alone where there is a count."""
    axis = call.axis(dim, x.ndim)
    order = call.emit("argsort", x, axis=axis, descending=bool(descending))
    if count is not None:
        order = call.emit("slice_axis", order, axis=axis, begin=0, end=count)
    return [call.emit("take_along_axis", x, order, axis=axis), call.cast(order, np.int64)]


@aten("topk")
def _topk(call: Call, x: Value, k: Any, dim: int = -1, largest: bool = True, sorted: bool = True) -> list[Value]:
    return _first(call, x, dim, largest, k)


@aten("sort")
def _sort(call: Call, x: Value, dim: int = -1, descending: bool = False) -> list[Value]:
    return _first(call, x, dim, descending)


@aten("sort.stable")
def _sort_stable(call: Call, x: Value, stable: Any = None, dim: int = -1, descending: bool = False) -> list[Value]:
    return _first(call, x, dim, descending)


@aten("argsort")
def _argsort(call: Call, x: Value, dim: int = -1, descending: bool = False) -> Value:
    return _first(call, x, dim, descending)[1]


# ---- one of the elements in order


def _ranked(call: Call, x: Value, dim: int, keepdim: bool, rank: Any) -> list[Value]:
    """The element of a rank along an axis, with its place; `rank` makes an array of ones that has one axis element."""
    if x.ndim == 0:
        return [x, call.reshape(call.sizes([0]), ())]
    axis = call.axis(dim, x.ndim)
    values, places = _first(call, x, axis, False)
    if isinstance(rank, Value):
        found = [call.emit("take_along_axis", v, rank, axis=axis) for v in (values, places)]
    else:
        found = [call.emit("slice_axis", v, axis=axis, begin=rank, end=rank + 1) for v in (values, places)]
    return found if keepdim else [call.emit("squeeze", v, axis=(axis,)) for v in found]


@aten("kthvalue")
def _kth_value(call: Call, x: Value, k: Any, dim: int = -1, keepdim: bool = False) -> list[Value]:
    return _ranked(call, x, dim, keepdim, k - 1)


def _median_rank(call: Call, x: Value, axis: int, skips_nan: bool) -> Any:
    """The rank of the lower median; that of the first NaN where there is one, which is sorted behind all numbers."""
    size = x.dim(axis)
    if x.dtype.kind != "f":
        return (size - 1) // 2
    valid = call.cast(call.emit("logical_not", call.emit("isnan", x)), np.int64)
    count = call.emit("sum", valid, axis=(axis,), keepdims=True)
    if skips_nan:
        half = call.emit("floor_divide", call.emit("subtract_scalar", count, scalar=1), call.operand(2, np.int64))
        return call.emit("maximum", half, call.operand(0, np.int64))
    whole = call.reshape(call.sizes([size]), ())
    middle = call.reshape(call.sizes([(size - 1) // 2]), ())
    return call.emit("where", call.emit("less", count, whole), count, middle)


def _median_rule(skips_nan: bool) -> tuple[Rule, Rule]:
    def along(call: Call, x: Value, dim: int, keepdim: bool = False) -> list[Value]:
        rank = _median_rank(call, x, call.axis(dim, x.ndim), skips_nan) if x.ndim else 0
        return _ranked(call, x, dim, keepdim, rank)

    def of_all(call: Call, x: Value) -> Value:
        flat = call.reshape(x, (-1,))
        return _ranked(call, flat, 0, False, _median_rank(call, flat, 0, skips_nan))[0]

    return along, of_all


for _op, _skips in (("median", False), ("nanmedian", True)):
    _along, _of_all = _median_rule(_skips)
    aten(f"{_op}.dim")(_along)
    aten(_op)(_of_all)


# ---- places in order


@aten("bucketize.Tensor")
def _bucketize(call: Call, x: Value, boundaries: Value, *, out_int32: bool = False, right: bool = False) -> Value:
    return _places_in(call, boundaries, call.expand_dims(x, (x.ndim,)), right)


@aten("searchsorted.Tensor")
def _searchsorted(
    call: Call,
    ordered: Value,
    x: Value,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Value | None = None,
) -> Value:
    if sorter is not None:
        call.refuse("argument 'sorter' is not supported")
    lines = ordered if ordered.ndim == 1 else call.expand_dims(ordered, (ordered.ndim - 1,))
    return _places_in(call, lines, call.expand_dims(x, (x.ndim,)), right or side == "right")


def _places_in(call: Call, ordered: Value, x: Value, right: bool) -> Value:
    """How many of the boundaries along the last axis are smaller, or not larger, than each number."""
    dtype = call.common(ordered, x)
    behind = call.emit("greater_equal" if right else "greater", call.cast(x, dtype), call.cast(ordered, dtype))
    return call.emit("sum", call.cast(behind, call.dtype), axis=(behind.ndim - 1,))


def _running_rule(op: str) -> Rule:
    def read(call: Call, x: Value, dim: int) -> list[Value | None]:
        """The extremes so far: each step looks at twice as many elements as the one before."""
        if call.wants(1):
            call.refuse("places of the elements are not supported")
        if x.ndim == 0:
            return [x, None]
        axis = call.axis(dim, x.ndim)
        size, step = int(x.dim(axis)), 1
        while step < size:
            first = call.emit("slice_axis", x, axis=axis, begin=0, end=step)
            before = call.emit("slice_axis", x, axis=axis, begin=0, end=size - step)
            behind = call.emit("slice_axis", x, axis=axis, begin=step, end=None)
            x, step = call.concatenate([first, call.emit(op, before, behind)], axis), 2 * step
        return [x, None]

    return read


aten("cummax")(_running_rule("maximum"))
aten("cummin")(_running_rule("minimum"))
