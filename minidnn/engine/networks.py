"""Graphs that are compiled, for one size of their inputs or for any; their inputs are checked here."""

from __future__ import annotations

import logging
from collections.abc import Collection, Hashable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from minidnn import settings
from minidnn.engine.compiling import load_compiler, make_executor, note_on_host, refuse_nan
from minidnn.engine.eager import contiguous
from minidnn.errors import ShapeError, TypeMismatchError
from minidnn.ir.graph import Graph
from minidnn.ir.printing import debug_print, format_graph
from minidnn.ir.symbolic import (
    bind_graph,
    bind_types,
    example_sizes,
    find_sizes,
    has_sized_attrs,
    types_by_name,
)
from minidnn.ops.registry import TensorType
from minidnn.passes import fold_constants, fuse_again
from minidnn.plan.program import PlanStep, describe_step
from minidnn.runtime.memory import Arenas
from minidnn.runtime.profile import Profile
from minidnn.runtime.program_cache import Owner, ProgramCache
from minidnn.runtime.recording import Recorder, is_recording, run_on_host
from minidnn.runtime.threads import get_num_threads, pool
from minidnn.staging import Stages, has_unknown_sizes

if TYPE_CHECKING:
    from minidnn.lowering import WeightStore
    from minidnn.lowering.steps import Measure
    from minidnn.plan.program import Program
    from minidnn.runtime.executor import Executor
    from minidnn.runtime.tuning import Tuner

__all__ = ["CompiledGraph", "Network", "compile_graph"]

_log = logging.getLogger(__name__)

Array = np.ndarray[Any, Any]

_PLAIN = "plain"

_SIZING = "the size of its result depends on values"


class CompiledGraph:
    """A graph compiled for inputs of given types. Safe to call from many threads."""

    def __init__(self, run: Executor | Stages, inputs: Mapping[str, TensorType]) -> None:
        self._run = run
        self._inputs = tuple(inputs.items())
        is_native = not isinstance(run, Stages) and run.is_native
        self._is_plain = is_native and all(type_.dtype.isnative for type_ in inputs.values())
        self.output_types = (
            () if isinstance(run, Stages) else tuple(TensorType.of(tensor.type) for tensor in run.program.outputs)
        )
        self._reads_floats = any(type_.dtype.kind == "f" for type_ in inputs.values())

    @property
    def program(self) -> Program:
        """Its steps; of a graph in stages, those of the first one."""
        return self._run.head.program if isinstance(self._run, Stages) else self._run.program

    def __call__(self, arrays: Sequence[Array]) -> list[Array]:
        """Outputs for `arrays`, one for each input in order; new arrays in C order.

        Raises:
            ShapeError, TypeMismatchError: an array is not of the type this was compiled for.
            SizeError: a size that depends on values is not the one that the graph was traced for.
        """
        return self._run(self._check(arrays))

    def run_plainly(self, arrays: Sequence[Array]) -> list[Array] | None:
        """The same for arrays of the types this was compiled for, where kernels alone do it.

        Nothing else in it can raise an error of ours, and nobody asks which block is being called.

        Returns:
            The outputs. None where more is to be done, and nothing has been done: arrays are to be copied or looked
            through, steps run on NumPy, or somebody is told of them.

        Raises:
            SizeError: the graph was made for other values; the outputs are for nobody.
        """
        if not self._is_plain or is_recording() or (self._reads_floats and settings.CHECK_FINITE.value()):
            return None
        for array in arrays:
            flags = array.flags
            if not (flags.c_contiguous and flags.aligned):
                return None
        return self._run(arrays)

    def steps(self) -> tuple[PlanStep, ...]:
        """The steps of a run, in order; what follows sizes that depend on values, as it ran last."""
        own = tuple(map(describe_step, self.program.steps))
        if not isinstance(self._run, Stages):
            return own
        sizing = (PlanStep(node.name, "NumPy", True, None, None, _SIZING) for node in self._run.sizing)
        rest = self._run.latest
        return (*own, *sizing, *(() if rest is None else rest.steps()))

    def profile(self, arrays: Sequence[Array], rounds: int = 10, warmup: int = 2) -> Profile:
        """Run it step by step and tell how long each takes.

        Args:
            arrays: one for each input, as for a call.
            rounds: how often each step is timed.
            warmup: rounds before that do not count.

        Raises:
            ShapeError, TypeMismatchError: an array is not of the type this was compiled for.
            ValueError: fewer than one round, or fewer than none to warm up.
        """
        if rounds < 1 or warmup < 0:
            raise ValueError(f"rounds must be at least 1 and warmup at least 0, got {rounds} and {warmup}")
        checked = self._check(arrays)
        recorder = Recorder()
        for _ in range(warmup):
            self.record(checked, recorder)
        recorder.runs.clear()
        for _ in range(rounds):
            self.record(checked, recorder)
        recorder.release()
        return Profile(recorder.runs, get_num_threads())

    def record(self, arrays: Sequence[Array], recorder: Recorder) -> list[Array]:
        """Outputs for arrays that have been checked; the recorder gets the times of the steps."""
        return self._run.record(arrays, recorder)

    def _check(self, arrays: Sequence[Array]) -> list[Array]:
        if len(arrays) != len(self._inputs):
            named = ", ".join(f"{name} {type_}" for name, type_ in self._inputs)
            raise ShapeError(f"expected {len(self._inputs)} inputs, got {len(arrays)}; they are {named}")
        return [_checked(name, type_, array) for (name, type_), array in zip(self._inputs, arrays, strict=True)]


