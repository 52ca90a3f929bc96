"""The loop function of `minidnn_kernels.elementwise`, compiled by Numba."""

from __future__ import annotations

from minidnn_kernels.elementwise import MAX_OUTER, ElementwiseArguments
from minidnn_kernels.loop_words import call3, load, scratch, store

__all__ = ["elementwise_loop"]

_A = ElementwiseArguments()
_KERNEL, _TENSORS, _INNER, _CHUNK = _A.KERNEL * 8, _A.TENSORS * 8, _A.INNER * 8, _A.CHUNK * 8
_CHUNKS, _OUTER, _SHAPE, _TENSOR = _A.CHUNKS * 8, _A.OUTER * 8, _A.SHAPE * 8, _A.TENSOR * 8
_DIMENSIONS = MAX_OUTER
_TENSOR_BYTES = (MAX_OUTER + 2) * 8


def elementwise_loop(args: int, part: int, parts: int, memory: int) -> None:
    """One part is an equal share of the chunks of all rows."""
    kernel, tensors, inner = load(args + _KERNEL), load(args + _TENSORS), load(args + _INNER)
    chunk, chunks = load(args + _CHUNK), load(args + _CHUNKS)
    total = load(args + _OUTER) * chunks
    context, numbers = scratch(64), args + _TENSOR + tensors * _TENSOR_BYTES
    for number in range(total * part // parts, total * (part + 1) // parts):
        outer, begin = number // chunks, number % chunks * chunk
        for t in range(tensors):
            tensor = args + _TENSOR + t * _TENSOR_BYTES
            address = load(tensor) + begin * load(tensor + (_DIMENSIONS + 1) * 8)
            rest = outer
            for d in range(_DIMENSIONS - 1, -1, -1):
                extent = load(args + _SHAPE + d * 8)
                address += rest % extent * load(tensor + (1 + d) * 8)
                rest = rest // extent
            store(context + t * 8, address)
        call3(kernel, context, min(chunk, inner - begin), numbers)
