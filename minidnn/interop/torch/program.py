"""A graph that PyTorch has traced, with the arrays and the names that a conversion needs. It takes PyTorch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minidnn.errors import GraphError
from minidnn.interop.onnx.elements import Element, element_of
from minidnn.interop.onnx.maker import UnsupportedNodeError
from minidnn.interop.onnx.model import Constant, Port, shown
from minidnn.interop.torch.call import has_rule

__all__ = [
    "TorchModel",
    "check_nodes",
    "constant_of",
    "decompositions",
    "element_of_dtype",
    "import_torch",
    "is_preserved",
    "is_skipped",
    "live_nodes",
    "node_label",
    "operator_of",
    "parts_of_dtype",
    "port_of",
    "read_graph",
    "read_program",
]

Node = Any  # torch.fx.Node

# What checks sizes and values, or says what they may be; nothing of it has a result.
_CHECKS = frozenset(
    [
        "_assert_async.msg",
        "_assert_scalar.default",
        "_assert_tensor_metadata.default",
        "sym_constrain_range.default",
        "sym_constrain_range_for_size.default",
    ]
)
# Functions of Python on sizes; see `minidnn.interop.torch.convert`.
_HINT = "pip install 'minidnn[torch]'"


def import_torch() -> Any:
    """The package torch.

    Raises:
        ImportError: it is not installed; the message says how it is.
    """
    try:
        import torch
    except ImportError as error:
        raise ImportError(f"PyTorch modules are read with the package torch: {_HINT}") from error
    return torch


@dataclass(frozen=True, eq=False)
class TorchModel:
    """A traced graph.

    Args:
        label: what errors call it.
        nodes: the nodes of the graph, those that results depend on, in order.
        inputs: what a call gives, in order; their names are those of nodes.
        outputs: descriptions of the results.
        results: for each result the node it is; None: the result is None; anything else: that number.
        constants: by the name of a node, the name and the elements of a parameter or another tensor.
        sizes: by the name of a node that is a number given beside the tensors, the input and axis that it is the size
            of.
        examples: shapes of the inputs that the graph was traced with.
        metadata: texts by name.
    """

    label: str
    nodes: Sequence[Node]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    results: Sequence[Any]
    constants: Mapping[str, tuple[str, Constant]]
    sizes: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    examples: Sequence[tuple[int, ...]] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)


# ---- tensors


def element_of_dtype(dtype: Any) -> Element:
    """What elements of a dtype of PyTorch are.

    Raises:
        GraphError: complex numbers, and what else nothing here computes with.
    """
    name = str(dtype).removeprefix("torch.")
    try:
        return element_of(name)
    except KeyError:
        raise GraphError(f"tensors of dtype {name} are not supported") from None


def parts_of_dtype(dtype: Any) -> Element:
    """The same; of complex numbers, what their parts are."""
    return element_of_dtype(dtype.to_real()) if dtype.is_complex else element_of_dtype(dtype)


def constant_of(tensor: Any) -> Constant:
    """The elements of a tensor, which share its memory where they can; of complex ones pairs along a last axis."""
    plain = tensor.detach().cpu()
    if plain.is_complex():
        plain = import_torch().view_as_real(plain.resolve_conj())
    element = element_of_dtype(plain.dtype)
    if element.is_narrow:
        plain = plain.float()
    return Constant(np.asarray(plain.contiguous().numpy()), element)


def _hint_of(size: Any) -> int:
    """The number that a size of a traced tensor was."""
    if isinstance(size, int):
        return size
    hint = size.node.hint
    return 2 if hint is None else int(hint)


def _named(size: Any) -> int | str | None:
    """A size as a port has it: a number, a name, or None for one that is computed of others."""
    if isinstance(size, int):
        return size
    expression = size.node.expr
    return str(expression) if expression.is_Symbol else int(expression) if expression.is_number else None


def port_of(name: str, value: Any, names: Mapping[str, str] | None = None) -> Port:
    """An input or output by what it was while it was traced."""
    if not hasattr(value, "dtype") or not hasattr(value, "shape"):
        return Port(name, None, None, type(value).__name__)
    shape = [_named(n) for n in value.shape]
    renamed = tuple((names or {}).get(n, n) if isinstance(n, str) else n for n in shape)
    return Port(name, element_of_dtype(value.dtype), renamed)


def example_shape(value: Any) -> tuple[int, ...]:
    return tuple(map(_hint_of, value.shape))


# ---- nodes


def operator_of(node: Node) -> str:
    """The name of an operator: ``add.Tensor`` of ATen; with the namespace in front of others."""
    target = node.target
    name = str(target) if hasattr(target, "_schema") else getattr(target, "__name__", str(target))
    return name.removeprefix("aten.")


def is_aten(node: Node) -> bool:
    return hasattr(node.target, "_schema")


def is_skipped(node: Node) -> bool:
    """Whether a node only checks something."""
    return is_aten(node) and operator_of(node) in _CHECKS


def module_path(node: Node) -> str:
    """The module whose forward made the node, as its parent calls it: ``layer1.0.conv1``."""
    stack = node.meta.get("nn_module_stack") or {}
    for path, _ in reversed([*stack.values()]):
        if not path.startswith("_empty"):
            return str(path).removeprefix("L['self'].").removeprefix("L['self']")
    return ""


def node_label(node: Node) -> str:
    """What errors call a node."""
    path = module_path(node)
    where = f" in {shown(path)}" if path else ""
    return f"node {shown(node.name)} ({shown(operator_of(node))[1:-1]}){where}"


def _nodes_in(argument: Any) -> Iterator[Node]:
    if isinstance(argument, (tuple, list)):
        for item in argument:
            yield from _nodes_in(item)
    elif isinstance(argument, dict):
        yield from _nodes_in([*argument.values()])
    elif isinstance(argument, slice):
        yield from _nodes_in((argument.start, argument.stop, argument.step))
    elif hasattr(argument, "all_input_nodes"):
        yield argument


def live_nodes(nodes: Sequence[Node], results: Sequence[Any]) -> list[Node]:
    """The nodes that results depend on, in order."""
    wanted = {*_nodes_in([*results])}
    found = []
    for node in reversed(nodes):
        if node in wanted:
            found.append(node)
            wanted.update(_nodes_in(node.args), _nodes_in(node.kwargs))
    return found[::-1]


def check_nodes(model: TorchModel, functions: Mapping[str, Any]) -> None:
    """Raise UnsupportedNodeError for operators without a rule: for the first one, naming the others."""
    unknown: dict[str, Node] = {}
    for node in model.nodes:
        if node.op == "call_function":
            name = operator_of(node)
            if not (has_rule(name) if is_aten(node) else name in functions):
                unknown.setdefault(name, node)
        elif node.op not in ("placeholder", "get_attr"):
            unknown.setdefault(operator_of(node), node)
    if unknown:
        first, *others = unknown.values()
        more = f"; nor are {', '.join(map(operator_of, others[:8]))}" if others else ""
        raise UnsupportedNodeError(f"{model.label}: {node_label(first)}: the operator is not supported{more}")


def is_preserved(operator: Any) -> bool:
    """Whether there is a rule for an operator of PyTorch, so that it need not be decomposed."""
    return has_rule(str(operator).removeprefix("aten."))


def decompositions(table: Mapping[Any, Any]) -> dict[Any, Any]:
    """Of a table of decompositions, those of operators that there is no rule for."""
    return {operator: made for operator, made in table.items() if not is_preserved(operator)}


# ---- exported programs


def read_program(program: Any, label: str, names: Mapping[str, str] | None = None) -> TorchModel:
    """What ``torch.export`` gives, decomposed into operators that there are rules for.

    Args:
        program: a ``torch.export.ExportedProgram``.
        label: what errors call it.
        names: names of sizes, by the names that PyTorch gives them.

    Raises:
        GraphError: an operator is not supported, or the program changes its inputs or its state.
    """
    from torch.export import default_decompositions

    program = program.run_decompositions(decompositions(dict(default_decompositions())))
    signature = program.graph_signature
    _check_signature(signature, label)
    states = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    tensors = {**signature.inputs_to_lifted_tensor_constants}
    constants: dict[str, tuple[str, Constant]] = {}
    inputs: list[Port] = []
    examples: list[tuple[int, ...]] = []
    nodes = list(program.graph.nodes)
    results = [r.arg for r in signature.output_specs]
    by_name = {node.name: node for node in nodes}
    output = next(node for node in nodes if node.op == "output")
    flat = [*output.args[0]] if isinstance(output.args[0], (tuple, list)) else [output.args[0]]
    live = live_nodes(nodes, flat)
    used = {node.name for node in live}
    for node in (n for n in nodes if n.op == "placeholder"):
        name = states.get(node.name) or tensors.get(node.name)
        if name is not None:
            if node.name in used:
                held = program.state_dict.get(name)
                held = program.constants[name] if held is None else held
                constants[node.name] = (name, constant_of(held))
            continue
        value = node.meta.get("val")
        if not hasattr(value, "shape"):
            if node.name in used or (value is not None and not isinstance(value, (bool, int, float, str))):
                raise GraphError(f"{label}: input {node.name!r} must be a tensor, got {type(value).__name__}")
            continue
        inputs.append(port_of(node.name, value, names))
        examples.append(example_shape(value))
    del results, by_name
    outputs = tuple(_result_port(i, r) for i, r in enumerate(flat) if hasattr(r, "all_input_nodes"))
    return TorchModel(label, live, tuple(inputs), outputs, flat, constants, {}, examples)


def _result_port(index: int, node: Node) -> Port:
    return port_of(f"output{index}", node.meta["val"])


def _check_signature(signature: Any, label: str) -> None:
    for changed, what in (
        (signature.buffers_to_mutate, "buffers"),
        (signature.user_inputs_to_mutate, "inputs"),
        (getattr(signature, "parameters_to_mutate", {}), "parameters"),
    ):
        if changed:
            names = ", ".join(sorted(map(str, changed.values())))
            raise GraphError(
                f"{label}: the forward method writes to its {what} ({names[:200]}); minidnn is for inference: export "
                "the module in evaluation mode, module.eval()"
            )


# ---- graphs of a compiler


def read_graph(graph: Any, label: str, constants: Mapping[str, Any]) -> TorchModel:
    """A ``torch.fx.GraphModule`` of ATen's operators, whose nodes say by ``meta["val"]`` what they were.

    Args:
        graph: the graph; its inputs are tensors, and sizes of them.
        label: what errors call it.
        constants: tensors that are the same in each call, by the names of their nodes.

    Raises:
        GraphError: an input or a result is no tensor, and no size of one.
    """
    nodes = list(graph.graph.nodes)
    output = next(node for node in nodes if node.op == "output")
    results = [*output.args[0]] if isinstance(output.args[0], (tuple, list)) else [output.args[0]]
    placeholders = [node for node in nodes if node.op == "placeholder"]
    tensors = [n for n in placeholders if hasattr(n.meta.get("val"), "shape") and n.name not in constants]
    where: dict[str, tuple[str, int]] = {}
    for node in tensors:
        for axis, size in enumerate(node.meta["val"].shape):
            where.setdefault(str(size), (node.name, axis))
    live = live_nodes(nodes, results)
    sizes = {}
    for node in live:
        if node.op == "placeholder" and node not in tensors and node.name not in constants:
            size = str(node.meta.get("val"))
            if size not in where:
                raise UnsupportedNodeError(f"{label}: input {node.name!r} is {size}, which is no size of a tensor")
            sizes[node.name] = where[size]
    given = {name: (name, constant_of(tensor)) for name, tensor in constants.items()}
    values = [node.meta["val"] for node in tensors]
    inputs = tuple(port_of(node.name, value) for node, value in zip(tensors, values, strict=True))
    outputs = tuple(_result_port(i, r) for i, r in enumerate(results) if hasattr(r, "all_input_nodes"))
    return TorchModel(label, live, inputs, outputs, results, given, sizes, [*map(example_shape, values)])
