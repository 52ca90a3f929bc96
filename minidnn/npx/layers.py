"""What layers compute: convolution, pooling, normalization, activation, and their like.

Signatures and defaults are MXNet 2's. Arguments that only steer MXNet's backends (``workspace``,
``cudnn_tune``, ``cudnn_off``, ``forward_stype``, ``sparse_grad``) are accepted and change nothing.
"""

from __future__ import annotations

from typing import Any

from minidnn import dispatch
from minidnn.errors import OpError
from minidnn.npx.channels_last import pool
from minidnn.numpy.convert import as_array
from minidnn.numpy.multiarray import ndarray

__all__ = [
    "activation",
    "batch_norm",
    "convolution",
    "deconvolution",
    "dropout",
    "embedding",
    "fully_connected",
    "group_norm",
    "instance_norm",
    "l2_normalization",
    "layer_norm",
    "leaky_relu",
    "log_softmax",
    "masked_log_softmax",
    "masked_softmax",
    "pooling",
    "softmax",
]

Ints = int | tuple[int, ...] | list[int] | None

# Keywords that MXNet's functions take beside their own, none of which has a meaning at inference on a CPU.
_IGNORED = frozenset({"name", "attr", "cudnn_off", "workspace", "cudnn_tune"})


def _refuse_unknown(op: str, kwargs: dict[str, Any]) -> None:
    for name in kwargs:
        if name not in _IGNORED:
            raise TypeError(f"{op}() got an unexpected keyword argument {name!r}")


def _arrays(op: str, **named: Any) -> list[ndarray]:
    for name, value in named.items():
        if value is None:
            raise OpError(f"{op}: {name} is missing")
    return [as_array(value) for value in named.values()]


def activation(data: Any, act_type: str = "relu", **kwargs: Any) -> ndarray:
    """An activation function of every element.

    Args:
        data: floats of any shape.
        act_type: ``relu``, ``sigmoid``, ``log_sigmoid``, ``mish``, ``tanh``, ``softrelu`` (log(1 + exp(x)))
            or ``softsign`` (x / (1 + |x|)).
        kwargs: MXNet's ``name``; ignored.
    """
    _refuse_unknown("activation", kwargs)
    return dispatch.invoke_one("activation", as_array(data), act_type=act_type)


def leaky_relu(
    data: Any = None,
    gamma: Any = None,
    act_type: str = "leaky",
    slope: float = 0.25,
    lower_bound: float = 0.125,
    upper_bound: float = 0.334,
    **kwargs: Any,
) -> ndarray:
    """An activation function of the leaky family.

    Args:
        data: floats of any shape.
        gamma: slopes of ``prelu``: one for all, one for each channel (axis 1), or any shape that broadcasts.
        act_type: ``leaky`` (slope·x below zero), ``elu`` (slope·(exp(x) - 1) below zero), ``selu``, ``gelu``,
            ``prelu``, or ``rrelu``, whose slope is the mean of the bounds at inference.
        slope: see above.
        lower_bound, upper_bound: of the slope of ``rrelu``.
        kwargs: MXNet's ``name``; ignored.
    """
    _refuse_unknown("leaky_relu", kwargs)
    inputs = _arrays("leaky_relu", data=data, gamma=gamma) if act_type == "prelu" else _arrays("leaky_relu", data=data)
    attrs = {"slope": slope, "lower_bound": lower_bound, "upper_bound": upper_bound}
    return dispatch.invoke_one("leaky_relu", *inputs, act_type=act_type, **attrs)


def _convolve(op: str, data: Any, weight: Any, bias: Any, no_bias: bool, **attrs: Any) -> ndarray:
    named = {"data": data, "weight": weight} | ({} if no_bias else {"bias": bias})
    return dispatch.invoke_one(op, *_arrays(op, **named), no_bias=no_bias, **attrs)


def convolution(
    data: Any = None,
    weight: Any = None,
    bias: Any = None,
    kernel: Ints = None,
    stride: Ints = None,
    dilate: Ints = None,
    pad: Ints = None,
    num_filter: int = 1,
    num_group: int = 1,
    workspace: int = 1024,
    no_bias: bool = False,
    cudnn_tune: str | None = None,
    cudnn_off: bool = False,
    layout: str | None = None,
) -> ndarray:
    """Convolution over one, two or three spatial dimensions.

    Args:
        data: ``(N, C, W)``, ``(N, C, H, W)`` or ``(N, C, D, H, W)``.
        weight: ``(num_filter, C / num_group, *kernel)``.
        bias: ``(num_filter,)``.
        kernel: one number for each spatial dimension; so `stride`, `dilate` (default 1) and `pad` (default 0).
        num_filter, num_group: output channels, and groups of channels that do not see each other.
        no_bias: whether there is no `bias`.
        layout: ``NCW``, ``NCHW`` or ``NCDHW``.
        workspace, cudnn_tune, cudnn_off: ignored.

    Returns:
        ``(N, num_filter, ...)`` with ``(n + 2·pad - dilate·(kernel - 1) - 1) // stride + 1`` elements along
        each spatial dimension.

    Raises:
        OpError: shapes or dtypes do not fit.
    """
    return _convolve(
        "convolution",
        data,
        weight,
        bias,
        kernel=kernel,
        stride=stride,
        dilate=dilate,
        pad=pad,
        num_filter=num_filter,
        num_group=num_group,
        no_bias=no_bias,
        layout=layout,
    )


