"""The names of ImageNet's thousand classes."""

from __future__ import annotations

import functools
import importlib.resources

__all__ = ["imagenet_classes"]


@functools.cache
def imagenet_classes() -> tuple[str, ...]:
    """A short English name for each of the 1000 classes of ILSVRC 2012, in the order every ImageNet network uses."""
    text = importlib.resources.files(__package__).joinpath("imagenet_classes.txt").read_text("utf-8")
    return tuple(line for line in text.splitlines() if line and not line.startswith("#"))
