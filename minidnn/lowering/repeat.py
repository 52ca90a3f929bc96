"""Layers that are equal but for their weights are lowered once: the others get the same steps with other addresses.

Networks repeat themselves: an encoder's layers, the blocks of a stage. Of a layer, lowering knows what `_layer_key`
holds, and the numbers of weights, which it makes constants of, or asks about, through the network's store. What it
asks is written down while the first layer is lowered. Another layer is a repetition if the store has all of that for
its weights, which is so from the second plan of a network on. A layer whose lowering did anything else, made a constant
of which nothing tells where it comes from, or read a reordered copy that an earlier one had made, is not repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from minidnn.ir.graph import Entry, Node
from minidnn.lowering.memory import TEMPORARY
from minidnn.lowering.steps import Mark, Steps
from minidnn.lowering.values import Array, Value
from minidnn.plan.program import Address, Argument, Buffer, HostStep, NativeStep

__all__ = ["Repetitions"]


def _layer_key(builder: Steps, node: Node, inputs: Sequence[Value]) -> Hashable | None:
    """All that the node's lowering knows, without names and the numbers of weights; None: it is not to be repeated."""
    if any(value.picked is not None for given in inputs for value in _chain(given)):
        return None
    try:
        structure = _structure(node)
    except TypeError:  # an attribute that cannot be a key
        return None
    usual = tuple(builder.usual_types(name) for name in _names(node))
    return (structure, usual, _places([_base(value) for value in inputs]), *map(_value_key, inputs))


def _structure(node: Node) -> Hashable:
    """What a node computes."""
    graph = node.subgraph
    if graph is None:
        return node.op_name, hash(node.attrs), repr(node.attrs)
    if graph.structure is None or graph.structure[0] is not node.inner_inputs:
        entries: dict[Entry, int] = {variable[0]: i for i, variable in enumerate(node.inner_inputs)}
        operations: list[Hashable] = []
        for inner in graph.operations():
            operations.append((_structure(inner), *(entries[e] for e in inner.inputs)))
            for i in range(inner.num_outputs):
                entries[inner[i]] = len(entries)
        graph.structure = node.inner_inputs, (*operations, *(entries[e] for e in graph.outputs))
    return graph.structure[1]


def _names(node: Node) -> list[str]:
    inside = [] if node.subgraph is None else [inner.name for inner in node.subgraph.operations()]
    return [node.name, *inside]


def _step_names(node: Node, inputs: Sequence[Value]) -> list[str]:
    """What steps may be called after: the node, those inside of it, and those that made the views it reads."""
    views = [value.view.name for given in inputs for value in _chain(given) if value.view is not None]
    return [*_names(node), *views]


def _chain(value: Value) -> Iterator[Value]:
    """The value, and what it is elements of."""
    yield value
    while (source := value.source) is not None:
        value = source
        yield value


def _base(value: Value) -> Value:
    """What lies in memory."""
    while (source := value.source) is not None:
        value = source
    return value


def _value_key(value: Value) -> Hashable:
    if value.padded is not None:
        return value.type, value.padded.low, repr(value.padded.fill), _value_key(value.padded.source)
    if value.view is not None:
        return value.type, value.view.offset, value.view.strides, _value_key(value.view.source)
    array = value.array
    if array is None:
        return value.type, value.layout, value.address.buffer.kind
    # A single number may become a part of the kernel or of its arguments.
    number = array.tobytes() if array.size == 1 else None
    return value.type, value.layout, array.flags.c_contiguous, array.ctypes.data % array.dtype.itemsize, number


def _places(inputs: Sequence[Value]) -> Hashable:
    """Which of the tensors in memory lie side by side, and how far from each other."""
    places = []
    first: dict[Hashable, tuple[int, int]] = {}
    for number, value in enumerate(inputs):
        memory: Hashable = value.address.buffer if value.array is None else id(value.array)
        begin = value.address.offset if value.array is None else 0
        other, offset = first.setdefault(memory, (number, begin))
        places.append((other, begin - offset))
    return tuple(places)


