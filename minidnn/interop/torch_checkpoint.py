"""Reading PyTorch checkpoints (``.pth``, ``.pt``, ``.bin``) without PyTorch; which dict in one is the state dict."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from minidnn.errors import DataError
from minidnn.interop._pickle_objects import Global, Placeholder
from minidnn.interop._torch_files import LegacyFile, ZipFile
from minidnn.interop._torch_tensors import Tensor, Unreadable, decode, make_array
from minidnn.untrusted import shorten

__all__ = ["is_torch_file", "read_torch_checkpoint", "select"]

# Under which training scripts and libraries save a state dict: torch's examples, timm, Lightning, MMCV, YOLO, ...
_USUAL_KEYS = frozenset(
    {"checkpoint", "ema", "ema_model", "ema_state_dict", "generator", "model", "model_ema", "model_state",
     "model_state_dict", "module", "net", "net_state_dict", "network", "params", "params_ema", "state", "state_dict",
     "state_dict_ema", "student", "teacher", "weights"}
)  # fmt: skip
_MAX_DEPTH = 4
_MAX_SHOWN = 10

_Dict = Mapping[Any, Any]


def select(loaded: Any, key: str | None) -> dict[str, Tensor]:
    """The tensors of the state dict.

    Args:
        loaded: what a checkpoint holds.
        key: where the state dict is; None: wherever there is only one.

    Raises:
        DataError: there is none, or more than one; or a tensor in it cannot be read.
    """
    top = _as_dict(loaded)
    if top is None:
        raise DataError(_not_a_dict(loaded))
    if key is not None:
        inner = _as_dict(top.get(key))
        if inner is None:
            raise DataError(f"there is no dict under key {key!r}; {_describe(top)}")
        top = inner
    found = _find(top, _MAX_DEPTH)
    if found is None and top:
        raise DataError(_nothing_found(top))
    return _readable(found or {})


def _as_dict(value: Any) -> _Dict | None:
    """A dict, or what a placeholder of a subclass of dict has in it."""
    if type(value) is dict:
        return value
    return value.mapping if type(value) is Placeholder and value.mapping else None


def _is_tensor(value: Any) -> bool:
    """Whether PyTorch had a tensor there, readable or not."""
    if type(value) is Placeholder:
        return value.origin.module == "torch._utils" and value.origin.name.startswith("_rebuild_")
    return type(value) in (Tensor, Unreadable)


def _tensors(mapping: _Dict) -> dict[str, Any]:
    return {name: value for name, value in mapping.items() if type(name) is str and _is_tensor(value)}


def _find(mapping: _Dict, depth: int) -> _Dict | None:
    """The one dict that holds tensors; under a usual key rather than beside it or under another one.

    Raises:
        DataError: there are several.
    """
    inner = _inner(mapping, depth)
    chosen = {name: value for name, value in inner.items() if name in _USUAL_KEYS}
    if not chosen and _tensors(mapping):
        return mapping
    chosen = chosen or inner
    if len(chosen) > 1:
        raise DataError(f"several dicts hold tensors, and one must be chosen: {_offers(chosen)}")
    return next(iter(chosen.values()), None)


def _inner(mapping: _Dict, depth: int) -> dict[str, _Dict]:
    """The state dict under each key that leads to one."""
    if not depth:
        return {}
    dicts = {name: _as_dict(value) for name, value in mapping.items() if type(name) is str}
    found = {name: _find(value, depth - 1) for name, value in dicts.items() if value is not None}
    return {name: value for name, value in found.items() if value is not None}


def _readable(mapping: _Dict) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for name, value in _tensors(mapping).items():
        if type(value) is not Tensor:
            raise DataError(_refusal(name, value))
        tensors[name] = value
    return tensors


def _refusal(name: str, value: Unreadable | Placeholder) -> str:
    record = f"record {name[:80]!a}"
    if type(value) is Placeholder:
        return (
            f"refused global {value.origin}: {record} is not a dense tensor of numbers, which are all that is read; "
            "convert it before state_dict() is saved"
        )
    assert isinstance(value, Unreadable)
    if value.origin is None:
        return f"{record}: {value.reason}"
    return f"refused global {value.origin}: {record}: {value.reason}; convert it before state_dict() is saved"


def _not_a_dict(loaded: Any) -> str:
    if type(loaded) in (Placeholder, Global):
        origin = loaded.origin if type(loaded) is Placeholder else loaded
        return f"refused global {origin}: the file holds such an object, not a dict of tensors; save its state_dict()"
    return f"it holds a {type(loaded).__name__}, not a dict of tensors; save model.state_dict()"


def _nothing_found(mapping: _Dict) -> str:
    """Why a dict is no state dict, naming an object in it that was passed over."""
    others = [(name, value) for name, value in mapping.items() if type(value) in (Placeholder, Global)]
    if not others:
        return f"no tensors at the top; {_describe(mapping)}"
    name, other = others[0]
    origin = other.origin if type(other) is Placeholder else other
    record = f"{name[:80]!a}" if type(name) is str else f"a {type(name).__name__}"
    return (
        f"refused global {origin}: that is what {record} is, and nothing in the dict is a tensor; objects are neither "
        "imported nor run: of a whole module save its state_dict()"
    )


def _describe(mapping: _Dict) -> str:
    """What a dict of dicts offers, for the message that asks for a key."""
    dicts = {name: _as_dict(value) for name, value in mapping.items() if type(name) is str}
    return _offers({name: value for name, value in dicts.items() if value is not None}) or "no dict in it holds tensors"


def _offers(dicts: Mapping[str, _Dict]) -> str:
    counts = {name: len(_tensors(inner)) for name, inner in list(dicts.items())[:_MAX_SHOWN]}
    return "; ".join(f"key={shorten(name)!r} has {count} tensors" for name, count in counts.items() if count)


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
