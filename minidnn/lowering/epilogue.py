"""From elementwise nodes of the graph to a kernel's epilogue: instructions, and the operands they read.

Which instruction an operator is its record says (`Op.epilogue`). Here is what takes several: `_EXPANSIONS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from minidnn.ir.graph import Entry, Node
from minidnn.lowering.values import Array, Value
from minidnn.lowering.weight_store import Origin
from minidnn.ops.quantization import calibrated_scale, integer_limits
from minidnn.ops.registry import Attrs, Op
from minidnn.ops.traits import EpilogueStep
from minidnn.passes.legality import result_dtype
from minidnn_kernels.element_type import BOOL, FLOAT16, FLOAT32, INT8, INT32, UINT8, ElementType, element_type_of
from minidnn_kernels.epilogue import (
    OPERAND_KINDS,
    OPS,
    QUANTIZED_LIMITS,
    Epilogue,
    Instruction,
    has_operation,
    number_word,
    operand_kind,
)

__all__ = ["BoundEpilogue", "EpilogueBuilder", "is_float_instruction", "quantized_type"]


def quantized_type(name: str) -> ElementType:
    """The element type that ``out_type`` of a quantization names: ``int8`` or ``uint8``."""
    type = element_type_of(np.dtype(name))
    assert type is not None
    return type


@dataclass(frozen=True)
class BoundEpilogue:
    """An epilogue, the values of its operands and its numbers, in order."""

    epilogue: Epilogue
    operands: tuple[Value, ...]
    numbers: tuple[float, ...] = ()

    def after_adding(self, value: Value) -> BoundEpilogue:
        """The epilogue of the kernel's result plus a float32 tensor that lies like the output."""
        kind = operand_kind("tensor", FLOAT32)
        return BoundEpilogue(self.epilogue.after_adding(kind), (value, *self.operands), self.numbers)

    @property
    def number_words(self) -> list[int]:
        """The numbers as arguments of the kernel."""
        return [number_word(n, type) for n, type in zip(self.numbers, self.epilogue.number_types, strict=True)]


