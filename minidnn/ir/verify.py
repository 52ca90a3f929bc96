"""What must hold of a graph between any two passes.

``MINIDNN_DEBUG=verify`` has it checked after every pass; the tests always do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from minidnn.errors import GraphError, OpError
from minidnn.ir.graph import Graph, Node
from minidnn.ir.infer import known_types
from minidnn.ir.printing import debug_enabled

__all__ = ["verify", "verify_if_asked"]


def verify(graph: Graph, where: str = "graph") -> None:
    """Check that the graph is sound: what passes and lowering rely on without looking.

    No node is an input of itself, directly or not; names are unique; outputs and inputs exist; every operation has
    as many inputs as its attributes say, and its attributes are what its operator's record allows; a fused node has
    one operation as its exit, and inside one variable for each of its inputs and no others; as far as types are
    known they fit.

    Args:
        graph: the graph; those inside fused nodes are checked too.
        where: what to call it in errors.

    Raises:
        GraphError: something does not hold; the message names the node.
    """
    _check_acyclic(graph, where)
    _check_names(graph, where)
    for node in graph.nodes():
        for problem in _problems(node):
            raise GraphError(f"{where}: node {node.name!r}: {problem}")
        if node.subgraph is not None:
            verify(node.subgraph, f"{where}: inside {node.name!r}")
    for entry in graph.outputs:
        if not 0 <= entry.index < entry.node.num_outputs:
            raise GraphError(f"{where}: output {entry.index} of node {entry.node.name!r}, which has less")
    try:
        known_types(graph)
    except OpError as error:
        raise GraphError(f"{where}: {error}") from None


def verify_if_asked(graph: Graph, where: Callable[[], str]) -> None:
    """`verify` where ``MINIDNN_DEBUG`` has the topic ``verify``."""
    if debug_enabled("verify"):
        verify(graph, where())


def _check_acyclic(graph: Graph, where: str) -> None:
    """Depth first: a node that is met again before its inputs are done leads back to itself."""
    done: set[Node] = set()
    open_: set[Node] = set()
    for output in graph.outputs:
        stack: list[tuple[Node, int]] = [(output.node, 0)]
        while stack:
            node, position = stack.pop()
            if node in done:
                continue
            if position == len(node.inputs):
                open_.discard(node)
                done.add(node)
                continue
            open_.add(node)
            stack.append((node, position + 1))
            child = node.inputs[position].node
            if child in open_:
                raise GraphError(f"{where}: node {child.name!r} depends on itself")
            if child not in done:
                stack.append((child, 0))


def _check_names(graph: Graph, where: str) -> None:
    named: dict[str, Node] = {}
    for node in graph.nodes():
        if named.setdefault(node.name, node) is not node:
            raise GraphError(f"{where}: two nodes are named {node.name!r}")


def _problems(node: Node) -> Iterator[str]:
    for position, entry in enumerate(node.inputs):
        if not 0 <= entry.index < entry.node.num_outputs:
            yield f"input {position} is output {entry.index} of {entry.node.name!r}, which has {entry.node.num_outputs}"
    if node.op is None:
        if node.inputs:
            yield f"a variable has no inputs, got {len(node.inputs)}"
    elif node.subgraph is not None:
        yield from _problems_of_fused(node)
    else:
        yield from _problems_of_operation(node)


def _problems_of_operation(node: Node) -> Iterator[str]:
    assert node.op is not None
    try:
        made = node.op.make_attrs(node.attrs)
    except OpError as error:
        yield str(error)
        return
    if made != node.attrs:
        changed = [name for name in made if made[name] != node.attrs.get(name)]
        yield f"attribute {changed[0]!r} must be {made[changed[0]]!r}, got {node.attrs.get(changed[0])!r}"
    wanted = len(node.op.input_names(node.attrs))
    if len(node.inputs) != wanted:
        yield f"{node.op.name} takes {wanted} inputs, got {len(node.inputs)}"


def _problems_of_fused(node: Node) -> Iterator[str]:
    assert node.subgraph is not None
    if len(node.inner_inputs) != len(node.inputs):
        yield f"{len(node.inputs)} inputs, but {len(node.inner_inputs)} variables inside for them"
    if len(set(node.inner_inputs)) != len(node.inner_inputs):
        yield "one variable inside stands for two of its inputs"
    inner = set(node.inner_inputs)
    for variable in node.subgraph.variables():
        if variable not in inner:
            yield f"its subgraph reads {variable.name!r}, which is none of its inputs"
    exits = {entry.node for entry in node.subgraph.outputs}
    if len(exits) != 1:
        yield f"its subgraph must have one operation as its exit, got {sorted(e.name for e in exits)}"
