"""Helpers around batches and files, as ``mx.gluon.utils``."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minidnn.device import Device
from minidnn.errors import MXNetError
from minidnn.numpy import manipulation
from minidnn.numpy.convert import as_array
from minidnn.numpy.multiarray import ndarray

__all__ = ["check_sha1", "clip_global_norm", "download", "shape_is_known", "split_and_load", "split_data"]


def split_data(data: Any, num_slice: int, batch_axis: int = 0, even_split: bool = True) -> list[ndarray]:
    """`num_slice` parts of a batch along `batch_axis`; the first ones are larger by one where sizes differ.

    Raises:
        ValueError: with `even_split` the parts would differ in size, or there would be less than one part.
    """
    x = as_array(data)
    size = x.shape[batch_axis]
    if num_slice < 1:
        raise ValueError(f"split_data: at least one part is wanted, got {num_slice}")
    if even_split and size % num_slice:
        raise ValueError(
            f"data with shape {x.shape} cannot be evenly split into {num_slice} slices along axis {batch_axis}; use a "
            f"batch size that is a multiple of {num_slice}, or even_split=False"
        )
    return manipulation.array_split(x, num_slice, batch_axis)


def split_and_load(
    data: Any, ctx_list: Sequence[Device], batch_axis: int = 0, even_split: bool = True
) -> list[ndarray]:
    """A part of a batch for each device of `ctx_list`; see `split_data`."""
    if len(ctx_list) == 1:
        return [as_array(data).to_device(ctx_list[0])]
    parts = split_data(data, len(ctx_list), batch_axis, even_split)
    return [part.to_device(device) for part, device in zip(parts, ctx_list, strict=True)]


def clip_global_norm(arrays: Sequence[ndarray], max_norm: float, check_isfinite: bool = True) -> Any:
    """Scale `arrays` in place so that the 2-norm of all their elements is at most `max_norm`.

    Returns:
        The norm before, as a number, or with ``check_isfinite=False`` as an array of one element.

    Raises:
        ValueError: there are no arrays.
    """
    if not arrays:
        raise ValueError("clip_global_norm: at least one array is wanted")
    total = float(np.sqrt(sum(float((np.asarray(a, np.float64) ** 2).sum()) for a in arrays)))
    if check_isfinite and not np.isfinite(total):
        warnings.warn("nan or inf is detected; clipping results will be undefined", stacklevel=2)
    scale = min(max_norm / (total + 1e-8), 1.0)
    for array in arrays:
        array *= scale
    return total if check_isfinite else as_array([total])


def check_sha1(filename: str | os.PathLike[str], sha1_hash: str) -> bool:
    """Whether the SHA-1 of a file's bytes is `sha1_hash`, in hexadecimal digits."""
    with Path(filename).open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.sha1(usedforsecurity=False)).hexdigest() == sha1_hash


def download(
    url: str,
    path: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    sha1_hash: str | None = None,
    retries: int = 5,
    verify_ssl: bool = True,
) -> str:
    """The path of the file that is there already; nothing is ever downloaded.

    Args:
        url: where it would come from.
        path: the file, or the folder of a file named as in `url`; by default the working folder.
        sha1_hash: what the file's SHA-1 has to be.
        overwrite, retries, verify_ssl: MXNet's; without effect.

    Raises:
        MXNetError: the file is missing or has another hash; the message says what to put where.
    """
    target = Path(path) if path is not None else Path()
    target = target / url.rsplit("/", 1)[-1] if target.is_dir() else target
    if target.is_file() and (sha1_hash is None or check_sha1(target, sha1_hash)):
        return str(target)
    what = "has another SHA-1 than it should" if target.is_file() else "is missing"
    raise MXNetError(f"{target} {what}, and minidnn downloads nothing: fetch {url} and put it there")


def shape_is_known(shape: Sequence[int] | None) -> bool:
    """Whether a shape is given and has no unknown dimension (-1)."""
    return shape is not None and all(n >= 0 for n in shape)