def deconvolution(
    data: Any = None,
    weight: Any = None,
    bias: Any = None,
    kernel: Ints = None,
    stride: Ints = None,
    dilate: Ints = None,
    pad: Ints = None,
    adj: Ints = None,
    target_shape: Ints = None,
    num_filter: int = 1,
    num_group: int = 1,
    workspace: int = 1024,
    no_bias: bool = False,
    cudnn_tune: str | None = None,
    cudnn_off: bool = False,
    layout: str | None = None,
) -> ndarray:
    """Transposed convolution: the gradient of `convolution` with respect to its input.

    Args:
        data: ``(N, C, W)``, ``(N, C, H, W)`` or ``(N, C, D, H, W)``.
        weight: ``(C, num_filter / num_group, *kernel)``.
        bias: ``(num_filter,)``.
        kernel, stride, dilate, pad: of the convolution it is the gradient of.
        adj: added to the output's size at the end.
        target_shape: the output's spatial size; `pad` and `adj` follow from it.
        num_filter, num_group: output channels, and groups of channels that do not see each other.
        no_bias: whether there is no `bias`.
        layout: ``NCW``, ``NCHW`` or ``NCDHW``.
        workspace, cudnn_tune, cudnn_off: ignored.

    Returns:
        ``(N, num_filter, ...)`` with ``stride·(n - 1) + dilate·(kernel - 1) + 1 - 2·pad + adj`` elements
        along each spatial dimension.

    Raises:
        OpError: shapes or dtypes do not fit.
    """
    return _convolve(
        "deconvolution",
        data,
        weight,
        bias,
        kernel=kernel,
        stride=stride,
        dilate=dilate,
        pad=pad,
        adj=adj,
        target_shape=target_shape,
        num_filter=num_filter,
        num_group=num_group,
        no_bias=no_bias,
        layout=layout,
    )


def fully_connected(
    x: Any,
    weight: Any,
    bias: Any = None,
    num_hidden: int | None = None,
    no_bias: bool = True,
    flatten: bool = True,
    **kwargs: Any,
) -> ndarray:
    """A linear layer: x · weightᵀ + bias.

    Args:
        x: ``(N, ...)`` with `flatten`, ``(..., C)`` without.
        weight: ``(num_hidden, C)``, C being the product of all but the first dimension with `flatten`.
        bias: ``(num_hidden,)``; used only with ``no_bias=False``, which, as in MXNet, is not the default.
        num_hidden: number of outputs; that of `weight` by default.
        no_bias: whether `bias` is left out.
        flatten: whether all but the first dimension are one.
        kwargs: MXNet's ``name``; ignored.

    Returns:
        ``(N, num_hidden)`` with `flatten`, ``(..., num_hidden)`` without.

    Raises:
        OpError: shapes or dtypes do not fit.
    """
    _refuse_unknown("fully_connected", kwargs)
    named = {"x": x, "weight": weight} | ({} if no_bias else {"bias": bias})
    arrays = _arrays("fully_connected", **named)
    units = (arrays[1].shape or (0,))[0] if num_hidden is None else num_hidden
    return dispatch.invoke_one("fully_connected", *arrays, num_hidden=units, no_bias=no_bias, flatten=flatten)


