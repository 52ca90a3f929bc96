"""The state of an array, and how an operator is applied to arrays: recorded while tracing, computed otherwise.

`ndarray` of `minidnn.numpy.multiarray` is built in storeys, each on the one before: `ArrayBase`, `ArrayOperators`,
`ArrayMethods`, `FluentMethods`. What a storey makes is of the class it is called on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self, TypeVar

import numpy as np

from minidnn import engine
from minidnn.errors import MXNetError, OpError, ShapeError, TypeMismatchError, UnsupportedError
from minidnn.ir.graph import Entry
from minidnn.ir.trace import Trace, Traceable, current_trace, no_data, trace_of
from minidnn.ops.checks import DTYPES
from minidnn.ops.registry import Attrs, Op, TensorType, get_op
from minidnn.scope import current_scope

__all__ = ["ArrayBase", "apply", "as_native", "check_options", "check_order", "deliver", "is_scalar"]


def is_scalar(x: Any) -> bool:
    """Whether `x` is one number of Python's or NumPy's, not an array."""
    return isinstance(x, (bool, int, float, np.bool_, np.integer, np.floating))


def as_native(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """`x`, or its copy, as kernels can read it: native byte order, aligned, C-contiguous, of a supported dtype.

    Raises:
        TypeMismatchError: a dtype that no operator knows (complex, object, strings, dates, records).
    """
    native = x.dtype.newbyteorder("=")
    if native not in DTYPES:
        raise TypeMismatchError(f"arrays of {x.dtype} are not supported; bool, integers and floats up to 64 bits are")
    return np.require(np.asarray(x), native, ["C", "A"]).reshape(x.shape)


def check_order(name: str, order: str) -> None:
    """Accepts ``C``, the one memory layout there is.

    Raises:
        UnsupportedError: another one.
    """
    if order != "C":
        raise UnsupportedError(f"{name}: order must be 'C', got {order!r}")


# The options of NumPy's ufuncs beside `out`, by their defaults, and what else NumPy knows for them.
_UFUNC_OPTIONS: dict[str, tuple[Any, Callable[[Any], bool]]] = {
    "casting": ("same_kind", {"no", "equiv", "safe", "same_kind", "unsafe"}.__contains__),
    "dtype": (None, lambda value: _is_dtype(value)),
    "order": ("K", lambda value: isinstance(value, str)),
    "subok": (True, lambda value: isinstance(value, bool)),
    "where": (True, lambda value: True),
}


def _is_dtype(value: Any) -> bool:
    try:
        np.dtype(value)
    except (TypeError, SyntaxError, ValueError):
        return False
    return True


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Accepts the options of a NumPy ufunc that are left at their defaults.

    Raises:
        UnsupportedError: another value that NumPy knows.
        TypeError: a value, or an option, that NumPy does not know either.
    """
    for option, value in options.items():
        if option not in _UFUNC_OPTIONS:
            raise TypeError(f"{name}() got an unexpected keyword argument {option!r}")
        default, is_legal = _UFUNC_OPTIONS[option]
        if value is default or (isinstance(value, str) and value == default):
            continue
        if is_legal(value):
            raise UnsupportedError(f"{name}: {option}={value!r} is not supported, only {default!r}")
        raise TypeError(f"{name}: {option}={value!r} is unknown")


def _has_codes(newshape: Any) -> bool:
    """Whether a new shape has one of the codes -2 to -6, which NumPy does not know."""
    numbers = newshape if isinstance(newshape, (tuple, list)) else (newshape,)
    return any(isinstance(n, (int, np.integer)) and n < -1 for n in numbers)


class _Buffer:
    """Memory that several arrays may be views of; `version` counts the writes to it."""

    __slots__ = ("version",)

    def __init__(self) -> None:
        self.version = 0

    def share(self) -> None:
        """Take it that code outside may write to the memory at any time from now on."""
        # The class, not a flag: all other arrays' versions stay one look-up.
        self.__class__ = _SharedBuffer


_SLOT: Any = vars(_Buffer)["version"]


class _SharedBuffer(_Buffer):
    """Memory that others write to without telling: no two looks at its version are alike, so nothing is kept of it."""

    __slots__ = ()

    @property
    def version(self) -> int:
        count: int = _SLOT.__get__(self) + 1
        _SLOT.__set__(self, count)
        return count

    @version.setter
    def version(self, value: int) -> None:
        _SLOT.__set__(self, value)


