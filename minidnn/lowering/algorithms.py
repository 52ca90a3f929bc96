"""The algorithms there are for a product with known weights; the one that is estimated to be the fastest is taken."""

from __future__ import annotations

from minidnn.lowering.anchor import Anchor, Weights, make_epilogue
from minidnn.lowering.builder import Builder
from minidnn.lowering.depthwise import Depthwise
from minidnn.lowering.direct import Direct, MergedRows
from minidnn.lowering.geometry import Window
from minidnn.lowering.product import Algorithm, Product
from minidnn.lowering.values import CHANNELS_LAST, Value
from minidnn.lowering.winograd import Winograd
from minidnn_kernels.element_type import element_type_of
from minidnn_kernels.winograd import F2X3_INT, F4X3, F4X3_INT

__all__ = ["ALGORITHMS", "estimate", "lower_product"]

# Of two that take the same time the first is chosen.
ALGORITHMS: tuple[Algorithm, ...] = (
    Depthwise(),
    MergedRows(),
    Direct(),
    Winograd(F4X3),
    Winograd(F4X3_INT),
    Winograd(F2X3_INT),
)


def estimate(algorithm: Algorithm, product: Product) -> float:
    """What the algorithm takes, in cycles; the least is chosen. Tests put another in its place."""
    return algorithm.cycles(product)


def lower_product(
    builder: Builder, anchor: Anchor, weights: Weights, window: Window, images: int, layout: str
) -> Value | None:
    """One step for the product and its epilogue; None where no kernel fits."""
    data = element_type_of(anchor.inputs[0].type.dtype)
    assert data is not None
    channel_axis = 1 if layout == CHANNELS_LAST else anchor.type.ndim - 1
    bound = make_epilogue(builder, anchor, weights, layout, channel_axis)
    if bound is None:
        return None
    product = Product(builder.isa, anchor, weights, window, images, layout, data, builder.store)
    fitting = [algorithm for algorithm in ALGORITHMS if algorithm.fits(product)]
    if not fitting:
        return None
    return min(fitting, key=lambda algorithm: estimate(algorithm, product)).lower(builder, product, bound)
