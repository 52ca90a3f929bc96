"""Transposed convolution around the tile: the arguments of `transposed_loop`.

Output o of one dimension meets input i at tap t where ``o + pad = i * stride + t * dilate``. All outputs whose
``o + pad`` leave the same remainder by the stride, a phase, read the same taps, and neighbours among them read
neighbouring inputs: a phase is an ordinary convolution of stride 1, whose outputs lie `stride` apart. Several
dimensions have a phase for each combination. No product with a tap of another phase is ever computed.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["AXES", "AxisArguments", "PhaseRecord", "TransposedArguments"]

# Spatial dimensions of the loop; the outer ones may have a single element.
AXES = 3


@dataclass(frozen=True)
class PhaseRecord:
    """Positions in the record of one phase of one axis, int64.

    Its output number m is output ``first + m * stride`` of the axis. At tap number t of the phase it meets input
    ``start + m - t * step``, if that exists.
    """

    FIRST: int = 0
    COUNT: int = 1  # outputs
    START: int = 2
    TAPS: int = 3
    TAPS_BEFORE: int = 4  # of the phases before
    LENGTH: int = 5


@dataclass(frozen=True)
class AxisArguments:
    """Positions among the arguments of one axis, in elements."""

    INPUT: int = 0
    OUTPUT: int = 1
    STRIDE: int = 2  # between the outputs of a phase
    STEP: int = 3  # between the inputs of neighbouring taps
    PHASES: int = 4
    TAPS: int = 5  # of all phases
    RECORDS: int = 6  # address of its phases' records
    LENGTH: int = 7


@dataclass(frozen=True)
class TransposedArguments:
    """Positions in the argument row of `transposed_loop`. Addresses and pitches are in bytes, counts in elements."""

    TILE: int = 0  # microkernel for whole panels; it stores scattered rows
    TAIL_TILE: int = 1  # microkernel for the last panel of a group, if columns are missing
    SOURCE: int = 2
    ZEROS: int = 3
    IMAGE_PITCH: int = 4
    PIXEL_PITCH: int = 5
    SOURCE_GROUP: int = 6  # from one group's channels to the next's
    DEPTH: int = 7
    WEIGHTS: int = 8  # [phases][groups][panels][taps of the phase][bytes of a tap]
    TAP_BYTES: int = 9  # of a panel
    ROWS: int = 10  # of the tile
    COLUMNS: int = 11  # of a panel
    BLOCK_STRIPS: int = 12
    BLOCKS: int = 13  # blocks of strips per image and phase
    BLOCK_PHASES: int = 14
    PHASE_BLOCKS: int = 15
    GROUPS: int = 16
    GROUP_COLUMNS: int = 17  # columns of the output per group
    BLOCK_PANELS: int = 18
    PANEL_BLOCKS: int = 19
    AXIS: int = 20  # `AxisArguments` of each axis, the outermost first
    CONTEXT: int = 20 + AXES * AxisArguments.LENGTH  # the tile's context begins here
