"""Quantized tensors and products of integers: exact sums, and the floats that they stand for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidnn.interop.onnx.call import Call, Rule
from minidnn.interop.onnx.elements import Element, element_of
from minidnn.interop.onnx.rules.slicing import pad
from minidnn.interop.onnx.rules.windows import Geometry, convolve
from minidnn.interop.onnx.values import Quantized, Rounded, Value, known
from minidnn.sizes import example_of

__all__ = [
    "Sums",
    "convolve_quantized",
    "dequantize",
    "dynamically_quantized",
    "flat",
    "integer_conv",
    "integer_matmul",
    "move_quantized",
    "multiply_quantized",
    "quantize",
    "requantize",
    "spread",
    "to_integers",
    "transposed",
]

_FLOAT32, _INT32 = element_of("float32"), element_of("int32")
_BYTES = (np.dtype(np.int8), np.dtype(np.uint8))

# Sums of more products of bytes could leave int32.
_MAX_DEPTH = 1 << 15


# ---- quantize and dequantize -----------------------------------------------------------------------------


def spread(call: Call, x: Value, parameter: Value, axis: int, block: int = 0) -> Value:
    """A scale or zero point as an array that broadcasts against the data.

    One number is for all elements, a vector has one for each index of `axis`; with a block, each stands for so many
    elements along it.
    """
    if block:
        repeated = call.emit("repeat", parameter, repeats=block, axis=axis)
        return call.emit("slice_axis", repeated, axis=axis, begin=0, end=x.dim(axis))
    if parameter._type.size == 1:
        return call.reshape(parameter, ()) if parameter.ndim else parameter
    if parameter.ndim != 1:
        return parameter
    shape: list[Any] = [1] * x.ndim
    shape[call.axis(axis, x.ndim)] = parameter._type.shape[0]
    return call.reshape(parameter, shape)


def flat(call: Call, parameter: Value) -> Value:
    """A scale or zero point as a vector."""
    return call.reshape(parameter, (parameter._type.size,))


def _is_zero(value: Value | None) -> bool:
    return value is None or (value.array is not None and not value.is_sized and not value.array.any())


def _linear_parameters(
    call: Call, scale: Value, zero: Value | None, axis: int, ndim: int
) -> tuple[Value, Value, int] | None:
    """Scale and zero point as float32 numbers or vectors, and their axis; None if they are something else."""
    zero = known(np.float32(0)) if zero is None else _floats(zero)
    pair = [call.reshape(p, (1,)) if p._type.size == 1 else p for p in (scale, zero)]
    if any(p.ndim != 1 for p in pair):
        return None
    is_vector = any(p._type.size != 1 for p in pair)
    scale, zero = (call.cast(p, np.float32).as_element(_FLOAT32) for p in pair)
    return scale, zero, call.axis(axis, ndim) if is_vector else 0


def dequantize(call: Call, x: Value, scale: Value, zero: Value | None, axis: int = 1, block: int = 0) -> Value:
    """(x - zero) * scale, in the scale's type."""
    linear = None if block else _linear_parameters(call, scale, zero, axis, x.ndim)
    if linear is None or x.dtype not in (*_BYTES, np.int32):
        wide = call.cast(x, np.float32).as_element(_FLOAT32)
        if not _is_zero(zero):
            assert zero is not None
            moved = call.cast(spread(call, x, zero, axis, block), np.float32).as_element(_FLOAT32)
            wide = call.binary("subtract", wide, moved)
        return call.binary("multiply", wide, spread(call, x, scale, axis, block)).as_element(scale.element)
    made = call.emit("dequantize_linear", x, *linear[:2], axis=linear[2]).as_element(scale.element)
    if scale.element == _FLOAT32:
        made.origin = Quantized(x, scale, zero, linear[2])
    return made


