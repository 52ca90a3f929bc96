"""The methods of arrays that apply one operator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from minidnn import dispatch
from minidnn.numpy.operators import deliver

if TYPE_CHECKING:
    from minidnn.numpy.multiarray import ndarray

__all__ = ["ArrayMethods"]

Axis = int | Sequence[int] | None


def _shape_args(args: tuple[Any, ...]) -> Any:
    """``x.reshape(2, 3)`` and ``x.reshape((2, 3))`` are the same."""
    return args[0] if len(args) == 1 and (args[0] is None or not isinstance(args[0], int)) else args


class ArrayMethods:
    """Reductions, and what changes the shape: as the functions of the same names in `mx.np`."""

    __slots__ = ()

    def sum(self, axis: Axis = None, dtype: Any = None, out: ndarray | None = None, keepdims: bool = False) -> ndarray:
        """Sum over `axis`."""
        return deliver(dispatch.invoke_one("sum", self, axis=axis, dtype=dtype, keepdims=keepdims), out)

    def prod(self, axis: Axis = None, dtype: Any = None, out: ndarray | None = None, keepdims: bool = False) -> ndarray:
        """Product over `axis`."""
        return deliver(dispatch.invoke_one("prod", self, axis=axis, dtype=dtype, keepdims=keepdims), out)

    def mean(self, axis: Axis = None, dtype: Any = None, out: ndarray | None = None, keepdims: bool = False) -> ndarray:
        """Arithmetic mean over `axis`."""
        return deliver(dispatch.invoke_one("mean", self, axis=axis, dtype=dtype, keepdims=keepdims), out)

    def max(self, axis: Axis = None, out: ndarray | None = None, keepdims: bool = False) -> ndarray:
        """Largest element along `axis`."""
        return deliver(dispatch.invoke_one("max", self, axis=axis, keepdims=keepdims), out)

    def min(self, axis: Axis = None, out: ndarray | None = None, keepdims: bool = False) -> ndarray:
        """Smallest element along `axis`."""
        return deliver(dispatch.invoke_one("min", self, axis=axis, keepdims=keepdims), out)

    def var(
        self, axis: Axis = None, dtype: Any = None, out: ndarray | None = None, ddof: int = 0, keepdims: bool = False
    ) -> ndarray:
        """Variance over `axis`."""
        return deliver(dispatch.invoke_one("var", self, axis=axis, dtype=dtype, ddof=ddof, keepdims=keepdims), out)

    def std(
        self, axis: Axis = None, dtype: Any = None, out: ndarray | None = None, ddof: int = 0, keepdims: bool = False
    ) -> ndarray:
        """Standard deviation over `axis`."""
        return deliver(dispatch.invoke_one("std", self, axis=axis, dtype=dtype, ddof=ddof, keepdims=keepdims), out)

    def argmax(self, axis: int | None = None, out: ndarray | None = None, keepdims: bool = False) -> ndarray:
        """Position of the largest element along `axis`, int64."""
        return deliver(dispatch.invoke_one("argmax", self, axis=axis, keepdims=keepdims), out)

    def argmin(self, axis: int | None = None, out: ndarray | None = None, keepdims: bool = False) -> ndarray:
        """Position of the smallest element along `axis`, int64."""
        return deliver(dispatch.invoke_one("argmin", self, axis=axis, keepdims=keepdims), out)

    def any(self, axis: Axis = None, out: ndarray | None = None, keepdims: bool = False) -> ndarray:
        """Whether any element along `axis` is true."""
        return deliver(dispatch.invoke_one("any", self, axis=axis, keepdims=keepdims), out)

    def all(self, axis: Axis = None, out: ndarray | None = None, keepdims: bool = False) -> ndarray:
        """Whether all elements along `axis` are true."""
        return deliver(dispatch.invoke_one("all", self, axis=axis, keepdims=keepdims), out)

    def reshape(self, *shape: Any, order: str = "C") -> ndarray:
        """The same elements in another shape; one dimension may be -1."""
        return dispatch.invoke_one("reshape", self, newshape=_shape_args(shape), order=order)

    def transpose(self, *axes: Any) -> ndarray:
        """Axes in another order; reversed without arguments."""
        return dispatch.invoke_one("transpose", self, axes=_shape_args(axes) or None)

    def swapaxes(self, axis1: int, axis2: int) -> ndarray:
        """Two axes exchanged."""
        return dispatch.invoke_one("swapaxes", self, dim1=axis1, dim2=axis2)

    def flatten(self, order: str = "C") -> ndarray:
        """All elements in one dimension."""
        return dispatch.invoke_one("reshape", self, newshape=(-1,), order=order)

    def ravel(self, order: str = "C") -> ndarray:
        """All elements in one dimension."""
        return self.flatten(order)

    def squeeze(self, axis: Axis = None) -> ndarray:
        """Without the dimensions of size one, or without those of `axis`."""
        return dispatch.invoke_one("squeeze", self, axis=axis)

    def expand_dims(self, axis: int) -> ndarray:
        """With a dimension of size one at `axis`."""
        return dispatch.invoke_one("expand_dims", self, axis=axis)

    def broadcast_to(self, shape: Sequence[int]) -> ndarray:
        """Repeated to `shape` by NumPy's rules."""
        return dispatch.invoke_one("broadcast_to", self, shape=shape)

    def repeat(self, repeats: int, axis: int | None = None) -> ndarray:
        """Every element `repeats` times."""
        return dispatch.invoke_one("repeat", self, repeats=repeats, axis=axis)

    def tile(self, reps: int | Sequence[int]) -> ndarray:
        """The whole array `reps` times."""
        return dispatch.invoke_one("tile", self, reps=reps)

    def take(self, indices: Any, axis: int | None = None, mode: str = "raise") -> ndarray:
        """Elements, or slices along `axis`, at integer positions."""
        from minidnn.numpy import manipulation

        return manipulation.take(self, indices, axis=axis, mode=mode)

    def clip(self, min: float | None = None, max: float | None = None) -> ndarray:
        """Limited to [min, max]."""
        return dispatch.invoke_one("clip", self, a_min=min, a_max=max)

    def dot(self, b: Any) -> ndarray:
        """NumPy's dot product."""
        return dispatch.invoke_one("dot", self, b)

    def round(self, decimals: int = 0) -> ndarray:
        """Rounded, halves to even."""
        from minidnn.numpy import elementwise

        rounded: ndarray = elementwise.round(self, decimals)
        return rounded

    def abs(self) -> ndarray:
        """Absolute values."""
        return dispatch.invoke_one("abs", self)

    def sort(self, axis: int | None = -1, descending: bool = False, stable: bool = True) -> ndarray:
        """A sorted copy, as in MXNet; not in a network being traced."""
        from minidnn.numpy import delegated

        return delegated.sort(self, axis, descending, stable)

    def argsort(self, axis: int | None = -1, descending: bool = False, stable: bool = True) -> ndarray:
        """Positions (int64) that sort; not in a network being traced."""
        from minidnn.numpy import delegated

        return delegated.argsort(self, axis, descending, stable)

    def cumsum(self, axis: int | None = None, dtype: Any = None, out: ndarray | None = None) -> ndarray:
        """Sums of all elements so far; not in a network being traced."""
        from minidnn.numpy import delegated

        return deliver(delegated.cumsum(self, axis, dtype), out)

    def nonzero(self) -> tuple[ndarray, ...]:
        """Positions of the non-zero elements, one array for each axis; not in a network being traced."""
        from minidnn.numpy import delegated

        positions: tuple[ndarray, ...] = delegated.nonzero(self)
        return positions
