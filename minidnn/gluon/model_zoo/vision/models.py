"""The table of networks, and the one function that makes them by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

from minidnn.gluon.block import HybridBlock
from minidnn.gluon.model_zoo.vision import efficientnet_lite, mobilenet, resnet

__all__ = ["get_image_size", "get_model", "list_models"]

_MODELS: dict[str, Callable[..., HybridBlock]] = {
    "resnet18_v1": resnet.resnet18_v1,
    "resnet34_v1": resnet.resnet34_v1,
    "resnet50_v1": resnet.resnet50_v1,
    "resnet101_v1": resnet.resnet101_v1,
    "resnet152_v1": resnet.resnet152_v1,
    "resnet18_v2": resnet.resnet18_v2,
    "resnet34_v2": resnet.resnet34_v2,
    "resnet50_v2": resnet.resnet50_v2,
    "resnet101_v2": resnet.resnet101_v2,
    "resnet152_v2": resnet.resnet152_v2,
    "mobilenet1.0": mobilenet.mobilenet1_0,
    "mobilenet0.75": mobilenet.mobilenet0_75,
    "mobilenet0.5": mobilenet.mobilenet0_5,
    "mobilenet0.25": mobilenet.mobilenet0_25,
    "mobilenetv2_1.0": mobilenet.mobilenet_v2_1_0,
    "mobilenetv2_0.75": mobilenet.mobilenet_v2_0_75,
    "mobilenetv2_0.5": mobilenet.mobilenet_v2_0_5,
    "mobilenetv2_0.25": mobilenet.mobilenet_v2_0_25,
    "efficientnet_lite0": efficientnet_lite.efficientnet_lite0,
    "efficientnet_lite1": efficientnet_lite.efficientnet_lite1,
    "efficientnet_lite2": efficientnet_lite.efficientnet_lite2,
}
# The functions' own names lead to the same networks: mobilenet1_0, mobilenet_v2_0_5, ...
_BY_FUNCTION = {function.__name__: function for function in _MODELS.values()}


_IMAGE_SIZES = {"efficientnet_lite1": 240, "efficientnet_lite2": 260}


def list_models() -> tuple[str, ...]:
    """The names that `get_model` knows."""
    return tuple(_MODELS)


def get_image_size(name: str) -> int:
    """Height and width, in pixels, of the images the network of that name was made for."""
    return _IMAGE_SIZES.get(name.lower(), 224)


def get_model(name: str, **kwargs: Any) -> HybridBlock:
    """A network by name.

    Args:
        name: one of `list_models`, in any case.
        kwargs: what the network's own function takes: ``pretrained``, ``classes``, ``device``, ...

    Raises:
        ValueError: there is no network of that name; the message lists those there are.
    """
    function = _MODELS.get(name.lower()) or _BY_FUNCTION.get(name.lower())
    if function is None:
        close = difflib.get_close_matches(name.lower(), [*_MODELS, *_BY_FUNCTION], n=3)
        hint = f"did you mean {' or '.join(close)}? " if close else ""
        raise ValueError(f"model {name!r} is not in the zoo; {hint}It has {', '.join(_MODELS)}")
    return function(**kwargs)
