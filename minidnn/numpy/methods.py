"""The methods of arrays that apply one operator."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from minidnn.errors import OpError
from minidnn.numpy.base import apply, deliver
from minidnn.numpy.operators import ArrayOperators
from minidnn.ops.checks import normalize_axis

__all__ = ["ArrayMethods"]

Axis = int | Sequence[int] | None


def _shape_args(args: tuple[Any, ...]) -> Any:
    """``x.reshape(2, 3)`` and ``x.reshape((2, 3))`` are the same."""
    return args[0] if len(args) == 1 and (args[0] is None or not isinstance(args[0], int)) else args


class ArrayMethods(ArrayOperators):
    """Reductions, and what changes the shape: as the functions of the same names in `mx.np`."""

    __slots__ = ()

    def sum(self, axis: Axis = None, dtype: Any = None, out: Self | None = None, keepdims: bool = False) -> Self:
        """Sum over `axis`."""
        return deliver(self._apply("sum", axis=axis, dtype=dtype, keepdims=keepdims), out)

    def prod(self, axis: Axis = None, dtype: Any = None, out: Self | None = None, keepdims: bool = False) -> Self:
        """Product over `axis`."""
        return deliver(self._apply("prod", axis=axis, dtype=dtype, keepdims=keepdims), out)

    def mean(self, axis: Axis = None, dtype: Any = None, out: Self | None = None, keepdims: bool = False) -> Self:
        """Arithmetic mean over `axis`."""
        return deliver(self._apply("mean", axis=axis, dtype=dtype, keepdims=keepdims), out)

    def max(self, axis: Axis = None, out: Self | None = None, keepdims: bool = False) -> Self:
        """Largest element along `axis`."""
        return deliver(self._apply("max", axis=axis, keepdims=keepdims), out)

    def min(self, axis: Axis = None, out: Self | None = None, keepdims: bool = False) -> Self:
        """Smallest element along `axis`."""
        return deliver(self._apply("min", axis=axis, keepdims=keepdims), out)

    def var(
        self,
        axis: Axis = None,
        dtype: Any = None,
        out: Self | None = None,
        ddof: int = 0,
        keepdims: bool = False,
        correction: int = 0,
    ) -> Self:
        """Variance over `axis`. `correction` is another name of `ddof`."""
        return deliver(self._apply("var", axis=axis, dtype=dtype, ddof=ddof or correction, keepdims=keepdims), out)

    def std(
        self,
        axis: Axis = None,
        dtype: Any = None,
        out: Self | None = None,
        ddof: int = 0,
        keepdims: bool = False,
        correction: int = 0,
    ) -> Self:
        """Standard deviation over `axis`. `correction` is another name of `ddof`."""
        return deliver(self._apply("std", axis=axis, dtype=dtype, ddof=ddof or correction, keepdims=keepdims), out)

    def argmax(self, axis: int | None = None, out: Self | None = None, keepdims: bool = False) -> Self:
        """Position of the largest element along `axis`, int64."""
        return deliver(self._apply("argmax", axis=axis, keepdims=keepdims), out)

    def argmin(self, axis: int | None = None, out: Self | None = None, keepdims: bool = False) -> Self:
        """Position of the smallest element along `axis`, int64."""
        return deliver(self._apply("argmin", axis=axis, keepdims=keepdims), out)

    def any(self, axis: Axis = None, out: Self | None = None, keepdims: bool = False) -> Self:
        """Whether any element along `axis` is true."""
        return deliver(self._apply("any", axis=axis, keepdims=keepdims), out)

    def all(self, axis: Axis = None, out: Self | None = None, keepdims: bool = False) -> Self:
        """Whether all elements along `axis` are true."""
        return deliver(self._apply("all", axis=axis, keepdims=keepdims), out)

    def reshape(self, *shape: Any, order: str = "C") -> Self:
        """The same elements in another shape, which may have -1 and the codes -2 to -6 of `mx.npx.reshape`."""
        return self._reshape(_shape_args(shape), order)

    def transpose(self, *axes: Any) -> Self:
        """Axes in another order; reversed without arguments."""
        return self._apply("transpose", axes=_shape_args(axes) or None)

    def swapaxes(self, axis1: int, axis2: int) -> Self:
        """Two axes exchanged."""
        return self._apply("swapaxes", dim1=axis1, dim2=axis2)

    def flatten(self, order: str = "C") -> Self:
        """All elements in one dimension."""
        return self._apply("reshape", newshape=(-1,), order=order)

    def ravel(self, order: str = "C") -> Self:
        """All elements in one dimension."""
        return self.flatten(order)

    def squeeze(self, axis: Axis = None) -> Self:
        """Without the dimensions of size one, or without those of `axis`."""
        return self._apply("squeeze", axis=axis)

    def expand_dims(self, axis: int) -> Self:
        """With a dimension of size one at `axis`."""
        return self._apply("expand_dims", axis=axis)

    def broadcast_to(self, shape: Sequence[int]) -> Self:
        """Repeated to `shape` by NumPy's rules; -2 copies a dimension."""
        return self._apply("broadcast_to", shape=shape)

    def repeat(self, repeats: int | Sequence[int], axis: int | None = None) -> Self:
        """Every element `repeats` times; or a number for each slice along `axis`.

        Raises:
            OpError: a number is negative, or there is not one for each slice.
        """
        if isinstance(repeats, (int, np.integer)):
            return self._apply("repeat", repeats=repeats, axis=axis)
        if axis is None:
            return self.ravel().repeat(repeats, 0)
        count = self.shape[normalize_axis("repeat", axis, self.ndim)]
        try:
            where = np.repeat(np.arange(count), np.asarray(repeats))
        except (ValueError, TypeError) as error:
            raise OpError(f"repeat: repeats must be {count} integers that are not negative: {error}") from None
        return self._apply("take", where, axis=axis, mode="clip")

    def tile(self, reps: int | Sequence[int]) -> Self:
        """The whole array `reps` times."""
        return self._apply("tile", reps=reps)

    def take(self, indices: Any, axis: int | None = None, mode: str = "raise") -> Self:
        """Elements, or slices along `axis`, at integer positions; see `mx.np.take`.

        Raises:
            IndexError: a position is out of range and `mode` is ``raise``.
        """
        if axis is None:
            return self.ravel().take(indices, 0, mode)
        where = indices if isinstance(indices, ArrayOperators) else self._of(np.asarray(indices))
        if mode == "raise":
            if where._data is not None and -self.ndim <= axis < self.ndim:
                count = self.shape[axis]
                if where.size and (where._data.min() < -count or where._data.max() >= count):
                    raise IndexError(
                        f"take: indices must lie in [{-count}, {count}) along axis {axis} of shape {self.shape}"
                    )
            mode = "wrap"
        return self._apply("take", where, axis=axis, mode=mode)

    def clip(self, min: float | None = None, max: float | None = None, out: Self | None = None) -> Self:
        """Limited to [min, max]."""
        return deliver(self._apply("clip", a_min=min, a_max=max), out)

    def dot(self, b: Any, out: Self | None = None) -> Self:
        """NumPy's dot product."""
        return deliver(self._apply("dot", b), out)

    def round(self, decimals: int = 0, out: Self | None = None) -> Self:
        """Rounded to `decimals` places, halves to even."""
        return deliver(self._rounded(decimals), out)

    def _rounded(self, decimals: int) -> Self:
        if decimals == 0 or (self.dtype.kind in "biu" and decimals > 0):
            return self._apply("rint")
        scale = 10.0 ** builtins.abs(decimals)
        up, down = ("multiply", "true_divide") if decimals > 0 else ("true_divide", "multiply")
        scaled = self._binary(up, self, scale)._apply("rint")
        return self._binary(down, scaled, scale).astype(self.dtype, copy=False)

    def abs(self) -> Self:
        """Absolute values."""
        return self._apply("abs")

    def sort(self, axis: int | None = -1, descending: bool = False, stable: bool = True) -> Self:
        """The elements in order along `axis`, or all of them with ``axis=None``."""
        return self._apply("sort", axis=axis, descending=descending)

    def argsort(self, axis: int | None = -1, descending: bool = False, stable: bool = True) -> Self:
        """The positions (int64) that would put the elements in order along `axis`; equal ones stay in their order."""
        return self._apply("argsort", axis=axis, descending=descending)

    def cumsum(self, axis: int | None = None, dtype: Any = None, out: Self | None = None) -> Self:
        """Sums of all elements so far."""
        return deliver(self._apply("cumsum", axis=axis, dtype=dtype), out)

    def nonzero(self) -> tuple[Self, ...]:
        """Positions (int64) of the non-zero elements, one array for each axis."""
        positions = self._apply("argwhere")
        columns = apply(type(self), "split", (positions,), {"sections": self.ndim, "axis": 1}) if self.ndim else ()
        return tuple(column._apply("squeeze", axis=1) for column in columns)
