"""Pictures of other sizes, warped pictures, and deformed convolutions. Signatures and defaults are MXNet's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minidnn.dispatch import invoke_one
from minidnn.npx.layers import required_arrays
from minidnn.numpy.convert import as_array
from minidnn.numpy.multiarray import ndarray

__all__ = [
    "adaptive_avg_pooling_2d",
    "bilinear_resize_2d",
    "bilinear_sampler",
    "deformable_convolution",
    "depth_to_space",
    "grid_generator",
    "lrn",
    "modulated_deformable_convolution",
    "space_to_depth",
    "spatial_transformer",
    "upsampling",
]

Ints = int | Sequence[int]


def bilinear_resize_2d(
    data: Any,
    like: Any = None,
    height: int = 1,
    width: int = 1,
    scale_height: float | None = None,
    scale_width: float | None = None,
    mode: str = "size",
    align_corners: bool = True,
) -> ndarray:
    """Pictures of another size, linear between the pixels.

    Args:
        data: ``(N, C, H, W)``.
        like: with ``mode='like'`` a picture of the wanted size.
        height, width: the new size.
        scale_height, scale_width: instead of a size, how many times the old one.
        mode: ``size``, ``like``, ``odd_scale`` (scaled to an odd size), or ``to_even_down``, ``to_even_up``,
            ``to_odd_down``, ``to_odd_up``, to the next size of that kind.
        align_corners: whether the outermost pixels stay where they are.
    """
    arrays = required_arrays("bilinear_resize_2d", data=data, **({"like": like} if mode == "like" else {}))
    sizes = {"height": height, "width": width, "scale_height": scale_height, "scale_width": scale_width}
    return invoke_one("bilinear_resize_2d", *arrays, **sizes, mode=mode, align_corners=align_corners)


def upsampling(
    *data: Any,
    scale: int,
    num_filter: int = 0,
    sample_type: str,
    multi_input_mode: str = "concat",
    num_args: int = 1,
    workspace: int = 512,
) -> ndarray:
    """Pictures `scale` times as large.

    Args:
        data: ``(N, C, H, W)``; with ``nearest`` several, all brought to the size of the first one's result; with
            ``bilinear`` the picture and weights ``(C, 1, k, k)``, k being ``2 * scale - scale % 2``.
        scale: how many times.
        num_filter: channels of ``bilinear``; found from the data.
        sample_type: ``nearest`` or ``bilinear``.
        multi_input_mode: whether several are joined along the channels (``concat``) or added (``sum``).
        num_args, workspace: ignored.
    """
    attrs = {"scale": scale, "sample_type": sample_type, "multi_input_mode": multi_input_mode}
    count = 1 if sample_type == "bilinear" else len(data)
    return invoke_one("upsampling", *map(as_array, data), **attrs, num_filter=num_filter, num_args=count)


def adaptive_avg_pooling_2d(data: Any, output_size: Ints = ()) -> ndarray:
    """Means of windows that cover a picture ``(N, C, H, W)``; one by default, else `output_size` of them."""
    return invoke_one("adaptive_avg_pooling_2d", as_array(data), output_size=output_size)


def depth_to_space(data: Any, block_size: int) -> ndarray:
    """``(N, C, H, W)`` as ``(N, C / block², H * block, W * block)``: channels become blocks of pixels."""
    return invoke_one("depth_to_space", as_array(data), block_size=block_size)


def space_to_depth(data: Any, block_size: int) -> ndarray:
    """``(N, C, H, W)`` as ``(N, C * block², H / block, W / block)``: blocks of pixels become channels."""
    return invoke_one("space_to_depth", as_array(data), block_size=block_size)


def lrn(data: Any, alpha: float = 1e-4, beta: float = 0.75, knorm: float = 2.0, *, nsize: int) -> ndarray:
    """x over (knorm + alpha / nsize * the sum of squares of `nsize` channels around) ** beta."""
    return invoke_one("lrn", as_array(data), alpha=alpha, beta=beta, knorm=knorm, nsize=nsize)


def grid_generator(data: Any, transform_type: str, target_shape: Sequence[int] = (0, 0)) -> ndarray:
    """Where `bilinear_sampler` reads.

    Args:
        data: ``affine``: ``(N, 6)``, two rows of a map of (x, y, 1); ``warp``: ``(N, 2, H, W)``, shifts in pixels.
        transform_type: ``affine`` or ``warp``.
        target_shape: height and width, of ``affine``.

    Returns:
        ``(N, 2, H, W)``: x and y from -1 to 1.
    """
    return invoke_one("grid_generator", as_array(data), transform_type=transform_type, target_shape=target_shape)


def bilinear_sampler(data: Any, grid: Any, cudnn_off: bool | None = None) -> ndarray:
    """Pictures ``(N, C, H, W)`` read at the positions ``(N, 2, h, w)``, x and y from -1 to 1; zero outside."""
    return invoke_one("bilinear_sampler", as_array(data), as_array(grid))


def spatial_transformer(
    data: Any,
    loc: Any,
    target_shape: Sequence[int] = (0, 0),
    transform_type: str = "affine",
    sampler_type: str = "bilinear",
    cudnn_off: bool | None = None,
) -> ndarray:
    """Pictures ``(N, C, H, W)`` under affine maps ``(N, 6)`` (Jaderberg et al., 2015); of their own size by default."""
    attrs = {"target_shape": target_shape, "transform_type": transform_type, "sampler_type": sampler_type}
    return invoke_one("spatial_transformer", as_array(data), as_array(loc), **attrs)


def deformable_convolution(
    data: Any = None,
    offset: Any = None,
    weight: Any = None,
    bias: Any = None,
    kernel: Ints | None = None,
    stride: Ints | None = None,
    dilate: Ints | None = None,
    pad: Ints | None = None,
    num_filter: int = 1,
    num_group: int = 1,
    num_deformable_group: int = 1,
    workspace: int = 1024,
    no_bias: bool = False,
    layout: str | None = None,
) -> ndarray:
    """A convolution each of whose taps is read where an offset moves it (Dai et al., 2017).

    Args:
        data: ``(N, C, H, W)``.
        offset: ``(N, 2 * num_deformable_group * taps, H', W')``: for each tap how far down and to the right.
        weight: ``(num_filter, C / num_group, *kernel)``.
        bias: ``(num_filter,)``; none with `no_bias`.
        kernel, stride, dilate, pad, num_filter, num_group: as of `convolution`.
        num_deformable_group: groups of channels with offsets of their own.
        workspace, layout: ignored; ``NCHW``.
    """
    return _deformed(
        "deformable_convolution",
        {"data": data, "offset": offset, "weight": weight},
        bias,
        no_bias,
        {
            "kernel": kernel,
            "stride": stride,
            "dilate": dilate,
            "pad": pad,
            "num_filter": num_filter,
            "num_group": num_group,
            "num_deformable_group": num_deformable_group,
            "layout": layout,
        },
    )


def modulated_deformable_convolution(
    data: Any = None,
    offset: Any = None,
    mask: Any = None,
    weight: Any = None,
    bias: Any = None,
    kernel: Ints | None = None,
    stride: Ints | None = None,
    dilate: Ints | None = None,
    pad: Ints | None = None,
    num_filter: int = 1,
    num_group: int = 1,
    num_deformable_group: int = 1,
    workspace: int = 1024,
    no_bias: bool = False,
    im2col_step: int = 64,
    layout: str | None = None,
) -> ndarray:
    """`deformable_convolution` with a factor for each tap, `mask` ``(N, num_deformable_group * taps, H', W')``."""
    named = {"data": data, "offset": offset, "mask": mask, "weight": weight}
    return _deformed(
        "modulated_deformable_convolution",
        named,
        bias,
        no_bias,
        {
            "kernel": kernel,
            "stride": stride,
            "dilate": dilate,
            "pad": pad,
            "num_filter": num_filter,
            "num_group": num_group,
            "num_deformable_group": num_deformable_group,
            "layout": layout,
        },
    )


def _deformed(op: str, named: dict[str, Any], bias: Any, no_bias: bool, attrs: dict[str, Any]) -> ndarray:
    named = named if no_bias else {**named, "bias": bias}
    given = {name: value for name, value in attrs.items() if value is not None}
    return invoke_one(op, *required_arrays(op, **named), no_bias=no_bias, **given)
