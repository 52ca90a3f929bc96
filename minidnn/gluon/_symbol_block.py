"""`SymbolBlock`: a block made from a graph."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from minidnn.device import takes_ctx
from minidnn.dispatch import invoke
from minidnn.errors import GraphError, ShapeError
from minidnn.gluon._hybrid_block import HybridBlock
from minidnn.gluon.parameter import Devices, Parameter
from minidnn.gluon.program import BlockGraph
from minidnn.gluon.size_options import check_axes
from minidnn.gluon.structure import ARRAY, Spec, in_order_of, matches, unflatten
from minidnn.ir.axes import Axes, named_axes, rename_sizes, symbolic_types
from minidnn.ir.graph import Entry, Graph, Node
from minidnn.ir.infer import hinted_type, known_types, with_types
from minidnn.ir.settle import settle
from minidnn.ir.symbolic import bind_known, input_types, is_tied
from minidnn.numpy.convert import as_array
from minidnn.numpy.multiarray import ndarray
from minidnn.ops.registry import TensorType
from minidnn.sizes import Decisions
from minidnn.symbol.symbol import Group, Symbol, load, var

__all__ = ["SymbolBlock"]


class SymbolBlock(HybridBlock):
    """A block that computes a `Symbol`; it always runs as a compiled program.

    Args:
        outputs: what it gives: a symbol, or several in a list. With one output `forward` gives an array, with
            more a list.
        inputs: the variables that are its inputs, in order.
        params: values of other variables, or parameters for them, by name (a prefix ``arg:`` or ``aux:`` is
            dropped). Variables without one become parameters that are initialized or loaded later.

    Raises:
        ValueError: an input is no variable, or `params` has names that the graph has not.
    """

    def __init__(
        self,
        outputs: Symbol | Sequence[Symbol],
        inputs: Symbol | Sequence[Symbol],
        params: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self._active = True
        self._symbol = outputs if isinstance(outputs, Symbol) else Group(outputs)
        self._input_names = [_variable_name(i) for i in ([inputs] if isinstance(inputs, Symbol) else inputs)]
        given = {name[4:] if name.startswith(("arg:", "aux:")) else name: p for name, p in (params or {}).items()}
        self._structure: tuple[Spec, Spec] | None = None
        auxiliary = set(self._symbol.list_auxiliary_states())
        for variable in self._symbol.variables():
            if variable.name not in self._input_names:
                self._reg_params[variable.name] = _make_parameter(
                    variable, variable.name in auxiliary, given.pop(variable.name, None)
                )
        if given:
            raise ValueError(f"{set(given)} params are unused by the model.")

    def _set_structure(self, inputs: Spec, output: Spec) -> None:
        """From now on take and give what the block did that was traced: nested, with None, numbers and strings.

        The arrays alone, one after the other, are taken as well.
        """
        self._structure = inputs, output

    def _types_that_fit(self) -> Sequence[TensorType]:
        """Those that the graph was traced with, as far as it says; else those that it ran with last."""
        variables = {v.name: v for v in self._renamed(self._axes).variables()}
        hinted = [hinted_type(variables[name]) for name in self._input_names if name in variables]
        known = [t for t in hinted if t is not None]
        return known if len(known) == len(self._input_names) else super()._types_that_fit()

    def _argument_names(self) -> list[str]:
        """Names of the arguments of a call, which are nested where the traced block's were."""
        if self._structure is None or len(self._structure[0].children) == len(self._input_names):
            return list(self._input_names)
        return [f"argument {i}" for i in range(len(self._structure[0].children))]

    @staticmethod
    @takes_ctx
    def imports(
        symbol_file: str | os.PathLike[str],
        input_names: str | Sequence[str],
        param_file: str | os.PathLike[str] | None = None,
        device: Devices = None,
        allow_missing: bool = False,
        ignore_extra: bool = False,
    ) -> SymbolBlock:
        """Read what `HybridBlock.export` wrote.

        Args:
            symbol_file: ``...-symbol.json``.
            input_names: names of the data variables: ``["data"]``.
            param_file: ``...-0000.params``; without it the parameters are to be initialized.
            device: a CPU.
            allow_missing, ignore_extra: see `Block.load_parameters`.

        Raises:
            GraphError: the graph is malformed, or has no variable of such a name.
            DataError: a file is damaged, or the parameters do not fit.
            OSError: a file cannot be read.
        """
        symbol = load(symbol_file)
        names = [input_names] if isinstance(input_names, str) else list(input_names)
        known = [node.name for node in symbol.listing() if node.is_variable]
        for name in names:
            if name not in known:
                raise GraphError(f"{symbol_file}: there is no input {name!r}; the graph has {known}")
        block = SymbolBlock(symbol, [var(name) for name in names])
        if param_file is not None:
            block.load_parameters(param_file, device, allow_missing, ignore_extra, True, "saved")
        return block

    def __repr__(self) -> str:
        return f"SymbolBlock(\n{self._symbol!r} : {len(self._input_names)} -> {len(self._symbol)}\n)"

    def hybridize(self, active: bool = True, *args: Any, **kwargs: Any) -> None:
        """See `HybridBlock.hybridize`; this kind of block is compiled in any case, and what is fused stays fused."""
        super().hybridize(True, *args, **kwargs)

    def infer_shape(self, *args: Any) -> None:
        """Complete the parameters' shapes from inputs like these."""
        arrays, _ = self._flatten_inputs(args)
        self._check_types(arrays)

    def _flatten_inputs(self, args: tuple[Any, ...]) -> tuple[list[ndarray], Spec]:
        if self._structure is None:
            return super()._flatten_inputs(args)
        wanted = self._structure[0]
        arrays, spec = super()._flatten_inputs(in_order_of(wanted, args))
        flat = Spec(tuple, None, (ARRAY,) * len(arrays))
        if not matches(spec, wanted) and not matches(spec, flat):
            raise ValueError(
                f"{self._own_label()}: the arguments must be nested, and beside arrays have the values, "
                f"as when the network was traced: {wanted.describe()}, got {spec.describe()}"
            )
        return arrays, flat

    def _check_types(self, arrays: Sequence[ndarray]) -> None:
        """Whether the inputs fit the graph and its parameters; sets the shapes that follow from them."""
        if len(arrays) != len(self._input_names):
            raise ShapeError(
                f"{self._own_label()}: expected {len(self._input_names)} inputs {self._input_names}, got {len(arrays)}"
            )
        shapes = {name: a.shape for name, a in zip(self._input_names, arrays, strict=True)}
        dtypes = {name: a.dtype for name, a in zip(self._input_names, arrays, strict=True)}
        for name, parameter in self._reg_params.items():
            dtypes[name] = parameter.dtype
            if parameter.shape is not None and parameter.shape_is_known:
                shapes[name] = parameter.shape
        try:
            bound = bind_known(self._renamed(self._axes), {name: shapes[name] for name in self._input_names})
        except ShapeError as error:
            raise ShapeError(f"{self._own_label()}: {error}") from None
        types = known_types(bound, shapes, dtypes)
        for variable in self._symbol.variables():
            if variable.name in self._reg_params and variable[0] in types:
                self._reg_params[variable.name].shape = types[variable[0]].shape

    def _check_axes(self, axes: Any) -> Axes:
        if axes is None:
            return self._axes
        return check_axes(axes, ", ".join(self._input_names), self._input_names.__contains__)

    def _renamed(self, axes: Axes) -> Graph:
        return rename_sizes(self._symbol, axes) if axes else self._symbol

    def _name_inputs(self, count: int) -> list[str]:
        return list(self._input_names)

    def _trace_graph(self, arrays: Sequence[ndarray], spec: Spec, axes: Axes | None = None) -> BlockGraph:
        self._check_types(arrays)
        for parameter in self._reg_params.values():
            parameter.finish_deferred_init()
        given = {name: array._type for name, array in zip(self._input_names, arrays, strict=True)}
        axes = self._axes if axes is None else axes
        symbol = self._renamed(axes)
        known = input_types(symbol)
        if is_tied(symbol):
            types = {name: TensorType((known.get(name) or t).shape, t.dtype) for name, t in given.items()}
        else:
            # What can be fused depends on shapes, which the graph of a file need not have.
            decisions = Decisions()
            kept = _names_that_fit(named_axes(known), given)
            axes = {name: {**kept.get(name, {}), **axes.get(name, {})} for name in given}
            types = symbolic_types(given, decisions, axes)
            decisions.is_open = False
        graph = with_types(symbol, types)
        if not is_tied(graph):
            values = {name: p.concrete()._type for name, p in self._reg_params.items()}
            graph = settle(with_types(graph, values), ())
        return self._make_graph(Symbol(graph.outputs, graph.declared))

    def _own_graph(self) -> BlockGraph:
        return self._make_graph(self._symbol)

    def _make_graph(self, symbol: Symbol) -> BlockGraph:
        return BlockGraph(symbol, tuple(self._input_names), self._reg_params, {}, self._output_spec(), symbol)

    def _output_spec(self) -> Spec:
        if self._structure is not None:
            return self._structure[1]
        count = len(self._symbol)
        return ARRAY if count == 1 else Spec(list, None, (ARRAY,) * count)

    def _latest_graph(self) -> BlockGraph:
        return self._own_graph() if self._latest_program is None else super()._latest_graph()

    def forward(self, *args: Any) -> Any:
        """Compute the graph operator by operator; within a trace, this puts the graph into the traced one."""
        arrays, _ = self._flatten_inputs(args)
        self._check_types(arrays)
        feed = {name: parameter.data() for name, parameter in self._reg_params.items()}
        feed |= dict(zip(self._input_names, arrays, strict=True))
        graph = bind_known(self._symbol, {name: feed[name].shape for name in self._input_names})
        return unflatten(self._output_spec(), iter(_replay(graph, feed)))

    def _replayed(self, symbol: Symbol, feed: Mapping[str, ndarray], output: Spec) -> Any:
        """What a graph gives, computed operator by operator, nested as `output` says."""
        graph = bind_known(symbol, {name: feed[name].shape for name in self._input_names})
        return unflatten(output, iter(_replay(graph, feed)))


