"""`save` and `load`: arrays on disk, as safetensors or in MXNet's formats."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from minidnn import serialization
from minidnn.errors import DataError
from minidnn.interop.mxnet_params import may_lack_names, save_array, save_params
from minidnn.numpy.multiarray import ndarray

__all__ = ["load", "save", "savez"]

# The names NumPy's savez gives arrays without one.
_UNNAMED = "arr_{}"
# The entry of a safetensors header that tells what was saved: ``array``, ``list``, or without it a dictionary.
_KIND = "minidnn.saved"


def save(
    file: str | os.PathLike[str],
    arr: ndarray | Sequence[ndarray] | Mapping[str, ndarray],
    format: Literal["minidnn", "mxnet", "mxnet1"] | None = None,
) -> None:
    """Write one array, a list, or a dictionary of arrays.

    Args:
        file: where.
        arr: the arrays.
        format: ``minidnn`` is safetensors; ``mxnet`` what MXNet 2 writes, a zip file of NumPy arrays, or of one array
            without a name a ``.npy`` file; ``mxnet1`` the NDArray list that MXNet 1 writes and both of them read. By
            default ``mxnet`` for a name that ends in ``.npy`` or ``.npz``, so that `numpy.load` reads it, and
            ``minidnn`` for others.

    Raises:
        DataError: `arr` is none of these, or MXNet has no such dtype.
        ValueError: an unknown format.
        OSError: the file cannot be written.
    """
    if format is None:
        format = "mxnet" if os.fspath(file).endswith((".npy", ".npz")) else "minidnn"
    if isinstance(arr, ndarray) and format == "mxnet":
        save_array(file, arr)
        return
    kind = "array" if isinstance(arr, ndarray) else "dict" if isinstance(arr, Mapping) else "list"
    if isinstance(arr, ndarray):
        arr = [arr]
    named = dict(arr) if isinstance(arr, Mapping) else {_UNNAMED.format(i): a for i, a in enumerate(arr)}
    for name, value in named.items():
        if not isinstance(name, str) or not isinstance(value, ndarray):
            raise DataError(f"{file}: save() wants arrays, and strings as their names, got {name!r}: {type(value)}")
    if format == "minidnn":
        serialization.save(file, named, {_KIND: kind} if kind != "dict" else None)
    else:
        save_params(file, named, format)


def savez(file: str | os.PathLike[str], *args: ndarray, **kwds: ndarray) -> None:
    """Write arrays to a zip file of ``.npy`` files, the positional ones as ``arr_0``, ``arr_1``, ...

    MXNet 2 and `numpy.load` read it.

    Raises:
        DataError: something is not an array.
        ValueError: a positional array and a keyword have one name.
        OSError: the file cannot be written.
    """
    unnamed = {_UNNAMED.format(i): a for i, a in enumerate(args)}
    for name in unnamed.keys() & kwds.keys():
        raise ValueError(f"savez: the name {name} is that of a positional array and of a keyword")
    save(file, unnamed | kwds, format="mxnet")


def load(file: str | os.PathLike[str]) -> Any:
    """Read what `save` has written, or a ``.params`` or ``.npy`` file of MXNet's.

    Names of MXNet's keep the prefixes ``arg:`` and ``aux:``. bfloat16 comes widened to float32.

    Returns:
        A dictionary. Where the arrays were saved without names, the one array, or a list; what `savez` wrote and
        MXNet 2's zip files always have names, ``arr_0`` if no other.

    Raises:
        DataError: the file is damaged, truncated or of another kind; the message names the record.
        OSError: the file is missing or cannot be read.
    """
    arrays = {name: ndarray._wrap(value) for name, value in serialization.load(file).items()}
    unnamed = [_UNNAMED.format(i) for i in range(len(arrays))]
    if set(arrays) != set(unnamed):
        return arrays
    with Path(file).open("rb") as start:
        of_mxnet = may_lack_names(start.read(16))
    kind = serialization.metadata(file).get(_KIND)
    if not (of_mxnet and arrays) and kind not in ("array", "list"):
        return arrays
    listed = [arrays[name] for name in unnamed]
    return listed[0] if len(listed) == 1 and kind != "list" else listed