def quantize(
    call: Call,
    x: Value,
    scale: Value,
    zero: Value | None,
    to: Element,
    axis: int = 1,
    block: int = 0,
    saturate: bool = True,
    precision: Element | None = None,
) -> Value:
    """x / scale, rounded half to even, plus the zero point, within the range of the type."""
    if precision is not None and precision.name == "float64":
        call.refuse("attribute 'precision' of float64 is not supported")
    x = call.cast(x, np.float32)
    if x.quantized is not None and _is_same(x.quantized, scale, zero, to):
        return x.quantized.integers
    linear = None if block or to.is_float else _linear_parameters(call, scale, zero, axis, x.ndim)
    if linear is not None and to.carrier in _BYTES:
        named = {"out_type": to.carrier.name, "bits": to.bits, "axis": linear[2]}
        made = call.emit("quantize_linear", x, *linear[:2], **named).as_element(to)
        made.origin = Rounded(x, scale, zero)
        return made
    ratio = call.binary("true_divide", x, call.cast(spread(call, x, scale, axis, block), np.float32))
    if to.is_float:
        if not _is_zero(zero):
            assert zero is not None
            ratio = call.binary("add", ratio, spread(call, x, zero, axis, block))
        return call.emit("round_float", ratio, kind=to.name, saturate=saturate).as_element(to)
    return to_integers(call, ratio, None if zero is None else spread(call, x, zero, axis, block), to)


def dynamically_quantized(call: Call, x: Value) -> list[Value]:
    """uint8, scale and zero point by the range of the data, which has a zero in it."""
    q, scale, number = call.emit_all("dynamic_quantize_linear", call.cast(x, np.float32))
    zero = call.cast(number, np.uint8)
    q.origin, zero.origin = Rounded(x, scale, zero), Rounded(number, call.like(1, scale), None)
    return [q, scale, zero]


def _is_same(source: Quantized, scale: Value, zero: Value | None, to: Element) -> bool:
    """Whether quantizing with these gives back the integers, which it does with a scale above zero."""
    pairs = ((source.scale, scale), (source.zero or _nothing(to), zero or _nothing(to)))
    for ours, theirs in pairs:
        a, b = ours.array, theirs.array
        if ours is not theirs and (a is None or b is None or a.size != 1 or b.size != 1 or a.item() != b.item()):
            return False
    return source.integers.element == to and _is_positive(source.scale)


def _floats(x: Value) -> Value:
    """The floats of which integers were rounded, where these are whole numbers themselves."""
    origin = x.origin
    one = isinstance(origin, Rounded) and origin.zero is None and origin.scale.array is not None
    return origin.floats if one and origin.scale.array.tolist() == 1 else x


def _is_positive(scale: Value) -> bool:
    return scale.array is not None and bool((scale.array > 0).all())


def _nothing(element: Element) -> Value:
    return known(np.zeros((), element.carrier), element)


def to_integers(call: Call, real: Value, zero: Value | None, to: Element) -> Value:
    """Floats rounded, moved by a zero point that broadcasts, and saturated."""
    q = call.emit("rint", real)
    if not _is_zero(zero):
        assert zero is not None
        q = call.binary("add", q, call.cast(zero, np.float32).as_element(q.element))
    low, high = to.limits
    return call.cast(call.emit("clip", q, a_min=low, a_max=high), to.carrier).as_element(to)


# ---- sums ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sums:
    """Sums of products of integers without their zero points.

    Args:
        product: int32, or float32 where these are exact; what zero points that are known add is in it.
        terms: int32 values that broadcast against it, and are to be added.
    """

    product: Value
    terms: tuple[tuple[Value, Value], ...] = ()

    def exact(self, call: Call) -> Value:
        """The sums as int32; whoever wants floats finds these `Sums` in it."""
        total = call.cast(self.product, np.int32).as_element(_INT32)
        for first, second in self.terms:
            integers = [call.cast(v, np.int32).as_element(_INT32) for v in (first, second)]
            total = call.emit("add", total, call.emit("multiply", *integers))
        total.origin = self
        return total

    def real(self, call: Call, factor: Value | None = None, axis: int = 1) -> Value:
        """The sums as float32, times a factor: one number, one for each index of an axis, or what broadcasts."""
        one, product = known(np.ones(1, np.float32)), self.product
        is_integer, is_plain = product.dtype == np.int32, factor is None or (factor._type.size == 1 or factor.ndim == 1)
        if is_integer and not self.terms and is_plain and factor is not None:
            if factor._type.size == 1:
                return call.emit("dequantize", product, call.reshape(factor, (1,)))
            return call.emit("dequantize", product, one, factor, axis=axis, per_channel=True)
        total = call.emit("dequantize", product, one) if is_integer else product
        for first, second in self.terms:
            total = call.emit("add", total, call.emit("multiply", _as_float(call, first), _as_float(call, second)))
        return total if factor is None else call.binary("multiply", total, spread(call, total, factor, axis))


