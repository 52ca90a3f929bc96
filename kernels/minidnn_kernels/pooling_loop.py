"""The loop functions of `minidnn_kernels.pooling`, compiled by Numba."""

from __future__ import annotations

from minidnn_kernels.arguments import WORD_BYTES
from minidnn_kernels.element_type import FLOAT32, INT32
from minidnn_kernels.loop_words import call5, load, load_i32, scratch, store
from minidnn_kernels.pooling import GLOBAL_POOL_ARGUMENTS, MAX_TAPS, POOL_ARGUMENTS

__all__ = ["global_pool_loop", "pool_loop"]

_A, _G = POOL_ARGUMENTS.offsets, GLOBAL_POOL_ARGUMENTS.offsets
_INDEX_BYTES, _FACTOR_BYTES = INT32.bytes, FLOAT32.bytes


def pool_loop(args: int, part: int, parts: int, memory: int) -> None:
    """One part is some output pixels of one image."""
    blocks, pixels, taps = load(args + _A.blocks), load(args + _A.pixels), load(args + _A.taps)
    image, block = part // blocks, part % blocks
    first = block * load(args + _A.block)
    last = min(pixels, first + load(args + _A.block))
    kernel, channels, pixel_pitch = load(args + _A.kernel), load(args + _A.channels), load(args + _A.pixel_pitch)
    source = load(args + _A.source) + image * load(args + _A.image_pitch)
    target = load(args + _A.target) + image * pixels * load(args + _A.target_pitch)
    pointers = scratch(MAX_TAPS)
    for pixel in range(first, last):
        count = 0
        table = load(args + _A.table) + pixel * taps * _INDEX_BYTES
        for tap in range(taps):
            seen = load_i32(table + tap * _INDEX_BYTES)
            if seen >= 0:
                store(pointers + count * WORD_BYTES, source + seen * pixel_pitch)
                count += 1
        place = target + pixel * load(args + _A.target_pitch)
        call5(kernel, place, pointers, count, channels, load(args + _A.factors) + pixel * _FACTOR_BYTES)


def global_pool_loop(args: int, part: int, parts: int, memory: int) -> None:
    """One part is some channels of one image; all pixels of the image go into one."""
    blocks = load(args + _G.blocks)
    image, block = part // blocks, part % blocks
    first = block * load(args + _G.block)
    channels = min(load(args + _G.block), load(args + _G.channels) - first)
    source = load(args + _G.source) + image * load(args + _G.image_pitch) + first * load(args + _G.item)
    target = load(args + _G.target) + image * load(args + _G.target_pitch) + first * load(args + _G.target_item)
    call5(load(args + _G.kernel), target, source, load(args + _G.pixels), channels, load(args + _G.extra))
