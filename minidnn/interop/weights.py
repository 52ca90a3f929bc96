"""Filling a network from a file of weights, whoever wrote it."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any, BinaryIO, cast

from minidnn import serialization
from minidnn.errors import DataError
from minidnn.interop._torch_files import archive_kind
from minidnn.interop._zip_files import ZIP_ERRORS, Guarded
from minidnn.interop.torch_checkpoint import is_torch_file
from minidnn.interop.torch_names import torch_names
from minidnn.interop.torch_weights import load_torch

__all__ = ["load_weights"]


def load_weights(
    net: Any,
    path: str | os.PathLike[str],
    allow_missing: bool = False,
    ignore_extra: bool = False,
    key: str | None = None,
) -> None:
    """Fill a network from a file by our parameter names or by PyTorch's; the content says which, not the ending.

    Args:
        net: the network; nothing of it changes unless all of the file fits.
        path: what `save_parameters`, `export` or MXNet wrote, or a PyTorch checkpoint or safetensors file of
            torchvision, timm or a script of one's own, as `load_torch` takes it.
        allow_missing: whether parameters that the file lacks stay as they are.
        ignore_extra: whether what belongs to no parameter is left out.
        key: which part of a PyTorch checkpoint has the weights; see `read_torch_checkpoint`.

    Raises:
        DataError: the file is damaged, or does not fit; the message names the tensor or parameter. Or a key is given
            for a file that is no PyTorch checkpoint.
        OSError: the file cannot be read.
    """
    path = Path(path)
    is_checkpoint = _is_checkpoint(path)
    if key is not None and not is_checkpoint:
        raise DataError(f"{path}: not a PyTorch checkpoint, so it has no part {key!r}")
    if is_checkpoint or not _has_our_names(net, path):
        load_torch(net, path, key, allow_missing, ignore_extra)
    else:
        net.load_parameters(path, None, allow_missing, ignore_extra, cast_dtype=True)


def _is_checkpoint(path: Path) -> bool:
    """Whether PyTorch wrote the file: a pickle, or a zip archive with one, which MXNet's archives never have."""
    with path.open("rb") as file:
        head = file.read(9)
        if not head.startswith(b"PK\x03\x04"):
            return is_torch_file(head)
        try:
            names = zipfile.ZipFile(cast(BinaryIO, Guarded(file))).namelist()
        except DataError as error:
            raise DataError(f"{path}: {error}") from None
        except ZIP_ERRORS as error:
            raise DataError(f"{path}: a damaged archive: {error}") from None
    return any(name.rpartition("/")[2] == "data.pkl" for name in names) or archive_kind(names) is not None


def _has_our_names(net: Any, path: Path) -> bool:
    """Whether more names in the file are those of our parameters than of PyTorch's; some are both."""
    names = {name.removeprefix("arg:").removeprefix("aux:") for name in serialization.load(path)}
    try:
        theirs = names & set(torch_names(net))
    except DataError:  # no PyTorch network is like this one
        theirs = set()
    ours = names & set(net.collect_params())
    return bool(ours) and len(ours) >= len(theirs)
