"""The loop function of `minidnn_kernels.depthwise`, compiled by Numba."""

from __future__ import annotations

from minidnn_kernels.arguments import WORD_BYTES
from minidnn_kernels.depthwise import DEPTHWISE_ARGUMENTS, MAX_POINTERS
from minidnn_kernels.element_type import INT32
from minidnn_kernels.loop_words import call5, load, load_i32, scratch, store

__all__ = ["depthwise_loop"]

_A = DEPTHWISE_ARGUMENTS.offsets
_INDEX_BYTES = INT32.bytes


def depthwise_loop(args: int, part: int, parts: int, memory: int) -> None:
    """One part is some strips of one image."""
    blocks = load(args + _A.blocks)
    image, block = part // blocks, part % blocks
    first = block * load(args + _A.block_strips)
    last = min(load(args + _A.strips), first + load(args + _A.block_strips))
    count, pixel_pitch = load(args + _A.pointers), load(args + _A.pixel_pitch)
    source = load(args + _A.source) + image * load(args + _A.image_pitch)
    zeros, kernel = load(args + _A.zeros), load(args + _A.kernel)
    weights, channels = load(args + _A.weights), load(args + _A.channels)
    pixels = load(args + _A.pixels)
    pointers = scratch(MAX_POINTERS)
    for strip in range(first, last):
        table = load(args + _A.table) + strip * count * _INDEX_BYTES
        for i in range(count):
            pixel = load_i32(table + i * _INDEX_BYTES)
            store(pointers + i * WORD_BYTES, zeros if pixel < 0 else source + pixel * pixel_pitch)
        row = image * pixels + load_i32(load(args + _A.starts) + strip * _INDEX_BYTES)
        call5(kernel, args + _A.context, pointers, weights, row, channels)
