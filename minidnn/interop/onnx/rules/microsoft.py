"""Operators of the domain ``com.microsoft``, which ONNX Runtime's quantizer and optimizer write."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from minidnn.interop.onnx.call import Call, UnsupportedNodeError, rule
from minidnn.interop.onnx.elements import element_of
from minidnn.interop.onnx.rules.integers import (
    dequantize,
    dynamically_quantized,
    flat,
    integer_matmul,
    quantize,
    requantize,
)
from minidnn.interop.onnx.rules.linear import read_gemm
from minidnn.interop.onnx.rules.normalization import layer_norm, rms_norm
from minidnn.interop.onnx.rules.pooling import average_pool, max_pool, read_windows
from minidnn.interop.onnx.rules.windows import Geometry, convolve
from minidnn.interop.onnx.values import Value

__all__: list[str] = []

_MS = "com.microsoft"


def _real(call: Call, first: int) -> Value:
    """Three inputs, integers and their scale and zero point, as what they stand for."""
    return dequantize(call, call[first], call[first + 1], call.get(first + 2))


def _stored(call: Call, x: Value, first: int, like: Value) -> Value:
    zero = call.get(first + 1)
    return quantize(call, x, call[first], zero, like.element if zero is None else zero.element)


@rule("QLinearAdd", "QLinearMul", domain=_MS)
def _qlinear_binary(call: Call) -> Value:
    op = "add" if call.op == "QLinearAdd" else "multiply"
    return _stored(call, call.binary(op, _real(call, 0), _real(call, 3)), 6, call[0])


@rule("QLinearSigmoid", "QLinearLeakyRelu", domain=_MS)
def _qlinear_activation(call: Call) -> Value:
    x = _real(call, 0)
    if call.op == "QLinearSigmoid":
        return _stored(call, call.emit("sigmoid", x), 3, call[0])
    slope = call.real("alpha", 0.01)
    return _stored(call, call.emit("leaky_relu", x, act_type="leaky", slope=slope), 3, call[0])


@rule("QLinearSoftmax", domain=_MS)
def _qlinear_softmax(call: Call) -> Value:
    call.ignore("opset")
    x = _real(call, 0)
    return _stored(call, call.emit("softmax", x, axis=call.axis(call.integer("axis", -1), x.ndim)), 3, call[0])


@rule("QLinearGlobalAveragePool", "QLinearAveragePool", domain=_MS)
def _qlinear_pool(call: Call) -> Value:
    last = call.flag("channels_last")
    x = _real(call, 0)
    ndim = x.ndim
    x = call.transpose(x, (0, ndim - 1, *range(1, ndim - 1))) if last else x
    if call.op == "QLinearAveragePool":
        y = average_pool(call, x, call.flag("count_include_pad"))
    else:
        y = call.emit("pooling", x, pool_type="avg", global_pool=True)
    y = call.transpose(y, (0, *range(2, ndim), 1)) if last else y
    return _stored(call, y, 3, call[0])


@rule("NhwcMaxPool", domain=_MS)
def _nhwc_max_pool(call: Call) -> Value:
    """Of bytes, channels last."""
    from_last, to_last = (0, 3, 1, 2), (0, 2, 3, 1)
    if call[0].ndim != 4:
        call.refuse(f"two spatial dimensions are supported, got an input of {call[0].ndim} dimensions")
    x = call.transpose(call[0], from_last)
    return call.transpose(max_pool(call, x, read_windows(call, x)), to_last)


@rule("QLinearConcat", domain=_MS)
def _qlinear_concat(call: Call) -> Value:
    parts = [_real(call, i) for i in range(2, len(call.inputs), 3)]
    axis = call.axis(call.integer("axis"), parts[0].ndim)
    return quantize(call, call.concatenate(parts, axis), call[0], call[1], call[1].element)


@rule("QLinearWhere", domain=_MS)
def _qlinear_where(call: Call) -> Value:
    chosen = call.emit("where", call[0], _real(call, 1), _real(call, 4))
    return _stored(call, chosen, 7, call[1])


@rule("QLinearReduceMean", domain=_MS)
def _qlinear_mean(call: Call) -> Value:
    x = _real(call, 0)
    mean = call.emit("mean", x, axis=call.axes(call.integers("axes"), x.ndim), keepdims=call.flag("keepdims", True))
    return _stored(call, mean, 3, call[0])


@rule("QGemm", domain=_MS)
def _qgemm(call: Call) -> Value:
    """Exact sums of A @ B + C; with an output scale they are quantized again."""
    a, a_scale, a_zero, b, b_scale, b_zero = (call[i] for i in range(6))
    alpha = call.real("alpha", 1.0)
    if call.flag("transA"):
        a = call.transpose(a, (1, 0))
    if call.flag("transB"):
        b = call.transpose(b, (1, 0))
    bias = None if call.get(6) is None else call[6]
    sums = integer_matmul(call, a, b, a_zero, b_zero, bias)
    factor = call.binary("multiply", flat(call, b_scale), flat(call, a_scale))
    factor = call.binary("multiply", factor, alpha) if alpha != 1.0 else factor
    if call.get(7) is None:
        return sums.real(call, factor, 1)
    factor = call.binary("true_divide", factor, flat(call, call[7]))
    zero = call.get(8)
    return requantize(call, sums, factor, 1, zero, element_of("uint8") if zero is None else zero.element)


@rule("MatMulIntegerToFloat", domain=_MS)
def _matmul_to_float(call: Call) -> Value:
    sums = integer_matmul(call, call[0], call[1], call.get(4), call.get(5))
    product = sums.real(call, call.binary("multiply", flat(call, call[3]), flat(call, call[2])), -1)
    return product if call.get(6) is None else call.binary("add", product, call[6])


@rule("DynamicQuantizeMatMul", domain=_MS)
def _dynamic_matmul(call: Call) -> Value:
    q, scale, zero = dynamically_quantized(call, call[0])
    sums = integer_matmul(call, q, call[1], zero, call.get(3))
    product = sums.real(call, call.binary("multiply", flat(call, call[2]), flat(call, scale)), -1)
    return product if call.get(4) is None else call.binary("add", product, call[4])


# ---- fused floats ---------------------------------------------------------------------------------------


@rule("FusedMatMul", "TransposeMatMul", domain=_MS)
def _fused_matmul(call: Call) -> Value:
    a, b, alpha = call[0], call[1], call.real("alpha", 1.0)
    if call.flag("transBatchA") or call.flag("transBatchB"):
        call.refuse("attributes 'transBatchA' and 'transBatchB' are not supported")
    if call.flag("transA"):
        a = _last_two(call, a)
    if call.flag("transB"):
        b = _last_two(call, b)
    product = call.emit("matmul", a, b)
    return product if alpha == 1.0 else call.binary("multiply", product, alpha)


def _last_two(call: Call, x: Value) -> Value:
    return x if x.ndim < 2 else call.emit("swapaxes", x, dim1=x.ndim - 2, dim2=x.ndim - 1)


def _activated(call: Call, x: Value) -> Value:
    """What the attributes of a fused node say comes behind it."""
    kind = call.text("activation", "")
    numbers: Sequence[float] = call.reals("activation_params", None) or ()
    if not kind:
        return x
    plain = {"Relu": "relu", "Sigmoid": "sigmoid", "Tanh": "tanh"}
    if kind in plain:
        return call.emit(plain[kind], x)
    if kind == "LeakyRelu":
        return call.emit("leaky_relu", x, act_type="leaky", slope=numbers[0] if numbers else 0.01)
    if kind == "Clip" and len(numbers) == 2:
        return call.emit("clip", x, a_min=numbers[0], a_max=numbers[1])
    if kind == "HardSigmoid" and len(numbers) == 2:
        return call.emit("hard_sigmoid", x, alpha=numbers[0], beta=numbers[1])
    raise UnsupportedNodeError(f"{call.node}: attribute 'activation': {kind[:40]!a} is not supported")


@rule("FusedConv", domain=_MS)
def _fused_conv(call: Call) -> Value:
    x, weight = call[0], call[1]
    result = convolve(call, x, weight, call.get(2), Geometry(call, x, weight))
    if call.get(3) is not None:
        result = call.emit("add", result, call[3])
    return _activated(call, result)


@rule("FusedGemm", domain=_MS)
def _fused_gemm(call: Call) -> Value:
    product = read_gemm(call)
    kind = call.text("activation", "")
    if kind == "LeakyRelu":
        return call.emit("leaky_relu", product, act_type="leaky", slope=call.real("activation_alpha", 0.01))
    call.ignore("activation_alpha", "activation_beta", "activation_gamma")
    plain = {"": "identity", "Relu": "relu", "Sigmoid": "sigmoid", "Tanh": "tanh"}
    if kind not in plain:
        call.refuse(f"attribute 'activation' has the value {kind[:40]!a}, which is not supported")
    return call.emit(plain[kind], product) if kind else product


@rule("Gelu", domain=_MS)
def _gelu(call: Call) -> Value:
    return call.emit("gelu", call[0])


@rule("BiasGelu", domain=_MS)
def _bias_gelu(call: Call) -> Value:
    return call.emit("gelu", call.emit("add", call[0], call[1]))


@rule("FastGelu", domain=_MS)
def _fast_gelu(call: Call) -> Value:
    x = call[0] if call.get(1) is None else call.emit("add", call[0], call[1])
    return call.emit("gelu", x, approximation="tanh")


@rule("QuickGelu", domain=_MS)
def _quick_gelu(call: Call) -> Value:
    alpha = call.real("alpha", 1.702)
    return call.emit("multiply", call[0], call.emit("sigmoid", call.binary("multiply", call[0], alpha)))


@rule("SkipLayerNormalization", "SkipSimplifiedLayerNormalization", domain=_MS)
def _skip_layer_norm(call: Call) -> list[Value]:
    eps = call.real("epsilon", 1e-12)
    is_simple = call.op == "SkipSimplifiedLayerNormalization"
    x, scale = call[0], call[2]
    shift, bias = (None, call.get(3)) if is_simple else (call.get(3), call.get(4))
    total = call.emit("add", x, call[1])
    total = total if bias is None else call.emit("add", total, bias)
    if any(map(call.wants, (1, 2))):
        call.refuse("its outputs 1 and 2 are not supported")
    axis = total.ndim - 1
    y = rms_norm(call, total, scale, axis, eps) if is_simple else layer_norm(call, total, scale, shift, axis, eps)[0]
    return [y, y, y, total]


@rule("SimplifiedLayerNormalization")
def _simplified_layer_norm(call: Call) -> Value:
    call.ignore("stash_type")
    eps, axis = call.real("epsilon", 1e-5), call.integer("axis", -1)
    return rms_norm(call, call[0], call[1], call.axis(axis, call[0].ndim), eps)


@rule("EmbedLayerNormalization", domain=_MS)
def _embed_layer_norm(call: Call) -> list[Value]:
    call.ignore("mask_index_type")
    tables = [None if call.get(i) is None else partial(_rows_of, call, call[i]) for i in (2, 3, 4)]
    return _embedded(call, tables, call.get(7))


@rule("QEmbedLayerNormalization", domain=_MS)
def _quantized_embed_layer_norm(call: Call) -> list[Value]:
    """The same with tables of bytes, each with a scale and a zero point."""

    def rows(position: int) -> _Rows:
        return lambda ids: dequantize(
            call, _rows_of(call, call[2 + position], ids), call[8 + position], call.get(13 + position)
        )

    made = _embedded(call, [rows(i) if call.get(2 + i) is not None else None for i in range(3)], call.get(7), 5)
    return made[:2]


_Rows = Callable[[Value | None], Value]


def _rows_of(call: Call, table: Value, ids: Value | None) -> Value:
    """Rows of a table; None: its first ones, as many as there are words."""
    if ids is None:
        return call.emit("slice_axis", table, axis=0, begin=0, end=call[0].dim(1))
    return call.emit("index", table, ids, axes=(0,))


def _embedded(call: Call, tables: Sequence[_Rows | None], mask: Value | None, first: int | None = None) -> list[Value]:
    """The normed sum of words, places and segments, how many words count, and the sum.

    Args:
        call: the node.
        tables: of words, places and segments.
        mask: which words count.
        first: gamma and beta are bytes: the first of their scales is input 8 + 3, of their zero points 13 + 3.
    """
    eps = call.real("epsilon", 1e-12)
    words, places, segments = tables
    assert words is not None and places is not None
    scale, shift = (
        call[5 + i] if first is None else dequantize(call, call[5 + i], call[11 + i], call.get(16 + i)) for i in (0, 1)
    )
    total = call.emit("add", words(call[0]), places(call.get(8) if first is None else None))
    if call.get(1) is not None and segments is not None:
        total = call.emit("add", total, segments(call[1]))
    y = layer_norm(call, total, scale, shift, total.ndim - 1, eps)[0]
    if mask is None:
        counts = call.filled((call[0].dim(0),), 0, np.int32)
    else:
        counts = call.cast(call.emit("sum", call.cast(mask, np.int32), axis=(1,)), np.int32)
    return [y, counts, total]


@rule("GatherBlockQuantized", domain=_MS)
def _gather_block_quantized(call: Call) -> Value:
    """Rows of a table of few bits, each block of a row with a scale."""
    data, scales, zero = call[0], call[2], call.get(3)
    block, bits = call.integer("block_size", 128), call.integer("bits", 4)
    axis = call.axis(call.integer("quantize_axis", 1), data.ndim)
    gathered = call.axis(call.integer("gather_axis", 0), data.ndim)
    if gathered != 0 or data.ndim != 2 or axis != 1:
        call.refuse("rows of a matrix with blocks along its rows are supported")
    rows = [call.emit("index", part, call[1], axes=(0,)) for part in (data, scales)]
    zeros = None if zero is None else call.emit("index", zero, call[1], axes=(0,))
    if data.element.name == "uint8":
        if bits not in (4, 8):
            call.refuse(f"4 or 8 bits are supported, got {bits}")
        columns = int(data.dim(1)) * (8 // bits)
        numbers = _few_bits(call, rows[0], bits, columns)
        blocks = scales.dim(1)
        moved: Any = (
            float(1 << (bits - 1))
            if zeros is None
            else _spread_blocks(call, _few_bits(call, zeros, bits, int(blocks)), block, columns)
        )
    else:
        numbers = call.cast(rows[0], np.float32)
        columns = int(data.dim(1))
        moved = 0.0 if zeros is None else _spread_blocks(call, call.cast(zeros, np.float32), block, columns)
    return call.emit("multiply", call.binary("subtract", numbers, moved), _spread_blocks(call, rows[1], block, columns))


def _spread_blocks(call: Call, x: Value, block: int, columns: int) -> Value:
    """Each number of the last axis so many times, `columns` in all."""
    repeated = call.emit("repeat", x, repeats=block, axis=x.ndim - 1)
    return call.emit("slice_axis", repeated, axis=x.ndim - 1, begin=0, end=columns)


@rule("QuantizeLinear", domain=_MS)
def _quantize_ms(call: Call) -> Value:
    axis, zero = call.integer("axis", 1), call.get(2)
    return quantize(call, call[0], call[1], zero, element_of("uint8") if zero is None else zero.element, axis)


@rule("DequantizeLinear", domain=_MS)
def _dequantize_ms(call: Call) -> Value:
    return dequantize(call, call[0], call[1], call.get(2), call.integer("axis", 1))


@rule("Inverse", domain=_MS)
def _inverse(call: Call) -> Value:
    return call.emit("linalg_inv", call[0])


@rule("MatMulNBits", domain=_MS)
def _matmul_few_bits(call: Call) -> Value:
    """A product with a matrix of 4-bit or 8-bit integers, each block of them with a scale."""
    columns, rows, bits, block = (
        call.integer("N"),
        call.integer("K"),
        call.integer("bits", 4),
        call.integer("block_size"),
    )
    call.ignore("accuracy_level")
    if bits not in (4, 8) or call.get(4) is not None:
        call.refuse(f"4 or 8 bits without g_idx are supported, got {bits}")
    count = -(-rows // block)
    packed = _few_bits(call, call.reshape(call[1], (columns, count, -1)), bits, block)
    scale = call.reshape(call[2], (columns, count, 1))
    if call.get(3) is None:
        zero: Any = float(1 << (bits - 1))
    else:
        stored = call.reshape(call[3], (columns, 1, -1))
        zero = call.reshape(_few_bits(call, stored, bits, count), (columns, count, 1))
    weights = call.emit("multiply", call.binary("subtract", packed, zero), scale)
    flat = call.emit("slice_axis", call.reshape(weights, (columns, count * block)), axis=1, begin=0, end=rows)
    inputs = (call[0], flat) if call.get(5) is None else (call[0], flat, call[5])
    return call.emit("fully_connected", *inputs, num_hidden=columns, no_bias=len(inputs) == 2, flatten=False)


def _few_bits(call: Call, packed: Value, bits: int, count: int) -> Value:
    """Bytes as floats; where a byte holds two integers, the lower bits come first."""
    last = packed.ndim - 1
    if bits == 4:
        low = call.emit("bitwise_and_scalar", packed, scalar=15)
        high = call.emit("bitwise_right_shift_scalar", packed, scalar=4)
        pairs = call.emit("stack", low, high, num_args=2, axis=last + 1)
        shape = packed._type.shape
        packed = call.reshape(pairs, (*shape[:-1], shape[-1] * 2))
    return call.emit("slice_axis", call.cast(packed, np.float32), axis=last, begin=0, end=count)
