"""Quantized operators as ONNX writes them: nodes on floats between DequantizeLinear and QuantizeLinear."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidnn.interop.onnx.export.layers import convolved, dense
from minidnn.interop.onnx.export.writer import Product, Tensor, Writer, export_rule
from minidnn.ops.quantization import QUANTIZED_RANGES, calibrated_scale, count_batch_axes
from minidnn.ops.registry import Attrs, TensorType

__all__: list[str] = []


def _scalar(w: Writer, scale: Tensor) -> str:
    """A scale of one element, without axes."""
    if scale.array is not None:
        return w.constant(scale.array.reshape(()))
    if scale.shape != (1,):
        w.fail(f"a scale of shape {scale.shape} is not supported")
    return w.node("Squeeze", scale, w.ints([0]))


def _real(w: Writer, data: Tensor | str, scale: str, axis: int | None = None) -> str:
    return w.node("DequantizeLinear", data, scale, axis=axis)


@export_rule("quantize")
def _quantize(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    return _quantized(w, attrs, w.name_of(x[0]), x[0].ndim)


def _quantized(w: Writer, attrs: Attrs, name: str, ndim: int) -> list[Any]:
    scale = calibrated_scale(attrs)
    zero = w.constant(np.zeros((), attrs.out_type))
    if scale is not None:
        made = w.node("QuantizeLinear", name, w.constant(np.float32(scale)), zero)
        return [made, np.full(1, scale, np.float32)]
    if count_batch_axes(attrs.batch_axes, ndim):
        w.fail("ranges of each sample that are found at run time are not supported; calibrate the network")
    size = name if attrs.out_type == "uint8" else w.node("Abs", name)
    top = w.node("ReduceMax", size, None, keepdims=0)
    top = w.node("Max", top, w.number(0, np.float32))
    found = w.node("Div", top, w.number(QUANTIZED_RANGES[attrs.out_type][1], np.float32))
    one = w.number(1, np.float32)
    used = w.node("Where", w.node("Greater", found, w.number(np.finfo(np.float32).tiny, np.float32)), found, one)
    return [w.node("QuantizeLinear", name, used, zero), w.unsqueezed(used, [0])]


@export_rule("dequantize")
def _dequantize(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    return _dequantized(w, attrs, x)


def _dequantized(w: Writer, attrs: Attrs, x: Sequence[Tensor]) -> str:
    data, scale = x[:2]
    channels = x[2] if attrs.per_channel else None
    if data.product is not None:
        return data.product.write(scale, channels)
    real = _real(w, data, _scalar(w, scale))
    if channels is None:
        return real
    factors = w.name_of(channels)
    trailing = data.ndim - attrs.axis % data.ndim - 1
    if channels.shape != (1,) and trailing:
        factors = w.reshaped(factors, (channels.shape[0], *(1,) * trailing))
    return w.node("Mul", real, factors)


@export_rule("requantize")
def _requantize(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    return _quantized(w, attrs, _dequantized(w, attrs, x), x[0].ndim)


def _weighted(w: Writer, attrs: Attrs, x: Sequence[Tensor], write: Any) -> list[Any]:
    """A product with weights, as floats; it is written when its scales are known."""
    label, op = w.label, w.op

    def make(scale: Tensor, channels: Tensor | None) -> str:
        own = w.label, w.op
        w.label, w.op = label, op
        data = _scalar(w, scale)
        # Weights without scales of their own have one of 1.
        factors = np.ones(1, np.float32) if channels is None else channels.array
        if factors is None:
            w.fail("scales of weights must be constants")
        assert factors is not None
        each = w.constant(factors if factors.size > 1 else factors.reshape(()))
        weight = _real(w, x[1], each, 0 if factors.size > 1 else None)
        inputs = [_real(w, x[0], data), weight]
        if len(x) > 2:
            inputs.append(_real(w, x[2], w.node("Mul", data, each), 0 if factors.size > 1 else None))
        made: str = write(inputs)
        w.label, w.op = own
        return made

    return [Product(make)]


@export_rule("quantized_convolution")
def _convolution(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    return _weighted(w, attrs, x, lambda inputs: convolved(w, attrs, *inputs))


@export_rule("quantized_fully_connected")
def _fully_connected(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    ndim = x[0].ndim
    return _weighted(w, attrs, x, lambda i: dense(w, attrs, i[0], ndim, i[1], i[2] if len(i) > 2 else None))


@export_rule("quantized_batch_dot")
def _batch_dot(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    """The sums are whole numbers, and times the scale what they mean."""

    def make(scale: Tensor, channels: Tensor | None) -> str:
        if channels is not None:
            w.fail("a scale for each channel is not supported")
        names = []
        for y, transpose in zip(x, (attrs.transpose_a, attrs.transpose_b), strict=True):
            axes = [*range(y.ndim - 2), y.ndim - 1, y.ndim - 2]
            names.append(w.transposed(w.name_of(y), axes) if transpose else w.name_of(y))
        sums = w.node("Cast", w.node("MatMulInteger", *names), to=w.element(np.float32))
        return w.node("Mul", sums, scale)

    return [Product(make)]
