"""Products of matrices and vectors."""

from __future__ import annotations

from typing import Any

from minidnn import dispatch
from minidnn.dispatch import binary, product
from minidnn.numpy.base import check_options, deliver
from minidnn.numpy.convert import as_array, is_scalar
from minidnn.numpy.manipulation import ravel
from minidnn.numpy.multiarray import ndarray

__all__ = ["dot", "inner", "matmul", "outer", "vdot"]


def matmul(a: Any, b: Any, out: ndarray | None = None, **kwargs: Any) -> ndarray:
    """The matrix product of the last two axes, over broadcast leading ones; a vector is a row or a column."""
    check_options("matmul", kwargs)
    return deliver(product("matmul", as_array(a), as_array(b)), out)


def dot(a: Any, b: Any, out: ndarray | None = None) -> ndarray:
    """The sum over the last axis of `a` and the last but one of `b`; numbers multiply."""
    if is_scalar(a) or is_scalar(b):
        return deliver(binary("multiply", a, b), out)
    x, y = as_array(a), as_array(b)
    return deliver(binary("multiply", x, y) if not x.shape or not y.shape else product("dot", x, y), out)


def inner(a: Any, b: Any) -> ndarray:
    """The sum over the last axes of both."""
    x, y = as_array(a), as_array(b)
    if not x.shape or not y.shape:
        return binary("multiply", x, y)
    return product("dot", x, dispatch.invoke_one("swapaxes", y, dim1=-1, dim2=-2) if y.ndim > 1 else y)


def outer(a: Any, b: Any) -> ndarray:
    """All products of an element of `a` with one of `b`, as a matrix."""
    return binary("multiply", ravel(a).reshape(-1, 1), ravel(b).reshape(1, -1))


def vdot(a: Any, b: Any) -> ndarray:
    """The sum of the products of all elements."""
    return product("dot", ravel(a), ravel(b))