def _as_float(call: Call, x: Value) -> Value:
    x = _floats(x)
    if x.array is not None or x.dtype not in (*_BYTES, np.int32):
        return call.cast(x, np.float32).as_element(_FLOAT32)
    return dequantize(call, x, known(np.float32(1)), None)


def requantize(
    call: Call, sums: Sums, factor: Value, axis: int, zero: Value | None, to: Element, scale: Value | None = None
) -> Value:
    """Sums times a factor, see `Sums.real`, as integers of few bits."""
    return quantize(call, sums.real(call, factor, axis), known(np.float32(1)) if scale is None else scale, zero, to)


def _centered(call: Call, x: Value, zero: Value | None, axis: int, depth: int) -> Value:
    """x - zero in a float in which sums of so many products of bytes are exact."""
    # float32 has all integers up to 2^24, and numbers without their zero point are at most 255.
    if depth * 255 * 255 <= 1 << 24 and x.dtype in _BYTES:
        return dequantize(call, x, known(np.float32(1)), zero, axis)
    wide = call.cast(x, np.float64)
    if _is_zero(zero):
        return wide
    assert zero is not None
    return call.emit("subtract", wide, call.cast(spread(call, x, zero, axis), np.float64))


@dataclass(frozen=True)
class _Filters:
    """Weights that are known, as int8: what is taken off each for that, and what they truly sum up to.

    Args:
        integers: int8, filters first.
        surplus: for each filter, by how much its weights are larger without their zero point; int64.
        totals: of each filter's weights without their zero point, int64.
    """

    integers: np.ndarray[Any, Any]
    surplus: np.ndarray[Any, Any]
    totals: np.ndarray[Any, Any]


def _filters(weight: Value, zero: Value | None, filters: int) -> _Filters | None:
    """Weights ``(filters, ...)`` with a zero point for all or for each; None if something is not known."""
    array, zeros = weight.array, np.zeros(1, np.int64)
    if zero is not None:
        if zero.array is None or zero.is_sized or zero._type.size not in (1, filters):
            return None
        zeros = zero.array.reshape(-1).astype(np.int64)
    if array is None or weight.dtype not in _BYTES or not array.size or math.prod(array.shape[1:]) > _MAX_DEPTH:
        return None
    wide = array.astype(np.int16)
    shape = (-1, *(1,) * (array.ndim - 1))
    moved = wide - zeros.astype(np.int16).reshape(shape)
    if moved.min() >= -128 and moved.max() <= 127:
        integers, surplus = moved, np.zeros(filters, np.int64)
    else:
        shift = 128 if weight.dtype == np.uint8 else 0
        integers, surplus = wide - shift, np.broadcast_to(shift - zeros, (filters,))
    totals = moved.reshape(filters, -1).sum(1, dtype=np.int64)
    return _Filters(integers.astype(np.int8), surplus, totals)


def _number(zero: Value | None) -> int | None:
    """A zero point that is known and one number."""
    if zero is None:
        return 0
    array = zero.array
    if array is None or zero.is_sized or not array.size or (array != array.reshape(-1)[0]).any():
        return None
    return int(array.reshape(-1)[0])


def _start(filters: _Filters, zero: int | None, bias: Value | None) -> Value | None:
    """What sums begin with: a bias, and what the data's zero point adds; None if that is nothing."""
    moved = -(zero or 0) * filters.totals
    if bias is not None:
        assert bias.array is not None
        moved = moved + bias.array.reshape(-1)
    return known(moved.astype(np.int32)) if bias is not None or moved.any() else None


def _scalar(call: Call, zero: Value) -> Value:
    return call.reshape(zero, ()) if zero.ndim else zero


def _column(numbers: np.ndarray[Any, Any], trailing: int) -> Value:
    return known(numbers.astype(np.int32).reshape(-1, *(1,) * trailing))


