"""Vision transformers (Dosovitskiy et al., 2020), with the parameter names of Hugging Face's."""

from __future__ import annotations

from typing import Any

from minidnn import npx
from minidnn.errors import ShapeError
from minidnn.gluon import nn
from minidnn.gluon._hybrid_block import HybridBlock
from minidnn.gluon.model_zoo.vision.pretrained import find_weights
from minidnn.gluon.parameter import Parameter
from minidnn.initializer import Zero
from minidnn.interop.weights import load_weights
from minidnn.numpy import broadcast_to, concatenate

__all__ = ["VisionTransformer", "get_vit", "vit_base_patch16_224", "vit_small_patch16_224", "vit_tiny_patch16_224"]

_EPSILON = 1e-12


def _dense(units: int, inputs: int) -> nn.Dense:
    return nn.Dense(units, flatten=False, in_units=inputs)


class _Patches(HybridBlock):
    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.projection = nn.Conv2D(width, patch, strides=patch, in_channels=3)

    def forward(self, x: Any) -> Any:
        y = self.projection(x)
        return y.reshape(y.shape[0], y.shape[1], -1).transpose(0, 2, 1)


class _Embeddings(HybridBlock):
    """Of patches behind that of the class, with those of positions added."""

    def __init__(self, width: int, image: int, patch: int) -> None:
        super().__init__()
        self.patch_embeddings = _Patches(width, patch)
        self.cls_token = Parameter("cls_token", shape=(1, 1, width), init=Zero())
        positions = (image // patch) ** 2 + 1
        self.position_embeddings = Parameter("position_embeddings", shape=(1, positions, width), init=Zero())
        self._image = image

    def forward(self, x: Any) -> Any:
        if x.ndim != 4 or x.shape[2] != self._image or x.shape[3] != self._image:
            size = self._image
            raise ShapeError(
                f"VisionTransformer: images must be (N, 3, {size}, {size}), got {tuple(map(int, x.shape))}"
            )
        y = self.patch_embeddings(x)
        token = self.cls_token.data()
        token = broadcast_to(token, (y.shape[0], 1, token.shape[2]))
        return concatenate([token, y], axis=1) + self.position_embeddings.data()


class _SelfAttention(HybridBlock):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (_dense(width, width) for _ in range(3))
        self._heads, self._size = heads, width // heads

    def forward(self, x: Any) -> Any:
        def apart(y: Any) -> Any:
            return y.reshape(y.shape[0], y.shape[1], self._heads, self._size).transpose(0, 2, 1, 3)

        mixed = npx.attention(apart(self.query(x)), apart(self.key(x)), apart(self.value(x)))
        return mixed.transpose(0, 2, 1, 3).reshape(x.shape[0], x.shape[1], self._heads * self._size)


class _Dense(HybridBlock):
    """A dense layer by the name ``dense``, and maybe an activation."""

    def __init__(self, units: int, inputs: int, activation: Any = None) -> None:
        super().__init__()
        self.dense, self._activation = _dense(units, inputs), activation

    def forward(self, x: Any) -> Any:
        y = self.dense(x)
        return y if self._activation is None else self._activation(y)


class _Attention(HybridBlock):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention, self.output = _SelfAttention(width, heads), _Dense(width, width)

    def forward(self, x: Any) -> Any:
        return self.output(self.attention(x))


class _Layer(HybridBlock):
    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.layernorm_before, self.layernorm_after = (
            nn.LayerNorm(epsilon=_EPSILON, in_channels=width) for _ in range(2)
        )
        self.attention = _Attention(width, heads)
        self.intermediate, self.output = _Dense(hidden, width, nn.GELU()), _Dense(width, hidden)

    def forward(self, x: Any) -> Any:
        x = x + self.attention(self.layernorm_before(x))
        return x + self.output(self.intermediate(self.layernorm_after(x)))


class _Encoder(HybridBlock):
    def __init__(self, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.layer = nn.HybridSequential()
        self.layer.add(*(_Layer(width, heads, 4 * width) for _ in range(layers)))

    def forward(self, x: Any) -> Any:
        return self.layer(x)


class _Body(HybridBlock):
    def __init__(self, width: int, layers: int, heads: int, image: int, patch: int) -> None:
        super().__init__()
        self.embeddings, self.encoder = _Embeddings(width, image, patch), _Encoder(width, layers, heads)
        self.layernorm = nn.LayerNorm(epsilon=_EPSILON, in_channels=width)

    def forward(self, x: Any) -> Any:
        return self.layernorm(self.encoder(self.embeddings(x)))


class VisionTransformer(HybridBlock):
    """A transformer over the patches of an image; the first of its vectors is classified.

    Args:
        width: units of a vector.
        layers, heads: how many; the heads divide the width.
        classes: how many.
        image, patch: pixels a side of an image and of a patch.

    Raises:
        ValueError: the heads do not divide the width, or patches the image.
    """

    def __init__(
        self, width: int, layers: int, heads: int, classes: int = 1000, image: int = 224, patch: int = 16
    ) -> None:
        if width % heads or image % patch:
            raise ValueError(
                f"VisionTransformer: heads={heads} must divide width={width}, and patch={patch} image={image}"
            )
        super().__init__()
        self.vit, self.classifier = _Body(width, layers, heads, image, patch), nn.Dense(classes, in_units=width)

    def forward(self, x: Any) -> Any:
        return self.classifier(self.vit(x)[:, 0])


# name -> width, layers, heads
_SPECIFICATIONS = {"tiny": (192, 12, 3), "small": (384, 12, 6), "base": (768, 12, 12)}


def get_vit(
    size: str, pretrained: bool = False, device: Any = None, root: Any = None, ctx: Any = None, **kwargs: Any
) -> VisionTransformer:
    """A vision transformer on patches of 16 pixels of images of 224.

    Args:
        size: ``tiny``, ``small`` or ``base``.
        pretrained: fill it with ImageNet weights; see `find_weights` for where from.
        device, ctx: MXNet's arguments of `pretrained`; unused.
        root: folder of files with weights.
        kwargs: ``classes``, ``image``, ``patch``.

    Raises:
        ValueError: an unknown size; `pretrained`, and there is no file with weights.
    """
    if size not in _SPECIFICATIONS:
        raise ValueError(f"VisionTransformer has the sizes {list(_SPECIFICATIONS)}, got {size!r}")
    path = find_weights(f"vit_{size}_patch16_224", root, kwargs) if pretrained else None
    net = VisionTransformer(*_SPECIFICATIONS[size], **kwargs)
    if path is not None:
        load_weights(net, path)
    return net


def vit_tiny_patch16_224(**kwargs: Any) -> VisionTransformer:
    """ViT-Tiny; the arguments are `get_vit`'s."""
    return get_vit("tiny", **kwargs)


def vit_small_patch16_224(**kwargs: Any) -> VisionTransformer:
    """ViT-Small; the arguments are `get_vit`'s."""
    return get_vit("small", **kwargs)


def vit_base_patch16_224(**kwargs: Any) -> VisionTransformer:
    """ViT-Base; the arguments are `get_vit`'s."""
    return get_vit("base", **kwargs)
