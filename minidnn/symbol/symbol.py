"""`Symbol`: a graph with MXNet 2.0's API. Immutable: what changes one gives a new one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minidnn import engine
from minidnn.attribute import current as current_scope_attributes
from minidnn.errors import DataError, GraphError
from minidnn.interop.mxnet_upgrade import MXNET
from minidnn.ir.graph import Entry, Node, make_variable
from minidnn.ir.infer import known_types, with_types
from minidnn.ir.json_format import MAX_BYTES, attrs_to_strings, from_json, hints_to_strings, to_json
from minidnn.ir.json_values import parse_literal
from minidnn.ir.printing import format_graph, graph_html
from minidnn.ir.roles import auxiliary_variables, parameter_variables
from minidnn.ir.symbolic import bind_known, fits, input_types
from minidnn.numpy.multiarray import ndarray
from minidnn.ops.registry import TensorType
from minidnn.passes import FUSION_PASSES, optimize_around, run_passes, without_data
from minidnn.symbol.compose import Arithmetic, check_names, compose
from minidnn.untrusted import printable

__all__ = ["BACKENDS", "Group", "Symbol", "Variable", "apply_op", "fromjson", "load", "load_json", "var"]

BACKENDS = (None, "ONEDNN", "MKLDNN", "MINIDNN")

Shape = tuple[int, ...]
_Inferred = tuple[list[Any] | None, list[Any] | None, list[Any] | None]


class Symbol(Arithmetic):
    """One output or several of a graph of operations.

    Two symbols are equal when they are the same graph: operators, attributes, names, connections.
    ``print(symbol)`` shows the graph as a table.
    """

    __slots__ = ("_json",)

    def __init__(self, outputs: Any, declared: Iterable[Node] = ()) -> None:
        super().__init__(outputs, declared)
        self._json: str | None = None

    # ---- what is in it ---------------------------------------------------------------------------

    @property
    def name(self) -> str | None:
        """The name of the node behind the output; None for a group of several nodes."""
        nodes = {entry.node for entry in self.outputs}
        return next(iter(nodes)).name if len(nodes) == 1 else None

    def list_arguments(self) -> list[str]:
        """Names of the variables, running statistics excepted, inputs before users."""
        auxiliary = set(auxiliary_variables(self))
        return [v.name for v in self.variables() if v not in auxiliary]

    def list_auxiliary_states(self) -> list[str]:
        """Names of the variables that hold running statistics."""
        return [v.name for v in auxiliary_variables(self)]

    def list_inputs(self) -> list[str]:
        """Names of all variables."""
        return [v.name for v in self.variables()]

    def get_inputs(self) -> Symbol:
        """All variables, as one symbol."""
        return Symbol(v[0] for v in self.variables())

    def list_outputs(self) -> list[str]:
        """Names of the outputs: ``conv_output``, ``split_output0``; that of a variable is its own name."""
        return [_output_name(entry) for entry in self.outputs]

    def get_internals(self) -> Symbol:
        """A symbol with every output of every node, variables included: ``internals['conv_output']``."""
        return Symbol(node[i] for node in self.nodes() for i in range(node.num_outputs))

    def get_children(self) -> Symbol | None:
        """The inputs of the nodes behind the outputs; None where there are none."""
        nodes = dict.fromkeys(entry.node for entry in self.outputs)
        inputs = [entry for node in nodes for entry in node.inputs]
        return Symbol(inputs) if inputs else None

    def attr(self, key: str) -> str | None:
        """One attribute of the node behind the output, as a string; None where it is not set."""
        return self.list_attr().get(key)

    def list_attr(self, recursive: bool = False) -> dict[str, str]:
        """The attributes of the node behind the output, as strings.

        Raises:
            GraphError: there are several nodes, or `recursive`, which `attr_dict` stands for.
        """
        if recursive:
            raise GraphError("list_attr(recursive=True) is not supported; use attr_dict()")
        nodes = {entry.node for entry in self.outputs}
        if len(nodes) != 1:
            raise GraphError(f"a group of {len(nodes)} nodes has no attributes of its own; use attr_dict()")
        return _node_attrs(next(iter(nodes)))

    def attr_dict(self) -> dict[str, dict[str, str]]:
        """The attributes of every node that has any, as strings.

        A fused node has the attributes of its anchor (the convolution inside, say) beside MXNet's
        ``with_bn``, ``with_act``, ``with_sum``, ``with_postsum_act`` and, at dense layers, ``with_eltwise``, which are
        ``'true'`` where they are set. One on integers has ``quantized`` ``'true'``, and where it gives floats
        ``enabled_float_output`` with their dtype.
        """
        attrs = {node.name: _node_attrs(node) for node in self.nodes()}
        return {name: strings for name, strings in attrs.items() if strings}

    # ---- types -----------------------------------------------------------------------------------

    def infer_shape(self, *args: Sequence[int] | None, **kwargs: Sequence[int]) -> _Inferred:
        """Shapes of arguments, outputs and auxiliary states, in the order of their lists.

        Args:
            args: shapes in the order of `list_arguments`; None where it is not given.
            kwargs: shapes by name. What is not given is taken from hints, and shapes of parameters
                follow from the data.

        Returns:
            Three lists of tuples, or ``(None, None, None)`` where a shape stays unknown.

        Raises:
            ShapeError: the shapes do not fit; the message names the node.
            GraphError: there is no such variable.
        """
        return _all_or_nothing(self.infer_shape_partial(*args, **kwargs))

    def infer_shape_partial(self, *args: Sequence[int] | None, **kwargs: Sequence[int]) -> _Inferred:
        """Like `infer_shape`, with None in place of each shape that stays unknown."""
        shapes = self._by_name(args, kwargs)
        bound = Symbol(bind_known(self, shapes).outputs)
        return bound._listed(known_types(bound, shapes=shapes), lambda t: t.shape)

    def infer_type(self, *args: Any, **kwargs: Any) -> _Inferred:
        """dtypes of arguments, outputs and auxiliary states, in the order of their lists.

        dtypes follow along with shapes, so the variables need shapes from hints (those of a traced graph have
        them). Where one stays unknown the result is ``(None, None, None)``.

        Raises:
            TypeMismatchError: the dtypes do not fit; the message names the node.
        """
        return _all_or_nothing(self.infer_type_partial(*args, **kwargs))

    def infer_type_partial(self, *args: Any, **kwargs: Any) -> _Inferred:
        """Like `infer_type`, with None in place of each dtype that stays unknown."""
        dtypes = self._by_name(args, kwargs)
        return self._listed(known_types(self, dtypes=dtypes), lambda t: t.dtype)

    def _by_name(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        names = self.list_arguments()
        if len(args) > len(names):
            raise GraphError(f"got {len(args)} values for {len(names)} arguments {names}")
        given = {name: value for name, value in zip(names, args, strict=False) if value is not None}
        self._check_names([*kwargs])
        return given | {name: value for name, value in kwargs.items() if value is not None}

    def _check_names(self, names: Sequence[str]) -> None:
        inputs = self.list_inputs()
        for name in names:
            if name not in inputs:
                raise GraphError(f"there is no variable {name!r}; the symbol has {inputs}")

    def _listed(self, types: Mapping[Entry, TensorType], pick: Any) -> _Inferred:
        def listed(entries: Sequence[Entry]) -> list[Any]:
            return [pick(types[e]) if e in types else None for e in entries]

        auxiliary = auxiliary_variables(self)
        arguments = [v[0] for v in self.variables() if v not in auxiliary]
        return listed(arguments), listed(self.outputs), listed([v[0] for v in auxiliary])

    # ---- files -----------------------------------------------------------------------------------

    def declare_inputs(self, names: Sequence[str]) -> Symbol:
        """The symbol whose file lists these inputs, in this order, though no output may need some of them."""
        known = {variable.name: variable for variable in (*self.declared, *self.variables())}
        if all(name in known for name in names):
            return self
        return Symbol(self.outputs, [known.get(name) or make_variable(name).node for name in names])

    def tojson(self, remove_amp_cast: bool = True) -> str:
        """The graph as MXNet's symbol JSON. `remove_amp_cast` is MXNet's; there are no such casts here."""
        if self._json is None:
            self._json = to_json(self)
        return self._json

    def save(self, fname: str | os.PathLike[str], remove_amp_cast: bool = True) -> None:
        """Write `tojson` to a file."""
        Path(fname).write_text(self.tojson(), encoding="utf-8")

    # ---- computing -------------------------------------------------------------------------------

    def optimize_for(
        self,
        backend: str | None = None,
        args: Mapping[str, Any] | Sequence[Any] | None = None,
        aux: Mapping[str, Any] | Sequence[Any] | None = None,
        ctx: Any = None,
        shape_dict: Mapping[str, Sequence[int]] | None = None,
        type_dict: Mapping[str, Any] | None = None,
        stype_dict: Mapping[str, str] | None = None,
        skip_infer: bool = False,
        dedup_subgraph: bool = True,
        device: Any = None,
    ) -> Symbol:
        """A new symbol in which what one kernel can compute is one node.

        Args:
            backend: None, ``'ONEDNN'``, ``'MKLDNN'`` and ``'MINIDNN'`` all mean minidnn's own compiler.
            args: parameters by name, or in the order of `list_arguments`: their shapes help to fuse
                operations on two tensors, and what is computed from them alone is a parameter to the passes. The
                graph goes on reading them, so that values may still change.
            aux: likewise for `list_auxiliary_states`.
            shape_dict: shapes of variables.
            type_dict: dtypes of variables.
            ctx, device, stype_dict, skip_infer, dedup_subgraph: MXNet's; without effect.

        Raises:
            GraphError: an unknown backend, or a name that is not in the graph.
            OpError: shapes or dtypes that do not fit.
        """
        if backend not in BACKENDS:
            raise GraphError(f"unknown backend {backend!r}; it must be one of {list(BACKENDS)}")
        self._check_names([*(shape_dict or {}), *(type_dict or {})])
        arrays = _named(args, self.list_arguments(), "args") | _named(aux, self.list_auxiliary_states(), "aux")
        shapes = {name: array.shape for name, array in arrays.items()} | dict(shape_dict or {})
        dtypes = {name: array.dtype for name, array in arrays.items()} | dict(type_dict or {})
        if fits(self, shape_dict or {}):
            symbolic = input_types(self)
            shapes = {name: shape for name, shape in shapes.items() if name not in symbolic}
        types = known_types(self, shapes, dtypes)
        named = [v for v in self.variables() if v.name in shapes or v.name in dtypes]
        given = {v.name: types[v[0]] for v in named if v[0] in types}
        graph = with_types(self, given) if given else self
        constants = without_data(graph, arrays.keys())
        return Symbol(optimize_around(graph, constants, lambda g: run_passes(g, FUSION_PASSES)).outputs)

    def eval(self, ctx: Any = None, device: Any = None, **arrays: Any) -> list[ndarray]:
        """The outputs for these values of the variables.

        Raises:
            GraphError: a variable has no value, or there is no such variable.
            OpError: the arrays do not fit; the message names the node.
        """
        self._check_names([*arrays])
        missing = [name for name in self.list_inputs() if name not in arrays]
        if missing:
            raise GraphError(f"no value is given for variable {missing[0]!r}; the symbol has {self.list_inputs()}")
        values = {name: np.asarray(array) for name, array in arrays.items()}
        parameters = {v.name: values.pop(v.name) for v in parameter_variables(self)}
        run = engine.compile_graph(self, parameters, {name: TensorType.of(value) for name, value in values.items()})
        return [ndarray._wrap(output) for output in run(list(values.values()))]

    # ---- a container of outputs ------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.outputs)

    def __iter__(self) -> Iterator[Symbol]:
        return (Symbol([entry]) for entry in self.outputs)

    def __getitem__(self, index: int | slice | str) -> Symbol:
        """One output by number or by name (``'conv_output'``, or ``'conv'`` where that is clear), or a slice."""
        if isinstance(index, str):
            return Symbol([self._find_output(index)])
        if isinstance(index, slice):
            return Symbol(self.outputs[index])
        try:
            return Symbol([self.outputs[index]])
        except IndexError:
            raise IndexError(f"output {index} of a symbol with {len(self)} outputs") from None

    def _find_output(self, name: str) -> Entry:
        found = [e for e in self.outputs if _output_name(e) == name] or [e for e in self.outputs if e.node.name == name]
        if len(found) != 1:
            what = "no output is" if not found else f"{len(found)} outputs are"
            raise GraphError(f"{what} named {name!r}; the symbol has {self.list_outputs()}")
        return found[0]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Symbol):
            return NotImplemented
        return self.outputs == other.outputs or self.tojson() == other.tojson()

    def __hash__(self) -> int:
        return hash(self.tojson())

    def __reduce__(self) -> tuple[Any, ...]:
        return fromjson, (self.tojson(),)

    def as_np_ndarray(self) -> Symbol:
        """The symbol itself: MXNet's two kinds of symbols are one here."""
        return self

    def as_nd_ndarray(self) -> Symbol:
        """The symbol itself."""
        return self

    def debug_str(self) -> str:
        """The graph as a table."""
        return str(self)

    def __repr__(self) -> str:
        if self.name is not None:
            return f"<Symbol {printable(self.name)}>"
        return f"<Symbol group [{', '.join(printable(str(e)) for e in self.outputs)}]>"

    def __str__(self) -> str:
        return format_graph(self)

    def _repr_html_(self) -> str:
        return graph_html(self)


