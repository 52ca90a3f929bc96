"""``calib_mode='tuned'``: what computes between int8 layers reads and stores int8; long sides use all of uint8."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from quantization_helpers import draw, fill, sqnr

import minidnn as mx
from minidnn import gluon
from minidnn.contrib.quantization import quantize_net, read_tuning
from minidnn.gluon import nn
from minidnn.ops.registry import get_op, list_ops


def quantized(net: Any, data: Any, mode: str = "tuned") -> Any:
    return quantize_net(net, calib_mode=mode, calib_data=[mx.np.array(data)], quantize_granularity="channel-wise")


def float_results(net: Any) -> list[str]:
    """The operations of an int8 network that give float32, but for the last one."""
    steps = [step[-1] for step in operations(net)]
    return [name for name in steps[:-1] if name not in ("quantize", "flatten", "pad")]


def operations(net: Any) -> list[list[str]]:
    found = net._own_graph().symbol.operations()
    return [[n.op_name] if n.subgraph is None else [i.op_name for i in n.subgraph.operations()] for n in found]


class Gated(gluon.HybridBlock):
    """A depthwise convolution whose channels are weighted by what their means say, between two others."""

    def __init__(self, act: Callable[[Any], Any], gate: Callable[[Any], Any], mean: Callable[[Any], Any]) -> None:
        super().__init__()
        self.stem = nn.Conv2D(16, 3, padding=1, in_channels=3)
        self.depthwise = nn.Conv2D(16, 3, padding=1, groups=16, in_channels=16)
        self.squeeze = nn.Conv2D(4, 1, in_channels=16)
        self.excite = nn.Conv2D(16, 1, in_channels=4)
        self.project = nn.Conv2D(8, 1, in_channels=16)
        self.head = nn.Dense(10, in_units=8)
        self.functions = act, gate, mean

    def forward(self, x: Any) -> Any:
        act, gate, mean = self.functions
        y = act(self.depthwise(act(self.stem(x))))
        y = y * gate(self.excite(act(self.squeeze(mean(y)))))
        return self.head(self.project(y).mean((2, 3)))


def averaged(x: Any) -> Any:
    return mx.npx.pooling(x, pool_type="avg", global_pool=True, kernel=(1, 1))


GATED = {
    "MobileNetV3": (mx.npx.hard_swish, lambda x: mx.npx.hard_sigmoid(x, alpha=1 / 6, beta=0.5), averaged),
    "EfficientNet": (mx.npx.silu, mx.npx.sigmoid, lambda x: x.mean((2, 3), keepdims=True)),
    "a gate of tanh": (mx.npx.mish, lambda x: mx.np.tanh(x) * 0.5 + 0.5, lambda x: x.mean((-1, -2), keepdims=True)),
}


@pytest.mark.parametrize("name", GATED)
def test_squeeze_and_excitation_has_no_float32_between_the_first_and_the_last_layer(name: str) -> None:
    net, x = fill(Gated(*GATED[name]), (1, 3, 8, 8)), mx.np.array(draw(8, 3, 8, 8, seed=2))
    made = quantized(net, draw(16, 3, 8, 8, seed=1))
    assert float_results(made) == []
    assert ["dequantize", "dequantize", "multiply", "quantize"] in operations(made)
    wanted = net(x)
    assert sqnr(wanted, made(x)) > 25
    naive = quantized(net, draw(16, 3, 8, 8, seed=1), "naive")
    assert ["dequantize", "dequantize", "multiply", "quantize"] not in operations(naive)


class Alone(gluon.HybridBlock):
    """A function of a sum that others read, too, between two convolutions."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self.first, self.second, self.third = (nn.Conv2D(8, 1, in_channels=c) for c in (3, 8, 8))
        self.function = function

    def forward(self, x: Any) -> Any:
        y = self.first(x)
        return self.third(self.function(y)) + self.second(y)


FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "silu": mx.npx.silu,
    "hard_sigmoid": mx.npx.hard_sigmoid,
    "tanh": mx.np.tanh,
    "square": mx.np.square,
    "a scalar": lambda x: 1 - 2 * x,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_that_stand_alone_read_and_store_int8(name: str) -> None:
    net, x = fill(Alone(FUNCTIONS[name]), (1, 3, 6, 6)), mx.np.array(draw(8, 3, 6, 6, seed=2))
    made = quantized(net, draw(16, 3, 6, 6, seed=1))
    inner = [step for step in operations(made) if "quantized_convolution" not in step]
    assert all(step[-1] == "quantize" for step in inner)
    assert any(step[0] == "dequantize" for step in inner)
    assert sqnr(net(x), made(x)) > 28


