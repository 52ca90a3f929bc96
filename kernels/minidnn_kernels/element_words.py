"""Words of loop functions for elements whose type they are told: its place in `elements.ELEMENTS`.

Numba intrinsics, as in `loop_words`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from minidnn_kernels.elements import ELEMENTS, F64, FIRST_FLOAT, REAL, UNSIGNED, WHOLE, Lanes
from minidnn_kernels.loop_words import inlined, intrinsic

__all__ = [
    "floor",
    "index_at",
    "larger",
    "load_double",
    "load_float",
    "load_key",
    "load_real",
    "load_whole",
    "nearest",
    "smaller",
    "store_double",
    "store_float",
    "store_real",
    "store_whole",
    "whole",
]

_I64 = ir.IntType(64)
_FLOATS = ELEMENTS[FIRST_FLOAT:]
# What a float is no further from zero than, as an index: far from the ends of int64.
_FAR = 1 << 62
_MOST = (1 << 63) - 1
# Behind all other keys.
_NAN_KEY = _MOST


def _switch(builder: Any, code: Any, emit: Callable[[str], Any], result: Any, names: Sequence[str] = ELEMENTS) -> Any:
    """What `emit` makes of the type that `code` names, one of `names`; nothing is done for other codes."""
    done = builder.append_basic_block("done")
    before = builder.block
    switch = builder.switch(code, done)
    made: list[tuple[Any, Any]] = []
    for name in names:
        block = builder.append_basic_block(name)
        switch.add_case(ir.Constant(_I64, ELEMENTS.index(name)), block)
        builder.position_at_end(block)
        made.append((emit(name), builder.block))
        builder.branch(done)
    builder.position_at_end(done)
    if result is None:
        return None
    phi = builder.phi(result)
    phi.add_incoming(ir.Constant(result, 0), before)
    for value, block in made:
        phi.add_incoming(value, block)
    return phi


def _as_whole(builder: Any, value: Any) -> Any:
    """A float64 as an int64, cut off towards zero; what is too large is `_FAR`, NaN the least int64."""
    far = ir.Constant(F64, float(_FAR))
    low = builder.fcmp_ordered("<", value, ir.Constant(F64, -float(_FAR)))
    high = builder.fcmp_ordered(">", value, far)
    is_nan = builder.fcmp_unordered("uno", value, value)
    inside = builder.select(builder.or_(builder.or_(low, high), is_nan), ir.Constant(F64, 0.0), value)
    whole = builder.fptosi(inside, _I64)
    whole = builder.select(high, ir.Constant(_I64, _FAR), builder.select(low, ir.Constant(_I64, -_FAR), whole))
    return builder.select(is_nan, ir.Constant(_I64, -_MOST - 1), whole)


@intrinsic
def load_real(typing_context: Any, address: Any, code: Any) -> Any:
    """The element at `address` as a float64."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address, code = arguments
        return _switch(builder, code, lambda name: Lanes(builder, name, REAL, 1).load(address), F64)

    return types.float64(types.intp, types.intp), codegen


@intrinsic
def load_whole(typing_context: Any, address: Any, code: Any) -> Any:
    """The element at `address` as an int64; floats are cut off, and NaN is the least int64."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address, code = arguments

        def emit(name: str) -> Any:
            if np.dtype(name).kind == "f":
                return _as_whole(builder, Lanes(builder, name, REAL, 1).load(address))
            return Lanes(builder, name, WHOLE, 1).load(address)

        return _switch(builder, code, emit, _I64)

    return types.intp(types.intp, types.intp), codegen


@intrinsic
def store_real(typing_context: Any, address: Any, code: Any, value: Any) -> Any:
    """Write a float64 as an element of that type; integers get it cut off."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address, code, value = arguments
        _switch(builder, code, lambda name: Lanes(builder, name, REAL, 1).store(value, address), None)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.float64), codegen


@intrinsic
def store_whole(typing_context: Any, address: Any, code: Any, value: Any) -> Any:
    """Write an int64 as an element of that type; narrower integers get its low bits."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address, code, value = arguments
        _switch(builder, code, lambda name: Lanes(builder, name, WHOLE, 1).store(value, address), None)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp), codegen


@intrinsic
def load_double(typing_context: Any, address: Any) -> Any:
    """The float64 at `address`."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return Lanes(builder, "float64", REAL, 1).load(arguments[0])

    return types.float64(types.intp), codegen


