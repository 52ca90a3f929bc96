"""Convolutions and transposed convolutions over one, two and three spatial dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from minidnn.dispatch import invoke
from minidnn.gluon._hybrid_block import HybridBlock
from minidnn.gluon.nn._op import complete_shapes, make_attrs, per_axis
from minidnn.gluon.nn.activations import Activation
from minidnn.gluon.parameter import Init, Parameter

__all__ = ["Conv1D", "Conv1DTranspose", "Conv2D", "Conv2DTranspose", "Conv3D", "Conv3DTranspose", "ConvolutionLayer"]

_LAYOUTS = {1: "NCW", 2: "NCHW", 3: "NCDHW"}


class ConvolutionLayer(HybridBlock):
    """What all convolutions share, the transposed ones too; a subclass says the number of spatial dimensions.

    The arguments are those of `Conv2D`.
    """

    _rank: ClassVar[int]
    _op: ClassVar[str] = "convolution"

    def __init__(
        self,
        channels: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        layout: str | None = None,
        activation: str | None = None,
        use_bias: bool = True,
        weight_initializer: Init = None,
        bias_initializer: Init = "zeros",
        in_channels: int = 0,
    ) -> None:
        super().__init__()
        name, rank = type(self).__name__, self._rank
        self._attrs = make_attrs(
            name,
            self._op,
            kernel=per_axis(name, "kernel_size", kernel_size, rank),
            stride=per_axis(name, "strides", strides, rank),
            dilate=per_axis(name, "dilation", dilation, rank),
            pad=per_axis(name, "padding", padding, rank),
            num_filter=channels,
            num_group=groups,
            no_bias=not use_bias,
            layout=layout or _LAYOUTS[rank],
        )
        for what, count in (("channels", channels), ("in_channels", in_channels)):
            if count % groups:
                raise ValueError(f"{name}: {what}={count} must be a multiple of groups={groups}")
        self.weight = Parameter(
            "weight", shape=self._weight_shape(in_channels), init=weight_initializer, allow_deferred_init=True
        )
        self.bias = (
            Parameter("bias", shape=(channels,), init=bias_initializer, allow_deferred_init=True) if use_bias else None
        )
        self.act = Activation(activation) if activation is not None else None

    def _weight_shape(self, in_channels: int) -> tuple[int, ...]:
        attrs = self._attrs
        if self._op == "convolution":
            return (attrs.num_filter, in_channels // attrs.num_group, *attrs.kernel)
        return (in_channels, attrs.num_filter // attrs.num_group, *attrs.kernel)

    def forward(self, x: Any) -> Any:
        parameters = [self.weight.data()] if self.bias is None else [self.weight.data(), self.bias.data()]
        out = invoke(self._op, x, *parameters, **self._attrs)
        return out if self.act is None else self.act(out)

    def infer_shape(self, x: Any, *args: Any) -> None:
        """Complete the weight's shape from an input."""
        complete_shapes(self._op, self._attrs, x, {"weight": self.weight})

    def __repr__(self) -> str:
        attrs, rank = self._attrs, len(self._attrs.kernel)
        assert self.weight.shape is not None
        in_channels = self.weight.shape[0] if self._op == "deconvolution" else self.weight.shape[1] * attrs.num_group
        parts = [
            f"{in_channels if in_channels > 0 else None} -> {attrs.num_filter}",
            f"kernel_size={attrs.kernel}",
            f"stride={attrs.stride}",
        ]
        if attrs.pad != (0,) * rank:
            parts.append(f"padding={attrs.pad}")
        if attrs.dilate != (1,) * rank:
            parts.append(f"dilation={attrs.dilate}")
        if attrs.get("adj", (0,) * rank) != (0,) * rank:
            parts.append(f"output_padding={attrs.adj}")
        if attrs.num_group != 1:
            parts.append(f"groups={attrs.num_group}")
        if self.bias is None:
            parts.append("bias=False")
        if self.act is not None:
            parts.append(repr(self.act))
        return f"{type(self).__name__}({', '.join(parts)})"


class Conv1D(ConvolutionLayer):
    """Convolution of arrays of shape ``(N, C, W)``; see `Conv2D` for the arguments (layout: ``NCW``).

    Parameters: ``weight`` of shape ``(channels, in_channels / groups, k)``, ``bias`` of ``(channels,)``.
    """

    _rank = 1


class Conv2D(ConvolutionLayer):
    """Convolution of arrays of shape ``(N, C, H, W)``.

    Args:
        channels: output channels.
        kernel_size, strides, padding, dilation: one number, or one for height and one for width.
        groups: number of groups that channels are divided into; each computes its share of the output channels from its
            share of the input channels.
        layout: ``NCHW`` or None, which means the same.
        activation: name of an activation, see `Activation`; None: none.
        use_bias: whether a bias is added.
        weight_initializer, bias_initializer: of the parameters; None: the initializer given to `initialize`.
        in_channels: input channels; 0: taken from the first input.

    Raises:
        OpError, ValueError: an argument does not fit.

    Parameters: ``weight`` of shape ``(channels, in_channels / groups, kh, kw)``, ``bias`` of ``(channels,)``.
    """

    _rank = 2


class Conv3D(ConvolutionLayer):
    """Convolution of arrays of shape ``(N, C, D, H, W)``; see `Conv2D` for the arguments (layout: ``NCDHW``).

    Parameters: ``weight`` of shape ``(channels, in_channels / groups, kd, kh, kw)``, ``bias`` of ``(channels,)``.
    """

    _rank = 3


class _TransposedConvolution(ConvolutionLayer):
    """The transpose of a convolution, sometimes called deconvolution.

    Args:
        output_padding: numbers by which the output is larger at its ends, smaller than the strides.
        channels, kernel_size, strides, padding, dilation, groups, layout, activation, use_bias,
            weight_initializer, bias_initializer, in_channels: see `Conv2D`.
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
        )
        name = type(self).__name__
        adj = per_axis(name, "output_padding", output_padding, self._rank)
        self._attrs = make_attrs(name, self._op, **{**self._attrs, "adj": adj})


class Conv1DTranspose(_TransposedConvolution):
    """Transposed convolution of arrays of shape ``(N, C, W)``; see `Conv2D`. The layout is ``NCW``.

    Args:
        output_padding: numbers by which the output is larger at its ends, smaller than the strides; after
            `padding`.

    Parameters: ``weight`` of shape ``(in_channels, channels / groups, k)``, ``bias`` of ``(channels,)``.
    """

    _rank = 1


class Conv2DTranspose(_TransposedConvolution):
    """Transposed convolution of arrays of shape ``(N, C, H, W)``; see `Conv2D`.

    Args:
        output_padding: numbers by which the output is larger at its ends, smaller than the strides; after
            `padding`.

    Parameters: ``weight`` of shape ``(in_channels, channels / groups, kh, kw)``, ``bias`` of ``(channels,)``.
    """

    _rank = 2


class Conv3DTranspose(_TransposedConvolution):
    """Transposed convolution of arrays of shape ``(N, C, D, H, W)``; see `Conv2D`. The layout is ``NCDHW``.

    Args:
        output_padding: numbers by which the output is larger at its ends, smaller than the strides; after
            `padding`.

    Parameters: ``weight`` of shape ``(in_channels, channels / groups, kd, kh, kw)``, ``bias`` of ``(channels,)``.
    """

    _rank = 3
