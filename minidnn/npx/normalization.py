"""Normalizations (batch, layer, group, instance, l2) and softmax.

Signatures and defaults are MXNet 2's, as in `minidnn.npx.layers`.
"""

from __future__ import annotations

from typing import Any

from minidnn import dispatch
from minidnn.npx.functions import relu
from minidnn.npx.layers import refuse_unknown, required_arrays
from minidnn.numpy.convert import as_array
from minidnn.numpy.multiarray import ndarray

__all__ = [
    "batch_norm",
    "batch_norm_with_relu",
    "group_norm",
    "instance_norm",
    "l2_normalization",
    "layer_norm",
    "log_softmax",
    "masked_log_softmax",
    "masked_softmax",
    "softmax",
    "sync_batch_norm",
]


def batch_norm(
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
    """Batch normalization with the running statistics, as at inference.

    (x - running_mean) / sqrt(running_var + eps) · gamma + beta (Ioffe and Szegedy, 2015).

    Args:
        x: floats of any shape.
        gamma, beta, running_mean, running_var: one number for each element of `axis`.
        eps: see above.
        fix_gamma: whether `gamma` counts as 1, whatever it holds.
        axis: the channels' axis.
        momentum, use_global_stats, cudnn_off, min_calib_range, max_calib_range: without effect at inference.
        output_mean_var: must be False.
        kwargs: MXNet's ``name``; ignored.

    Raises:
        OpError: shapes or dtypes do not fit.
    """
    refuse_unknown("batch_norm", kwargs)
    named = {"x": x, "gamma": gamma, "beta": beta, "running_mean": running_mean, "running_var": running_var}
    return dispatch.invoke_one(
        "batch_norm",
        *required_arrays("batch_norm", **named),
        eps=eps,
        momentum=momentum,
        fix_gamma=fix_gamma,
        use_global_stats=use_global_stats,
        output_mean_var=output_mean_var,
        axis=axis,
    )


def layer_norm(
    data: Any = None,
    gamma: Any = None,
    beta: Any = None,
    axis: int | None = None,
    eps: float | None = None,
    output_mean_var: bool | None = None,
) -> ndarray:
    """Layer normalization (Ba, Kiros and Hinton, 2016): mean 0 and variance 1 along `axis`, then gamma and beta.

    Args:
        data: floats of any shape.
        gamma, beta: one number for each element of `axis`.
        axis: -1 by default.
        eps: added to the variance; 1e-5 by default.
        output_mean_var: must be false.
    """
    arrays = required_arrays("layer_norm", data=data, gamma=gamma, beta=beta)
    attrs = {"axis": -1 if axis is None else axis, "eps": 1e-5 if eps is None else eps}
    return dispatch.invoke_one("layer_norm", *arrays, output_mean_var=bool(output_mean_var), **attrs)


def group_norm(
    data: Any, gamma: Any, beta: Any, num_groups: int = 1, eps: float = 1e-3, output_mean_var: bool = False
) -> ndarray:
    """Group normalization (Wu and He, 2018) of ``(N, C, ...)``; `gamma` and `beta` are ``(C,)``."""
    arrays = required_arrays("group_norm", data=data, gamma=gamma, beta=beta)
    return dispatch.invoke_one("group_norm", *arrays, num_groups=num_groups, eps=eps, output_mean_var=output_mean_var)


def instance_norm(data: Any, gamma: Any, beta: Any, eps: float = 1e-3) -> ndarray:
    """Instance normalization (Ulyanov et al., 2016) of ``(N, C, ...)``; `gamma` and `beta` are ``(C,)``."""
    return dispatch.invoke_one(
        "instance_norm", *required_arrays("instance_norm", data=data, gamma=gamma, beta=beta), eps=eps
    )


def l2_normalization(data: Any, eps: float = 1e-10, mode: str = "instance") -> ndarray:
    """Divided by the L2 norm of each sample (``instance``), pixel (``channel``) or channel (``spatial``)."""
    return dispatch.invoke_one("l2_normalization", as_array(data), eps=eps, mode=mode)


def _softmax(op: str, data: Any, length: Any, use_length: bool, **attrs: Any) -> ndarray:
    inputs = required_arrays(op, data=data, length=length) if use_length else required_arrays(op, data=data)
    return dispatch.invoke_one(op, *inputs, use_length=use_length, **attrs)


def softmax(
    data: Any,
    axis: int = -1,
    length: Any = None,
    temperature: float | None = None,
    use_length: bool = False,
    dtype: Any = None,
) -> ndarray:
    """exp(x / temperature), divided by its sum along `axis`.

    Args:
        data: floats of any shape.
        axis: along which the results add up to 1.
        length: with `use_length`, how many elements along `axis` count (int32 or int64, in the shape of
            `data` without `axis`); the others are 0.
        temperature: 1 by default.
        use_length: whether `length` is used.
        dtype: of the result; that of `data` by default.
    """
    return _softmax("softmax", data, length, use_length, axis=axis, temperature=temperature, dtype=dtype)


def log_softmax(
    data: Any,
    axis: int = -1,
    length: Any = None,
    temperature: float | None = None,
    use_length: bool = False,
    dtype: Any = None,
) -> ndarray:
    """The logarithm of `softmax`, with the same arguments."""
    return _softmax("log_softmax", data, length, use_length, axis=axis, temperature=temperature, dtype=dtype)


def _masked(op: str, data: Any, mask: Any, axis: int, temperature: float | None) -> ndarray:
    x, keep = required_arrays(op, data=data, mask=mask)
    return dispatch.invoke_one(op, x, keep.astype(bool, copy=False), axis=axis, temperature=temperature)


def masked_softmax(
    data: Any, mask: Any, axis: int = -1, temperature: float | None = 1.0, normalize: bool | None = True
) -> ndarray:
    """`softmax` of the elements for which `mask` (bool, broadcast to `data`) holds; the others are 0."""
    return _masked("masked_softmax", data, mask, axis, temperature)


def masked_log_softmax(
    data: Any, mask: Any, axis: int = -1, temperature: float | None = 1.0, normalize: bool | None = True
) -> ndarray:
    """The logarithm of `masked_softmax`; -inf where `mask` does not hold."""
    return _masked("masked_log_softmax", data, mask, axis, temperature)


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
