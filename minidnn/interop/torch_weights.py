"""Filling a network with the weights of a PyTorch one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minidnn import serialization
from minidnn.errors import DataError
from minidnn.interop.torch_checkpoint import is_torch_file, read_torch_checkpoint
from minidnn.interop.torch_names import is_unused, shift_of_variances, strip_wrappers, torch_names

__all__ = ["load_torch"]

_Array = np.ndarray[Any, Any]


def load_torch(
    net: Any,
    path: str | os.PathLike[str],
    key: str | None = None,
    allow_missing: bool = False,
    ignore_extra: bool = False,
) -> None:
    """Fill a network with the weights that torchvision, timm or a script of one's own saved for the same network.

    Known are AlexNet, VGG, SqueezeNet, DenseNet, Inception v3, MobileNet v2 (made with ``torchvision=True``) and v3,
    EfficientNet-Lite, ResNet v1b of every depth and ResNet v1 of 18 and 34 layers, by torchvision's names, and by
    timm's for those that it has with the same structure; of its variants of MobileNetV3 and EfficientNet-Lite that are
    ``mobilenetv3_*_100`` and ``tf_efficientnet_lite*``. Any other block is filled if its layers have the same names
    in PyTorch: ``weight`` and ``bias`` of a normalization are our ``gamma`` and ``beta``. The weights of a dense layer
    fit a convolution over as many elements, and the other way round.
    Prefixes of wrappers (``module.``, ``_orig_mod.``, ``model.``, ``net.``, ``ema.``, and any of them after each other)
    are left out where the network's names are behind one of them.

    Args:
        net: the network; all tensors are checked before its first parameter changes.
        path: a ``.safetensors`` file, or what ``torch.save`` wrote of a state dict: ``.pth``, ``.pt``, ``.bin``.
            PyTorch is not needed, and nothing of the file is run.
        key: see `read_torch_checkpoint`.
        allow_missing: whether parameters without a tensor stay as they are.
        ignore_extra: whether tensors that belong to no layer are left out.

    Raises:
        DataError: the file is damaged, or a tensor is missing, superfluous, or of another shape or kind; the message
            names it. Or no tensor at all belongs to a layer, or no PyTorch weights fit this network.
        OSError: the file cannot be read.
    """
    path = Path(path)
    names = torch_names(net)
    tensors = _read(path, key)
    try:
        arrays = _translate(net, names, tensors, allow_missing, ignore_extra)
        net.load_dict(arrays, cast_dtype=True, allow_missing=allow_missing)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _read(path: Path, key: str | None) -> dict[str, _Array]:
    with path.open("rb") as file:
        head = file.read(9)
    # A safetensors file begins with the length of its header in eight bytes, and then the header, a JSON object.
    if head[8:] == b"{" or (path.suffix.lower() == ".safetensors" and not is_torch_file(head)):
        if key is not None:
            raise DataError(f"{path}: a safetensors file holds one state dict; key={key!r} was given")
        return serialization.load(path)
    return read_torch_checkpoint(path, key)


def _translate(
    net: Any, names: Mapping[str, str], tensors: Mapping[str, _Array], allow_missing: bool, ignore_extra: bool
) -> dict[str, _Array]:
    """The tensors by our names, in our shapes.

    Raises:
        DataError: names, shapes or kinds do not fit.
    """
    parameters = net.collect_params()
    sources: dict[str, str] = {}
    unexpected = []
    short_names = strip_wrappers(tensors, names)
    for name, short in short_names.items():
        ours = names.get(short)
        if ours is None:
            unexpected += [] if is_unused(short) else [name]
        elif ours in sources:
            raise DataError(f"tensors {sources[ours]!r} and {name!r} are both for parameter {ours!r}")
        else:
            sources[ours] = name
    # Where a layer has several names in PyTorch, the message gives torchvision's, which comes first.
    wanted = {ours: theirs for theirs, ours in reversed([*names.items()])}
    missing = [f"{wanted[name]!r} for parameter {name!r}" for name in parameters if name not in sources]
    kind = type(net).__name__
    complaints = []
    if missing and not (allow_missing and sources):
        complaints.append(f"{len(missing)} tensors are missing: {_brief(missing)}")
    if unexpected and not (ignore_extra and sources):
        listed = _brief(repr(name) for name in unexpected)
        complaints.append(f"{len(unexpected)} tensors belong to no layer of {kind}: {listed}")
    if complaints:
        raise DataError(f"not the weights of this {kind}: {'; '.join(complaints)}")
    arrays = {ours: _fit(theirs, tensors[theirs], ours, parameters[ours].shape) for ours, theirs in sources.items()}
    shift = shift_of_variances(net, {*short_names.values()})
    if shift:
        for ours, array in arrays.items():
            if ours.endswith(".running_var"):
                arrays[ours] = np.asarray(array - np.float32(shift), array.dtype)
    return arrays


def _fit(theirs: str, tensor: _Array, ours: str, shape: tuple[int, ...] | None) -> _Array:
    """The tensor in the parameter's shape, in which 0 and less stand for sizes not known yet."""
    if tensor.dtype.kind != "f":
        raise DataError(f"tensor {theirs!r} is {tensor.dtype}, parameter {ours!r} wants floating point")
    if shape is None or _matches(tensor.shape, shape):
        return tensor
    if {tensor.ndim, len(shape)} == {2, 4}:  # a dense layer and a convolution
        inputs = int(np.prod(tensor.shape[1:]))
        known = all(size > 0 for size in shape[1:])
        goal = shape[1:] if known else (inputs,) if len(shape) == 2 else (inputs, *shape[2:])
        if tensor.shape[0] == shape[0] and inputs == np.prod(goal):
            return np.reshape(tensor, (shape[0], *goal))
    raise DataError(f"tensor {theirs!r} has shape {tensor.shape}, parameter {ours!r} wants {shape}")


def _matches(have: tuple[int, ...], want: tuple[int, ...]) -> bool:
    return len(have) == len(want) and all(w <= 0 or h == w for h, w in zip(have, want, strict=True))


def _brief(items: Iterable[str], limit: int = 4) -> str:
    items = [*items]
    return ", ".join(items if len(items) <= limit else [*items[:limit], "..."])
