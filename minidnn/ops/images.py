"""MXNet's operators that resample, cut and warp pictures, by the operators of `minidnn.ops.sampling` and others."""

from __future__ import annotations

import math
from typing import Any

from minidnn.errors import OpError, ShapeError
from minidnn.ops.checks import want_dtype, want_filled, want_float, want_rank, want_shape
from minidnn.ops.composed import Operand, register_composed
from minidnn.ops.convolution import complete_spatial
from minidnn.ops.registry import Attr, Attrs, TensorType

__all__: list[str] = []


def _want_picture(op: str, name: str, t: TensorType) -> None:
    want_rank(op, name, t, 4, "(N, C, H, W)")


def _pair(op: str, attrs: Attrs, name: str) -> tuple[Any, Any]:
    value = attrs[name]
    if len(value) != 2 or None in value:
        raise OpError(f"{op}: {name} must be two numbers, got {value}")
    first, second = value
    return first, second


# ---- other sizes --------------------------------------------------------------------------------------------

# The height or width that each mode makes of another one, with a scale where it takes one.
_SIZES: dict[str, Any] = {
    "odd_scale": lambda n, scale: math.floor(n * scale) if n % 2 == 0 else math.floor((n - 1) * scale) + 1,
    "to_even_down": lambda n, scale: n - n % 2,
    "to_even_up": lambda n, scale: n + n % 2,
    "to_odd_down": lambda n, scale: n + n % 2 - 1,
    "to_odd_up": lambda n, scale: n + 1 - n % 2,
}


def _bilinear_resize(attrs: Attrs, data: Operand, like: Operand | None = None) -> Operand:
    op = "bilinear_resize_2d"
    _want_picture(op, "data", data.type)
    want_float(op, "data", data.type)
    want_filled(op, "data", data.type, (2, 3))
    if like is not None:
        _want_picture(op, "like", like.type)
    coordinates = "align_corners" if attrs.align_corners else "half_pixel"
    for axis, size, scale in ((2, attrs.height, attrs.scale_height), (3, attrs.width, attrs.scale_width)):
        n = data.shape[axis]
        if like is not None:
            size = like.shape[axis]
        elif attrs.mode == "size":
            size = size if scale is None else math.floor(n * scale)
        elif attrs.mode == "odd_scale" and scale is None:
            raise OpError(f"{op}: mode 'odd_scale' needs scale_height and scale_width")
        else:
            size = _SIZES[attrs.mode](n, scale)
        if size < 1:
            raise ShapeError(f"{op}: the result would be empty along axis {axis} of {data.type}")
        data = data.apply("resample", axis=axis, size=size, scale=size / n, mode="linear", coordinates=coordinates)
    return data


register_composed(
    "bilinear_resize_2d",
    _bilinear_resize,
    lambda attrs: ("data", "like") if attrs.mode == "like" else ("data",),
    (
        Attr("height", "int", 1, low=1),
        Attr("width", "int", 1, low=1),
        Attr("scale_height", "float", None, low=0),
        Attr("scale_width", "float", None, low=0),
        Attr("mode", "str", "size", choices=("size", "like", *_SIZES)),
        Attr("align_corners", "bool", True),
    ),
    mxnet=("_contrib_BilinearResize2D", "_npx_bilinear_resize_2d"),
)


