"""Operators whose attributes follow from sizes: one model, called with one size after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx_models import Array, assert_like_reference, make_model, node, tensor

RNG = np.random.default_rng(21)
IMAGES = ((1, 2, 8, 9), (2, 2, 7, 6), (3, 2, 11, 8), (1, 2, 6, 13))
MATRICES = ((3, 4), (5, 6), (2, 8), (7, 4))


def normal(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(np.float32)


def images(*nodes: onnx.NodeProto, **constants: Any) -> onnx.ModelProto:
    return make_model(list(nodes), [tensor("x", ["n", 2, "h", "w"])], ["y"], constants)


def matrices(*nodes: onnx.NodeProto, **constants: Any) -> onnx.ModelProto:
    return make_model(list(nodes), [tensor("x", ["n", "m"])], ["y"], constants)


WEIGHT = normal(3, 2, 3, 3)
SHAPE, SIZE = node("Shape", ["x"], ["shape"]), node("Size", ["x"], ["size"])


@pytest.mark.parametrize("strides", [[1, 1], [2, 2], [3, 1]])
@pytest.mark.parametrize("auto", ["SAME_UPPER", "SAME_LOWER", "VALID"])
def test_convolutions_that_pad_by_themselves(auto: str, strides: list[int]) -> None:
    model = images(node("Conv", ["x", "w"], ["y"], auto_pad=auto, strides=strides), w=WEIGHT)
    assert_like_reference(model, *([normal(*shape)] for shape in IMAGES), rtol=1e-4)


POOLS: list[dict[str, Any]] = [
    {"strides": [2, 2]},
    {"strides": [2, 2], "ceil_mode": 1},
    {"strides": [2, 2], "pads": [1, 0, 0, 1], "ceil_mode": 1},
    {"strides": [1, 2], "dilations": [2, 1]},
    {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
]


@pytest.mark.parametrize("attributes", POOLS, ids=str)
def test_poolings(attributes: dict[str, Any]) -> None:
    calls = [[normal(*shape)] for shape in IMAGES]
    assert_like_reference(images(node("MaxPool", ["x"], ["y"], kernel_shape=[3, 3], **attributes)), *calls)
    for include in (0, 1):
        mean = node("AveragePool", ["x"], ["y"], kernel_shape=[3, 3], count_include_pad=include, **attributes)
        assert_like_reference(images(mean), *calls)


@pytest.mark.parametrize(
    "attributes",
    [
        {"strides": [2, 2]},
        {"strides": [2, 1], "pads": [1, 0, 1, 2]},
        {"strides": [2, 2], "output_padding": [1, 1]},
        {"strides": [2, 3], "pads": [0, 1, 1, 0], "output_padding": [1, 2]},
        {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
    ],
    ids=str,
)
@pytest.mark.parametrize("with_bias", [False, True])
def test_transposed_convolutions(attributes: dict[str, Any], with_bias: bool) -> None:
    names = ["x", "w", "b"] if with_bias else ["x", "w"]
    model = images(node("ConvTranspose", names, ["y"], **attributes), w=normal(2, 3, 3, 3), b=normal(3))
    assert_like_reference(model, *([normal(*shape)] for shape in IMAGES), rtol=1e-4)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("scales", [[1, 1, 2, 3], [1, 1, 0.5, 2], [1, 1, 1.5, 0.75]])
def test_resizing_by_factors(mode: str, scales: list[float]) -> None:
    model = images(node("Resize", ["x", "", "s"], ["y"], mode=mode), s=np.array(scales, np.float32))
    assert_like_reference(model, *([normal(*shape)] for shape in IMAGES), rtol=1e-3, atol=1e-4)


def test_resizing_to_the_size_of_another_array() -> None:
    nodes = [
        node("MaxPool", ["x"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        SHAPE,
        node("Slice", ["shape", "two", "four"], ["hw"]),
        node("Shape", ["p"], ["ps"]),
        node("Slice", ["ps", "zero", "two"], ["nc"]),
        node("Concat", ["nc", "hw"], ["sizes"], axis=0),
        node("Resize", ["p", "", "", "sizes"], ["up"], mode="linear"),
        node("Add", ["x", "up"], ["y"]),
    ]
    model = images(*nodes, zero=np.array([0]), two=np.array([2]), four=np.array([4]))
    net = assert_like_reference(model, *([normal(*shape)] for shape in IMAGES), rtol=1e-4)
    assert sum(map(len, net._programs.values())) == 1


CHAINS: dict[str, list[onnx.NodeProto]] = {
    "halves": [node("Split", ["x"], ["y", "z"], axis=1, num_outputs=2)],
    "from the end": [node("Slice", ["x", "minus_two", "far", "one"], ["y"])],
    "backwards": [node("Slice", ["x", "minus_one", "minus_far", "one", "minus_one"], ["y"])],
    "every other": [node("Slice", ["x", "zero", "far", "one", "two"], ["y"])],
    "half of it": [
        SHAPE,
        node("Gather", ["shape", "one"], ["m"]),
        node("Div", ["m", "two"], ["half"]),
        node("Slice", ["x", "zero", "half", "one"], ["y"]),
    ],
    "positions": [
        SHAPE,
        node("Gather", ["shape", "scalar"], ["m"]),
        node("Range", ["scalar_zero", "m", "scalar"], ["r"]),
        node("Cast", ["r"], ["f"], to=1),
        node("Add", ["x", "f"], ["y"]),
    ],
    "mean by hand": [
        SHAPE,
        node("Gather", ["shape", "scalar"], ["m"]),
        node("Cast", ["m"], ["f"], to=1),
        node("ReduceSum", ["x", "one"], ["sum"]),
        node("Div", ["sum", "f"], ["y"]),
    ],
    "root of a size": [
        SHAPE,
        node("Gather", ["shape", "scalar"], ["m"]),
        node("Cast", ["m"], ["f"], to=1),
        node("Sqrt", ["f"], ["root"]),
        node("Div", ["x", "root"], ["y"]),
    ],
    "zeros of a shape": [
        SHAPE,
        node("Concat", ["shape", "two"], ["longer"], axis=0),
        node("ConstantOfShape", ["longer"], ["o"]),
        node("Unsqueeze", ["x", "two"], ["u"]),
        node("Add", ["o", "u"], ["y"]),
    ],
    "expanded": [
        SHAPE,
        node("Concat", ["two", "shape"], ["longer"], axis=0),
        node("Expand", ["x", "longer"], ["y"]),
    ],
    "flat and back": [
        SHAPE,
        node("Reshape", ["x", "minus_one"], ["flat"]),
        node("Exp", ["flat"], ["e"]),
        node("Reshape", ["e", "shape"], ["y"]),
    ],
    "padded to even": [
        SHAPE,
        node("Gather", ["shape", "one"], ["m"]),
        node("Mod", ["m", "two"], ["odd"]),
        node("Concat", ["zero", "zero", "zero", "odd"], ["pads"], axis=0),
        node("Pad", ["x", "pads"], ["y"]),
    ],
    "shape as data": [
        SHAPE,
        node("Cast", ["shape"], ["f"], to=1),
        node("ReduceMean", ["x"], ["m"]),
        node("Add", ["m", "f"], ["y"]),
    ],
    "tiled": [SHAPE, node("Min", ["shape", "three"], ["reps"]), node("Tile", ["x", "reps"], ["y"])],
    "one hot": [
        SHAPE,
        node("Gather", ["shape", "scalar"], ["m"]),
        node("ArgMax", ["x"], ["at"], axis=1, keepdims=0),
        node("OneHot", ["at", "m", "off_on"], ["h"]),
        node("Mul", ["h", "x"], ["y"]),
    ],
    "triangle": [node("Trilu", ["x", "scalar"], ["y"], upper=0)],
    "counted": [SIZE, node("Cast", ["size"], ["f"], to=1), node("Div", ["x", "f"], ["y"])],
    "compared with data": [
        SHAPE,
        node("Gather", ["shape", "one"], ["m"]),
        node("ArgMax", ["x"], ["at"], axis=1),
        node("Sub", ["m", "at"], ["y"]),
    ],
    "largest": [node("TopK", ["x", "two"], ["y", "at"], axis=1)],
    "reversed sum": [node("CumSum", ["x", "scalar"], ["y"], reverse=1, exclusive=1)],
    "products": [node("Einsum", ["x", "x"], ["y"], equation="ij,kj->ik")],
}
CONSTANTS = {
    "zero": np.array([0]),
    "one": np.array([1]),
    "two": np.array([2]),
    "three": np.array([3]),
    "scalar": np.array(1),
    "scalar_zero": np.array(0),
    "minus_one": np.array([-1]),
    "minus_two": np.array([-2]),
    "far": np.array([2**63 - 1]),
    "minus_far": np.array([-(2**63)]),
    "off_on": np.float32([0.5, 2]),
}


@pytest.mark.parametrize("name", list(CHAINS))
def test_shapes_are_computed_from_sizes(name: str) -> None:
    nodes = CHAINS[name]
    read = {n for one in nodes for n in one.input}
    model = matrices(*nodes, **{n: a for n, a in CONSTANTS.items() if n in read})
    net = assert_like_reference(model, *([normal(*shape)] for shape in MATRICES))
    assert sum(map(len, net._programs.values())) <= 2
