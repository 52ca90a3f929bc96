"""Normalizations: by running statistics (batch), and by those of the input itself (layer, group, instance)."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidnn.dispatch import invoke, invoke_one
from minidnn.gluon._hybrid_block import HybridBlock
from minidnn.gluon.nn._op import complete_shapes, make_attrs, show
from minidnn.gluon.parameter import Init, Parameter
from minidnn.numpy.base import as_dtype
from minidnn.ops.registry import Attrs

__all__ = ["BatchNorm", "BatchNormReLU", "GroupNorm", "InstanceNorm", "LayerNorm", "SyncBatchNorm"]


class BatchNorm(HybridBlock):
    """``gamma * (x - running_mean) / sqrt(running_var + epsilon) + beta`` for each channel (Ioffe and Szegedy, 2015).

    Args:
        axis: of the channels.
        momentum: of the running statistics in training; without effect.
        epsilon: keeps the root from zero.
        center: whether beta is trained.
        scale: whether gamma is used; without it, it counts as 1.
        use_global_stats: without effect: the running statistics are always used.
        beta_initializer, gamma_initializer, running_mean_initializer, running_variance_initializer: their own
            initializers.
        in_channels: number of channels; 0: known at the first call.

    Parameters: ``gamma``, ``beta``, ``running_mean``, ``running_var``, each of shape ``(in_channels,)``.
    """

    def __init__(
        self,
        axis: int = 1,
        momentum: float = 0.9,
        epsilon: float = 1e-5,
        center: bool = True,
        scale: bool = True,
        use_global_stats: bool = False,
        beta_initializer: Init = "zeros",
        gamma_initializer: Init = "ones",
        running_mean_initializer: Init = "zeros",
        running_variance_initializer: Init = "ones",
        in_channels: int = 0,
    ) -> None:
        super().__init__()
        self._attrs = make_attrs(
            type(self).__name__,
            "batch_norm",
            axis=axis,
            eps=epsilon,
            momentum=momentum,
            fix_gamma=not scale,
            use_global_stats=use_global_stats,
        )

        def vector(name: str, init: Init, trained: bool) -> Parameter:
            return Parameter(
                name,
                grad_req="write" if trained else "null",
                shape=(in_channels,),
                init=init,
                allow_deferred_init=True,
                differentiable=trained,
            )

        self.gamma = vector("gamma", gamma_initializer, scale)
        self.beta = vector("beta", beta_initializer, center)
        self.running_mean = vector("running_mean", running_mean_initializer, False)
        self.running_var = vector("running_var", running_variance_initializer, False)

    def cast(self, dtype: Any) -> None:
        """Change the dtype of the parameters; where float16 is asked for they stay float32, as in MXNet."""
        super().cast("float32" if as_dtype(dtype) == np.float16 else dtype)

    def forward(self, x: Any) -> Any:
        vectors = (p.data() for p in (self.gamma, self.beta, self.running_mean, self.running_var))
        return invoke("batch_norm", x, *vectors, **self._attrs)

    def infer_shape(self, x: Any, *args: Any) -> None:
        """Complete the shapes of the parameters from an input."""
        complete_shapes("batch_norm", self._attrs, x, self.params)

    def __repr__(self) -> str:
        attrs = self._attrs
        return show(
            self,
            axis=attrs.axis,
            eps=attrs.eps,
            momentum=attrs.momentum,
            fix_gamma=attrs.fix_gamma,
            use_global_stats=attrs.use_global_stats,
            in_channels=_known(self.gamma),
        )


class BatchNormReLU(BatchNorm):
    """`BatchNorm`, and `relu` of its result; the arguments and parameters are the same."""

    def forward(self, x: Any) -> Any:
        return invoke("relu", super().forward(x))


class SyncBatchNorm(BatchNorm):
    """`BatchNorm` under the name it has where several devices train together; at inference they are the same."""

    def __init__(
        self,
        in_channels: int = 0,
        num_devices: int | None = None,
        momentum: float = 0.9,
        epsilon: float = 1e-5,
        center: bool = True,
        scale: bool = True,
        use_global_stats: bool = False,
        beta_initializer: Init = "zeros",
        gamma_initializer: Init = "ones",
        running_mean_initializer: Init = "zeros",
        running_variance_initializer: Init = "ones",
    ) -> None:
        super().__init__(
            1,
            momentum,
            epsilon,
            center,
            scale,
            use_global_stats,
            beta_initializer,
            gamma_initializer,
            running_mean_initializer,
            running_variance_initializer,
            in_channels,
        )


def _known(parameter: Parameter) -> int | None:
    return parameter.shape[0] if parameter.shape is not None and parameter.shape_is_known else None


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
