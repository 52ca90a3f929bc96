"""The program under construction: steps, the layouts of their values, and at the end the program."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from minidnn.lowering.copy import lower_copy
from minidnn.lowering.gather import add_picks
from minidnn.lowering.memory import TEMPORARY, plan_memory
from minidnn.lowering.repeat import Repetitions
from minidnn.lowering.steps import Measure, Steps
from minidnn.lowering.values import CHANNELS_LAST, PLAIN, Value, View, physical_order, strides_of
from minidnn.lowering.weight_store import WeightStore
from minidnn.ops.registry import TensorType
from minidnn.plan.program import Address, Buffer, Check, Program, Tensor
from minidnn_kernels.isa import Isa

__all__ = ["Builder"]

T = TypeVar("T")


class Builder(Steps):
    """Collects steps, and lays values out as they are asked for; `finish` gives the program.

    Attributes:
        repetitions: the layers that have been lowered, for equal ones.
    """

    def __init__(
        self,
        isa: Isa,
        usual: Mapping[str, tuple[TensorType, ...]] | None = None,
        store: WeightStore | None = None,
        types: Mapping[str, tuple[TensorType, ...]] | None = None,
        measure: Measure | None = None,
    ) -> None:
        super().__init__(isa, usual, store, types, measure)
        self.repetitions = Repetitions(self)

    def attempt(self, lower: Callable[[], T | None]) -> T | None:
        """What `lower` gives; where that is None, nothing stays of the steps and the memory that it has made."""
        counts = len(self._steps), len(self._constants), len(self._temporaries), len(self._checks)
        laid_out, by_id = len(self._laid_out), len(self._constant_by_id)
        made = lower()
        if made is None:
            steps, constants, temporaries, checks = counts
            del self._steps[steps:], self._constants[constants:], self._temporaries[temporaries:]
            del self._checks[checks:]
            # Nothing in these is replaced: what came last is what was made.
            while len(self._laid_out) > laid_out:
                self._laid_out.popitem()
            while len(self._constant_by_id) > by_id:
                self._constant_by_id.popitem()
        return made

    def address(self, value: Value) -> Address:
        """Where a step finds the value; padding around another is written first."""
        return super().address(self._written(value))

    def as_layout(self, value: Value, layout: str) -> Value:
        """The value in that layout: itself, or a reordered copy that later askers share."""
        if value.view is not None:
            return self._put_in_order(value, value.view, layout)
        value = self._written(value)
        if value.layout == layout or _same_in_memory(value.shape):
            return value if value.layout == layout else Value(value.type, self.address(value), layout)
        result = self.find_laid_out(value, layout)
        if result is None:
            result = self.new(value.type, layout)
            lower_copy(self, "reorder", value, value.strides, result.address, result.strides, value.shape)
            self.keep_laid_out(value, layout, result)
            self.keep_laid_out(result, value.layout, value)
        return result

    def spread(self, value: Value, type: TensorType, layout: str) -> Value | None:
        """A value that is repeated along some dimensions, written out as the tensor of that type that it means.

        A microkernel steps through an operand as through its output, or not at all. Writing the tensor costs what
        another step over the output would, without the output being written and read once more. None where the shapes
        do not fit.
        """
        try:
            if np.broadcast_shapes(value.shape, type.shape) != type.shape:
                return None
        except ValueError:
            return None
        if value.array is not None and value.shape == type.shape:
            order = physical_order(type.ndim, layout)
            array = value.array
            written = self.share(("broadcast", order), [array], lambda: np.ascontiguousarray(array.transpose(order)))
            return Value(type, self.constant(written), layout)
        source = self.as_layout(value, value.layout)
        missing = type.ndim - len(source.shape)
        strides = (0,) * missing + tuple(s if n > 1 else 0 for s, n in zip(source.strides, source.shape, strict=True))
        result = self.new(type, layout)
        lower_copy(self, "broadcast", source, strides, result.address, result.strides, type.shape)
        return result

    def _written(self, value: Value) -> Value:
        """The value in memory: itself, or a copy if it is padding around another, a view or elements of it."""
        if value.view is not None:
            return self._put_in_order(value, value.view, PLAIN)
        if value.padded is None and value.picked is None:
            return value
        result = self.find_laid_out(value, value.layout)
        if result is None and value.picked is not None:
            source = self._written(value.picked.source)
            result = self.new(value.type, source.layout)
            add_picks(self, value.picked, source, result)
            self.keep_laid_out(value, value.layout, result)
        if result is None:
            assert value.padded is not None
            padded, source = value.padded, self._written(value.padded.source)
            result = self.new(value.type, source.layout)
            fill = self.parameter(np.full(value.type.ndim * (1,), padded.fill, value.type.dtype))
            nowhere = (0,) * value.type.ndim
            lower_copy(self, "pad", fill, nowhere, result.address, result.strides, value.shape)
            inside = sum(n * s for n, s in zip(padded.low, result.strides, strict=True))
            lower_copy(self, "pad", source, source.strides, result.address + inside, result.strides, source.shape)
            self.keep_laid_out(value, value.layout, result)
        return result

    def strided(self, value: Value) -> tuple[Address, tuple[int, ...]]:
        """Where the value's first element lies and its strides in bytes, whatever they are: nothing is moved."""
        if value.view is not None:
            return self.address(value.view.source) + value.view.offset, value.view.strides
        written = self._written(value)
        return self.address(written), written.strides

    def _put_in_order(self, value: Value, view: View, layout: str) -> Value:
        """A copy of a view in that layout, which later askers share."""
        result = self.find_laid_out(value, layout)
        if result is None:
            result = self.new(value.type, layout)
            source, strides = view.source, view.strides
            lower_copy(self, view.name, source, strides, result.address, result.strides, value.shape, view.offset)
            self.keep_laid_out(value, layout, result)
        return result

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
                lower_copy(self, "copy", value, value.strides, Address(buffer), value.strides, value.shape)
            strides = strides_of(value.shape, value.type.dtype.itemsize, layout)
            tensors.append(Tensor(value.type, Address(buffer), strides))
        planned, arena = plan_memory(
            [*self._steps, *sorted(self._checks, key=lambda check: not check.decides)], self._temporaries, placed
        )
        steps = tuple([step for step in planned if not isinstance(step, Check)])
        checks = tuple([step for step in planned if isinstance(step, Check)])
        lent = frozenset(i for i, constant in enumerate(self._constants) if id(constant) in self._lent)
        constants, inputs, ahead = tuple(self._constants), tuple(self._inputs), tuple(self._ahead)
        return Program(steps, constants, arena, inputs, tuple(tensors), lent, ahead, checks, self.find_packings())

    def _size(self, value: Value) -> int:
        return self._temporaries[value.address.buffer.index]


def _same_in_memory(shape: tuple[int, ...]) -> bool:
    """Whether both layouts are one: at most one dimension from the channels on is longer than 1."""
    order = physical_order(len(shape), CHANNELS_LAST) if len(shape) > 1 else ()
    return [d for d in order if shape[d] != 1] == sorted(d for d in order if shape[d] != 1)
