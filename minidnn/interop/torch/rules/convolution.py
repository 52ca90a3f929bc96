"""Convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minidnn.interop.onnx.values import Value
from minidnn.interop.torch.call import Call, aten

__all__: list[str] = []


def spread(numbers: Any, rank: int, default: Any = None) -> tuple[Any, ...]:
    """A number for each spatial dimension, from a list of as many, of one, or of none."""
    given = numbers if isinstance(numbers, (tuple, list)) else (numbers,)
    if not given and default is not None:
        return tuple(default)
    return tuple(given) * rank if len(given) == 1 else tuple(given)


@aten("convolution", "_convolution")
def _convolution(
    call: Call,
    x: Value,
    weight: Value,
    bias: Value | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
    *_: Any,
) -> Value:
    rank = weight.ndim - 2
    if rank not in (1, 2, 3):
        call.refuse(f"one to three spatial dimensions are supported, got a weight of {weight.ndim} dimensions")
    if x.ndim == rank + 1:
        one = _convolution(
            call, call.expand_dims(x, (0,)), weight, bias, stride, padding, dilation, transposed, output_padding, groups
        )
        return call.emit("squeeze", one, axis=(0,))
    attrs: dict[str, Any] = {
        "kernel": tuple(int(n) for n in weight.shape[2:]),
        "stride": spread(stride, rank),
        "dilate": spread(dilation, rank),
        "pad": spread(padding, rank),
        "num_group": groups,
        "no_bias": bias is None,
    }
    inputs = (x, weight) if bias is None else (x, weight, bias)
    if transposed:
        filters, adj = int(weight.dim(1)) * groups, spread(output_padding, rank)
        return call.emit("deconvolution", *inputs, num_filter=filters, adj=adj, **attrs)
    return call.emit("convolution", *inputs, num_filter=int(weight.dim(0)), **attrs)
