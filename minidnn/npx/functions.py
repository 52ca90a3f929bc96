"""Functions beyond NumPy's: special functions, picking by index, sequences, reshape with codes.

Signatures and defaults are MXNet 2's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from minidnn import dispatch
from minidnn.dispatch import binary
from minidnn.errors import OpError
from minidnn.numpy.base import deliver
from minidnn.numpy.convert import as_array
from minidnn.numpy.multiarray import ndarray

__all__ = [
    "add_n",
    "arange_like",
    "batch_dot",
    "batch_flatten",
    "broadcast_like",
    "cast",
    "erf",
    "erfinv",
    "gamma",
    "gammaln",
    "gather_nd",
    "gelu",
    "hard_sigmoid",
    "hard_swish",
    "log_sigmoid",
    "mish",
    "nonzero",
    "norm",
    "one_hot",
    "pick",
    "relu",
    "reshape",
    "reshape_like",
    "sequence_mask",
    "shape_array",
    "sigmoid",
    "silu",
    "slice",
    "slice_axis",
    "slice_like",
    "smooth_l1",
    "softsign",
    "stop_gradient",
    "topk",
]

Axes = int | Sequence[int] | None


def _unary(op: str, doc: str) -> Callable[[Any], ndarray]:
    def function(data: Any) -> ndarray:
        return dispatch.invoke_one(op, as_array(data))

    function.__name__ = function.__qualname__ = op
    function.__doc__ = doc
    return function


relu = _unary("relu", "max(x, 0).")
sigmoid = _unary("sigmoid", "1 / (1 + exp(-x)).")
log_sigmoid = _unary("log_sigmoid", "log(sigmoid(x)).")
softsign = _unary("softsign", "x / (1 + |x|).")
mish = _unary("mish", "x · tanh(log(1 + exp(x))) (Misra, 2019).")
silu = _unary("silu", "x · sigmoid(x), also known as swish.")
hard_swish = _unary("hard_swish", "x · clip(x / 6 + 1/2, 0, 1) (Howard et al., MobileNetV3, 2019).")
erf = _unary("erf", "The error function.")
erfinv = _unary("erfinv", "The inverse of the error function.")
gamma = _unary("gamma", "The gamma function.")
gammaln = _unary("gammaln", "The logarithm of the gamma function's magnitude.")
shape_array = _unary("shape_array", "The shape as an int64 vector.")
stop_gradient = _unary("identity", "A copy: nothing is differentiated here.")
batch_flatten = _unary("flatten", "All but the first dimension as one.")


def gelu(data: Any, approximation: str = "erf") -> ndarray:
    """x·Φ(x) (Hendrycks and Gimpel, 2016), Φ being the normal distribution; ``tanh`` is its approximation."""
    return dispatch.invoke_one("gelu", as_array(data), approximation=approximation)


def hard_sigmoid(data: Any, alpha: float = 0.2, beta: float = 0.5) -> ndarray:
    """clip(alpha·x + beta, 0, 1)."""
    return dispatch.invoke_one("hard_sigmoid", as_array(data), alpha=alpha, beta=beta)


def smooth_l1(data: Any, scalar: float = 1.0) -> ndarray:
    """(scalar·x)² / 2 where |x| < 1/scalar², |x| - 1/(2·scalar²) elsewhere."""
    return dispatch.invoke_one("smooth_l1", as_array(data), scalar=scalar)


def cast(data: Any, dtype: Any) -> ndarray:
    """The elements in another dtype."""
    return dispatch.invoke_one("cast", as_array(data), dtype=dtype)


def add_n(*args: Any, out: ndarray | None = None) -> ndarray:
    """The sum of all arguments; `out` receives it where it is given."""
    if not args:
        raise OpError("add_n: at least one array is needed")
    total = as_array(args[0])
    for x in args[1:]:
        total = binary("add", total, as_array(x))
    return deliver(dispatch.invoke_one("identity", total) if len(args) == 1 else total, out)


def batch_dot(
    a: Any, b: Any, transpose_a: bool = False, transpose_b: bool = False, forward_stype: str | None = "default"
) -> ndarray:
    """A matrix product for every position of the equal leading dimensions.

    Args:
        a: ``(..., N, K)``, or ``(..., K, N)`` with `transpose_a`.
        b: ``(..., K, M)``, or ``(..., M, K)`` with `transpose_b`.
        transpose_a, transpose_b: see above.
        forward_stype: ignored.

    Returns:
        ``(..., N, M)``.

    Raises:
        OpError: shapes or dtypes do not fit; there must be at least three dimensions.
    """
    attrs = {"transpose_a": transpose_a, "transpose_b": transpose_b}
    return dispatch.invoke_one("batch_dot", as_array(a), as_array(b), **attrs)


def reshape(a: Any, newshape: int | Sequence[int], reverse: bool = False, order: str = "C") -> ndarray:
    """The same elements in another shape, with codes for the dimensions of the old one.

    Args:
        a: the array.
        newshape: sizes, and codes: -1 takes what is left over; -2 copies the dimension; -3 drops it, if its
            size is one; -4 copies all that remain; -5 merges two; -6 splits one into the two sizes that
            follow, of which one may be -1.
        reverse: whether both shapes are read from the back.
        order: ``C`` or ``F``.

    Raises:
        ShapeError: the codes do not fit the shape.
    """
    return dispatch.invoke_one("npx_reshape", as_array(a), newshape=newshape, reverse=reverse, order=order)


def reshape_like(
    lhs: Any,
    rhs: Any,
    lhs_begin: int | None = None,
    lhs_end: int | None = None,
    rhs_begin: int | None = None,
    rhs_end: int | None = None,
) -> ndarray:
    """`lhs` in the shape of `rhs`, or with a range of its dimensions replaced by a range of those of `rhs`.

    Args:
        lhs, rhs: the arrays.
        lhs_begin, lhs_end: the first dimension that is replaced, and the one behind the last; all by default.
        rhs_begin, rhs_end: those that are put there.

    Raises:
        ShapeError: the numbers of elements differ, or a range is none.
    """
    ranges = {"lhs_begin": lhs_begin, "lhs_end": lhs_end, "rhs_begin": rhs_begin, "rhs_end": rhs_end}
    return dispatch.invoke_one("reshape_like", as_array(lhs), as_array(rhs), **ranges)


def broadcast_like(lhs: Any, rhs: Any, lhs_axes: Axes = None, rhs_axes: Axes = None) -> ndarray:
    """`lhs` repeated to the shape of `rhs`, or its `lhs_axes` to the size of the `rhs_axes` of `rhs`."""
    attrs = {"lhs_axes": lhs_axes, "rhs_axes": rhs_axes}
    return dispatch.invoke_one("broadcast_like", as_array(lhs), as_array(rhs), **attrs)


def arange_like(
    data: Any, start: float = 0.0, step: float = 1.0, repeat: int = 1, ctx: Any = None, axis: int | None = None
) -> ndarray:
    """start, start + step, ... (each `repeat` times) in the shape of `data`, or as many as `axis` of it has."""
    return dispatch.invoke_one("arange_like", as_array(data), start=start, step=step, repeat=repeat, axis=axis)


def slice(data: Any, begin: Any, end: Any, step: Any = None) -> ndarray:
    """The elements from `begin` to `end` (None: all) with `step` of the first axes."""
    attrs = {name: (v,) if v is None else v for name, v in (("begin", begin), ("end", end))}
    return dispatch.invoke_one("slice", as_array(data), step=step or None, **attrs)


def slice_axis(data: Any, axis: int, begin: int, end: int | None) -> ndarray:
    """The elements from `begin` to `end` (None: to the last) of one axis."""
    return dispatch.invoke_one("slice_axis", as_array(data), axis=axis, begin=begin, end=end)


def slice_like(data: Any, shape_like: Any, axes: Axes = ()) -> ndarray:
    """The first elements of `data`, as many as `shape_like` has, along `axes` (all by default)."""
    return dispatch.invoke_one("slice_like", as_array(data), as_array(shape_like), axes=() if axes is None else axes)


def one_hot(
    data: Any, depth: int | None = None, on_value: float = 1.0, off_value: float = 0.0, dtype: Any = "float32"
) -> ndarray:
    """For every position in `data` a row of `depth` elements with `on_value` there and `off_value` elsewhere."""
    attrs = {"depth": depth, "on_value": on_value, "off_value": off_value, "dtype": dtype}
    return dispatch.invoke_one("one_hot", as_array(data), **attrs)


def pick(data: Any, index: Any, axis: int = -1, mode: str = "clip", keepdims: bool = False) -> ndarray:
    """One element along `axis` for every position in `index`, which has the shape of `data` without `axis`.

    Positions out of range are clipped, or counted around with ``mode="wrap"``.
    """
    return dispatch.invoke_one("pick", as_array(data), as_array(index), axis=axis, mode=mode, keepdims=keepdims)


def gather_nd(data: Any, indices: Any) -> ndarray:
    """Elements at positions; row i of `indices` holds the positions along axis i, negative from the end."""
    return dispatch.invoke_one("gather_nd", as_array(data), as_array(indices))


def topk(
    data: Any,
    axis: int | None = -1,
    k: int = 1,
    ret_typ: str = "indices",
    is_ascend: bool = False,
    dtype: Any = "float32",
) -> Any:
    """The `k` largest elements along `axis`, in order.

    Args:
        data: an array.
        axis: along which; None for the flattened array.
        k: how many; 0 for all.
        ret_typ: ``indices``, ``value``, ``mask`` (1 where an element is among them), or ``both``, a list of
            values and indices.
        is_ascend: the smallest instead.
        dtype: of the indices.
    """
    attrs = {"axis": axis, "k": k, "ret_typ": ret_typ, "is_ascend": is_ascend, "dtype": dtype}
    result = dispatch.invoke("topk", as_array(data), **attrs)
    return list(result) if isinstance(result, tuple) else result


def sequence_mask(
    data: Any, sequence_length: Any = None, use_sequence_length: bool = False, value: float = 0.0, axis: int = 0
) -> ndarray:
    """`data` with `value` behind the end of each sequence.

    Args:
        data: ``(time, batch, ...)``, or ``(batch, time, ...)`` with ``axis=1``.
        sequence_length: ``(batch,)``.
        use_sequence_length: whether `sequence_length` is used; `data` is copied otherwise.
        value: what stands behind the end.
        axis: of time, 0 or 1.
    """
    if use_sequence_length and sequence_length is None:
        raise OpError("sequence_mask: sequence_length is missing")
    lengths = [as_array(sequence_length)] if use_sequence_length else []
    attrs = {"use_sequence_length": use_sequence_length, "value": value, "axis": axis}
    return dispatch.invoke_one("sequence_mask", as_array(data), *lengths, **attrs)


def norm(data: Any, ord: int = 2, axis: Axes = None, keepdims: bool = False) -> ndarray:
    """The L1 or L2 norm along `axis`, or of all elements."""
    x = as_array(data)
    if ord == 1:
        return dispatch.invoke_one("sum", dispatch.invoke_one("abs", x), axis=axis, keepdims=keepdims)
    if ord != 2:
        raise OpError(f"norm: ord must be 1 or 2, got {ord}")
    squares = dispatch.invoke_one("sum", dispatch.invoke_one("square", x), axis=axis, keepdims=keepdims)
    return dispatch.invoke_one("sqrt", squares)


def nonzero(data: Any) -> ndarray:
    """Positions of the non-zero elements, int64 ``(count, ndim)``."""
    return dispatch.invoke_one("argwhere", as_array(data))