def integer_conv(
    call: Call,
    x: Value,
    weight: Value,
    zero_x: Value | None,
    zero_w: Value | None,
    bias: Value | None,
    geometry: Geometry,
) -> Sums:
    """Sums of a convolution of bytes; the pads are zeros of the data, which have its zero point."""
    count, moved, rank = int(weight.dim(0)), _number(zero_x), x.ndim - 2
    filters = _filters(weight, zero_w, count) if bias is None or bias.array is not None else None
    is_padded = any(n != 0 for pair in geometry.pads for n in pair)
    if filters is not None and moved is None and is_padded and isinstance(x.origin, Rounded):
        # Floats are padded with zeros, whose integers are the zero point.
        source = x.origin
        padded = pad(call, source.floats, [(0, 0), (0, 0), *geometry.pads])
        x, is_padded = quantize(call, padded, source.scale, source.zero, x.element), False
        geometry = geometry.without_pads()
    if filters is None or (moved is None and (is_padded or zero_x is None or zero_x._type.size != 1)):
        depth = math.prod(weight._type.shape[1:])
        sums = convolve(
            call, _centered(call, x, zero_x, 1, depth), _centered(call, weight, zero_w, 0, depth), None, geometry
        )
        if bias is None:
            return Sums(sums)
        return Sums(sums, ((known(np.int32(1)), call.reshape(bias, (count, *(1,) * rank))),))

    def product(numbers: np.ndarray[Any, Any], start: Value | None) -> Value:
        return convolve(call, x, known(numbers), start, geometry, moved or 0, "quantized_convolution")

    terms = []
    if moved is None:
        assert zero_x is not None
        terms.append((_scalar(call, zero_x), _column(-filters.totals, rank)))
    if filters.surplus.any():
        alike = geometry.group == 1 and len(set(filters.surplus.tolist())) == 1
        ones = np.ones_like(filters.integers[: 1 if alike else count])
        surplus = known(np.int32(filters.surplus[0])) if alike else _column(filters.surplus, rank)
        terms.append((product(ones, None), surplus))
    return Sums(product(filters.integers, _start(filters, moved, bias)), tuple(terms))


def integer_matmul(
    call: Call, a: Value, b: Value, zero_a: Value | None, zero_b: Value | None, bias: Value | None = None
) -> Sums:
    """Sums of a matrix product of bytes; zero points are for all elements, or for each row of a and column of b."""
    moved, columns = _number(zero_a), b._type.shape[-1]
    filters = None
    if a.ndim >= 2 and b.ndim == 2 and b.array is not None and (bias is None or bias.array is not None):
        filters = _filters(known(np.ascontiguousarray(b.array.T)), zero_b, columns)
    if filters is None or (moved is None and (zero_a is None or zero_a._type.size != 1)):
        depth = example_of(a._type.shape[-1])
        left = _centered(call, a, zero_a, max(a.ndim - 2, 0), depth)
        right = _centered(call, b, zero_b, b.ndim - 1, depth)
        return Sums(call.emit("matmul", left, right), () if bias is None else ((known(np.int32(1)), bias),))

    def product(numbers: np.ndarray[Any, Any], start: Value | None) -> Value:
        inputs = (a, known(numbers)) if start is None else (a, known(numbers), start)
        attrs = {"num_hidden": len(numbers), "no_bias": start is None, "flatten": False}
        return call.emit("quantized_fully_connected", *inputs, **attrs)

    terms = []
    if moved is None:
        assert zero_a is not None
        terms.append((_scalar(call, zero_a), _column(-filters.totals, 0)))
    if filters.surplus.any():
        terms.append((product(np.ones_like(filters.integers[:1]), None), _column(filters.surplus, 0)))
    return Sums(product(filters.integers, _start(filters, moved, bias)), tuple(terms))


# ---- products between dequantize nodes -------------------------------------------------------------------


def convolve_quantized(call: Call, x: Value, weight: Value, bias: Value | None, geometry: Geometry) -> Value | None:
    """A convolution of floats that stand for bytes, by these; None if that is not what they are."""
    data, filters = x.quantized, weight.quantized
    if data is None or filters is None or filters.integers.array is None or not _is_along(filters, 0, weight):
        return None
    if data.scale._type.size != 1 or not _is_single(data.zero):
        return None
    factor = _factor(call, data, filters)
    start, rest = _bias(bias, factor)
    sums = integer_conv(call, data.integers, filters.integers, data.zero, filters.zero, start, geometry)
    made = sums.real(call, factor, 1)
    return made if rest is None else call.emit("add", made, call.reshape(rest, (-1, *(1,) * (x.ndim - 2))))


