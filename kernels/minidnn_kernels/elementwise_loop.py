"""The loop function of `minidnn_kernels.elementwise`, compiled by Numba."""

from __future__ import annotations

from minidnn_kernels.arguments import WORD_BYTES
from minidnn_kernels.elementwise import ELEMENTWISE_ARGUMENTS, MAX_OPERANDS, MAX_OUTER, TENSOR
from minidnn_kernels.loop_words import call3, load, scratch, store

__all__ = ["elementwise_loop"]

_A, _T = ELEMENTWISE_ARGUMENTS.offsets, TENSOR.offsets
_TENSOR_BYTES = TENSOR.words * WORD_BYTES
_TENSORS = MAX_OPERANDS + 1


def elementwise_loop(args: int, part: int, parts: int, memory: int) -> None:
    """One part is an equal share of the chunks of all rows."""
    kernel, tensors, inner = load(args + _A.kernel), load(args + _A.tensors), load(args + _A.inner)
    chunk, chunks = load(args + _A.chunk), load(args + _A.chunks)
    total = load(args + _A.outer) * chunks
    context, numbers = scratch(_TENSORS), args + _A.tensor + tensors * _TENSOR_BYTES
    for number in range(total * part // parts, total * (part + 1) // parts):
        outer, begin = number // chunks, number % chunks * chunk
        for t in range(tensors):
            tensor = args + _A.tensor + t * _TENSOR_BYTES
            address = load(tensor + _T.address) + begin * load(tensor + _T.step)
            rest = outer
            for d in range(MAX_OUTER - 1, -1, -1):
                extent = load(args + _A.shape + d * WORD_BYTES)
                address += rest % extent * load(tensor + _T.strides + d * WORD_BYTES)
                rest = rest // extent
            store(context + t * WORD_BYTES, address)
        call3(kernel, context, min(chunk, inner - begin), numbers)
