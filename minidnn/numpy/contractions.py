"""Sums of products over named axes, as transposes, reshapes and matrix products: einsum, tensordot."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from minidnn.dispatch import binary, invoke_one, product
from minidnn.errors import OpError, ShapeError
from minidnn.numpy.base import deliver
from minidnn.numpy.convert import as_array
from minidnn.numpy.multiarray import ndarray
from minidnn.ops.elementwise import promote
from minidnn.sizes import by_example, is_same

__all__ = ["einsum", "tensordot"]

# An axis is named by a letter, or, of those that an ellipsis stands for, by its distance from the last one.
Label = str | int
Labels = tuple[Label, ...]


def tensordot(a: Any, b: Any, axes: Any = 2) -> ndarray:
    """The sum of products over several axes of both arrays.

    Args:
        a, b: the arrays.
        axes: how many axes are summed, the last ones of `a` with the first ones of `b`; or the axes of each.

    Returns:
        The axes of `a` and then of `b` that are not summed.

    Raises:
        ShapeError: the summed axes differ in number or size.
    """
    x, y = as_array(a), as_array(b)
    first, second = _summed_axes(x, y, axes)
    left: list[Label] = [f"a{i}" for i in range(x.ndim)]
    right: list[Label] = [f"b{i}" for i in range(y.ndim)]
    for i, j in zip(first, second, strict=True):
        if by_example(operator.ne, x.shape[i], y.shape[j]):
            raise ShapeError(f"tensordot: axis {i} of {x.shape} and axis {j} of {y.shape} must have one size")
        right[j] = left[i]
    output = (*(n for n in left if n not in right), *(n for n in right if n not in left))
    return _contract([(x, tuple(left)), (y, tuple(right))], output)


def _summed_axes(x: ndarray, y: ndarray, axes: Any) -> tuple[list[int], list[int]]:
    if isinstance(axes, (int, np.integer)):
        count = int(axes)
        if not 0 <= count <= min(x.ndim, y.ndim):
            raise ShapeError(f"tensordot: axes must lie in [0, {min(x.ndim, y.ndim)}], got {axes}")
        return list(range(x.ndim - count, x.ndim)), list(range(count))
    first, second = ([int(a) for a in np.atleast_1d(part)] for part in axes)
    for given, array in ((first, x), (second, y)):
        if any(not -array.ndim <= a < array.ndim for a in given) or len({a % array.ndim for a in given}) != len(given):
            raise ShapeError(f"tensordot: axes must be distinct axes of {array.shape}, got {given}")
    if len(first) != len(second):
        raise ShapeError(f"tensordot: as many axes of both arrays must be summed, got {first} and {second}")
    return [a % x.ndim for a in first], [a % y.ndim for a in second]


def einsum(*operands: Any, out: ndarray | None = None, optimize: Any = False, **kwargs: Any) -> ndarray:
    """Einstein's summation convention, as `numpy.einsum` has it.

    Args:
        operands: subscripts (``'ij,jk->ik'``, ``'...ii->...i'``) and the arrays; or each array followed by a list of
            numbers of its axes, and at the end maybe such a list for the result.
        out: receives the result where it is given.
        optimize: accepted; products are taken from left to right.
        kwargs: ``dtype``, in which is computed; NumPy's others are accepted.

    Raises:
        OpError: the subscripts are invalid.
        ShapeError: they do not fit the shapes.
    """
    subscripts, arrays = _read_operands(operands)
    dtype = kwargs.get("dtype") or promote(*(a.dtype for a in arrays))
    inputs, output = _parse(subscripts, arrays)
    cast = [a.astype(dtype, copy=False) for a in arrays]
    return deliver(_contract(list(zip(cast, inputs, strict=True)), output), out)


def _read_operands(operands: Sequence[Any]) -> tuple[str, list[ndarray]]:
    if not operands:
        raise OpError("einsum: subscripts and at least one array are needed")
    if isinstance(operands[0], str):
        return operands[0].replace(" ", ""), [as_array(a) for a in operands[1:]]
    terms = [_as_term(labels) for labels in operands[1::2]]
    arrays = [as_array(a) for a in operands[: len(operands) // 2 * 2 : 2]]
    result = f"->{_as_term(operands[-1])}" if len(operands) % 2 else ""
    return ",".join(terms) + result, arrays


def _as_term(labels: Any) -> str:
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    if any(label is not Ellipsis and not 0 <= label < len(letters) for label in labels):
        raise OpError(f"einsum: axes must be numbered from 0 to {len(letters) - 1}, got {list(labels)}")
    return "".join("..." if label is Ellipsis else letters[label] for label in labels)


def _parse(subscripts: str, arrays: Sequence[ndarray]) -> tuple[list[Labels], Labels]:
    """The labels of each operand's axes, and of the result's."""
    given, arrow, wanted = subscripts.partition("->")
    terms = given.split(",")
    if len(terms) != len(arrays):
        raise OpError(f"einsum: {subscripts!r} names {len(terms)} operands, got {len(arrays)}")
    inputs = [_labels_of(term, a.ndim, subscripts) for term, a in zip(terms, arrays, strict=True)]
    hidden = max((sum(isinstance(n, int) for n in labels) for labels in inputs), default=0)
    if not arrow:
        flat = [n for labels in inputs for n in labels if isinstance(n, str)]
        return inputs, (*range(-hidden, 0), *sorted(n for n in set(flat) if flat.count(n) == 1))
    output = _labels_of(wanted, len(wanted.replace("...", "")) + hidden * ("..." in wanted), subscripts)
    missing = [n for n in output if not any(n in labels for labels in inputs)]
    if missing or len(set(output)) != len(output):
        raise OpError(f"einsum: the result of {subscripts!r} must have labels of the operands, each once")
    return inputs, output


def _labels_of(term: str, ndim: int, subscripts: str) -> Labels:
    front, dots, back = term.partition("...")
    if not all(c.isascii() and c.isalpha() for c in front + back):
        raise OpError(f"einsum: subscripts must be letters, '...', ',' and '->', got {subscripts!r}")
    hidden = ndim - len(front) - len(back)
    if hidden < 0 or (hidden and not dots):
        raise ShapeError(f"einsum: {term!r} of {subscripts!r} does not fit an array of {ndim} dimensions")
    return (*front, *range(-hidden, 0), *back)


# ---- contraction ---------------------------------------------------------------------------------------

Operand = tuple[ndarray, Labels]


def _contract(operands: list[Operand], output: Labels) -> ndarray:
    operands = [_take_diagonals(x, labels) for x, labels in operands]
    sizes = _sizes(operands)
    operands = [_drop_broadcast(x, labels, sizes) for x, labels in operands]
    x, labels = operands[0]
    for position, (y, other) in enumerate(operands[1:], 1):
        later = set(output).union(*(names for _, names in operands[position + 1 :]))
        x, labels = _multiply(_sum_out(x, labels, later | set(other)), _sum_out(y, other, later | set(labels)), later)
    x, labels = _sum_out(x, labels, set(output))
    order = tuple(labels.index(n) for n in output)
    return invoke_one("transpose", x, axes=order) if order != tuple(range(len(order))) else x.copy()


def _take_diagonals(x: ndarray, labels: Labels) -> Operand:
    """With every label once: an axis that is named as another runs along with it."""
    while len(set(labels)) < len(labels):
        name = next(n for n in labels if labels.count(n) > 1)
        first = labels.index(name)
        second = labels.index(name, first + 1)
        if by_example(operator.ne, x.shape[first], x.shape[second]):
            raise ShapeError(f"einsum: axes named {name!r} must have one size, got {x.shape[first]}, {x.shape[second]}")
        x = invoke_one("diagonal", x, axis1=first, axis2=second)
        labels = (*(n for i, n in enumerate(labels) if i not in (first, second)), name)
    return x, labels


def _sizes(operands: Sequence[Operand]) -> dict[Label, int]:
    sizes: dict[Label, int] = {}
    for x, labels in operands:
        for n, size in zip(labels, x.shape, strict=True):
            known = sizes.setdefault(n, size)
            if _is_equal(known, size):
                continue
            if 1 not in (known, size):
                name = f"{n!r}" if isinstance(n, str) else "of an ellipsis"
                raise ShapeError(f"einsum: axes {name} must have one size, got {known} and {size}")
            sizes[n] = size if known == 1 else known
    return sizes


def _is_equal(size: int, other: int) -> bool:
    """Whether two sizes are equal; of symbolic ones that may differ, that is decided by the call that is traced."""
    return is_same(size, other) or bool(size == other)


def _drop_broadcast(x: ndarray, labels: Labels, sizes: dict[Label, int]) -> Operand:
    """Without the axes of size one along which other operands have more."""
    dropped = tuple(i for i, n in enumerate(labels) if not _is_equal(x.shape[i], sizes[n]))
    if not dropped:
        return x, labels
    return invoke_one("squeeze", x, axis=dropped), tuple(n for i, n in enumerate(labels) if i not in dropped)


def _sum_out(x: ndarray, labels: Labels, wanted: set[Label]) -> Operand:
    """Summed over the axes that nobody wants."""
    axes = tuple(i for i, n in enumerate(labels) if n not in wanted)
    if not axes:
        return x, labels
    # The sum of integers is as wide as they are, as in a product.
    return invoke_one("sum", x, axis=axes, dtype=x.dtype), tuple(n for n in labels if n in wanted)


def _multiply(a: Operand, b: Operand, later: set[Label]) -> Operand:
    """The product of two operands, summed over what both have and nobody wants later."""
    (x, left), (y, right) = a, b
    shared = [n for n in left if n in right]
    batch = [n for n in shared if n in later]
    summed = [n for n in shared if n not in later]
    rows = [n for n in left if n not in right]
    columns = [n for n in right if n not in left]
    sizes = dict(zip(left, x.shape, strict=True)) | dict(zip(right, y.shape, strict=True))
    if not summed:
        names = (*batch, *rows, *columns)
        return binary("multiply", _spread(x, left, names), _spread(y, right, names)), names
    x = _as_matrices(x, left, [batch, rows, summed], sizes)
    y = _as_matrices(y, right, [batch, summed, columns], sizes)
    result = tuple(batch + rows + columns)
    return product("matmul", x, y).reshape(tuple(sizes[n] for n in result)), result


def _spread(x: ndarray, labels: Labels, names: Labels) -> ndarray:
    """`x` with an axis for each of `names`, of size one where it has none."""
    order = [labels.index(n) for n in names if n in labels]
    shape = tuple(x.shape[labels.index(n)] if n in labels else 1 for n in names)
    return invoke_one("transpose", x, axes=tuple(order)).reshape(shape) if order else x.reshape(shape)


def _as_matrices(x: ndarray, labels: Labels, groups: list[list[Label]], sizes: dict[Label, int]) -> ndarray:
    order = tuple(labels.index(n) for group in groups for n in group)
    if order != tuple(range(len(order))):
        x = invoke_one("transpose", x, axes=order)
    return x.reshape(tuple(math.prod(sizes[n] for n in group) for group in groups))