@pytest.mark.parametrize("name", ["exp", "log", "reciprocal", "power", "true_divide", "sign", "floor", "rsqrt"])
def test_what_makes_small_errors_large_stays_float32(name: str) -> None:
    op = get_op(name)
    assert op.epilogue is not None and not op.int8_when_tuned and not op.int8_in_full_mode


def test_the_lowest_result_of_an_operator_is_near_its_bound() -> None:
    x = np.linspace(-20, 20, 400001, dtype=np.float32)
    seen = 0
    for name in list_ops():
        op = get_op(name)
        if op.lowest is None:
            continue
        choices = [a.choices for a in op.attrs if a.name in ("act_type", "approximation")]
        for value in choices[0] if choices and choices[0] else ("",):
            key = next((a.name for a in op.attrs if a.name in ("act_type", "approximation")), None)
            attrs = op.make_attrs({key: value} if key else {})
            bound = op.lowest(attrs)
            if bound is not None:
                seen += 1
                assert bound - 1e-6 <= op.reference(attrs, x).min() < bound + 2e-3, (name, value)
    assert seen > 8


class Wide(gluon.HybridBlock):
    """Two layers around a GELU, on rows or pixels."""

    def __init__(self, convolution: bool, kernel: int = 1) -> None:
        super().__init__()
        if convolution:
            self.wide = nn.Conv2D(32, 1, in_channels=8)
            self.narrow = nn.Conv2D(8, kernel, padding=kernel // 2, in_channels=32)
        else:
            self.wide, self.narrow = nn.Dense(32, in_units=8, flatten=False), nn.Dense(8, in_units=32, flatten=False)

    def forward(self, x: Any) -> Any:
        return self.narrow(mx.npx.gelu(self.wide(x)))


@pytest.mark.parametrize(("convolution", "shape"), [(False, (16, 5, 8)), (True, (16, 8, 5, 5))])
def test_what_gelu_makes_is_uint8_where_all_weights_see_it(convolution: bool, shape: tuple[int, ...]) -> None:
    net, x = fill(Wide(convolution), (1, *shape[1:])), mx.np.array(draw(*shape, seed=3))
    made = quantized(net, draw(*shape, seed=4))
    recipe = read_tuning(made)
    assert recipe is not None and len(recipe.shifted) == 1 and "shifted" in str(recipe)
    found = made._own_graph().symbol.operations()
    kinds = [
        i.attrs.out_type
        for n in found
        for i in (n.subgraph.operations() if n.subgraph else [n])
        if i.op_name == "quantize"
    ]
    assert kinds.count("uint8") == 1
    assert sqnr(net(x), made(x)) > sqnr(net(x), quantized(net, draw(*shape, seed=4), "naive")(x)) + 2


def test_padding_forbids_a_shift() -> None:
    net = fill(Wide(True, 3), (1, 8, 5, 5))
    recipe = read_tuning(quantized(net, draw(8, 8, 5, 5)))
    assert recipe is not None and recipe.shifted == ()


def test_a_reshaped_tensor_has_a_range_for_each_row() -> None:
    """As the attention's heads in front of the dense layer that joins them."""

    class Heads(gluon.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Dense(8, in_units=8, flatten=False)
            self.second = nn.Dense(8, in_units=8, flatten=False)

        def forward(self, x: Any) -> Any:
            y = mx.npx.softmax(self.first(x))
            return self.second(y.reshape((-1, 5, 2, 4)).transpose((0, 1, 3, 2)).reshape((-1, 5, 8)))

    made = quantized(fill(Heads(), (1, 5, 8)), draw(16, 5, 8))
    recipe = read_tuning(made)
    assert recipe is not None and all("ranges of rows" in layer.rounding for layer in recipe.layers)


def test_reflected_padding_moves_integers() -> None:
    class Reflected(gluon.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2D(8, 3, in_channels=3), nn.Conv2D(8, 3, in_channels=8)

        def forward(self, x: Any) -> Any:
            y = mx.npx.relu(self.first(x))
            return self.second(mx.np.pad(y, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="reflect"))

    net, x = fill(Reflected(), (1, 3, 7, 7)), mx.np.array(draw(4, 3, 7, 7, seed=1))
    made = quantized(net, draw(8, 3, 7, 7))
    assert float_results(made) == []
    assert get_op("pad").holds(
        get_op("pad").int8_when_tuned, get_op("pad").make_attrs({"pad_width": ((1, 1),), "mode": "reflect"})
    )
    assert sqnr(net(x), made(x)) > 30
