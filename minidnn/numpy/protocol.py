"""How NumPy's own functions treat our arrays: they give our arrays back."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from minidnn import dispatch
from minidnn.dispatch import invoke_one
from minidnn.ir.trace import no_data
from minidnn.numpy.base import is_scalar
from minidnn.numpy.convert import as_array, find_traced, to_numpy, wrap
from minidnn.numpy.multiarray import ndarray
from minidnn.numpy.official import FUNCTIONS, REDUCTIONS, accumulate
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
    "positive": "identity",
    "conjugate": "identity",
    "deg2rad": "radians",
    "rad2deg": "degrees",
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
        linalg: those of `numpy.linalg`.
    """

    def __init__(self, functions: Mapping[str, Any], linalg: Mapping[str, Any]) -> None:
        self._functions = {"numpy": {**FUNCTIONS, **functions}, "numpy.linalg": linalg}

    def apply_ufunc(self, ufunc: Any, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A NumPy ufunc: our operator of the same meaning where there is one, NumPy's computation otherwise.

        Raises:
            MXNetError: an array is traced, and there is no operator for that.
        """
        if method == "at":
            # NumPy writes through `at` even into arrays that are marked as read-only.
            raise TypeError(f"numpy.{ufunc.__name__}.at cannot write into our arrays; use x[index] = ...")
        options = {name: value for name, value in kwargs.items() if value is not None}
        out, dtype = options.pop("out", ()), options.pop("dtype", None)
        results = None
        if all(isinstance(target, ndarray) for target in out):
            results = self._by_operators(ufunc, method, inputs, options, dtype)
        if results is None:
            results = _by_numpy(ufunc, method, inputs, {k: v for k, v in kwargs.items() if k != "out"}, out)
        if not out:
            return results
        parts = results if isinstance(results, tuple) else (results,)
        for target, value in zip(out, parts, strict=True):
            target[...] = value
        return out[0] if len(out) == 1 else out

    def _by_operators(
        self, ufunc: Any, method: str, inputs: tuple[Any, ...], options: dict[str, Any], dtype: Any
    ) -> Any:
        """The results of a ufunc; None if there are no operators for that."""
        if method == "reduce" and ufunc.__name__ in REDUCTIONS and options.keys() <= {"axis", "keepdims"}:
            reduced = as_array(inputs[0]) if dtype is None else as_array(inputs[0]).astype(dtype, copy=False)
            axis = inputs[1] if len(inputs) > 1 else options.get("axis", 0)
            return invoke_one(REDUCTIONS[ufunc.__name__], reduced, axis=axis, keepdims=options.get("keepdims", False))
        if method == "accumulate" and options.keys() <= {"axis"}:
            return accumulate(ufunc.__name__, as_array(inputs[0]), options.get("axis", 0), dtype)
        if options:
            return None
        operands = inputs
        if dtype is not None:
            operands = tuple(as_array(x).astype(dtype, copy=False) for x in inputs)
        if method == "outer":
            first, second = map(as_array, operands)
            operands = (first.reshape(first.shape + (1,) * second.ndim), second)
        elif method != "__call__":
            return None
        result = _operator(ufunc, operands)
        own = self._functions["numpy"].get(ufunc.__name__)
        return own(*operands) if result is None and own is not None else result

    def apply_function(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A function of NumPy's: ours of the same name where there is one, NumPy's computation otherwise.

        Raises:
            MXNetError: an array is traced, and there is no function of ours.
        """
        own = self._functions.get(func.__module__, {}).get(func.__name__)
        given = kwargs if own is None else _without_defaults(func, kwargs)
        if callable(own) and _accepts(own, args, given):
            return own(*args, **given)
        traced = find_traced((args, kwargs))
        if traced is not None:
            raise no_data(traced._value, f"{func.__module__}.{func.__name__}(){'' if own is None else _listed(given)}")
        return wrap(func(*to_numpy(args), **to_numpy(kwargs)))


def _by_numpy(ufunc: Any, method: str, inputs: Any, kwargs: dict[str, Any], out: tuple[Any, ...]) -> Any:
    """What NumPy computes.

    Raises:
        MXNetError: an array is traced.
    """
    traced = find_traced((inputs, kwargs, out))
    if traced is not None:
        called = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
        given = [*kwargs, *(["out"] if out else [])]
        raise no_data(traced._value, f"numpy.{called}(){_listed(given) if given else ''}")
    return wrap(getattr(ufunc, method)(*to_numpy(inputs), **to_numpy(kwargs)))


def _without_defaults(func: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments without those that have NumPy's default."""
    try:
        parameters = inspect.signature(func).parameters
    except (TypeError, ValueError):
        return kwargs
    return {n: v for n, v in kwargs.items() if n not in parameters or v is not parameters[n].default}


def _listed(names: Iterable[str]) -> str:
    return f" with {', '.join(names) or 'these arguments'}"


def _operator(ufunc: Any, inputs: tuple[Any, ...]) -> Any:
    """Our operator of the same meaning as a ufunc; None if there is none."""
    name = _UFUNC_NAMES.get(ufunc.__name__, ufunc.__name__)
    if name == "matmul":
        return dispatch.product("matmul", *map(as_array, inputs))
    if name in BINARY:
        return dispatch.binary(name, *(x if is_scalar(x) else as_array(x) for x in inputs))
    return dispatch.invoke_one(name, as_array(inputs[0])) if name in UNARY else None
