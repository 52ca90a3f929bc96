"""The table of networks, and the one function that makes them by name."""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Callable
from typing import Any

from minidnn.gluon.block import HybridBlock
from minidnn.gluon.model_zoo.vision import (
    densenet,
    efficientnet_lite,
    inception,
    mobilenet,
    mobilenet_v3,
    resnet,
    resnet_v1b,
    squeezenet,
    vgg,
    vit,
)
from minidnn.gluon.model_zoo.vision.alexnet import alexnet  # the package has the function, not the module

__all__ = ["close_models", "describe_models", "get_image_size", "get_model", "list_models"]

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
    "resnet18_v1b": resnet_v1b.resnet18_v1b,
    "resnet34_v1b": resnet_v1b.resnet34_v1b,
    "resnet50_v1b": resnet_v1b.resnet50_v1b,
    "resnet101_v1b": resnet_v1b.resnet101_v1b,
    "resnet152_v1b": resnet_v1b.resnet152_v1b,
    "vgg11": vgg.vgg11,
    "vgg13": vgg.vgg13,
    "vgg16": vgg.vgg16,
    "vgg19": vgg.vgg19,
    "vgg11_bn": vgg.vgg11_bn,
    "vgg13_bn": vgg.vgg13_bn,
    "vgg16_bn": vgg.vgg16_bn,
    "vgg19_bn": vgg.vgg19_bn,
    "alexnet": alexnet,
    "densenet121": densenet.densenet121,
    "densenet161": densenet.densenet161,
    "densenet169": densenet.densenet169,
    "densenet201": densenet.densenet201,
    "squeezenet1.0": squeezenet.squeezenet1_0,
    "squeezenet1.1": squeezenet.squeezenet1_1,
    "inceptionv3": inception.inception_v3,
    "mobilenet1.0": mobilenet.mobilenet1_0,
    "mobilenet0.75": mobilenet.mobilenet0_75,
    "mobilenet0.5": mobilenet.mobilenet0_5,
    "mobilenet0.25": mobilenet.mobilenet0_25,
    "mobilenetv2_1.0": mobilenet.mobilenet_v2_1_0,
    "mobilenetv2_0.75": mobilenet.mobilenet_v2_0_75,
    "mobilenetv2_0.5": mobilenet.mobilenet_v2_0_5,
    "mobilenetv2_0.25": mobilenet.mobilenet_v2_0_25,
    "mobilenetv3_large": mobilenet_v3.mobilenet_v3_large,
    "mobilenetv3_small": mobilenet_v3.mobilenet_v3_small,
    "efficientnet_lite0": efficientnet_lite.efficientnet_lite0,
    "efficientnet_lite1": efficientnet_lite.efficientnet_lite1,
    "efficientnet_lite2": efficientnet_lite.efficientnet_lite2,
    "vit_tiny_patch16_224": vit.vit_tiny_patch16_224,
    "vit_small_patch16_224": vit.vit_small_patch16_224,
    "vit_base_patch16_224": vit.vit_base_patch16_224,
}
# The functions' own names lead to the same networks: mobilenet1_0, mobilenet_v2_0_5, ...
_BY_FUNCTION = {function.__name__: function for function in _MODELS.values()}


_IMAGE_SIZES = {"efficientnet_lite1": 240, "efficientnet_lite2": 260, "inceptionv3": 299, "inception_v3": 299}


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
        close = close_models(name)
        hint = f"did you mean {' or '.join(close)}? " if close else ""
        raise ValueError(f"model {name!r} is not in the zoo; {hint}It has\n{describe_models()}")
    return function(**kwargs)


def close_models(name: str) -> list[str]:
    """The names of `list_models` that are most like `name`: at most three networks, each by one name."""
    known = {**_BY_FUNCTION, **_MODELS}
    names = {function: listed for listed, function in _MODELS.items()}
    found = difflib.get_close_matches(name.lower(), known, n=len(known))
    return list(dict.fromkeys(names[known[one]] for one in found))[:3]


def describe_models() -> str:
    """The names of `list_models`, each family in lines of its own."""
    families: dict[str, list[str]] = {}
    for name, function in _MODELS.items():
        families.setdefault(function.__module__, []).append(name)
    return "\n".join(
        textwrap.fill(", ".join(f), 100, initial_indent="  ", subsequent_indent="  ") for f in families.values()
    )
