"""`Parameter`: a named array of a block, perhaps of a shape that the first batch decides."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Literal, NoReturn

import numpy as np

from minidnn.device import Device, current_device, takes_ctx
from minidnn.errors import DataError, MXNetError, ShapeError
from minidnn.gluon.recording import current_recording
from minidnn.initializer import InitDesc, Initializer, Uniform, create
from minidnn.ir.trace import untraced
from minidnn.numpy.base import CHANGES, as_dtype
from minidnn.numpy.convert import as_array
from minidnn.numpy.multiarray import ndarray
from minidnn.process_safe import ForkSafeLock
from minidnn.scope import current_scope
from minidnn.symbol.symbol import Symbol, var

__all__ = ["Constant", "DeferredInitializationError", "Parameter"]

Devices = Device | Sequence[Device] | None
Init = str | Initializer | None

# Initialization is rare; one lock for all keeps blocks picklable and two threads from drawing one weight twice.
_initializing = ForkSafeLock()


class DeferredInitializationError(MXNetError):
    """The parameter's shape is not known yet: it is initialized by the first forward pass."""


class Parameter:
    """A weight of a `Block`.

    Args:
        name: its last name; it also decides how the global initializer treats it (``weight``, ``bias``, ...).
        grad_req: ``write``, ``add`` or ``null``; kept and never used, there are no gradients here.
        shape: dimensions that are 0 or -1 are unknown until the first forward pass; None: all of it is.
        dtype: of its elements.
        lr_mult, wd_mult: kept for MXNet's sake.
        init: its own initializer, before the global one; the name of one will do.
        allow_deferred_init: whether `initialize` may wait for the shape.
        differentiable: False makes `grad_req` ``null``.
        stype, grad_stype: ``default``; there are no sparse arrays.
    """

    def __init__(
        self,
        name: str = "weight",
        grad_req: str = "write",
        shape: int | Sequence[int] | None = None,
        dtype: Any = "float32",
        lr_mult: float = 1.0,
        wd_mult: float = 1.0,
        init: Init = None,
        allow_deferred_init: bool = False,
        differentiable: bool = True,
        stype: str = "default",
        grad_stype: str = "default",
    ) -> None:
        for what, value in (("stype", stype), ("grad_stype", grad_stype)):
            if value != "default":
                raise MXNetError(f"Parameter {name!r}: there are only dense arrays ({what} 'default'), got {value!r}")
        self._name = name
        self._shape = _checked_shape(name, shape)
        self._dtype: np.dtype[Any] = as_dtype(dtype)
        self._differentiable = differentiable
        self._allow_deferred_init = allow_deferred_init
        self._data: ndarray | None = None
        # What is left to do once the shape is known: the initializer, or the data that set_data() got.
        self._deferred: tuple[Initializer, ndarray | None] | None = None
        self._device = current_device()
        self.lr_mult = lr_mult
        self.wd_mult = wd_mult
        self.init = init
        self.grad_req = grad_req

    def __repr__(self) -> str:
        return f"Parameter (shape={self.shape}, dtype={self.dtype})"

    @property
    def name(self) -> str:
        """Its last name: ``weight``."""
        return self._name

    @property
    def grad_req(self) -> str:
        """``write``, ``add`` or ``null``, as it was given."""
        return self._grad_req

    @grad_req.setter
    def grad_req(self, req: str) -> None:
        if req not in ("write", "add", "null"):
            raise ValueError(f"grad_req must be one of 'write', 'add', or 'null', but got {req!r}")
        self._grad_req = req if self._differentiable else "null"

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of its elements; setting it casts."""
        return self._dtype

    @dtype.setter
    def dtype(self, dtype: Any) -> None:
        self.cast(dtype)

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Its shape, with -1 for what is unknown; None if nothing is known. It can be set to complete it.

        Raises:
            ShapeError: it was set to what does not fit the known dimensions.
        """
        return self._shape

    @shape.setter
    def shape(self, shape: int | Sequence[int]) -> None:
        new = _checked_shape(self.name, shape)
        assert new is not None
        if self._shape is not None and not _fits(self._shape, new):
            raise ShapeError(
                f"{_scoped()}Expected shape {new} is incompatible with given shape {self._shape} "
                f"for Parameter {self.name}."
            )
        self._shape = new

    @property
    def shape_is_known(self) -> bool:
        """Whether every dimension is known."""
        return self._shape is not None and -1 not in self._shape

    @property
    def is_initialized(self) -> bool:
        """Whether it has data."""
        return self._data is not None

    @takes_ctx
    def initialize(
        self, init: Init = None, device: Devices = None, default_init: Init = None, force_reinit: bool = False
    ) -> None:
        """Make the data, now or, where the shape is not known yet, at the first forward pass.

        Args:
            init: the initializer; default: the parameter's own, then `default_init`.
            device: a CPU, or a list of them; there is one copy.
            default_init: the initializer of last resort; default: `Uniform`.
            force_reinit: also where there is data already (otherwise a warning).

        Raises:
            ValueError: the shape is unknown and initialization may not be deferred.
        """
        if self._data is not None and not force_reinit:
            warnings.warn(
                f"Parameter '{self.name}' is already initialized, ignoring. Set force_reinit=True to re-initialize.",
                stacklevel=2,
            )
            return
        known = [self._create(i) for i in (init, self.init, default_init) if i is not None] or [Uniform()]
        chosen = known[0].with_default(known[-1])
        if not self.shape_is_known and not self._allow_deferred_init:
            raise ValueError(f"Cannot initialize Parameter '{self.name}' because it has invalid shape: {self.shape}.")
        self._device = _one_device(device)
        # Data that is there stays until the new one is complete: other threads may be reading it.
        self._deferred = (chosen, None)
        if self.shape_is_known:
            self.finish_deferred_init()

    def finish_deferred_init(self) -> None:
        """Make the data that `initialize` put off, now that the shape is known; nothing if nothing was put off.

        Raises:
            ShapeError: the shape is still unknown.
        """
        with _initializing.here:
            if self._deferred is None:
                return
            if not self.shape_is_known:
                raise ShapeError(
                    f"{_scoped()}Cannot initialize Parameter '{self.name}' because it has invalid shape: "
                    f"{self.shape}. Please specify in_units, in_channels, etc for `Block`s."
                )
            init, data = self._deferred
            if data is None:
                assert self._shape is not None
                data = self._make(init, self._shape)
            self._hold(data)
            self._deferred = None

    def _create(self, init: str | Initializer) -> Initializer:
        try:
            return create(init)
        except (TypeError, ValueError, ArithmeticError, LookupError) as error:
            raise self._named(error, init) from error

    def _make(self, init: Initializer, shape: tuple[int, ...]) -> ndarray:
        try:
            data = ndarray._wrap(np.zeros(shape, self._dtype))
            # A call with the parameter's own initializer in the descriptor fills whatever the name ends in.
            untraced(init, InitDesc(self.name, {"__init__": init}), data)
        except (TypeError, ValueError, ArithmeticError, LookupError, MemoryError) as error:
            raise self._named(error, init) from error
        return data

    def _named(self, error: Exception, init: object) -> Exception:
        """The error of an initializer, saying whose it is."""
        message = f"{_scoped()}Parameter {self.name!r} of shape {self._shape}: {type(init).__name__}: {error}"
        kind = next((kind for kind in (TypeError, MemoryError) if isinstance(error, kind)), ValueError)
        return kind(message)

    def concrete(self) -> ndarray:
        """The data itself, even while a network is traced.

        Raises:
            DeferredInitializationError: it waits for the first forward pass.
            RuntimeError: it has not been initialized.
        """
        if self._data is None:
            self._complain()
        return self._data

    def _complain(self) -> NoReturn:
        if self._deferred is not None:
            raise DeferredInitializationError(
                f"{_scoped()}Parameter '{self.name}' has not been initialized yet because initialization was "
                "deferred. Actual initialization happens during the first forward pass. "
                "Please pass one batch of data through the network before accessing Parameters. "
                "You can also avoid deferred initialization by specifying in_units, "
                "num_features, etc., for network layers."
            )
        raise RuntimeError(
            f"{_scoped()}Parameter '{self.name}' has not been initialized. Note that "
            "you should initialize parameters and create Trainer "
            "with Block.collect_params() instead of Block.params "
            "because the later does not include Parameters of "
            "nested child Blocks"
        )

    def _hold(self, data: ndarray) -> None:
        """Have another array in place of the one before, if any: that is a write to the parameter, too."""
        self._data = data
        CHANGES.count += 1

    @takes_ctx
    def data(self, device: Device | None = None) -> ndarray:
        """The array; writing to it changes the parameter. While a network is traced: what stands for it in the graph.

        Raises:
            DeferredInitializationError: it waits for the first forward pass.
            RuntimeError: it has not been initialized.
        """
        recording = current_recording()
        return self.concrete() if recording is None else recording.parameter(self)

    def list_data(self) -> list[ndarray]:
        """The array, in a list: one for each device."""
        return [self.data()]

    def set_data(self, data: Any) -> None:
        """Overwrite the values; a parameter whose initialization was deferred will start with them.

        Args:
            data: an array of the parameter's shape; it is copied.

        Raises:
            ShapeError: the shape does not fit.
            RuntimeError: the parameter has not been initialized.
        """
        array = as_array(data, None if isinstance(data, ndarray) else self._dtype)
        if self._data is None and self._deferred is None:
            raise RuntimeError(f"Parameter '{self.name}' has not been initialized")
        self.shape = array.shape
        if self._data is not None:
            self._data[...] = array
        elif self._deferred is not None:
            self._deferred = (self._deferred[0], array.astype(self._dtype, copy=True))

    def gather(self, arrays: dict[str, Any], name: str, prefix: str) -> None:
        """Put its value into `arrays` under `name`, and take out those it is made of, if they are there.

        Most parameters are made of no others.

        Args:
            arrays: what is being loaded, by name.
            name: what the parameter is called.
            prefix: of its name, and of the names of what it is made of.
        """

    def check_load(self, data: ndarray, name: str, cast_dtype: bool = False) -> None:
        """Whether `load` will work; `name` is what to call the parameter.

        Raises:
            DataError: shape or dtype do not fit.
        """
        if self._shape is not None and not _fits(self._shape, data.shape):
            raise DataError(
                f"Failed loading Parameter '{name}' from saved params: "
                f"shape incompatible expected {self._shape} vs saved {data.shape}"
            )
        if not cast_dtype and self._dtype != data.dtype:
            raise DataError(
                f"Failed loading Parameter '{name}' from saved params: "
                f"dtype incompatible expected {self._dtype} vs saved {data.dtype}. "
                "Set cast_dtype=True to cast the dtype of saved params."
            )

    def load(
        self,
        data: ndarray,
        cast_dtype: bool = False,
        dtype_source: Literal["current", "saved"] = "current",
        adopt: bool = False,
    ) -> None:
        """Take over loaded values, initialized or not.

        Args:
            data: the values.
            cast_dtype: whether dtypes may differ.
            dtype_source: with `cast_dtype`, which dtype to end with: the parameter's or the data's.
            adopt: `data` belongs to nobody else and may be kept without a copy.

        Raises:
            DataError: shape or dtype do not fit.
        """
        self.check_load(data, self.name, cast_dtype)
        if dtype_source == "saved" and self._dtype != data.dtype:
            self.cast(data.dtype)
        if self._data is not None:
            self._data[...] = data
        elif adopt and data.dtype == self._dtype:
            self._hold(data)
        else:
            self._hold(data.astype(self._dtype, copy=True))
        self._shape = data.shape
        self._deferred = None

    def cast(self, dtype: Any) -> None:
        """Change the dtype, of the data too if there is any."""
        self._dtype = as_dtype(dtype)
        if self._data is not None:
            self._hold(self._data.astype(self._dtype, copy=True))

    def zero_grad(self) -> None:
        """Does nothing: there are no gradients."""

    @takes_ctx
    def grad(self, device: Device | None = None) -> NoReturn:
        """Always an error.

        Raises:
            MXNetError: there are no gradients.
        """
        raise MXNetError(f"Cannot get gradient array for Parameter '{self.name}': minidnn is for inference")

    def list_device(self) -> list[Device]:
        """The devices it is on.

        Raises:
            RuntimeError: it has not been initialized.
        """
        if self._data is None and self._deferred is None:
            raise RuntimeError(f"Parameter '{self.name}' has not been initialized")
        return [self._device]

    list_ctx = list_device

    @takes_ctx
    def reset_device(self, device: Devices) -> None:
        """Move to another CPU: the array stays where it is.

        Raises:
            ValueError: it has not been initialized.
        """
        if self._data is None and self._deferred is None:
            raise ValueError(f"Cannot reset device for Parameter '{self.name}' because it has not been initialized.")
        self._device = _one_device(device)

    reset_ctx = reset_device

    def var(self) -> Symbol:
        """A symbol that stands for the parameter."""
        return var(self.name, shape=self.shape, dtype=self.dtype)


