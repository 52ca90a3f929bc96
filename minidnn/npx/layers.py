"""What layers compute: convolution, pooling, activation, and their like. Normalizations are in `normalization`.

Signatures and defaults are MXNet 2's. Arguments that only steer MXNet's backends (``workspace``,
``cudnn_tune``, ``cudnn_off``, ``forward_stype``, ``sparse_grad``) are accepted and change nothing.
"""

from __future__ import annotations

from typing import Any

from minidnn import dispatch
from minidnn.dispatch import invoke_one
from minidnn.errors import OpError, ShapeError
from minidnn.numpy.convert import as_array
from minidnn.numpy.multiarray import ndarray

__all__ = [
    "activation",
    "convolution",
    "deconvolution",
    "dropout",
    "embedding",
    "fully_connected",
    "leaky_relu",
    "pooling",
]

Ints = int | tuple[int, ...] | list[int] | None

# Keywords that MXNet's functions take beside their own, none of which has a meaning at inference on a CPU.
_IGNORED = frozenset({"name", "attr", "cudnn_off", "workspace", "cudnn_tune"})


def refuse_unknown(op: str, kwargs: dict[str, Any]) -> None:
    """Raises TypeError for a keyword that MXNet's functions do not take."""
    for name in kwargs:
        if name not in _IGNORED:
            raise TypeError(f"{op}() got an unexpected keyword argument {name!r}")


def required_arrays(op: str, **named: Any) -> list[ndarray]:
    """Arrays of arguments that must be there.

    Raises:
        OpError: one is None.
    """
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
    refuse_unknown("activation", kwargs)
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
    refuse_unknown("leaky_relu", kwargs)
    inputs = (
        required_arrays("leaky_relu", data=data, gamma=gamma)
        if act_type == "prelu"
        else required_arrays("leaky_relu", data=data)
    )
    attrs = {"slope": slope, "lower_bound": lower_bound, "upper_bound": upper_bound}
    return dispatch.invoke_one("leaky_relu", *inputs, act_type=act_type, **attrs)


def _convolve(op: str, data: Any, weight: Any, bias: Any, no_bias: bool, **attrs: Any) -> ndarray:
    named = {"data": data, "weight": weight} | ({} if no_bias else {"bias": bias})
    return dispatch.invoke_one(op, *required_arrays(op, **named), no_bias=no_bias, **attrs)


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
    refuse_unknown("fully_connected", kwargs)
    named = {"x": x, "weight": weight} | ({} if no_bias else {"bias": bias})
    arrays = required_arrays("fully_connected", **named)
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
    refuse_unknown("pooling", kwargs)
    (x,) = required_arrays("pooling", data=data)
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


def dropout(
    data: Any, p: float = 0.5, mode: str = "training", axes: Ints = None, cudnn_off: bool = False, **kwargs: Any
) -> ndarray:
    """`data` as it is: nothing is dropped at inference.

    Raises:
        OpError: `mode` is ``always``, which would drop at inference too.
    """
    refuse_unknown("dropout", kwargs)
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
    refuse_unknown("embedding", kwargs)
    positions, table = required_arrays("embedding", data=data, weight=weight)
    rows, columns = table.shape if table.ndim == 2 else (1, 1)
    return dispatch.invoke_one(
        "embedding",
        positions,
        table,
        input_dim=rows if input_dim is None else input_dim,
        output_dim=columns if output_dim is None else output_dim,
    )


_CHANNELS_FIRST = {"NWC": "NCW", "NHWC": "NCHW", "NDHWC": "NCDHW"}


def channels_first(layout: str | None) -> str | None:
    """The layout with the channels moved to the second place: ``NHWC`` becomes ``NCHW``."""
    return layout if layout is None else _CHANNELS_FIRST.get(layout, layout)


def pool(x: Any, layout: str | None, **attrs: Any) -> ndarray:
    """The operator ``pooling`` on data of either kind of layout.

    Raises:
        OpError: shapes, dtypes or attributes do not fit.
    """
    data = as_array(x)
    if layout not in _CHANNELS_FIRST:
        return invoke_one("pooling", data, layout=layout, **attrs)
    if data.ndim != len(layout):
        raise ShapeError(f"pooling: data must have {len(layout)} dimensions ({', '.join(layout)}), got {data.shape}")
    first = invoke_one("moveaxis", data, source=-1, destination=1)
    pooled = invoke_one("pooling", first, layout=channels_first(layout), **attrs)
    return invoke_one("moveaxis", pooled, source=1, destination=-1)
