"""The part of ``mx.autograd`` that inference scripts use.

Nothing is ever recorded, so `pause` and `predict_mode` hold already; what would record or train is an error.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NoReturn

from minidnn.errors import MXNetError
from minidnn.missing import raising

__all__ = [
    "backward",
    "grad",
    "is_recording",
    "is_training",
    "pause",
    "predict_mode",
    "record",
    "set_recording",
    "set_training",
    "train_mode",
]


def _refuse(what: str) -> NoReturn:
    raise MXNetError(f"minidnn is for inference: autograd.{what} is not here; train elsewhere and load the weights")


def is_recording() -> bool:
    """False, always."""
    return False


def is_training() -> bool:
    """False, always."""
    return False


@contextlib.contextmanager
def pause(train_mode: bool = False) -> Iterator[None]:
    """A context in which nothing is recorded: any context is.

    Raises:
        MXNetError: `train_mode` is True.
    """
    if train_mode:
        _refuse("pause(train_mode=True)")
    yield


@contextlib.contextmanager
def predict_mode() -> Iterator[None]:
    """A context in which dropout passes through and batch norm uses its running statistics: any context is."""
    yield


def record(train_mode: bool = True) -> NoReturn:
    """Always an error.

    Raises:
        MXNetError: always.
    """
    _refuse("record")


def train_mode() -> NoReturn:
    """Always an error.

    Raises:
        MXNetError: always.
    """
    _refuse("train_mode")


def set_recording(is_recording: bool) -> bool:
    """Accepts False, the state that is; gives the previous state.

    Raises:
        MXNetError: `is_recording` is True.
    """
    if is_recording:
        _refuse("set_recording(True)")
    return False


def set_training(train_mode: bool) -> bool:
    """Accepts False, the state that is; gives the previous state.

    Raises:
        MXNetError: `train_mode` is True.
    """
    if train_mode:
        _refuse("set_training(True)")
    return False


def backward(*_: Any, **__: Any) -> NoReturn:
    """Always an error.

    Raises:
        MXNetError: always.
    """
    _refuse("backward")


def grad(*_: Any, **__: Any) -> NoReturn:
    """Always an error.

    Raises:
        MXNetError: always.
    """
    _refuse("grad")


if not TYPE_CHECKING:  # with it, mypy would take every name for one that is there
    __getattr__ = raising(__name__)
