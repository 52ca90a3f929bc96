"""How the work of a convolution by one of Winograd's schemes is cut."""

from __future__ import annotations

from dataclasses import dataclass

from minidnn.lowering.cost_model import winograd_blocks
from minidnn.lowering.product import Product
from minidnn.lowering.tiling import choose_tile
from minidnn_kernels.dot import Dot
from minidnn_kernels.winograd import Scheme

__all__ = ["WinogradPlan", "make_plan"]

# Transformed input and products of a part should stay in the second-level cache.
_PART_BYTES = 640 * 1024
_PARTS = 12


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


def make_plan(scheme: Scheme, product: Product) -> WinogradPlan:
    """How the product is computed by that scheme."""
    isa, channels, filters = product.isa, product.depth, product.columns
    blocks = winograd_blocks(scheme, product)
    dot = scheme.element.dot(isa)
    steps = -(-channels // dot.group)
    row_bytes = steps * dot.step_bytes
    block_bytes = scheme.products * (row_bytes + filters * scheme.sums.bytes)
    part_blocks = _choose_part(product.images * blocks, blocks, block_bytes)
    rows, vectors = choose_tile(isa, part_blocks, steps, filters, fits=dot.fits)
    return WinogradPlan(scheme, blocks, part_blocks, steps, row_bytes, dot, rows, vectors)


def _choose_part(all_blocks: int, image_blocks: int, block_bytes: int) -> int:
    """Blocks in a part: as many as stay in cache, fewer where threads would have nothing to share."""
    fitting = max(1, _PART_BYTES // block_bytes)
    shared = max(4, -(-all_blocks // _PARTS))
    return min(fitting, shared, image_blocks)