class EpilogueBuilder:
    """Makes a `BoundEpilogue` node by node.

    Args:
        classify: how the kernel would read a value beside its output: ``tensor``, ``channel``, ``scalar``,
            or None if it cannot.
        channel_value: makes a constant of (C,) numbers of that origin along that axis of the output that the kernel
            can read, and says of what kind it is; or None if it cannot.
    """

    def __init__(
        self,
        classify: Callable[[Value], tuple[Value, str] | None],
        channel_value: Callable[[Callable[[], Array], int, Origin], tuple[Value, str] | None],
    ) -> None:
        self._classify = classify
        self._channel_value = channel_value
        self._instructions: list[Instruction] = []
        self._numbers: list[float] = []
        self._kinds: list[str] = []
        self._operands: list[Value] = []
        self._loaded: dict[int, int] = {}
        # Of each value of the epilogue.
        self._types = [FLOAT32]
        # What is stored instead of the last value.
        self._output: ElementType | None = None

    def load(self, value: Value) -> int | None:
        """The number of the epilogue's value that holds this operand, or None if the kernel cannot read it.

        It has the operand's type.
        """
        if id(value) not in self._loaded:
            classified = self._classify(value)
            if classified is None:
                return None
            self._append_load(*classified)
            self._loaded[id(value)] = len(self._instructions)
        return self._loaded[id(value)]

    def _append_load(self, value: Value, kind: str) -> None:
        type = OPERAND_KINDS[kind].type
        self._append(Instruction("load", operand=len(self._operands), type=type.name))
        self._operands.append(value)
        self._kinds.append(kind)

    def channel(self, make: Callable[[], Array], axis: int, origin: Origin) -> int | None:
        """The number of the epilogue's value that holds (C,) constants along that axis of the output.

        `make` gives the numbers where they have not been made before.
        """
        made = self._channel_value(make, axis, origin)
        if made is None:
            return None
        self._append_load(*made)
        return len(self._instructions)

    def apply(self, op: str, *values: int, numbers: tuple[float, ...] = (), type: ElementType = FLOAT32) -> int:
        """The number of what the operation makes; it reads values in the types that it takes."""
        instruction = Instruction(op, values, type=type.name)
        read = tuple(self.cast(v, wanted) for v, wanted in zip(values, instruction.read, strict=True))
        self._append(Instruction(op, read, type=type.name))
        self._numbers += numbers
        return len(self._instructions)

    def cast(self, number: int, type: ElementType) -> int:
        """The number of that value in that type."""
        if self._types[number] is type:
            return number
        self._append(Instruction("cast", (number,), type=type.name))
        return len(self._instructions)

    def _append(self, instruction: Instruction) -> None:
        self._instructions.append(instruction)
        self._types.append(instruction.made)

    def add_nodes(self, nodes: Sequence[Node], numbers: dict[Entry, int], outside: Mapping[Entry, Value]) -> bool:
        """Translate nodes in order; `numbers` says which epilogue value an entry is. False if one cannot be."""
        for node in nodes:
            step = node.op.epilogue_step(node.attrs) if node.op is not None else None
            # What is quantized is in memory only.
            if step is None or self._output is not None:
                return False
            if step.name in _EXPANSIONS:
                if not _EXPANSIONS[step.name](self, node, numbers, outside):
                    return False
            elif not self._add_instruction(node, step, numbers, outside):
                return False
        return True

    def _add_instruction(
        self, node: Node, step: EpilogueStep, numbers: dict[Entry, int], outside: Mapping[Entry, Value]
    ) -> bool:
        values: list[int] = []
        for position, entry in enumerate(node.inputs):
            if entry in numbers:
                number: int | None = numbers[entry]
            elif position in step.axes and len(outside[entry].shape) == 1:
                number = self._vector(outside[entry], step.axes[position])
            else:
                number = self.load(outside[entry])
            if number is None:
                return False
            values.append(number)
        dtypes = [self._types[v].dtype for v in values]
        result = result_dtype(node, dtypes)
        computed = None if result is None else step.computes(dtypes, result)
        stored, type = (None if d is None else element_type_of(d) for d in (result, computed))
        if stored is None or type is None or computed is None:
            return False
        if step.name == "cast":
            numbers[node[0]] = self.cast(values[0], stored)
            return True
        if type is FLOAT16:
            values = [self.cast(v, type) if self._types[v] is not BOOL else v for v in values]
        type = _computed_in(step.name, type)
        if not has_operation(step.name, type):
            return False
        made = self.apply(step.name, *values, numbers=step.numbers_of(computed), type=type)
        numbers[node[0]] = self.cast(made, stored)
        return True

    def _vector(self, value: Value, axis: int) -> int | None:
        """A vector along an axis of the output that is not the last one, as in broadcasting it would be."""
        if value.type.size == 1:
            return self.load(value)
        array = value.array
        return None if array is None else self.channel(lambda: array, axis, Origin.of("vector", array))

    def _add_requantize(self, node: Node, numbers: dict[Entry, int], outside: Mapping[Entry, Value]) -> bool:
        if not self._add_dequantize(node, numbers, outside):
            return False
        return self._store_quantized(node, numbers[node[0]], numbers)

    def _add_quantize(self, node: Node, numbers: dict[Entry, int], outside: Mapping[Entry, Value]) -> bool:
        number = self._data(node, numbers, outside)
        return number is not None and self._types[number] is FLOAT32 and self._store_quantized(node, number, numbers)

    def _add_affine(self, node: Node, numbers: dict[Entry, int], outside: Mapping[Entry, Value]) -> bool:
        parameters = [outside[e].array if e in outside else None for e in node.inputs[1:]]
        known = [p for p in parameters if p is not None]
        if len(known) < len(parameters):
            return False
        number = self._data(node, numbers, outside)
        if number is None or self._types[number] is not FLOAT32:
            return False
        assert node.op is not None and node.op.affine is not None
        axis = node.op.affine.axis(node.attrs)
        find = partial(node.op.affine.numbers, node.attrs, known)
        origin = Origin(tuple(known), (node.op_name, node.attrs))
        scale = self.channel(lambda: find()[0], axis, origin.then("scale"))
        shift = self.channel(lambda: find()[1], axis, origin.then("shift"))
        if scale is None or shift is None:
            return False
        numbers[node[0]] = self.apply("affine", number, scale, shift)
        return True

    def _add_dequantize(self, node: Node, numbers: dict[Entry, int], outside: Mapping[Entry, Value]) -> bool:
        """Multiply by ``scale * channel_scale``: in float32, the product of the factors first."""
        number = self._data(node, numbers, outside)
        scales = [outside.get(e) for e in node.inputs[1:]]
        if number is None or scales[0] is None or (len(scales) > 1 and (scales[1] is None or scales[1].array is None)):
            return False
        scale, channels = scales[0], scales[1].array if len(scales) > 1 and scales[1] is not None else None
        if scale.array is not None:
            known = np.float32(scale.array.reshape(-1)[0])
            if channels is None or channels.size == 1:
                known = known if channels is None else known * np.float32(channels.reshape(-1)[0])
                numbers[node[0]] = self.apply("multiply_scalar", number, numbers=(float(known),))
                return True
            factor = self.channel(lambda: known * channels, node.attrs.axis, Origin.of("scales", scale.array, channels))
        else:
            factor = self.load(scale)
            if channels is not None and channels.size == 1 and factor is not None:
                factor = self.apply("multiply_scalar", factor, numbers=(float(np.float32(channels.reshape(-1)[0])),))
            elif channels is not None and factor is not None:
                made = self.channel(lambda: channels, node.attrs.axis, Origin.of("vector", channels))
                factor = None if made is None else self.apply("multiply", factor, made)
        if factor is None:
            return False
        numbers[node[0]] = self.apply("multiply", number, factor)
        return True

    def _add_quantize_linear(self, node: Node, numbers: dict[Entry, int], outside: Mapping[Entry, Value]) -> bool:
        number, scale, zero = self._data(node, numbers, outside), *(outside.get(e) for e in node.inputs[1:])
        if number is None or scale is None or zero is None:
            return False
        output = quantized_type(node.attrs.out_type)
        made = self.add_quantize_linear(number, (scale, zero), output, integer_limits(node.attrs), node.attrs.axis)
        if made is not None:
            numbers[node[0]] = made
        return made is not None

    def add_quantize_linear(
        self, number: int, parameters: tuple[Value, Value], output: ElementType, limits: tuple[int, int], axis: int = 0
    ) -> int | None:
        """Divide, round, move by the zero point, clamp and store as integers; nothing can follow."""
        scale, zero = parameters
        made = self._with_parameter("divide", number, scale, axis)
        # The store rounds what has no zero point.
        if made is not None and (zero.array is None or zero.array.any()):
            made = self._with_parameter("add", self.apply("rint", made), zero, axis)
        if made is None:
            return None
        self._output = output
        return self.apply("saturate", made, numbers=(float(limits[0]), float(limits[1])))

    def _add_dequantize_linear(self, node: Node, numbers: dict[Entry, int], outside: Mapping[Entry, Value]) -> bool:
        number, scale, zero = self._data(node, numbers, outside), *(outside.get(e) for e in node.inputs[1:])
        if number is None or scale is None or zero is None:
            return False
        number = self._with_parameter("subtract", number, zero, node.attrs.axis)
        number = None if number is None else self._with_parameter("multiply", number, scale, node.attrs.axis)
        if number is not None:
            numbers[node[0]] = self.cast(number, FLOAT32)
        return number is not None

    def _data(self, node: Node, numbers: dict[Entry, int], outside: Mapping[Entry, Value]) -> int | None:
        data = node.inputs[0]
        return numbers[data] if data in numbers else self.load(outside[data])

    def _with_parameter(self, op: str, number: int, parameter: Value, axis: int) -> int | None:
        """A value and a scale or zero point: nothing to do where that is the number that changes nothing."""
        if parameter.array is not None and parameter.array.size == 1:
            known = float(parameter.array.reshape(-1)[0])
            if known == (1.0 if op in ("multiply", "divide") else 0.0):
                return number
            return self.apply(f"{op}_scalar", number, numbers=(known,))
        operand = self.load(parameter) if parameter.type.size == 1 else self._vector(parameter, axis)
        return None if operand is None else self.apply(op, number, operand)

    def _store_quantized(self, node: Node, number: int, numbers: dict[Entry, int]) -> bool:
        """Divide by the calibrated scale, clamp, and store as integers; nothing can follow."""
        scale = calibrated_scale(node.attrs)
        if scale is None:
            return False
        output = quantized_type(node.attrs.out_type)
        inverse = float(np.float32(1.0) / np.float32(scale))
        number, bounds = self._without_clamp(number, output)
        number = self.apply("multiply_scalar", number, numbers=(inverse,))
        if bounds is not None:
            limits = QUANTIZED_LIMITS[output.name]
            low, high = (float(np.clip(np.float32(b) * np.float32(inverse), *limits)) for b in bounds)
            # The store makes 0 of what is below it.
            is_least = output is UINT8 and low == 0.0
            clamp, taken = ("at_most", (high,)) if is_least else ("saturate", (low, high))
            number = self.apply(clamp, number, numbers=taken)
        numbers[node[0]] = number
        self._output = output
        return True

    def _without_clamp(self, number: int, output: ElementType) -> tuple[int, tuple[float, float] | None]:
        """The value before a last ``relu`` or ``clip`` that need not come before the clamp to a quantized output.

        Products with a scale keep order, rounded or not: the bounds of a ``clip``, which are returned, clamp its
        results as well. What a ``relu`` does the clamp to uint8 does.
        """
        last = self._instructions[-1] if number == len(self._instructions) > 0 else None
        if last is None or last.type != FLOAT32.name:
            return number, None
        bounds = (self._numbers[-2], self._numbers[-1]) if last.op == "clip" else None
        if bounds is None and (last.op != "relu" or output is not UINT8):
            return number, None
        self._instructions.pop()
        self._types.pop()
        if bounds is not None:
            del self._numbers[-2:]
        return last.values[0], bounds

    def store_sums(self) -> None:
        """Store an integer kernel's sums as they are."""
        self._output = INT32

    def finish(self, number: int | None = None) -> BoundEpilogue:
        """The epilogue that stores the value of that number, or the last one."""
        if number is not None and number != len(self._instructions):
            self._append(Instruction("cast", (number,), type=self._types[number].name))
        output = self._types[-1] if self._output is None else self._output
        epilogue = Epilogue(tuple(self._instructions), tuple(self._kinds), output.name)
        return BoundEpilogue(epilogue, tuple(self._operands), tuple(self._numbers))


Expansion = Callable[[EpilogueBuilder, Node, dict[Entry, int], Mapping[Entry, Value]], bool]

# What takes more than one instruction, or numbers that are computed here; by the name of the record's step.
_EXPANSIONS: dict[str, Expansion] = {
    "affine": EpilogueBuilder._add_affine,
    "dequantize": EpilogueBuilder._add_dequantize,
    "dequantize_linear": EpilogueBuilder._add_dequantize_linear,
    "quantize": EpilogueBuilder._add_quantize,
    "quantize_linear": EpilogueBuilder._add_quantize_linear,
    "requantize": EpilogueBuilder._add_requantize,
}


def _computed_in(name: str, type: ElementType) -> ElementType:
    """The type of the registers for an operation on elements of that type."""
    if type is FLOAT16:
        return FLOAT32
    if type is BOOL and not has_operation(name, BOOL):
        return INT8 if has_operation(name, INT8) else UINT8
    return type


def is_float_instruction(op: Op, attrs: Attrs) -> bool:
    """Whether the operator with these attributes is an instruction that is made for float32."""
    step = op.epilogue_step(attrs)
    return step is not None and (step.name in OPS or step.name in _EXPANSIONS)
