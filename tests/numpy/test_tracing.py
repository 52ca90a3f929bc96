"""Tracing: what is recorded, how it is named, and what is refused."""

from __future__ import annotations

import math
import statistics
import threading
from collections.abc import Callable
from typing import Any

import numpy as onp
import pytest

from minidnn import npx
from minidnn import numpy as np
from minidnn.errors import GraphError, MXNetError, OpError, ShapeError
from minidnn.ir.graph import evaluate
from minidnn.ir.trace import Trace, current_trace, trace_of
from minidnn.ops import TensorType
from minidnn.scope import current_scope, run_in_scope
from minidnn.symbol.symbol import Symbol

SHAPE = (2, 3, 4)
HOST = onp.random.default_rng(5).uniform(0.1, 0.9, SHAPE).astype(onp.float32)
FLOAT = onp.dtype(onp.float32)


def record(forward: Callable[..., Any], shape: tuple[int, ...] = SHAPE) -> tuple[Symbol, Trace, list[np.ndarray]]:
    trace = Trace(np.ndarray)
    out = trace.run(forward, trace.input("data", TensorType(shape, FLOAT)))
    outputs = list(out) if isinstance(out, (list, tuple)) else [out]
    return Symbol(trace.graph(outputs).outputs), trace, outputs


def run(symbol: Symbol, trace: Trace, data: Any = HOST) -> tuple[Any, ...]:
    held = {**trace.parameters, **trace.constants}
    return evaluate(symbol, {"data": data, **{name: value.asnumpy() for name, value in held.items()}})


FORWARDS: dict[str, Callable[[Any], Any]] = {
    "arithmetic": lambda x: (2 - x * 3) / (x + 1) ** 2 - x // 0.3 + x % 0.2,
    "comparison": lambda x: np.where((x > 0.5) & (x < 0.8), x, -1),
    "array operands": lambda x: x + HOST * np.array([1, 2, 3, 4]),
    "functions": lambda x: np.exp(x) + np.sqrt(x) + abs(-x) + np.maximum(x, 0.4) + np.round(x, 1),
    "reductions": lambda x: x.sum(axis=1, keepdims=True) + x.mean() + np.var(x, axis=(0, 2)).reshape(-1, 1),
    "arg": lambda x: x.argmax(axis=-1),
    "shapes": lambda x: x.reshape(2, -1).T.expand_dims(0).swapaxes(0, 1).squeeze(),
    "joining": lambda x: np.concatenate([x, x * 2, np.ones((2, 1, 4))], axis=1),
    "splitting": lambda x: np.split(x, 2, axis=2),
    "array_split": lambda x: np.array_split(x, 3, axis=2),
    "stacking": lambda x: np.stack([x, -x], axis=1),
    "padding": lambda x: np.pad(x, ((0, 0), (1, 1), (0, 2))),
    "flips": lambda x: np.rot90(np.flip(x, 0), 1, (1, 2)) + 0 * np.roll(np.rot90(x, 1, (1, 2)), 1, 0),
    "taking": lambda x: np.take(x, [2, -1], axis=1),
    "products": lambda x: np.matmul(x, x.swapaxes(1, 2)) + np.dot(x, np.ones((4, 3))),
    "iteration": lambda x: sum(row * (i + 1) for i, row in enumerate(x)),
    "length": lambda x: x / len(x) / x.shape[1] / x.size,
    "in place": lambda x: _in_place(x),
    "numpy functions": lambda x: onp.concatenate([onp.exp(x), onp.add(x, HOST)], axis=1),
    "shape alone": lambda x: x + np.arange(x.shape[-1]) + np.zeros_like(x),
    "a constant": lambda x: [x, np.ones(3)],
    "npx": lambda x: npx.softmax(npx.leaky_relu(x - 0.5), axis=1) + npx.layer_norm(x, np.ones(4), np.zeros(4)),
    "casts": lambda x: (x * 10).astype("int32") + x.astype("float64"),
    "copies": lambda x: x.copy() + (+x),
    "average": lambda x: np.average(x, axis=1, weights=np.array([1, 2, 3])),
    "outer": lambda x: np.outer(x[0, 0], x[0, 1]) + np.inner(x[0], x[1, 0])[0],
    "norm": lambda x: npx.norm(x, axis=1),
    "atleast": lambda x: np.atleast_3d(x[0, 0]) + np.atleast_2d(x[0, 0]),
}


def _in_place(x: Any) -> Any:
    y = x * 2
    same = y
    y += x
    y *= 3
    z = y.reshape(-1)
    z += 1
    return same - 1, z


