"""Devices: there is one, the CPU. The names of MXNet 2 that ask for others answer plainly.

`mx.context` and `mx.Context` are older names of the same things.
"""

from __future__ import annotations

import contextvars
import functools
from collections.abc import Callable
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from minidnn.errors import MXNetError

__all__ = [
    "Context",
    "Device",
    "cpu",
    "cpu_pinned",
    "current_context",
    "current_device",
    "gpu",
    "gpu_memory_info",
    "num_gpus",
    "takes_ctx",
]

P = ParamSpec("P")
Result = TypeVar("Result")

_NO_GPU = "minidnn runs on CPUs only: there is no {}; use mx.cpu()"


class Device:
    """A device, as in MXNet: ``Device("cpu", 0)``; also a context manager that makes it the current one.

    Args:
        device_type: ``cpu``, ``cpu_pinned``, ``cpu_shared`` (all the same memory here), or a `Device` to copy.
        device_id: kept and printed; every id is the same processor.

    Raises:
        MXNetError: `device_type` is a GPU.
        ValueError: `device_type` is no device type at all.
    """

    __slots__ = ("device_id", "device_type")

    device_type: str
    device_id: int

    _TYPES = ("cpu", "cpu_pinned", "cpu_shared")

    def __init__(self, device_type: str | Device = "cpu", device_id: int = 0) -> None:
        if isinstance(device_type, Device):
            self.device_type, self.device_id = device_type.device_type, device_type.device_id
            return
        if device_type == "gpu":
            raise MXNetError(_NO_GPU.format(f"gpu({device_id})"))
        if device_type not in self._TYPES:
            raise ValueError(f"unknown device type {device_type!r}; there are {list(self._TYPES)}")
        self.device_type = device_type
        self.device_id = int(device_id)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and (self.device_type, self.device_id) == (other.device_type, other.device_id)

    def __hash__(self) -> int:
        return hash((self.device_type, self.device_id))

    def __repr__(self) -> str:
        return f"{self.device_type}({self.device_id})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Device, (self.device_type, self.device_id)

    def __enter__(self) -> Device:
        _entered.set((*_entered.get(), self))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _entered.set(_entered.get()[:-1])

    def empty_cache(self) -> None:
        """Nothing is pooled, so there is nothing to empty."""


Context = Device

_entered: contextvars.ContextVar[tuple[Device, ...]] = contextvars.ContextVar("minidnn_devices", default=())


def cpu(device_id: int = 0) -> Device:
    """The CPU."""
    return Device("cpu", device_id)


def cpu_pinned(device_id: int = 0) -> Device:
    """The CPU; pinning only matters where there is a GPU."""
    return Device("cpu_pinned", device_id)


def gpu(device_id: int = 0) -> Device:
    """Always an error: minidnn runs on CPUs only.

    Raises:
        MXNetError: always.
    """
    return Device("gpu", device_id)


def num_gpus() -> int:
    """0, so that ``mx.gpu() if mx.device.num_gpus() else mx.cpu()`` chooses the CPU."""
    return 0


def gpu_memory_info(device_id: int = 0) -> tuple[int, int]:
    """Always an error: there is no GPU.

    Raises:
        MXNetError: always.
    """
    raise MXNetError(_NO_GPU.format(f"gpu({device_id})"))


def current_device() -> Device:
    """The device of the innermost ``with device:``, ``cpu(0)`` outside of any."""
    devices = _entered.get()
    return devices[-1] if devices else Device("cpu", 0)


def current_context() -> Device:
    """MXNet 1's name of `current_device`."""
    return current_device()


def takes_ctx(function: Callable[P, Result]) -> Callable[P, Result]:
    """The function with MXNet 1's name ``ctx`` for its argument ``device``, too.

    It raises TypeError where both are given.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> Result:
        if "ctx" in kwargs:
            if "device" in kwargs:
                raise TypeError(f"{function.__name__}() got device and ctx, which are two names of one argument")
            kwargs["device"] = kwargs.pop("ctx")
        return function(*args, **kwargs)

    return call
