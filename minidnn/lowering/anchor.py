"""What anchors share: batch norm folded into weights, and the operations that follow as a bound epilogue."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TypeVar

import numpy as np

from minidnn.ir.graph import Entry, Node
from minidnn.lowering.builder import Builder
from minidnn.lowering.epilogue import BoundEpilogue, EpilogueBuilder
from minidnn.lowering.values import PLAIN, Array, Value
from minidnn.lowering.weight_store import Lookups, Origin
from minidnn.ops.bfloat16 import BITS, widen_bfloat16
from minidnn.ops.registry import Attrs, TensorType
from minidnn.plan.program import Argument
from minidnn_kernels.element_type import FLOAT32, INT32, element_type_of
from minidnn_kernels.epilogue import tensor_kind
from minidnn_kernels.store import CONTEXT, OPERAND

__all__ = ["Anchor", "Weights", "epilogue_bytes", "epilogue_context", "fold", "make_epilogue"]

T = TypeVar("T")


@dataclass(frozen=True)
class Anchor:
    """An anchor and what is fused behind it.

    Args:
        name: of the node in the graph.
        attrs: of the anchor.
        inputs: its values.
        type: of its output.
        result: of the epilogue's output, of the same shape.
        following: the nodes after it, inputs before users; the last one is the result.
        entry: the anchor's output, as the epilogue's nodes refer to it.
        outside: values of every other entry the epilogue reads.
        usual: shape of the output in the call that the network was traced with, by which algorithms are chosen; None:
            that of the type.
    """

    name: str
    attrs: Attrs
    inputs: Sequence[Value]
    type: TensorType
    result: TensorType
    entry: Entry | None = None
    following: tuple[Node, ...] = ()
    outside: Mapping[Entry, Value] | None = None
    usual: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Weights:
    """Weights [groups, taps, depth, columns per group] and bias (columns,), batch norm folded in.

    The matrix is `unscaled`, columns times `scale`, and the bias `given_bias` times it, with a shift: `affine` gives
    both. It is called at the first need, which there may not be if all has been packed before. No matrix where the
    right operand is not known yet. `rest` is what is left of the epilogue, behind `result`. Integers have no bias in
    the epilogue: `start` is what their sums start from, int32 (columns,). Where the origin of all that is not known, it
    is None. `channel` (columns,) is what the epilogue multiplies sums by first: scales of int8 weights of float32 data.
    """

    unscaled: Array | None
    given_bias: Array | None
    rest: tuple[Node, ...]
    result: Entry | None
    start: Array | None = None
    origin: Origin | None = None
    affine: Callable[[], tuple[Array, Array]] | None = None
    channel: Array | None = None

    @property
    def has_bias(self) -> bool:
        return self.given_bias is not None or self.affine is not None

    @cached_property
    def _scale_and_shift(self) -> tuple[Array, Array]:
        assert self.affine is not None
        return self.affine()

    @property
    def bias(self) -> Array | None:
        """(columns,), with batch norm folded in; None: zeros."""
        if self.affine is None:
            return self.given_bias
        scale, shift = self._scale_and_shift
        return (shift if self.given_bias is None else self.given_bias * scale + shift).astype(np.float32)

    @property
    def scale(self) -> Array | None:
        """(columns,); None: ones."""
        return None if self.affine is None else self._scale_and_shift[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the matrix."""
        assert self.unscaled is not None
        shape: tuple[int, ...] = self.unscaled.shape
        return shape

    @property
    def numbers(self) -> Array:
        """[groups, taps, depth, columns per group], as they are stored, not scaled yet: what packers read.

        Bfloat16 as its bits, uint16.
        """
        assert self.unscaled is not None
        return self.unscaled

    @cached_property
    def widened(self) -> Array:
        """The numbers, bfloat16 as float32."""
        return widen_bfloat16(self.numbers) if self.is_bfloat16 else self.numbers

    @property
    def is_bfloat16(self) -> bool:
        return bool(self.numbers.dtype == BITS)

    @property
    def factors(self) -> Array | None:
        """`scale` as float32 [groups, columns per group]: who packs the weights multiplies with less memory."""
        return None if self.scale is None else self.scale.astype(np.float32).reshape(self.shape[0], self.shape[3])

    @cached_property
    def matrix(self) -> Array:
        """[groups, taps, depth, columns per group], float32 or integers."""
        factors = self.factors
        if factors is None:
            return self.widened
        scaled: Array = (self.numbers * factors[:, None, None, :]).astype(np.float32, copy=False)
        return scaled

    def pack(self, builder: Builder, form: Hashable, make: Callable[[], Array]) -> Array:
        """What `make` makes of matrix and start, shared by programs; `form` says what that is."""
        if self.origin is None:
            return make()
        return builder.share((form, self.origin.steps, self.shape), self.origin.sources, make)

    def know(self, store: Lookups, what: Hashable, find: Callable[[], T]) -> T:
        """What there is to know of matrix and start, found once for all programs of a network."""
        if self.origin is None:
            return find()
        return store.get((what, self.origin.steps, self.shape), self.origin.sources, find)


