"""Transposed convolutions over one, two and three spatial dimensions."""

from __future__ import annotations

from collections.abc import Sequence

from minidnn.gluon.nn._op import per_axis
from minidnn.gluon.nn.convolution import ConvolutionLayer
from minidnn.gluon.parameter import Init

__all__ = ["Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"]


class _TransposedConvolution(ConvolutionLayer):
    """The transpose of a convolution, sometimes called deconvolution.

    Args:
        output_padding: numbers by which the output is larger at its ends, smaller than the strides.
        channels, kernel_size, strides, padding, dilation, groups, layout, activation, use_bias,
            weight_initializer, bias_initializer, in_channels: see `ConvolutionLayer`.
    """

    _op = "deconvolution"

    def __init__(
        self,
        channels: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        output_padding: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        layout: str | None = None,
        activation: str | None = None,
        use_bias: bool = True,
        weight_initializer: Init = None,
        bias_initializer: Init = "zeros",
        in_channels: int = 0,
    ) -> None:
        super().__init__(
            channels,
            kernel_size,
            strides,
            padding,
            dilation,
            groups,
            layout,
            activation,
            use_bias,
            weight_initializer,
            bias_initializer,
            in_channels,
            adj=per_axis(type(self).__name__, "output_padding", output_padding, self._rank),
        )


class Conv1DTranspose(_TransposedConvolution):
    """Transposed convolution of arrays of shape ``(N, C, W)``; see `Conv1D` for the arguments.

    Args:
        output_padding: numbers by which the output is larger at its ends, smaller than the strides; after
            `padding`.

    Parameters: ``weight`` of shape ``(in_channels, channels / groups, k)``, ``bias`` of ``(channels,)``.
    """

    _rank = 1


class Conv2DTranspose(_TransposedConvolution):
    """Transposed convolution of arrays of shape ``(N, C, H, W)``; see `Conv2D` for the arguments.

    Args:
        output_padding: numbers by which the output is larger at its ends, smaller than the strides; after
            `padding`.

    Parameters: ``weight`` of shape ``(in_channels, channels / groups, kh, kw)``, ``bias`` of ``(channels,)``.
    """

    _rank = 2


class Conv3DTranspose(_TransposedConvolution):
    """Transposed convolution of arrays of shape ``(N, C, D, H, W)``; see `Conv3D` for the arguments.

    Args:
        output_padding: numbers by which the output is larger at its ends, smaller than the strides; after
            `padding`.

    Parameters: ``weight`` of shape ``(in_channels, channels / groups, kd, kh, kw)``, ``bias`` of ``(channels,)``.
    """

    _rank = 3