def pooling(
    data: Any = None,
    kernel: Ints = None,
    stride: Ints = None,
    pad: Ints = None,
    pool_type: str = "max",
    pooling_convention: str = "valid",
    global_pool: bool = False,
    cudnn_off: bool = False,
    p_value: int | None = None,
    count_include_pad: bool | None = None,
    layout: str | None = None,
    **kwargs: Any,
) -> ndarray:
    """The maximum, mean or sum under a window that moves over the spatial dimensions.

    Args:
        data: ``(N, C, W)``, ``(N, C, H, W)`` or ``(N, C, D, H, W)``, or as `layout` says.
        kernel, stride, pad: one number for each spatial dimension; `stride` is 1 and `pad` 0 by default.
        pool_type: ``max``, ``avg`` or ``sum``.
        pooling_convention: ``valid`` (windows that fit), ``full`` (also the last that only begins inside) or
            ``same`` (one for every `stride` elements; max pooling over one dimension only).
        global_pool: one window over everything; the geometry is ignored.
        count_include_pad: whether padding counts as elements of the mean; true by default.
        layout: ``NCW``, ``NCHW`` or ``NCDHW``; or with the channels last, ``NWC``, ``NHWC`` or ``NDHWC``.
        cudnn_off, p_value: ignored.
        kwargs: MXNet's ``name``; ignored.

    Raises:
        OpError: shapes or dtypes do not fit.
    """
    _refuse_unknown("pooling", kwargs)
    (x,) = _arrays("pooling", data=data)
    return pool(
        x,
        layout,
        kernel=() if kernel is None else kernel,
        stride=() if stride is None else stride,
        pad=() if pad is None else pad,
        pool_type=pool_type,
        pooling_convention=pooling_convention,
        global_pool=global_pool,
        count_include_pad=count_include_pad,
    )


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
    _refuse_unknown("batch_norm", kwargs)
    named = {"x": x, "gamma": gamma, "beta": beta, "running_mean": running_mean, "running_var": running_var}
    return dispatch.invoke_one(
        "batch_norm",
        *_arrays("batch_norm", **named),
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
    arrays = _arrays("layer_norm", data=data, gamma=gamma, beta=beta)
    attrs = {"axis": -1 if axis is None else axis, "eps": 1e-5 if eps is None else eps}
    return dispatch.invoke_one("layer_norm", *arrays, output_mean_var=bool(output_mean_var), **attrs)


def group_norm(
    data: Any, gamma: Any, beta: Any, num_groups: int = 1, eps: float = 1e-3, output_mean_var: bool = False
) -> ndarray:
    """Group normalization (Wu and He, 2018) of ``(N, C, ...)``; `gamma` and `beta` are ``(C,)``."""
    arrays = _arrays("group_norm", data=data, gamma=gamma, beta=beta)
    return dispatch.invoke_one("group_norm", *arrays, num_groups=num_groups, eps=eps, output_mean_var=output_mean_var)


def instance_norm(data: Any, gamma: Any, beta: Any, eps: float = 1e-3) -> ndarray:
    """Instance normalization (Ulyanov et al., 2016) of ``(N, C, ...)``; `gamma` and `beta` are ``(C,)``."""
    return dispatch.invoke_one("instance_norm", *_arrays("instance_norm", data=data, gamma=gamma, beta=beta), eps=eps)


def l2_normalization(data: Any, eps: float = 1e-10, mode: str = "instance") -> ndarray:
    """Divided by the L2 norm of each sample (``instance``), pixel (``channel``) or channel (``spatial``)."""
    return dispatch.invoke_one("l2_normalization", as_array(data), eps=eps, mode=mode)


def _softmax(op: str, data: Any, length: Any, use_length: bool, **attrs: Any) -> ndarray:
    inputs = _arrays(op, data=data, length=length) if use_length else _arrays(op, data=data)
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
    x, keep = _arrays(op, data=data, mask=mask)
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


def dropout(
    data: Any, p: float = 0.5, mode: str = "training", axes: Ints = None, cudnn_off: bool = False, **kwargs: Any
) -> ndarray:
    """`data` as it is: nothing is dropped at inference.

    Raises:
        OpError: `mode` is ``always``, which would drop at inference too.
    """
    _refuse_unknown("dropout", kwargs)
    return dispatch.invoke_one("dropout", as_array(data), p=p, mode=mode, axes=() if axes is None else axes)


def embedding(
    data: Any,
    weight: Any,
    input_dim: int | None = None,
    output_dim: int | None = None,
    dtype: Any = "float32",
    sparse_grad: bool = False,
    **kwargs: Any,
) -> ndarray:
    """Rows of `weight` ``(input_dim, output_dim)`` at the positions `data`; positions out of range are clipped.

    Args:
        data: positions, of any shape, integers or whole floats.
        weight: the table.
        input_dim, output_dim: its shape, by default the one it has.
        dtype, sparse_grad: ignored; the result has the dtype of `weight`.
        kwargs: MXNet's ``name``; ignored.
    """
    _refuse_unknown("embedding", kwargs)
    positions, table = _arrays("embedding", data=data, weight=weight)
    rows, columns = table.shape if table.ndim == 2 else (1, 1)
    return dispatch.invoke_one(
        "embedding",
        positions,
        table,
        input_dim=rows if input_dim is None else input_dim,
        output_dim=columns if output_dim is None else output_dim,
    )