def fold(anchor: Anchor, matrix: Array, bias: Array | None, channel_axis: int, origin: Origin | None = None) -> Weights:
    """Fold the batch norm that directly follows the anchor, if there is one, into weights and bias.

    A batch norm is ``x * scale + shift`` for each output channel, so it is the same convolution with
    weights ``w * scale`` and bias ``b * scale + shift``.
    """
    assert anchor.outside is not None or not anchor.following
    following = anchor.following[0] if anchor.following else None
    affine = None if following is None or following.op is None else following.op.affine
    if matrix.dtype == BITS:
        # A factor would be rounded with the weights once more.
        affine = None
    unfolded = Weights(matrix, bias, anchor.following, anchor.entry, origin=origin)
    if following is None or affine is None or following.inputs[0] != anchor.entry:
        return unfolded
    if affine.axis(following.attrs) % anchor.type.ndim != channel_axis:
        return unfolded
    if sum(anchor.entry in node.inputs for node in anchor.following) > 1:
        return unfolded
    assert anchor.outside is not None
    parameters = [anchor.outside[e].array for e in following.inputs[1:]]
    known = [p for p in parameters if p is not None]
    if len(known) < len(parameters):
        return unfolded
    origin = None if origin is None else origin.then((following.op_name, following.attrs), known)
    numbers = partial(affine.numbers, following.attrs, known)
    return Weights(matrix, bias, anchor.following[1:], following[0], origin=origin, affine=numbers)


def _padded_channels(builder: Builder, make: Callable[[], Array], origin: Origin) -> Value:
    """Per-channel constants with room behind them: a tile reads whole vectors."""
    spare = 4 * builder.isa.lanes

    def pad() -> Array:
        numbers = make().reshape(-1)
        memory = np.zeros(numbers.size + spare, np.float32)
        memory[: numbers.size] = numbers
        return memory

    return builder.parameter(builder.share(("channels", spare, origin.steps), origin.sources, pad))


def _rows(builder: Builder, value: Value, shape: tuple[int, ...]) -> Value | None:
    """An operand of one number for each row, in the order of rows."""
    if value.array is None and value.shape == shape:
        return builder.as_layout(value, PLAIN)
    return builder.spread(value, TensorType(shape, value.type.dtype), PLAIN)


def make_epilogue(
    builder: Builder, anchor: Anchor, weights: Weights, layout: str, channel_axis: int
) -> BoundEpilogue | None:
    """The epilogue as an epilogue, or None if the tile cannot do it."""
    shape = anchor.type.shape

    def classify(value: Value) -> tuple[Value, str] | None:
        type = element_type_of(value.type.dtype)
        if type is None:
            return None
        aligned = (1,) * (len(shape) - len(value.shape)) + value.shape
        kind = tensor_kind(type)
        if value.array is None and value.shape == shape:
            return builder.as_layout(value, layout), kind
        if type is FLOAT32 and math.prod(aligned) == 1:
            return value, "scalar"
        if type is FLOAT32 and math.prod(aligned) == aligned[channel_axis] == shape[channel_axis]:
            if value.array is not None:
                array = value.array
                return _padded_channels(builder, lambda: array, Origin.of("channels", array)), "channel"
            return value, "channel"
        if type is FLOAT32 and aligned[channel_axis] == 1:
            rows = _rows(builder, value, (*shape[:channel_axis], 1, *shape[channel_axis + 1 :]))
            return None if rows is None else (rows, "row")
        spread = builder.spread(value, TensorType(shape, value.type.dtype), layout)
        return None if spread is None else (spread, kind)

    def channel_value(make: Callable[[], Array], axis: int, origin: Origin) -> tuple[Value, str] | None:
        if axis % len(shape) != channel_axis:
            return None
        return _padded_channels(builder, make, origin), "channel"

    made = EpilogueBuilder(classify, channel_value)
    start = 0
    if weights.channel is not None:
        assert weights.origin is not None
        factor = made.channel(lambda: np.asarray(weights.channel), channel_axis, weights.origin.then("channel"))
        assert factor is not None
        start = made.apply("multiply", start, factor)
    if weights.has_bias:
        origin = Origin.of("bias", weights.bias) if weights.origin is None else weights.origin.then("bias")
        bias = made.channel(lambda: np.asarray(weights.bias), channel_axis, origin)
        assert bias is not None
        start = made.apply("add", start, bias)
    numbers = {weights.result: start} if weights.result is not None else {}
    if not made.add_nodes(weights.rest, numbers, anchor.outside or {}):
        return None
    if anchor.result.dtype == INT32.dtype and not weights.rest:
        made.store_sums()
    bound = made.finish(numbers[weights.rest[-1][0]] if weights.rest else None)
    return bound if bound.epilogue.output_type is element_type_of(anchor.result.dtype) else None


def epilogue_context(builder: Builder, bound: BoundEpilogue, result: Value, columns: int) -> list[Argument]:
    """A microkernel's context: the output, the epilogue's operands, its numbers; all have rows of `columns`."""
    operands: list[Argument] = []
    for value, kind in zip(bound.operands, bound.epilogue.kinds, strict=True):
        operands += OPERAND.fill(address=builder.address(value), pitch=kind.pitch(columns))
    pitch = columns * bound.epilogue.output_type.bytes
    return CONTEXT.fill(output=result.address, pitch=pitch, operands=operands, numbers=bound.number_words)


def epilogue_bytes(bound: BoundEpilogue, result: Value) -> int:
    """Bytes an epilogue moves: what it stores, and the tensors it reads beside."""
    return result.nbytes + sum(result.type.size * kind.type.bytes for kind in bound.epilogue.kinds if kind.is_tensor)
