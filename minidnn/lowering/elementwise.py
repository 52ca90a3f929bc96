"""Elementwise groups: any region of elementwise nodes over broadcast operands, as one step."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from minidnn.ir.graph import Entry, Node
from minidnn.lowering.builder import Builder
from minidnn.lowering.epilogue import BoundEpilogue, EpilogueBuilder
from minidnn.lowering.tiling import PARTS
from minidnn.lowering.values import CHANNELS_LAST, PLAIN, Array, Value, physical_order
from minidnn.lowering.weight_store import Origin
from minidnn.ops.registry import TensorType
from minidnn.passes.legality import can_be_epilogue
from minidnn.plan.program import Argument, Cost, Kernel
from minidnn_kernels.element_type import element_type_of
from minidnn_kernels.elementwise import ELEMENTWISE_ARGUMENTS, MAX_OPERANDS, MAX_OUTER, TENSOR, ElementwiseSpec
from minidnn_kernels.epilogue import Epilogue, operand_kind, tensor_kind

__all__ = ["add_rows_step", "cast_elements", "collapse", "lower_elementwise"]

# Elements in a call: a few operands of it fit the first-level cache.
_CHUNK = 2048
_PART_ELEMENTS = 16 * 1024


def lower_elementwise(
    builder: Builder, name: str, nodes: Sequence[Node], outside: Mapping[Entry, Value], type: TensorType
) -> Value | None:
    """One step for `nodes` (inputs before users, the last is the result); None if the kernel cannot do it."""
    values = [outside[e] for node in nodes for e in node.inputs if e in outside]
    if not values or not all(map(can_be_epilogue, nodes)):
        return None
    full = [v for v in values if v.shape == type.shape and v.array is None]
    layout = CHANNELS_LAST if any(v.layout == CHANNELS_LAST for v in full) else PLAIN

    def classify(value: Value) -> tuple[Value, str] | None:
        element = element_type_of(value.type.dtype)
        if element is None:
            return None
        kind = tensor_kind(element)
        if value.shape == type.shape and value.array is None:
            return builder.as_layout(value, layout), kind
        aligned = (1,) * (type.ndim - len(value.shape)) + value.shape
        return _broadcastable(builder, value, aligned, layout), kind

    def channel_value(make: Callable[[], Array], axis: int, origin: Origin) -> tuple[Value, str] | None:
        aligned = tuple(n if d == axis % type.ndim else 1 for d, n in enumerate(type.shape))
        return _laid_out(builder, lambda: make().astype(np.float32), aligned, layout, origin), "tensor"

    made = EpilogueBuilder(classify, channel_value)
    first = next(v for v in values if v.array is None or v is values[-1])
    if made.load(first) is None:
        return None
    numbers: dict[Entry, int] = {}
    if not made.add_nodes(nodes, numbers, outside):
        return None
    bound = made.finish(numbers[nodes[-1][0]])
    if len(bound.operands) > MAX_OPERANDS or bound.epilogue.output_type is not element_type_of(type.dtype):
        return None
    return _add_step(builder, name, bound, type, layout)


def cast_elements(builder: Builder, name: str, value: Value, type: TensorType) -> Value:
    """A tensor in memory with elements of another type, in the same layout, by a step of its own."""
    source, target = element_type_of(value.type.dtype), element_type_of(type.dtype)
    assert source is not None and target is not None
    made = EpilogueBuilder(lambda given: (given, tensor_kind(source)), lambda make, axis, origin: None)
    number = made.load(value)
    assert number is not None
    result = _add_step(builder, name, made.finish(made.cast(number, target)), type, value.layout)
    assert result is not None
    return result


def _add_step(builder: Builder, name: str, bound: BoundEpilogue, type: TensorType, layout: str) -> Value | None:
    result = builder.new(type, layout)
    operands: Sequence[Value] = bound.operands
    collapsed = _collapsed(result, operands, layout)
    if collapsed is None:
        # More dimensions than the loop has: what is repeated is written out, and all are one.
        written = [v if v.type.size == 1 else builder.spread(v, _like(v, type), layout) for v in operands]
        operands = [v for v in written if v is not None]
        collapsed = _collapsed(result, operands, layout) if len(operands) == len(written) else None
    if collapsed is None:
        return None
    shape, strides = collapsed
    # Within a row an operand is contiguous or one number: that is what the microkernel is told.
    loaded = zip(bound.epilogue.kinds, strides[1:], strict=True)
    kinds = tuple(kind.name if s[-1] else operand_kind("scalar", kind.type) for kind, s in loaded)
    epilogue = Epilogue(bound.epilogue.instructions, kinds, bound.epilogue.output)
    tensors = [result, *operands]
    kernel, cost = Kernel(ElementwiseSpec(epilogue)), _cost(tensors, epilogue)
    add_rows_step(builder, name, kernel, tensors, shape, strides, cost, bound.number_words)
    return result


def _like(value: Value, type: TensorType) -> TensorType:
    return TensorType(type.shape, value.type.dtype)


def _collapsed(
    result: Value, operands: Sequence[Value], layout: str
) -> tuple[tuple[int, ...], list[tuple[int, ...]]] | None:
    tensors = [result, *operands]
    strides = [broadcast_strides(v, result.shape) for v in tensors]
    return collapse(result.shape, strides, [v.type.dtype.itemsize for v in tensors], layout)


def _cost(tensors: Sequence[Value], epilogue: Epilogue) -> Cost:
    return Cost(len(epilogue.instructions) * tensors[0].type.size, sum(t.nbytes for t in tensors))


def add_rows_step(
    builder: Builder,
    name: str,
    kernel: Kernel,
    tensors: Sequence[Value],
    shape: tuple[int, ...],
    strides: Sequence[tuple[int, ...]],
    cost: Cost,
    numbers: Sequence[int] = (),
) -> None:
    """A step of `elementwise_loop`: `kernel` on each row of the collapsed tensors, with the words of its numbers."""
    *outer, inner = shape
    rows = math.prod(outer)
    chunk = min(inner, _CHUNK)
    chunks = -(-inner // chunk)
    missing = MAX_OUTER - len(outer)
    described: list[Argument] = []
    for tensor, (*around, step) in zip(tensors, strides, strict=True):
        described += TENSOR.fill(address=builder.address(tensor), strides=[0] * missing + around, step=step)
    row = ELEMENTWISE_ARGUMENTS.fill(
        kernel=kernel,
        tensors=len(tensors),
        inner=inner,
        chunk=chunk,
        chunks=chunks,
        outer=rows,
        shape=[1] * missing + outer,
        tensor=described,
        numbers=numbers,
    )
    parts = max(1, min(PARTS, rows * inner // _PART_ELEMENTS, rows * chunks))
    builder.native(name, "elementwise_loop", row, parts, cost)


def broadcast_strides(value: Value, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides in bytes against `shape`: 0 along every dimension the value is repeated over."""
    missing = len(shape) - len(value.shape)
    return (0,) * missing + tuple(s if n > 1 else 0 for s, n in zip(value.strides, value.shape, strict=True))


