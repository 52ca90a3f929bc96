"""How NumPy's own functions treat our arrays: they give our arrays back."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from minidnn import dispatch
from minidnn.numpy.base import is_scalar
from minidnn.numpy.convert import as_array, to_numpy, wrap
from minidnn.ops.binary import BINARY
from minidnn.ops.elementwise import UNARY

__all__ = ["OwnFunctions"]

# NumPy calls them otherwise.
_UFUNC_NAMES = {
    "divide": "true_divide",
    "absolute": "abs",
    "remainder": "mod",
    "invert": "bitwise_not",
    "left_shift": "bitwise_left_shift",
    "right_shift": "bitwise_right_shift",
}


def _accepts(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    try:
        inspect.signature(function).bind(*args, **kwargs)
    except TypeError:
        return False
    return True


class OwnFunctions:
    """The two protocols of NumPy, over functions of ours.

    Args:
        functions: by the name that NumPy has for them.
    """

    def __init__(self, functions: Mapping[str, Any]) -> None:
        self._functions = functions

    def apply_ufunc(self, ufunc: Any, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A NumPy ufunc: our operator of the same meaning where there is one, NumPy's computation otherwise."""
        name = _UFUNC_NAMES.get(ufunc.__name__, ufunc.__name__)
        if method == "__call__" and not kwargs:
            if name == "matmul":
                return dispatch.product("matmul", *map(as_array, inputs))
            if name in BINARY:
                return dispatch.binary(name, *(x if is_scalar(x) else as_array(x) for x in inputs))
            if name in UNARY:
                return dispatch.invoke_one(name, as_array(inputs[0]))
        if method == "at":
            # NumPy writes through `at` even into arrays that are marked as read-only.
            raise TypeError(f"numpy.{ufunc.__name__}.at cannot write into our arrays; use x[index] = ...")
        out = kwargs.pop("out", None)
        result = getattr(ufunc, method)(*to_numpy(inputs), **to_numpy(kwargs))
        if out is None:
            return wrap(result)
        targets, results = out, result if isinstance(result, tuple) else (result,)
        for target, value in zip(targets, results, strict=True):
            target[...] = value
        return targets[0] if len(targets) == 1 else targets

    def apply_function(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A function of NumPy's: ours of the same name where there is one, NumPy's computation otherwise."""
        own = self._functions.get(func.__name__) if func.__module__ == "numpy" else None
        if callable(own) and _accepts(own, args, kwargs):
            return own(*args, **kwargs)
        return wrap(func(*to_numpy(args), **to_numpy(kwargs)))