# ---- making symbols -------------------------------------------------------------------------------


def var(
    name: str,
    attr: Mapping[str, str] | None = None,
    shape: Sequence[int] | None = None,
    lr_mult: float | None = None,
    wd_mult: float | None = None,
    dtype: Any = None,
    init: Any = None,
    stype: Any = None,
    profiler_scope: str | None = None,
    **kwargs: str,
) -> Symbol:
    """A variable.

    Args:
        name: its name, unique in every graph it becomes part of.
        attr: attributes by names between double underscores; `kwargs` likewise.
        shape: its shape, where it is known; zero or a negative number for an unknown dimension.
        dtype: its dtype.
        lr_mult, wd_mult, init, stype: MXNet's; kept as attributes.
        profiler_scope: MXNet's; without effect.
    """
    if not isinstance(name, str) or not name:
        raise GraphError(f"a variable's name must be a text, got {name!r}")
    hints: dict[str, Any] = {}
    for key, text in {**current_scope_attributes().get(attr), **kwargs}.items():
        if not (len(key) > 4 and key.startswith("__") and key.endswith("__") and isinstance(text, str)):
            raise GraphError(f"variable {name!r}: an attribute is a string named __like_this__, got {key!r}: {text!r}")
        hints[key[2:-2]] = parse_literal(text)
    for key, value in {"lr_mult": lr_mult, "wd_mult": wd_mult, "init": init, "stype": stype}.items():
        if value is not None:
            hints[key] = parse_literal(str(value))
    if shape is not None:
        hints["shape"] = tuple(int(n) for n in shape)
    if dtype is not None:
        hints["dtype"] = np.dtype(dtype)
    return Symbol([make_variable(name, **hints)])


