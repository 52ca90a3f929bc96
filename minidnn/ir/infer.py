"""Shapes and dtypes as far as they are known: from what is given, from hints, from operators.

`minidnn.ir.graph.infer_types` wants the type of every variable. Here a variable may be unknown; the
shape of a parameter then follows from the data it meets (`Op.infer_parameters`), and what does not
follow stays unknown: so do results whose size depends on values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minidnn.errors import OpError, SizeError
from minidnn.ir.graph import Entry, Graph, Inference, Node, make_variable
from minidnn.ops.registry import TensorType
from minidnn.sizes import Size, by_example

__all__ = ["hinted_type", "known_types", "with_types"]

_DEFAULT_DTYPE = np.dtype(np.float32)


def hinted_type(variable: Node) -> TensorType | None:
    """The type that a variable's hints ``shape`` and ``dtype`` give; None unless every dimension is known.

    A dimension that is None, zero (as in MXNet 1) or negative (as in MXNet 2) is unknown. Without a
    dtype it is float32.
    """
    for known in variable.inferences:
        if known.attrs is variable.hints:
            return known.outputs[0] if known.outputs else None
    shape = variable.hints.get("shape")
    is_known = isinstance(shape, tuple) and all(isinstance(n, Size) or (isinstance(n, int) and n > 0) for n in shape)
    outputs = (TensorType(shape, _hinted_dtype(variable) or _DEFAULT_DTYPE),) if is_known else ()
    variable.inferences[:] = [Inference(variable.hints, None, (), outputs)]
    return outputs[0] if outputs else None


def known_types(
    graph: Graph,
    shapes: Mapping[str, Sequence[Any]] | None = None,
    dtypes: Mapping[str, Any] | None = None,
) -> Mapping[Entry, TensorType]:
    """The type of every entry for which it is known.

    Args:
        graph: the graph.
        shapes: shapes of variables by name; they go before the hints.
        dtypes: dtypes of variables by name; they go before the hints.

    Raises:
        OpError: the types that are known do not fit; the message names the node.
    """
    shapes, dtypes = shapes or {}, dtypes or {}
    if not shapes and not dtypes and graph.hinted_types is not None:
        return graph.hinted_types
    given: dict[Entry, TensorType] = {}
    chosen: dict[str, np.dtype[Any]] = {}
    by_hints = True
    for variable in graph.variables():
        name, hinted = variable.name, hinted_type(variable)
        dtype = np.dtype(dtypes[name]) if dtypes.get(name) is not None else _hinted_dtype(variable)
        type_ = hinted if name not in shapes and name not in dtypes else _given_type(hinted, shapes.get(name), dtype)
        by_hints = by_hints and type_ is hinted and (hinted is not None or name not in dtypes)
        if type_ is not None:
            given[variable[0]] = type_
        if dtype is not None:
            chosen[name] = dtype
    if not by_hints:
        return _propagate(graph, given, chosen)
    if graph.hinted_types is None:
        graph.hinted_types = _propagate(graph, given, chosen)
    return graph.hinted_types


def _given_type(
    hinted: TensorType | None, shape: Sequence[Any] | None, dtype: np.dtype[Any] | None
) -> TensorType | None:
    """The type of a variable by what is given and what is hinted; the hinted one itself, if that says the same."""
    if shape is not None:
        dims = tuple(n if isinstance(n, Size) else int(n) for n in shape)
    elif hinted is not None:
        dims = hinted.shape
    else:
        return None
    type_ = TensorType(dims, dtype or _DEFAULT_DTYPE)
    return hinted if hinted is not None and hinted.is_identical(type_) else type_


def with_types(graph: Graph, types: Mapping[str, TensorType]) -> Graph:
    """The graph with these types as the hints of its variables."""

    def change(node: Node, _: tuple[Entry, ...]) -> Sequence[Entry] | None:
        wanted = types.get(node.name) if node.op is None else None
        known = hinted_type(node) if wanted is not None and "dtype" in node.hints else None
        if wanted is None or (known is not None and known.is_identical(wanted)):
            return None
        return [make_variable(node.name, **{**node.hints, "shape": wanted.shape, "dtype": wanted.dtype})]

    return graph.rewrite(change)


def _hinted_dtype(variable: Node) -> np.dtype[Any] | None:
    dtype = variable.hints.get("dtype")
    return None if dtype is None else np.dtype(dtype)


def _propagate(
    graph: Graph, given: Mapping[Entry, TensorType], dtypes: Mapping[str, np.dtype[Any]]
) -> dict[Entry, TensorType]:
    types = dict(given)
    for node in graph.operations():
        inputs = [types.get(e) for e in node.inputs]
        if any(t is None for t in inputs):
            wanted = [dtypes.get(e.node.name) if e.node.is_variable else None for e in node.inputs]
            found = _inside(node, inputs, wanted) if node.subgraph is not None else _parameters(node, inputs, wanted)
            for entry, known in zip(node.inputs, found, strict=True):
                if known is not None and entry.node.is_variable:
                    types.setdefault(entry, known)
            inputs = [types.get(e) for e in node.inputs]
        complete = [t for t in inputs if t is not None]
        if len(complete) == len(inputs):
            try:
                found = node.infer_types(complete)
            except SizeError:
                continue
            for i, t in enumerate(found):
                types[node[i]] = t
    return types


def _parameters(
    node: Node, inputs: Sequence[TensorType | None], dtypes: Sequence[np.dtype[Any] | None]
) -> Sequence[TensorType | None]:
    """The input types, those of parameters completed from the type of the first input."""
    assert node.op is not None
    data = inputs[0] if inputs else None
    if node.op.infer_parameters is None or data is None:
        return inputs
    try:
        shapes = by_example(node.op.infer_parameters, node.attrs, data)
    except OpError as error:
        raise node.locate(error) from None
    default = data.dtype if data.dtype.kind == "f" else _DEFAULT_DTYPE
    result = list(inputs)
    for i, name in enumerate(node.op.input_names(node.attrs)):
        if result[i] is None and name in shapes:
            result[i] = TensorType(tuple(shapes[name]), dtypes[i] or default)
    return result


def _inside(
    node: Node, inputs: Sequence[TensorType | None], dtypes: Sequence[np.dtype[Any] | None]
) -> Sequence[TensorType | None]:
    """The input types of a fused node, completed by what its subgraph says."""
    assert node.subgraph is not None
    given = {entry: t for entry, t in node.bind_inside(inputs).items() if t is not None}
    wanted = {name: d for name, d in node.feed_inside(dtypes).items() if d is not None}
    try:
        types = _propagate(node.subgraph, given, wanted)
    except OpError as error:
        raise node.locate(error) from None
    return [t if t is not None else types.get(v[0]) for t, v in zip(inputs, node.inner_inputs, strict=True)]
