"""`HybridBlock`: a block whose `forward` can be traced into a graph, and the graph compiled."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from minidnn import engine, serialization
from minidnn.errors import OpError
from minidnn.gluon._block import Block
from minidnn.gluon._traced_block import TracedBlock, kind_of
from minidnn.gluon.size_options import sizes_to_prepare, want_axes_of
from minidnn.interop.mxnet_symbol import export_mxnet
from minidnn.ir.symbolic import format_sizes

__all__ = ["HybridBlock"]

_FUSED = "MINIDNN"


class HybridBlock(TracedBlock):
    """A block that runs op by op, or, after `hybridize` or `optimize_for`, as one compiled program.

    `forward` is traced with arrays that have a shape and a dtype and no values, once for each kind of arguments (how
    they are nested, dtypes, numbers of dimensions, and the values of what is no array). Their sizes are symbols
    meanwhile, and the graph holds for any; where `forward` decides something by a size, it is traced again for sizes
    for which it would decide otherwise. Children must be hybrid blocks too.

    A program is built again when a parameter, its values or the tree of blocks have changed.
    """

    def register_child(self, block: Block, name: str | None = None) -> None:
        """Make `block` a child.

        Raises:
            ValueError: it is no `HybridBlock`.
        """
        if not isinstance(block, HybridBlock):
            raise ValueError(
                f"Children of HybridBlock must also be HybridBlock, but {block} has type {type(block)}. "
                "If you are using Sequential, please try HybridSequential instead."
            )
        super().register_child(block, name)

    # ---- compiling -------------------------------------------------------------------------------

    def hybridize(  # type: ignore[override] # its keywords are listed, so that a wrong one is an error
        self,
        active: bool = True,
        partition_if_dynamic: bool = True,
        static_alloc: bool = False,
        static_shape: bool = False,
        inline_limit: int = 2,
        forward_bulk_size: int | None = None,
        backward_bulk_size: int | None = None,
        backend: str | None = None,
        axes: Mapping[str, Mapping[int, str]] | None = None,
        tune: bool = True,
    ) -> None:
        """Run as a compiled program from now on, or op by op again; the children too where they are called alone.

        Without a backend the program computes one operator after the other, as in MXNet; `optimize_for` fuses.

        Args:
            active: on or off.
            backend: fuse at the first call: ``'MINIDNN'``, ``'ONEDNN'`` or ``'MKLDNN'``, which are the same here.
            partition_if_dynamic, static_alloc, static_shape, inline_limit, forward_bulk_size, backward_bulk_size:
                MXNet's; memory is always planned ahead, for each combination of sizes.
            axes: see `optimize_for`; an input that a call does not have, or an axis, is of no account.
            tune: see `optimize_for`.

        Raises:
            TypeError, ValueError: `axes` cannot be names of axes.
        """
        named = self._check_axes(axes)
        if active and (self._forward_hooks or self._forward_pre_hooks):
            warnings.warn(
                f'"{self}" is being hybridized while still having forward hook/pre-hook. '
                f'If "{self}" is a child of HybridBlock, the hooks will not take effect.',
                stacklevel=2,
            )
        flags = {
            "partition_if_dynamic": partition_if_dynamic,
            "static_alloc": static_alloc,
            "static_shape": static_shape,
            "inline_limit": inline_limit,
            "forward_bulk_size": forward_bulk_size,
            "backward_bulk_size": backward_bulk_size,
        }
        with self._build_lock.here:
            self._clear_programs()
            self._active, self._backend, self._backend_opts, self._axes = active, backend, {}, named
            self._tune = tune
        super().hybridize(active, **flags, backend=backend)

    def optimize_for(
        self,
        x: Any,
        *args: Any,
        backend: str | None = None,
        clear: bool = False,
        partition_if_dynamic: bool = True,
        static_alloc: bool = False,
        static_shape: bool = False,
        inline_limit: int = 2,
        forward_bulk_size: int | None = None,
        backward_bulk_size: int | None = None,
        axes: Mapping[str, Mapping[int, str]] | None = None,
        dynamic: Mapping[str, tuple[int, int] | Sequence[int]] | None = None,
        tune: bool = True,
        **kwargs: Any,
    ) -> None:
        """Trace, fuse and compile for inputs like these; other sizes are planned when they come.

        Parameters that waited for the first batch are initialized. Nothing is computed yet, as in MXNet: the first
        call also touches the memory of its temporaries.

        Args:
            x, args: the inputs of `forward`; their values do not matter.
            backend: None, ``'ONEDNN'``, ``'MKLDNN'`` or ``'MINIDNN'``, all of which mean minidnn's own compiler.
            clear: MXNet's; former programs are always dropped.
            kwargs: options of `Symbol.optimize_for`.
            partition_if_dynamic, static_alloc, static_shape, inline_limit, forward_bulk_size, backward_bulk_size:
                see `hybridize`.
            axes: names of axes of the inputs, ``{'data': {0: 'batch', 2: 'height'}}``, in place of N, H, ...; axes of
                one name have one size. Inputs are called ``data``, or ``data0``, ``data1``, ...; None keeps the names
                that were given before.
            dynamic: sizes to prepare for, by the names that `explain_shapes` shows: a tuple of the lowest and the
                highest, ``{'N': (1, 64)}``, or a list of sizes. Kernels and plans are made ahead for the ends of
                ranges, some sizes between them, and all that lists say. Other sizes work all the same.
            tune: whether, of the algorithms that a model finds about as fast for a layer, the one is taken that is the
                fastest here: the first time on a machine that takes up to two seconds, and is known later. False, or
                ``MINIDNN_TUNE=0``: the model decides.

        Raises:
            GraphError: an unknown backend.
            OpError: shapes or dtypes do not fit; the message names the layer. Or sizes of `dynamic` do not; the message
                says which.
            TypeError, ValueError: `axes` or `dynamic` are malformed, or name what is not there.
        """
        inputs = (x, *args)
        arrays, spec = self._flatten_inputs(inputs)
        with self._build_lock.here:
            chosen = _FUSED if backend is None else backend
            types = tuple(a._type for a in arrays)
            named = self._check_axes(axes)
            if axes is not None:
                want_axes_of(named, dict(zip(self._name_inputs(len(types)), types, strict=True)))
            try:
                program = self._build_program(inputs, arrays, spec, chosen, kwargs, named, tune)
                prepared = [] if dynamic is None else sizes_to_prepare(dynamic, program.graph.traced, named)
                program.make_plan(types)
            except OpError as error:
                raise self._explained(error, inputs) from None
            before = self._programs, self._latest_program, self._arenas
            settings = self._active, self._backend, self._backend_opts, self._axes, self._tune
            try:
                self.hybridize(
                    True,
                    partition_if_dynamic,
                    static_alloc,
                    static_shape,
                    inline_limit,
                    forward_bulk_size,
                    backward_bulk_size,
                    axes=named,
                    tune=tune,
                )
                self._backend, self._backend_opts = chosen, kwargs
                self._arenas = program.arenas
                self._put_first(kind_of(spec, types), program)
                for sizes in prepared:
                    self._prepare(program, spec, sizes)
                self._put_first(kind_of(spec, types), program)
            except BaseException:
                # Ctrl-C leaves the block as it was: half of this would be a block that is compiled but not fused.
                self._active, self._backend, self._backend_opts, self._axes, self._tune = settings
                self._programs, self._latest_program, self._arenas = before
                self._make_ready()
                raise

    # ---- looking in ------------------------------------------------------------------------------

    def steps(self) -> tuple[engine.PlanStep, ...]:
        """The steps of the latest plan, in the order in which they run.

        Each has a ``name``, its ``kernel``, ``on_host`` (NumPy runs it), and the ``shape`` and ``dtype`` it makes.

        Raises:
            RuntimeError: the block has no plan: neither `optimize_for` nor a call after `hybridize` has made one.
        """
        program = self._latest_program
        if program is None or not program.has_same_tree():
            raise RuntimeError(
                f"{self._own_label()}: there is no plan; call optimize_for(data), or hybridize() and then the block"
            )
        return program.latest.steps()

    def explain_shapes(self) -> str:
        """Which sizes of inputs the latest graph holds for: symbols where any will do, and what was decided by them.

        Raises:
            RuntimeError: the block has no graph: neither `optimize_for` nor a call after `hybridize` has made one.
        """
        return format_sizes(self._latest_graph().traced, self._latest_graph().inputs)

    def register_op_hook(self, callback: Callable[[str, str, Any], Any] | None, monitor_all: bool = False) -> None:
        """From now on run the graph node by node and show every array to `callback`; None ends it.

        The graph is the one the block runs: fused after `optimize_for`.

        Args:
            callback: ``callback(name, op_name, array)``; an output's name is ``<node>_output``, an input's
                ``<node>_data``, ``<node>_weight``, ...
            monitor_all: show the inputs of nodes too.
        """
        with self._build_lock.here:
            self._ready = ()
            self._callback = None if callback is None else (callback, monitor_all)
            self._make_ready()
        super().register_op_hook(callback, monitor_all)

    def export(
        self,
        path: str | os.PathLike[str] | None,
        epoch: int = 0,
        remove_amp_cast: bool = True,
        format: Literal["minidnn", "mxnet"] = "minidnn",
    ) -> tuple[Any, Any]:
        """The graph and the parameters, as files that `SymbolBlock.imports` reads, or as they are.

        Args:
            path: writes ``<path>-symbol.json``, with all inputs, also those that `forward` does not use, and
                ``<path>-<epoch>.params`` (safetensors), also where there are no parameters; None writes nothing.
            epoch: four digits in the file's name.
            remove_amp_cast: MXNet's; there are no such casts.
            format: ``mxnet`` writes files that MXNet 2 reads, too: its own operators and attributes, the parameters
                as it writes them, and what was fused as it was before. A quantized graph has no such form.

        Returns:
            The two file names; for None the `Symbol` and a dict of copies of the arrays, whose names begin with
            ``arg:`` or, for running statistics, ``aux:``.

        Raises:
            RuntimeError: the block has not been hybridized and run.
            GraphError: MXNet has no operator for a node; the message names it.
            ValueError: an unknown format.
        """
        if format not in ("minidnn", "mxnet"):
            raise ValueError(f"format must be 'minidnn' or 'mxnet', got {format!r}")
        graph = self._latest_graph()
        symbol = graph.symbol.declare_inputs(graph.inputs)
        auxiliary = set(symbol.list_auxiliary_states())
        arrays = {f"{'aux' if name in auxiliary else 'arg'}:{name}": array for name, array in graph.arrays().items()}
        if path is None:
            return symbol, {name: array.copy() for name, array in arrays.items()}
        symbol_file, params_file = f"{os.fspath(path)}-symbol.json", f"{os.fspath(path)}-{epoch:04d}.params"
        if format == "mxnet":
            return export_mxnet(symbol_file, params_file, symbol, arrays)
        symbol.save(Path(symbol_file), remove_amp_cast=remove_amp_cast)
        serialization.save(params_file, arrays)
        return symbol_file, params_file
