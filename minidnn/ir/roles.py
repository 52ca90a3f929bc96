"""What part a variable plays: data, parameter, or auxiliary state (running statistics)."""

from __future__ import annotations

from dataclasses import dataclass

from minidnn.ir.graph import Graph, Node

__all__ = ["DATA", "Role", "auxiliary_variables", "input_roles", "parameter_variables", "variable_roles"]


@dataclass(frozen=True)
class Role:
    """What an operator calls an input, whether it is one of its parameters, and whether a running statistic."""

    name: str
    is_parameter: bool
    is_auxiliary: bool = False


DATA = Role("data", False)


def input_roles(node: Node) -> tuple[Role, ...]:
    """The role of each input of an operation; an input of a fused node plays the role it plays inside."""
    assert node.op is not None
    if node.subgraph is None:
        op = node.op
        return tuple(Role(name, name in op.parameters, name in op.auxiliary) for name in op.input_names(node.attrs))
    inside = variable_roles(node.subgraph)
    return tuple(inside.get(inner, DATA) for inner in node.inner_inputs)


def variable_roles(graph: Graph) -> dict[Node, Role]:
    """The role of every variable: its first reader's, unless another reader takes it as data.

    A variable that nobody reads (the graph gives it back as it is) is data.
    """
    roles: dict[Node, Role] = {}
    for node in graph.operations():
        for entry, role in zip(node.inputs, input_roles(node), strict=True):
            if entry.node.is_variable and (entry.node not in roles or not role.is_parameter):
                roles[entry.node] = role
    return {variable: roles.get(variable, DATA) for variable in graph.variables()}


def auxiliary_variables(graph: Graph) -> tuple[Node, ...]:
    """Variables that hold running statistics, in topological order."""
    return tuple(variable for variable, role in variable_roles(graph).items() if role.is_auxiliary)


def parameter_variables(graph: Graph) -> tuple[Node, ...]:
    """Variables that some operator takes as a parameter (running statistics included), in topological order."""
    return tuple(variable for variable, role in variable_roles(graph).items() if role.is_parameter)
