"""Operators beside those of layers: checks, scattered writes, roundings, and what MXNet 2 kept from MXNet 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minidnn import dispatch
from minidnn.dispatch import binary
from minidnn.errors import OpError
from minidnn.numpy.convert import as_array
from minidnn.numpy.multiarray import ndarray

__all__ = [
    "broadcast_greater",
    "constraint_check",
    "digamma",
    "index_add",
    "index_update",
    "pad",
    "round_ste",
    "sequence_last",
    "sequence_reverse",
    "sign_ste",
    "slice_channel",
]


def broadcast_greater(lhs: Any, rhs: Any) -> ndarray:
    """1 where lhs > rhs, 0 elsewhere, in the dtype of `lhs`; `mx.np.greater` gives bools."""
    a = as_array(lhs)
    return binary("greater", a, as_array(rhs)).astype(a.dtype)


def constraint_check(input: Any, msg: str = "Constraint violated!") -> ndarray:
    """True, as an array without dimensions, if all elements are.

    A network that multiplies by the result checks it in every run.

    Raises:
        ValueError: an element is False; the message is `msg`.
        TypeMismatchError: the elements are not bools.
    """
    return dispatch.invoke_one("constraint_check", as_array(input), msg=msg)


def digamma(data: Any) -> ndarray:
    """The derivative of the logarithm of the gamma function."""
    return dispatch.invoke_one("digamma", as_array(data))


def index_add(a: Any, ind: Any, val: Any) -> ndarray:
    """A copy of `a` with `val` added at positions; a position that occurs twice gets both.

    Args:
        a: the array.
        ind: integers: ``(d, n)``, a row for each of the first d axes, or ``(n,)``, positions along the first axis.
        val: broadcast to ``(n, ...)``, the dots being what is left of the shape of `a`.

    Raises:
        OpError: a position is out of range, or shapes do not fit.
    """
    return dispatch.invoke_one("index_add", as_array(a), as_array(ind), as_array(val))


def index_update(a: Any, ind: Any, val: Any) -> ndarray:
    """A copy of `a` with `val` at positions; of a position that occurs twice the last one counts. See `index_add`."""
    return dispatch.invoke_one("index_update", as_array(a), as_array(ind), as_array(val))


def pad(data: Any, mode: str, pad_width: Sequence[int], constant_value: float = 0.0) -> ndarray:
    """With more elements at both ends of every axis.

    Args:
        data: the array.
        mode: ``constant``, ``edge`` or ``reflect``.
        pad_width: two numbers for each axis in one row: before, after, before, after, ...
        constant_value: of the new elements, with ``constant``.

    Raises:
        OpError: there are not two numbers for each axis, or another mode.
    """
    x, widths = as_array(data), tuple(pad_width)
    if len(widths) != 2 * x.ndim:
        raise OpError(f"pad: pad_width must have {2 * x.ndim} numbers, two for each axis of {x.shape}, got {widths}")
    if mode not in ("constant", "edge", "reflect"):
        raise OpError(f"pad: mode must be 'constant', 'edge' or 'reflect', got {mode!r}")
    pairs = tuple(zip(widths[::2], widths[1::2], strict=True))
    values = {"constant_values": constant_value} if mode == "constant" else {}
    return dispatch.invoke_one("pad", x, pad_width=pairs, mode=mode, **values)


def round_ste(data: Any) -> ndarray:
    """The nearest integers, halves away from zero; the name tells of its gradient in training."""
    return dispatch.invoke_one("round", as_array(data))


def sign_ste(data: Any) -> ndarray:
    """-1, 0 or 1; the name tells of its gradient in training."""
    return dispatch.invoke_one("sign", as_array(data))


def slice_channel(data: Any, num_outputs: int, axis: int = 1, squeeze_axis: bool = False) -> Any:
    """Equal parts along `axis`, one array or a list; with `squeeze_axis` parts of size one without that axis.

    Raises:
        OpError: the size is no multiple of `num_outputs`, or a part to squeeze has another size than one.
    """
    x = as_array(data)
    parts = dispatch.invoke("split", x, sections=num_outputs, axis=axis, squeeze_axis=squeeze_axis)
    return list(parts) if isinstance(parts, tuple) else parts


def sequence_last(data: Any, sequence_length: Any = None, use_sequence_length: bool = False, axis: int = 0) -> ndarray:
    """The last element of each sequence.

    Args:
        data: ``(time, batch, ...)``, or ``(batch, time, ...)`` with ``axis=1``.
        sequence_length: ``(batch,)``, at least 1.
        use_sequence_length: whether `sequence_length` is used; otherwise the last of all.
        axis: of time, 0 or 1.

    Returns:
        ``(batch, ...)``.
    """
    if use_sequence_length and sequence_length is None:
        raise OpError("sequence_last: sequence_length is missing")
    lengths = [as_array(sequence_length)] if use_sequence_length else []
    attrs = {"use_sequence_length": use_sequence_length, "axis": axis}
    return dispatch.invoke_one("sequence_last", as_array(data), *lengths, **attrs)


def sequence_reverse(
    data: Any, sequence_length: Any = None, use_sequence_length: bool = False, axis: int = 0
) -> ndarray:
    """Each sequence from its end to its begin; what lies behind its end stays.

    Args:
        data: ``(time, batch, ...)``.
        sequence_length: ``(batch,)``.
        use_sequence_length: whether `sequence_length` is used; otherwise sequences are as long as the axis.
        axis: of time, 0.
    """
    if use_sequence_length and sequence_length is None:
        raise OpError("sequence_reverse: sequence_length is missing")
    lengths = [as_array(sequence_length)] if use_sequence_length else []
    attrs = {"use_sequence_length": use_sequence_length, "axis": axis}
    return dispatch.invoke_one("sequence_reverse", as_array(data), *lengths, **attrs)
