"""The loop functions of `minidnn_kernels.pooling`, compiled by Numba."""

from __future__ import annotations

from minidnn_kernels.loop_words import call5, load, load_i32, scratch, store
from minidnn_kernels.pooling import PoolArguments

__all__ = ["global_pool_loop", "pool_loop"]

_A = PoolArguments()
_KERNEL, _SOURCE, _TARGET, _IMAGE_PITCH = _A.KERNEL * 8, _A.SOURCE * 8, _A.TARGET * 8, _A.IMAGE_PITCH * 8
_PIXEL_PITCH, _TARGET_PITCH, _TABLE, _TAPS = _A.PIXEL_PITCH * 8, _A.TARGET_PITCH * 8, _A.TABLE * 8, _A.TAPS * 8
_PIXELS, _BLOCK, _BLOCKS = _A.PIXELS * 8, _A.BLOCK * 8, _A.BLOCKS * 8
_FACTORS, _CHANNELS = _A.FACTORS * 8, _A.CHANNELS * 8
_ITEM, _TARGET_ITEM = _A.ITEM * 8, _A.TARGET_ITEM * 8


def pool_loop(args: int, part: int, parts: int, memory: int) -> None:
    """One part is some output pixels of one image."""
    blocks, pixels, taps = load(args + _BLOCKS), load(args + _PIXELS), load(args + _TAPS)
    image, block = part // blocks, part % blocks
    first = block * load(args + _BLOCK)
    last = min(pixels, first + load(args + _BLOCK))
    kernel, channels, pixel_pitch = load(args + _KERNEL), load(args + _CHANNELS), load(args + _PIXEL_PITCH)
    source = load(args + _SOURCE) + image * load(args + _IMAGE_PITCH)
    target = load(args + _TARGET) + image * pixels * load(args + _TARGET_PITCH)
    pointers = scratch(8192)
    for pixel in range(first, last):
        count = 0
        table = load(args + _TABLE) + pixel * taps * 4
        for tap in range(taps):
            seen = load_i32(table + tap * 4)
            if seen >= 0:
                store(pointers + count * 8, source + seen * pixel_pitch)
                count += 1
        place = target + pixel * load(args + _TARGET_PITCH)
        call5(kernel, place, pointers, count, channels, load(args + _FACTORS) + pixel * 4)


def global_pool_loop(args: int, part: int, parts: int, memory: int) -> None:
    """One part is some channels of one image; all pixels of the image go into one."""
    blocks = load(args + _BLOCKS)
    image, block = part // blocks, part % blocks
    first = block * load(args + _BLOCK)
    channels = min(load(args + _BLOCK), load(args + _CHANNELS) - first)
    source = load(args + _SOURCE) + image * load(args + _IMAGE_PITCH) + first * load(args + _ITEM)
    target = load(args + _TARGET) + image * load(args + _TARGET_PITCH) + first * load(args + _TARGET_ITEM)
    call5(load(args + _KERNEL), target, source, load(args + _TAPS), channels, load(args + _FACTORS))
