"""A transposed convolution taken apart into ordinary ones: outputs that read the same taps, dimension by dimension."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Axis", "Phase"]


@dataclass(frozen=True)
class Phase:
    """Outputs ``first + m * stride`` of an axis, `count` of them.

    Output m meets input ``start + m - j * step`` at ``taps[j]``, where that input exists.
    """

    first: int
    count: int
    start: int
    taps: range


@dataclass(frozen=True)
class Axis:
    """One spatial dimension: output o meets input i at tap t where ``o + pad = i * stride + t * dilate``."""

    input: int
    output: int
    kernel: int
    stride: int
    dilate: int
    pad: int

    @property
    def step(self) -> int:
        """Inputs between one tap of a phase and the next."""
        return self.dilate // math.gcd(self.stride, self.dilate)

    @property
    def num_phases(self) -> int:
        return min(self.stride, self.output)

    def phases(self) -> tuple[Phase, ...]:
        """One for each remainder of ``o + pad`` by the stride that an output has."""
        common = math.gcd(self.stride, self.dilate)
        # Taps that are this far apart differ by a multiple of the stride.
        period = self.stride // common
        inverse = pow(self.step, -1, period)
        made = []
        for first in range(self.num_phases):
            quotient, remainder = divmod(first + self.pad, self.stride)
            # The smallest tap with tap * dilate = remainder modulo the stride, if there is any.
            tap = remainder // common * inverse % period if remainder % common == 0 else self.kernel
            taps = range(min(tap, self.kernel), self.kernel, period)
            start = quotient - (tap * self.dilate - remainder) // self.stride
            count = -(-(self.output - first) // self.stride)
            made.append(Phase(first, count, start, taps))
        return tuple(made)