@pytest.mark.parametrize("name", FORWARDS)
def test_a_recorded_forward_computes_what_the_eager_one_does(name: str) -> None:
    symbol, trace, _ = record(FORWARDS[name])
    eager = FORWARDS[name](np.array(HOST))
    expected = list(eager) if isinstance(eager, (list, tuple)) else [eager]
    actual = run(symbol, trace)
    assert len(actual) == len(expected)
    for a, e in zip(actual, expected, strict=True):
        assert (a.shape, a.dtype) == (e.shape, e.dtype)
        onp.testing.assert_allclose(a, e.asnumpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "key",
    [
        0,
        -1,
        (1, 2),
        (0, 1, 2),
        slice(None),
        slice(1, None),
        (slice(None), slice(0, 3, 2)),
        (slice(None), slice(None, None, -1), 1),
        (Ellipsis, 0),
        (Ellipsis, None),
        (None, 0, None, Ellipsis, None, 1),
        (0, slice(None), None, slice(-3, -1)),
        (slice(None), -1),
        Ellipsis,
        None,
        (slice(5, 9),),
    ],
)
def test_basic_indices_are_recorded(key: Any) -> None:
    symbol, trace, outputs = record(lambda x: x[key] * 1)
    expected = HOST[key]
    assert outputs[0].shape == expected.shape
    assert onp.array_equal(run(symbol, trace)[0], expected)
    assert not trace.constants


KEYS: dict[str, Any] = {
    "a list": [1, 0, -1],
    "an array": onp.array([[1], [0]]),
    "an empty list": [],
    "two lists": ([0, 1, 1], [2, 0, -1]),
    "a mask": HOST > 0.5,
    "a mask of the first axis": onp.array([True, False]),
    "a mask of a later axis": (slice(None), onp.array([True, False, True])),
    "apart": ([0, 1], slice(None), [1, 2]),
    "an integer and a list apart": (0, slice(1, None), [0, 3]),
    "an integer and a list side by side": (slice(None), 1, [0, 3]),
    "an ellipsis for no axes": (slice(None), [0, 1], Ellipsis, [1, 2]),
    "an ellipsis": (Ellipsis, [3, 0]),
    "new axes": (None, [1, 1], None, [[0], [2]], slice(None, None, 2)),
    "a new axis between": ([0, 1], None, [0, 2]),
    "a mask and a list": (onp.array([True, True]), [2, 0]),
    "broadcast": ([[0], [1]], [[0, 1, 2]], 1),
}


@pytest.mark.parametrize("kind", ["constant", "traced"])
@pytest.mark.parametrize("name", KEYS)
def test_indices_by_arrays_are_recorded(name: str, kind: str) -> None:
    key = KEYS[name]

    def part(p: Any, x: Any) -> Any:
        if kind == "constant" or not isinstance(p, (list, onp.ndarray)) or onp.asarray(p).dtype == bool:
            return p
        return np.array(p, dtype="int64") + (x.sum() * 0).astype("int64")

    def forward(x: Any) -> Any:
        return x[tuple(part(p, x) for p in key) if isinstance(key, tuple) else part(key, x)]

    symbol, trace, outputs = record(forward)
    assert outputs[0].shape == HOST[key].shape
    onp.testing.assert_array_equal(run(symbol, trace)[0], HOST[key])


@pytest.mark.parametrize("key", [[2.5], onp.ones((2, 2), bool), True, ([0],) * 4, (Ellipsis, [0], Ellipsis)])
def test_arrays_that_do_not_fit_are_indexerrors(key: Any) -> None:
    with pytest.raises(IndexError):
        record(lambda x: x[key])


@pytest.mark.parametrize("key", [[2], ([0], [-4]), onp.array([5])])
def test_positions_out_of_range_are_indexerrors_when_the_network_runs(key: Any) -> None:
    symbol, trace, _ = record(lambda x: x[key])
    with pytest.raises(IndexError, match="out of bounds for axis"):
        run(symbol, trace)


@pytest.mark.parametrize("key", [2, (0, 3), (0, 0, 0, 0), (Ellipsis, Ellipsis)])
def test_indices_that_do_not_fit_are_indexerrors(key: Any) -> None:
    with pytest.raises(IndexError):
        record(lambda x: x[key])


# ---- names -------------------------------------------------------------------------------------------


def names(symbol: Symbol) -> list[str]:
    return [node.name for node in symbol.nodes()]


