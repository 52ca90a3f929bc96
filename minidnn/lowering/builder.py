"""The program under construction: steps, constants and temporaries, before memory is planned."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from minidnn.lowering.memory import TEMPORARY, plan_memory
from minidnn.lowering.values import PLAIN, Array, Value, physical_order, strides_of
from minidnn.ops.registry import TensorType
from minidnn.plan.program import Address, Argument, Buffer, Cost, HostStep, Loop, NativeStep, Program, Tensor
from minidnn_kernels.isa import Isa

__all__ = ["Builder"]


class Builder:
    """Collects steps; `finish` gives the program.

    Args:
        isa: what kernels are chosen for.

    Attributes:
        results: what nodes make, by name; steps carry it for the profiler.
    """

    def __init__(self, isa: Isa) -> None:
        self.isa = isa
        self.results: dict[str, TensorType] = {}
        self._steps: list[NativeStep | HostStep] = []
        self._constants: list[Array] = []
        self._constant_by_id: dict[int, Address] = {}
        self._temporaries: list[int] = []
        self._inputs: list[Tensor] = []
        self._laid_out: dict[tuple[int, str], Value] = {}
        self._kept: list[Value] = []

    # --- memory -----------------------------------------------------------------------------

    def input(self, type: TensorType, layout: str = PLAIN) -> Value:
        value = Value(type, Address(Buffer("input", len(self._inputs))), layout)
        self._inputs.append(value.tensor())
        return value

    def constant(self, array: Array) -> Address:
        """The address of a constant; the same array twice is one constant. The array must not change."""
        known = self._constant_by_id.get(id(array))
        if known is None:
            known = Address(Buffer("constant", len(self._constants)))
            self._constants.append(array)
            self._constant_by_id[id(array)] = known
        return known

    def parameter(self, array: Array) -> Value:
        """A value whose numbers are known; they become a constant of the program only if a step reads them."""
        return Value(TensorType.of(array), Address(Buffer("parameter", -1)), PLAIN, array)

    def address(self, value: Value) -> Address:
        """Where a step finds the value."""
        if value.padded is not None:
            return self._written(value).address
        if value.array is None:
            return value.address
        array = value.array
        if array.flags.c_contiguous and array.dtype.isnative and array.ctypes.data % array.dtype.itemsize == 0:
            return self.constant(array)
        return self.constant(np.ascontiguousarray(array, array.dtype.newbyteorder("=")))

    def zeros(self, count: int) -> Address:
        """The address of `count` float32 zeros: what padding points at."""
        return self.constant(_zeros(count))

    def temporary(self, nbytes: int) -> Address:
        self._temporaries.append(nbytes)
        return Address(Buffer(TEMPORARY, len(self._temporaries) - 1))

    def new(self, type: TensorType, layout: str = PLAIN) -> Value:
        """A fresh tensor for a step to write."""
        return Value(type, self.temporary(type.size * type.dtype.itemsize), layout)

    # --- steps ------------------------------------------------------------------------------

    def native(
        self,
        name: str,
        loop: str,
        arguments: Sequence[Argument],
        parts: int,
        cost: Cost,
        scratch: int = 0,
        result: TensorType | None = None,
    ) -> None:
        result = self.results.get(name, result)
        self._steps.append(NativeStep(name, Loop(loop), tuple(arguments), parts, cost, scratch, result))

    def host(self, step: HostStep) -> None:
        self._steps.append(step)

    def as_layout(self, value: Value, layout: str) -> Value:
        """The value in that layout: itself, or a reordered copy that later askers share."""
        value = self._written(value)
        if value.layout == layout or _same_in_memory(value.shape):
            return value if value.layout == layout else Value(value.type, self.address(value), layout)
        key = (id(value), layout)
        if key not in self._laid_out:
            from minidnn.lowering.copy import lower_copy

            result = self.new(value.type, layout)
            lower_copy(self, "reorder", value, value.strides, result.address, result.strides, value.shape)
            self._laid_out[key] = result
            self._laid_out[id(result), value.layout] = value
            self._kept += [value, result]
        return self._laid_out[key]

    def _written(self, value: Value) -> Value:
        """The value in memory: itself, or if it is padding around another, what a copy made of it."""
        if value.padded is None:
            return value
        key = (id(value), value.layout)
        if key not in self._laid_out:
            from minidnn.lowering.copy import lower_copy

            padded, source = value.padded, self._written(value.padded.source)
            result = self.new(value.type, source.layout)
            fill = self.parameter(np.full(value.type.ndim * (1,), padded.fill, value.type.dtype))
            nowhere = (0,) * value.type.ndim
            lower_copy(self, "pad", fill, nowhere, result.address, result.strides, value.shape)
            inside = sum(n * s for n, s in zip(padded.low, result.strides, strict=True))
            lower_copy(self, "pad", source, source.strides, result.address + inside, result.strides, source.shape)
            self._laid_out[key] = result
            self._kept += [value, result]
        return self._laid_out[key]

    def finish(self, outputs: Sequence[Value], layouts: Sequence[str]) -> Program:
        """The program, with temporaries in one arena and outputs where the caller gets them."""
        placed: dict[Buffer, Buffer] = {}
        tensors: list[Tensor] = []
        for number, (value, layout) in enumerate(zip(outputs, layouts, strict=True)):
            value = self.as_layout(value, layout)
            buffer = Buffer("output", number)
            whole = value.address.buffer.kind == TEMPORARY and value.address.offset == 0 and value.array is None
            if whole and value.address.buffer not in placed and self._size(value) == value.nbytes:
                placed[value.address.buffer] = buffer
            else:
                from minidnn.lowering.copy import lower_copy

                lower_copy(self, "copy", value, value.strides, Address(buffer), value.strides, value.shape)
            strides = strides_of(value.shape, value.type.dtype.itemsize, layout)
            tensors.append(Tensor(value.type, Address(buffer), strides))
        steps, arena = plan_memory(self._steps, self._temporaries, placed)
        return Program(tuple(steps), tuple(self._constants), arena, tuple(self._inputs), tuple(tensors))

    def _size(self, value: Value) -> int:
        return self._temporaries[value.address.buffer.index]


@cache
def _zeros(count: int) -> Array:
    return np.zeros(count, np.float32)


def _same_in_memory(shape: tuple[int, ...]) -> bool:
    """Whether both layouts are one: at most one dimension from the channels on is longer than 1."""
    from minidnn.lowering.values import CHANNELS_LAST

    order = physical_order(len(shape), CHANNELS_LAST) if len(shape) > 1 else ()
    return [d for d in order if shape[d] != 1] == sorted(d for d in order if shape[d] != 1)
