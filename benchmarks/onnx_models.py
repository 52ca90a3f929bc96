"""A network of ours as an ONNX model of the same graph with the same weights, for a peer to run."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from minidnn.ir.graph import Entry, Node

__all__ = ["make_model"]

_OPSET = 17


def make_model(net: Any, data: Any) -> onnx.ModelProto:
    """The graph of `net`, unfused, with one input ``data`` of the shape of `data`, which is float32.

    Raises:
        KeyError: the graph has an operator without a rule here.
    """
    net.hybridize()
    shape = net(data).shape
    symbol, parameters = net.export(None)
    # Their names come with MXNet's "arg:" and "aux:" in front.
    weights = {name.partition(":")[2]: parameter.asnumpy() for name, parameter in parameters.items()}
    builder = _Builder(weights)
    for node in symbol.operations():
        _RULES[node.op_name](builder, node, [builder.name(entry) for entry in node.inputs])
    (output,) = symbol.outputs
    graph = helper.make_graph(
        builder.nodes,
        "minidnn",
        [helper.make_tensor_value_info("data", onnx.TensorProto.FLOAT, data.shape)],
        [helper.make_tensor_value_info(builder.name(output), onnx.TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(array, name) for name, array in builder.weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)
    onnx.checker.check_model(model)
    return model


class _Builder:
    def __init__(self, weights: dict[str, np.ndarray[Any, Any]]) -> None:
        self.weights = weights
        self.nodes: list[onnx.NodeProto] = []
        self._numbers = itertools.count()

    def name(self, entry: Entry) -> str:
        return entry.node.name

    def constant(self, value: Any, dtype: Any) -> str:
        name = f"constant_{next(self._numbers)}"
        self.weights[name] = np.asarray(value, dtype)
        return name

    def add(self, op: str, node: Node, inputs: list[str], **attributes: Any) -> None:
        self.nodes.append(helper.make_node(op, inputs, [node.name], node.name, **attributes))


def _convolution(builder: _Builder, node: Node, inputs: list[str]) -> None:
    attrs = node.attrs
    builder.add(
        "Conv",
        node,
        inputs,
        kernel_shape=attrs.kernel,
        strides=attrs.stride,
        dilations=attrs.dilate,
        pads=attrs.pad * 2,
        group=attrs.num_group,
    )


def _batch_norm(builder: _Builder, node: Node, inputs: list[str]) -> None:
    data, gamma, beta, mean, variance = inputs
    if node.attrs.fix_gamma:
        gamma = builder.constant(np.ones_like(builder.weights[gamma]), np.float32)
    builder.add("BatchNormalization", node, [data, gamma, beta, mean, variance], epsilon=node.attrs.eps)


def _activation(builder: _Builder, node: Node, inputs: list[str]) -> None:
    builder.add({"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh"}[node.attrs.act_type], node, inputs)


def _pooling(builder: _Builder, node: Node, inputs: list[str]) -> None:
    attrs = node.attrs
    kind = {"max": "Max", "avg": "Average"}[attrs.pool_type]
    if attrs.global_pool:
        builder.add(f"Global{kind}Pool", node, inputs)
        return
    window = {"kernel_shape": attrs.kernel, "strides": attrs.stride, "pads": attrs.pad * 2}
    if kind == "Average":
        window["count_include_pad"] = int(attrs.count_include_pad)
    builder.add(f"{kind}Pool", node, inputs, **window)


def _fully_connected(builder: _Builder, node: Node, inputs: list[str]) -> None:
    data, weight, *bias = inputs
    if node.attrs.flatten:
        flat = f"{node.name}_flat"
        builder.nodes.append(helper.make_node("Flatten", [data], [flat]))
        data = flat
    builder.add("Gemm", node, [data, weight, *bias], transB=1)


def _clip(builder: _Builder, node: Node, inputs: list[str]) -> None:
    bounds = [builder.constant(bound, np.float32) for bound in (node.attrs.a_min, node.attrs.a_max)]
    builder.add("Clip", node, inputs + bounds)


def _pad(builder: _Builder, node: Node, inputs: list[str]) -> None:
    before, after = zip(*node.attrs.pad_width, strict=True)
    builder.add("Pad", node, [*inputs, builder.constant([*before, *after], np.int64)])


def _plain(op: str) -> Callable[[_Builder, Node, list[str]], None]:
    return lambda builder, node, inputs: builder.add(op, node, inputs)


_RULES: dict[str, Callable[[_Builder, Node, list[str]], None]] = {
    "convolution": _convolution,
    "batch_norm": _batch_norm,
    "activation": _activation,
    "relu": _plain("Relu"),
    "pooling": _pooling,
    "fully_connected": _fully_connected,
    "clip": _clip,
    "pad": _pad,
    "add": _plain("Add"),
    "flatten": _plain("Flatten"),
    "dropout": _plain("Identity"),
}
