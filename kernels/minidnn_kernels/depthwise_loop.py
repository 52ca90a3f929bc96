"""The loop function of `minidnn_kernels.depthwise`, compiled by Numba."""

from __future__ import annotations

from minidnn_kernels.depthwise import DepthwiseArguments
from minidnn_kernels.loop_words import call5, load, load_i32, scratch, store

__all__ = ["depthwise_loop"]

_A = DepthwiseArguments()
_KERNEL, _SOURCE, _ZEROS = _A.KERNEL * 8, _A.SOURCE * 8, _A.ZEROS * 8
_IMAGE_PITCH, _PIXEL_PITCH = _A.IMAGE_PITCH * 8, _A.PIXEL_PITCH * 8
_TABLE, _POINTERS, _STRIPS, _BLOCK_STRIPS = _A.TABLE * 8, _A.POINTERS * 8, _A.STRIPS * 8, _A.BLOCK_STRIPS * 8
_BLOCKS, _STARTS, _WEIGHTS, _CHANNELS = _A.BLOCKS * 8, _A.STARTS * 8, _A.WEIGHTS * 8, _A.CHANNELS * 8
_PIXELS, _CONTEXT = _A.PIXELS * 8, _A.CONTEXT * 8


def depthwise_loop(args: int, part: int, parts: int, memory: int) -> None:
    """One part is some strips of one image."""
    blocks = load(args + _BLOCKS)
    image, block = part // blocks, part % blocks
    first = block * load(args + _BLOCK_STRIPS)
    last = min(load(args + _STRIPS), first + load(args + _BLOCK_STRIPS))
    count, pixel_pitch = load(args + _POINTERS), load(args + _PIXEL_PITCH)
    source = load(args + _SOURCE) + image * load(args + _IMAGE_PITCH)
    zeros, kernel = load(args + _ZEROS), load(args + _KERNEL)
    weights, channels = load(args + _WEIGHTS), load(args + _CHANNELS)
    pixels = load(args + _PIXELS)
    pointers = scratch(2048)
    for strip in range(first, last):
        table = load(args + _TABLE) + strip * count * 4
        for i in range(count):
            pixel = load_i32(table + i * 4)
            store(pointers + i * 8, zeros if pixel < 0 else source + pixel * pixel_pitch)
        row = image * pixels + load_i32(load(args + _STARTS) + strip * 4)
        call5(kernel, args + _CONTEXT, pointers, weights, row, channels)
