"""Which of Winograd's schemes is the fastest for a convolution, if one is, and how its work is cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from minidnn.lowering.geometry import Window
from minidnn.lowering.tiling import choose_tile
from minidnn_kernels.dot import Dot
from minidnn_kernels.isa import Isa
from minidnn_kernels.winograd import F2X3_INT, F4X3, F4X3_INT, Scheme

__all__ = ["WinogradPlan", "make_plan"]

# Transformed input and products of a part should stay in the second-level cache.
_PART_BYTES = 640 * 1024
_PARTS = 12
# Bytes a core reads from memory in a cycle, while the others read too: weights are read once and not again.
_BYTES_PER_CYCLE = 3.2
# By scheme: cycles a vector of a block takes to be transformed, in and out; cycles of a vector's products, and
# those of the direct way, which are half of them for integers where four bytes are multiplied in one instruction.
_TRANSFORM_CYCLES = {F4X3: 130.0, F4X3_INT: 90.0, F2X3_INT: 30.0}
_PRODUCT_CYCLES = {F4X3: 0.5, F4X3_INT: 0.25, F2X3_INT: 0.25}


@dataclass(frozen=True)
class WinogradPlan:
    """How a convolution is computed.

    Args:
        scheme: by which matrices.
        blocks: of outputs, per image; `part_blocks` of them are a part.
        steps: of the tile along the channels, in rows of `row_bytes` of transformed input.
        dot: how the transformed rows are multiplied.
        rows, vectors: of the products' tile.
    """

    scheme: Scheme
    blocks: int
    part_blocks: int
    steps: int
    row_bytes: int
    dot: Dot
    rows: int
    vectors: int

    @property
    def image_parts(self) -> int:
        return -(-self.blocks // self.part_blocks)


def make_plan(
    schemes: Sequence[Scheme], isa: Isa, images: int, channels: int, filters: int, window: Window
) -> WinogradPlan | None:
    """The plan of the fastest scheme; None if the direct way is faster, or there are no schemes."""
    scheme = _fastest(schemes, isa, images, channels, filters, window) if schemes else None
    if scheme is None:
        return None
    blocks = _blocks(scheme, window)
    dot = scheme.element.dot(isa)
    steps = -(-channels // dot.group)
    row_bytes = steps * dot.step_bytes
    block_bytes = scheme.products * (row_bytes + filters * scheme.sums.bytes)
    part_blocks = _choose_part(images * blocks, blocks, block_bytes)
    rows, vectors = choose_tile(isa, part_blocks, steps, filters, fits=dot.fits)
    return WinogradPlan(scheme, blocks, part_blocks, steps, row_bytes, dot, rows, vectors)


def _blocks(scheme: Scheme, window: Window) -> int:
    return -(-window.output[0] // scheme.output) * -(-window.output[1] // scheme.output)


def _fastest(
    schemes: Sequence[Scheme], isa: Isa, images: int, channels: int, filters: int, window: Window
) -> Scheme | None:
    """The fastest of the schemes by a small model of their time; None if the direct way is faster.

    The model counts vector operations, and the transformed weights, several times the plain ones, that must be
    read for each inference.
    """
    in_vectors, out_vectors = -(-channels // isa.lanes), -(-filters // isa.lanes)
    weight = channels * filters / _BYTES_PER_CYCLE

    def cycles(scheme: Scheme) -> float:
        blocks = images * _blocks(scheme, window)
        transforms = blocks * (in_vectors + out_vectors) * _TRANSFORM_CYCLES[scheme]
        product = channels * out_vectors * _PRODUCT_CYCLES[scheme]
        return max(blocks * product, weight * scheme.element.bytes) * scheme.products + transforms

    def direct(scheme: Scheme) -> float:
        share = 0.5 if scheme.integer and isa.dot == "vnni" else 1
        product = channels * out_vectors * _PRODUCT_CYCLES[scheme] * share
        return max(images * window.pixels * product, weight * scheme.weights.bytes) * window.taps

    paying = [scheme for scheme in schemes if cycles(scheme) < 0.8 * direct(scheme)]
    return min(paying, key=cycles, default=None)


def _choose_part(all_blocks: int, image_blocks: int, block_bytes: int) -> int:
    """Blocks in a part: as many as stay in cache, fewer where threads would have nothing to share."""
    fitting = max(1, _PART_BYTES // block_bytes)
    shared = max(4, -(-all_blocks // _PARTS))
    return min(fitting, shared, image_blocks)
