"""Numbers of a graph are arguments of kernels: other numbers, same kernels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from int8_layers import Layer, assert_exact
from small_graphs import check, compiled, fuse, inner, node, normal

from minidnn.errors import OpError, TypeMismatchError
from minidnn.ir.graph import Entry, Graph, make_variable
from minidnn.lowering.epilogue import quantized_type
from minidnn.ops.quantization import QUANTIZED_RANGES
from minidnn.ops.registry import TensorType, get_op, list_ops
from minidnn.runtime.library import library
from minidnn_kernels.epilogue import QUANTIZED_LIMITS, number_word

var = make_variable

# Their numbers are the ends of a range.
_QUANTIZING = {"quantize", "requantize"}
_TAILS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "clip": ({"a_min": 0.0, "a_max": 6.0}, {"a_min": -0.25, "a_max": 0.5}),
    "leaky_relu": ({"slope": 0.1}, {"slope": 0.3}),
    "hard_sigmoid": ({}, {"alpha": 0.3, "beta": 0.25}),
    "multiply_scalar": ({"scalar": 2.0}, {"scalar": -0.75}),
    "maximum_scalar": ({"scalar": 0.1}, {"scalar": -0.1}),
    "rtrue_divide_scalar": ({"scalar": 1.5}, {"scalar": 3.0}),
}


def _same_kernels(graphs: list[Graph], feed: dict[str, np.ndarray], parameters: list[str]) -> None:
    """The graphs are right, and their programs call the same kernels."""
    first, second = (check(graph, feed, parameters, tolerance=1e-4).kernels() for graph in graphs)
    assert first == second


def _is_of_integers(op_name: str) -> bool:
    op = get_op(op_name)
    try:
        op.infer_types(op.make_attrs({"scalar": 2}), [TensorType((1,), np.dtype(np.float32))])
    except TypeMismatchError:
        return True
    except OpError:
        pass
    return False


def _choices(op_name: str) -> list[dict[str, float]]:
    """Two settings of all numbers of an elementwise operator."""
    names = [a.name for a in get_op(op_name).attrs if a.kind == "float"]
    if _is_of_integers(op_name):
        return [dict.fromkeys(names, 3), dict.fromkeys(names, 2)] if names else []
    return [{name: sign * (0.25 + i) for i, name in enumerate(names)} for sign in (1.0, 0.5)] if names else []


_EPILOGUES = [name for name in list_ops() if get_op(name).epilogue is not None and name not in _QUANTIZING]


@pytest.mark.parametrize("op_name", [name for name in _EPILOGUES if _choices(name)])
def test_elementwise_kernels_hold_no_number(op_name: str) -> None:
    op = get_op(op_name)
    inputs = [var(name) for name in op.input_names(op.make_attrs(_choices(op_name)[0]))]
    feed = {entry.node.name: normal(3, 5, 7, seed=i) for i, entry in enumerate(inputs)}
    if _is_of_integers(op_name):
        feed = {name: np.asarray(array * 9, np.int32) for name, array in feed.items()}
    if op_name == "batch_norm":
        feed = {name: array if name == "data" else np.abs(normal(5)) for name, array in feed.items()}
    graphs = [Graph([node(op_name, *inputs, **numbers)]) for numbers in _choices(op_name)]
    _same_kernels(graphs, feed, [name for name in feed if name != "data"])


@pytest.mark.parametrize("op_name", _TAILS)
@pytest.mark.parametrize(("kernel", "groups"), [(1, 1), (3, 1), (3, 24)], ids=["tile", "Winograd", "depthwise"])
def test_tails_of_convolutions_hold_no_number(op_name: str, kernel: int, groups: int) -> None:
    channels = 24 if groups > 1 else 64
    feed = {"x": normal(1, channels, 32, 32), "w": normal(channels, channels // groups, kernel, kernel, seed=1) / 24}
    attrs: dict[str, Any] = {"kernel": (kernel,) * 2, "num_filter": channels, "num_group": groups, "no_bias": True}
    x, w = inner(2)
    graphs = [
        fuse("fused", [var("x"), var("w")], [node(op_name, node("convolution", x, w, **attrs), **numbers)])
        for numbers in _TAILS[op_name]
    ]
    # The reciprocal of a sum near 0 magnifies its rounding.
    if op_name == "rtrue_divide_scalar":
        first, second = (compiled(graph, feed, ["w"]).kernels() for graph in graphs)
        assert first == second
    else:
        _same_kernels(graphs, feed, ["w"])


@pytest.mark.parametrize("out", ["uint8", "int8", "float32"])
@pytest.mark.parametrize(("kernel", "groups"), [(1, 1), (3, 19)], ids=["tile", "depthwise"])
def test_int8_layers_of_any_scales_share_their_kernels(kernel: int, groups: int, out: str) -> None:
    layer = Layer((1, 19, 9, 8), 19, kernel=kernel, groups=groups, residual="int8", out=out)
    # How integers are multiplied is chosen by the weights.
    weights = {"weight": layer.node()[1]["weight"]}
    seen = []
    for made in (layer, replace(layer, scale=0.0051, residual_scale=0.017, limit=3.25)):
        graph, parameters, _ = made.node()
        parameters.update(weights)
        program = assert_exact(library().isa.name, graph, parameters, made.feed(False))
        seen.append(program.kernels())
    assert seen[0] == seen[1]


@pytest.mark.parametrize(
    ("op_name", "first", "second"),
    [
        ("softmax", {}, {"temperature": 3.0}),
        ("pooling", {"pool_type": "avg", "kernel": (2, 2)}, {"pool_type": "avg", "kernel": (3, 1)}),
    ],
)
def test_other_kernels_hold_no_number(op_name: str, first: dict[str, Any], second: dict[str, Any]) -> None:
    graphs = [Graph([node(op_name, var("x"), **attrs)]) for attrs in (first, second)]
    _same_kernels(graphs, {"x": normal(2, 3, 6, 7)}, [])


def test_numbers_of_a_fused_group_keep_their_order() -> None:
    """Ten numbers in one kernel, each of which matters."""

    def chain(x: Entry) -> Entry:
        for i in range(1, 6):
            x = node("clip", node("multiply_scalar", x, scalar=1 + i / 8), a_min=-8.0 / i, a_max=9.0 / i)
        return x

    (x,) = inner(1)
    check(fuse("fused", [var("x")], [chain(x)]), {"x": normal(7, 33) * 5})


@pytest.mark.parametrize(
    ("number", "expected"), [(1e39, np.inf), (-1e300, -np.inf), (-0.0, -0.0), (1e-45, 1e-45), (0.1, 0.1)]
)
def test_a_number_word_is_the_nearest_float32(number: float, expected: float) -> None:
    word = np.array([number_word(number)], np.int64)
    assert word.view(np.float32)[0].tobytes() == np.float32(expected).tobytes()


def test_the_kernels_quantize_to_the_ranges_of_the_operators() -> None:
    assert {name: QUANTIZED_LIMITS[quantized_type(name).name] for name in QUANTIZED_RANGES} == QUANTIZED_RANGES
