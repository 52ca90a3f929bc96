"""`verify` finds what would break a pass or a kernel later, and names the node."""

from __future__ import annotations

import numpy as np
import pytest

from minidnn.errors import GraphError
from minidnn.ir.graph import NO_ATTRS, Entry, Graph, Node, make_fused, make_node, make_variable
from minidnn.ir.verify import verify
from minidnn.ops import Attrs, get_op
from minidnn.passes import run_passes


def relu(x: Entry, name: str = "act") -> Node:
    return make_node("relu", name, [x])


def fused(inner_inputs: tuple[Node, ...], subgraph: Graph, *inputs: Entry) -> Node:
    return Node(get_op("fused"), "both", NO_ATTRS, inputs, subgraph, inner_inputs=inner_inputs)


def test_a_sound_graph_passes() -> None:
    inside = make_variable("x")
    node = make_fused("both", [make_variable("data")], Graph([relu(inside)[0]]), inner_inputs=[inside.node])
    verify(Graph([relu(node[0], "last")[0]]))


def test_names_are_unique() -> None:
    with pytest.raises(GraphError, match="two nodes are named 'act'"):
        verify(Graph([relu(relu(make_variable("data"))[0])[0]]))


def test_inputs_and_outputs_exist() -> None:
    data = make_variable("data")
    with pytest.raises(GraphError, match=r"'act': input 0 is output 1 of 'data', which has 1"):
        verify(Graph([Node(get_op("relu"), "act", NO_ATTRS, (data.node[1],))[0]]))
    with pytest.raises(GraphError, match="output 3 of node 'act'"):
        verify(Graph([relu(data)[3]]))


def test_an_operation_has_the_inputs_it_takes() -> None:
    with pytest.raises(GraphError, match="'sum': add takes 2 inputs, got 1"):
        verify(Graph([Node(get_op("add"), "sum", NO_ATTRS, (make_variable("data"),))[0]]))


@pytest.mark.parametrize(
    ("attrs", "message"),
    [
        ({"scalar": "much", "is_int": True}, "'scalar' must be a float"),
        ({"scalar": 1.0, "is_int": True, "other": 2}, "unknown attribute 'other'"),
        ({"is_int": True}, "'scalar' is required"),
        ({"scalar": "2", "is_int": True}, "'scalar' must be 2.0, got '2'"),
    ],
)
def test_attributes_are_those_of_the_record(attrs: dict[str, object], message: str) -> None:
    node = Node(get_op("add_scalar"), "plus", Attrs(attrs), (make_variable("data"),))
    with pytest.raises(GraphError, match=message):
        verify(Graph([node[0]]))


def test_no_node_depends_on_itself() -> None:
    first = relu(make_variable("data"), "first")
    second = relu(first[0], "second")
    object.__setattr__(first, "inputs", (second[0],))
    with pytest.raises(GraphError, match="depends on itself"):
        verify(Graph([second[0]]))


def test_types_fit() -> None:
    a, b = make_variable("a", shape=(2, 3)), make_variable("b", shape=(4,))
    with pytest.raises(GraphError, match="node 'sum'"):
        verify(Graph([make_node("add", "sum", [a, b])[0]]))


def test_a_fused_node_has_a_variable_inside_for_each_input() -> None:
    x, y, data = make_variable("x"), make_variable("y"), make_variable("data")
    body = Graph([make_node("add", "sum", [x, y])[0]])
    with pytest.raises(GraphError, match="2 inputs, but 1 variables inside"):
        verify(Graph([fused((x.node,), body, data, data)[0]]))
    with pytest.raises(GraphError, match="reads 'y', which is none of its inputs"):
        verify(Graph([fused((x.node,), body, data)[0]]))
    with pytest.raises(GraphError, match="one variable inside stands for two"):
        verify(Graph([fused((x.node, x.node), Graph([relu(x)[0]]), data, data)[0]]))
    with pytest.raises(GraphError, match="none of its inputs"):
        make_fused("both", [data], body, inner_inputs=[x.node])


def test_a_fused_node_has_one_exit_and_is_sound_inside() -> None:
    x, data = make_variable("x"), make_variable("data")
    two = Graph([relu(x, "a")[0], relu(x, "b")[0]])
    with pytest.raises(GraphError, match=r"one operation as its exit, got \['a', 'b'\]"):
        verify(Graph([fused((x.node,), two, data)[0]]))
    twice = Graph([relu(relu(x)[0])[0]])
    with pytest.raises(GraphError, match="inside 'both': two nodes are named 'act'"):
        verify(Graph([fused((x.node,), twice, data)[0]]))


def test_passes_are_checked_on_demand(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(graph: Graph) -> Graph:
        return Graph([relu(relu(graph.outputs[0], "same")[0], "same")[0]])

    graph = Graph([relu(make_variable("data", shape=(2,), dtype=np.dtype(np.float32)))[0]])
    monkeypatch.setenv("MINIDNN_DEBUG", "verify")
    with pytest.raises(GraphError, match="after broken: two nodes are named 'same'"):
        run_passes(graph, [("broken", broken)])
    monkeypatch.setenv("MINIDNN_DEBUG", "")
    run_passes(graph, [("broken", broken)])


def test_inner_inputs_are_known_by_position_not_by_name() -> None:
    left, right = make_variable("right"), make_variable("left")
    body = Graph([make_node("subtract", "minus", [left, right])[0]])
    node = make_fused("both", [make_variable("a"), make_variable("b")], body, inner_inputs=[left.node, right.node])
    a, b = np.float32([5, 7]), np.float32([1, 2])
    np.testing.assert_array_equal(node.compute([a, b])[0], [4, 5])