class Constant(Parameter):
    """A parameter that holds a given value and needs no initializer.

    Args:
        value: an array, or what `numpy.asarray` makes one of (float64 becomes float32).
    """

    def __init__(self, value: Any) -> None:
        self.value = as_array(value).copy()
        super().__init__("const", grad_req="null", shape=self.value.shape, dtype=self.value.dtype)

    @takes_ctx
    def initialize(
        self, init: Init = None, device: Devices = None, default_init: Init = None, force_reinit: bool = False
    ) -> None:
        """Take the value; initializers are ignored."""
        if self._data is None or force_reinit:
            self._device = _one_device(device)
            self._hold(self.value.astype(self._dtype, copy=True))

    def __repr__(self) -> str:
        return f"Constant (shape={self.shape}, dtype={self.dtype})"

    @property
    def grad_req(self) -> str:
        """``null``."""
        return "null"

    @grad_req.setter
    def grad_req(self, req: str) -> None:
        if req != "null":
            warnings.warn(
                f'Constant parameter "{self.name}" does not support grad_req other than "null", '
                f'and new value "{req}" is ignored.',
                stacklevel=2,
            )


def _checked_shape(name: str, shape: int | Sequence[int] | None) -> tuple[int, ...] | None:
    if shape is None:
        return None
    numbers = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
    for n in numbers:
        if not isinstance(n, (int, np.integer)) or isinstance(n, bool) or n < -1:
            raise ShapeError(f"{_scoped()}Parameter {name!r}: a shape is integers of at least -1, got {shape!r}")
    return tuple(int(n) or -1 for n in numbers)


def _fits(known: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    return len(known) == len(shape) and all(i in (-1, j) for i, j in zip(known, shape, strict=True))


def _one_device(device: Devices) -> Device:
    if device is None:
        return current_device()
    if isinstance(device, Device):
        return device
    devices = [Device(d) for d in device]
    if not devices:
        raise ValueError("initialize: the list of devices is empty")
    return devices[0]


def _scoped() -> str:
    scope = current_scope()
    return f"{scope}: " if scope else ""