def test_nodes_are_named_by_scope_and_operator() -> None:
    def forward(x: Any) -> Any:
        def inner(x: Any) -> Any:
            assert current_scope() == "features.0"
            return npx.relu(npx.relu(x))

        def unnamed(y: Any) -> Any:
            assert current_scope() == ""
            return npx.relu(y) + 1

        y = run_in_scope("features", run_in_scope, "0", inner, x)
        return run_in_scope("", unnamed, y)

    symbol, _, _ = record(forward)
    assert names(symbol) == ["data", "features.0_relu", "features.0_relu_1", "relu", "add_scalar"]
    assert current_scope() == ""


def test_scopes_end_with_an_error() -> None:
    with pytest.raises(ZeroDivisionError):
        run_in_scope("a", lambda: 1 / 0)
    assert current_scope() == ""


def test_parameters_are_variables_with_hints_and_come_once() -> None:
    weight = np.ones((4,))

    def forward(x: Any) -> Any:
        trace = current_trace()
        assert trace is not None
        w = trace.parameter("scale.weight", weight, init="ones")
        assert trace.parameter("scale.weight", weight) is w
        return x * w + w

    symbol, trace, _ = record(forward)
    assert trace.parameters == {"scale.weight": weight}
    assert [v.name for v in symbol.variables()] == ["data", "scale.weight"]
    hints = symbol.variables()[1].hints
    assert (hints.shape, hints.dtype, hints.init) == ((4,), FLOAT, "ones")


def test_constants_are_copied_in_the_state_they_are_met_in() -> None:
    table = np.zeros(4)

    def forward(x: Any) -> Any:
        y = x + table
        y = y + table
        table[0] = 5
        return y + table

    symbol, trace, _ = record(forward)
    table[...] = 9
    assert sorted(trace.constants) == ["constant", "constant_1"]
    assert trace.constants["constant"].tolist() == [0] * 4
    assert trace.constants["constant_1"].tolist() == [5, 0, 0, 0]
    onp.testing.assert_allclose(run(symbol, trace)[0], HOST + onp.array([5, 0, 0, 0], "f"))


def test_names_are_not_given_twice() -> None:
    trace = Trace(np.ndarray)
    trace.input("x", TensorType((1,), FLOAT))
    with pytest.raises(GraphError, match="input name 'x' is taken"):
        trace.input("x", TensorType((1,), FLOAT))
    with pytest.raises(GraphError, match="parameter name 'x' is taken"):
        trace.parameter("x", np.ones(1))


# ---- errors ------------------------------------------------------------------------------------------


def test_an_error_names_the_layer_eagerly_and_while_tracing() -> None:
    def convolve(x: Any) -> Any:
        return npx.convolution(x, np.ones((8, 5, 3)), kernel=3, num_filter=8, no_bias=True)

    def forward(x: Any) -> Any:
        return run_in_scope("features", run_in_scope, "3", convolve, x)

    message = r"^features\.3: convolution: data has 3 channels but weight \(8, 5, 3\) is made for 5"
    with pytest.raises(ShapeError, match=message):
        record(forward)
    with pytest.raises(ShapeError, match=message):
        forward(np.array(HOST))
    with pytest.raises(OpError, match=r"^act: activation: attribute 'act_type' must be one of"):
        run_in_scope("act", npx.activation, np.ones(2), "rellu")


READERS: list[Callable[[Any], Any]] = [
    lambda x: x.asnumpy(),
    lambda x: x.item(),
    lambda x: x.tolist(),
    lambda x: bool(x.sum()),
    float,
    int,
    lambda x: onp.asarray(x),
    lambda x: x.wait_to_read(),
    lambda x: np.shares_memory(x, x),
    lambda x: np.cov(x, fweights=[1, 2]),
    lambda x: np.unique(x),
    lambda x: x[x > 0.5],
    lambda x: onp.nextafter(x, 1),
    lambda x: onp.fft.fft(x),
    lambda x: 1 if (x > 0).all() else 0,
]


@pytest.mark.parametrize("read", READERS)
def test_values_cannot_be_read_while_tracing(read: Callable[[Any], Any]) -> None:
    line = r"only shapes are known: .*\(at .*test_tracing\.py:\d+\)"
    with pytest.raises(MXNetError, match=f"the network is being traced and {line}"):
        record(read)


