"""Operators of graphs that MXNet quantized: integers with the range of real numbers that they stand for.

int8 is symmetric: 127 stands for the larger of ``|min|`` and ``|max|``; of uint8 255 stands for ``max``; of int32,
2³¹ - 1. A range is two arrays of one number. Sums are exact in int32.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidnn.errors import OpError, TypeMismatchError
from minidnn.ops.composed import Operand, register_composed
from minidnn.ops.registry import Attr, Attrs, get_op

__all__: list[str] = []

_LIMITS = {np.dtype(np.int8): 127.0, np.dtype(np.uint8): 255.0, np.dtype(np.int32): 2.0**31 - 1}
_INT8, _UINT8, _INT32, _FLOAT = (np.dtype(t) for t in ("int8", "uint8", "int32", "float32"))
_RANGE = (Attr("min_calib_range", "float", None), Attr("max_calib_range", "float", None))
_TYPE = Attr("out_type", "str", "int8", choices=("int8", "uint8", "auto"))


def _number(x: Operand) -> Operand:
    if x.type.size != 1:
        raise OpError(f"a range must be one number, got {x.type}")
    return x.cast(_FLOAT).reshape(1)


def _largest(low: Operand, high: Operand) -> Operand:
    return _number(low).apply("abs").apply("maximum", _number(high).apply("abs"))


def _level(op: str, q: Operand, low: Operand, high: Operand) -> Operand:
    """The real number that one step stands for."""
    if q.type.dtype not in _LIMITS:
        raise TypeMismatchError(f"{op}: int8, uint8 or int32 is wanted, got {q.type}")
    return _largest(low, high) * (1 / _LIMITS[q.type.dtype])


def _as_integers(x: Operand, largest: Operand, dtype: np.dtype[Any]) -> list[Operand]:
    limit = _LIMITS[dtype]
    low = 0.0 if dtype == _UINT8 else -limit
    steps = largest.apply("rtrue_divide_scalar", scalar=limit, is_int=False)
    q = (x * steps).apply("round").apply("clip", a_min=low, a_max=limit).cast(dtype)
    return [q, largest * (0.0 if dtype == _UINT8 else -1.0), largest * 1.0]


def _calibrated(attrs: Attrs, x: Operand) -> Operand | None:
    """The largest magnitude, as it was found by calibration."""
    if attrs.min_calib_range is None or attrs.max_calib_range is None:
        return None
    value = max(abs(attrs.min_calib_range), abs(attrs.max_calib_range))
    return x.make("full", shape=(1,), value=value, dtype=_FLOAT)


def _found(x: Operand) -> Operand:
    return x.apply("abs").apply("max").reshape(1)


def _quantize_v2(attrs: Attrs, x: Operand) -> list[Operand]:
    if x.type.dtype in (_INT8, _UINT8):
        limit = _LIMITS[x.type.dtype]
        return [x.apply("identity"), *_constants(x, -limit if limit == 127 else 0.0, limit)]
    positive = attrs.out_type == "uint8" or (
        attrs.out_type == "auto" and attrs.min_calib_range is not None and attrs.min_calib_range >= 0
    )
    largest = _calibrated(attrs, x)
    return _as_integers(x, _found(x) if largest is None else largest, _UINT8 if positive else _INT8)


def _constants(x: Operand, *values: float) -> list[Operand]:
    return [x.make("full", shape=(1,), value=value, dtype=_FLOAT) for value in values]


def _quantize(attrs: Attrs, x: Operand, low: Operand, high: Operand) -> list[Operand]:
    if attrs.out_type == "int8":
        return _as_integers(x, _largest(low, high), _INT8)
    low, high = _number(low), _number(high)
    steps = ((x - low) * 255.0 / (high - low)).apply("round")
    return [steps.apply("clip", a_min=0.0, a_max=255.0).cast(_UINT8), low * 1.0, high * 1.0]


def _dequantize(attrs: Attrs, q: Operand, low: Operand, high: Operand) -> Operand:
    return q.cast(_FLOAT) * _level("mxnet_dequantize", q, low, high)


def _requantize(attrs: Attrs, q: Operand, low: Operand, high: Operand) -> list[Operand]:
    real = q.cast(_FLOAT) * _level("mxnet_requantize", q, low, high)
    largest = _calibrated(attrs, q)
    return _as_integers(real, _found(real) if largest is None else largest, _INT8)


def _moved(name: str) -> Any:
    """An operator that leaves the integers as they are, or orders them."""

    def compose(attrs: Attrs, q: Operand, low: Operand, high: Operand) -> list[Operand]:
        if name == "activation" and attrs.act_type != "relu":
            raise OpError(f"mxnet_quantized_act: act_type must be 'relu', got {attrs.act_type!r}")
        if name == "pooling" and attrs.pool_type != "max":
            made = q.cast(_FLOAT).apply(name, **attrs).apply("rint").cast(q.type.dtype)
        else:
            made = q.apply("relu") if name == "activation" else q.apply(name, **attrs)
        return [made, _number(low) * 1.0, _number(high) * 1.0]

    return compose


def _product(name: str) -> Any:
    def compose(attrs: Attrs, *inputs: Operand) -> list[Operand]:
        count = 2 if attrs.no_bias else 3
        data, weight, *bias = inputs[:count]
        ranges = inputs[count:]
        level = _level(name, data, *ranges[:2]) * _level(name, weight, *ranges[2:4])
        if bias and bias[0].type.dtype != _INT32:
            real = bias[0].cast(_FLOAT) * _level(name, bias[0], *ranges[4:6])
            bias = [(real / level).apply("round").cast(_INT32)]
        result = data.apply(name, weight, *bias, **attrs)
        largest = level * _LIMITS[_INT32]
        return [result, largest * -1.0, largest]

    return compose


def _product_inputs(attrs: Attrs) -> tuple[str, ...]:
    names = ("data", "weight") if attrs.no_bias else ("data", "weight", "bias")
    return names + tuple(f"{end}_{name}" for name in names for end in ("min", "max"))


def _sum(attrs: Attrs, a: Operand, b: Operand, *ranges: Operand) -> list[Operand]:
    op = "mxnet_quantized_add"
    real = a.cast(_FLOAT) * _level(op, a, *ranges[:2]) + b.cast(_FLOAT) * _level(op, b, *ranges[2:])
    largest = _calibrated(attrs, a)
    if largest is not None:
        return _as_integers(real, largest, _INT8)
    largest = _largest(*ranges[:2]) + _largest(*ranges[2:])
    q = (real.cast("float64") * _LIMITS[_INT32] / largest.cast("float64")).apply("round").cast(_INT32)
    return [q, largest * -1.0, largest]


def _joined(attrs: Attrs, *inputs: Operand) -> list[Operand]:
    """All at the largest range of any."""
    count = attrs.num_args
    data, ranges = inputs[:count], inputs[count:]
    pairs = [(ranges[2 * i], ranges[2 * i + 1]) for i in range(count)]
    largest = _largest(*pairs[0])
    for pair in pairs[1:]:
        largest = largest.apply("maximum", _largest(*pair))
    dtype = _UINT8 if all(x.type.dtype == _UINT8 for x in data) else _INT8
    made = [
        _as_integers(x.cast(_FLOAT) * _level("mxnet_quantized_concat", x, *pair), largest, dtype)[0]
        for x, pair in zip(data, pairs, strict=True)
    ]
    first = made[0].join(*made[1:], axis=attrs.dim) if count > 1 else made[0]
    return [first, *_as_integers(largest, largest, dtype)[1:]]


def _as_sums(attrs: Attrs, real: Operand, level: Operand) -> list[Operand]:
    """Real numbers as the int32 that products of integers are, with their range."""
    q = (real.cast("float64") / _number(level).cast("float64")).apply("round").cast(_INT32)
    largest = _number(level) * _LIMITS[_INT32]
    return [q, largest * -1.0, largest]


def _real_bias(attrs: Attrs, bias: Operand, low: Operand, high: Operand, level: Operand) -> Operand:
    """A bias of int32 counts steps of the products, a smaller one has a range of its own."""
    return bias.cast(_FLOAT) * (level if bias.type.dtype == _INT32 else _level("mxnet_real_bias", bias, low, high))


_TRIPLE = ("data", "min_data", "max_data")
register_composed("mxnet_level", lambda attrs, q, low, high: _level("mxnet_level", q, low, high), _TRIPLE)
register_composed("mxnet_as_sums", _as_sums, ("data", "level"), outputs=3)
register_composed("mxnet_real_bias", _real_bias, (*_TRIPLE, "level"))
register_composed(
    "mxnet_quantize", _quantize, ("data", "min_range", "max_range"),
    (Attr("out_type", "str", "uint8", choices=("int8", "uint8")),), outputs=3,
)  # fmt: skip
register_composed("mxnet_quantize_v2", _quantize_v2, ("data",), (_TYPE, *_RANGE), outputs=3)
register_composed("mxnet_dequantize", _dequantize, _TRIPLE, (Attr("out_type", "str", "float32", choices=("float32",)),))
register_composed(
    "mxnet_requantize",
    _requantize,
    _TRIPLE,
    (Attr("out_type", "str", "int8", choices=("int8", "auto")), *_RANGE),
    outputs=3,
)
for _name, _ours in (
    ("act", "activation"), ("pooling", "pooling"), ("flatten", "flatten"), ("transpose", "transpose"),
    ("reshape", "npx_reshape"),
):  # fmt: skip
    register_composed(
        f"mxnet_quantized_{_name}", _moved(_ours), _TRIPLE, get_op(_ours).attrs, outputs=3, check=get_op(_ours).check
    )
for _name, _ours in (("conv", "quantized_convolution"), ("fully_connected", "quantized_fully_connected")):
    register_composed(
        f"mxnet_quantized_{_name}",
        _product(_ours),
        _product_inputs,
        get_op(_ours).attrs,
        outputs=3,
        check=get_op(_ours).check,
        parameters=frozenset({"weight", "bias"}),
    )
register_composed(
    "mxnet_quantized_add",
    _sum,
    ("lhs", "rhs", "lhs_min", "lhs_max", "rhs_min", "rhs_max"),
    _RANGE,
    outputs=3,
)
register_composed(
    "mxnet_quantized_concat",
    _joined,
    lambda attrs: (
        *(f"arg{i}" for i in range(attrs.num_args)),
        *(f"{end}{i}" for i in range(attrs.num_args) for end in ("min", "max")),
    ),
    (Attr("num_args", "int", low=1), Attr("dim", "int", 1)),
    outputs=3,
)
