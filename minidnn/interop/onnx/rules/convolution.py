"""Convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minidnn.interop.onnx.call import Call, rule
from minidnn.interop.onnx.rules.integers import convolve_quantized
from minidnn.interop.onnx.rules.slicing import crop, pad
from minidnn.interop.onnx.rules.windows import Geometry, Pairs, convolve, is_symmetric, read_spatial
from minidnn.interop.onnx.values import Value

__all__: list[str] = []


@rule("Conv")
def _conv(call: Call) -> Value:
    x, weight, bias, geometry = call[0], call[1], call.get(2), Geometry(call, call[0], call[1])
    made = convolve_quantized(call, x, weight, bias, geometry)
    return convolve(call, x, weight, bias, geometry) if made is None else made


@rule("ConvTranspose")
def _conv_transpose(call: Call) -> Value:
    x, weight, bias = call[0], call[1], call.get(2)
    geometry = Geometry(call, x, weight, is_transposed=True)
    rank = x.ndim - 2
    extra = call.integers("output_padding", None) or (0,) * rank
    wanted = call.integers("output_shape", None)
    pairs = _transposed_pads(call, x.shape[2:], geometry, extra, wanted)
    symmetric = is_symmetric(pairs) and all(
        e < max(s, d) for e, s, d in zip(extra, geometry.strides, geometry.dilations, strict=True)
    )
    inputs = (x, weight) if bias is None else (x, weight, bias)
    result = call.emit(
        "deconvolution",
        *inputs,
        kernel=geometry.kernel,
        num_filter=int(weight.dim(1)) * geometry.group,
        stride=geometry.strides,
        dilate=geometry.dilations,
        pad=tuple(a for a, _ in pairs) if symmetric else (0,) * rank,
        adj=tuple(extra) if symmetric else (0,) * rank,
        num_group=geometry.group,
        no_bias=bias is None,
    )
    if symmetric:
        return result
    if bias is None:
        room = [(-a, e - b) for (a, b), e in zip(pairs, extra, strict=True)]
        return pad(call, result, [(0, 0), (0, 0), *room])
    # What lies beyond the last window has the bias alone; it is cut off here, or there is none.
    room = [(a, b - e) for (a, b), e in zip(pairs, extra, strict=True)]
    if any(not isinstance(b, int) or b < 0 for _, b in room):
        plain = call.emit("subtract", result, _channels(call, bias, rank))
        padded = pad(call, plain, [(0, 0), (0, 0), *((-a, -b) for a, b in room)])
        return call.emit("add", padded, _channels(call, bias, rank))
    return crop(call, result, [(0, 0), (0, 0), *room])


def _channels(call: Call, bias: Value, rank: int) -> Value:
    return call.reshape(bias, (1, bias._type.shape[0], *(1,) * rank))


def _transposed_pads(
    call: Call, spatial: Sequence[Any], geometry: Geometry, extra: Sequence[int], wanted: Any
) -> Pairs:
    """What is cut off the full result in front and behind."""
    rank = len(spatial)
    auto = call.text("auto_pad", "NOTSET", ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"))
    given = call.integers("pads", None)
    if wanted is None and auto in ("NOTSET", "VALID"):
        if auto == "VALID" or given is None:
            return [(0, 0)] * rank
        if len(given) != 2 * rank:
            call.fail(f"attribute 'pads' must have {2 * rank} numbers, got {given}")
        return [(given[i], given[i + rank]) for i in range(rank)]
    if wanted is not None and len(wanted) != rank:
        wanted = wanted[-rank:]
    pairs: Pairs = []
    for i, (n, stride, extent, e) in enumerate(zip(spatial, geometry.strides, geometry.extents, extra, strict=True)):
        size = n * stride if wanted is None else wanted[i]
        total = stride * (n - 1) + e + extent - size
        half = total // 2
        pairs.append((half, total - half) if auto == "SAME_UPPER" else (total - half, half))
    return pairs


@rule("DeformConv")
def _deform_conv(call: Call) -> Value:
    x, weight, offset = call[0], call[1], call[2]
    geometry = Geometry(call, x, weight)
    attrs = {
        "stride": geometry.strides,
        "dilate": geometry.dilations,
        "pad": tuple(n for pair in geometry.pads for n in pair),
        "num_group": geometry.group,
        "offset_group": call.integer("offset_group", 1),
        "has_mask": call.get(4) is not None,
    }
    mask = () if call.get(4) is None else (call[4],)
    result = call.emit("deformable_sampling", x, weight, offset, *mask, **attrs)
    bias = call.get(3)
    return result if bias is None else call.emit("add", result, _channels(call, bias, x.ndim - 2))


@rule("Col2Im")
def _col2im(call: Call) -> Value:
    """Columns back into a picture, added up: each tap of the kernel at its places."""
    x, image, block = call[0], call.ints(1, "image_shape"), call.plain_ints(2, "block_shape")
    rank = len(block)
    strides, dilations = read_spatial(call, "strides", rank), read_spatial(call, "dilations", rank)
    pads = call.integers("pads", None) or (0,) * (2 * rank)
    return call.emit("columns_to_image", x, image=image, kernel=block, stride=strides, dilate=dilations, pad=pads)
