"""Elements that are found or placed by indices: gathers and scatters of rows, and the offsets that they follow.

A row of the target is a run of bytes that lies together in the source too. Where it lies there is a sum: a stride for
each dimension, and offsets out of tables, which are constants, or computed by `offsets_loop` from indices that a
network computes. That loop keeps every offset inside the source, and notes which indices it met.
"""

from __future__ import annotations

from minidnn_kernels.arguments import ArgumentRow, Field

__all__ = [
    "CHECK",
    "CLIP",
    "GATHER_ARGUMENTS",
    "INDICES",
    "MAX_DIMENSIONS",
    "MAX_TABLES",
    "OFFSETS_ARGUMENTS",
    "REDUCTIONS",
    "SCATTER_ARGUMENTS",
    "STATUS_WORDS",
    "TABLE",
    "WRAP",
]

MAX_DIMENSIONS = 6
MAX_TABLES = 6

# Of `gather_loop`.
GATHER_ARGUMENTS = ArgumentRow(
    Field("source", "its first element"),
    Field("target", "its first element, contiguous"),
    Field("run", "bytes of a row"),
    Field("shape", "extents, the outermost first", words=MAX_DIMENSIONS),
    Field("strides", "bytes, in the source", words=MAX_DIMENSIONS),
    Field("tables", "how many"),
    Field("table", "for each, as `TABLE` has it", words=None),
)
TABLE = ArgumentRow(
    Field("address", "int64: offsets into the source, in bytes"),
    Field("strides", "bytes, in the table", words=MAX_DIMENSIONS),
)

# What is done with indices outside of an axis: taken for the nearest one inside, counted round and round, or, if they
# are no negative ones that count from the end, an error.
CLIP, WRAP, CHECK = range(3)

# Of `offsets_loop`.
OFFSETS_ARGUMENTS = ArgumentRow(
    Field("target", "int64 [count]: offsets in bytes"),
    Field("count", "how many"),
    Field("status", "`STATUS_WORDS` for each part and each array of indices"),
    Field("arrays", "how many arrays of indices"),
    Field("indices", "for each, as `INDICES` has it", words=None),
)
INDICES = ArgumentRow(
    Field("address", "[count]"),
    Field("code", "the type, by its place in `elements.ELEMENTS`"),
    Field("size", "of the axis"),
    Field("stride", "bytes, along the axis"),
    Field("mode", "`CLIP`, `WRAP` or `CHECK`"),
    Field("floors", "whether floats are rounded down; else they are cut off"),
)
# The least and the greatest index.
STATUS_WORDS = 2

# How updates are combined with what is there, by their places.
REDUCTIONS = ("none", "add", "mul", "max", "min")

# Of `scatter_loop`. Each part writes to its own share of the target.
SCATTER_ARGUMENTS = ArgumentRow(
    Field("target", "its first element"),
    Field("size", "bytes of the target"),
    Field("updates", "its first element, contiguous"),
    Field("offsets", "int64 [rows]: where rows begin, in bytes"),
    Field("rows", "of the updates"),
    Field("run", "elements of a row"),
    Field("item", "bytes of an element"),
    Field("code", "the type, by its place in `elements.ELEMENTS`"),
    Field("reduction", "its place in `REDUCTIONS`"),
)
