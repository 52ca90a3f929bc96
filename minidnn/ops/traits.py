"""Traits: what an operator's record says of it beside types and numbers, for passes, lowering and exporters to ask.

All of them are machine-free. An `EpilogueStep` names an instruction of the kernels' epilogue vocabulary, but nothing
here knows the kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = [
    "ALWAYS",
    "AS_BOOLS",
    "IF_ALL",
    "IF_ANY",
    "IF_FIRST",
    "IF_SECOND",
    "IN_COMMON",
    "IN_RESULT",
    "AnchorTraits",
    "ChannelAffine",
    "EpilogueForm",
    "EpilogueStep",
    "Part",
    "Sign",
    "Typing",
    "cast_number",
    "comparison_step",
    "if_first_or_scalar",
    "if_scalar",
    "if_scalar_and_all",
    "scalar_step",
    "step",
]


Dtype = np.dtype[Any]

# The dtype that an operation computes in, by those of its inputs and of its result; None: no instruction does that.
Typing = Callable[[Sequence[Dtype], Dtype], Dtype | None]


def IN_RESULT(inputs: Sequence[Dtype], result: Dtype) -> Dtype:  # noqa: N802 - reads as a constant of the records
    """Inputs are cast to the dtype of the result."""
    return result


def IN_COMMON(inputs: Sequence[Dtype], result: Dtype) -> Dtype:  # noqa: N802
    """Inputs are cast to the dtype that NumPy has for all of them."""
    return np.result_type(*inputs)


def AS_BOOLS(inputs: Sequence[Dtype], result: Dtype) -> Dtype:  # noqa: N802
    """Inputs are cast to bool: whether they are not zero."""
    return np.dtype(np.bool_)


@dataclass(frozen=True)
class EpilogueStep:
    """What an operation is in a kernel's epilogue: one instruction, on registers of one dtype.

    Args:
        name: the instruction's name in the kernels' vocabulary.
        numbers: its constants.
        axes: by position of an input, the axis of the result along which that input lies if it is a vector; other
            inputs broadcast as NumPy has it.
        computes: the dtype of the registers. What is bool and has no instruction for that is computed in int8, float16
            in float32.
        numbers_in: the constants where they depend on that dtype.
    """

    name: str
    numbers: tuple[float, ...] = ()
    axes: Mapping[int, int] = field(default_factory=dict)
    computes: Typing = IN_RESULT
    numbers_in: Callable[[Dtype], tuple[float, ...]] | None = None

    def numbers_of(self, dtype: Dtype) -> tuple[float, ...]:
        """The constants of an operation that computes in this dtype."""
        return self.numbers if self.numbers_in is None else self.numbers_in(dtype)


# By an operation's attributes; None: with these it has no instruction.
EpilogueForm = Callable[[Any], EpilogueStep | None]


def step(name: str, *numbers: float, computes: Typing = IN_RESULT) -> EpilogueForm:
    """The same instruction whatever the attributes."""
    made = EpilogueStep(name, numbers, computes=computes)
    return lambda attrs: made


def cast_number(number: float, dtype: Dtype) -> float:
    """A number as NumPy casts it to a float dtype: beyond what that holds it is infinite."""
    with np.errstate(over="ignore"):
        cast: float = dtype.type(number).item()
    return cast


def _scalar_in(scalar: float) -> Callable[[Dtype], tuple[float, ...]]:
    """A scalar as NumPy casts it to the dtype of the array beside it."""
    return lambda dtype: (cast_number(scalar, dtype) if dtype.kind == "f" else scalar,)


def scalar_step(name: str, computes: Typing = IN_RESULT) -> EpilogueForm:
    """An instruction whose one constant is the attribute ``scalar``."""

    def form(attrs: Any) -> EpilogueStep:
        scalar = float(attrs.scalar)
        return EpilogueStep(name, (scalar,), computes=computes, numbers_in=_scalar_in(scalar))

    return form


def comparison_step(name: str) -> EpilogueForm:
    """`scalar_step` of a comparison: exact, also where the dtype of the array does not hold the scalar."""

    def form(attrs: Any) -> EpilogueStep:
        scalar = float(attrs.scalar)
        is_whole = attrs.is_int and scalar.is_integer()

        def computes(inputs: Sequence[Dtype], result: Dtype) -> Dtype | None:
            own = inputs[0]
            if own.kind == "f":
                return own
            if not is_whole:
                return np.dtype(np.float64)
            wide = np.dtype(np.uint64 if own == np.uint64 else np.int64)
            for dtype in (own, wide):
                if dtype.kind in "iu" and np.iinfo(dtype).min <= scalar <= np.iinfo(dtype).max:
                    return dtype
            # Outside of the wide dtype, and not so near that rounding to float64 reaches it.
            return np.dtype(np.float64) if scalar != float(np.iinfo(wide).max) else None

        return EpilogueStep(name, (scalar,), computes=computes, numbers_in=_scalar_in(scalar))

    return form


# Whether a result is nowhere negative: by the attributes and, for each input that is no parameter, whether that is
# nowhere negative.
Sign = Callable[[Any, Sequence[bool]], bool]


def ALWAYS(attrs: Any, inputs: Sequence[bool]) -> bool:  # noqa: N802 - reads as a constant of the records
    return True


def IF_ALL(attrs: Any, inputs: Sequence[bool]) -> bool:  # noqa: N802
    return bool(inputs) and all(inputs)


def IF_ANY(attrs: Any, inputs: Sequence[bool]) -> bool:  # noqa: N802
    return any(inputs)


def IF_FIRST(attrs: Any, inputs: Sequence[bool]) -> bool:  # noqa: N802
    return bool(inputs) and inputs[0]


def IF_SECOND(attrs: Any, inputs: Sequence[bool]) -> bool:  # noqa: N802
    return len(inputs) > 1 and inputs[1]


def if_scalar(attrs: Any, inputs: Sequence[bool]) -> bool:
    """The attribute ``scalar`` alone decides."""
    return bool(attrs.scalar >= 0)


def if_scalar_and_all(attrs: Any, inputs: Sequence[bool]) -> bool:
    return bool(attrs.scalar >= 0) and all(inputs)


def if_first_or_scalar(attrs: Any, inputs: Sequence[bool]) -> bool:
    return bool(attrs.scalar >= 0) or IF_FIRST(attrs, inputs)


@dataclass(frozen=True)
class AnchorTraits:
    """An operator whose kernel computes an epilogue before its only store: a matrix product of some form.

    Args:
        label: the word for it in names of fused nodes.
        channel_axis: the axis of the output along which each element has a column of weights of its own.
        output_rank: rank of the output, where the attributes tell; None where it is that of the data.
        factors: how many inputs, the first ones, are multiplied and are no weights.
        integer: the operator that computes the same on 8-bit integers; empty if there is none.
        bfloat16: the operator that computes the same with weights in bfloat16; empty if there is none.
        is_integer: whether it is such an operator itself.
        always_per_channel: whether its quantized weights have a scale per output channel in any case.
        eltwise_hint: MXNet's attribute of a fused node for operations on one tensor behind it, activations or not;
            empty if it has none.
    """

    label: str
    channel_axis: int = -1
    output_rank: Callable[[Any], int | None] = lambda attrs: None
    factors: int = 1
    integer: str = ""
    bfloat16: str = ""
    is_integer: bool = False
    always_per_channel: bool = False
    eltwise_hint: str = ""

    def axis_of_channels(self, attrs: Any, ndim: int | None) -> tuple[int, int | None]:
        """The channels' axis, and the rank of the output where it is known; `ndim` is what a caller knows of it."""
        rank = self.output_rank(attrs)
        return self.channel_axis, ndim if rank is None else rank

    def trailing_axes(self, attrs: Any) -> int:
        """How many axes of the output follow the channels' one: those in front of which a bias is added."""
        rank = self.output_rank(attrs)
        return 0 if self.channel_axis < 0 or rank is None else rank - self.channel_axis - 1


@dataclass(frozen=True)
class ChannelAffine:
    """At inference the operator is ``x * scale + shift`` with one pair of numbers for each element of an axis.

    Args:
        axis: that axis, by the attributes.
        numbers: scale and shift as float64 vectors, from the attributes and the values of the parameters.
    """

    axis: Callable[[Any], int]
    numbers: Callable[[Any, Sequence[Any]], tuple[Any, Any]]


@dataclass(frozen=True)
class Part:
    """One operation of a decomposition.

    Args:
        op: its operator.
        inputs: what it reads: i is input i of the operation that is taken apart; after those come the results of
            the parts before it, in order.
        attrs: its attributes.
        suffix: what its name has behind that of the whole; empty for the last one, which takes its name.
    """

    op: str
    inputs: tuple[int, ...] = (0,)
    attrs: Mapping[str, Any] = field(default_factory=dict)
    suffix: str = ""