class Repetitions:
    """The layers of a program that have been lowered, for those that are equal to them.

    Args:
        builder: of the program.
    """

    def __init__(self, builder: Steps) -> None:
        self._builder = builder
        self._known: dict[Hashable, _Layer | None] = {}

    def lower(self, node: Node, inputs: Sequence[Value], lower: Callable[[], list[Value]]) -> list[Value]:
        """The outputs of the node: those of an equal one, with its steps repeated, or what `lower` gives."""
        builder, key = self._builder, _layer_key(self._builder, node, inputs)
        if key is None:
            return lower()
        if key in self._known:
            known = self._known[key]
            repeated = None if known is None else known.repeat(builder, _step_names(node, inputs), inputs)
            return lower() if repeated is None else repeated
        mark = builder.mark()
        outputs = lower()
        try:
            self._known[key] = _Reader(builder, mark, inputs).read(_step_names(node, inputs), outputs)
        except _NotRepeatable:
            self._known[key] = None
        return outputs


class _NotRepeatable(Exception):  # noqa: N818 # nobody else sees it
    """Something of a layer follows from more than its key."""


@dataclass(frozen=True)
class _Layer:
    """How a layer was lowered, without names and places in memory.

    Its memory has numbers: the inputs that a run computes, then temporaries, then constants.

    Args:
        names: what its steps may be called after.
        lookups: what was asked of the network's store: of which inputs, and the answer.
        temporaries: sizes in bytes.
        constants: each a table, or the number of a lookup, or -1 less the number of an input.
        steps: with those arguments that are addresses: position, number of the memory, offset.
        inputs, outputs: its values.
        laid_out: values that were put into another layout.
        places: number of the memory and offset of all values that are no inputs, by identity.
    """

    names: dict[str, int]
    lookups: Sequence[tuple[Hashable, tuple[int, ...], Any]]
    temporaries: Sequence[int]
    constants: Sequence[Array | int]
    steps: Sequence[tuple[NativeStep, Sequence[tuple[int, int, int]]]]
    inputs: Sequence[Value]
    outputs: Sequence[Value]
    laid_out: Sequence[tuple[Value, str, Value]]
    places: dict[int, tuple[int, int]]

    def repeat(self, builder: Steps, names: Sequence[str], inputs: Sequence[Value]) -> list[Value] | None:
        """The steps again, for the layer of these names; None if the store has something else for its weights."""
        pairs = zip(self.inputs, inputs, strict=True)
        given = {id(old): new for pair in pairs for old, new in zip(*map(_chain, pair), strict=True)}
        if any(id(v) in given and builder.find_laid_out(given[id(v)], layout) for v, layout, _ in self.laid_out):
            return None
        answers: list[Any] = []
        for form, sources, expected in self.lookups:
            answer = builder.store.find(form, [_array(inputs[i]) for i in sources])
            if not _is_alike(answer, expected):
                return None
            answers.append(answer)
        memory = [_base(value).address for value in inputs]
        memory += [builder.temporary(size) for size in self.temporaries]
        for constant in self.constants:
            if not isinstance(constant, int):
                memory.append(builder.table(constant))
            elif constant < 0:
                memory.append(builder.constant(_array(inputs[-1 - constant])))
            else:
                memory.append(builder.lent(answers[constant]))
        for step, places in self.steps:
            arguments: list[Argument] = list(step.arguments)
            for position, number, offset in places:
                arguments[position] = memory[number] + offset
            name = self._renamed(step.name, names)
            builder.add(NativeStep(name, step.loop, tuple(arguments), step.parts, step.cost, step.scratch, step.result))
        for value, layout, result in self.laid_out:
            pair = [self._renewed(v, given, memory, names) for v in (value, result)]
            builder.keep_laid_out(pair[0], layout, pair[1])
        return [self._renewed(value, given, memory, names) for value in self.outputs]

    def _renamed(self, name: str, names: Sequence[str]) -> str:
        return names[self.names[name]] if name in self.names else name

    def _renewed(self, value: Value, made: dict[int, Value], memory: Sequence[Address], names: Sequence[str]) -> Value:
        """The value as the other layer gives it; `made` are those that there are, by identity of this layer's."""
        if id(value) not in made:
            number, offset = self.places[id(value)]
            view, padded = value.view, value.padded
            if view is not None:
                source = self._renewed(view.source, made, memory, names)
                view = replace(view, source=source, name=self._renamed(view.name, names))
            if padded is not None:
                padded = replace(padded, source=self._renewed(padded.source, made, memory, names))
            made[id(value)] = replace(value, address=memory[number] + offset, view=view, padded=padded)
        return made[id(value)]