def _upsampling(attrs: Attrs, *inputs: Operand) -> Operand:
    op, scale = "upsampling", attrs.scale
    for i, x in enumerate(inputs):
        _want_picture(op, f"arg{i}", x.type)
    if attrs.sample_type == "bilinear":
        # Each channel by itself; the weights are a parameter, as MXNet's `init.Bilinear` makes them.
        spatial = {"kernel": (2 * scale - scale % 2,) * 2, "stride": (scale,) * 2, "pad": (-(-(scale - 1) // 2),) * 2}
        channels = inputs[0].shape[1]
        return inputs[0].apply(
            "deconvolution", inputs[1], **spatial, num_filter=channels, num_group=channels, no_bias=True
        )
    height, width = (n * scale for n in inputs[0].shape[2:])
    made = []
    for x in inputs:
        if height % x.shape[2] or width % x.shape[3]:
            raise ShapeError(f"{op}: {x.type} cannot be repeated to {height} × {width}")
        rows = x.apply("repeat", repeats=height // x.shape[2], axis=2)
        made.append(rows.apply("repeat", repeats=width // x.shape[3], axis=3))
    if len(made) == 1:
        return made[0]
    if attrs.multi_input_mode == "concat":
        return made[0].join(*made[1:], axis=1)
    return sum(made[1:], made[0])


def _upsampling_inputs(attrs: Attrs) -> tuple[str, ...]:
    if attrs.sample_type == "bilinear":
        return ("data", "weight")
    return tuple(f"arg{i}" for i in range(attrs.num_args)) if attrs.num_args > 1 else ("data",)


register_composed(
    "upsampling",
    _upsampling,
    _upsampling_inputs,
    (
        Attr("scale", "int", low=1),
        Attr("num_filter", "int", 0, low=0),
        Attr("sample_type", "str", choices=("nearest", "bilinear")),
        Attr("multi_input_mode", "str", "concat", choices=("concat", "sum")),
        Attr("num_args", "int", 1, low=1),
    ),
    mxnet=("UpSampling", "_npx_upsampling"),
)


def _adaptive_average(attrs: Attrs, data: Operand) -> Operand:
    """Means of windows that cover the picture, which overlap where the sizes do not divide."""
    op = "adaptive_avg_pooling_2d"
    _want_picture(op, "data", data.type)
    want_float(op, "data", data.type)
    want_filled(op, "data", data.type, (2, 3))
    size = attrs.output_size or (1, 1)
    size = size * 2 if len(size) == 1 else size
    if len(size) != 2 or None in size:
        raise OpError(f"{op}: output_size must be one or two numbers, got {attrs.output_size}")
    if size == (1, 1):
        return data.apply("pooling", pool_type="avg", global_pool=True)
    if all(n % c == 0 for n, c in zip(data.shape[2:], size, strict=True)):
        kernel = tuple(n // c for n, c in zip(data.shape[2:], size, strict=True))
        return data.apply("pooling", pool_type="avg", kernel=kernel, stride=kernel)
    for axis, count in zip((2, 3), size, strict=True):
        n = int(data.shape[axis])
        means = [
            data.cut(axis, i * n // count, -(-(i + 1) * n // count)).apply("mean", axis=(axis,), keepdims=True)
            for i in range(count)
        ]
        data = means[0].join(*means[1:], axis=axis)
    return data


register_composed(
    "adaptive_avg_pooling_2d",
    _adaptive_average,
    ("data",),
    (Attr("output_size", "ints", (), low=1),),
    mxnet=("_contrib_AdaptiveAvgPooling2D", "_npx_adaptive_avg_pooling_2d"),
)


# ---- cutting and moving pixels ------------------------------------------------------------------------------


def _crop(attrs: Attrs, data: Operand, like: Operand | None = None) -> Operand:
    op = "spatial_crop"
    _want_picture(op, "data", data.type)
    if like is not None:
        _want_picture(op, "crop_like", like.type)
    sizes = _pair(op, attrs, "h_w") if like is None else like.shape[2:]
    offsets = _pair(op, attrs, "offset")
    for axis, size, offset in zip((2, 3), sizes, offsets, strict=True):
        begin = (data.shape[axis] - size) // 2 if attrs.center_crop else offset
        if begin < 0 or begin + size > data.shape[axis]:
            raise ShapeError(f"{op}: {size} elements from {begin} on do not lie in axis {axis} of {data.type}")
        data = data.cut(axis, begin, begin + size)
    return data


register_composed(
    "spatial_crop",
    _crop,
    lambda attrs: ("data", "crop_like") if attrs.num_args > 1 else ("data",),
    (
        Attr("num_args", "int", 1, choices=(1, 2)),
        Attr("offset", "ints", (0, 0), low=0),
        Attr("h_w", "ints", (0, 0), low=0),
        Attr("center_crop", "bool", False),
    ),
    mxnet=("Crop",),
)


def _depth_to_space(attrs: Attrs, data: Operand) -> Operand:
    op, b = "depth_to_space", attrs.block_size
    _want_picture(op, "data", data.type)
    n, c, h, w = data.shape
    if c % (b * b):
        raise ShapeError(f"{op}: block_size² = {b * b} must divide the channels of {data.type}")
    blocks = data.reshape(n, b, b, c // (b * b), h, w).transpose(0, 3, 4, 1, 5, 2)
    return blocks.reshape(n, c // (b * b), h * b, w * b)


def _space_to_depth(attrs: Attrs, data: Operand) -> Operand:
    op, b = "space_to_depth", attrs.block_size
    _want_picture(op, "data", data.type)
    n, c, h, w = data.shape
    if h % b or w % b:
        raise ShapeError(f"{op}: block_size = {b} must divide height and width of {data.type}")
    blocks = data.reshape(n, c, h // b, b, w // b, b).transpose(0, 3, 5, 1, 2, 4)
    return blocks.reshape(n, c * b * b, h // b, w // b)


for _name, _blocks in (("depth_to_space", _depth_to_space), ("space_to_depth", _space_to_depth)):
    register_composed(_name, _blocks, ("data",), (Attr("block_size", "int", low=1),), mxnet=(_name, f"_npx_{_name}"))


def _lrn(attrs: Attrs, data: Operand) -> Operand:
    """x over (knorm + alpha / nsize * the sum of squares of `nsize` channels around) ** beta (AlexNet, 2012)."""
    op, size = "lrn", attrs.nsize
    _want_picture(op, "data", data.type)
    want_float(op, "data", data.type)
    if size % 2 == 0:
        raise OpError(f"{op}: nsize must be odd, got {size}")
    n, channels, height, width = data.shape
    rows = data.apply("square").reshape(n, 1, channels, height * width)
    sums = rows.apply("pooling", pool_type="sum", kernel=(size, 1), pad=(size // 2, 0), stride=(1, 1))
    base = (sums * (attrs.alpha / size) + attrs.knorm).reshape(*data.shape)
    # A power by logarithm and exponential, which kernels have.
    factor: Operand = (base.apply("log") * -attrs.beta).apply("exp")
    return data * factor


register_composed(
    "lrn",
    _lrn,
    ("data",),
    (
        Attr("alpha", "float", 1e-4),
        Attr("beta", "float", 0.75),
        Attr("knorm", "float", 2.0),
        Attr("nsize", "int", low=1),
    ),
    mxnet=("LRN",),
)


# ---- warped pictures ----------------------------------------------------------------------------------------


def _places(data: Operand, n: Any) -> Operand:
    """0 to n - 1 as numbers of the dtype of `data`."""
    return data.make("arange", start=0, stop=n, step=1, dtype=data.type.dtype)


def _grid(attrs: Attrs, data: Operand) -> Operand:
    """Positions (N, 2, H, W), x and y from -1 to 1, by an affine map (N, 6) or by shifts of pixels (N, 2, H, W)."""
    op = "grid_generator"
    want_float(op, "data", data.type)
    if attrs.transform_type == "warp":
        want_shape(op, "data", data.type, (*data.shape[:1], 2, *data.shape[2:4]), "a shift for each pixel")
        height, width = data.shape[2:]
        x, y = _places(data, width).reshape(1, 1, 1, width), _places(data, height).reshape(1, 1, height, 1)
        moved: list[Operand] = [
            (data.cut(1, i, i + 1) + at) * (2 / max(n - 1, 1)) - 1.0
            for i, (at, n) in enumerate(((x, width), (y, height)))
        ]
        return moved[0].join(moved[1], axis=1)
    want_rank(op, "data", data.type, 2)
    want_shape(op, "data", data.type, (data.shape[0], 6), "two rows of an affine map")
    height, width = _pair(op, attrs, "target_shape")
    if min(height, width) < 1:
        raise OpError(f"{op}: target_shape must be positive, got {attrs.target_shape}")
    x = (_places(data, width) * (2 / max(width - 1, 1)) - 1.0).reshape(1, 1, width)
    y = (_places(data, height) * (2 / max(height - 1, 1)) - 1.0).reshape(1, height, 1)
    ones = data.make("full", shape=(1, height, width), value=1.0, dtype=data.type.dtype)
    rows = [axis.apply("broadcast_to", shape=(1, height, width)) for axis in (x, y)]
    base = rows[0].join(rows[1], ones, axis=0).reshape(3, height * width)
    return data.reshape(data.shape[0], 2, 3).apply("matmul", base).reshape(data.shape[0], 2, height, width)


_TRANSFORM = Attr("transform_type", "str", choices=("affine", "warp"))
_TARGET = Attr("target_shape", "ints", (0, 0), low=0)
register_composed(
    "grid_generator", _grid, ("data",), (_TRANSFORM, _TARGET), mxnet=("GridGenerator", "_npx_grid_generator")
)


def _sample(data: Operand, grid: Operand) -> Operand:
    return data.apply("grid_sample", grid.transpose(0, 2, 3, 1), mode="linear", padding="zeros", align_corners=True)


def _bilinear_sampler(attrs: Attrs, data: Operand, grid: Operand) -> Operand:
    op = "bilinear_sampler"
    _want_picture(op, "data", data.type)
    want_rank(op, "grid", grid.type, 4, "(N, 2, H, W)")
    want_shape(op, "grid", grid.type, (data.shape[0], 2, *grid.shape[2:]), "x and y for each result")
    want_dtype(op, "grid", grid.type, data.type.dtype, "data")
    return _sample(data, grid)


register_composed(
    "bilinear_sampler", _bilinear_sampler, ("data", "grid"), mxnet=("BilinearSampler", "_npx_bilinear_sampler")
)


def _spatial_transformer(attrs: Attrs, data: Operand, loc: Operand) -> Operand:
    op = "spatial_transformer"
    _want_picture(op, "data", data.type)
    want_rank(op, "loc", loc.type, 2)
    want_shape(op, "loc", loc.type, (data.shape[0], 6), "two rows of an affine map")
    want_dtype(op, "loc", loc.type, data.type.dtype, "data")
    target = attrs.target_shape if any(attrs.target_shape) else data.shape[2:]
    return _sample(data, _grid(attrs.replace(target_shape=target), loc))


register_composed(
    "spatial_transformer",
    _spatial_transformer,
    ("data", "loc"),
    (
        _TARGET,
        Attr("transform_type", "str", "affine", choices=("affine",)),
        Attr("sampler_type", "str", "bilinear", choices=("bilinear",)),
    ),
    mxnet=("SpatialTransformer", "_npx_spatial_transformer"),
)


# ---- deformed convolutions ----------------------------------------------------------------------------------


def _deformed(op: str) -> Any:
    has_mask = op.startswith("modulated")

    def compose(attrs: Attrs, data: Operand, offset: Operand, *others: Operand) -> Operand:
        mask, (weight, *bias) = others[:has_mask], others[has_mask:]
        _want_picture(op, "data", data.type)
        channels = data.shape[1]
        want_shape(op, "weight", weight.type, _weight_shape(attrs, channels))
        if bias:
            want_shape(op, "bias", bias[0].type, (attrs.num_filter,))
        made = data.apply(
            "deformable_sampling",
            weight,
            offset,
            *mask,
            stride=attrs.stride,
            dilate=attrs.dilate,
            pad=tuple(p for n in attrs.pad for p in (n, n)),
            num_group=attrs.num_group,
            offset_group=attrs.num_deformable_group,
            has_mask=has_mask,
        )
        return made + bias[0].reshape(1, attrs.num_filter, 1, 1) if bias else made

    return compose


def _weight_shape(attrs: Attrs, channels: Any) -> tuple[Any, ...]:
    return (attrs.num_filter, channels // attrs.num_group, *attrs.kernel)


def _deformed_inputs(op: str) -> Any:
    first = ("data", "offset", "mask", "weight") if op.startswith("modulated") else ("data", "offset", "weight")
    return lambda attrs: first if attrs.no_bias else (*first, "bias")


def _check_deformed(op: str) -> Any:
    def check(attrs: Attrs) -> Attrs:
        _pair(op, attrs, "kernel")
        return complete_spatial(op, attrs, {"stride": 1, "dilate": 1, "pad": 0})

    return check


for _op, _theirs in (
    ("deformable_convolution", "DeformableConvolution"),
    ("modulated_deformable_convolution", "ModulatedDeformableConvolution"),
):
    register_composed(
        _op,
        _deformed(_op),
        _deformed_inputs(_op),
        (
            Attr("kernel", "ints", low=1),
            Attr("stride", "ints", (), low=1),
            Attr("dilate", "ints", (), low=1),
            Attr("pad", "ints", (), low=0),
            Attr("num_filter", "int", low=1),
            Attr("num_group", "int", 1, low=1),
            Attr("num_deformable_group", "int", 1, low=1),
            Attr("no_bias", "bool", False),
            Attr("layout", "str", None, choices=(None, "NCHW")),
        ),
        parameters=frozenset({"weight", "bias"}),
        infer_parameters=lambda attrs, data: {
            "weight": _weight_shape(attrs, data.shape[1]),
            **({} if attrs.no_bias else {"bias": (attrs.num_filter,)}),
        },
        check=_check_deformed(_op),
        mxnet=(f"_contrib_{_theirs}", f"_npx_{_op}"),
    )
