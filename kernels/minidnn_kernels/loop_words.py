"""The few words that loop functions use beside Python's arithmetic: memory by address, calls by address.

Numba intrinsics; importing this module imports Numba, so only code that is about to compile a loop does.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from llvmlite import ir
from numba import types
from numba.core import cgutils as numba_cgutils
from numba.extending import intrinsic as numba_intrinsic
from numba.extending import register_jitable

__all__ = [
    "PAUSE",
    "atomic_add",
    "atomic_load",
    "atomic_store",
    "call3",
    "call4",
    "call5",
    "call6",
    "call7",
    "call9",
    "compare_exchange",
    "copy_bytes",
    "copy_item",
    "inlined",
    "load",
    "load_i32",
    "milliseconds",
    "pause",
    "scratch",
    "store",
    "store_i32",
    "yield_cpu",
]

cgutils: Any = numba_cgutils
_Function = TypeVar("_Function", bound=Callable[..., Any])


def intrinsic(function: Callable[..., Any]) -> Callable[..., Any]:
    """A word: Numba calls `function` with a typing context and types, loops call the word without the context.

    Words compute addresses as integers. LLVM may have taken the offset of such a sum for the pointer, and where that is
    0, the null pointer, would drop what is done there: in functions with words, the null pointer is one like others.
    """

    @wraps(function)
    def make(*arguments: Any) -> Any:
        made = function(*arguments)
        if made is None:
            return None
        signature, codegen = made

        def marked(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            # llvmlite lets pass the attributes that it knows, and this is none of them.
            set.add(builder.function.attributes, "null_pointer_is_valid")
            return codegen(context, builder, signature, values)

        return signature, marked

    made: Callable[..., Any] = numba_intrinsic(make)
    return made


def inlined(function: _Function) -> _Function:
    """What loops may call beside these words: a function that is compiled into them."""
    made: _Function = register_jitable(function)
    return made


# <linux/time.h>; Python has no name for it.
_LINUX_MONOTONIC_COARSE = 6

# What `pause` calls: Numba compiles for this machine; `numba_loops`, which knows for which the loop is meant, has it do
# something.
PAUSE = "minidnn_pause"

_I64 = ir.IntType(64)
_I32 = ir.IntType(32)


@intrinsic
def load(typing_context: Any, address: Any) -> Any:
    """The int64 at `address`."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(builder.inttoptr(arguments[0], _I64.as_pointer()), align=8)

    return types.intp(types.intp), codegen


@intrinsic
def load_i32(typing_context: Any, address: Any) -> Any:
    """The int32 at `address`, widened."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        narrow = builder.load(builder.inttoptr(arguments[0], _I32.as_pointer()), align=4)
        return builder.sext(narrow, _I64)

    return types.intp(types.intp), codegen


@intrinsic
def store(typing_context: Any, address: Any, value: Any) -> Any:
    """Write the int64 `value` at `address`."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store(arguments[1], builder.inttoptr(arguments[0], _I64.as_pointer()), align=8)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), codegen


@intrinsic
def store_i32(typing_context: Any, address: Any, value: Any) -> Any:
    """Write the low half of `value` at `address`."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        narrow = builder.trunc(arguments[1], _I32)
        builder.store(narrow, builder.inttoptr(arguments[0], _I32.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), codegen


@intrinsic
def scratch(typing_context: Any, count: Any) -> Any:
    """The address of `count` int64 on the stack; `count` is a literal."""
    if not isinstance(count, types.IntegerLiteral):
        return None
    size = count.literal_value

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        with builder.goto_entry_block():
            slot = builder.alloca(_I64, size=ir.Constant(_I64, size))
        slot.align = 64
        return builder.ptrtoint(slot, _I64)

    return types.intp(count), codegen


def _call(arity: int) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        function_type = ir.FunctionType(ir.VoidType(), [_I64] * arity)
        builder.call(builder.inttoptr(arguments[0], function_type.as_pointer()), arguments[1:])
        return context.get_dummy_value()

    return types.void(*[types.intp] * (arity + 1)), codegen


@intrinsic
def call3(typing_context: Any, address: Any, a: Any, b: Any, c: Any) -> Any:
    """Call the microkernel of three arguments at `address`."""
    return _call(3)


@intrinsic
def call4(typing_context: Any, address: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    """Call the kernel (or the microkernel of four arguments) at `address`."""
    return _call(4)


@intrinsic
def call6(typing_context: Any, address: Any, a: Any, b: Any, c: Any, d: Any, e: Any, f: Any) -> Any:
    """Call the microkernel of six arguments at `address`."""
    return _call(6)


@intrinsic
def call7(typing_context: Any, address: Any, a: Any, b: Any, c: Any, d: Any, e: Any, f: Any, g: Any) -> Any:
    """Call the microkernel of seven arguments at `address`."""
    return _call(7)


@intrinsic
def call9(
    typing_context: Any, address: Any, a: Any, b: Any, c: Any, d: Any, e: Any, f: Any, g: Any, h: Any, i: Any
) -> Any:
    """Call the microkernel of nine arguments at `address`."""
    return _call(9)


@intrinsic
def atomic_add(typing_context: Any, address: Any, value: Any) -> Any:
    """Add to the int64 at `address`, sequentially consistent; the value before."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], _I64.as_pointer())
        return builder.atomic_rmw("add", pointer, arguments[1], "seq_cst")

    return types.intp(types.intp, types.intp), codegen


