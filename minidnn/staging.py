"""Graphs whose shapes depend on values run in stages: what comes first, the sizes found, and the rest for these sizes.

An operation whose size is unknown (`Op.has_unknown_size`) splits its graph: everything that depends on none of them is
one program; then the operations themselves run, by their references; the rest is compiled for the types found, and may
be split again.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np

from minidnn.ir.graph import Graph, Node, make_variable
from minidnn.ops.registry import TensorType
from minidnn.plan.program import PlanStep, Program
from minidnn.process_safe import ForkSafeLock

__all__ = ["Stages", "has_unknown_sizes"]

_log = logging.getLogger(__name__)

Array = np.ndarray[Any, Any]

# Compiled rests of one graph: each may hold packed weights.
_KEPT_RESTS = 8


class Recorder(Protocol):
    """Gets the times of steps; see `minidnn.runtime.recording`."""

    def add_host(self, name: str, span: tuple[float, float]) -> None: ...


class Compiled(Protocol):
    """What is compiled of a stage; see `minidnn.engine.networks.CompiledGraph`."""

    @property
    def program(self) -> Program: ...

    def __call__(self, arrays: Sequence[Array]) -> list[Array]: ...

    def steps(self) -> tuple[PlanStep, ...]: ...

    def record(self, arrays: Sequence[Array], recorder: Any) -> list[Array]: ...


Compile = Callable[[Graph, Mapping[str, Array], Mapping[str, TensorType]], Compiled]
Refine = Callable[[Graph, Mapping[str, TensorType], Collection[str]], Graph]
RunHost = Callable[[str, Callable[[], Any], str], Any]


def _is_sizing(node: Node) -> bool:
    return node.op is not None and node.op.has_unknown_size(node.attrs)


def has_unknown_sizes(graph: Graph) -> bool:
    """Whether an operation's size is found only when it runs."""
    return any(map(_is_sizing, graph.nodes()))


@dataclass(frozen=True)
class _Split:
    """A graph in two.

    Args:
        head: gives `passed` and then the inputs of the operations `sizing`.
        passed: names of variables of `rest` for outputs of the head.
        sizing: operations that run between head and rest, with names of variables of `rest` for their outputs.
        rest: what is left.
    """

    head: Graph
    passed: tuple[str, ...]
    sizing: tuple[tuple[Node, tuple[str, ...]], ...]
    rest: Graph


def _split(graph: Graph, parameters: Mapping[str, Array]) -> _Split:
    late: set[Node] = set()
    sizing: list[Node] = []
    for node in graph.nodes():
        if any(e.node in late or e.node in sizing for e in node.inputs):
            late.add(node)
        elif _is_sizing(node):
            sizing.append(node)
    between = {node[i]: f"{node.name}:{i}" for node in sizing for i in range(node.num_outputs)}
    wanted = [*(e for node in graph.nodes() if node in late for e in node.inputs), *graph.outputs]
    passed = {
        e: str(e)
        for e in wanted
        if e.node not in late and e not in between and not (e.node.is_variable and e.node.name in parameters)
    }
    names = {**between, **passed}
    rest = Graph(graph.outputs).rewrite(
        lambda node, _: (
            [make_variable(names.get(node[i], f"{node.name}:{i}")) for i in range(node.num_outputs)]
            if any(node[i] in names for i in range(node.num_outputs))
            else None
        )
    )
    head = Graph([*passed, *(e for node in sizing for e in node.inputs)])
    outputs = tuple((node, tuple(between[node[i]] for i in range(node.num_outputs))) for node in sizing)
    return _Split(head, tuple(passed.values()), outputs, rest)


class Stages:
    """A graph with unknown sizes, compiled as far as it can be. Safe to call from many threads.

    Args:
        graph: the graph.
        parameters: its weights, by variable name.
        inputs: the types of its inputs, by variable name, in the order of the arrays of a call.
        make: compiles a graph, one with unknown sizes in stages.
        refine: makes the most of a rest, of the names of its parameters, and of the types found.
        run_host: runs an operation by its reference; takes its name, what computes it, and its operator.

    Raises:
        OpError: shapes or dtypes do not fit; the message names the node.
    """

    def __init__(
        self,
        graph: Graph,
        parameters: Mapping[str, Array],
        inputs: Mapping[str, TensorType],
        make: Compile,
        refine: Refine,
        run_host: RunHost,
    ) -> None:
        self._parts = _split(graph, parameters)
        self._rest_parameters = _used(self._parts.rest, parameters)
        self._make = make
        self._refine = refine
        self._run_host = run_host
        self.head = make(self._parts.head, _used(self._parts.head, parameters), inputs)
        self._rests: OrderedDict[tuple[TensorType, ...], Compiled] = OrderedDict()
        self._lock = ForkSafeLock()

    @property
    def sizing(self) -> tuple[Node, ...]:
        """The operations whose sizes are found between the first stage and the rest."""
        return tuple(node for node, _ in self._parts.sizing)

    @property
    def latest(self) -> Compiled | None:
        """The rest as it ran last; None before the first run."""
        with self._lock.here:
            return next(reversed(self._rests.values()), None)

    def __call__(self, arrays: Sequence[Array]) -> list[Array]:
        """Outputs for inputs.

        Raises:
            OpError: the sizes found do not fit what follows; the message names the node.
        """
        rest, feed = self._find_sizes(self.head(arrays))
        return rest(feed)

    def record(self, arrays: Sequence[Array], recorder: Recorder) -> list[Array]:
        """The same, with each step timed by itself; the recorder gets the times."""
        rest, feed = self._find_sizes(self.head.record(arrays, recorder), recorder)
        return rest.record(feed, recorder)

    def _find_sizes(self, values: Sequence[Array], recorder: Recorder | None = None) -> tuple[Compiled, list[Array]]:
        """The rest for the sizes that are found, and what it reads."""
        count = len(self._parts.passed)
        feed = dict(zip(self._parts.passed, values[:count], strict=True))
        operands = iter(values[count:])
        for node, names in self._parts.sizing:
            inputs = [next(operands) for _ in node.inputs]
            begin = time.perf_counter()
            results = self._run_host(node.name, partial(node.compute, inputs), node.op_name)
            if recorder is not None:
                recorder.add_host(node.name, (begin, time.perf_counter()))
            feed.update(zip(names, results, strict=True))
        return self._rest_for({name: TensorType.of(a) for name, a in feed.items()}), list(feed.values())

    def _rest_for(self, types: Mapping[str, TensorType]) -> Compiled:
        key = tuple(types.values())
        with self._lock.here:
            found = self._rests.get(key)
            if found is None:
                parameters = self._rest_parameters
                rest = self._refine(self._parts.rest, types, parameters.keys())
                found = self._rests[key] = self._make(rest, parameters, types)
            self._rests.move_to_end(key)
            while len(self._rests) > _KEPT_RESTS:
                dropped, _ = self._rests.popitem(last=False)
                _log.info("the program for %s dropped: more than %d sizes of one graph", dropped, _KEPT_RESTS)
            return found


def _used(graph: Graph, parameters: Mapping[str, Array]) -> dict[str, Array]:
    return {v.name: parameters[v.name] for v in graph.variables() if v.name in parameters}
