"""What inference decides by sizes, and whether a traced graph holds for other ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as onp
import pytest

from minidnn import np, npx
from minidnn.errors import OpError
from minidnn.gluon import HybridBlock, nn
from minidnn.gluon.model_zoo import vision
from minidnn.ir.axes import symbolic_types
from minidnn.ir.graph import Graph, infer_types
from minidnn.ir.settle import settle
from minidnn.ir.shape_checks import ShapeChecks, shapes_of
from minidnn.ir.symbolic import bind_graph, example_sizes, input_types
from minidnn.ir.trace import Trace
from minidnn.numpy.multiarray import ndarray
from minidnn.ops.registry import Op, TensorType
from minidnn.sizes import Size, bind, by_example, by_example_noting

FLOAT32 = onp.dtype("float32")
Shape = tuple[int, ...]


def traced(function: Callable[..., Any], *shapes: Shape) -> Graph:
    """The graph of a function of arrays, with a symbol for each size that can vary."""
    trace = Trace(ndarray)
    types = {f"data{i}": TensorType(shape, FLOAT32) for i, shape in enumerate(shapes)}
    inputs = [trace.input(name, t) for name, t in symbolic_types(types, trace.decisions).items()]
    graph = trace.graph([trace.run(function, *inputs)])
    trace.decisions.is_open = False
    return settle(graph, trace.decisions.guards)


def shapes_in(graph: Graph) -> list[str]:
    return [str(t.shape) for t in input_types(graph).values()]


def holds_by_numbers(graph: Graph, sizes: dict[str, int]) -> bool:
    """The definition: all shapes, inferred with numbers from the inputs on, are those that the graph says."""
    try:
        bound = bind_graph(graph, sizes)
        found = infer_types(bound, {v.name: TensorType(v.hints["shape"], v.hints["dtype"]) for v in bound.variables()})
        said = shapes_of(graph)
        return all(
            bind(said[node[i]].shape, sizes) == found[same[i]].shape
            for node, same in zip(graph.nodes(), bound.nodes(), strict=True)
            for i in range(node.num_outputs)
        )
    except (OpError, ArithmeticError, IndexError):
        return False


FUNCTIONS: dict[str, tuple[Callable[..., Any], Sequence[Shape]]] = {
    "window": (lambda x: npx.pooling(x, kernel=(3, 2), stride=(2, 1), pad=(1, 0), pool_type="max"), [(2, 3, 6, 7)]),
    "reshape that divides": (lambda x: x.reshape(-1, 4), [(2, 6)]),
    "reshape by sizes": (lambda x: x.reshape(x.shape[1], -1, 2), [(4, 5)]),
    "broadcast": (lambda x, y: x + y, [(3, 4), (3, 4)]),
    "broadcast of one": (lambda x, y: x * y, [(1, 4), (3, 4)]),
    "broadcast of ones": (lambda x, y: x * y, [(1, 1), (1, 4)]),
    "concatenated": (lambda x, y: np.concatenate([x, y], axis=1), [(2, 3, 4), (2, 5, 4)]),
    "product": (lambda x, y: np.matmul(x, y), [(2, 3), (3, 5)]),
    "split": (lambda x: np.split(x, 2, axis=1)[0], [(3, 4)]),
    "slices": (lambda x: x[1:, : x.shape[1] // 2] + x[:-1, x.shape[1] // 2 :][:1], [(3, 4)]),
    "stacked windows": (
        lambda x: npx.pooling(npx.pooling(x, kernel=(2, 2), stride=(2, 2)), kernel=(3, 3), stride=(2, 2)),
        [(1, 2, 12, 9)],
    ),
    "quotient of sizes": (lambda x: x.reshape(x.shape[0] // 2, -1), [(6, 3)]),
    "repeated": (lambda x, y: np.repeat(x, 2, axis=0) + y, [(2, 3), (4, 3)]),
    "attention": (
        lambda x: npx.batch_dot(npx.softmax(npx.batch_dot(x, x, transpose_b=True)), x).reshape(x.shape[0], -1),
        [(2, 3, 4)],
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_was_decided_says_the_same_as_inference_with_numbers(name: str) -> None:
    function, shapes = FUNCTIONS[name]
    graph = traced(function, *shapes)
    checks, examples = ShapeChecks(graph), example_sizes(graph)
    generator = onp.random.default_rng(len(name))
    outcomes = set()
    for _ in range(150):
        sizes = {symbol: int(generator.integers(0, 14)) for symbol in examples}
        try:
            checks.check(sizes)
            held = True
        except OpError:
            held = False
        assert held == holds_by_numbers(graph, sizes), (name, sizes)
        outcomes.add(held)
    assert True in outcomes
    checks.check(examples)


@pytest.fixture
def inferences(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of operators, one for each time that inference is asked."""
    asked: list[str] = []
    infer = Op.infer_types

    def counted(op: Op, attrs: Any, types: Any) -> Any:
        asked.append(op.name)
        return infer(op, attrs, types)

    monkeypatch.setattr(Op, "infer_types", counted)
    return asked


