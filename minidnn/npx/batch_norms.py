"""Batch normalization under the other names that MXNet has for it."""

from __future__ import annotations

from typing import Any

from minidnn.npx.functions import relu
from minidnn.npx.layers import batch_norm
from minidnn.numpy.multiarray import ndarray

__all__ = ["batch_norm_with_relu", "sync_batch_norm"]


def batch_norm_with_relu(
    x: Any,
    gamma: Any,
    beta: Any,
    running_mean: Any,
    running_var: Any,
    eps: float = 1e-3,
    momentum: float = 0.9,
    fix_gamma: bool = True,
    use_global_stats: bool = False,
    output_mean_var: bool = False,
    axis: int = 1,
    cudnn_off: bool = False,
    min_calib_range: float | None = None,
    max_calib_range: float | None = None,
    **kwargs: Any,
) -> ndarray:
    """`relu` of `batch_norm`, with the same arguments."""
    vectors = (gamma, beta, running_mean, running_var)
    return relu(batch_norm(x, *vectors, eps, momentum, fix_gamma, use_global_stats, output_mean_var, axis, **kwargs))


def sync_batch_norm(
    data: Any,
    gamma: Any,
    beta: Any,
    moving_mean: Any,
    moving_var: Any,
    eps: float = 1e-3,
    momentum: float = 0.9,
    fix_gamma: bool = True,
    use_global_stats: bool = False,
    output_mean_var: bool = False,
    ndev: int = 1,
    key: str = "",
    **kwargs: Any,
) -> ndarray:
    """`batch_norm`, which at inference is the same on however many devices (`ndev`, `key`: without effect)."""
    vectors = (gamma, beta, moving_mean, moving_var)
    return batch_norm(data, *vectors, eps, momentum, fix_gamma, use_global_stats, output_mean_var, 1, **kwargs)