@pytest.mark.parametrize(
    ("read", "named"),
    [
        (lambda x: x.asnumpy(), "asnumpy()"),
        (lambda x: x.item(), "item()"),
        (int, "int()"),
        (float, "float()"),
        (lambda x: bool(x.sum()), "bool()"),
        (lambda x: [1, 2][x.sum().astype("int32")], "use as an index"),
        (lambda x: f"{x.sum():.2f}", "format()"),
        (lambda x: math.sqrt(x.sum()), "float()"),
        (lambda x: 1.0 in x, "bool()"),
        (lambda x: onp.fft.fft(x), r"numpy\.fft\.fft()"),
        (lambda x: onp.nextafter(x, 1), r"numpy\.nextafter()"),
        (lambda x: onp.add.reduceat(x, [0]), r"numpy\.add\.reduceat()"),
        (lambda x: onp.add(x, 1, where=x > 0), r"numpy\.add() with where"),
        (lambda x: onp.max(x, initial=x.sum()), r"numpy\.max() with initial"),
        (lambda x: onp.broadcast_to(x, (1, *SHAPE), subok=True), r"numpy.*broadcast_to() with subok"),
        (lambda x: np.arange(x.sum()), "arange(): "),
        (lambda x: np.shares_memory(x, x), "shares_memory()"),
        (lambda x: np.cov(x[0], fweights=[1, 2]), "cov() with these arguments"),
        (lambda x: onp.zeros(3).__setitem__(0, x.sum()), r"conversion to NumPy|float()"),
        (lambda x: statistics.fmean(x[0, 0]), "float()"),
    ],
)
def test_the_error_names_the_function_and_the_line(read: Callable[[Any], Any], named: str) -> None:
    pattern = named.replace("()", r"\(\)")
    with pytest.raises(MXNetError, match=rf"({pattern}).*\(at {__file__}:\d+\)$"):
        record(read)


def test_a_traced_array_shows_its_type_and_name() -> None:
    _, _, outputs = record(lambda x: npx.relu(x))
    assert repr(outputs[0]) == str(outputs[0]) == "<traced float32[2, 3, 4] relu>"


def test_writing_while_tracing() -> None:
    held = np.zeros(SHAPE)

    def whole(x: Any) -> None:
        nonlocal held
        held += x

    def element(x: Any) -> None:
        held[0] = x[0]

    def view(x: Any) -> None:
        row = held[0]
        row[...] = x[0]

    def out(x: Any) -> None:
        np.exp(x, out=held)

    for forward in (whole, element, view, out):
        with pytest.raises(MXNetError, match=r"into an array that exists outside of it.*\(at .*test_tracing\.py:\d+\)"):
            record(forward)
    assert not held.any()


def test_views_follow_what_they_are_views_of() -> None:
    def forward(x: Any) -> Any:
        y = x * 2
        first, last = y[0], y[:, -1]
        y += 1
        first[0] = 0
        return y, first, last

    symbol, trace, _ = record(forward)
    y = HOST * 2 + 1
    y[0, 0] = 0
    for actual, expected in zip(run(symbol, trace), (y, y[0], y[:, -1]), strict=True):
        onp.testing.assert_allclose(actual, expected, rtol=1e-6)


def test_in_place_results_keep_the_dtype() -> None:
    def forward(x: Any) -> Any:
        y = x.astype("float16")
        y += x
        return y

    _, _, outputs = record(forward)
    assert outputs[0].dtype == "float16"


def test_a_traced_array_ends_with_its_trace() -> None:
    _, _, outputs = record(lambda x: x + 1)
    with pytest.raises(GraphError, match="outside the trace it belongs to"):
        _ = outputs[0] + 1
    with pytest.raises(GraphError, match="outside the trace it belongs to"):
        Trace(np.ndarray).run(lambda: outputs[0] + 1)
    with pytest.raises(GraphError, match="output 0 belongs to another trace"):
        Trace(np.ndarray).graph(outputs)
    with pytest.raises(GraphError, match="output 0 of a traced function must be an array, got str"):
        Trace(np.ndarray).graph(["text"])  # type: ignore[list-item]


def test_traces_nest_and_end_with_an_error() -> None:
    outer, inner = Trace(np.ndarray), Trace(np.ndarray)

    def nested() -> None:
        assert inner.run(current_trace) is inner
        assert current_trace() is outer
        with pytest.raises(ZeroDivisionError):
            inner.run(lambda: 1 / 0)
        assert current_trace() is outer

    outer.run(nested)
    assert current_trace() is None


def test_concrete_arrays_are_computed_while_tracing() -> None:
    def compute() -> None:
        assert (np.ones(2) + 1).tolist() == [2, 2]
        assert trace_of([np.ones(2)]) is None

    Trace(np.ndarray).run(compute)


def test_each_thread_traces_for_itself() -> None:
    seen: list[Any] = []

    def start() -> None:
        thread = threading.Thread(
            target=lambda: seen.append((current_trace(), current_scope(), (np.ones(1) + 1).item()))
        )
        thread.start()
        thread.join()

    Trace(np.ndarray).run(run_in_scope, "here", start)
    assert seen == [(None, "", 2.0)]
