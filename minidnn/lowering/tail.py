"""From elementwise nodes of the graph to a kernel's epilogue: the table that pairs the two vocabularies."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidnn.ir.graph import Entry, Node
from minidnn.lowering.values import Array, Value
from minidnn.ops.normalization import batch_norm_affine
from minidnn.ops.ranges import calibrated_scale
from minidnn.ops.registry import Attrs
from minidnn_kernels.epilogue import Epilogue, Instruction, number_word

__all__ = ["ELEMENTWISE", "QUANTIZED_OUTPUTS", "Tail", "TailBuilder", "dtype_name"]

# What a node does: the kernel's operation and its numbers.
Rule = Callable[[Attrs], tuple[str, tuple[float, ...]] | None]


def _same(name: str, *numbers: float) -> Rule:
    return lambda attrs: (name, numbers)


def _scalar(name: str) -> Rule:
    return lambda attrs: (name, (float(attrs.scalar),))


def _clip(attrs: Attrs) -> tuple[str, tuple[float, ...]]:
    low = -math.inf if attrs.a_min is None else float(attrs.a_min)
    high = math.inf if attrs.a_max is None else float(attrs.a_max)
    return "clip", (low, high)


def _leaky_relu(attrs: Attrs) -> tuple[str, tuple[float, ...]] | None:
    slope = float(attrs.slope)
    return {
        "leaky": ("leaky_relu", (slope,)),
        "elu": ("elu", (slope,)),
        "selu": ("selu", ()),
        "gelu": ("gelu", ()),
        "gelu_erf": ("gelu", ()),
        "prelu": ("prelu", ()),
    }.get(attrs.act_type)


_RULES: dict[str, Rule] = {
    "activation": lambda attrs: (attrs.act_type, ()),
    "leaky_relu": _leaky_relu,
    "gelu": lambda attrs: ("gelu", ()) if attrs.approximation == "erf" else None,
    "clip": _clip,
    "hard_sigmoid": lambda attrs: ("hard_sigmoid", (float(attrs.alpha), float(attrs.beta))),
    "abs": _same("absolute"),
    "true_divide": _same("divide"),
    "true_divide_scalar": _scalar("divide_scalar"),
    "rtrue_divide_scalar": _scalar("rdivide_scalar"),
    "fix": _same("trunc"),
    **{name: _same(name) for name in ("relu", "sigmoid", "silu", "mish", "tanh", "log_sigmoid", "softrelu")},
    **{name: _same(name) for name in ("softsign", "hard_swish", "erf", "exp", "log", "sqrt", "rsqrt", "square")},
    **{name: _same(name) for name in ("negative", "reciprocal", "sign", "floor", "ceil", "trunc", "rint")},
    **{name: _same(name) for name in ("add", "subtract", "multiply", "maximum", "minimum")},
    **{
        f"{name}_scalar": _scalar(f"{name}_scalar")
        for name in ("add", "subtract", "rsubtract", "multiply", "maximum", "minimum")
    },
}


def _rule(node: Node) -> tuple[str, tuple[float, ...]] | None:
    rule = _RULES.get(node.op_name)
    return None if rule is None else rule(node.attrs)


# Operators that are more than one instruction.
_SPECIAL = frozenset({"batch_norm", "dequantize", "quantize", "requantize"})
# Operators that kernels can do in a tail, given fitting shapes and dtypes.
ELEMENTWISE = frozenset({*_RULES, *_SPECIAL})

# The kernels' names for what a tail stores, by the graph's name.
QUANTIZED_OUTPUTS = {"int8": "s8", "uint8": "u8"}


def dtype_name(dtype: np.dtype[Any]) -> str | None:
    """The kernels' name of a dtype that a tail can read: ``f32``, ``s8``, ``u8``, ``s32``; None for others."""
    return {"float32": "f32", "int8": "s8", "uint8": "u8", "int32": "s32"}.get(dtype.name)


@dataclass(frozen=True)
class Tail:
    """An epilogue, the values of its operands and its numbers, in order."""

    epilogue: Epilogue
    operands: tuple[Value, ...]
    numbers: tuple[float, ...] = ()

    @property
    def number_words(self) -> list[int]:
        """The numbers as arguments of the kernel."""
        return [number_word(number) for number in self.numbers]


