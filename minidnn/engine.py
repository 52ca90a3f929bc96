"""The one door between what users hold (blocks, arrays, symbols) and what runs (lowering, runtime).

Everything that reaches a kernel passes here, and is checked here: dtype, shape and memory of every array.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from functools import cache, lru_cache, partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from minidnn import settings
from minidnn.deferred import import_safely
from minidnn.errors import OpError, ShapeError, TypeMismatchError
from minidnn.ir.graph import Graph, make_node, make_variable
from minidnn.ir.printing import debug_enabled, debug_print, format_graph
from minidnn.ir.symbolic import (
    bind_graph,
    bind_types,
    example_sizes,
    find_sizes,
    has_sized_attrs,
    types_by_name,
)
from minidnn.ops.registry import Attrs, Op, TensorType
from minidnn.passes import fold_constants, fuse_again
from minidnn.plan.program import HostStep, PlanStep, describe_step
from minidnn.process_safe import uninterrupted
from minidnn.runtime.counters import COUNTERS
from minidnn.runtime.memory import Arenas
from minidnn.runtime.messages import start_logging
from minidnn.runtime.profile import Profile
from minidnn.runtime.program_cache import Owner, ProgramCache
from minidnn.runtime.recording import Recorder, is_recording, run_on_host, start, stop
from minidnn.runtime.threads import get_num_threads, pool, set_num_threads, start_threads
from minidnn.scope import current_scope
from minidnn.staging import Stages, has_unknown_sizes
from minidnn.untrusted import printable
from minidnn_kernels.fork_lock import FORK_LOCK
from minidnn_kernels.host import host_cpu, host_features

if TYPE_CHECKING:
    from minidnn.lowering import WeightStore
    from minidnn.lowering.steps import Measure
    from minidnn.plan.program import Program
    from minidnn.runtime.executor import Executor
    from minidnn.runtime.tuning import Tuner
    from minidnn_kernels.isa import Isa

__all__ = [
    "COUNTERS",
    "Arenas",
    "CompiledGraph",
    "Network",
    "PlanStep",
    "Profile",
    "check_settings",
    "compile_graph",
    "contiguous",
    "get_num_threads",
    "info",
    "recording",
    "run_op",
    "set_num_threads",
    "start_threads",
]

_log = logging.getLogger(__name__)

Array = np.ndarray[Any, Any]
_Profile = TypeVar("_Profile", bound=Profile)

_PLAIN, _CHANNELS_LAST = "plain", "channels_last"


class Operand(Protocol):
    """What the engine asks of an array that users hold."""

    @property
    def _type(self) -> TensorType: ...

    @property
    def _version(self) -> int:
        """Number of writes to its memory so far."""

    @property
    def _compiled(self) -> dict[Any, Any]:
        """Room for kernels that baked the array in; empty again after any write to its memory."""

    def _read(self, what: str) -> Array:
        """The data; an error that names `what` where there is none."""


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


def _refuse_nan(name: str, array: Array) -> None:
    """With ``MINIDNN_CHECK_FINITE=1``, refuse NaN and infinity; without it they are numbers like others.

    Raises:
        OpError: there are some.
        SettingError: the variable is neither 0 nor 1.
    """
    if array.dtype.kind != "f" or not settings.CHECK_FINITE.value():
        return
    bad = array.size - int(np.isfinite(array).sum())
    if bad:
        raise OpError(f"{name} must be finite (MINIDNN_CHECK_FINITE), got {bad} NaN or infinite of {array.size}")


def _checked(name: str, type_: TensorType, array: Array) -> Array:
    """The array in the memory layout kernels read."""
    if array.shape != type_.shape:
        raise ShapeError(f"input {name!r} must have shape {type_.shape}, got {array.shape}")
    if array.dtype.newbyteorder("=") != type_.dtype:
        raise TypeMismatchError(f"input {name!r} must be {type_.dtype}, got {array.dtype}")
    _refuse_nan(f"input {name!r}", array)
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
                _note_on_host(node.op_name, node.name, _SIZING)
            return CompiledGraph(stages, inputs)
        given = {name: (type_, _PLAIN) for name, type_ in inputs.items()}
        layouts = [_PLAIN] * len(bound.outputs)
        other = any(number != sizes.get(name, number) for name, number in self._examples.items())
        if other and not self._types:
            types = {name: TensorType.of(array) for name, array in self._parameters.items()}
            self._types = types_by_name(self._graph, {**types, **inputs})
            self._usual = bind_types(self._types, self._examples)
        with_parameters = (known, given, layouts, self._versions, self._arenas, self._name)
        executor = _executor(
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
            _load_compiler()
            from minidnn.runtime.library import library  # deferred: it loads the compiler
            from minidnn.runtime.tuning import Tuner  # deferred: it loads the compiler

            self._tuner = Tuner(library(), pool)
        return self._tuner.fastest

    def _weight_store(self) -> WeightStore:
        if self._store is None:
            _load_compiler()
            from minidnn.lowering import WeightStore  # deferred: it loads the compiler

            self._store = WeightStore(self._parameters)
        return self._store


# Plans of networks, of all sizes of their inputs.
_plans: ProgramCache[CompiledGraph] = ProgramCache(
    16384, settings.PLAN_BYTES.value, "plans of networks (MINIDNN_PLAN_BYTES)"
)

_COMPILER = ("minidnn.lowering", "minidnn.runtime.executor", "minidnn.runtime.library", "minidnn_kernels.peak")


@cache
def _load_compiler() -> None:
    """Import what compiles and runs, at the first need: `import minidnn` needs none of it."""
    start_logging()
    import_safely(_COMPILER)


def _executor(
    graph: Graph,
    parameters: Mapping[str, Array],
    inputs: Mapping[str, tuple[TensorType, str]],
    layouts: Sequence[str] | None,
    versions: Mapping[str, int] | None,
    arenas: Arenas | None,
    name: str,
    is_operator: bool = False,
    usual: Mapping[str, tuple[TensorType, ...]] | None = None,
    store: WeightStore | None = None,
    types: Mapping[str, tuple[TensorType, ...]] | None = None,
    measure: Measure | None = None,
) -> Executor:
    _load_compiler()
    from minidnn.lowering import lower  # deferred: it loads the compiler
    from minidnn.runtime.executor import Executor  # deferred: it loads the compiler
    from minidnn.runtime.library import library  # deferred: it loads the compiler

    begin = time.perf_counter()
    kernels = library()
    program = lower(graph, parameters, inputs, layouts, kernels.isa, versions, usual, store, types, measure)
    debug_print("plan", f"{len(program.steps)} steps for {kernels.isa.name}", lambda: str(program))
    if debug_enabled("asm"):
        uninterrupted(partial(_print_assembly, program, kernels.isa))
    executor = Executor(program, kernels, pool, arenas, is_operator)
    seconds = time.perf_counter() - begin
    COUNTERS.compile_seconds.add(seconds)
    level = logging.DEBUG if is_operator else logging.INFO
    if _log.isEnabledFor(level):
        signature = ", ".join(f"{printable(key)} {type_}" for key, (type_, _) in inputs.items())
        _log.log(
            level,
            "%s(%s): %d steps for %s in %.3f s; kernels: %d compiled, %d from the cache, %d loaded before",
            *(name, signature, len(program.steps), kernels.isa.name, seconds, *executor.prepared),
        )
    for step in program.steps:
        if isinstance(step, HostStep):
            _note_on_host(step.operator, step.name, step.reason)
    return executor


def _print_assembly(program: Program, isa: Isa) -> None:
    with FORK_LOCK:
        from minidnn_kernels.codegen import emit_asm  # deferred: it loads LLVM

        for spec in program.kernels():
            debug_print("asm", spec.name, partial(emit_asm, spec.emit(isa), isa))


_SIZING = "the size of its result depends on values"


def _note_on_host(operator: str, name: str, reason: str) -> None:
    """Log, once, that an operator runs on NumPy."""
    if _log.isEnabledFor(logging.INFO):
        _log_on_host(operator, name, reason)


@lru_cache(maxsize=4096)
def _log_on_host(operator: str, name: str, reason: str) -> None:
    _log.info("%s (operator %s) runs on NumPy: %s", printable(name) or "an array", operator, reason)


# --- eager operators: one node each, through the same kernels ---------------------------------------

# Programs that are kept, and bytes of their tables.
_programs: ProgramCache[Executor] = ProgramCache(1024, 192 << 20)
_arenas = Arenas(256 << 20)
_without_weights: Owner[Executor] = Owner()
# Sets of other weights, of which one that comes first in an operator keeps programs.
_OWNERS = 4


class _WeightOwner(Owner["Executor"]):
    """Programs of weights: hung on the first of them, they die with it, or when it is written to."""

    __slots__ = ("_others",)

    def __init__(self, others: Sequence[Operand]) -> None:
        super().__init__()
        self._others = [(other, other._version) for other in others]

    def is_current(self, others: Sequence[Operand]) -> bool:
        """Whether the other weights are the same, and have not been written to either."""
        for other, (known, version) in zip(others, self._others, strict=True):
            if other is not known or other._version != version:
                return False
        return True


def _owner_of(weights: Sequence[Operand]) -> Owner[Executor]:
    if not weights:
        return _without_weights
    first, *others = weights
    owners, key = first._compiled, tuple(map(id, others))
    owner = owners.get(key)
    if owner is None or not owner.is_current(others):
        owner = owners[key] = _WeightOwner(others)
        for older in [*owners][:-_OWNERS]:
            owners.pop(older, None)
    return owner


def run_op(op: Op, attrs: Attrs, arrays: Sequence[Operand]) -> tuple[Array, ...]:
    """One operator on arrays, by the kernels that fused graphs use; by its reference where it has none.

    Results of convolutions and their like may have channels-last strides: whatever comes next reads them
    as they are.

    Raises:
        OpError: the arrays do not fit.
    """
    _load_compiler()
    from minidnn.lowering import has_kernel, why_on_host  # deferred: it loads the compiler

    types = tuple(a._type for a in arrays)
    data = [a._read(op.name) for a in arrays]
    if not op.is_dynamic:
        op.infer_types(attrs, types)
    for name, array in zip(op.input_names(attrs), data, strict=True):
        _refuse_nan(f"{op.name}: {name}", array)
    if op.is_dynamic or not has_kernel(op.name, types, attrs):
        if _log.isEnabledFor(logging.INFO):
            _log_on_host(op.name, current_scope() or op.name, why_on_host(op.name, types, is_alone=True))
        return run_on_host(op.name, lambda: op.compute(attrs, *data))
    names = op.input_names(attrs)
    weights = [i for i, name in enumerate(names) if name in op.parameters]
    moving = [i for i in range(len(arrays)) if i not in weights]
    read = [_readable(data[i]) for i in moving]
    layouts = tuple(_layout(a) for a in read)
    owner, key = _owner_of([arrays[i] for i in weights]), _key(op, attrs, types, layouts)
    executor = _counted(_programs.find(owner, key))
    if executor is None:
        variables = [make_variable(f"in{i}") for i in range(len(arrays))]
        node = make_node(op, op.name, variables, attrs)
        graph = Graph([node[i] for i in range(node.num_outputs)])
        inputs = {f"in{i}": (types[i], layout) for i, layout in zip(moving, layouts, strict=True)}
        versions = {f"in{i}": arrays[i]._version for i in weights}
        executor = _executor(
            graph, {f"in{i}": data[i] for i in weights}, inputs, None, versions, _arenas, op.name, is_operator=True
        )
        _programs.keep(owner, key, executor)
    return tuple(executor(read))


def _counted(found: Executor | None) -> Executor | None:
    (COUNTERS.program_misses if found is None else COUNTERS.program_hits).add()
    return found


def _key(op: Op, attrs: Attrs, types: tuple[TensorType, ...], layouts: tuple[str, ...]) -> tuple[Any, ...]:
    # 0.0 and -0.0 are equal, but dividing by them is not the same.
    signs = tuple(math.copysign(1.0, v) for v in attrs.values() if isinstance(v, float) and v == 0)
    return (op.name, attrs, signs, types, layouts)


# --- profiles --------------------------------------------------------------------------------------


@contextlib.contextmanager
def recording(profile: _Profile) -> Iterator[_Profile]:
    """While it is open, every run of this process is timed step by step, for `profile`, behind the runs it has.

    Raises:
        RuntimeError: another is open.
    """
    recorder = Recorder(profile.runs)
    try:
        start(recorder)
        yield profile
    finally:
        stop(recorder)


# --- memory ----------------------------------------------------------------------------------------


def _layout(array: Array) -> str:
    """How a readable array lies in memory."""
    return _PLAIN if array.flags.c_contiguous else _CHANNELS_LAST


def _is_channels_last(array: Array) -> bool:
    return array.ndim > 2 and np.moveaxis(array, 1, -1).flags.c_contiguous


def _readable(array: Array) -> Array:
    """The array as kernels can read it, in C order or channels last: itself, or a copy."""
    good = array.dtype.isnative and array.flags.aligned
    if good and (array.flags.c_contiguous or _is_channels_last(array)):
        return array
    return np.require(array, array.dtype.newbyteorder("="), ["C", "A"]).reshape(array.shape)


def contiguous(array: Array) -> Array:
    """The array in C order, aligned, in native byte order: itself if it is all that, else a copy.

    A channels-last array is reordered by a kernel, on all threads.
    """
    readable = _readable(array)
    if readable.flags.c_contiguous:
        return readable
    type_ = TensorType.of(readable)
    key = ("contiguous", type_)
    executor = _counted(_programs.find(_without_weights, key))
    if executor is None:
        variable = make_variable("in0")
        given = {"in0": (type_, _CHANNELS_LAST)}
        executor = _executor(Graph([variable]), {}, given, [_PLAIN], {}, _arenas, "reorder", is_operator=True)
        _programs.keep(_without_weights, key, executor)
    return executor([readable])[0]


def check_settings() -> None:
    """Look at every setting that the environment has.

    Raises:
        SettingError: one has a value that it cannot have, or names an ISA that this machine does not have.
    """
    settings.check_settings()
    if settings.ISA.value():
        _load_compiler()
        from minidnn.runtime.library import chosen_isa  # deferred: it loads the compiler

        chosen_isa()


def info() -> dict[str, Any]:
    """What inference runs on: CPU, ISA, threads, cache folder."""
    _load_compiler()
    from minidnn.runtime.library import library  # deferred: it loads the compiler

    kernels = library()
    cache = kernels.cache
    return {
        "cpu": uninterrupted(host_cpu),
        "cpu_features": sorted(uninterrupted(host_features)),
        "isa": kernels.isa.name,
        "threads": get_num_threads(),
        "threading": "own helper threads, each with a share of each step",
        "cache_folder": f"off ({cache.why_off})" if cache.folder is None else str(cache.folder),
        "cache_limit_bytes": cache.limit,
        "settings": settings.in_environment(),
    }
