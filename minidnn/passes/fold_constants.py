"""Constants: what is computed from parameters alone is computed once, when a network is compiled.

The graph keeps its expressions, so that it can be exported, and compiled again when a parameter has changed. It takes
two steps:

- `optimize_around` has passes see every constant expression as one variable, as if it were a parameter: a batch
  normalization folds into ``weight * 0.5`` as into ``weight``. Afterwards the expressions are back in their places.
- `fold_constants` replaces them by their values, which takes the values of the parameters.

Memory is bounded: see `fold_constants`. What is drawn from a random generator is no constant.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from minidnn.ir.graph import Entry, Graph, Node, make_like, make_variable
from minidnn.ir.infer import known_types
from minidnn.ir.roles import input_roles
from minidnn.ops.registry import TensorType
from minidnn.passes.naming import name_fused_nodes

__all__ = ["MAX_GROWTH", "SMALL_BYTES", "fold_constants", "optimize_around", "without_data"]

Array = np.ndarray[Any, Any]

# A value that is larger than both is not made ahead: so many bytes, so many times the parameters it comes from.
SMALL_BYTES = 1 << 20
MAX_GROWTH = 4
# All that is computed for one graph, intermediate values included: so many bytes, and so many times its parameters.
_ALL_SMALL_BYTES = 64 << 20
_ALL_GROWTH = 16


def without_data(graph: Graph, given: Collection[str]) -> Collection[str]:
    """Of the variables `given` as arguments those that are parameters: all of them, unless there is data among them.

    There is, if an output would be constant, or an operation with weights; then parameters are what reaches a
    parameter of some operation, as it is or in an expression.
    """
    constant = {entry.node for entry in constant_entries(graph, given)}
    outputs = {entry.node for entry in graph.outputs}
    if not any(node in outputs or _is_layer(node) for node in constant):
        return given
    return _parameter_sources(graph).intersection(given)


def _is_layer(node: Node) -> bool:
    inner = (node,) if node.subgraph is None else node.subgraph.operations()
    return any(n.op is not None and (n.op.parameters or n.op.anchor is not None) for n in inner)


def _parameter_sources(graph: Graph) -> frozenset[str]:
    feeding: set[Node] = set()
    for node in reversed(graph.operations()):
        for entry, role in zip(node.inputs, input_roles(node), strict=True):
            if role.is_parameter or node in feeding:
                feeding.add(entry.node)
    return frozenset(v.name for v in graph.variables() if v in feeding)


def constant_entries(graph: Graph, constants: Collection[str]) -> frozenset[Entry]:
    """The results of operations that depend on nothing but the variables `constants`: on no chance, on no size."""
    known: set[Entry] = set()
    for node in graph.nodes():
        if node.is_variable:
            is_constant = node.name in constants
        else:
            is_constant = all(e in known for e in node.inputs) and _is_pure(node)
        if is_constant:
            known.update(node[i] for i in range(node.num_outputs))
    return frozenset(e for e in known if not e.node.is_variable)


def _is_pure(node: Node) -> bool:
    if node.subgraph is not None:
        return all(map(_is_pure, node.subgraph.operations()))
    return node.op is not None and not node.op.is_random and not node.attrs.has_sizes


# ---- passes around constants -------------------------------------------------------------------------


def optimize_around(graph: Graph, constants: Collection[str], optimize: Callable[[Graph], Graph]) -> Graph:
    """What `optimize` makes of the graph, where constant expressions are variables to it.

    Args:
        graph: the graph.
        constants: names of the variables that do not change from run to run: parameters.
        optimize: passes.
    """
    inside = constant_entries(graph, constants)
    if not inside:
        return optimize(graph)
    types = known_types(graph)
    names = {node.name for node in graph.nodes()}
    expressions: dict[str, Entry] = {}
    hoisted = _with_variables(graph, inside, lambda entry: _placeholder(entry, types.get(entry), names, expressions))
    optimized = optimize(hoisted)

    def put_back(node: Node, _: tuple[Entry, ...]) -> Sequence[Entry] | None:
        return [expressions[node.name]] if node.is_variable and node.name in expressions else None

    result = optimized.rewrite(put_back)
    taken = {e.node.name for e in inside}
    clash = any(node.name in taken for node in optimized.operations())
    return name_fused_nodes(result) if clash else result


def _placeholder(entry: Entry, type: TensorType | None, names: set[str], expressions: dict[str, Entry]) -> Entry:
    name = _free_name(f"{entry.node.name}_constant{entry.index or ''}", names)
    expressions[name] = entry
    hints = {} if type is None else {"shape": type.shape, "dtype": type.dtype}
    return make_variable(name, **hints)


def _with_variables(graph: Graph, inside: Collection[Entry], make: Callable[[Entry], Entry]) -> Graph:
    """The graph with a variable for every entry of `inside`."""

    def change(node: Node, inputs: tuple[Entry, ...]) -> Sequence[Entry] | None:
        outputs = [node[i] for i in range(node.num_outputs)]
        if not any(e in inside for e in outputs):
            return None
        kept = node if inputs == node.inputs else make_like(node, inputs)
        return [make(e) if e in inside else kept[e.index] for e in outputs]

    return graph.rewrite(change)


def _free_name(name: str, names: set[str]) -> str:
    while name in names:
        name += "_"
    names.add(name)
    return name


# ---- values ------------------------------------------------------------------------------------------


def fold_constants(graph: Graph, parameters: Mapping[str, Array]) -> tuple[Graph, dict[str, Array]]:
    """The graph with a variable for every constant expression, and the values of all parameters that it then has.

    A value is computed ahead if it is no larger than `SMALL_BYTES`, or than `MAX_GROWTH` times the parameters that it
    is computed from; what is larger, and what depends on it, stays an operation. Of all values together, sixteen
    times the parameters' bytes and 64 MiB are computed at most.

    Args:
        graph: the graph.
        parameters: values that do not change from run to run, by variable name.

    Raises:
        OpError: shapes or dtypes do not fit; the message names the node.
    """
    inside = constant_entries(graph, parameters.keys())
    if not inside:
        return graph, dict(parameters)
    folder = _Folder(graph, inside, parameters)
    folder.run()
    names = {node.name for node in graph.nodes()}
    values = dict(parameters)

    def make(entry: Entry) -> Entry:
        name = _free_name(f"{entry.node.name}_folded{entry.index or ''}", names)
        array = values[name] = folder.values[entry]
        return make_variable(name, shape=array.shape, dtype=array.dtype)

    folded = _with_variables(graph, folder.values.keys(), make)
    used = {variable.name for variable in folded.variables()}
    return folded, {name: array for name, array in values.items() if name in used}


class _Folder:
    """Computes constant entries; `values` holds those that are wanted in the end."""

    def __init__(self, graph: Graph, inside: frozenset[Entry], parameters: Mapping[str, Array]) -> None:
        self.values: dict[Entry, Array] = {}
        self._graph = graph
        self._inside = inside
        self._parameters = parameters
        self._sources: dict[Entry, frozenset[str]] = {}
        self._readers: dict[Entry, int] = {}
        self._wanted: set[Entry] = set(graph.outputs)
        for node in graph.operations():
            for entry in node.inputs:
                if node[0] in inside:
                    self._readers[entry] = self._readers.get(entry, 0) + 1
                else:
                    self._wanted.add(entry)
        total = sum(parameters[v.name].nbytes for v in graph.variables() if v.name in parameters)
        self._budget = _ALL_SMALL_BYTES + _ALL_GROWTH * total

    def run(self) -> None:
        known: dict[Entry, Array] = {}
        for node in self._graph.nodes():
            if node.is_variable:
                if node.name in self._parameters:
                    known[node[0]] = self._parameters[node.name]
                    self._sources[node[0]] = frozenset({node.name})
            elif node[0] in self._inside:
                outputs = self._compute(node, known)
                known.update(zip((node[i] for i in range(node.num_outputs)), outputs, strict=False))
                if not outputs:
                    # It stays an operation, and reads what it reads as the rest of the graph does.
                    self._wanted.update(node.inputs)
                self._release(node, known)
        self.values = {e: a for e, a in known.items() if e in self._inside and e in self._wanted}

    def _compute(self, node: Node, known: Mapping[Entry, Array]) -> Sequence[Array]:
        if not all(e in known for e in node.inputs):
            return ()
        inputs = [known[e] for e in node.inputs]
        types = node.infer_types([TensorType.of(a) for a in inputs])
        names = frozenset[str]().union(*(self._sources[e] for e in node.inputs))
        sources = sum(self._parameters[name].nbytes for name in names)
        nbytes = sum(t.nbytes for t in types)
        if nbytes > max(SMALL_BYTES, MAX_GROWTH * sources) or nbytes > self._budget:
            return ()
        self._budget -= nbytes
        self._sources.update((node[i], names) for i in range(node.num_outputs))
        with np.errstate(all="ignore"):
            return [_owned(array, inputs) for array in node.compute(inputs)]

    def _release(self, node: Node, known: dict[Entry, Array]) -> None:
        for entry in node.inputs:
            self._readers[entry] -= 1
            if not self._readers[entry] and entry not in self._wanted and entry in self._inside:
                known.pop(entry, None)


def _owned(array: Array, inputs: Sequence[Array]) -> Array:
    """An array of its own memory, in C order: a view of a parameter would change with it, a broadcast one hides its
    size."""
    if any(np.may_share_memory(array, other) for other in inputs) or not array.flags.c_contiguous:
        return np.array(array, order="C")
    return array
