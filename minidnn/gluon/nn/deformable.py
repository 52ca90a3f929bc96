"""Convolutions whose taps are read where another convolution moves them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from minidnn.dispatch import invoke_one
from minidnn.gluon._hybrid_block import HybridBlock
from minidnn.gluon.nn._op import complete_shapes, make_attrs, per_axis
from minidnn.gluon.nn.activations import Activation
from minidnn.gluon.parameter import Init, Parameter

__all__ = ["DeformableConvolution", "ModulatedDeformableConvolution"]

Ints = int | Sequence[int]


class DeformableConvolution(HybridBlock):
    """A convolution of arrays ``(N, C, H, W)`` each of whose taps is moved by an offset (Dai et al., 2017).

    Args:
        channels: output channels.
        kernel_size, strides, padding, dilation: one number, or one for height and one for width.
        groups: groups of channels that do not see each other.
        num_deformable_group: groups of input channels with offsets of their own.
        layout: ``NCHW``.
        use_bias, offset_use_bias: whether the convolution, and the one that finds the offsets, add a bias.
        in_channels: input channels; 0: taken from the first input.
        activation: name of an activation, see `Activation`; None: none.
        weight_initializer, bias_initializer, offset_weight_initializer, offset_bias_initializer: of the parameters.
        op_name, adj: MXNet's; ignored.

    Parameters: ``offset_weight``, ``offset_bias``, ``deformable_conv_weight``, ``deformable_conv_bias``.

    Raises:
        OpError, ValueError: an argument does not fit.
    """

    _op: ClassVar[str] = "deformable_convolution"
    _each: ClassVar[int] = 2

    def __init__(
        self,
        channels: int,
        kernel_size: Ints = (1, 1),
        strides: Ints = (1, 1),
        padding: Ints = (0, 0),
        dilation: Ints = (1, 1),
        groups: int = 1,
        num_deformable_group: int = 1,
        layout: str = "NCHW",
        use_bias: bool = True,
        in_channels: int = 0,
        activation: str | None = None,
        weight_initializer: Init = None,
        bias_initializer: Init = "zeros",
        offset_weight_initializer: Init = "zeros",
        offset_bias_initializer: Init = "zeros",
        offset_use_bias: bool = True,
        op_name: str = "",
        adj: Any = None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        kernel = per_axis(name, "kernel_size", kernel_size, 2)
        spatial: dict[str, Any] = {
            "kernel": kernel,
            "stride": per_axis(name, "strides", strides, 2),
            "pad": per_axis(name, "padding", padding, 2),
            "dilate": per_axis(name, "dilation", dilation, 2),
            "layout": layout,
        }
        self._taps = num_deformable_group * kernel[0] * kernel[1]
        self._attrs = make_attrs(
            name,
            self._op,
            num_filter=channels,
            num_group=groups,
            num_deformable_group=num_deformable_group,
            no_bias=not use_bias,
            **spatial,
        )
        moved = self._each * self._taps
        self._offset_attrs = make_attrs(
            name, "convolution", num_filter=moved, num_group=groups, no_bias=not offset_use_bias, **spatial
        )
        for what, count in (("channels", channels), ("in_channels", in_channels)):
            if count % groups:
                raise ValueError(f"{name}: {what}={count} must be a multiple of groups={groups}")
        each = in_channels // groups
        self.offset_weight = _parameter("offset_weight", (moved, each, *kernel), offset_weight_initializer)
        self.offset_bias = _parameter("offset_bias", (moved,), offset_bias_initializer) if offset_use_bias else None
        self.deformable_conv_weight = _parameter(
            "deformable_conv_weight", (channels, each, *kernel), weight_initializer
        )
        self.deformable_conv_bias = (
            _parameter("deformable_conv_bias", (channels,), bias_initializer) if use_bias else None
        )
        self.act = Activation(activation) if activation is not None else None

    def forward(self, x: Any) -> Any:
        moved = invoke_one("convolution", x, *_data(self.offset_weight, self.offset_bias), **self._offset_attrs)
        weights = _data(self.deformable_conv_weight, self.deformable_conv_bias)
        out = invoke_one(self._op, x, *self._offsets(moved), *weights, **self._attrs)
        return out if self.act is None else self.act(out)

    def _offsets(self, moved: Any) -> list[Any]:
        return [moved]

    def infer_shape(self, x: Any, *args: Any) -> None:
        """Complete the weights' shapes from an input."""
        complete_shapes("convolution", self._offset_attrs, x, {"weight": self.offset_weight})
        complete_shapes(self._op, self._attrs, x, {"weight": self.deformable_conv_weight})


class ModulatedDeformableConvolution(DeformableConvolution):
    """`DeformableConvolution` with a factor from 0 to 2 for each tap, found like the offsets (Zhu et al., 2019)."""

    _op = "modulated_deformable_convolution"
    _each = 3

    def _offsets(self, moved: Any) -> list[Any]:
        split = 2 * self._taps
        offset = invoke_one("slice_axis", moved, axis=1, begin=0, end=split)
        mask = invoke_one("sigmoid", invoke_one("slice_axis", moved, axis=1, begin=split, end=None))
        return [offset, mask * 2]


def _parameter(name: str, shape: tuple[int, ...], init: Init) -> Parameter:
    return Parameter(name, shape=shape, init=init, allow_deferred_init=True)


def _data(*parameters: Parameter | None) -> list[Any]:
    return [p.data() for p in parameters if p is not None]
