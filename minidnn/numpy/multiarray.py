"""`ndarray`: the array users hold, with data, or without while a network is traced."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any, ClassVar, Protocol

import numpy as np

from minidnn.device import Device, cpu
from minidnn.errors import MXNetError, TypeMismatchError
from minidnn.ir.trace import innermost_serial
from minidnn.numpy.base import CHANGES, as_native
from minidnn.numpy.fluent import FluentMethods
from minidnn.numpy.indexing import (
    is_basic,
    note_view,
    record_assignment,
    record_index,
    to_numpy_key,
    trace_of_key,
)

__all__ = ["NumpyProtocol", "ndarray"]

_CPU = cpu()
_API_VERSION = re.compile(r"202[1-4]\.(0[1-9]|1[0-2])")  # the first is of 2021.12; MXNet takes any month of that year
_SHOWN_WITHOUT_DTYPE = frozenset({np.dtype(np.float32), np.dtype(np.bool_)})


class NumpyProtocol(Protocol):
    """What NumPy's functions and ufuncs do with these arrays."""

    def apply_ufunc(self, ufunc: Any, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any: ...

    def apply_function(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any: ...


class ndarray(FluentMethods):
    """An n-dimensional array, as `mx.np.ndarray` of MXNet 2.

    Make one with `mx.np.array`, `mx.np.zeros` and their like. Basic indexing gives views, as in NumPy.
    NumPy's functions accept it, and give arrays of this class back; ``np.asarray(x)`` is a read-only view.
    """

    __slots__ = ()

    # `minidnn.numpy.protocol`, which knows all functions of `mx.np`, puts itself here.
    _numpy_protocol: ClassVar[NumpyProtocol]

    def __init__(self) -> None:
        raise TypeError("use mx.np.array, mx.np.zeros, mx.np.empty, ... to make an array")

    # ---- what is known of it ---------------------------------------------------------------------

    @property
    def itemsize(self) -> int:
        return self._type.dtype.itemsize

    @property
    def nbytes(self) -> int:
        return self.size * self.itemsize

    @property
    def T(self) -> ndarray:  # noqa: N802
        return self.transpose()

    @property
    def device(self) -> Device:
        return _CPU

    @property
    def ctx(self) -> Device:
        return _CPU

    @property
    def context(self) -> Device:
        return _CPU

    @property
    def stype(self) -> str:
        """Storage type: always ``default`` (dense)."""
        return "default"

    @property
    def grad(self) -> None:
        """None: nothing is differentiated here."""
        return

    # ---- reading ---------------------------------------------------------------------------------

    def asnumpy(self) -> np.ndarray[Any, Any]:
        """A C-contiguous copy as a NumPy array."""
        return np.array(self._read("asnumpy()"), order="C")

    def wait_to_read(self) -> None:
        """Returns at once: every operator has finished when its call returns."""
        self._read("wait_to_read()")

    def wait_to_write(self) -> None:
        """Returns at once."""

    def item(self, *args: Any) -> Any:
        """One element as a Python scalar."""
        return self._read("item()").item(*args)

    def tolist(self) -> Any:
        """Nested lists of Python scalars."""
        return self._read("tolist()").tolist()

    def asscalar(self) -> Any:
        """The only element as a Python scalar.

        Raises:
            ValueError: there are more elements, or none.
        """
        return self.item()

    def __bool__(self) -> bool:
        return bool(self._read("bool()"))

    def __float__(self) -> float:
        return float(self._read("float()").item())

    def __int__(self) -> int:
        return int(self._read("int()").item())

    def __index__(self) -> int:
        if self.shape or self.dtype.kind not in "iu":
            raise TypeError(f"only integer arrays with one element and no dimension can be an index, got {self._type}")
        return int(self._read("use as an index").item())

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of an array without dimensions")
        return self.shape[0]

    def __iter__(self) -> Iterator[ndarray]:
        if not self.shape:
            raise TypeError("iteration over an array without dimensions")
        return (self[i] for i in range(self.shape[0]))

    def __contains__(self, value: Any) -> bool:
        return bool((self == value).any())

    def __repr__(self) -> str:
        if self._data is None:
            return f"<traced {self._type} {self._value}>"
        end = ")" if self.dtype in _SHOWN_WITHOUT_DTYPE and self.size else f", dtype={self.dtype})"
        if not self.size:
            end = f", shape={self.shape}{end}"
        return f"array({np.array2string(self._data, separator=', ', prefix='array(', suffix=end)}{end}"

    def __str__(self) -> str:
        return repr(self) if self._data is None else str(self._data)

    def __format__(self, spec: str) -> str:
        if spec and self.shape:
            raise TypeError(f"an array with dimensions has no format {spec!r}; its shape is {self.shape}")
        return format(self._read("format()").item(), spec) if spec else str(self)

    # ---- copies and conversions ------------------------------------------------------------------

    def copyto(self, other: ndarray | Device) -> ndarray:
        """Write the elements into `other`, or copy them to a device.

        Raises:
            ShapeError: `other` is an array of another shape.
        """
        if isinstance(other, Device):
            return self.copy()
        if not isinstance(other, ndarray):
            raise TypeMismatchError(f"copyto() wants an array or a device, got {type(other).__name__}")
        if other is self:
            return other
        return other._assign(self, casting="unsafe")

    def to_device(self, device: Device) -> ndarray:
        """The array itself: there is one device."""
        Device(device)
        return self

    def as_in_ctx(self, ctx: Device) -> ndarray:
        """The array itself: there is one device."""
        return self.to_device(ctx)

    def as_in_context(self, context: Device) -> ndarray:
        """The array itself: there is one device."""
        return self.to_device(context)

    def as_np_ndarray(self) -> ndarray:
        """The array itself."""
        return self

    def as_nd_ndarray(self) -> ndarray:
        """The array itself: MXNet's two kinds of arrays are one here."""
        return self

    def tostype(self, stype: str) -> ndarray:
        """The array itself.

        Raises:
            MXNetError: `stype` is not ``default``; there are no sparse arrays.
        """
        if stype != "default":
            raise MXNetError(f"there are only dense arrays (stype 'default'), got {stype!r}")
        return self

    def detach(self) -> ndarray:
        """The array itself: nothing is differentiated here."""
        return self

    def attach_grad(self, grad_req: str = "write", stype: str | None = None) -> None:
        """Always an error, unless `grad_req` is ``null``.

        Raises:
            MXNetError: minidnn is for inference.
        """
        if grad_req != "null":
            raise MXNetError("minidnn is for inference: arrays have no gradients; train elsewhere and load the weights")

    def backward(self, *args: Any, **kwargs: Any) -> None:
        """Always an error.

        Raises:
            MXNetError: minidnn is for inference.
        """
        self.attach_grad()

    # ---- indexing and writing --------------------------------------------------------------------

    def __getitem__(self, key: Any) -> ndarray:
        if self._data is None or trace_of_key(key) is not None:
            return record_index(self, key)
        key = to_numpy_key(key)
        if not is_basic(key):
            return self._wrap(np.asarray(self._data[key]))
        view = self._wrap(_view(self._data, key), base=self)
        if self._buffer.serial:
            note_view(self, key, view)
        return view

    def __setitem__(self, key: Any, value: Any) -> None:
        if type(value) in (list, tuple) and innermost_serial():
            value = self._namespace.array(value, self.dtype)
        trace = trace_of_key(key) or (value._trace if isinstance(value, ndarray) else None)
        if trace is not None:
            self._enter(trace)
        if self._trace is not None:
            self._replace(record_assignment(self, key, value))
            return
        assert self._data is not None
        try:
            known, written = to_numpy_key(key), to_numpy_key(value)
            if is_basic(known):
                _view(self._data, known)[...] = written
            else:
                self._data[known] = written
        finally:
            self._buffer.version += 1
            CHANGES.count += 1

    def fill(self, value: Any) -> None:
        """Write `value` to every element."""
        self[...] = value

    # ---- NumPy -----------------------------------------------------------------------------------

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        data = self._read("conversion to NumPy")
        if copy or (dtype is not None and np.dtype(dtype) != data.dtype):
            if copy is False:
                raise ValueError(f"an array of {data.dtype} cannot become {dtype} without a copy")
            return np.array(data, dtype=dtype)
        view = data.view()
        view.flags.writeable = False
        return view

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return self._numpy_protocol.apply_ufunc(ufunc, method, inputs, kwargs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return self._numpy_protocol.apply_function(func, args, kwargs)

    def __array_namespace__(self, api_version: str | None = None) -> ModuleType:
        """`mx.np`, for code that is written to the Python array API standard.

        Raises:
            ValueError: `api_version` is not the year and month of a version of the standard, as ``2021.12``.
        """
        if api_version is not None and not _API_VERSION.fullmatch(api_version):
            raise ValueError(f"unknown version of the array API standard: {api_version!r}")
        return self._namespace

    def __dlpack__(self, *, copy: bool | None = None, **kwargs: Any) -> Any:
        """A copy for other libraries (``torch.from_dlpack``): what they write must not pass by `_version`.

        Raises:
            BufferError: `copy` is False.
        """
        if copy is False:
            raise BufferError("an array of minidnn is exported through DLPack as a copy only")
        return self.asnumpy().__dlpack__(**kwargs)

    def to_dlpack_for_read(self) -> Any:
        """A DLPack capsule with a copy of the elements."""
        return self.__dlpack__()

    def to_dlpack_for_write(self) -> Any:
        """A DLPack capsule with the memory itself, which others may write to at any time from then on.

        No kernel keeps anything of such an array: as a weight it is packed in every run.
        """
        data = self._read("to_dlpack_for_write()")
        self._buffer.share()
        return data.__dlpack__()

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)

    def __reduce__(self) -> tuple[Any, ...]:
        return _from_numpy, (self.asnumpy(),)

    def __copy__(self) -> ndarray:
        return self.copy()

    def __deepcopy__(self, memo: Any) -> ndarray:
        return self.copy()


def _view(data: np.ndarray[Any, Any], key: Any) -> Any:
    """A view by basic indexing, also where one element is left: with an ellipsis NumPy gives an array even then."""
    parts = key if isinstance(key, tuple) else (key,)
    return data[parts if any(p is Ellipsis for p in parts) else (*parts, Ellipsis)]


def _from_numpy(data: np.ndarray[Any, Any]) -> ndarray:
    return ndarray._wrap(as_native(data))
