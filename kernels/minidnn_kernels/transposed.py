"""Transposed convolution around the tile: the arguments of `transposed_loop`.

Output o of one dimension meets input i at tap t where ``o + pad = i * stride + t * dilate``. All outputs whose
``o + pad`` leave the same remainder by the stride, a phase, read the same taps, and neighbours among them read
neighbouring inputs: a phase is an ordinary convolution of stride 1, whose outputs lie `stride` apart. Several
dimensions have a phase for each combination. No product with a tap of another phase is ever computed.
"""

from __future__ import annotations

from minidnn_kernels.arguments import ArgumentRow, Field

__all__ = ["AXES", "AXIS", "PHASE", "TRANSPOSED_ARGUMENTS"]

# Spatial dimensions of the loop; the outer ones may have a single element.
AXES = 3


# The record of one phase of one axis. Its output number m is output ``first + m * stride`` of the axis. At tap number t
# of the phase it meets input ``start + m - t * step``, if that exists.
PHASE = ArgumentRow(
    Field("first", "its first output"),
    Field("count", "outputs"),
    Field("start", "the input that its first output meets at its first tap"),
    Field("taps", "how many"),
    Field("taps_before", "of the phases before"),
)
# What the loop is told of an axis.
AXIS = ArgumentRow(
    Field("input", "elements"),
    Field("output", "elements"),
    Field("stride", "between the outputs of a phase"),
    Field("step", "between the inputs of neighbouring taps"),
    Field("phases", "how many"),
    Field("taps", "of all phases"),
    Field("records", "a `PHASE` for each of its phases"),
)
# Of `transposed_loop`.
TRANSPOSED_ARGUMENTS = ArgumentRow(
    Field("tile", "microkernel for whole panels; it stores scattered rows"),
    Field("remainder_tile", "microkernel for the last panel of a group, if columns are missing"),
    Field("source", "the input"),
    Field("zeros", "a row of as many zeros as the input has behind a pointer"),
    Field("image_pitch", "from one input image to the next"),
    Field("pixel_pitch", "from one input pixel to the next"),
    Field("source_group", "bytes from one group's channels to the next's"),
    Field("depth", "steps behind each pointer"),
    Field("weights", "[phases][groups][panels][taps of the phase][bytes of a tap]"),
    Field("tap_bytes", "bytes of a tap in a panel"),
    Field("rows", "of the tile"),
    Field("columns", "of a panel"),
    Field("block_strips", "strips in a block"),
    Field("blocks", "blocks of strips per image and phase"),
    Field("block_phases", "phases in a block"),
    Field("phase_blocks", "blocks of phases"),
    Field("groups", "how many"),
    Field("group_columns", "columns of the output per group"),
    Field("block_panels", "panels in a block"),
    Field("panel_blocks", "blocks of panels per group"),
    Field("axis", "an `AXIS` for each spatial dimension, the outermost first", words=AXES * AXIS.words),
    Field("context", "the tile's, as `store.CONTEXT` has it", words=None),
)