def _checked(name: str, type_: TensorType, array: Array) -> Array:
    """The array in the memory layout kernels read."""
    if array.shape != type_.shape:
        raise ShapeError(f"input {name!r} must have shape {type_.shape}, got {array.shape}")
    if array.dtype.newbyteorder("=") != type_.dtype:
        raise TypeMismatchError(f"input {name!r} must be {type_.dtype}, got {array.dtype}")
    refuse_nan(f"input {name!r}", array)
    return contiguous(array)


def compile_graph(
    graph: Graph,
    parameters: Mapping[str, Array],
    inputs: Mapping[str, TensorType],
    versions: Mapping[str, int] | None = None,
    arenas: Arenas | None = None,
    name: str = "graph",
    fuse: bool = False,
) -> CompiledGraph:
    """Compile a graph.

    Args:
        graph: what to compute, usually after the fusion passes.
        parameters: its weights, by variable name; packed copies are made of them. What is computed from them alone
            is computed here, once.
        inputs: the types of its inputs, by variable name, in the order of the arrays of a call.
        versions: a number of each parameter that changes when it is written to; those that have one share their packed
            copies with other graphs.
        arenas: memory for temporaries that several graphs use in turns; by default the graph has its own.
        name: what the log calls it.
        fuse: whether what follows sizes that depend on values is fused when they are known, as it is in any graph that
            has fused nodes.

    Raises:
        OpError: shapes or dtypes do not fit; the message names the node.
    """
    return Network(graph, parameters, versions, arenas, name, fuse).plan(inputs)


def _as_it_is(graph: Graph, types: Mapping[str, TensorType], constants: Collection[str]) -> Graph:
    return graph


