"""The state of an array, and how an operator is applied to arrays: recorded while tracing, computed otherwise.

`ndarray` of `minidnn.numpy.multiarray` is built in storeys, each on the one before: `ArrayBase`, `ArrayOperators`,
`ArrayMethods`, `FluentMethods`. What a storey makes is of the class it is called on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, Self, TypeVar

import numpy as np

from minidnn import engine
from minidnn.errors import MXNetError, OpError, ShapeError, TypeMismatchError, UnsupportedError
from minidnn.ir.graph import Entry
from minidnn.ir.trace import Trace, Traceable, current_trace, innermost_serial, no_data, trace_of
from minidnn.ops.checks import DTYPES
from minidnn.ops.registry import Attrs, Op, TensorType, get_op
from minidnn.scope import current_scope
from minidnn.sizes import Number, Size, example_of
from minidnn.user_code import at_user_line

__all__ = [
    "CHANGES",
    "ArrayBase",
    "Window",
    "apply",
    "as_dtype",
    "as_native",
    "check_options",
    "check_order",
    "deliver",
    "is_scalar",
]


def is_scalar(x: Any) -> bool:
    """Whether `x` is one number of Python's or NumPy's, not an array."""
    return isinstance(x, (bool, int, float, np.bool_, np.integer, np.floating, Size, Number))


def as_dtype(dtype: Any) -> np.dtype[Any]:
    """What a caller names as the dtype of arrays.

    Raises:
        TypeError: it is none.
        TypeMismatchError: it is bfloat16, which NumPy does not have; the message says what has.
    """
    name = dtype if isinstance(dtype, str) else getattr(dtype, "name", None) or getattr(dtype, "__name__", "")
    if name == "bfloat16" or str(dtype) == "torch.bfloat16":
        raise TypeMismatchError(
            "arrays of bfloat16 are not supported; mx.amp.convert_hybrid_block makes a network with weights in bfloat16"
        )
    made: np.dtype[Any] = np.dtype(dtype)
    return made


def as_native(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """`x`, or its copy, as kernels can read it: native byte order, aligned, C-contiguous, of a supported dtype.

    Raises:
        TypeMismatchError: a dtype that no operator knows (complex, object, strings, dates, records).
    """
    native = as_dtype(x.dtype).newbyteorder("=")
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


class _Changes:
    """Counts the changes to what networks are compiled from: writes to any array, and changes to any tree of blocks.

    Who has looked at all of it looks again only after another change.
    """

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


CHANGES = _Changes()


class _Buffer:
    """Memory that several arrays may be views of; `version` counts the writes to it.

    `serial` is that of the trace in which it was made; 0 outside of any.
    """

    __slots__ = ("serial", "version")

    def __init__(self) -> None:
        self.version = 0
        self.serial = innermost_serial()

    def share(self) -> None:
        """Take it that code outside may write to the memory at any time from now on."""
        # The class, not a flag: all other arrays' versions stay one look-up.
        self.__class__ = _SharedBuffer
        CHANGES.count += 1


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


class Window(Protocol):
    """How a traced array that is a view sees, and writes to, the one that it is a view of."""

    @property
    def array(self) -> Any: ...

    def read(self) -> Entry: ...

    def write(self, value: Any) -> None: ...


class ArrayBase(Traceable):
    """An array with data, or an entry of a graph that is being traced.

    A traced array has a `_value`, its entry; one that is a view has the entry of version `_seen` of the buffer, and a
    `_window` that gives the next ones. None of the three is set in an array with data. `_kernels` is set once somebody
    asks for it.
    """

    __slots__ = ("__weakref__", "_buffer", "_data", "_kernels", "_kernels_version", "_seen", "_value", "_window")

    _data: np.ndarray[Any, Any] | None
    _buffer: _Buffer
    _value: Entry
    _window: Window | None
    _seen: int
    _kernels: dict[Any, Any]
    _kernels_version: int

    @classmethod
    def _wrap(cls, data: np.ndarray[Any, Any], base: ArrayBase | None = None, type_: TensorType | None = None) -> Self:
        """An array around `data`, which belongs to it from now on, or is a view on the memory of `base`.

        Its type need not be given.
        """
        self = object.__new__(cls)
        self._data = data
        self._type = TensorType(data.shape, data.dtype) if type_ is None else type_
        self._trace = None
        self._buffer = _Buffer() if base is None else base._buffer
        self._kernels_version = -1
        return self

    @classmethod
    def _traced(cls, entry: Entry, type_: TensorType, trace: Trace[Any]) -> Self:
        """An array without data: `entry` of the graph that `trace` is recording."""
        self = object.__new__(cls)
        self._type = type_
        self._buffer = _Buffer()
        self._kernels_version = -1
        self._become_traced(entry, trace)
        return self

    def _become_traced(self, entry: Entry, trace: Trace[Any], window: Window | None = None) -> None:
        """From now on this is `entry` of the graph that `trace` is recording, a view if there is a window."""
        self._data = None
        self._value, self._window, self._seen = entry, window, self._buffer.version
        self._trace = trace

    @property
    def _entry(self) -> Entry:
        if self._window is not None and self._seen != self._buffer.version:
            self._value, self._seen = self._window.read(), self._buffer.version
        return self._value

    @property
    def shape(self) -> tuple[int, ...]:
        if self._trace is not None:
            self._trace.note_shape_read(self._value)
        return self._type.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._type.dtype

    @property
    def ndim(self) -> int:
        if self._trace is not None:
            self._trace.note_shape_read(self._value, rank_only=True)
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
            raise no_data(self._value, what)
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
        wanted = as_dtype(dtype)
        if not np.can_cast(self.dtype, wanted, casting):  # type: ignore[arg-type]
            raise TypeMismatchError(f"cannot cast {self.dtype} to {wanted} by the rule {casting!r}")
        if not copy and wanted == self.dtype:
            return self
        return self._apply("cast", dtype=wanted)

    def _assign(self, value: ArrayBase, casting: Any = "same_kind") -> Self:
        """Write `value` to the whole array: the second half of ``x += y``.

        While tracing, the array object, and all views of it, stand for the new value from then on.
        """
        if value._type.shape != self._type.shape:
            raise ShapeError(f"an array of shape {value.shape} cannot be written into one of shape {self.shape}")
        if not np.can_cast(value.dtype, self.dtype, casting):
            raise TypeMismatchError(f"{value.dtype} results cannot be written into an array of {self.dtype} in place")
        if value._trace is not None:
            self._enter(value._trace)
        if self._trace is not None:
            self._replace(value)
        else:
            assert self._data is not None
            try:
                np.copyto(self._data, value._read("writing in place"), casting=casting)
            finally:
                # Also after Ctrl-C: what was written has been written. No call stands here, so none comes between.
                self._buffer.version += 1
                CHANGES.count += 1
        return self

    def _replace(self, value: ArrayBase) -> None:
        """A traced array becomes `value`, which has its shape.

        Raises:
            MXNetError: it is a parameter.
        """
        trace = self._trace
        assert trace is not None
        trace_of([self])
        name = trace.parameter_name(self)
        if name is not None:
            raise MXNetError(
                f"writing to the parameter {name!r} cannot be traced: it would change from run to run; "
                f"write to a copy{at_user_line()}"
            )
        value = value.astype(self.dtype, copy=False)
        if trace.depends_on_values(self._entry) or trace.depends_on_values(trace.entry(value)):
            # Where sizes depend on values, the operator sees in each run whether they are the same.
            (value,) = apply(type(self), "index_assign", (self, value), {"key": ("rest",), "broadcasts": False})
        entry = trace.entry(value)
        if self._window is not None:
            self._window.write(value)
        else:
            self._buffer.version += 1
        self._value, self._seen = entry, self._buffer.version

    def _enter(self, trace: Trace[Any]) -> None:
        """Something traced is to be written here: an array that was made while tracing becomes traced itself.

        Raises:
            MXNetError: the array existed before.
        """
        if self._trace is not None:
            return
        if self._buffer.serial != trace.serial or type(self._buffer) is not _Buffer:
            raise MXNetError(
                "writing a result of the network into an array that exists outside of it cannot be traced: "
                f"make the array in forward(){at_user_line()}"
            )
        views = trace.views.get(id(self._buffer), [])
        windows = {id(view): window for view, window in views}
        root = self
        while id(root) in windows:
            root = windows[id(root)].array
        root._become_traced(trace.entry(root), trace)
        for view, window in views:
            view._become_traced(window.read(), trace, window)


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
        made = _made(op, attrs)
        trace = trace_of(arrays)
        if trace is None and (op.is_random or made.has_sizes):
            trace = current_trace()
        if trace is None and made.has_sizes:
            # A size that outlived its trace is the number that it was there.
            made = op.make_attrs({name: example_of(value) for name, value in made.items()})
        return trace.record(op, made, arrays) if trace is not None else _run(array, op, made, arrays)
    except OpError as error:
        scope = current_scope()
        if not scope:
            raise
        raise type(error)(f"{scope}: {error}") from None


def _made(op: Op, attrs: Mapping[str, Any]) -> Attrs:
    """The attributes, checked.

    Raises:
        MXNetError: one of them is an array that is being traced.
    """
    try:
        return op.make_attrs(attrs)
    except OpError:
        for name, value in attrs.items():
            for part in value if isinstance(value, (list, tuple)) else (value,):
                if isinstance(part, ArrayBase) and part._trace is not None:
                    raise no_data(part._value, f"{op.name}: {name}") from None
        raise


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