def _replay(graph: Graph, feed: Mapping[str, ndarray]) -> list[ndarray]:
    """Apply every operator of the graph; of a fused node, those that were fused."""
    values: dict[Entry, ndarray] = {}
    for node in graph.nodes():
        if node.op is None:
            values[node[0]] = feed[node.name]
            continue
        inputs = [values[entry] for entry in node.inputs]
        if node.subgraph is not None:
            outputs = _replay(node.subgraph, node.feed_inside(inputs))
        else:
            result = invoke(node.op.name, *inputs, **node.attrs)
            outputs = list(result) if isinstance(result, tuple) else [result]
        values.update({node[i]: output for i, output in enumerate(outputs)})
    return [values[entry] for entry in graph.outputs]


def _names_that_fit(axes: Axes, types: Mapping[str, TensorType]) -> dict[str, dict[int, str]]:
    """Of the names of axes in a file those that can be kept: axes of one name agree in these types."""
    sizes: dict[str, int] = {}
    return {
        input_: {
            axis: name
            for axis, name in names.items()
            if axis < types[input_].ndim
            and sizes.setdefault(name, types[input_].shape[axis]) == types[input_].shape[axis]
        }
        for input_, names in axes.items()
        if input_ in types
    }


def _variable_name(symbol: Symbol) -> str:
    if len(symbol) != 1 or not symbol.outputs[0].node.is_variable:
        raise ValueError(f"Input symbols must be variable, but {symbol!r} is an output of operators")
    return symbol.outputs[0].node.name


def _make_parameter(variable: Node, is_auxiliary: bool, given: Any) -> Parameter:
    if isinstance(given, Parameter):
        return given
    hints = variable.hints
    parameter = Parameter(
        variable.name,
        grad_req="null" if is_auxiliary else "write",
        shape=hints.get("shape"),
        dtype=hints.get("dtype") or "float32",
        init=hints.get("init"),
        allow_deferred_init=True,
    )
    if given is not None:
        parameter.load(as_array(given), cast_dtype=True, dtype_source="saved")
    return parameter
