"""Recurrent layers as steps, against their references in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from small_graphs import Array, check, compiled, normal, run

from minidnn.errors import OpError
from minidnn.ir.graph import Graph, make_node, make_variable
from minidnn.ops.recurrent import Packing
from minidnn.plan.program import HostStep, NativeStep, Program
from minidnn.runtime.threads import pool

_GATES = {"rnn": 1, "gru": 3, "lstm": 4}


def graph_of(op: str, names: Any, attrs: dict[str, Any]) -> Graph:
    node = make_node(op, "layer", [make_variable(name) for name in names], attrs)
    return Graph([node[i] for i in range(node.num_outputs)])


def loops(program: Program) -> list[str]:
    return [step.loop.name for step in program.steps if isinstance(step, NativeStep)]


def stack(
    mode: str, sizes: tuple[int, int, int, int], lengths: Array | None = None, **more: Any
) -> tuple[Graph, dict[str, Array]]:
    """An `rnn` and its inputs, for (times, batch, inputs, hidden units)."""
    times, batch, inputs, size = sizes
    attrs: dict[str, Any] = {"mode": mode, "state_size": size, "num_layers": 1, "state_outputs": True, **more}
    directions, projection = 2 if attrs.get("bidirectional") else 1, attrs.get("projection_size") or 0
    packing = Packing(mode.split("_")[0], inputs, size, attrs["num_layers"], directions, projection)
    count = packing.layers * directions
    feed = {
        "data": normal(times, batch, inputs),
        "parameters": normal(packing.total, seed=1) * np.float32(size**-0.5),
        "state": normal(count, batch, packing.state, seed=2),
    }
    if mode == "lstm":
        feed["state_cell"] = normal(count, batch, size, seed=3)
    if lengths is not None:
        feed["sequence_length"], attrs["use_sequence_length"] = lengths, True
    return graph_of("rnn", feed, attrs), feed


@pytest.mark.parametrize("mode", ["lstm", "gru", "rnn_tanh", "rnn_relu"])
@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (5, 1, 3, 33), (4, 7, 19, 70), (3, 13, 8, 16)])
def test_one_layer(mode: str, sizes: tuple[int, int, int, int]) -> None:
    graph, feed = stack(mode, sizes)
    assert loops(check(graph, feed, ["parameters"])).count("recurrent_loop") == 1


@pytest.mark.parametrize("mode", ["lstm", "gru"])
@pytest.mark.parametrize(
    "lengths", [None, np.array([4, 0, 1, 6, 6, 2, 3]), np.array([2, 6, 5, 1, 0, 0, 4], np.float32)]
)
def test_layers_of_two_directions(mode: str, lengths: Array | None) -> None:
    graph, feed = stack(mode, (6, 7, 5, 37), lengths, num_layers=3, bidirectional=True)
    assert loops(check(graph, feed, ["parameters"])).count("recurrent_loop") == 3


@pytest.mark.parametrize("projection", [1, 9, 40])
def test_a_projected_state_takes_two_phases(projection: int) -> None:
    more = {"num_layers": 2, "bidirectional": True, "projection_size": projection}
    graph, feed = stack("lstm", (5, 6, 4, 35), np.array([5, 2, 0, 4, 1, 3]), **more)
    assert "recurrent_loop" in loops(check(graph, feed, ["parameters"]))


def layer(mode: str, direction: str = "forward", **attrs: Any) -> tuple[Graph, dict[str, Array], list[str]]:
    """A `recurrent` with all that it can have, its inputs, and which of them are parameters."""
    times, batch, inputs, size = 5, 4, 6, 21
    count, rows = 2 if direction == "bidirectional" else 1, _GATES[mode] * size
    scale = np.float32(0.7 * size**-0.5)
    weights = {
        "i2h_weight": normal(count, rows, inputs, seed=1) * scale,
        "h2h_weight": normal(count, rows, size, seed=2) * scale,
        "i2h_bias": normal(count, rows, seed=3),
        "h2h_bias": normal(count, rows, seed=4),
        **({"peephole": normal(count, 3 * size, seed=5)} if attrs.get("has_peephole") else {}),
    }
    cells = {"state_cell": normal(count, batch, size, seed=7)} if mode == "lstm" else {}
    feed = {"data": normal(times, batch, inputs), **weights, "state": normal(count, batch, size, seed=6), **cells}
    made = graph_of(
        "recurrent", feed, {"mode": mode, "state_size": size, "direction": direction, "has_bias": True, **attrs}
    )
    return made, feed, [*weights]


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("linear_before_reset", [False, True])
def test_a_gru_of_either_kind(direction: str, linear_before_reset: bool) -> None:
    graph, feed, weights = layer("gru", direction, linear_before_reset=linear_before_reset, clip=0.9)
    assert "recurrent_loop" in loops(check(graph, feed, weights))


@pytest.mark.parametrize("more", [{"clip": 0.4}, {"has_peephole": True}, {"input_forget": True}])
def test_what_only_onnx_has_of_an_lstm(more: dict[str, Any]) -> None:
    graph, feed, weights = layer("lstm", "reverse", **more)
    assert "recurrent_loop" in loops(check(graph, feed, weights))


def test_directions_may_have_activations_of_their_own() -> None:
    names = ("HardSigmoid", "Softsign", "ScaledTanh", "Sigmoid", "Tanh", "Tanh")
    more = {"activation_alpha": (0.3, None, 0.8), "activation_beta": (0.4, None, 0.9)}
    graph, feed, weights = layer("lstm", "bidirectional", activations=names, **more)
    assert "recurrent_loop" in loops(check(graph, feed, weights))


def test_weights_that_a_run_computes_are_for_the_reference() -> None:
    graph, feed, _ = layer("gru")
    assert loops(check(graph, feed, [])) == []


def test_other_dtypes_are_for_the_reference() -> None:
    graph, feed = stack("gru", (3, 2, 4, 5))
    feed = {name: array.astype(np.float64) for name, array in feed.items()}
    assert "recurrent_loop" not in loops(check(graph, feed, ["parameters"]))


@pytest.mark.parametrize("empty", [(0, 2, 4, 5), (3, 0, 4, 5)])
def test_nothing_is_computed_for_no_times_or_sequences(empty: tuple[int, int, int, int]) -> None:
    graph, feed = stack("lstm", empty)
    program = compiled(graph, feed, ["parameters"])
    arrays = [feed[name] for name in ("data", "state", "state_cell")]
    output, state, cells = run(program, arrays)
    assert output.shape == (*empty[:2], 5)
    np.testing.assert_array_equal(state, feed["state"])
    np.testing.assert_array_equal(cells, feed["state_cell"])


@pytest.mark.parametrize("wrong", [[7, 1], [-1, 1], [0.5, 1], [np.nan, 1]])
def test_lengths_are_checked_before_a_kernel_reads_by_them(wrong: list[float]) -> None:
    graph, feed = stack("lstm", (6, 2, 4, 5), np.array(wrong, np.float32))
    program = compiled(graph, feed, ["parameters"])
    assert [step.name for step in program.steps if isinstance(step, HostStep)] == ["layer_lengths"]
    arrays = [array for name, array in feed.items() if name != "parameters"]
    with pytest.raises(OpError, match=r"layer: sequence_length must be integers from 0 to 6, got .* at 0"):
        run(program, arrays)
    arrays[-1] = np.array([6, 0], np.float32)
    assert np.isfinite(run(program, arrays)[0]).all()


@pytest.mark.parametrize("sizes", [(7, 1, 24, 150), (4, 9, 24, 150)])
def test_the_number_of_threads_does_not_change_a_bit(sizes: tuple[int, int, int, int]) -> None:
    """Enough units for several parts, which wait for each other."""
    graph, feed = stack("lstm", sizes, num_layers=2, bidirectional=True)
    program = compiled(graph, feed, ["parameters"])
    steps = [s for s in program.steps if isinstance(s, NativeStep) and s.loop.name == "recurrent_loop"]
    assert all(step.parts > 2 * sizes[0] for step in steps)
    arrays = [array for name, array in feed.items() if name != "parameters"]
    before, made = pool.threads, []
    try:
        for threads in (1, before):
            pool.threads = threads
            made += [run(program, arrays) for _ in range(3)]
    finally:
        pool.threads = before
    for other in made[1:]:
        for one, two in zip(made[0], other, strict=True):
            np.testing.assert_array_equal(one, two)


def test_blocks_of_sequences_go_through_the_times_by_themselves() -> None:
    lengths = np.random.default_rng(0).integers(0, 5, 37)
    graph, feed = stack("gru", (4, 37, 9, 24), lengths, bidirectional=True)
    program = check(graph, feed, ["parameters"])
    (step,) = [s for s in program.steps if isinstance(s, NativeStep) and s.loop.name == "recurrent_loop"]
    alone = check(*stack("gru", (4, 1, 9, 24), lengths[:1], bidirectional=True), ["parameters"])
    (single,) = [s for s in alone.steps if isinstance(s, NativeStep) and s.loop.name == "recurrent_loop"]
    assert step.parts > single.parts and step.parts % single.parts == 0


def test_what_is_not_a_number_stays_with_its_sequence() -> None:
    graph, feed = stack("lstm", (5, 3, 4, 9))
    feed["data"][2, 1, 0] = np.nan
    program = compiled(graph, feed, ["parameters"])
    output, state, cells = run(program, [feed[name] for name in ("data", "state", "state_cell")])
    assert np.isnan(output[2:, 1]).any() and np.isfinite(output[:2]).all()
    for made in (output[:, [0, 2]], state[:, [0, 2]], cells[:, [0, 2]]):
        assert np.isfinite(made).all()


# ---- int8 -------------------------------------------------------------------------------------------


def int8_layer(mode: str, data: str = "int8", scale: str = "one", **attrs: Any) -> tuple[Graph, dict[str, Array]]:
    """A `recurrent` with int8 weights and states, and data of that type by one scale or one for each row."""
    times, batch, inputs, size = attrs.pop("sizes", (4, 5, 13, 37))
    count, rows = 2 if attrs.get("direction") == "bidirectional" else 1, _GATES[mode] * size
    rng, projected = np.random.default_rng(size), 11 if attrs.get("has_projection") else size
    shapes = {"i2h": (count, rows, inputs), "h2h": (count, rows, projected)}
    shapes |= {"h2r": (count, projected, size)} if projected != size else {}
    weights = {name: rng.integers(-127, 128, shape).astype(np.int8) for name, shape in shapes.items()}
    scales = {
        name: rng.uniform(0.3, 1, w.shape[:-1]).astype(np.float32) / np.float32(100 * w.shape[-1] ** 0.5)
        for name, w in weights.items()
    }
    feed: dict[str, Array] = {
        "data": normal(times, batch, inputs),
        "i2h_weight": weights["i2h"],
        "h2h_weight": weights["h2h"],
    }
    if data != "float32":
        low = 0 if data == "uint8" else -127
        feed["data"] = rng.integers(low, low + 255, (times, batch, inputs)).astype(data)
        of = {"one": (1,), "times": (times, 1, 1), "rows": (times, batch, 1)}[scale]
        feed["data_scale"] = rng.uniform(0.01, 0.02, of).astype(np.float32)
    if attrs.get("has_bias", True):
        feed |= {"i2h_bias": normal(count, rows, seed=3), "h2h_bias": normal(count, rows, seed=4)}
    if projected != size:
        feed["h2r_weight"] = weights["h2r"]
    feed |= {f"{name}_scale": array for name, array in scales.items()}
    feed["state"] = normal(count, batch, projected, seed=6)
    feed |= {"state_cell": normal(count, batch, size, seed=7)} if mode == "lstm" else {}
    made = {"mode": mode, "state_size": size, "has_bias": True, "int8_weight": True, "state_levels": "rows", **attrs}
    return graph_of("recurrent", feed, {**made, "has_data_scale": data != "float32"}), feed


def run_int8(graph: Graph, feed: dict[str, Array]) -> tuple[list[Array], list[Array]]:
    """What kernels give, of which NumPy runs no step, and the reference."""
    parameters = [name for name in feed if name.endswith(("weight", "bias")) or name[3:] == "_scale"]
    program = compiled(graph, feed, parameters)
    assert "recurrent_loop" in loops(program)
    assert not [step for step in program.steps if isinstance(step, HostStep)]
    (node,) = graph.operations()
    assert node.op is not None
    return run(program, [feed[n] for n in feed if n not in parameters]), list(node.compute(list(feed.values())))


@pytest.mark.parametrize(
    ("mode", "more"),
    [
        ("rnn", {"direction": "reverse", "activations": "relu"}),
        ("lstm", {"direction": "bidirectional"}),
        ("lstm", {"has_projection": True, "data": "float32"}),
        ("lstm", {"state_levels": "batch", "data": "float32"}),
        ("gru", {"data": "uint8", "scale": "rows"}),
        ("gru", {"linear_before_reset": False, "scale": "times", "has_bias": False}),
    ],
)
@pytest.mark.parametrize("sizes", [(1, 1, 3, 1), (1, 5, 13, 37), (1, 3, 40, 70)])
def test_one_step_of_integers_is_the_references(mode: str, more: dict[str, Any], sizes: tuple[int, ...]) -> None:
    for got, wanted in zip(*run_int8(*int8_layer(mode, sizes=sizes, **more)), strict=True):
        np.testing.assert_allclose(got, wanted, 0, 3e-6)


@pytest.mark.parametrize("mode", ["lstm", "gru"])
def test_many_steps_of_integers_stay_near_the_reference(mode: str) -> None:
    """An activation that is rounded otherwise may turn a state to its neighbour, a 127th away."""
    for got, wanted in zip(*run_int8(*int8_layer(mode, sizes=(12, 3, 13, 37))), strict=True):
        np.testing.assert_allclose(got, wanted, 0, 2e-2)
        assert np.median(np.abs(got - wanted)) < 2e-3


def test_a_state_does_not_depend_on_its_neighbours() -> None:
    graph, feed = int8_layer("lstm", sizes=(6, 5, 13, 37))
    feed["state"][0, 1] = [np.inf, np.nan, *feed["state"][0, 1, 2:]]
    feed["state"][0, 3] *= 1000
    (whole, *_), _ = run_int8(graph, feed)
    assert np.isnan(whole[:, 1]).all()
    for row in (0, 2, 3, 4):
        own = {n: a[:, [row]] if n in ("data", "state", "state_cell") else a for n, a in feed.items()}
        np.testing.assert_array_equal(run_int8(graph, own)[0][0], whole[:, [row]])