def collapse(
    shape: tuple[int, ...], strides: Sequence[tuple[int, ...]], items: Sequence[int], layout: str
) -> tuple[tuple[int, ...], list[tuple[int, ...]]] | None:
    """Dimensions in memory order, merged where every tensor allows; None if too many are left.

    `items` are the tensors' element sizes. The result has at least one dimension; along the last one every
    tensor moves from element to element, or not at all.
    """
    order = [d for d in physical_order(len(shape), layout) if shape[d] > 1]
    extents: list[int] = []
    moves: list[list[int]] = [[] for _ in strides]
    for d in order:
        own = [s[d] for s in strides]
        if extents and all(m[-1] == s * shape[d] for m, s in zip(moves, own, strict=True)):
            extents[-1] *= shape[d]
            for m, s in zip(moves, own, strict=True):
                m[-1] = s
        else:
            extents.append(shape[d])
            for m, s in zip(moves, own, strict=True):
                m.append(s)
    if not extents:
        return (1,), [(item,) for item in items]
    inner = [m[-1] for m in moves]
    if len(extents) > MAX_OUTER + 1 or inner[0] != items[0]:
        return None
    if any(step not in (0, item) for step, item in zip(inner, items, strict=True)):
        return None
    return tuple(extents), [tuple(m) for m in moves]


def _broadcastable(builder: Builder, value: Value, aligned: tuple[int, ...], layout: str) -> Value:
    """The value with a shape of full rank, in the layout of the output."""
    if value.array is not None:
        array = value.array
        return _laid_out(builder, lambda: array, aligned, layout, Origin.of("array", array))
    plain = builder.as_layout(value, PLAIN)
    reshaped = Value(TensorType(aligned, value.type.dtype), plain.address, PLAIN)
    return builder.as_layout(reshaped, layout)


def _laid_out(
    builder: Builder, make: Callable[[], Array], aligned: tuple[int, ...], layout: str, origin: Origin
) -> Value:
    """A constant of that origin with a shape of full rank, in the layout of the output."""
    order = physical_order(len(aligned), layout)
    form = ("broadcast", aligned, order, origin.steps)
    packed = builder.share(form, origin.sources, lambda: np.ascontiguousarray(make().reshape(aligned).transpose(order)))
    return Value(TensorType(aligned, packed.dtype), builder.constant(packed), layout)
