"""Operators that move data, outputs of every kind, padding, empty tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_graphs import Array, check, compiled, node, normal, run, steps

from minidnn.ir.graph import Entry, Graph, infer_types, make_node, make_variable
from minidnn.lowering.values import CHANNELS_LAST, PLAIN
from minidnn.ops.registry import TensorType
from minidnn.plan.program import Kernel, NativeStep
from minidnn_kernels.copy import COPY_ARGUMENTS, MOST_INTERLEAVED, InterleaveSpec

var = make_variable
both_layouts = pytest.mark.parametrize("layout", [PLAIN, CHANNELS_LAST])


def _choose(draw: st.DrawFn, op: str, shape: tuple[int, ...]) -> dict[str, Any]:
    """Attributes of `op` that fit a tensor of that shape."""
    axis = draw(st.integers(0, len(shape) - 1))
    begin = draw(st.integers(0, shape[axis] - 1))
    options: dict[str, dict[str, Any]] = {
        "transpose": {"axes": tuple(draw(st.permutations(range(len(shape)))))},
        "flip": {"axis": (axis,)},
        "slice_axis": {"axis": axis, "begin": begin, "end": draw(st.integers(begin + 1, shape[axis]))},
        "expand_dims": {"axis": draw(st.integers(0, len(shape)))},
        "broadcast_to": {"shape": (2, *shape)},
        "reshape": {"newshape": (-1, shape[-1])},
        "split": {"axis": axis, "sections": shape[axis]},
        "swapaxes": {"dim1": axis, "dim2": draw(st.integers(0, len(shape) - 1))},
        "concatenate": {"axis": axis, "num_args": 3},
        "stack": {"axis": draw(st.integers(0, len(shape))), "num_args": 2},
        "pad": {"pad_width": tuple((i % 2, (i + axis) % 3) for i in range(len(shape))), "constant_values": 0.5},
        "roll": {"shift": 1, "axis": (axis,)},
        "sum": {"axis": (axis,), "keepdims": True},
        "softmax": {"axis": axis},
    }
    return options.get(op, {})


_OPS = (
    *("transpose", "flip", "slice_axis", "expand_dims", "broadcast_to", "reshape", "split", "swapaxes", "concatenate"),
    *("stack", "pad", "roll", "sum", "softmax", "relu"),
)


@st.composite
def movements(draw: st.DrawFn) -> tuple[Graph, Array, str]:
    """One to four operators in a row; `roll` among them is done by NumPy."""
    x = normal(*draw(st.lists(st.integers(1, 5), min_size=1, max_size=5)))
    made: Entry = var("x")
    for i, op in enumerate(draw(st.lists(st.sampled_from(_OPS), min_size=1, max_size=4))):
        shape = infer_types(Graph([made]), {"x": TensorType.of(x)})[made].shape
        if np.prod(shape) > 20_000:
            break
        attrs = _choose(draw, op, shape)
        several = make_node(op, f"{op}{i}", [made] * attrs.get("num_args", 1), attrs)
        made = several[draw(st.integers(0, several.num_outputs - 1))]
    layout = draw(st.sampled_from([PLAIN, CHANNELS_LAST])) if x.ndim > 2 else PLAIN
    return Graph([made]), x, layout


@settings(deadline=None, derandomize=True, max_examples=200)
@given(movements())
def test_any_sequence_of_movements(made: tuple[Graph, Array, str]) -> None:
    graph, x, layout = made
    check(graph, {"x": x}, (), {"x": layout})


@pytest.mark.parametrize("dtype", ["bool", "int8", "float16", "int32", "int64", "float64"])
@pytest.mark.parametrize("op", ["transpose", "concatenate", "flip", "slice_axis", "pad"])
def test_every_dtype_is_moved_by_kernels(op: str, dtype: str) -> None:
    x = (normal(3, 4, 5) * 5).astype(dtype)
    choices: dict[str, dict[str, Any]] = {
        "concatenate": {"axis": 1, "num_args": 2},
        "flip": {"axis": (2,)},
        "slice_axis": {"axis": 1, "begin": 1, "end": 3},
        "pad": {"pad_width": ((1, 0), (0, 2), (1, 1))},
    }
    attrs = choices.get(op, {})
    graph = Graph([node(op, *[var("x")] * attrs.get("num_args", 1), **attrs)])
    program = compiled(graph, {"x": x})
    assert "host" not in steps(program)
    (actual,) = run(program, [x])
    (expected,) = graph.operations()[0].compute([x] * attrs.get("num_args", 1))
    assert actual.dtype == expected.dtype
    np.testing.assert_array_equal(actual, expected)


def test_views_cost_nothing() -> None:
    x = node("relu", var("x"))
    moved = node("slice_axis", node("expand_dims", x, axis=0), axis=1, begin=1, end=3)
    moved = node("reshape", moved, newshape=(-1, 4))
    graph = Graph([node("negative", moved)])
    assert steps(check(graph, {"x": normal(5, 3, 4)})) == ["elementwise_loop"] * 2


@both_layouts
def test_concatenated_channels_stay_in_their_layout(layout: str) -> None:
    parts = [node("relu", var(f"x{i}"), name=f"relu{i}") for i in range(3)]
    graph = Graph([node("concatenate", *parts, num_args=3, axis=1)])
    feed = {f"x{i}": normal(2, i + 1, 4, 5, seed=i) for i in range(3)}
    made = steps(check(graph, feed, (), dict.fromkeys(feed, layout), [layout]))
    assert made == ["elementwise_loop"] * 3 + ["copy_loop"] * 3


def test_more_dimensions_than_a_copy_has() -> None:
    x = normal(2, 3, 2, 3, 2, 3, 2, 3)
    turned = node("transpose", var("x"), axes=(7, 5, 3, 1, 0, 2, 4, 6))
    check(Graph([turned]), {"x": x})
    check(Graph([node("softmax", turned, axis=3)]), {"x": x})


@both_layouts
@pytest.mark.parametrize(
    "after", ["none", "relu", "roll", "pad", "softmax", "transpose", "pooling", "concatenate", "sum", "reshape"]
)
def test_padding_in_front_of_anything(after: str, layout: str) -> None:
    padded = node("pad", var("x"), pad_width=((0, 0), (0, 0), (1, 2), (3, 0)), constant_values=0.5)
    attrs: dict[str, dict[str, Any]] = {
        "roll": {"shift": 1, "axis": (1,)},
        "pad": {"pad_width": ((0, 0), (1, 1), (0, 0), (0, 1)), "constant_values": 2.0},
        "softmax": {"axis": 1},
        "transpose": {"axes": (3, 2, 1, 0)},
        "pooling": {"kernel": (3, 3), "pool_type": "max"},
        "concatenate": {"num_args": 2, "axis": 1},
        "sum": {"axis": (2, 3)},
        "reshape": {"newshape": (2, -1)},
    }
    if after != "none":
        chosen = attrs.get(after, {})
        padded = node(after, *[padded] * chosen.get("num_args", 1), name="after", **chosen)
    check(Graph([padded]), {"x": normal(2, 3, 5, 4)}, (), {"x": layout})


@pytest.mark.parametrize("dtype", ["u1", "i2", "f4", "i8"])
def test_a_few_channels_are_interleaved(dtype: str) -> None:
    for channels, height, width in ((1, 5, 40), (2, 3, 5), (3, 7, 45), (4, 8, 64), (5, 4, 33)):
        x = np.arange(2 * channels * height * width).reshape(2, channels, height, width).astype(dtype)
        program = compiled(Graph([var("x")]), {"x": x}, (), None, [CHANNELS_LAST])
        (step,) = program.steps
        assert isinstance(step, NativeStep)
        kernel = step.arguments[COPY_ARGUMENTS.position("kernel")]
        is_interleaved = isinstance(kernel, Kernel) and isinstance(kernel.spec, InterleaveSpec)
        assert is_interleaved == (2 <= channels <= MOST_INTERLEAVED)
        np.testing.assert_array_equal(run(program, [x])[0], x)


# --- what a graph may give ----------------------------------------------------------------------


@both_layouts
def test_inputs_and_parameters_may_be_outputs_also_twice(layout: str) -> None:
    x, w = var("x"), var("w")
    feed = {"x": normal(2, 3, 4, 5), "w": normal(3, 3)}
    positive = node("relu", x)
    outputs = [x, x, positive, positive, w, w]
    program = compiled(Graph(outputs), feed, ["w"], {"x": layout}, [PLAIN] * 6)
    given = feed["x"] if layout == PLAIN else np.moveaxis(np.moveaxis(feed["x"], 1, -1).copy(), -1, 1)
    results = run(program, [given])
    wanted = [feed["x"]] * 2 + [np.maximum(feed["x"], 0)] * 2 + [feed["w"]] * 2
    for value, expected in zip(results, wanted, strict=True):
        np.testing.assert_array_equal(value, expected)
    for i, value in enumerate(results):
        others = [*results[:i], *results[i + 1 :], given, feed["w"]]
        assert not any(np.may_share_memory(value, other) for other in others), "outputs are memory of their own"


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (1, 0, 3, 2)])
@both_layouts
def test_views_of_one_value_as_outputs(order: Sequence[int], layout: str) -> None:
    positive = node("relu", var("x"))
    parts = make_node("split", "split", [positive], {"axis": 1, "sections": 3})
    outputs = [node("reshape", positive, newshape=(2, 60)), positive, node("transpose", positive), parts[1]]
    check(Graph([outputs[i] for i in order]), {"x": normal(2, 3, 4, 5)}, (), {"x": layout})


def test_outputs_in_the_layout_that_is_asked_for() -> None:
    graph = Graph([node("relu", var("x")), node("negative", var("x"))])
    x = normal(2, 3, 4, 5)
    first, second = run(compiled(graph, {"x": x}, (), None, [CHANNELS_LAST, PLAIN]), [x])
    assert np.moveaxis(first, 1, -1).flags.c_contiguous
    assert second.flags.c_contiguous


def test_an_unused_input_is_taken_all_the_same() -> None:
    program = compiled(Graph([node("relu", var("x"))]), {"unused": normal(3), "x": normal(2, 2)})
    np.testing.assert_array_equal(run(program, [normal(3), np.ones((2, 2), np.float32)])[0], 1)


@pytest.mark.parametrize(
    ("op", "shape", "attrs"),
    [
        ("relu", (0, 3), {}),
        ("add", (0, 3), {}),
        ("mean", (0, 3, 4, 4), {"axis": (2, 3)}),
        ("sum", (3, 0, 4), {"axis": (1,)}),
        ("transpose", (0, 3, 4), {}),
        ("flatten", (0, 3, 4), {}),
        ("concatenate", (0, 3), {"axis": 1, "num_args": 2}),
        ("pad", (0, 3), {"pad_width": ((1, 1), (0, 0))}),
        ("slice_axis", (4, 3), {"axis": 0, "begin": 2, "end": 2}),
    ],
)
def test_tensors_without_elements(op: str, shape: tuple[int, ...], attrs: dict[str, Any]) -> None:
    operands = [var("x")] * attrs.get("num_args", 2 if op == "add" else 1)
    check(Graph([node("relu", node(op, *operands, **attrs), name="after")]), {"x": normal(*shape)})


@pytest.mark.parametrize("shape", [(), (1,), (1, 1, 1, 1)])
def test_single_numbers(shape: tuple[int, ...]) -> None:
    graph = Graph([node("add", node("relu", var("x")), var("x"))])
    check(graph, {"x": normal(*shape)})
