"""Pictures read at positions that a network computes: grids, regions, deformed convolutions.

Pictures have their channels innermost. A result is a row of channels: the sum of rows of pixels times weights, by
`BlendSpec`, or their maximum. Positions are computed in float64. Whatever they are, NaN and infinity included, each
pixel that is read lies inside the picture.
"""

from __future__ import annotations

from minidnn_kernels.arguments import ArgumentRow, Field

__all__ = [
    "DEFORM_ARGUMENTS",
    "GRID_ARGUMENTS",
    "GRID_MODES",
    "GRID_PADDINGS",
    "LARGEST_REGION",
    "MAX_COUNT",
    "REGION_ARGUMENTS",
    "REGION_STATUS",
    "SPATIAL",
]

# Spatial dimensions; those in front that a picture does not have are 1.
SPATIAL = 3

# By their places.
GRID_MODES = ("nearest", "linear", "cubic")
GRID_PADDINGS = ("zeros", "border", "reflection")

_ELEMENTS = (
    Field("kernel", "microkernel"),
    Field("source", "[batch][shape ...][channels]"),
    Field("target", "rows of results"),
    Field("code", "the type of all of these, float32 or float64, by its place in `elements.ELEMENTS`"),
    Field("item", "bytes of an element"),
    Field("batch", "pictures"),
    Field("channels", "of a picture"),
)

# Of `grid_sample_loop`.
GRID_ARGUMENTS = ArgumentRow(
    *_ELEMENTS,
    Field("shape", "of a picture", words=SPATIAL),
    Field("rank", "spatial dimensions that there are"),
    Field("grid", "[batch][positions][rank]: the last number belongs to the last dimension"),
    Field("positions", "of a picture"),
    Field("mode", "its place in `GRID_MODES`"),
    Field("padding", "its place in `GRID_PADDINGS`"),
    Field("align", "whether -1 and 1 are the middles of the outermost pixels; else their borders"),
)

# Of `roi_align_loop` and `max_roi_pool_loop`. Scratch memory of the first has two words for each row and each column of
# a picture and two more of both.
REGION_ARGUMENTS = ArgumentRow(
    *_ELEMENTS,
    Field("height", "of a picture"),
    Field("width", "of a picture"),
    Field("regions", "how many"),
    Field("rois", "of each region left, top, right, bottom"),
    Field("roi_pitch", "bytes from one region to the next"),
    Field("samples", "of each region the picture's number"),
    Field("sample_code", "its type"),
    Field("sample_pitch", "bytes from one to the next"),
    Field("rows", "bins from top to bottom"),
    Field("columns", "bins from left to right"),
    Field("scale", "a float64: corners times it are pixels"),
    Field("points", "in each direction of a bin; 0: as many as it has pixels"),
    Field("is_max", "whether the result is the largest of all products, not their mean"),
    Field("aligned", "whether pixels have their middles at halves"),
    Field("status", "for each part as `REGION_STATUS` has it"),
)
# What each part met.
REGION_STATUS = ArgumentRow(
    Field("least", "picture number"),
    Field("most", "picture number"),
    Field("region", "the first one that is too large or not finite; -1: none"),
    Field("roi", "its numbers, float64", words=4),
)
# Points in a direction of a bin.
MAX_COUNT = 1 << 12
# Corners of regions of whole pixels are clipped so that their differences are exact.
LARGEST_REGION = 1 << 40

# Of `deform_loop`: rows of columns for the product with the weights.
DEFORM_ARGUMENTS = ArgumentRow(
    *_ELEMENTS,
    Field("height", "of a picture"),
    Field("width", "of a picture"),
    Field("offsets", "[batch][offset groups][taps][2][rows][columns]: down and to the right"),
    Field("factors", "[batch][offset groups][taps][rows][columns]; 0: none"),
    Field("rows", "of results"),
    Field("columns", "of results"),
    Field("kernel_height", "taps from top to bottom"),
    Field("kernel_width", "taps from left to right"),
    Field("stride", "down and to the right", words=2),
    Field("dilate", "down and to the right", words=2),
    Field("pad", "at the top and at the left", words=2),
    Field("groups", "of channels: the target is [batch][rows][columns][groups][taps][channels of a group]"),
    Field("offset_groups", "of channels with offsets of their own"),
    Field("piece", "channels that are in one group of both kinds, next to each other"),
)
