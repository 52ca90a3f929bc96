"""`save` and `load`: arrays on disk, as safetensors or in MXNet's formats."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from minidnn import serialization
from minidnn.errors import DataError
from minidnn.interop.mxnet_params import save_params
from minidnn.numpy.multiarray import ndarray

__all__ = ["load", "save", "savez"]

# The names NumPy's savez gives arrays without one.
_UNNAMED = "arr_{}"


def save(
    file: str | os.PathLike[str],
    arr: ndarray | Sequence[ndarray] | Mapping[str, ndarray],
    format: Literal["minidnn", "mxnet", "mxnet1"] = "minidnn",
) -> None:
    """Write one array, a list, or a dictionary of arrays.

    Args:
        file: where.
        arr: the arrays.
        format: ``minidnn`` is safetensors; ``mxnet`` what MXNet 2 writes, a zip file of NumPy arrays; ``mxnet1`` the
            NDArray list that MXNet 1 writes and both of them read.

    Raises:
        DataError: `arr` is none of these, or MXNet has no such dtype.
        ValueError: an unknown format.
        OSError: the file cannot be written.
    """
    if isinstance(arr, ndarray):
        arr = [arr]
    named = dict(arr) if isinstance(arr, Mapping) else {_UNNAMED.format(i): a for i, a in enumerate(arr)}
    for name, value in named.items():
        if not isinstance(name, str) or not isinstance(value, ndarray):
            raise DataError(f"{file}: save() wants arrays, and strings as their names, got {name!r}: {type(value)}")
    if format == "minidnn":
        serialization.save(file, named)
    else:
        save_params(file, named, format)


def savez(file: str | os.PathLike[str], *args: ndarray, **kwds: ndarray) -> None:
    """Write arrays to a safetensors file, the positional ones as ``arr_0``, ``arr_1``, ..."""
    save(file, {_UNNAMED.format(i): a for i, a in enumerate(args)} | kwds)


def load(file: str | os.PathLike[str]) -> Any:
    """Read what `save` has written, or a ``.params`` file of MXNet's: a list if the arrays had no names, a dictionary
    otherwise. Names of MXNet's keep the prefixes ``arg:`` and ``aux:``. bfloat16 comes widened to float32.

    Raises:
        DataError: the file is damaged, truncated or of another kind; the message names the record.
        OSError: the file is missing or cannot be read.
    """
    arrays = {name: ndarray._wrap(value) for name, value in serialization.load(file).items()}
    unnamed = [_UNNAMED.format(i) for i in range(len(arrays))]
    return [arrays[name] for name in unnamed] if arrays and set(arrays) == set(unnamed) else arrays
