"""Arrays that are made of sizes and numbers alone, and random ones, which are refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidnn.interop.onnx.values import Value, known
from minidnn.interop.torch.call import Call, aten
from minidnn.sizes import has_sizes

__all__: list[str] = []


@aten("full")
def _full(call: Call, size: Any, fill_value: Any, **_: Any) -> Value:
    return _filled(call, size, fill_value)


def _filled(call: Call, size: Any, number: Any) -> Value:
    if isinstance(number, Value) or has_sizes(number):
        return call.emit("broadcast_to", call.operand(number, call.dtype), shape=tuple(size))
    return call.filled(size, number, call.dtype)


@aten("full_like")
def _full_like(call: Call, x: Value, fill_value: Any, **_: Any) -> Value:
    return _filled(call, x.shape, fill_value)


@aten("zeros", "empty.memory_format")
def _zeros(call: Call, size: Any, **_: Any) -> Value:
    return _filled(call, size, 0)


@aten("ones")
def _ones(call: Call, size: Any, **_: Any) -> Value:
    return _filled(call, size, 1)


@aten("zeros_like", "empty_like")
def _zeros_like(call: Call, x: Value, **_: Any) -> Value:
    return _filled(call, x.shape, 0)


@aten("ones_like")
def _ones_like(call: Call, x: Value, **_: Any) -> Value:
    return _filled(call, x.shape, 1)


@aten("new_zeros", "new_empty")
def _new_zeros(call: Call, x: Value, size: Any, **_: Any) -> Value:
    return _filled(call, size, 0)


@aten("new_ones")
def _new_ones(call: Call, x: Value, size: Any, **_: Any) -> Value:
    return _filled(call, size, 1)


@aten("new_full")
def _new_full(call: Call, x: Value, size: Any, fill_value: Any, **_: Any) -> Value:
    return _filled(call, size, fill_value)


@aten("scalar_tensor")
def _scalar_tensor(call: Call, number: Any, **_: Any) -> Value:
    return call.operand(number, call.dtype)


@aten("arange.start_step")
def _arange(call: Call, start: Any, end: Any, step: Any = 1, **_: Any) -> Value:
    whole = all(has_sizes(n) or float(n).is_integer() for n in (start, end, step))
    if whole and not has_sizes(step):
        return call.emit("arange", start=start, stop=end, step=step, dtype=call.dtype)
    call.want_numbers(start, end, step)
    steps = call.emit("arange", start=0, stop=math.ceil((end - start) / step), dtype=np.dtype(np.float64))
    return call.cast(call.binary("add", call.binary("multiply", steps, float(step)), float(start)), call.dtype)


@aten("arange.start")
def _arange_from(call: Call, start: Any, end: Any, **_: Any) -> Value:
    return _arange(call, start, end)


@aten("arange")
def _arange_to(call: Call, end: Any, **_: Any) -> Value:
    return _arange(call, 0, end)


@aten("eye", "eye.m")
def _eye(call: Call, n: Any, m: Any = None, **_: Any) -> Value:
    return call.emit("eye", N=n, M=n if m is None else m, k=0, dtype=call.dtype)


@aten("sym_size.int")
def _sym_size(call: Call, x: Value, dim: int) -> Any:
    return x.dim(dim)


@aten("sym_numel")
def _sym_numel(call: Call, x: Value) -> Any:
    count: Any = 1
    for n in x.shape:
        count = count * n
    return count


@aten("item", "_local_scalar_dense")
def _item(call: Call, x: Value) -> Any:
    return call.one_of(x, "its value")


@aten("tril_indices")
def _lower_places(call: Call, row: int, col: int, offset: int = 0, **_: Any) -> Value:
    return known(np.stack(np.tril_indices(row, offset, col)).astype(call.dtype))


@aten("triu_indices")
def _upper_places(call: Call, row: int, col: int, offset: int = 0, **_: Any) -> Value:
    return known(np.stack(np.triu_indices(row, offset, col)).astype(call.dtype))
