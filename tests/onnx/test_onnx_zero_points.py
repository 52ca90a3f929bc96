"""``QuantizeLinear`` and its relatives, bit for bit as by ONNX's reference evaluator: by references and kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator
from onnx_models import Array, as_inputs, by_references, make_model, node, run, tensor

import minidnn as mx

RNG = np.random.default_rng(33)


def assert_equal_everywhere(model: Any, *calls: Array, on_host: int = 0) -> None:
    """By the reference evaluator, by our references, and by kernels; so many steps run on NumPy."""
    net, evaluator = mx.onnx.import_model(model), ReferenceEvaluator(model)
    net.optimize_for(*as_inputs(net, calls[:1]))
    for x in calls:
        wanted = evaluator.run(None, {"x": x})
        for results in (by_references(net, x), run(net, x)):
            for got, want in zip(results, wanted, strict=True):
                assert (got.dtype, got.shape) == (want.dtype, want.shape)
                assert np.array_equal(got, want, equal_nan=got.dtype.kind == "f")
    assert sum(step.on_host for step in net.steps()) == on_host


def linear(op: str, dtype: str, scale: Any, zero: Any, x: Array, **attributes: Any) -> Any:
    constants = {"scale": np.asarray(scale, np.float32), "zero": np.asarray(zero, dtype)}
    nodes = [node(op, ["x", "scale", "zero"], ["y"], **attributes)]
    return make_model(nodes, [tensor("x", [None, *x.shape[1:]], x.dtype.name)], ["y"], constants)


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("zero", [0, 3, 100])
def test_numbers_on_and_off_boundaries_of_rounding(dtype: str, zero: int) -> None:
    steps = np.arange(-600, 601) / np.float32(4)
    x = np.concatenate([steps * np.float32(0.1), RNG.normal(size=500) * 9, [1e6, -1e6]])
    x = x.astype(np.float32)[None]
    assert_equal_everywhere(linear("QuantizeLinear", dtype, 0.1, zero, x), x)
    few = x[:, :13]
    assert_equal_everywhere(linear("QuantizeLinear", dtype, 1.0, zero, few), few, few.repeat(3, 0))


@pytest.mark.parametrize(("dtype", "least", "most"), [("uint8", 0, 255), ("int8", -128, 127)])
def test_what_no_integer_holds_saturates(dtype: str, least: int, most: int) -> None:
    x = np.float32([[1e30, -1e30, np.inf, -np.inf, np.nan]])
    net = mx.onnx.import_model(linear("QuantizeLinear", dtype, 0.1, 5, x))
    for results in (by_references(net, x), run(net, x)):
        assert results[0].tolist() == [[most, least, most, least, 0]]


@pytest.mark.parametrize(("shape", "axis"), [((2, 5, 3, 7), 1), ((4, 3, 9), -1), ((6, 5), 0)])
def test_a_scale_and_a_zero_point_for_each_index_of_an_axis(shape: tuple[int, ...], axis: int) -> None:
    x = (RNG.normal(size=shape) * 20).astype(np.float32)
    scale, zero = RNG.uniform(0.05, 0.3, shape[axis]), RNG.integers(0, 256, shape[axis])
    model = linear("QuantizeLinear", "uint8", scale, zero, x, axis=axis)
    q = ReferenceEvaluator(model).run(None, {"x": x})[0]
    if axis:
        assert_equal_everywhere(model, x)
        assert_equal_everywhere(linear("DequantizeLinear", "uint8", scale, zero, q, axis=axis), q)
    else:
        net = mx.onnx.import_model(linear("QuantizeLinear", "uint8", scale, zero, x.repeat(1, 0), axis=axis))
        assert np.array_equal(run(net, x)[0], q)


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_all_bytes_as_floats(dtype: str) -> None:
    q = np.arange(256).astype(np.uint8).view(dtype)[None]
    assert_equal_everywhere(linear("DequantizeLinear", dtype, 0.037, 11, q), q)


def test_integers_that_stand_for_the_same_floats_are_passed_on() -> None:
    x = RNG.integers(0, 256, (2, 4, 6, 6)).astype(np.uint8)
    constants = {"s": np.float32(0.25), "z": np.uint8(7), "size": np.array([0, -1])}
    nodes = [
        node("DequantizeLinear", ["x", "s", "z"], ["f"]),
        node("MaxPool", ["f"], ["p"], kernel_shape=[2, 2], strides=[2, 2], pads=[1, 1, 1, 1]),
        node("Reshape", ["p", "size"], ["r"]),
        node("QuantizeLinear", ["r", "s", "z"], ["y"]),
    ]
    model = make_model(nodes, [tensor("x", ["n", 4, 6, 6], "uint8")], ["y"], constants)
    assert_equal_everywhere(model, x)
    net = mx.onnx.import_model(model)
    run(net, x)
    assert {n.op_name for n in net._symbol.outputs[0].node.inputs[0].node.inputs[0].node.inputs} <= {"variable", None}


RANGES = {
    "both signs": np.linspace(-3, 5, 301),
    "above": np.linspace(2, 5, 37),
    "below": np.linspace(-5, -1, 64),
    "one number": np.full(1, -4.25),
    "small": np.linspace(-1e-20, 2e-20, 40),
    "large": np.linspace(-1e30, 1e29, 40),
}


@pytest.mark.parametrize("name", RANGES)
def test_ranges_of_the_run(name: str) -> None:
    x = RANGES[name].astype(np.float32)[None]
    model = make_model([node("DynamicQuantizeLinear", ["x"], ["y", "s", "z"])], [tensor("x", [1, None])], "ysz")
    # The zero point is cast to a byte.
    net, wanted = mx.onnx.import_model(model), ReferenceEvaluator(model).run(None, {"x": x})
    for results in (by_references(net, x), run(net, x)):
        for got, want in zip(results, wanted, strict=True):
            assert (got.dtype, got.shape, got.tolist()) == (want.dtype, want.shape, want.tolist())


def test_nothing_but_zeros_has_a_scale_of_one() -> None:
    model = make_model([node("DynamicQuantizeLinear", ["x"], ["y", "s", "z"])], [tensor("x", ["n"])], "ysz")
    net = mx.onnx.import_model(model)
    for given in ([0.0, 0.0], [1e-44, 0.0], [np.nan, 1.0]):
        q, scale, zero = run(net, np.float32(given))
        assert (scale, zero, q.dtype) == (1, 0, np.uint8)
    assert run(net, np.float32([0, 0]))[0].tolist() == [0, 0]


@pytest.mark.parametrize("weight_zero", [0, 97, "each"])
@pytest.mark.parametrize("group", [1, 2, 4])
def test_convolutions_with_ranges_of_the_run_and_pads(weight_zero: Any, group: int) -> None:
    """Pads are zeros of the data: they have a zero point that the run finds."""
    zeros = RNG.integers(0, 256, 8) if weight_zero == "each" else weight_zero
    constants = {
        "w": RNG.integers(0, 256, (8, 4 // group, 3, 3)).astype(np.uint8),
        "wz": np.asarray(zeros, np.uint8),
    }
    nodes = [
        node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        node("ConvInteger", ["q", "w", "z", "wz"], ["c"], pads=[1, 0, 2, 1], strides=[1, 2], group=group),
        node("Cast", ["c"], ["f"], to=1),
        node("Mul", ["f", "s"], ["y"]),
    ]
    model = make_model(nodes, [tensor("x", ["n", 4, 9, 8])], ["c", "y"], constants)
    net = mx.onnx.import_model(model)
    x = (RNG.normal(size=(2, 4, 9, 8)) + 0.5).astype(np.float32)
    q, scale, zero = ReferenceEvaluator(make_model([nodes[0]], [tensor("x", list(x.shape))], ["q", "s", "z"])).run(
        None, {"x": x}
    )
    data = np.pad(q.astype(np.int64) - int(zero), [(0, 0), (0, 0), (1, 2), (0, 1)])
    moved = constants["w"].astype(np.int64) - np.broadcast_to(constants["wz"], 8).astype(np.int64)[:, None, None, None]
    wanted = np.zeros((2, 8, 10, 4), np.int64)
    for i in range(8):
        part = i * group // 8 * (4 // group)
        for dy, dx in np.ndindex(3, 3):
            window = data[:, part : part + 4 // group, dy : dy + 10, dx : dx + 7 : 2]
            wanted[:, i] += np.einsum("nchw,c->nhw", window, moved[i, :, dy, dx])
    sums, floats = run(net, x)
    assert (sums.dtype, sums.tolist()) == (np.int32, wanted.tolist())
    np.testing.assert_allclose(floats, wanted * scale, 1e-5, 1e-4)
    assert not any("f32_igemm" in step.kernel for step in net.steps())