def _array(value: Value) -> Array:
    array = _base(value).array
    assert array is not None
    return array


def _is_alike(answer: Any, expected: Any) -> bool:
    """Whether lowering does the same with both: numbers of weights go into no step."""
    if isinstance(expected, np.ndarray):
        return isinstance(answer, np.ndarray) and (answer.shape, answer.dtype) == (expected.shape, expected.dtype)
    return answer is not None and bool(answer == expected)


class _Reader:
    """Reads what a builder did since a mark.

    Args:
        builder: what has lowered a layer.
        mark: from before.
        inputs: of the layer.
    """

    def __init__(self, builder: Steps, mark: Mark, inputs: Sequence[Value]) -> None:
        self._builder = builder
        self._made = builder.since(mark)
        self._inputs = inputs
        self._bases = [_base(value) for value in inputs]
        bases = [*reversed([*enumerate(self._bases)])]
        self._memory = {base.address.buffer: i for i, base in bases if base.array is None}
        for index in range(mark.temporaries, mark.temporaries + len(self._made.temporaries)):
            self._memory[Buffer(TEMPORARY, index)] = len(inputs) + index - mark.temporaries
        self._arrays = {id(base.array): i for i, base in bases if base.array is not None}
        self._lookups: list[tuple[Hashable, tuple[int, ...], Any]] = []
        self._constants: list[Array | int] = []

    def read(self, names: Sequence[str], outputs: Sequence[Value]) -> _Layer:
        """The layer.

        Raises:
            _NotRepeatable: there is something that is not known to be the same for an equal layer.
        """
        if self._made.read_earlier or self._made.checks:
            raise _NotRepeatable
        for lookup in self._made.lookups:
            if not all(id(source) in self._arrays for source in lookup.sources):
                raise _NotRepeatable
            sources = tuple(self._arrays[id(source)] for source in lookup.sources)
            self._lookups.append((lookup.form, sources, lookup.answer))
        steps = [self._step(step) for step in self._made.steps]
        given = {id(value) for input in self._inputs for value in _chain(input)}
        laid_out = [value for v, _, other in self._made.laid_out for value in (v, other)]
        new = {id(v): v for value in (*outputs, *laid_out) for v in _chain(value) if id(v) not in given}
        if any(value.array is not None or value.picked is not None for value in new.values()):
            raise _NotRepeatable
        places = {key: self._place(value.address) for key, value in new.items()}
        numbers = {name: i for i, name in reversed([*enumerate(names)])}
        return _Layer(
            numbers,
            self._lookups,
            self._made.temporaries,
            self._constants,
            steps,
            self._inputs,
            outputs,
            self._made.laid_out,
            places,
        )

    def _step(self, step: NativeStep | HostStep) -> tuple[NativeStep, list[tuple[int, int, int]]]:
        if not isinstance(step, NativeStep):
            raise _NotRepeatable
        addresses = ((i, a) for i, a in enumerate(step.arguments) if isinstance(a, Address))
        return step, [(i, *self._place(address)) for i, address in addresses]

    def _place(self, address: Address) -> tuple[int, int]:
        number = self._memory.get(address.buffer)
        if number is None:
            if address.buffer.kind != "constant":
                raise _NotRepeatable
            number = len(self._inputs) + len(self._made.temporaries) + len(self._constants)
            self._constants.append(self._constant(self._builder.constants[address.buffer.index]))
            self._memory[address.buffer] = number
        offset = self._bases[number].address.offset if number < len(self._bases) else 0
        return number, address.offset - offset

    def _constant(self, array: Array) -> Array | int:
        """A table, or which lookup or input it comes from."""
        if self._builder.is_table(array):
            return array
        for number, (_, _, answer) in enumerate(self._lookups):
            if answer is array:
                return number
        if id(array) not in self._arrays:
            raise _NotRepeatable
        return -1 - self._arrays[id(array)]