def test_other_batches_ask_no_operator_again(inferences: list[str]) -> None:
    net = vision.get_model("resnet18_v1", classes=5)
    net.initialize()
    net.hybridize()
    net(np.ones((1, 3, 64, 64)))
    checks = ShapeChecks(net._latest_program.graph.traced)
    inferences.clear()
    for n in (2, 5, 64):
        checks.check({"N": n, "H": 64, "W": 96})
    assert inferences == []


def test_tracing_and_fusing_ask_each_operator_few_times(inferences: list[str]) -> None:
    net = vision.get_model("resnet18_v1", classes=5)
    net.initialize()
    x = np.ones((1, 3, 64, 64))
    net(x)
    arrays, spec = net._flatten_inputs((x,))
    inferences.clear()
    program = net._build_program((x,), arrays, spec, "MINIDNN", {})
    assert len(inferences) < 2 * len(program.graph.traced.operations())


def test_an_error_names_node_and_numbers() -> None:
    graph = traced(lambda x: npx.pooling(x, kernel=(3, 3)), (1, 2, 5, 6))
    with pytest.raises(OpError, match=r"node 'pooling'.*\[4, 2, 2, 6\]"):
        ShapeChecks(graph).check({"N": 4, "C": 2, "H": 2, "W": 6})


def test_everything_that_is_asked_of_a_size_is_noted() -> None:
    n = Size.symbol("N", 6)

    def asked(function: Callable[[Any], Any]) -> list[tuple[str, Any, bool]]:
        _, conditions = by_example_noting(function, n)
        return [(relation, right, outcome) for _, relation, right, outcome in conditions]

    assert asked(lambda n: n == 6) == [("==", 6, True)]
    assert asked(lambda n: n < 3) == [("<", 3, False)]
    assert asked(lambda n: n > 3) == [("<=", 3, False)]
    assert asked(bool) == [("==", 0, False)]
    assert asked(int) == asked(range) == asked(lambda n: onp.zeros(n)) == asked(lambda n: {n: 1}) == [("==", 6, True)]
    assert asked(lambda n: 12 // n) == asked(lambda n: 12 % n) == [("==", 0, False)]
    assert asked(lambda n: by_example(bool, n % 4)) == [("==", 0, False)]
    # What holds whatever the size is.
    assert asked(lambda n: n >= 0) == asked(lambda n: n == n + 1) == asked(lambda n: n // 2) == []


# ---- which sizes can vary -------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 40])
def test_sizes_that_meet_are_one_and_others_are_not(count: int) -> None:
    shapes = [(2, 3, 4)] * count
    assert shapes_in(traced(lambda *xs: sum(xs[1:], xs[0]), *shapes)) == ["(N, L, C)"] * count
    joined = shapes_in(traced(lambda *xs: np.concatenate(xs, axis=2), *shapes))
    assert len(set(joined)) == count
    assert all(shape.startswith("(N, L, C") for shape in joined)
    pairs = traced(lambda *xs: [a + b for a, b in zip(xs[::2], xs[1::2], strict=True)][-1], *shapes)
    assert len(set(shapes_in(pairs))) == 1


def test_pairs_that_meet_are_not_tied_to_others() -> None:
    graph = traced(
        lambda a, b, c, d: np.concatenate([(a + b).sum(axis=1), (c * d).sum(axis=1)], axis=1), *[(2, 3, 4)] * 4
    )
    first, second, third, fourth = shapes_in(graph)
    assert (first, third) == (second, fourth)
    assert first != third


def test_sizes_whose_multiples_meet_are_one() -> None:
    def function(x: Any, y: Any) -> Any:
        return np.repeat(x.sum(axis=0), 2) + np.tile(y.sum(axis=0), (2,))

    assert shapes_in(traced(function, (5, 6), (7, 6))) == ["(N, L)", "(N2, L)"]


@pytest.mark.parametrize("inputs", [40])
def test_fixed_sizes_of_many_inputs_are_found_by_few_inferences(inputs: int, inferences: list[str]) -> None:
    class Parallel(HybridBlock):
        def forward(self, *xs: Any) -> Any:
            return [layer(x) for layer, x in zip(self._children.values(), xs, strict=True)]

    net = Parallel()
    for i in range(inputs):
        net.register_child(nn.Dense(1, in_units=3), f"dense{i}")
    net.initialize()
    arrays, spec = net._flatten_inputs(tuple([np.ones((2, 3))] * inputs))
    inferences.clear()
    graph = net._trace_graph(arrays, spec).traced
    assert shapes_in(graph) == ["(N, 3)"] * inputs
    assert len(inferences) < 12 * inputs
