"""A block's graph, compiled for the sizes of each call; and whether it still is what the block would give."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter, is_
from typing import Any

import numpy as np

from minidnn import engine
from minidnn.errors import MXNetError
from minidnn.gluon._block import Block, structure_version
from minidnn.gluon.monitor import Callback, Monitor
from minidnn.gluon.parameter import Parameter
from minidnn.gluon.structure import ARRAY, Spec, unflatten
from minidnn.ir.shape_checks import ShapeChecks
from minidnn.ir.symbolic import bind_graph, find_sizes, input_types
from minidnn.numpy.base import CHANGES
from minidnn.numpy.multiarray import ndarray
from minidnn.ops.registry import TensorType
from minidnn.process_safe import ForkSafeLock
from minidnn.sizes import bind
from minidnn.symbol.symbol import Symbol

__all__ = ["BlockGraph", "Program", "Types"]

Types = tuple[TensorType, ...]

_read_data, _read_version = attrgetter("_data"), attrgetter("_buffer.version")


@dataclass(frozen=True)
class BlockGraph:
    """What tracing a block gives.

    Args:
        symbol: the graph; shapes of inputs may hold symbols.
        inputs: names of the data variables, in the order of the input arrays; some may not occur in the graph.
        parameters: the parameters in the graph, by name.
        constants: other arrays in the graph, by name.
        output: how the graph's outputs are nested in what `forward` gives.
        traced: the graph as it was traced, before any passes.
        written: names of the inputs that `forward` writes to; what they are then are the last outputs of the graph.
        is_fused: whether it has been through the fusion passes.
    """

    symbol: Symbol
    inputs: tuple[str, ...]
    parameters: Mapping[str, Parameter]
    constants: Mapping[str, ndarray]
    output: Spec
    traced: Symbol
    written: tuple[str, ...] = ()
    is_fused: bool = False

    def without_writes(self) -> BlockGraph:
        """The graph of what `forward` gives alone."""
        if not self.written:
            return self
        symbol = Symbol(self.symbol.outputs[: -len(self.written)], self.symbol.declared)
        used = set(symbol.list_inputs())
        parameters = {name: p for name, p in self.parameters.items() if name in used}
        constants = {name: a for name, a in self.constants.items() if name in used}
        return BlockGraph(symbol, self.inputs, parameters, constants, self.output, symbol)

    def arrays(self) -> dict[str, ndarray]:
        """The values of parameters and constants, by name; the arrays themselves, not copies."""
        return {**{name: p.concrete() for name, p in self.parameters.items()}, **self.constants}


class Program:
    """A `BlockGraph` that runs on arrays of the sizes it holds for. Many threads may call it at once.

    Args:
        block: whose graph it is.
        graph: the graph.
        types: the types of the inputs that it was made for, also those that the graph does not read.
        arenas: memory for temporaries, shared by the block's programs.
        tune: whether algorithms are measured.
    """

    def __init__(
        self,
        block: Block,
        graph: BlockGraph,
        types: Sequence[TensorType],
        arenas: engine.Arenas,
        tune: bool = True,
    ) -> None:
        self.types = tuple(types)
        self.graph, self.arenas, self._name = graph, arenas, type(block).__name__
        used = set(graph.symbol.list_inputs())
        self._positions = [i for i, name in enumerate(graph.inputs) if name in used]
        self._reads_all = len(self._positions) == len(graph.inputs)
        self._values = graph.arrays()
        self._parameters = list(graph.parameters.values())
        self._arrays = [p.concrete() for p in self._parameters]
        self._versions = [*map(_read_version, self._arrays)]
        self._unchanged_at = -1
        # Weak, as the block has the program: both go with the last reference to the block, without a collection.
        self._block = weakref.ref(block)
        self._tree = [(name, weakref.ref(member)) for name, member in _tree_of(block)]
        self._structure = structure_version()
        self._lock = ForkSafeLock()
        self._tune = tune
        self._network: engine.Network | None = None
        self._latest: engine.CompiledGraph | None = None
        self._checks: ShapeChecks | None = None
        self._monitor: tuple[Types, Monitor] | None = None

    def has_same_tree(self) -> bool:
        """Whether the tree of blocks is the one it was built from, with the same parameters."""
        if self._structure != structure_version():
            # Some block has changed somewhere; this one's tree may be the same as before.
            block = self._block()
            tree = [] if block is None else _tree_of(block)
            if len(tree) != len(self._tree) or not all(map(_same, tree, self._tree)):
                return False
            self._structure = structure_version()
        return True

    def is_current(self) -> bool:
        """Whether nothing it was built from has changed: the tree of blocks, the parameters, their values."""
        changes = CHANGES.count
        if self._unchanged_at == changes:
            return True
        is_current = (
            self.has_same_tree()
            and all(map(is_, map(_read_data, self._parameters), self._arrays))
            and [*map(_read_version, self._arrays)] == self._versions
        )
        if is_current:
            self._unchanged_at = changes
        return is_current

    def find_plan(self, types: Types) -> engine.CompiledGraph | None:
        """What inputs of these types run, if they did so before."""
        return None if self._network is None else self._network.find_plan(types)

    def make_plan(self, types: Types) -> engine.CompiledGraph:
        """What inputs of these types run, compiled if that has not been done.

        Raises:
            ShapeError: the graph does not hold for these sizes.
            OpError: shapes or dtypes do not fit; the message names the node.
        """
        with self._lock.here:
            network = self._compiled()
            plan = network.find_plan(types)
            if plan is None:
                sizes = self._find_sizes(types)
                used = {self.graph.inputs[i]: types[i] for i in self._positions}
                plan = network.plan(used, sizes)
                network.keep_plan(types, plan)
            self._latest = plan
            return plan

    def _compiled(self) -> engine.Network:
        if self._network is None:
            # Kernels of eager calls hold packed weights too, maybe packed in another way than the program's.
            for array in self._arrays:
                array._compiled.clear()
            versions = {name: array._version for name, array in self._values.items()}
            values = {name: _data(array) for name, array in self._values.items()}
            self._network = engine.Network(
                self.graph.symbol, values, versions, self.arenas, self._name, self.graph.is_fused, self._tune
            )
        return self._network

    def _find_sizes(self, types: Types) -> dict[str, int]:
        """The numbers of the symbols for inputs of these types.

        Raises:
            OpError: the graph, as it was traced, does not hold for them.
        """
        traced = self.graph.traced
        sizes = find_sizes(traced, {name: t.shape for name, t in zip(self.graph.inputs, types, strict=True)})
        if sizes and types != self.types:
            if self._checks is None:
                self._checks = ShapeChecks(traced)
            self._checks.check(sizes)
        return sizes

    def run_plainly(self, args: Sequence[Any]) -> Any:
        """What `forward` gives for arrays, where that takes no more than a plan that is there and its kernels.

        Returns:
            None where it takes more: nothing has been done then.

        Raises:
            SizeError: the graph was made for other values.
        """
        network = self._network
        if network is None or self.graph.written or not self.is_current():
            return None
        types, data = [], []
        for array in args:
            if type(array) is not ndarray or array._data is None:
                return None
            types.append(array._type)
            data.append(array._data)
        plan = network.find_plan(tuple(types))
        if plan is None:
            return None
        outputs = plan.run_plainly(data if self._reads_all else [data[i] for i in self._positions])
        if outputs is None:
            return None
        self._latest = plan
        engine.COUNTERS.program_hits.add()
        output = self.graph.output
        if output is ARRAY:
            return ndarray._wrap(outputs[0], None, plan.output_types[0])
        return unflatten(output, map(ndarray._wrap, outputs))

    def types_for(self, sizes: Mapping[str, int]) -> Types:
        """The types of all inputs for these numbers of the symbols."""
        symbolic = input_types(self.graph.traced)
        return tuple(
            TensorType(bind(symbolic[name].shape, sizes), type_.dtype) if name in symbolic else type_
            for name, type_ in zip(self.graph.inputs, self.types, strict=True)
        )

    @property
    def latest(self) -> engine.CompiledGraph:
        """The plan that was made or run last."""
        assert self._latest is not None
        return self._latest

    def run(self, plan: engine.CompiledGraph, arrays: Sequence[ndarray]) -> list[ndarray]:
        """The outputs of a plan of this program, flat."""
        self._latest = plan
        return [*map(ndarray._wrap, plan([_data(arrays[i]) for i in self._positions]))]

    def write_back(self, outputs: Sequence[ndarray], arrays: Sequence[ndarray]) -> None:
        """Write to the inputs what `forward` writes to them.

        Raises:
            MXNetError: two inputs share memory, so that a write to one is a write to the other.
        """
        written = self.graph.written
        if not written:
            return
        buffers = [id(a._buffer) for a in arrays]
        for name, value in zip(written, outputs[-len(written) :], strict=True):
            position = self.graph.inputs.index(name)
            if buffers.count(buffers[position]) > 1:
                raise MXNetError(f"forward() writes to its input {position}, which shares memory with another input")
            arrays[position]._assign(value)

    def run_monitored(self, arrays: Sequence[ndarray], callback: Callback, monitor_all: bool) -> list[ndarray]:
        """The outputs, flat, computed node by node; `callback` sees each array."""
        types = tuple(array._type for array in arrays)
        feed = {self.graph.inputs[i]: _data(arrays[i]) for i in self._positions}
        with self._lock.here:
            if self._monitor is None or self._monitor[0] != types:
                bound = bind_graph(self.graph.symbol, self._find_sizes(types))
                self._monitor = types, Monitor(bound, {n: _data(a) for n, a in self._values.items()})
            monitor = self._monitor[1]
        return self._wrap(monitor.run(feed, callback, monitor_all), arrays)

    def _wrap(self, outputs: Sequence[np.ndarray[Any, Any]], inputs: Sequence[ndarray]) -> list[ndarray]:
        """Arrays that own their memory: an output may be an input or a parameter as it is, or a view of one."""
        taken = [_data(a) for a in inputs]
        entries = self.graph.symbol.outputs
        return [
            ndarray._wrap(
                output.copy()
                if entry.node.is_variable or any(np.may_share_memory(output, a) for a in taken)
                else output
            )
            for output, entry in zip(outputs, entries, strict=True)
        ]


def _data(array: ndarray) -> np.ndarray[Any, Any]:
    return array._read("running a compiled block")


def _tree_of(block: Block) -> list[tuple[str, Block | Parameter]]:
    tree: list[tuple[str, Block | Parameter]] = []
    for path, member in block._walk_blocks():
        tree.append((path, member))
        tree.extend(member._reg_params.items())
    return tree


def _same(a: tuple[str, Block | Parameter], b: tuple[str, weakref.ref[Block | Parameter]]) -> bool:
    return a[0] == b[0] and a[1] is b[1]()
