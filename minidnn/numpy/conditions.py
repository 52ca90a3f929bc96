"""Functions that choose elements by conditions, and that apply functions given as arguments."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from minidnn.errors import OpError, ShapeError
from minidnn.numpy import delegated, elementwise, manipulation
from minidnn.numpy.convert import as_array, as_operand, is_scalar
from minidnn.numpy.multiarray import ndarray
from minidnn.ops.elementwise import promote

__all__ = ["apply_over_axes", "extract", "fill_diagonal", "piecewise", "select", "trim_zeros"]


def select(condlist: Sequence[Any], choicelist: Sequence[Any], default: Any = 0) -> ndarray:
    """Elements of the first of `choicelist` whose condition holds, and `default` where none does.

    Raises:
        OpError: there are no conditions, or another number of choices.
    """
    condlist = list(condlist)
    if not condlist or len(condlist) != len(choicelist):
        raise OpError(f"select: as many choices as conditions are wanted, got {len(choicelist)} and {len(condlist)}")
    choices = [as_array(c) for c in choicelist]
    dtype = promote(*(c.dtype for c in choices), *([] if is_scalar(default) else [as_array(default).dtype]))
    chosen = as_array(default).astype(dtype, copy=False)
    for condition, choice in zip(reversed(condlist), reversed(choices), strict=True):
        chosen = elementwise.where(_bools(condition), choice.astype(dtype, copy=False), chosen)
    return chosen


def _bools(condition: Any) -> ndarray:
    return as_array(condition).astype(np.bool_, copy=False)


def piecewise(x: Any, condlist: Any, funclist: Sequence[Any], *args: Any, **kw: Any) -> ndarray:
    """The value, or the result, of each of `funclist` where its condition holds, in the dtype of `x`.

    Args:
        x: the array.
        condlist: one condition or several; where more than one holds, the last one counts.
        funclist: a number or a function of arrays for each condition, and perhaps one more for what is left; 0
            otherwise. A function is called with the whole array, and has to be elementwise.
        args, kw: handed to the functions.

    Raises:
        OpError: the numbers of conditions and functions do not fit.
    """
    data = as_array(x)
    if not isinstance(condlist, (list, tuple)) or (condlist and is_scalar(condlist[0]) and data.shape):
        condlist = [condlist]
    conditions = [_bools(c) for c in condlist]
    if len(funclist) not in (len(conditions), len(conditions) + 1):
        raise OpError(f"piecewise: {len(conditions)} conditions and {len(funclist)} functions do not belong together")

    def value(function: Any) -> ndarray:
        result = function(data, *args, **kw) if callable(function) else function
        return as_array(result).astype(data.dtype, copy=False)

    result = value(funclist[-1] if len(funclist) > len(conditions) else 0)
    for condition, function in zip(conditions, funclist, strict=False):
        result = elementwise.where(condition, value(function), result)
    return manipulation.broadcast_to(result, data.shape)


def apply_over_axes(func: Callable[[Any, int], Any], a: Any, axes: int | Sequence[int]) -> ndarray:
    """`func` of the array and each of `axes` in turn; a dimension it drops is put back with size one.

    Raises:
        ShapeError: a result has another number of dimensions.
    """
    result = as_array(a)
    ndim = result.ndim
    for axis in (axes,) if isinstance(axes, int) else axes:
        step = as_array(func(result, axis % ndim))
        result = manipulation.expand_dims(step, axis % ndim) if step.ndim == ndim - 1 else step
        if result.ndim != ndim:
            raise ShapeError(f"apply_over_axes: the function makes {step.ndim} dimensions of {ndim}")
    return result


def extract(condition: Any, arr: Any) -> ndarray:
    """The elements for which the condition holds, flattened."""
    return manipulation.take(manipulation.ravel(as_operand(arr)), delegated.flatnonzero(as_operand(condition)))


def trim_zeros(filt: Any, trim: Literal["f", "b", "fb", "bf"] = "fb") -> ndarray:
    """Without the zeros at the front (``f``) and back (``b``) of a vector, or of each axis."""
    x = as_operand(filt)
    for axis in range(x.ndim):
        others = tuple(i for i in range(x.ndim) if i != axis)
        filled = elementwise.not_equal(x, 0)
        filled = filled.any(others) if others else filled
        kept = [_reached(filled)] if "f" in trim.lower() else []
        kept += [manipulation.flip(_reached(manipulation.flip(filled)))] if "b" in trim.lower() else []
        for mask in kept[:1] if len(kept) == 1 else [elementwise.logical_and(*kept)] if kept else []:
            x = manipulation.take(x, delegated.flatnonzero(mask), axis)
    return x if kept else x.copy()


def _reached(filled: ndarray) -> ndarray:
    """Whether a True stands at or before each position."""
    return filled.cumsum() > 0


def fill_diagonal(a: ndarray, val: Any, wrap: bool = False) -> None:
    """Write `val` to the main diagonal of `a`, in place; with `wrap` again and again down a tall matrix.

    Raises:
        ShapeError: `a` has less than two dimensions, or more of different sizes.
    """
    shape = a.shape
    if len(shape) < 2 or (len(shape) > 2 and len(set(shape)) > 1):
        raise ShapeError(f"fill_diagonal: two dimensions, or more of one size, are wanted, got {shape}")
    step = 1 + sum(math.prod(shape[i + 1 :]) for i in range(len(shape) - 1))
    end = a.size if wrap or len(shape) > 2 else min(a.size, shape[1] * shape[1])
    places = np.arange(0, end, step)
    flat = a.ravel()
    values = manipulation.ravel(as_operand(val))
    flat[places] = values[np.arange(len(places)) % values.size]
    a[...] = flat.reshape(shape)
