"""Chains whose dtypes change on the way are one kernel, by themselves and behind products."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from small_graphs import compiled, fuse, inner, node, normal, run, steps

import minidnn as mx
from minidnn import gluon
from minidnn.contrib.quantization import quantize_net
from minidnn.gluon import nn
from minidnn.ir.graph import Entry, Graph, evaluate, make_variable

Array = np.ndarray[Any, Any]
var = make_variable


def compare_where_cast(x: Entry, y: Entry) -> Entry:
    """int64 from float32: where x is larger than 1/2 twice y, elsewhere 0, without its fraction, plus 7."""
    mask = node("greater_scalar", x, name="mask", scalar=0.5, is_int=False)
    doubled = node("multiply_scalar", y, name="doubled", scalar=2.0)
    chosen = node("where", mask, doubled, node("multiply_scalar", x, name="nothing", scalar=0.0))
    return node("add_scalar", node("cast", chosen, dtype="int64"), name="last", scalar=7.0)


def saturated(x: Entry) -> Entry:
    """uint8 from float32, as a linear quantization with a zero point."""
    scaled = node("rint", node("true_divide_scalar", x, scalar=0.03))
    moved = node("clip", node("add_scalar", scaled, name="moved", scalar=121.0), a_min=0, a_max=255)
    return node("cast", moved, dtype="uint8")


def agree(graph: Graph, feed: dict[str, Array], parameters: tuple[str, ...] = ()) -> list[str]:
    """The steps, after a comparison with the references."""
    program = compiled(graph, feed, parameters)
    results = run(program, [a for name, a in feed.items() if name not in parameters])
    for actual, expected in zip(results, evaluate(graph, feed), strict=True):
        assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape)
        np.testing.assert_array_equal(actual, expected)
    return steps(program)


@pytest.mark.parametrize("other", [(2, 3, 4, 5), (3, 1, 1), (5,), (2, 1, 4, 1), (1,), (4, 1)])
def test_a_chain_of_dtypes_is_one_step(other: tuple[int, ...]) -> None:
    x, y = inner(2)
    graph = fuse("fused", [var("x"), var("y")], [compare_where_cast(x, y)])
    feed = {"x": normal(2, 3, 4, 5), "y": normal(*other, seed=1) * 9}
    for parameters in ((), ("y",)):
        assert agree(graph, feed, parameters) == ["elementwise_loop"]


def test_operands_of_every_dtype_are_read_by_one_step() -> None:
    dtypes = ("bool", "int8", "uint8", "int16", "uint16", "int32", "int64", "float16", "float32")
    feed = {"x": np.arange(60).reshape(3, 4, 5)}
    made = inner(1)[0]
    operands = inner(len(dtypes) + 1)[1:]
    for i, (dtype, operand) in enumerate(zip(dtypes, operands, strict=True)):
        shape = (3, 4, 5) if i % 3 == 0 else (4, 1) if i % 3 == 1 else ()
        feed[dtype] = np.asarray(normal(*shape, seed=i) * 5, dtype)
        if dtype != "bool":
            made = node("where", node("less", made, operand, name=f"less{i}"), operand, made, name=f"where{i}")
        else:
            made = node("multiply", made, operand, name="masked")
    variables = [var(name) for name in feed]
    assert agree(fuse("fused", variables, [made]), feed) == ["elementwise_loop"]


def test_integers_wrap_where_their_dtype_ends() -> None:
    x = inner(1)[0]
    up = node("add_scalar", x, scalar=100)
    down = node("bitwise_right_shift_scalar", node("multiply", up, up), scalar=1)
    feed = {"x": np.arange(-128, 128).astype(np.int8)}
    assert agree(fuse("fused", [var("x")], [down]), feed) == ["elementwise_loop"]


def test_more_dimensions_than_the_loop_has_are_no_host_step() -> None:
    graph = Graph([node("less", var("a"), var("b"))])
    feed = {"a": normal(2, 3, 2, 3, 2, 3, 2), "b": normal(2, 1, 2, 1, 2, 1, 2, seed=1)}
    assert "host" not in agree(graph, feed)


@pytest.mark.parametrize("groups", [1, 8])
@pytest.mark.parametrize("end", ["bool", "int64", "uint8", "where"])
def test_other_dtypes_end_an_epilogue(groups: int, end: str) -> None:
    x, w, m = inner(3)
    made = node("convolution", x, w, kernel=(3, 3), num_filter=8, num_group=groups, no_bias=True)
    # Integers are exact whatever the order of the sums.
    feed = {"x": np.rint(normal(2, 8, 7, 9) * 2), "w": np.rint(normal(8, 8 // groups, 3, 3, seed=1))}
    variables = [var("x"), var("w")]
    if end == "where":
        feed["m"] = normal(2, 8, 5, 7, seed=2) > 0
        made, variables = node("where", m, made, node("negative", made)), [*variables, var("m")]
    else:
        halves = node("multiply_scalar", made, scalar=0.5)
        ends = {"bool": node("greater_scalar", halves, scalar=1.0), "int64": node("cast", halves, dtype="int64")}
        made = {**ends, "uint8": saturated(halves)}[end]
    made_steps = agree(fuse("fused", variables, [made]), feed, ("w",))
    assert "host" not in made_steps and "elementwise_loop" not in made_steps


class Net(gluon.HybridBlock):
    """A mask that a convolution makes, and numbers that it chooses."""

    def __init__(self) -> None:
        super().__init__()
        self.mask = nn.Conv2D(4, 3, padding=1, in_channels=3)
        self.data = nn.Conv2D(4, 3, padding=1, in_channels=3)

    def forward(self, x: Any) -> Any:
        mask = self.mask(x) > 0.25
        return mx.np.where(mask, self.data(x), -1.0).astype("float64"), mask


def test_networks_have_no_steps_on_numpy() -> None:
    mx.random.seed(0)
    net = Net()
    net.initialize(mx.init.Uniform(0.3))
    x = mx.np.array(normal(2, 3, 6, 6))
    wanted = [a.asnumpy() for a in net(x)]
    net.optimize_for(x)
    for got, reference in zip(net(x), wanted, strict=True):
        assert got.dtype == reference.dtype
        np.testing.assert_allclose(got.asnumpy(), reference, rtol=1e-5, atol=1e-6)
    assert not any(step.on_host for step in net.steps())
    quantized = quantize_net(net, calib_mode="naive", calib_data=[x])
    values, mask = (a.asnumpy() for a in quantized(x))
    assert (values.dtype, mask.dtype) == (np.float64, np.bool_)
    assert (mask == wanted[1]).mean() > 0.9
    assert not any(step.on_host for step in quantized.steps())


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_narrow_floats_are_rounded_by_kernels(kind: str) -> None:
    rng = np.random.default_rng(4)
    bits = rng.integers(0, 1 << 32, 4000, np.uint32)
    # Halves between two numbers of the narrow type, beside numbers of any size, NaN and infinity.
    bits[::3] = (bits[::3] & 0xFFFFE000) | 0x1000
    bits[1::3] = (bits[1::3] & 0xFFFF0000) | 0x8000
    x = np.concatenate(
        [bits.view(np.float32), np.float32([0, -0.0, np.inf, -np.inf, np.nan, 65504, 65519, 65520, 1e-8])]
    )
    program = compiled(Graph([node("round_float", var("x"), kind=kind)]), {"x": x})
    assert "host" not in steps(program)
    with np.errstate(all="ignore"):
        wanted = x.astype(np.float16 if kind == "float16" else ml_dtypes.bfloat16).astype(np.float32)
    np.testing.assert_array_equal(run(program, [x])[0], wanted)
    as_bits = compiled(Graph([node("view_bits", var("x"), dtype="int32")]), {"x": x})
    assert "host" not in steps(as_bits)
    np.testing.assert_array_equal(run(as_bits, [x])[0], x.view(np.int32))