Variable = var


def Group(symbols: Sequence[Symbol]) -> Symbol:  # noqa: N802 - MXNet's name
    """All outputs of several symbols, as one symbol.

    Raises:
        GraphError: it is empty, or different nodes have one name.
    """
    outputs = [entry for symbol in symbols for entry in symbol.outputs]
    if not outputs:
        raise GraphError("Group needs at least one symbol")
    check_names(outputs)
    return Symbol(outputs)


def load(fname: str | os.PathLike[str]) -> Symbol:
    """Read a symbol from a JSON file.

    Raises:
        OSError: the file cannot be read.
        DataError, GraphError: it is not a symbol, or not a sound one; the message names file and node.
    """
    with Path(fname).open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise DataError(f"{fname}: a symbol file of more than {MAX_BYTES} bytes is refused")
    try:
        return fromjson(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise DataError(f"{fname}: not UTF-8 text: {error}") from None
    except (DataError, GraphError) as error:
        raise type(error)(f"{fname}: {error}") from None


def fromjson(json_str: str) -> Symbol:
    """The symbol that a JSON text describes; see `load`."""
    graph = from_json(json_str, MXNET)
    return Symbol(graph.outputs, graph.declared)


load_json = fromjson


def apply_op(op: str, inputs: Sequence[Symbol], name: str | None = None, **attrs: Any) -> Symbol:
    """The symbol of all outputs of one operator applied to `inputs`, each a symbol of one output.

    Raises:
        GraphError: an unknown operator, a wrong number of inputs, or a name that is taken.
        OpError: attributes that do not fit.
    """
    node = compose(op, [symbol.single_output() for symbol in inputs], name, attrs)
    return Symbol(node[i] for i in range(node.num_outputs))


# ---- small helpers --------------------------------------------------------------------------------


def _output_name(entry: Entry) -> str:
    if entry.node.is_variable:
        return entry.node.name
    return f"{entry.node.name}_output{entry.index if entry.node.num_outputs > 1 else ''}"


def _node_attrs(node: Node) -> dict[str, str]:
    strings: dict[str, str] = {}
    anchor = node
    while anchor.subgraph is not None:
        anchor = anchor.subgraph.operations()[0]
    if anchor.op is not None and (anchor is node or anchor.op.kind == "anchor"):
        strings = attrs_to_strings(anchor.op, anchor.attrs)
        if anchor is not node and anchor.op.anchor is not None and anchor.op.anchor.is_integer:
            strings["quantized"] = "true"
            if "out_type" not in node.hints:
                strings["enabled_float_output"] = "float32"
    return strings | hints_to_strings(node)


def _all_or_nothing(inferred: _Inferred) -> _Inferred:
    complete = all(None not in part for part in inferred if part is not None)
    return inferred if complete else (None, None, None)


def _named(arrays: Mapping[str, Any] | Sequence[Any] | None, names: Sequence[str], what: str) -> dict[str, Any]:
    """The arrays that belong to these names; others, as a dictionary of all parameters may hold, do not count."""
    if arrays is None:
        return {}
    if isinstance(arrays, Mapping):
        return {name: arrays[name] for name in names if name in arrays}
    if len(arrays) != len(names):
        raise GraphError(f"{what}: got {len(arrays)} arrays for {len(names)} variables {list(names)}")
    return dict(zip(names, arrays, strict=True))