class Network:
    """A graph with its weights, planned for the sizes of each call. Safe to use from many threads.

    What does not depend on sizes, such as values computed from parameters alone, is there once.

    Args:
        graph, parameters, versions, arenas, name, fuse: see `compile_graph`. Shapes and attributes may hold symbolic
            sizes.
        tune: whether algorithms are measured, where `MINIDNN_TUNE` allows it.
    """

    def __init__(
        self,
        graph: Graph,
        parameters: Mapping[str, Array],
        versions: Mapping[str, int] | None = None,
        arenas: Arenas | None = None,
        name: str = "graph",
        fuse: bool = False,
        tune: bool = False,
    ) -> None:
        self._name = name
        self._fuse = fuse or any(node.subgraph is not None for node in graph.nodes())
        self._graph, self._parameters = fold_constants(graph, parameters)
        if self._graph is not graph:
            debug_print("passes", "after fold_constants", lambda: format_graph(self._graph))
        # What was computed here is known to nobody else, whatever its name is.
        self._versions = {
            name: version
            for name, version in (versions or {}).items()
            if name in self._parameters and self._parameters[name] is parameters.get(name)
        }
        self._arenas = Arenas() if arenas is None else arenas
        self._plans: Owner[CompiledGraph] = Owner()
        # Beside the shapes that its inputs are said to have, of which nobody asks here.
        self._depends_on_sizes = has_unknown_sizes(self._graph) or any(map(has_sized_attrs, self._graph.nodes()))
        self._examples = example_sizes(self._graph)
        # What nodes make, in symbols, and in the call that was traced; once there are other sizes than in that.
        self._types: Mapping[str, tuple[TensorType, ...]] = {}
        self._usual: Mapping[str, tuple[TensorType, ...]] = {}
        self._store: WeightStore | None = None
        self._tune = tune
        self._tuner: Tuner | None = None

    def find_plan(self, key: Hashable) -> CompiledGraph | None:
        """The plan that was kept under this key, if it is still there."""
        return _plans.find(self._plans, key)

    def keep_plan(self, key: Hashable, plan: CompiledGraph) -> None:
        """Have a plan found again under this key, as long as it is among those of all networks that were used last."""
        _plans.keep(self._plans, key, plan)

    def plan(self, inputs: Mapping[str, TensorType], sizes: Mapping[str, int] | None = None) -> CompiledGraph:
        """The graph compiled for inputs of these types, by variable name, in the order of the arrays of a call.

        Args:
            inputs: types of the inputs that the graph reads.
            sizes: the numbers of its symbols, for which the caller has checked that the graph holds; None: they follow
                from these inputs.

        Raises:
            ShapeError: shapes that the graph was not traced for; the message names the input or the decision.
            OpError: shapes or dtypes do not fit; the message names the node.
        """
        is_checked = sizes is not None
        if sizes is None:
            sizes = find_sizes(self._graph, {name: type_.shape for name, type_ in inputs.items()})
        bound = bind_graph(self._graph, sizes) if self._depends_on_sizes else self._graph
        known = self._parameters
        if bound is not self._graph:
            # What depends on sizes alone is a constant of this plan.
            bound, known = fold_constants(bound, known)
        if has_unknown_sizes(bound):
            make = partial(
                compile_graph, versions=self._versions, arenas=self._arenas, name=self._name, fuse=self._fuse
            )
            refine = fuse_again if self._fuse else _as_it_is
            stages = Stages(bound, known, inputs, make, refine, run_on_host)
            for node in stages.sizing:
                note_on_host(node.op_name, node.name, _SIZING)
            return CompiledGraph(stages, inputs)
        given = {name: (type_, _PLAIN) for name, type_ in inputs.items()}
        layouts = [_PLAIN] * len(bound.outputs)
        other = any(number != sizes.get(name, number) for name, number in self._examples.items())
        if other and not self._types:
            types = {name: TensorType.of(array) for name, array in self._parameters.items()}
            self._types = types_by_name(self._graph, {**types, **inputs})
            self._usual = bind_types(self._types, self._examples)
        with_parameters = (known, given, layouts, self._versions, self._arenas, self._name)
        executor = make_executor(
            bound,
            *with_parameters,
            usual=(self._usual if other else {}) if self._examples else None,
            store=self._weight_store(),
            types=bind_types(self._types, {**self._examples, **sizes}) if other and is_checked else None,
            measure=self._measure() if self._tune and settings.TUNE.value() else None,
        )
        return CompiledGraph(executor, inputs)

    def _measure(self) -> Measure:
        if self._tuner is None:
            load_compiler()
            from minidnn.runtime.library import library  # deferred: it loads the compiler
            from minidnn.runtime.tuning import Tuner  # deferred: it loads the compiler

            self._tuner = Tuner(library(), pool)
        return self._tuner.fastest

    def _weight_store(self) -> WeightStore:
        if self._store is None:
            load_compiler()
            from minidnn.lowering import WeightStore  # deferred: it loads the compiler

            self._store = WeightStore(self._parameters)
        return self._store


# Plans of networks, of all sizes of their inputs.
_plans: ProgramCache[CompiledGraph] = ProgramCache(
    16384, settings.PLAN_BYTES.value, "plans of networks (MINIDNN_PLAN_BYTES)"
)