@intrinsic
def atomic_load(typing_context: Any, address: Any) -> Any:
    """The int64 at `address`, sequentially consistent."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load_atomic(builder.inttoptr(arguments[0], _I64.as_pointer()), "seq_cst", 8)

    return types.intp(types.intp), codegen


@intrinsic
def atomic_store(typing_context: Any, address: Any, value: Any) -> Any:
    """Write the int64 `value` at `address`, sequentially consistent."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], _I64.as_pointer())
        builder.store_atomic(arguments[1], pointer, "seq_cst", 8)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), codegen


@intrinsic
def compare_exchange(typing_context: Any, address: Any, expected: Any, value: Any) -> Any:
    """If the int64 at `address` is `expected`, make it `value`, in one step; the value before."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], _I64.as_pointer())
        pair = builder.cmpxchg(pointer, arguments[1], arguments[2], "seq_cst", "seq_cst")
        return builder.extract_value(pair, 0)

    return types.intp(types.intp, types.intp, types.intp), codegen


@intrinsic
def pause(typing_context: Any) -> Any:
    """Tell the core that this is a spinning wait."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(ir.VoidType(), []), PAUSE)
        if function.is_declaration:
            function.linkage = "weak"  # so that nothing is made of its being empty
            ir.IRBuilder(function.append_basic_block()).ret_void()
        builder.call(function, [])
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def milliseconds(typing_context: Any) -> Any:
    """What a clock that never goes back shows; it costs a few nanoseconds and may be some milliseconds late."""
    clock = _LINUX_MONOTONIC_COARSE if sys.platform == "linux" else time.CLOCK_MONOTONIC

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        timespec = cgutils.alloca_once(builder, ir.ArrayType(_I64, 2))
        function_type = ir.FunctionType(_I32, [_I32, timespec.type])
        function = cgutils.get_or_insert_function(builder.module, function_type, "clock_gettime")
        builder.call(function, [ir.Constant(_I32, clock), timespec])
        seconds, nanoseconds = (builder.load(cgutils.gep_inbounds(builder, timespec, 0, i)) for i in range(2))
        thousandths = builder.udiv(nanoseconds, ir.Constant(_I64, 1_000_000))
        return builder.add(builder.mul(seconds, ir.Constant(_I64, 1000)), thousandths)

    return types.intp(), codegen


@intrinsic
def yield_cpu(typing_context: Any) -> Any:
    """Let the operating system run another thread on this core."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.call(cgutils.get_or_insert_function(builder.module, ir.FunctionType(_I32, []), "sched_yield"), [])
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def call5(typing_context: Any, address: Any, a: Any, b: Any, c: Any, d: Any, e: Any) -> Any:
    """Call the microkernel of five arguments at `address`."""
    return _call(5)


@intrinsic
def copy_bytes(typing_context: Any, target: Any, source: Any, count: Any) -> Any:
    """Copy `count` bytes; the ranges do not overlap."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = ir.IntType(8).as_pointer()
        addresses = [builder.inttoptr(a, pointer) for a in arguments[:2]]
        cgutils.raw_memcpy(builder, addresses[0], addresses[1], arguments[2], 1)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp), codegen


@intrinsic
def copy_item(typing_context: Any, target: Any, source: Any, size: Any) -> Any:
    """Copy one element of 1, 2, 4 or 8 bytes."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        done = builder.append_basic_block("copied")
        switch = builder.switch(arguments[2], done)
        for size in (1, 2, 4, 8):
            block = builder.append_basic_block(f"copy{size}")
            switch.add_case(ir.Constant(_I64, size), block)
            builder.position_at_end(block)
            element = ir.IntType(8 * size).as_pointer()
            value = builder.load(builder.inttoptr(arguments[1], element), align=1)
            builder.store(value, builder.inttoptr(arguments[0], element), align=1)
            builder.branch(done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp), codegen