def multiply_quantized(call: Call, a: Value, b: Value, bias: Value | None = None) -> Value | None:
    """The same for a matrix product with a matrix that is known, and a vector that is added to its rows."""
    data, matrix = a.quantized, b.quantized
    if data is None or matrix is None or matrix.integers.array is None or a.ndim < 2 or b.ndim != 2:
        return None
    if data.scale._type.size != 1 or not _is_single(data.zero) or not _is_along(matrix, 1, b):
        return None
    factor = _factor(call, data, matrix)
    start, rest = _bias(bias, factor)
    sums = integer_matmul(call, data.integers, matrix.integers, data.zero, matrix.zero, start)
    made = sums.real(call, factor, a.ndim - 1)
    return made if rest is None else call.emit("add", made, rest)


def _is_single(zero: Value | None) -> bool:
    return zero is None or zero._type.size == 1


def _is_along(source: Quantized, axis: int, value: Value) -> bool:
    """Whether scale and zero point are single numbers, or vectors along that axis."""
    return source.axis == axis or (source.scale._type.size == 1 and _is_single(source.zero))


def _factor(call: Call, data: Quantized, weights: Quantized) -> Value:
    return call.emit("multiply", flat(call, data.scale), flat(call, weights.scale))


def _bias(bias: Value | None, factor: Value) -> tuple[Value | None, Value | None]:
    """A bias as integers that sums begin with, if it is made of such of the sums' own scale; else as it is."""
    source = None if bias is None else bias.origin
    if not isinstance(source, Quantized) or source.integers.dtype != np.int32 or not _is_zero(source.zero):
        return None, bias
    scale, wanted = source.scale.array, factor.array
    if source.integers.array is None or scale is None or wanted is None or not np.allclose(scale, wanted, 1e-5, 0):
        return None, bias
    return source.integers, None


# ---- what only moves elements ----------------------------------------------------------------------------

_MOVES = frozenset(
    [
        "Concat",
        "DepthToSpace",
        "Expand",
        "Flatten",
        "Gather",
        "Identity",
        "MaxPool",
        "Reshape",
        "Slice",
        "SpaceToDepth",
        "Split",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    ]
)


def move_quantized(call: Call, rule: Rule) -> list[Value] | None:
    """An operator that gives elements in other places, for floats that stand for bytes: it moves these.

    None if it does something else, or gets something else.
    """
    if call.node.domain or not call.inputs or not (call.op in _MOVES or _is_nearest(call)):
        return None
    count = len(call.inputs) if call.op == "Concat" else 1
    sources = _alike([call.inputs[i] for i in range(count)])
    if sources is None or (call.op == "MaxPool" and call.wants(1)):
        return None
    first, known_ones = sources[0], [q.integers.array is not None for q in sources]
    if all(known_ones) or (call.op == "MaxPool" and not _is_positive(first.scale)):
        return None
    call.inputs[:count] = [q.integers for q in sources]
    result = rule(call)
    return [dequantize(call, v, first.scale, first.zero) for v in ([result] if isinstance(result, Value) else result)]


def _is_nearest(call: Call) -> bool:
    mode = call.node.attributes.get("mode")
    return call.op == "Resize" and (mode is None or mode.value == "nearest")


def _alike(values: Sequence[Value | None]) -> list[Quantized] | None:
    """The bytes that all of these stand for, if they have one scale and one zero point; None if not."""
    sources = [q for v in values if v is not None and (q := v.quantized) is not None]
    if len(sources) < len(values):
        return None
    first = sources[0]
    if first.scale._type.size != 1 or not _is_single(first.zero):
        return None
    rest = sources[1:]
    alike = all(_is_same(q, first.scale, first.zero, first.integers.element) for q in rest)
    return sources if alike else None


def transposed(call: Call, value: Value, axes: Sequence[int]) -> Value:
    """A matrix or the like with its axes in another order, and the bytes that it stands for so too."""
    made, source = call.transpose(value, axes), value.quantized
    if source is None or made is value:
        return made
    array, moved = source.integers.array, None
    if array is not None:
        moved = known(np.ascontiguousarray(array.transpose(axes)), source.integers.element)
    integers = call.transpose(source.integers, axes) if moved is None else moved
    made.origin = Quantized(integers, source.scale, source.zero, list(axes).index(source.axis))
    return made
