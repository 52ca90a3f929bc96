"""Calls of hybrid blocks: eager ones, and those of programs, which are traced and compiled at the first need."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, overload

import numpy as np

from minidnn import engine
from minidnn.engine import Arenas
from minidnn.errors import OpError, ShapeError, SizeError, TypeMismatchError
from minidnn.gluon._block import Block
from minidnn.gluon.calls import is_outermost, observer, run_in_block
from minidnn.gluon.monitor import Callback
from minidnn.gluon.program import BlockGraph, Program, Types
from minidnn.gluon.recording import Recording
from minidnn.gluon.size_options import check_axes
from minidnn.gluon.structure import ARRAY, Spec, flatten, unflatten
from minidnn.ir.axes import Axes
from minidnn.ir.graph import Graph
from minidnn.ir.settle import settle
from minidnn.ir.trace import current_trace, innermost_serial
from minidnn.numpy.multiarray import ndarray
from minidnn.ops.registry import TensorType
from minidnn.process_safe import ForkSafeLock
from minidnn.scope import current_scope
from minidnn.sizes import by_example
from minidnn.symbol.symbol import Symbol

__all__ = ["TracedBlock", "kind_of"]

_log = logging.getLogger(__name__)

# Of a call, but for the sizes of arrays: how the arguments are nested, dtypes, numbers of dimensions.
_Kind = tuple[Spec, tuple[tuple[Any, int], ...]]


class TracedBlock(Block):
    """What a hybrid block does when it is called: runs eagerly, or traces `forward` and runs what was compiled."""

    # With more graphs than this, the oldest one goes.
    _max_programs = 16

    def __init__(self) -> None:
        super().__init__()
        self._active = False
        self._backend: str | None = None
        self._backend_opts: dict[str, Any] = {}
        self._tune = True
        self._axes: Axes = {}
        self._callback: tuple[Callback, bool] | None = None
        self._programs: dict[_Kind, tuple[Program, ...]] = {}
        # Of those, the ones that a call with nothing but arrays may run, while such a call is to run one.
        self._ready: tuple[Program, ...] = ()
        self._latest_program: Program | None = None
        self._build_lock = ForkSafeLock()
        self._arenas = Arenas()

    def __getstate__(self) -> dict[str, Any]:
        empty: dict[str, Any] = {"_programs": {}, "_ready": (), "_latest_program": None}
        return {**self.__dict__, **empty, "_build_lock": None, "_arenas": None}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__dict__.update(state, _build_lock=ForkSafeLock(), _arenas=Arenas())

    def cast(self, dtype: Any) -> None:
        """Change the dtype of all parameters."""
        self._clear_programs()
        super().cast(dtype)

    # ---- calling ---------------------------------------------------------------------------------

    @overload
    def __call__(self, x: ndarray, /, *args: ndarray) -> ndarray: ...

    @overload
    def __call__(self, *args: Any) -> Any: ...

    def __call__(self, *args: Any) -> Any:
        """Run `forward` on arrays, or the program compiled from it.

        Args:
            args: arrays (`mx.np.ndarray`; NumPy's are converted), nested lists, tuples or dicts of them, None,
                numbers and strings; at least one array.

        Raises:
            TypeError: an argument is something else, or none is an array; the message names the block.
            OpError: shapes or dtypes do not fit; the message names the layer and the inputs.
        """
        if self._ready:
            output = self._run_plainly(args)
            if output is not None:
                return output
        try:
            return self._call(args)
        except OpError as error:
            raise self._explained(error, args) from None
        except TypeError as error:
            self._check_number(args, error)
            raise

    def _run_plainly(self, args: tuple[Any, ...]) -> Any:
        """The output, where a plan that is there gives it and nothing else is to be done: the shortest way in.

        Everything that makes a call differ from the one before it is asked for here or on the way, once, and cheaply:
        a small network takes less time than the whole of `_call`. No more than `_call` would do is done.

        Returns:
            None where it takes more: nothing has been done then.
        """
        if self._forward_pre_hooks or self._forward_hooks or innermost_serial() or observer() is not None:
            return None
        try:
            for program in self._ready:
                output = program.run_plainly(args)
                if output is not None:
                    if self._latest_program is not program:
                        self._latest_program = program
                    return output
        except SizeError:
            # It is for other values: `_call` finds the one for these, and puts it first.
            pass
        return None

    def _types_that_fit(self) -> Sequence[TensorType]:
        return () if self._latest_program is None else self._latest_program.types

    def _call(self, args: tuple[Any, ...]) -> Any:
        compiled = (self._active or self._callback is not None) and current_trace() is None and observer() is None
        if not compiled:
            if not args or not all(type(a) is ndarray for a in args):
                arrays, spec = self._flatten_inputs(args)
                args = unflatten(spec, iter(arrays))
            return self._call_eagerly(args)
        return run_in_block(self, self._call_compiled, args)

    def _call_eagerly(self, args: tuple[Any, ...]) -> Any:
        try:
            return run_in_block(self, self._run_complete, args)
        except OpError as error:
            # A layer called by itself has no name in a tree; its class must do.
            if self._children or not is_outermost(self):
                raise
            raise type(error)(f"{type(self).__name__}: {error}") from None

    def _run_complete(self, args: tuple[Any, ...]) -> Any:
        if any(p._data is None for p in self._reg_params.values()):
            self._complete_parameters(args)
        return self._run_forward(args)

    def _call_compiled(self, args: tuple[Any, ...]) -> Any:
        for hook in [*self._forward_pre_hooks.values()]:
            hook(self, args)
        arrays, spec = self._flatten_inputs(args)
        program, plan = self._plan_for(args, arrays, spec)
        try:
            outputs = self._run_program(program, plan, arrays)
        except SizeError:
            program, outputs = self._run_for_sizes(program, args, arrays, spec)
        program.write_back(outputs, arrays)
        output = unflatten(program.graph.output, iter(outputs))
        for hook in [*self._forward_hooks.values()]:
            hook(self, args, output)
        return output

    def _run_for_sizes(
        self, program: Program, args: tuple[Any, ...], arrays: Sequence[ndarray], spec: Spec
    ) -> tuple[Program, list[ndarray]]:
        """What a program cannot run: forward() decides by a number of elements that depends on values.

        Returns:
            The program for the number that is found, an older one or another, and its outputs.
        """
        types = tuple(a._type for a in arrays)
        kind = kind_of(spec, types)
        for other in [p for p in self._programs.get(kind, ()) if p is not program and p.is_current()]:
            plan = self._plan_of(other, types)
            if plan is None:
                continue
            try:
                outputs = self._run_program(other, plan, arrays)
            except SizeError:
                continue
            with self._build_lock.here:
                self._put_first(kind, other)
            return other, outputs
        with self._build_lock.here:
            made = self._build_program(args, arrays, spec, self._backend, self._backend_opts)
            plan = made.make_plan(types)
            self._put_first(kind, made)
        return made, self._run_program(made, plan, arrays)

    def _run_program(self, program: Program, plan: engine.CompiledGraph, arrays: Sequence[ndarray]) -> list[ndarray]:
        if self._callback is None:
            return program.run(plan, arrays)
        callback, monitor_all = self._callback
        return program.run_monitored(arrays, callback, monitor_all)

    def _flatten_inputs(self, args: tuple[Any, ...]) -> tuple[list[ndarray], Spec]:
        def refuse(value: Any) -> TypeError:
            return TypeMismatchError(
                f"{self._own_label()}: inputs must be mx.np.ndarray, or nested lists, tuples or dicts of them, "
                f"got {type(value).__name__}"
            )

        arrays, spec = flatten(args, refuse)
        if not arrays:
            kinds = ", ".join(type(a).__name__ for a in args) or "none"
            raise TypeMismatchError(
                f"{self._own_label()}: there must be at least one mx.np.ndarray among the inputs, got {kinds}"
            )
        return arrays, spec

    def _own_label(self) -> str:
        return ": ".join(filter(None, [current_scope(), type(self).__name__]))

    def _complete_parameters(self, args: tuple[Any, ...]) -> None:
        """Shapes and values of the block's own parameters that waited for the first inputs."""
        with self._build_lock.here:
            if not all(p.shape_is_known for p in self._reg_params.values()):
                # The shapes of parameters stay whatever sizes are found later.
                trace = current_trace()
                if trace is None:
                    self.infer_shape(*args)
                else:
                    by_example(trace.without_notes, self.infer_shape, *args)
            for parameter in self._reg_params.values():
                parameter.finish_deferred_init()

    # ---- programs --------------------------------------------------------------------------------

    def _plan_for(
        self, args: tuple[Any, ...], arrays: Sequence[ndarray], spec: Spec
    ) -> tuple[Program, engine.CompiledGraph]:
        """What runs these arguments: a plan of a graph that holds for their sizes.

        Args:
            args, arrays, spec: the arguments, their arrays, and how these are nested in them.
        """
        types = tuple(a._type for a in arrays)
        kind = kind_of(spec, types)
        for program in self._programs.get(kind, ()):
            plan = program.find_plan(types)
            if plan is not None and program.is_current():
                engine.COUNTERS.program_hits.add()
                self._latest_program = program
                return program, plan
        with self._build_lock.here:
            # Those go first, so that old and new packed weights never stand side by side.
            self._drop_outdated()
            for program in self._programs.get(kind, ()):
                plan = program.find_plan(types)
                (engine.COUNTERS.program_misses if plan is None else engine.COUNTERS.program_hits).add()
                plan = plan or self._plan_of(program, types)
                if plan is not None:
                    self._latest_program = program
                    return program, plan
            engine.COUNTERS.program_misses.add()
            program = self._build_program(args, arrays, spec, self._backend, self._backend_opts)
            plan = program.make_plan(types)
            self._put_first(kind, program)
        return program, plan

    def _plan_of(self, program: Program, types: Types) -> engine.CompiledGraph | None:
        """A plan of this program; None if its graph does not hold for these sizes."""
        try:
            return program.make_plan(types)
        except OpError:
            return None

    def _put_first(self, kind: _Kind, program: Program) -> None:
        """Have a program be asked first the next time; with more than there may be, the oldest goes."""
        others = tuple(p for p in self._programs.get(kind, ()) if p is not program)
        programs = {k: p for k, p in self._programs.items() if k != kind}
        programs[kind] = (program, *others)
        while sum(map(len, programs.values())) > self._max_programs:
            oldest = next(iter(programs))
            *programs[oldest], _ = programs[oldest]  # type: ignore[assignment]
            programs[oldest] = tuple(programs[oldest])
            if not programs[oldest]:
                del programs[oldest]
            engine.COUNTERS.evictions.add()
            _log.info("%s: a graph dropped: there are more than %d", type(self).__name__, self._max_programs)
        self._programs, self._latest_program = programs, program
        self._make_ready()

    def _make_ready(self) -> None:
        """Choose what calls run without a further look; for whoever holds the lock and changed what that depends on."""
        is_compiled = self._active and self._callback is None
        self._ready = tuple(
            program
            for (spec, _), programs in (self._programs.items() if is_compiled else ())
            if spec.kind is tuple and all(child is ARRAY for child in spec.children)
            for program in programs
        )

    def _build_program(
        self,
        args: tuple[Any, ...],
        arrays: Sequence[ndarray],
        spec: Spec,
        backend: str | None,
        options: Mapping[str, Any],
        axes: Axes | None = None,
        tune: bool | None = None,
    ) -> Program:
        graph = self._trace_graph(arrays, spec, axes)
        if backend is not None:
            symbol = graph.symbol.optimize_for(backend, args=graph.arrays(), **options)
            graph = replace(graph, symbol=Symbol(symbol.outputs, graph.symbol.declared), is_fused=True)
        return Program(self, graph, [a._type for a in arrays], self._arenas, self._tune if tune is None else tune)

    def _trace_graph(self, arrays: Sequence[ndarray], spec: Spec, axes: Axes | None = None) -> BlockGraph:
        """Trace `forward`.

        Args:
            arrays, spec: the arrays of the arguments, and how they are nested in them.
            axes: names of axes; None for those that the block has.
        """
        inputs = self.generate_arg_names(len(arrays))
        named = self.collect_params()
        axes = self._axes if axes is None else axes
        recording = Recording(named, dict(zip(inputs, arrays, strict=True)), axes=axes)
        trace = recording.trace
        output = recording.run(self._call_eagerly, unflatten(spec, iter(recording.inputs)))
        outputs, output_spec = flatten(output, self._refuse_output)
        if not outputs:
            raise self._refuse_output(output)
        written = trace.written_inputs()
        traced = trace.graph([*outputs, *written.values()])
        if not {*recording.variables} <= {*traced.variables()}:
            # What was decided by sizes stands at the inputs, at those that no output needs too.
            traced = Graph(traced.outputs, recording.variables)
        trace.decisions.is_open = False
        settled = settle(traced, trace.decisions.guards)
        symbol = Symbol(settled.outputs, settled.declared)
        met = {id(p) for p in recording.used.values()}
        self._warn_unused(symbol, inputs, [name for name, p in named.items() if id(p) not in met])
        used = set(symbol.list_inputs())
        parameters = {name: p for name, p in recording.used.items() if name in used}
        constants = {name: a for name, a in trace.constants.items() if name in used}
        return BlockGraph(symbol, tuple(inputs), parameters, constants, output_spec, symbol, tuple(written))

    def _refuse_output(self, value: Any) -> TypeError:
        return TypeError(
            f"{type(self).__name__}: forward() must give arrays, or nested lists, tuples or dicts of them, "
            f"got {type(value).__name__}"
        )

    def _warn_unused(self, symbol: Symbol, inputs: Sequence[str], parameters: Sequence[str]) -> None:
        used = set(symbol.list_inputs())
        unused = ", ".join(f"{i}-th" for i, name in enumerate(inputs) if name not in used)
        if unused:
            warnings.warn(
                f"The {unused} input to HybridBlock is not used by any computation. Is this intended?", stacklevel=2
            )
        if parameters:
            warnings.warn(
                f"Parameter {', '.join(parameters)} is not used by any computation. Is this intended?", stacklevel=2
            )

    @staticmethod
    def generate_arg_names(arg_num: int) -> list[str]:
        """Names of the data variables of a traced graph: ``data``, or ``data0``, ``data1``, ..."""
        return ["data"] if arg_num == 1 else [f"data{i}" for i in range(arg_num)]

    def _check_axes(self, axes: Any) -> Axes:
        """Names of axes that a user gives; None for those that the block has."""
        if axes is None:
            return self._axes
        return check_axes(axes, "data, or data0, data1, ...", lambda name: bool(re.fullmatch(r"data\d*", name)))

    def _name_inputs(self, count: int) -> list[str]:
        return self.generate_arg_names(count)

    def _drop_outdated(self) -> None:
        kept = {kind: tuple(p for p in programs if p.is_current()) for kind, programs in self._programs.items()}
        count = sum(map(len, self._programs.values())) - sum(map(len, kept.values()))
        if count:
            _log.info("%s: %d graphs dropped: parameters or blocks have changed", type(self).__name__, count)
        self._programs = {kind: programs for kind, programs in kept.items() if programs}
        self._make_ready()
        if self._latest_program is not None and not self._latest_program.is_current():
            self._latest_program = None

    def _clear_programs(self) -> None:
        with self._build_lock.here:
            self._ready, self._programs = (), {}
            self._latest_program = None
            self._arenas = Arenas()

    def _prepare(self, program: Program, spec: Spec, sizes: Mapping[str, int]) -> None:
        """Have a plan for arrays of these sizes: of this program, or of another if it does not hold for them."""
        try:
            # Their values do not matter: one zero stands for all.
            zeros = [np.broadcast_to(np.zeros((), t.dtype), t.shape) for t in program.types_for(sizes)]
            arrays = [ndarray._wrap(array) for array in zeros]
            run_in_block(self, self._plan_for, unflatten(spec, iter(arrays)), arrays, spec)
        except ValueError as error:
            shown = ", ".join(f"{name} = {number}" for name, number in sizes.items())
            kind = type(error) if isinstance(error, OpError) else ShapeError
            raise kind(f"dynamic: the network does not take {shown}: {error}") from None

    def infer_shape(self, *args: Any) -> None:
        """Complete the parameters' shapes from inputs like these; a layer with parameters overrides it.

        Raises:
            RuntimeError: the block has parameters of its own of unknown shape and no `infer_shape`.
        """
        unknown = ", ".join(f"{p.name} ({p.shape})" for p in self._reg_params.values() if not p.shape_is_known)
        if unknown:
            name = type(self).__name__
            raise RuntimeError(
                f"{name} has parameters with unknown shape. You need to either specify the shape in __init__ or "
                f"implement {name}.infer_shape to set the parameter shapes based on the first input. "
                f"Parameters with unknown shapes are {unknown}"
            )
        if current_trace() is not None:
            return
        arrays, spec = self._flatten_inputs(args)
        names = self.generate_arg_names(len(arrays))
        recording = Recording(self.collect_params(), dict(zip(names, arrays, strict=True)), shapes_only=True)
        recording.run(self._call_eagerly, unflatten(spec, iter(recording.inputs)))

    def _latest_inputs(self) -> Spec:
        """How the arguments of the latest program are nested."""
        return next(spec for (spec, _), programs in self._programs.items() if self._latest_program in programs)

    def _latest_graph(self) -> BlockGraph:
        program = self._latest_program
        if program is None or not program.has_same_tree():
            raise RuntimeError(
                "Please first call block.hybridize() and then run forward with "
                "this block at least once before calling export."
            )
        return program.graph.without_writes()


def kind_of(spec: Spec, types: Types) -> _Kind:
    return spec, tuple((t.dtype, len(t.shape)) for t in types)