class TailBuilder:
    """Makes a `Tail` node by node.

    Args:
        classify: how the kernel would read a value beside its output: ``tensor``, ``channel``, ``scalar``,
            or None if it cannot.
        channel_value: makes a constant of (C,) numbers along that axis of the output that the kernel can
            read, and says of what kind it is; or None if it cannot.
    """

    def __init__(
        self,
        classify: Callable[[Value], tuple[Value, str] | None],
        channel_value: Callable[[Array, int], tuple[Value, str] | None],
    ) -> None:
        self._classify = classify
        self._channel_value = channel_value
        self._instructions: list[Instruction] = []
        self._numbers: list[float] = []
        self._kinds: list[str] = []
        self._operands: list[Value] = []
        self._loaded: dict[int, int] = {}
        self._output = "f32"

    def load(self, value: Value) -> int | None:
        """The number of the epilogue's value that holds this operand, or None if the kernel cannot read it."""
        if id(value) not in self._loaded:
            classified = self._classify(value)
            if classified is None:
                return None
            self._append_load(*classified)
            self._loaded[id(value)] = len(self._instructions)
        return self._loaded[id(value)]

    def _append_load(self, value: Value, kind: str) -> None:
        self._instructions.append(Instruction("load", operand=len(self._operands)))
        self._operands.append(value)
        self._kinds.append(kind)

    def channel(self, numbers: Array, axis: int) -> int | None:
        """The number of the epilogue's value that holds (C,) constants along that axis of the output."""
        made = self._channel_value(numbers.astype(np.float32), axis)
        if made is None:
            return None
        self._append_load(*made)
        return len(self._instructions)

    def apply(self, op: str, *values: int, numbers: tuple[float, ...] = ()) -> int:
        self._instructions.append(Instruction(op, values))
        self._numbers += numbers
        return len(self._instructions)

    def add_nodes(self, nodes: Sequence[Node], numbers: dict[Entry, int], outside: Mapping[Entry, Value]) -> bool:
        """Translate nodes in order; `numbers` says which epilogue value an entry is. False if one cannot be."""
        for node in nodes:
            if node.op_name in _SPECIAL:
                if not self._add_special(node, numbers, outside):
                    return False
                continue
            rule = _rule(node)
            if rule is None:
                return False
            values: list[int] = []
            for position, entry in enumerate(node.inputs):
                if entry in numbers:
                    number: int | None = numbers[entry]
                elif rule[0] == "prelu" and position == 1:
                    number = self._slope(outside[entry])
                else:
                    number = self.load(outside[entry])
                if number is None:
                    return False
                values.append(number)
            numbers[node[0]] = self.apply(rule[0], *values, numbers=rule[1])
        return True

    def _add_special(self, node: Node, numbers: dict[Entry, int], outside: Mapping[Entry, Value]) -> bool:
        if node.op_name == "batch_norm":
            return self._add_batch_norm(node, numbers, outside)
        if node.op_name == "dequantize":
            return self._add_dequantize(node, numbers, outside)
        if node.op_name == "requantize":
            if not self._add_dequantize(node, numbers, outside):
                return False
            return self._add_quantize(node, numbers[node[0]], numbers)
        data = node.inputs[0]
        number = numbers[data] if data in numbers else self.load(outside[data])
        return number is not None and self._add_quantize(node, number, numbers)

    def _slope(self, value: Value) -> int | None:
        """PReLU's slope: one number, or one for each channel, which is axis 1 and not the last as in broadcasting."""
        if value.type.size == 1:
            return self.load(value)
        return None if value.array is None else self.channel(value.array.reshape(-1), 1)

    def _add_batch_norm(self, node: Node, numbers: dict[Entry, int], outside: Mapping[Entry, Value]) -> bool:
        parameters = [outside[e].array if e in outside else None for e in node.inputs[1:]]
        known = [p for p in parameters if p is not None]
        if len(known) < len(parameters):
            return False
        data = node.inputs[0]
        number = numbers[data] if data in numbers else self.load(outside[data])
        if number is None:
            return False
        scale, shift = batch_norm_affine(node.attrs, known)
        factors = self.channel(scale, node.attrs.axis), self.channel(shift, node.attrs.axis)
        if factors[0] is None or factors[1] is None:
            return False
        numbers[node[0]] = self.apply("affine", number, factors[0], factors[1])
        return True

    def _add_dequantize(self, node: Node, numbers: dict[Entry, int], outside: Mapping[Entry, Value]) -> bool:
        """Multiply by ``scale * channel_scale``: in float32, the product of the factors first."""
        data = node.inputs[0]
        number = numbers[data] if data in numbers else self.load(outside[data])
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
            factor = self.channel(known * channels, node.attrs.axis)
        else:
            factor = self.load(scale)
            if channels is not None and factor is not None:
                made = self.channel(channels, node.attrs.axis)
                factor = None if made is None else self.apply("multiply", factor, made)
        if factor is None:
            return False
        numbers[node[0]] = self.apply("multiply", number, factor)
        return True

    def _add_quantize(self, node: Node, number: int, numbers: dict[Entry, int]) -> bool:
        """Divide by the calibrated scale, clamp, and store as integers; nothing can follow."""
        scale = calibrated_scale(node.attrs)
        if scale is None or self._output != "f32":
            return False
        output = QUANTIZED_OUTPUTS[node.attrs.out_type]
        inverse = float(np.float32(1.0) / np.float32(scale))
        last = self._instructions[-1] if number == len(self._instructions) > 0 else None
        if output == "u8" and last is not None and last.op == "relu":
            # Clamping to uint8 does what the relu before it does.
            self._instructions.pop()
            number = last.values[0]
        numbers[node[0]] = self.apply("multiply_scalar", number, numbers=(inverse,))
        self._output = output
        return True

    def store_sums(self) -> None:
        """Store an integer kernel's sums as they are."""
        self._output = "s32"

    def finish(self) -> Tail:
        epilogue = Epilogue(tuple(self._instructions), tuple(self._kinds), self._output)
        return Tail(epilogue, tuple(self._operands), tuple(self._numbers))
