"""Reading PyTorch checkpoints (``.pth``, ``.pt``, ``.bin``) without PyTorch."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from minidnn.errors import DataError
from minidnn.interop._torch_legacy import LegacyFile
from minidnn.interop._torch_selection import select
from minidnn.interop._torch_tensors import decode, make_array
from minidnn.interop._torch_zip import ZipFile

__all__ = ["is_torch_file", "read_torch_checkpoint"]

_ZIP = b"PK\x03\x04"
# The first pickle is a long integer: with a protocol number, or in protocols 0 and 1 as a line of text.
_LEGACY = (b"\x80", b"L1195")


def is_torch_file(head: bytes) -> bool:
    """Whether a file that begins with these bytes (at least 9, or all) may be what ``torch.save`` wrote."""
    # The length of a safetensors file's header, which is JSON, may begin with 0x80 too.
    return head.startswith((_ZIP, *_LEGACY)) and not (head.startswith(_LEGACY[0]) and head[8:9] == b"{")


def read_torch_checkpoint(path: str | os.PathLike[str], key: str | None = None) -> dict[str, np.ndarray[Any, Any]]:
    """The tensors of a state dict that ``torch.save`` wrote, in the zip or in the legacy format.

    Nothing of the file is run, whatever it holds: it is read by an interpreter of its own that knows tensors,
    plain containers and numbers. Every other object is passed over, neither imported nor made.

    Args:
        path: the file.
        key: where the file holds a dict of several things, such as ``{"state_dict": ..., "optimizer": ...}``, which
            of them is the state dict. Default: the only dict that holds tensors, or the only one under one of the
            usual keys (``state_dict``, ``model``, ``model_state_dict``, ``ema``, ...), at any depth.

    Returns:
        Name -> array, in the file's order; entries that are not tensors are left out. bfloat16 comes widened to
        float32, every other dtype as it is. Tensors that share memory in PyTorch share it here, expanded ones with
        themselves. Arrays can have any strides.

    Raises:
        OSError: the file cannot be opened.
        DataError: the file is damaged, truncated, of another kind, or has no state dict or several; or a tensor of
            it reaches out of its storage, or is sparse, quantized, or of a dtype that NumPy lacks. The message names
            file and tensor.
    """
    path = Path(path)
    with path.open("rb") as file:
        try:
            return _read(file, os.fstat(file.fileno()).st_size, key)
        except DataError as error:
            raise DataError(f"{path}: {error}") from None


def _read(file: BinaryIO, size: int, key: str | None) -> dict[str, np.ndarray[Any, Any]]:
    head = file.read(512)
    file.seek(0)
    container: LegacyFile | ZipFile
    if head.startswith(_ZIP):
        container = ZipFile(file, size)
    elif head.startswith(_LEGACY):
        container = LegacyFile(file, size)
    elif _is_tar(head):
        raise DataError("the tar format of PyTorch before 0.1.10 is unsupported; load and save it by torch once")
    else:
        raise DataError(f"not a PyTorch checkpoint: it starts with {head[:4]!r}")
    tensors = select(container.object, key)
    wanted = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
    raw = container.read(wanted.values())
    decoded = {name: decode(storage, raw.pop(name)) for name, storage in wanted.items()}
    arrays = {}
    for name, tensor in tensors.items():
        try:
            arrays[name] = make_array(tensor, decoded[tensor.storage.key])
        except DataError as error:
            raise DataError(f"record {name[:80]!a}: {error}") from None
    return arrays


def _is_tar(head: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True
