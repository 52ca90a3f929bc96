"""Batch normalization, by its running statistics."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidnn.dispatch import invoke
from minidnn.gluon._hybrid_block import HybridBlock
from minidnn.gluon.nn._op import complete_shapes, make_attrs, show
from minidnn.gluon.parameter import Init, Parameter

__all__ = ["BatchNorm", "BatchNormReLU", "SyncBatchNorm"]


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
        super().cast("float32" if np.dtype(dtype) == np.float16 else dtype)

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
