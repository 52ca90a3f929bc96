"""Boxes by falling score, without those that overlap a better one."""

from __future__ import annotations

from minidnn_kernels.arguments import ArgumentRow, Field
from minidnn_kernels.order import SORT_WORDS

__all__ = ["BOX_ROWS_ARGUMENTS", "BOX_WORDS", "MATCH_ARGUMENTS", "SUPPRESSED_ARGUMENTS", "SUPPRESSION_ARGUMENTS"]

# Of scratch memory for each box: those of sorting, the sides, the area and the class.
BOX_WORDS = SORT_WORDS + 6

# Of `box_rows_loop`. Numbers are rounded to the elements' type as each is computed.
BOX_ROWS_ARGUMENTS = ArgumentRow(
    Field("source", "[batch][count][width]"),
    Field("target", "[batch][count][width]; rows behind the last box are -1"),
    Field("batch", "how many"),
    Field("count", "rows"),
    Field("width", "numbers of a row"),
    Field("code", "float32 or float64, by its place in `elements.ELEMENTS`"),
    Field("item", "bytes of an element"),
    Field("box", "the place of the first of four numbers in a row"),
    Field("score", "the place of the score"),
    Field("kind", "the place of the class; -1: there is none"),
    Field("background", "a class that is left out; negative: none"),
    Field("most", "boxes that are looked at, the best ones"),
    Field("all_kinds", "whether boxes of different classes exclude each other"),
    Field("source_center", "whether boxes are centers and sizes; else corners"),
    Field("target_center", "likewise, those that are written"),
    Field("overlap", "a float64: what a box has in common with a better one at most"),
    Field("valid", "a float64: scores are larger"),
    Field("closed", "whether scores may be equal to it, and overlaps of that size are too large"),
    Field("marks", "whether boxes that are left out stay in their places, with class -1"),
)

# Of `suppression_loop`, in float64. One pair is a sample and a class.
SUPPRESSION_ARGUMENTS = ArgumentRow(
    Field("boxes", "[samples][count][4]"),
    Field("box_code", "float32 or float64"),
    Field("box_item", "bytes"),
    Field("scores", "[samples][kinds][count]"),
    Field("score_code", "float32 or float64"),
    Field("score_item", "bytes"),
    Field("samples", "how many"),
    Field("kinds", "classes"),
    Field("count", "boxes of a sample"),
    Field("most", "boxes that are kept of a pair"),
    Field("center", "whether boxes are centers and sizes; else any two opposite corners"),
    Field("overlap", "a float64: what a box has in common with a better one at most"),
    Field("has_valid", "whether scores must be larger than the next argument"),
    Field("valid", "a float64"),
    Field("kept", "int64 [samples][kinds][most]: numbers of boxes"),
    Field("counts", "int64 [samples][kinds]: how many of them"),
)

# Of `suppressed_loop`, one part.
SUPPRESSED_ARGUMENTS = ArgumentRow(
    Field("kept", "int64 [samples][kinds][most]"),
    Field("counts", "int64 [samples][kinds]"),
    Field("samples", "how many"),
    Field("kinds", "classes"),
    Field("most", "room for boxes of a pair"),
    Field("rows", "int64 [samples * kinds * most][3]: sample, class and box; those behind the last one are 0"),
    Field("total", "int64: how many rows"),
)

# Of `match_loop`. Scratch memory is that of sorting all scores of a sample.
MATCH_ARGUMENTS = ArgumentRow(
    Field("scores", "[batch][rows][columns]"),
    Field("batch", "how many"),
    Field("rows", "how many"),
    Field("columns", "how many"),
    Field("code", "float32 or float64, of scores and results"),
    Field("item", "bytes of an element"),
    Field("ascending", "whether small scores are good ones"),
    Field("threshold", "a float64: good scores are beyond it"),
    Field("most", "pairs of a sample"),
    Field("by_row", "[batch][rows]: the column of each row; -1: none"),
    Field("by_column", "[batch][columns]: the row of each column; -1: none"),
)
