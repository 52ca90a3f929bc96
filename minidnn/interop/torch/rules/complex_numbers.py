"""Complex numbers, as pairs of tensors, and Fourier transforms."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from minidnn.interop.onnx.rules.signals import fourier
from minidnn.interop.onnx.values import Value
from minidnn.interop.torch.call import ATEN, COMPLEX, Call, Complex, Rule, complex_aten

__all__ = ["complex_of_pairs"]

# Operators that do to both parts what they do to real numbers.
_PARTWISE = (
    "_unsafe_index.Tensor",
    "_unsafe_view",
    "alias",
    "cat",
    "chunk",
    "clone",
    "constant_pad_nd",
    "contiguous",
    "cumsum",
    "detach",
    "diagonal",
    "expand",
    "flatten.using_ints",
    "flip",
    "gather",
    "index.Tensor",
    "index_select",
    "lift_fresh_copy",
    "mean",
    "mean.dim",
    "narrow",
    "neg",
    "permute",
    "reflection_pad1d",
    "repeat",
    "reshape",
    "roll",
    "select.int",
    "slice.Tensor",
    "split.Tensor",
    "split_with_sizes",
    "squeeze",
    "squeeze.dim",
    "squeeze.dims",
    "stack",
    "sum",
    "sum.dim_IntList",
    "t",
    "transpose.int",
    "unbind.int",
    "unfold",
    "unsqueeze",
    "view",
    "where.self",
)


def _parts_of(argument: Any, choose: Callable[[Complex], Value]) -> Any:
    if isinstance(argument, (tuple, list)):
        return [_parts_of(item, choose) for item in argument]
    return choose(argument) if isinstance(argument, Complex) else argument


def _partwise_rule(name: str) -> Rule:
    def read(call: Call, *args: Any, **kwargs: Any) -> Any:
        real, imaginary = (
            ATEN[name](call, *_parts_of(args, choose), **kwargs) for choose in (lambda z: z.real, lambda z: z.imaginary)
        )
        if isinstance(real, (tuple, list)):
            return [Complex(*pair) for pair in zip(real, imaginary, strict=True)]
        return Complex(real, imaginary)

    return read


for _name in _PARTWISE:
    complex_aten(_name)(_partwise_rule(_name if "." in _name else f"{_name}.default"))


# ---- numbers and their parts


def complex_of_pairs(call: Call, x: Value) -> Complex:
    """Pairs along the last axis as complex numbers."""
    last = x.ndim - 1
    parts = (call.emit("slice_axis", x, axis=last, begin=i, end=i + 1) for i in range(2))
    return Complex(*(call.emit("squeeze", part, axis=(last,)) for part in parts))


@complex_aten("view_as_complex")
def _view_as_complex(call: Call, x: Value) -> Complex:
    return complex_of_pairs(call, x)


@complex_aten("view_as_real")
def _view_as_real(call: Call, z: Complex) -> Value:
    return call.emit("stack", z.real, z.imaginary, num_args=2, axis=z.real.ndim)


@complex_aten("complex")
def _complex(call: Call, real: Value, imaginary: Value) -> Complex:
    zero = call.like(0, real)
    # Both have the shape of both together.
    return Complex(
        *(call.emit("add", a, call.emit("multiply", b, zero)) for a, b in ((real, imaginary), (imaginary, real)))
    )


@complex_aten("polar")
def _polar(call: Call, size: Value, angle: Value) -> Complex:
    return Complex(*(call.emit("multiply", size, call.emit(f, angle)) for f in ("cos", "sin")))


@complex_aten("real")
def _real(call: Call, z: Complex) -> Value:
    return z.real


@complex_aten("imag")
def _imaginary(call: Call, z: Complex) -> Value:
    return z.imaginary


@complex_aten("abs")
def _size(call: Call, z: Complex) -> Value:
    return call.emit("hypot", z.real, z.imaginary)


@complex_aten("angle")
def _angle(call: Call, z: Complex) -> Value:
    return call.emit("arctan2", z.imaginary, z.real)


@complex_aten("_conj", "conj", "conj_physical", "_conj_physical")
def _conjugate(call: Call, z: Complex) -> Complex:
    return Complex(z.real, call.emit("negative", z.imaginary))


@complex_aten("resolve_conj", "resolve_neg")
def _resolved(call: Call, z: Complex) -> Complex:
    return z


@complex_aten("_to_copy", "to.dtype")
def _to_complex(call: Call, x: Value | Complex, *_: Any, **__: Any) -> Complex:
    if isinstance(x, Complex):
        return x
    real = call.cast(x, call.dtype)
    return Complex(real, call.filled(x.shape, 0, call.dtype))


# ---- arithmetic


def _split(x: Any) -> tuple[Any, Any]:
    """Real and imaginary part of an operand: a tensor or a number; None: it has no imaginary part."""
    if isinstance(x, Complex):
        return x.real, x.imaginary
    return (x.real, x.imag) if isinstance(x, complex) else (x, None)


def _plus(call: Call, op: str, a: Any, b: Any) -> Any:
    """a + b or a - b, of which either may be None for zero."""
    if b is None:
        return a
    if a is not None:
        return call.arithmetic(op, a, b)
    return b if op == "add" else call.arithmetic("multiply", b, -1.0)


def _times(call: Call, a: Any, b: Any) -> Any:
    return None if a is None or b is None else call.arithmetic("multiply", a, b)


def _sum_rule(op: str) -> Rule:
    def read(call: Call, x: Any, y: Any, alpha: Any = 1) -> Complex:
        (a, b), (c, d) = _split(x), _split(y)
        if alpha != 1:
            c, d = _times(call, c, alpha), _times(call, d, alpha)
        return _whole(call, _plus(call, op, a, c), _plus(call, op, b, d))

    return read


complex_aten("add.Tensor", "add.Scalar")(_sum_rule("add"))
complex_aten("sub.Tensor", "sub.Scalar")(_sum_rule("subtract"))


@complex_aten("rsub.Tensor", "rsub.Scalar")
def _from_other(call: Call, x: Any, y: Any, alpha: Any = 1) -> Complex:
    minus = _product(call, x, -float(alpha))
    whole: Complex = COMPLEX["add.Tensor"](call, minus, y)
    return whole


@complex_aten("mul.Tensor", "mul.Scalar")
def _product(call: Call, x: Any, y: Any) -> Complex:
    (a, b), (c, d) = _split(x), _split(y)
    real = _plus(call, "subtract", _times(call, a, c), _times(call, b, d))
    return _whole(call, real, _plus(call, "add", _times(call, a, d), _times(call, b, c)))


@complex_aten("div.Tensor", "div.Scalar")
def _quotient(call: Call, x: Any, y: Any) -> Complex:
    c, d = _split(y)
    if d is None:
        a, b = _split(x)
        return Complex(call.arithmetic("true_divide", a, c), call.arithmetic("true_divide", b, c))
    norm = call.arithmetic("add", call.arithmetic("multiply", c, c), call.arithmetic("multiply", d, d))
    inverse = Complex(
        call.arithmetic("true_divide", c, norm),
        call.arithmetic("true_divide", call.arithmetic("multiply", d, -1.0), norm),
    )
    return _product(call, x, inverse)


def _whole(call: Call, real: Any, imaginary: Any) -> Complex:
    """Both parts in one shape, which a number or a smaller operand may not have had."""
    parts = [call.operand(part, call.dtype) for part in (real, imaginary)]
    if parts[0].shape != parts[1].shape:
        zeros = call.like(0, parts[0])
        return _complex(call, call.emit("add", parts[0], zeros), parts[1])
    return Complex(*parts)


@complex_aten("exp")
def _exponential(call: Call, z: Complex) -> Complex:
    return _polar(call, call.emit("exp", z.real), z.imaginary)


@complex_aten("pow.Tensor_Scalar")
def _power(call: Call, z: Complex, exponent: Any) -> Complex:
    if exponent != 2:
        call.refuse(f"complex numbers to the power of {exponent} are not supported, squares are")
    return _product(call, z, z)


# ---- Fourier transforms


def _scale(call: Call, normalization: int, counts: Sequence[int]) -> float:
    """None, by the root of the number of points, or by that number."""
    return math.prod(float(n) for n in counts) ** (0.0, -0.5, -1.0)[normalization]


def _along(
    call: Call, z: Complex | Value, axis: int, length: int, inverse: bool, one_sided: bool, scale: float
) -> list[Value]:
    parts = [z] if isinstance(z, Value) else [z.real, z.imaginary]
    ndim = parts[0].ndim
    order = [*(i for i in range(ndim) if i != axis), axis]
    moved = [call.transpose(part, order) for part in parts]
    made = fourier(call, moved[0], moved[1] if len(moved) > 1 else None, length, inverse, one_sided, scale)
    return [call.transpose(part, [order.index(i) for i in range(ndim)]) for part in made]


def _lengths(call: Call, z: Complex | Value, dim: Sequence[int]) -> tuple[tuple[int, ...], list[int]]:
    part = z if isinstance(z, Value) else z.real
    axes = call.axes([int(d) for d in dim], part.ndim)
    return axes, [int(part.dim(axis)) for axis in axes]


@complex_aten("_fft_r2c")
def _real_to_complex(call: Call, x: Value, dim: Sequence[int], normalization: int, onesided: bool) -> Complex:
    axes, counts = _lengths(call, x, dim)
    scale = _scale(call, normalization, counts)
    z = Complex(*_along(call, x, axes[-1], counts[-1], False, onesided, scale))
    for axis, count in zip(axes[:-1], counts[:-1], strict=True):
        z = Complex(*_along(call, z, axis, count, False, False, 1.0))
    return z


@complex_aten("_fft_c2c")
def _complex_to_complex(call: Call, z: Complex, dim: Sequence[int], normalization: int, forward: bool) -> Complex:
    axes, counts = _lengths(call, z, dim)
    scale = _scale(call, normalization, counts)
    for axis, count in zip(axes, counts, strict=True):
        z, scale = Complex(*_along(call, z, axis, count, not forward, False, scale)), 1.0
    return z


@complex_aten("_fft_c2r")
def _complex_to_real(call: Call, z: Complex, dim: Sequence[int], normalization: int, last_dim_size: Any) -> Value:
    axes, counts = _lengths(call, z, dim)
    size = int(last_dim_size)
    for axis, count in zip(axes[:-1], counts[:-1], strict=True):
        z = Complex(*_along(call, z, axis, count, True, False, 1.0))
    return _along(call, z, axes[-1], size, True, True, _scale(call, normalization, [*counts[:-1], size]))[0]
