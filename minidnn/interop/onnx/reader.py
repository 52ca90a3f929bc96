"""ONNX files as plain data, checked: every name is defined once and before it is read, nothing calls itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from minidnn.errors import DataError, GraphError
from minidnn.interop.onnx.elements import BY_NUMBER
from minidnn.interop.onnx.model import (
    Attribute,
    Constant,
    Dimension,
    Function,
    Model,
    ModelGraph,
    ModelNode,
    Port,
    shown,
)
from minidnn.interop.onnx.tensors import read_sparse_tensor, read_tensor

__all__ = ["import_onnx", "read_function", "read_model"]

# Graphs in nodes of graphs in nodes.
_MAX_NESTING = 16
# A size that no tensor has.
_MAX_SIZE = (1 << 63) - 1

_FLOAT, _INT, _STRING, _TENSOR, _GRAPH = 1, 2, 3, 4, 5
_FLOATS, _INTS, _STRINGS, _TENSORS, _GRAPHS = 6, 7, 8, 9, 10
_SPARSE = 11


def import_onnx() -> Any:
    """The package onnx.

    Raises:
        ImportError: it is not installed; the message says how it is.
    """
    try:
        import onnx  # deferred: an extra, and slow
    except ImportError as error:
        raise ImportError("reading ONNX models takes the package onnx: pip install 'minidnn[onnx]'") from error
    return onnx


def read_model(source: Any) -> Model:
    """A model.

    Args:
        source: a path, the bytes of a file, a file-like object that is open for reading bytes, or an
            ``onnx.ModelProto``. Data in other files are looked for in the folder of a path, or of the file object.

    Raises:
        DataError: the file or a tensor is damaged.
        GraphError: the graph is malformed; the message names file and node.
        ImportError: the package onnx is not installed.
        OSError: a file cannot be read.
        TypeError: `source` is something else.
    """
    onnx = import_onnx()
    proto, label, folder = _parsed(onnx, source)
    try:
        return _Reader(label, folder).model(proto)
    except (DataError, GraphError) as error:
        raise type(error)(f"{label}: {error}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{label}: a text in it is damaged: {error}") from None


def _parsed(onnx: Any, source: Any) -> tuple[Any, str, Path | None]:
    if isinstance(source, onnx.ModelProto):
        return source, "model", None
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        return _parse(onnx, path.read_bytes(), path.name), path.name, path.parent
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _parse(onnx, bytes(source), "model"), "model", None
    if callable(getattr(source, "read", None)):
        data = source.read()
        if not isinstance(data, bytes):
            raise TypeError(f"a file object must give bytes, got {type(data).__name__}: open it in binary mode")
        name = getattr(source, "name", None)
        if not isinstance(name, str):
            return _parse(onnx, data, "model"), "model", None
        return _parse(onnx, data, Path(name).name), Path(name).name, Path(name).parent
    raise TypeError(f"a model must be a path, bytes, a file or an onnx.ModelProto, got {type(source).__name__}")


def _parse(onnx: Any, data: bytes, label: str) -> Any:
    from google.protobuf.message import DecodeError  # deferred: it comes with the package onnx

    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(data)
    except (DecodeError, RuntimeError, ValueError) as error:
        raise DataError(f"{label}: it is no ONNX model, or damaged: {error}") from None
    if not proto.HasField("graph"):
        raise DataError(f"{label}: it is no ONNX model: it has no graph")
    return proto


def read_function(proto: Any) -> Function:
    """A function of the package onnx itself, of which operators are made.

    Raises:
        GraphError, DataError: it is malformed.
    """
    return _Reader("function", None).function(proto)


# The names that are defined in each of several graphs, one inside of the other.
Names = tuple[Collection[str], ...]
Readers = Mapping[int, tuple[str, Callable[[Any], Any]]]


class _Reader:
    """Turns protobuf messages into plain data.

    Args:
        label: of the file.
        folder: where tensors' data may lie.
    """

    def __init__(self, label: str, folder: Path | None) -> None:
        self._label, self._folder = label, folder

    def model(self, proto: Any) -> Model:
        functions = {}
        for found in proto.functions:
            made = self.function(found)
            key = made.domain, made.name, _name(getattr(found, "overload", ""))
            if key in functions:
                raise GraphError(f"function {shown(made.name)} is defined twice")
            functions[key] = made
        _want_no_recursion(functions)
        graph = self.graph(proto.graph, (), 0)
        metadata = {_name(entry.key): _name(entry.value) for entry in proto.metadata_props}
        return Model(self._label, graph, _opsets(proto.opset_import), functions, metadata)

    def function(self, proto: Any) -> Function:
        inputs, outputs = tuple(map(_name, proto.input)), tuple(map(_name, proto.output))
        label = f"function {shown(_name(proto.name))}"
        # Bodies that ONNX makes for a node may lack outputs that the node does not have.
        nodes = self._nodes(proto.node, (), {*inputs}, set(), 0, label)
        readers = self._readers((), 0)
        defaults = {_name(a.name): self._attribute(a, readers, lambda: label) for a in proto.attribute_proto}
        attributes = (*map(_name, proto.attribute), *defaults)
        name, domain = _name(proto.name), _domain(proto.domain)
        return Function(name, domain, inputs, outputs, attributes, defaults, nodes, _opsets(proto.opset_import))

    def graph(self, proto: Any, outer: Names, nesting: int) -> ModelGraph:
        """A graph; one inside of a node may read the names of the graphs around it, `outer`."""
        if nesting > _MAX_NESTING:
            raise GraphError(f"graphs are nested more than {_MAX_NESTING} deep")
        label = f"graph {shown(_name(proto.name))}"
        constants: dict[str, Constant] = {}
        for tensor in proto.initializer:
            _define(constants, _name(tensor.name), read_tensor(tensor, self._folder), label)
        for sparse in proto.sparse_initializer:
            _define(constants, _name(sparse.values.name), read_sparse_tensor(sparse, self._folder), label)
        inputs = tuple(map(_port, proto.input))
        names = [port.name for port in inputs]
        if len(set(names)) != len(names) or "" in names:
            raise GraphError(f"{label}: each input needs a name of its own, got {shown(str(names))}")
        outputs = tuple(map(_port, proto.output))
        known = {*names, *constants}
        nodes = self._nodes(proto.node, outer, known, {port.name for port in outputs}, nesting, label)
        return ModelGraph(_name(proto.name), inputs, _unzipped(outputs, nodes), nodes, constants)

    def _nodes(
        self, protos: Iterable[Any], outer: Names, known: set[str], wanted: set[str], nesting: int, label: str
    ) -> tuple[ModelNode, ...]:
        """The nodes in an order in which each comes behind those it reads."""
        defined = set(known)
        protos = list(protos)
        for proto in protos:
            for name in filter(None, map(_name, proto.output)):
                if name in defined:
                    raise GraphError(f"{_named(proto)}: its output {shown(name)} is defined twice in {label}")
                defined.add(name)
        visible = (*outer, defined)
        readers = self._readers(visible, nesting)
        nodes = [self._node(proto, readers) for proto in protos]
        ordered = _ordered(nodes, known, visible, label)
        for name in wanted:
            if not _is_in(name, visible):
                raise GraphError(f"{label}: its output {shown(name)} is defined nowhere")
        return ordered

    def _node(self, proto: Any, readers: Readers) -> ModelNode:
        attributes: dict[str, Attribute] = {}
        for attribute in proto.attribute:
            name = _name(attribute.name)
            if name in attributes:
                raise GraphError(f"{_named(proto)}: attribute {shown(name)} is given twice")
            attributes[name] = self._attribute(attribute, readers, lambda: _named(proto))
        return ModelNode(
            _name(proto.op_type),
            _domain(proto.domain),
            _name(getattr(proto, "overload", "")),
            _name(proto.name),
            tuple(map(_name, proto.input)),
            tuple(map(_name, proto.output)),
            attributes,
        )

    def _attribute(self, proto: Any, readers: Readers, where: Callable[[], str]) -> Attribute:
        if proto.ref_attr_name:
            return Attribute("reference", _name(proto.ref_attr_name))
        kind = int(proto.type) or _guessed_kind(proto)
        read = readers.get(kind)
        if read is None:
            return Attribute(f"of kind {kind}", None)
        name, value = read
        try:
            return Attribute(name, value(proto))
        except (DataError, GraphError) as error:
            raise type(error)(f"{where()}: attribute {shown(_name(proto.name))}: {error}") from None

    def _readers(self, visible: Names, nesting: int) -> Readers:
        """By kind, what an attribute is called and how its value is read, in a graph that sees those names."""

        def tensor(proto: Any) -> Constant:
            return read_tensor(proto, self._folder)

        def graph(proto: Any) -> ModelGraph:
            return self.graph(proto, visible, nesting + 1)

        return {
            _FLOAT: ("float", lambda a: float(a.f)),
            _INT: ("int", lambda a: int(a.i)),
            _STRING: ("string", lambda a: _text(a.s)),
            _TENSOR: ("tensor", lambda a: tensor(a.t)),
            _GRAPH: ("graph", lambda a: graph(a.g)),
            _FLOATS: ("floats", lambda a: tuple(map(float, a.floats))),
            _INTS: ("ints", lambda a: tuple(map(int, a.ints))),
            _STRINGS: ("strings", lambda a: tuple(map(_text, a.strings))),
            _TENSORS: ("tensors", lambda a: tuple(map(tensor, a.tensors))),
            _GRAPHS: ("graphs", lambda a: tuple(map(graph, a.graphs))),
            _SPARSE: ("tensor", lambda a: read_sparse_tensor(a.sparse_tensor, self._folder)),
        }


def _is_in(name: str, sets: Names) -> bool:
    return any(name in names for names in sets)


def _guessed_kind(proto: Any) -> int:
    """Of an attribute of the first version of the format, which has no type."""
    single = {"f": _FLOAT, "i": _INT, "s": _STRING, "t": _TENSOR, "g": _GRAPH}
    for name, kind in single.items():
        if proto.HasField(name):
            return kind
    several = {"floats": _FLOATS, "ints": _INTS, "strings": _STRINGS, "tensors": _TENSORS, "graphs": _GRAPHS}
    return next((kind for name, kind in several.items() if len(getattr(proto, name))), _INTS)


def _name(text: Any) -> str:
    """A string of a message: protobuf gives bytes where it is no UTF-8."""
    return _text(text) if isinstance(text, bytes) else str(text)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")


def _domain(domain: Any) -> str:
    name = _name(domain)
    return "" if name == "ai.onnx" else name


def _named(proto: Any) -> str:
    return str(
        ModelNode(
            _name(proto.op_type), _domain(proto.domain), "", _name(proto.name), (), tuple(map(_name, proto.output)), {}
        )
    )


def _opsets(entries: Iterable[Any]) -> dict[str, int]:
    return {_domain(entry.domain): int(entry.version) for entry in entries}


def _define(constants: dict[str, Constant], name: str, constant: Constant, label: str) -> None:
    if not name or name in constants:
        raise GraphError(f"{label}: each constant needs a name of its own, got {shown(name)}")
    constants[name] = constant


def _unzipped(outputs: Sequence[Port], nodes: Sequence[ModelNode]) -> tuple[Port, ...]:
    """The outputs; a sequence of probabilities by label is given as the array of them."""
    zipped = {name for node in nodes if (node.domain, node.op) == ("ai.onnx.ml", "ZipMap") for name in node.outputs}
    return tuple(Port(port.name, None, None) if port.name in zipped else port for port in outputs)


def _port(proto: Any) -> Port:
    name, kind = _name(proto.name), proto.type.WhichOneof("value") or "tensor_type"
    if kind != "tensor_type":
        return Port(name, None, None, kind.removesuffix("_type").replace("_", " "))
    type_ = proto.type.tensor_type
    element = BY_NUMBER.get(type_.elem_type)
    if element is None and type_.elem_type:
        return Port(name, None, None, "tensor of strings or complex numbers")
    shape = tuple(map(_dimension, type_.shape.dim)) if type_.HasField("shape") else None
    return Port(name, element, shape)


def _dimension(proto: Any) -> Dimension:
    which = proto.WhichOneof("value")
    if which == "dim_value":
        return int(proto.dim_value) if 0 <= proto.dim_value <= _MAX_SIZE else None
    # Some exporters call all that is unknown by one sign.
    name = _name(proto.dim_param) if which == "dim_param" else ""
    return name if name.strip("?* -") else None


def _read_names(node: ModelNode) -> set[str]:
    """The names that a node reads, also in graphs inside of it."""
    names = {*filter(None, node.inputs)}
    for attribute in node.attributes.values():
        graphs = attribute.value if attribute.kind == "graphs" else (attribute.value,)
        if attribute.kind in ("graph", "graphs"):
            names.update(*map(_free_names, graphs))
    return names


def _free_names(graph: ModelGraph) -> set[str]:
    own = {*graph.constants, *(port.name for port in graph.inputs)}
    own.update(name for node in graph.nodes for name in node.outputs)
    read = {port.name for port in graph.outputs}.union(*map(_read_names, graph.nodes))
    return read - own


def _ordered(nodes: list[ModelNode], known: set[str], visible: Names, label: str) -> tuple[ModelNode, ...]:
    """The nodes, each behind those it reads; those that are so already stay as they are.

    Raises:
        GraphError: a name is defined nowhere, or a node depends on itself.
    """
    makers = {name: node for node in nodes for name in node.outputs if name}
    needed: dict[ModelNode, set[ModelNode]] = {}
    for node in nodes:
        names = _read_names(node)
        needed[node] = {makers[name] for name in names if name in makers and name not in known}
        for name in names:
            if not _is_in(name, visible):
                _refuse_name(node, name, label)
    order: dict[ModelNode, None] = {}
    for first in nodes:
        stack = [(first, iter(needed[first]))]
        open_ = {first}
        while stack:
            node, rest = stack[-1]
            before = next((n for n in rest if n not in order), None)
            if before is None:
                stack.pop()
                open_.discard(node)
                order.setdefault(node)
            elif before in open_:
                raise GraphError(f"{before}: it depends on itself, by way of {node}")
            else:
                open_.add(before)
                stack.append((before, iter(needed[before])))
    return tuple(order)


def _refuse_name(node: ModelNode, name: str, label: str) -> NoReturn:
    raise GraphError(f"{node}: its input {shown(name)} is defined nowhere in {label}")


def _want_no_recursion(functions: Mapping[tuple[str, str, str], Function]) -> None:
    """Raise GraphError if a function calls itself, by way of others too."""

    def called(nodes: Iterable[ModelNode]) -> set[tuple[str, str, str]]:
        found: set[tuple[str, str, str]] = set()
        pending = [*nodes]
        while pending:
            node = pending.pop()
            found.add((node.domain, node.op, node.overload))
            for attribute in node.attributes.values():
                inner = attribute.value if attribute.kind == "graphs" else (attribute.value,)
                if attribute.kind in ("graph", "graphs"):
                    pending.extend(n for graph in inner for n in graph.nodes)
        return found & functions.keys()

    calls = {key: called(function.nodes) for key, function in functions.items()}
    while calls:
        leaves = [key for key, others in calls.items() if not others & calls.keys()]
        if not leaves:
            raise GraphError(f"function {shown(next(iter(calls))[1])} calls itself, or calls one that does")
        for key in leaves:
            del calls[key]
