"""How long algorithms take: a small model, with all its constants.

It counts vector operations, and weights where reading them from memory takes longer. It need not be right in absolute
terms: what is compared are algorithms for the same product. The sizes are those of the call that the network was
traced with: a layer has one algorithm, and weights packed for it once, whatever sizes come.
"""

from __future__ import annotations

from minidnn.lowering.product import Product
from minidnn_kernels.element_type import BFLOAT16, FLOAT32
from minidnn_kernels.matrix_dot import MatrixDot
from minidnn_kernels.uniform_dot import FourBytes
from minidnn_kernels.winograd import F2X3, F2X3_INT, F4X3, F4X3_INT, Scheme

__all__ = ["depthwise_cycles", "direct_cycles", "winograd_blocks", "winograd_cycles", "winograd_stages"]

# Bytes a core reads from memory in a cycle, while the others read too: weights are read once and not again.
_BYTES_PER_CYCLE = 3.2
# Cycles of a vector's products by one element of the other operand: float32, and integers.
_PRODUCT_CYCLES = {False: 0.5, True: 0.25}
# The same of the direct way where four bytes are multiplied in one instruction, or two bfloat16.
_FOUR_BYTES_SHARE = _BFLOAT16_SHARE = 0.5
# The same where matrices are multiplied, whose rows are copied side by side first; by arithmetic alone it is 1 / 16.
_MATRIX_SHARE = 0.1
# By scheme: cycles a vector of a block takes to be transformed, in and out.
_TRANSFORM_CYCLES = {F4X3: 350.0, F2X3: 90.0, F4X3_INT: 90.0, F2X3_INT: 30.0}
# What Winograd's algorithm must save of the direct way's time to be worth the trouble.
_WINOGRAD_SHARE = 0.8


def _vectors(product: Product, channels: int) -> int:
    return -(-channels // product.isa.lanes)


def _weight_cycles(product: Product, item: int) -> float:
    """Of reading the weights of one tap."""
    return product.groups * product.depth * product.columns * item / _BYTES_PER_CYCLE


def direct_cycles(product: Product) -> float:
    """The tile over all taps; a step along the depth takes whole groups."""
    integer = product.data.is_integer
    dot = product.multiplied.dot(product.isa)
    share = 1.0
    if isinstance(dot, MatrixDot):
        share = _MATRIX_SHARE
    elif isinstance(dot, FourBytes):
        share = _FOUR_BYTES_SHARE
    elif product.multiplied is BFLOAT16:
        share = _BFLOAT16_SHARE
    depth = max(product.depth, dot.group)
    vectors = product.groups * _vectors(product, product.columns)
    cycles = depth * vectors * _PRODUCT_CYCLES[integer] * share
    weights = _weight_cycles(product, product.item_bytes)
    return max(product.usual_pixels * cycles, weights) * product.window.taps


def depthwise_cycles(product: Product) -> float:
    """Vectors of channels; integers are multiplied as float32."""
    cycles = _vectors(product, product.groups) * _PRODUCT_CYCLES[False]
    weights = _weight_cycles(product, FLOAT32.bytes)
    return max(product.usual_pixels * cycles, weights) * product.window.taps


def winograd_blocks(scheme: Scheme, output: tuple[int, ...]) -> int:
    """Of an image with an output of that height and width."""
    high, wide = output
    return -(-high // scheme.output) * -(-wide // scheme.output)


def winograd_stages(scheme: Scheme, product: Product) -> tuple[float, float, float]:
    """Cycles of a block: of transforming its input, of its products, and of transforming these back."""
    vectors = _vectors(product, product.columns)
    products = product.depth * vectors * _PRODUCT_CYCLES[scheme.integer] * scheme.products
    transform = _TRANSFORM_CYCLES[scheme]
    return _vectors(product, product.depth) * transform, products, vectors * transform


def winograd_cycles(scheme: Scheme, product: Product) -> float:
    """Both transforms, and the products of transformed blocks, whose weights are several times the plain ones."""
    blocks = product.usual_images * winograd_blocks(scheme, product.usual_output)
    before, products, behind = winograd_stages(scheme, product)
    weights = _weight_cycles(product, scheme.element.bytes) * scheme.products
    return (max(blocks * products, weights) + blocks * (before + behind)) / _WINOGRAD_SHARE
