"""How NumPy's own functions treat our arrays: they give our arrays back."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidnn import dispatch
from minidnn.numpy import multiarray
from minidnn.numpy.operators import binary
from minidnn.ops.elementwise import BINARY, UNARY

__all__ = ["apply_function", "apply_ufunc", "to_numpy", "wrap"]

# NumPy calls them otherwise.
_UFUNC_NAMES = {"divide": "true_divide", "absolute": "abs", "remainder": "mod", "invert": "bitwise_not"}


def to_numpy(value: Any) -> Any:
    """`value` with every array of ours, at any depth of lists, tuples and dictionaries, as NumPy's.

    Raises:
        MXNetError: an array is traced.
    """
    if isinstance(value, multiarray.ndarray):
        return value._read("a function of NumPy")
    if isinstance(value, dict):
        return {key: to_numpy(v) for key, v in value.items()}
    if type(value) in (list, tuple):
        return type(value)(to_numpy(v) for v in value)
    return value


def wrap(value: Any) -> Any:
    """NumPy's arrays in `value` as ours; they are copied where they are views on something else."""
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "biuf":
        array = np.asarray(value)
        return multiarray.ndarray._wrap(array if array.base is None and array.flags.writeable else array.copy())
    if isinstance(value, (list, tuple)):
        parts = [wrap(v) for v in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value


def apply_ufunc(ufunc: Any, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A NumPy ufunc: our operator of the same meaning where there is one, NumPy's computation otherwise."""
    name = _UFUNC_NAMES.get(ufunc.__name__, ufunc.__name__)
    if method == "__call__" and not kwargs:
        if name == "matmul":
            return dispatch.invoke_one("matmul", *inputs)
        if name in BINARY:
            return binary(name, *inputs)
        if name in UNARY:
            return dispatch.invoke_one(name, *inputs)
    out = kwargs.pop("out", None)
    result = getattr(ufunc, method)(*to_numpy(inputs), **to_numpy(kwargs))
    if out is None:
        return wrap(result)
    targets, results = out, result if isinstance(result, tuple) else (result,)
    for target, value in zip(targets, results, strict=True):
        target[...] = value
    return targets[0] if len(targets) == 1 else targets


def apply_function(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A function of NumPy's: ours of the same name where there is one, NumPy's computation otherwise."""
    from minidnn import numpy as mx_np

    own = getattr(mx_np, func.__name__, None) if func.__module__ == "numpy" else None
    if own is not None and callable(own):
        return own(*args, **kwargs)
    return wrap(func(*to_numpy(args), **to_numpy(kwargs)))