class ArrayBase(Traceable):
    """An array with data, or an entry of a graph that is being traced."""

    __slots__ = ("__weakref__", "_buffer", "_data", "_kernels", "_kernels_version")

    _data: np.ndarray[Any, Any] | None
    _buffer: _Buffer
    _kernels: dict[Any, Any]
    _kernels_version: int

    @classmethod
    def _wrap(cls, data: np.ndarray[Any, Any], base: ArrayBase | None = None) -> Self:
        """An array around `data`, which belongs to it from now on, or is a view on the memory of `base`."""
        self = object.__new__(cls)
        self._data = data
        self._type = TensorType(data.shape, data.dtype)
        self._entry = self._trace = None
        self._buffer = _Buffer() if base is None else base._buffer
        self._kernels, self._kernels_version = {}, self._buffer.version
        return self

    @classmethod
    def _traced(cls, entry: Entry, type_: TensorType, trace: Trace[Any]) -> Self:
        """An array without data: `entry` of the graph that `trace` is recording."""
        self = object.__new__(cls)
        self._data = None
        self._type = type_
        self._entry, self._trace = entry, trace
        self._buffer = _Buffer()
        self._kernels, self._kernels_version = {}, 0
        return self

    @property
    def shape(self) -> tuple[int, ...]:
        if self._trace is not None and self._entry is not None:
            self._trace.note_shape_read(self._entry)
        return self._type.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._type.dtype

    @property
    def ndim(self) -> int:
        if self._trace is not None and self._entry is not None:
            self._trace.note_shape_read(self._entry, rank_only=True)
        return len(self._type.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def _version(self) -> int:
        """Number of writes to the memory so far, through this array or any view of it."""
        return self._buffer.version

    @property
    def _compiled(self) -> dict[Any, Any]:
        """The engine's scratch: kernels that baked this array in. Empty again after any write to the memory."""
        if self._kernels_version != self._buffer.version:
            self._kernels, self._kernels_version = {}, self._buffer.version
        return self._kernels

    def _read(self, what: str) -> np.ndarray[Any, Any]:
        """The data.

        Raises:
            MXNetError: there is none, since the array is traced.
        """
        if self._data is None:
            assert self._entry is not None
            raise no_data(self._entry, what)
        return self._data

    def _apply(self, op_name: str, *others: Any, **attrs: Any) -> Self:
        """The one output of an operator on this array and `others`."""
        return apply(type(self), op_name, (self, *others), attrs)[0]

    def _reshape(self, newshape: Any, order: str) -> Self:
        """The elements in another shape, which may have the codes of `npx.reshape`."""
        op = "npx_reshape" if _has_codes(newshape) else "reshape"
        return self._apply(op, newshape=newshape, order=order)

    def copy(self, order: str = "C") -> Self:
        """An array of its own with the same elements.

        Raises:
            UnsupportedError: `order` is not ``C``.
        """
        check_order("copy", order)
        if self._data is None:
            return self._apply("identity")
        return self._wrap(np.array(self._data, order="C"))

    def astype(
        self, dtype: Any, order: str = "K", casting: str = "unsafe", subok: bool = True, copy: bool = True
    ) -> Self:
        """The elements in another dtype.

        Args:
            dtype: bool, an integer or a float.
            order, subok: accepted for NumPy's sake.
            casting: ``unsafe``; NumPy's stricter rules are checked too.
            copy: with False the array itself is given back where the dtype is already right.

        Raises:
            TypeMismatchError: a dtype that is not supported, or that `casting` forbids.
        """
        wanted = np.dtype(dtype)
        if not np.can_cast(self.dtype, wanted, casting):  # type: ignore[arg-type]
            raise TypeMismatchError(f"cannot cast {self.dtype} to {wanted} by the rule {casting!r}")
        if not copy and wanted == self.dtype:
            return self
        return self._apply("cast", dtype=wanted)

    def _assign(self, value: ArrayBase, casting: Any = "same_kind") -> Self:
        """Write `value` to the whole array: the second half of ``x += y``.

        While tracing, the array object stands for `value` from then on.
        """
        if value.shape != self.shape:
            raise ShapeError(f"an array of shape {value.shape} cannot be written into one of shape {self.shape}")
        if not np.can_cast(value.dtype, self.dtype, casting):
            raise TypeMismatchError(f"{value.dtype} results cannot be written into an array of {self.dtype} in place")
        if self._data is not None:
            if value._data is None:
                assert value._entry is not None
                raise no_data(value._entry, "writing in place into an array that is not traced")
            try:
                np.copyto(self._data, value._data, casting=casting)
            finally:
                self._buffer.version += 1  # also after Ctrl-C: what was written has been written
            return self
        assert self._entry is not None and self._trace is not None
        if self._trace.may_be_aliased(self._entry):
            raise MXNetError(
                f"writing in place to {str(self._entry)!r} cannot be traced, since it may share memory with another "
                "array (an input, a parameter, or a view); write x = x + y instead of x += y"
            )
        self._entry = value.astype(self.dtype, copy=False)._entry
        return self


Array = TypeVar("Array", bound=ArrayBase)


def deliver(result: Array, out: Array | None) -> Array:
    """`result`, or `out` with `result` written into it."""
    return result if out is None else out._assign(result)


def apply(array: type[Array], op_name: str, inputs: Sequence[Any], attrs: Mapping[str, Any]) -> tuple[Array, ...]:
    """Apply the operator `op_name` to `inputs`.

    Args:
        array: the class of the outputs.
        op_name: a name of the registry.
        inputs: arrays, ours or NumPy's, in the order of the operator's inputs.
        attrs: the operator's attributes.

    Raises:
        OpError: the inputs or attributes do not fit; the message begins with the layer's name.
    """
    try:
        op = get_op(op_name)
        arrays = [_as_input(array, op_name, i, x) for i, x in enumerate(inputs)]
        made = op.make_attrs(attrs)
        trace = trace_of(arrays)
        if trace is None and op.is_random:
            trace = current_trace()
        return trace.record(op, made, arrays) if trace is not None else _run(array, op, made, arrays)
    except OpError as error:
        scope = current_scope()
        if not scope:
            raise
        raise type(error)(f"{scope}: {error}") from None


def _run(array: type[Array], op: Op, attrs: Attrs, arrays: Sequence[Array]) -> tuple[Array, ...]:
    return tuple(array._wrap(_owned(result, arrays)) for result in engine.run_op(op, attrs, arrays))


def _owned(result: np.ndarray[Any, Any], arrays: Sequence[ArrayBase]) -> np.ndarray[Any, Any]:
    """`result` itself, or a copy where it is a view on an input: outputs can be written to, inputs stay as they are."""
    if any(np.may_share_memory(result, a._data) for a in arrays if a._data is not None):
        return result.copy()
    return result


def _as_input(array: type[Array], op_name: str, position: int, x: Any) -> Array:
    if isinstance(x, array):
        return x
    if isinstance(x, (np.ndarray, np.generic)):
        return array._wrap(as_native(np.asarray(x)))
    raise TypeMismatchError(f"{op_name}: input {position} must be an array, got {type(x).__name__}")