@intrinsic
def store_double(typing_context: Any, address: Any, value: Any) -> Any:
    """Write a float64 at `address`."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        Lanes(builder, "float64", REAL, 1).store(arguments[1], arguments[0])
        return context.get_dummy_value()

    return types.void(types.intp, types.float64), codegen


@intrinsic
def load_float(typing_context: Any, address: Any, code: Any) -> Any:
    """The float32 or float64 at `address`."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address, code = arguments
        return _switch(builder, code, lambda name: Lanes(builder, name, REAL, 1).load(address), F64, _FLOATS)

    return types.float64(types.intp, types.intp), codegen


@intrinsic
def store_float(typing_context: Any, address: Any, code: Any, value: Any) -> Any:
    """Write a float64 as a float32 or float64."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address, code, value = arguments
        _switch(builder, code, lambda name: Lanes(builder, name, REAL, 1).store(value, address), None, _FLOATS)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.float64), codegen


@intrinsic
def load_key(typing_context: Any, address: Any, code: Any) -> Any:
    """An int64 that orders as the element at `address` does among others of its type; NaN comes behind all."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address, code = arguments

        def emit(name: str) -> Any:
            if name == "uint64":
                # The highest bit flipped: signed integers order as unsigned ones did.
                return builder.xor(Lanes(builder, name, WHOLE, 1).load(address), ir.Constant(_I64, -_MOST - 1))
            if np.dtype(name).kind != "f":
                return Lanes(builder, name, WHOLE, 1).load(address)
            value = Lanes(builder, name, REAL, 1).load(address)
            is_zero = builder.fcmp_ordered("==", value, ir.Constant(F64, 0.0))
            bits = builder.bitcast(builder.select(is_zero, ir.Constant(F64, 0.0), value), _I64)
            # Of negative numbers the larger has the smaller bits.
            key = builder.xor(bits, builder.and_(builder.ashr(bits, ir.Constant(_I64, 63)), ir.Constant(_I64, _MOST)))
            return builder.select(builder.fcmp_unordered("uno", value, value), ir.Constant(_I64, _NAN_KEY), key)

        return _switch(builder, code, emit, _I64)

    return types.intp(types.intp, types.intp), codegen


@inlined
def index_at(address: int, code: int, floors: int) -> int:
    """An index: whole floats and any integers. With `floors` other floats are rounded down and NaN is 0, as MXNet's
    operators have it; else they are cut off and NaN is the least int64, as NumPy has it."""
    index: int = load_whole(address, code)
    if code == UNSIGNED and index < 0:
        return _MOST
    if code >= FIRST_FLOAT and floors != 0:
        value = load_real(address, code)
        if value != value:
            return 0
        if index > value:
            return index - 1
    return index


# From here on all float64 are whole.
_WHOLE_FROM = float(1 << 52)


@intrinsic
def _cut(typing_context: Any, value: Any) -> Any:
    """A float64 as an int64; see `_as_whole`."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _as_whole(builder, arguments[0])

    return types.intp(types.float64), codegen


@inlined
def whole(value: float) -> int:
    """A whole float64 as an int64; what is too large is some 4e18, and NaN is so far below zero."""
    index: int = _cut(value)
    return max(index, -_FAR)


@inlined
def floor(value: float) -> float:
    """Rounded down, by no function of a library."""
    if not abs(value) < _WHOLE_FROM:
        return value
    down = float(_cut(value))
    return down - 1 if down > value else down


@inlined
def nearest(value: float) -> float:
    """Rounded to the nearest whole number, halves to even ones."""
    down = floor(value)
    rest = value - down
    if rest > 0.5 or (rest == 0.5 and _cut(down) % 2 != 0):
        return down + 1
    return down


@inlined
def larger(a: float, b: float) -> float:
    """The larger of two; NaN if one is NaN."""
    return a if a > b or a != a else b


@inlined
def smaller(a: float, b: float) -> float:
    """The smaller of two; NaN if one is NaN."""
    return a if a < b or a != a else b
