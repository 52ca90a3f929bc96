"""Costs that make lowering choose one algorithm or another."""

from __future__ import annotations

import math

from minidnn.lowering.product import Algorithm, Product
from minidnn.lowering.winograd import Winograd

__all__ = ["ESTIMATE", "Preference"]

# What to patch.
ESTIMATE = "minidnn.lowering.algorithms.estimate"


class Preference:
    """In the place of `algorithms.estimate`: the first of these algorithms that fits; else any but Winograd's.

    Attributes:
        fitting: the algorithms that were asked for their cost.
    """

    def __init__(self, *wanted: Algorithm) -> None:
        self.wanted = wanted
        self.fitting: list[Algorithm] = []

    def __call__(self, algorithm: Algorithm, product: Product) -> float:
        self.fitting.append(algorithm)
        if algorithm in self.wanted:
            return self.wanted.index(algorithm) - len(self.wanted)
        return math.inf if isinstance(algorithm, Winograd) else algorithm.cycles(product)
