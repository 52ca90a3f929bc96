"""Functions of the bits of integers and of the parts of floats."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidnn import dispatch
from minidnn.dispatch import binary
from minidnn.numpy import elementwise
from minidnn.numpy.base import apply, deliver, is_scalar
from minidnn.numpy.convert import as_array, as_operand
from minidnn.numpy.elementwise import _binary, _unary
from minidnn.numpy.multiarray import ndarray
from minidnn.ops.elementwise import float_of, promote

__all__ = [
    "bitwise_left_shift",
    "bitwise_right_shift",
    "divmod",
    "float_power",
    "frexp",
    "gcd",
    "lcm",
    "ldexp",
    "modf",
    "packbits",
    "real",
    "signbit",
    "spacing",
    "unpackbits",
]

bitwise_left_shift = _binary("bitwise_left_shift", "The bits of x1 moved x2 places up.")
bitwise_right_shift = _binary("bitwise_right_shift", "The bits of x1 moved x2 places down, the sign repeated.")
gcd = _binary("gcd", "The greatest common divisor of integers.")
lcm = _binary("lcm", "The least common multiple of integers.")
ldexp = _binary("ldexp", "x1 · 2 to the power x2.")
spacing = _unary("spacing", "The distance to the next number away from zero.")


def frexp(x: Any) -> tuple[ndarray, ndarray]:
    """Mantissa in (-1, 1) and exponent (int32) of each element: x = mantissa · 2 ** exponent."""
    mantissa, exponent = apply(ndarray, "frexp", [as_array(x)], {})
    return mantissa, exponent


def packbits(a: Any, axis: int | None = None, bitorder: str = "big") -> ndarray:
    """Eight booleans along `axis`, or of the flattened array, in each uint8; zeros fill up the last one."""
    return dispatch.invoke_one("packbits", as_operand(a), axis=axis, bitorder=bitorder)


def unpackbits(a: Any, axis: int | None = None, count: int | None = None, bitorder: str = "big") -> ndarray:
    """The eight bits of each uint8, in a uint8 each; `count` of them along `axis`, less so many if it is negative."""
    return dispatch.invoke_one("unpackbits", as_operand(a), axis=axis, count=count, bitorder=bitorder)


def signbit(x: Any, out: ndarray | None = None) -> ndarray:
    """Whether the sign is minus; that of minus zero is."""
    signs: ndarray = elementwise.copysign(1.0, as_array(x))
    return deliver(signs < 0, out)


def modf(x: Any) -> tuple[ndarray, ndarray]:
    """Fractional and integral part, both with the sign of `x`."""
    data = as_array(x)
    data = data.astype(float_of(data.dtype), copy=False)
    whole = elementwise.trunc(data)
    rest = elementwise.where(elementwise.isinf(data), 0.0, data - whole)
    return elementwise.copysign(rest, data), whole


def divmod(x1: Any, x2: Any) -> tuple[Any, Any]:
    """`floor_divide` and `mod`."""
    return elementwise.floor_divide(x1, x2), elementwise.mod(x1, x2)


def float_power(x1: Any, x2: Any, out: ndarray | None = None) -> ndarray:
    """x1 to the power x2 in floats, integers too: float32 by default."""
    arrays = [x if is_scalar(x) else as_array(x) for x in (x1, x2)]
    dtype = float_of(promote(*(x.dtype for x in arrays if isinstance(x, ndarray)), np.dtype(np.float16)))
    if all(x.dtype.kind != "f" for x in arrays if isinstance(x, ndarray)):
        dtype = np.dtype(np.float32)
    wide = [float(x) if is_scalar(x) else x.astype(dtype, copy=False) for x in arrays]
    return deliver(binary("power", *wide), out)


def real(val: Any) -> ndarray:
    """The array itself: there are no complex arrays."""
    return as_array(val)
