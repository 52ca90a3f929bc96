"""The algorithms there are for a product with known weights, and the choice of one: estimated, and measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from minidnn.lowering.anchor import Anchor, Weights, make_epilogue
from minidnn.lowering.builder import Builder
from minidnn.lowering.depthwise import Depthwise
from minidnn.lowering.direct import Direct, MergedRows
from minidnn.lowering.geometry import Window
from minidnn.lowering.product import Algorithm, Product
from minidnn.lowering.values import CHANNELS_LAST, Value
from minidnn.lowering.winograd import Winograd
from minidnn.plan.program import Program
from minidnn_kernels.element_type import element_type_of
from minidnn_kernels.winograd import F2X3, F2X3_INT, F4X3, F4X3_INT

__all__ = ["ALGORITHMS", "estimate", "lower_product"]

# Of two that take the same time the first is chosen.
ALGORITHMS: tuple[Algorithm, ...] = (
    Depthwise(),
    MergedRows(),
    Direct(),
    Winograd(F4X3),
    Winograd(F2X3),
    Winograd(F4X3_INT),
    Winograd(F2X3_INT),
)


# How much longer than the fastest an algorithm may be estimated to take to be measured; and what is worth measuring.
_NEAR = 2.2
_LEAST_CYCLES = 300_000


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
    fitting = {algorithm.name: algorithm for algorithm in ALGORITHMS if algorithm.fits(product)}
    return fitting[_choose(builder, product, fitting)].lower(builder, product, bound) if fitting else None


def _choose(builder: Builder, product: Product, fitting: Mapping[str, Algorithm]) -> str:
    """The model proposes, and where it sees little difference in a long step, measurements choose."""
    cycles = {name: estimate(algorithm, product) for name, algorithm in fitting.items()}
    best, measure = min(cycles, key=cycles.__getitem__), builder.measure
    near = {name: fitting[name] for name, estimated in cycles.items() if estimated <= cycles[best] * _NEAR}
    if measure is None or len(near) < 2 or cycles[best] < _LEAST_CYCLES:
        return best

    def find() -> str:
        if (product.images, product.window.output) != (product.usual_images, product.usual_output):
            return best
        alone = {name: partial(_lower_alone, product, algorithm) for name, algorithm in near.items()}
        return measure(_describe(product), alone) or best

    usual = product.usual_images, product.usual_output
    return product.weights.know(builder.store, ("algorithm", *near, product.window.pad, *usual), find)


def _describe(product: Product) -> str:
    """All that decides on how long the product takes."""
    sizes = (product.images, product.groups, product.depth, product.columns)
    kind = "bf16" if product.weights.is_bfloat16 else product.data.name
    return f"{kind} {sizes} {product.window} {product.layout}"


def _lower_alone(product: Product, algorithm: Algorithm) -> Program:
    """A program of the product by that algorithm, without what is fused behind it."""
    builder = Builder(product.isa)
    data, *parameters = product.anchor.inputs
    inputs = (builder.input(data.type, product.layout), *parameters)
    anchor = replace(product.anchor, inputs=inputs, result=product.anchor.type, following=(), outside=None, usual=None)
    weights = replace(product.weights, rest=(), origin=None)
    channel_axis = 1 if product.layout == CHANNELS_LAST else anchor.type.ndim - 1
    bound = make_epilogue(builder, anchor, weights, product.layout, channel_axis)
    assert bound is not None
    value = algorithm.lower(builder, replace(product, anchor=anchor, weights=weights, store=builder.store), bound)
    return builder.finish([value], [value.layout])
