"""Reading PyTorch checkpoints (``.pth``, ``.pt``, ``.bin``) without PyTorch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from minidnn.errors import DataError
from minidnn.interop._pickle_machine import shorten
from minidnn.interop._torch_legacy import LegacyFile
from minidnn.interop._torch_tensors import Tensor, decode, make_array
from minidnn.interop._torch_zip import ZipFile

__all__ = ["read_torch_checkpoint"]


def read_torch_checkpoint(path: str | os.PathLike[str], key: str | None = None) -> dict[str, np.ndarray[Any, Any]]:
    """The tensors of a state dict that ``torch.save`` wrote, in the zip or in the legacy format.

    Nothing of the file is run, whatever it holds: it is read by an interpreter of its own that knows tensors,
    plain containers and numbers, and refuses everything else.

    Args:
        path: the file.
        key: where the file holds a dict of several things, such as ``{"state_dict": ..., "optimizer": ...}``, which
            of them is the state dict.

    Returns:
        Name -> array, in the file's order; entries that are not tensors are left out. bfloat16 comes widened to
        float32, every other dtype as it is. Tensors that share memory in PyTorch share it here. Arrays can have any
        strides.

    Raises:
        OSError: the file cannot be opened.
        DataError: the file is damaged, truncated, of another kind, or holds what is not admitted; the message
            names it.
    """
    path = Path(path)
    with path.open("rb") as file:
        try:
            return _read(file, os.fstat(file.fileno()).st_size, key)
        except DataError as error:
            raise DataError(f"{path}: {error}") from None


def _read(file: BinaryIO, size: int, key: str | None) -> dict[str, np.ndarray[Any, Any]]:
    head = file.read(4)
    file.seek(0)
    container: LegacyFile | ZipFile
    if head == b"PK\x03\x04":
        container = ZipFile(file, size)
    elif head[:1] == b"\x80":
        container = LegacyFile(file, size)
    else:
        raise DataError(f"not a PyTorch checkpoint: it starts with {head!r}")
    tensors = _select(container.object, key)
    wanted = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
    raw = container.read(wanted.values())
    decoded = {name: decode(storage, raw.pop(name)) for name, storage in wanted.items()}
    return {name: make_array(tensor, decoded[tensor.storage.key]) for name, tensor in tensors.items()}


def _select(loaded: Any, key: str | None) -> dict[str, Tensor]:
    if type(loaded) is not dict:
        raise DataError(f"it holds a {type(loaded).__name__}, not a dict of tensors; save model.state_dict()")
    if key is not None:
        inner = loaded.get(key)
        if type(inner) is not dict:
            raise DataError(f"there is no dict under key {key!r}; {_describe(loaded)}")
        loaded = inner
    tensors = _tensors(loaded)
    if not tensors and loaded:
        raise DataError(f"no tensors at the top; {_describe(loaded)}")
    return tensors


def _tensors(mapping: dict[Any, Any]) -> dict[str, Tensor]:
    return {name: value for name, value in mapping.items() if type(name) is str and type(value) is Tensor}


def _describe(mapping: dict[Any, Any]) -> str:
    """What a dict of dicts offers, for the message that asks for a key."""
    dicts = cast(dict[Any, dict[Any, Any]], {k: v for k, v in mapping.items() if type(k) is str and type(v) is dict})
    counts = {name: len(_tensors(inner)) for name, inner in list(dicts.items())[:10]}
    offers = [f"key={shorten(name)!r} has {count} tensors" for name, count in counts.items() if count]
    return "; ".join(offers) or "no dict in it holds tensors"
