"""Transforms of images ``(H, W, C)``, as MXNet has them; ``(N, H, W, C)`` where it says so.

They compute at once, with NumPy and OpenCV: hybridizing has no effect on them, since images differ in size and a
program for each size would cost more than it saves. Further arguments pass by unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from minidnn import random
from minidnn.gluon.block import Block, HybridBlock
from minidnn.gluon.data.vision.transforms.colors import (
    RandomBrightness,
    RandomColorJitter,
    RandomContrast,
    RandomGray,
    RandomHue,
    RandomLighting,
    RandomSaturation,
)
from minidnn.gluon.data.vision.transforms.geometry import (
    CenterCrop,
    CropResize,
    RandomCrop,
    RandomFlipLeftRight,
    RandomFlipTopBottom,
    RandomResizedCrop,
    RandomRotation,
    Resize,
    Rotate,
)
from minidnn.gluon.data.vision.transforms.tensors import Cast, Normalize, ToTensor
from minidnn.gluon.nn.basic_layers import Lambda
from minidnn.gluon.nn.sequential import HybridSequential, Sequential

__all__ = [
    "Cast",
    "CenterCrop",
    "Compose",
    "CropResize",
    "HybridCompose",
    "HybridRandomApply",
    "Normalize",
    "RandomApply",
    "RandomBrightness",
    "RandomColorJitter",
    "RandomContrast",
    "RandomCrop",
    "RandomFlipLeftRight",
    "RandomFlipTopBottom",
    "RandomGray",
    "RandomHue",
    "RandomLighting",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomSaturation",
    "Resize",
    "Rotate",
    "ToTensor",
]


class Compose(Sequential):
    """Transforms one after the other.

    Args:
        transforms: a list of blocks, or of functions of one array.
    """

    def __init__(self, transforms: Iterable[Callable[..., Any]]) -> None:
        super().__init__()
        self.add(*(each if isinstance(each, Block) else Lambda(each) for each in transforms))

    def hybridize(self, active: bool = True, **kwargs: Any) -> None:
        """No effect."""


class HybridCompose(HybridSequential):
    """Transforms one after the other, all of them hybrid blocks.

    Args:
        transforms: a list of them.

    Raises:
        ValueError: one is not.
    """

    def __init__(self, transforms: Iterable[Block]) -> None:
        super().__init__()
        for transform in transforms:
            if not isinstance(transform, HybridBlock):
                raise ValueError(f"{transform} is not a HybridBlock, try use `Compose` instead")
            self.add(transform)

    def hybridize(self, active: bool = True, **kwargs: Any) -> None:  # type: ignore[override] # any keyword is as good
        """No effect."""


def _maybe(transform: Callable[[Any], Any], p: float, x: Any, others: tuple[Any, ...]) -> Any:
    if random.generator().random() < p:
        x = transform(x)
    return (x, *others) if others else x


class RandomApply(Sequential):
    """A transform that is applied with probability `p`, and otherwise not.

    Args:
        transforms: one transform: a block or a function; `Compose` makes one of several.
        p: the probability.
    """

    def __init__(self, transforms: Callable[[Any], Any], p: float = 0.5) -> None:
        super().__init__()
        self.transforms, self.p = transforms, p

    def hybridize(self, active: bool = True, **kwargs: Any) -> None:
        """No effect."""

    def forward(self, x: Any, *args: Any) -> Any:
        return _maybe(self.transforms, self.p, x, args)


class HybridRandomApply(HybridSequential):
    """`RandomApply` of a hybrid block.

    Raises:
        ValueError: it is none.
    """

    def __init__(self, transforms: Block, p: float = 0.5) -> None:
        super().__init__()
        if not isinstance(transforms, HybridBlock):
            raise ValueError(f"{transforms} is not a HybridBlock, use RandomApply instead")
        self.transforms, self.p = transforms, p

    def hybridize(self, active: bool = True, **kwargs: Any) -> None:  # type: ignore[override] # any keyword is as good
        """No effect."""

    def forward(self, x: Any, *args: Any) -> Any:
        return _maybe(self.transforms, self.p, x, args)
