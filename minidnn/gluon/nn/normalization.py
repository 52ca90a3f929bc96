"""Normalizations by the statistics of the input itself: of layers, groups and instances."""

from __future__ import annotations

from typing import Any

from minidnn.dispatch import invoke, invoke_one
from minidnn.gluon._hybrid_block import HybridBlock
from minidnn.gluon.nn._op import complete_shapes, make_attrs, show
from minidnn.gluon.parameter import Init, Parameter
from minidnn.ops.registry import Attrs

__all__ = ["GroupNorm", "InstanceNorm", "LayerNorm"]


class _Normalization(HybridBlock):
    """An operator with data, gamma and beta."""

    def __init__(
        self,
        op: str,
        attrs: Attrs,
        center: bool,
        scale: bool,
        beta_initializer: Init,
        gamma_initializer: Init,
        in_channels: int,
    ) -> None:
        super().__init__()
        self._op = op
        self._attrs = attrs
        self._center = center
        self._scale = scale
        shape = (in_channels,)
        self.gamma = Parameter(
            "gamma", "write" if scale else "null", shape, init=gamma_initializer, allow_deferred_init=True
        )
        self.beta = Parameter(
            "beta", "write" if center else "null", shape, init=beta_initializer, allow_deferred_init=True
        )

    def forward(self, x: Any) -> Any:
        return invoke(self._op, x, self.gamma.data(), self.beta.data(), **self._attrs)

    def infer_shape(self, x: Any, *args: Any) -> None:
        """Complete the shapes of gamma and beta from an input."""
        complete_shapes(self._op, self._attrs, x, self.params)

    def _shown(self) -> dict[str, Any]:
        return {name: value for name, value in self._attrs.items() if name != "output_mean_var"}

    def __repr__(self) -> str:
        count = self.gamma.shape[0] if self.gamma.shape is not None and self.gamma.shape_is_known else None
        return show(self, **self._shown(), center=self._center, scale=self._scale, in_channels=count)


class LayerNorm(_Normalization):
    """``gamma * (x - mean) / sqrt(var + epsilon) + beta``, mean and variance along `axis`, arXiv:1607.06450.

    Args:
        axis: the normalized axis.
        epsilon: keeps the root from zero.
        center, scale: whether beta and gamma are trained.
        beta_initializer, gamma_initializer: their own initializers.
        in_channels: size of the axis; 0: known at the first call.

    Parameters: ``gamma`` and ``beta``, each of shape ``(in_channels,)``.
    """

    def __init__(
        self,
        axis: int = -1,
        epsilon: float = 1e-5,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Init = "zeros",
        gamma_initializer: Init = "ones",
        in_channels: int = 0,
    ) -> None:
        attrs = make_attrs("LayerNorm", "layer_norm", axis=axis, eps=epsilon)
        super().__init__("layer_norm", attrs, center, scale, beta_initializer, gamma_initializer, in_channels)


class GroupNorm(_Normalization):
    """Normalizes each group of channels of each sample of ``(N, C, ...)``, arXiv:1803.08494.

    Args:
        num_groups: the channels fall into so many groups.
        epsilon: keeps the root from zero.
        center, scale: whether beta and gamma are trained.
        beta_initializer, gamma_initializer: their own initializers.
        in_channels: number of channels; 0: known at the first call.

    Parameters: ``gamma`` and ``beta``, each of shape ``(in_channels,)``.
    """

    def __init__(
        self,
        num_groups: int = 1,
        epsilon: float = 1e-5,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Init = "zeros",
        gamma_initializer: Init = "ones",
        in_channels: int = 0,
    ) -> None:
        attrs = make_attrs("GroupNorm", "group_norm", num_groups=num_groups, eps=epsilon)
        super().__init__("group_norm", attrs, center, scale, beta_initializer, gamma_initializer, in_channels)


class InstanceNorm(_Normalization):
    """Normalizes each channel of each sample, arXiv:1607.08022.

    Args:
        axis: of the channels.
        epsilon: keeps the root from zero.
        center, scale: whether beta and gamma are trained.
        beta_initializer, gamma_initializer: their own initializers.
        in_channels: number of channels; 0: known at the first call.

    Parameters: ``gamma`` and ``beta``, each of shape ``(in_channels,)``.
    """

    def __init__(
        self,
        axis: int = 1,
        epsilon: float = 1e-5,
        center: bool = True,
        scale: bool = False,
        beta_initializer: Init = "zeros",
        gamma_initializer: Init = "ones",
        in_channels: int = 0,
    ) -> None:
        attrs = make_attrs("InstanceNorm", "instance_norm", eps=epsilon)
        super().__init__("instance_norm", attrs, center, scale, beta_initializer, gamma_initializer, in_channels)
        self._axis = axis

    def forward(self, x: Any) -> Any:
        return self._channels_second(super().forward(self._channels_second(x)))

    def infer_shape(self, x: Any, *args: Any) -> None:
        """Complete the shapes of gamma and beta from an input."""
        super().infer_shape(self._channels_second(x))

    def _channels_second(self, x: Any) -> Any:
        """Axis 1 and the axis of the channels exchanged, where they differ; its own inverse."""
        return x if self._axis == 1 else invoke_one("swapaxes", x, dim1=1, dim2=self._axis)

    def _shown(self) -> dict[str, Any]:
        return {"axis": self._axis, **super()._shown()}
