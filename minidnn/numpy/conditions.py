"""Functions that choose elements by conditions, and that apply functions given as arguments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from minidnn.errors import OpError, ShapeError
from minidnn.numpy import elementwise, manipulation
from minidnn.numpy.convert import as_array, is_scalar, own, to_numpy
from minidnn.numpy.multiarray import ndarray
from minidnn.ops.elementwise import promote

__all__ = ["apply_over_axes", "extract", "fill_diagonal", "piecewise", "select", "trim_zeros"]


def select(condlist: Sequence[Any], choicelist: Sequence[Any], default: Any = 0) -> ndarray:
    """Elements of the first of `choicelist` whose condition holds, and `default` where none does.

    Raises:
        OpError: there are no conditions, or another number of choices.
    """
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
    """The elements for which the condition holds, flattened; not in a network being traced."""
    return own(np.extract(to_numpy(as_array(condition)), to_numpy(as_array(arr))))


def trim_zeros(filt: Any, trim: Literal["f", "b", "fb", "bf"] = "fb") -> ndarray:
    """A vector without the zeros at its front (``f``) and back (``b``); not in a network being traced."""
    return own(np.asarray(np.trim_zeros(to_numpy(as_array(filt)), trim)))


def fill_diagonal(a: ndarray, val: Any, wrap: bool = False) -> None:
    """Write `val` to the main diagonal of `a`, in place; with `wrap` again and again down a tall matrix."""
    filled = a.asnumpy()
    np.fill_diagonal(filled, to_numpy(val), wrap)
    a[...] = filled
