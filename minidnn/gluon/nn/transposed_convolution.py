"""Transposed convolutions over one, two and three spatial dimensions."""

from __future__ import annotations

from collections.abc import Sequence

from minidnn.gluon.nn._op import per_axis
from minidnn.gluon.nn.convolution import ConvolutionLayer
from minidnn.gluon.parameter import Init

__all__ = ["Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"]


class Conv1DTranspose(ConvolutionLayer):
    """The transpose of a convolution (sometimes called deconvolution) of arrays of shape ``(N, C, W)``.

    See `ConvolutionLayer` for the arguments.

    Args:
        output_padding: numbers by which the output is larger at its ends, smaller than the strides.

    Parameters: ``weight`` of shape ``(in_channels, channels / groups, k)``, ``bias`` of ``(channels,)``.

    Raises:
        OpError, ValueError: an argument does not fit.
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        output_padding: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        layout: str = "NCW",
        activation: str | None = None,
        use_bias: bool = True,
        weight_initializer: Init = None,
        bias_initializer: Init = "zeros",
        in_channels: int = 0,
    ) -> None:
        super().__init__(
            1,
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
            op="deconvolution",
            adj=per_axis(type(self).__name__, "output_padding", output_padding, 1),
        )


class Conv2DTranspose(ConvolutionLayer):
    """The transpose of a convolution (sometimes called deconvolution) of arrays of shape ``(N, C, H, W)``.

    See `ConvolutionLayer` for the arguments.

    Args:
        output_padding: numbers by which the output is larger at its ends, smaller than the strides.

    Parameters: ``weight`` of shape ``(in_channels, channels / groups, kh, kw)``, ``bias`` of ``(channels,)``.

    Raises:
        OpError, ValueError: an argument does not fit.
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = (1, 1),
        padding: int | Sequence[int] = (0, 0),
        output_padding: int | Sequence[int] = (0, 0),
        dilation: int | Sequence[int] = (1, 1),
        groups: int = 1,
        layout: str = "NCHW",
        activation: str | None = None,
        use_bias: bool = True,
        weight_initializer: Init = None,
        bias_initializer: Init = "zeros",
        in_channels: int = 0,
    ) -> None:
        super().__init__(
            2,
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
            op="deconvolution",
            adj=per_axis(type(self).__name__, "output_padding", output_padding, 2),
        )


class Conv3DTranspose(ConvolutionLayer):
    """The transpose of a convolution (sometimes called deconvolution) of arrays of shape ``(N, C, D, H, W)``.

    See `ConvolutionLayer` for the arguments.

    Args:
        output_padding: numbers by which the output is larger at its ends, smaller than the strides.

    Parameters: ``weight`` of shape ``(in_channels, channels / groups, kd, kh, kw)``, ``bias`` of ``(channels,)``.

    Raises:
        OpError, ValueError: an argument does not fit.
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = (1, 1, 1),
        padding: int | Sequence[int] = (0, 0, 0),
        output_padding: int | Sequence[int] = (0, 0, 0),
        dilation: int | Sequence[int] = (1, 1, 1),
        groups: int = 1,
        layout: str = "NCDHW",
        activation: str | None = None,
        use_bias: bool = True,
        weight_initializer: Init = None,
        bias_initializer: Init = "zeros",
        in_channels: int = 0,
    ) -> None:
        super().__init__(
            3,
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
            op="deconvolution",
            adj=per_axis(type(self).__name__, "output_padding", output_padding, 3),
        )
