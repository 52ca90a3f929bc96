"""Along one axis of elements of any type: sorting, searching, running sums and products, ones at given places."""

from __future__ import annotations

from minidnn_kernels.arguments import ArgumentRow, Field

__all__ = ["CUMULATE_ARGUMENTS", "ONE_HOT_ARGUMENTS", "SEARCH_ARGUMENTS", "SORT_ARGUMENTS", "SORT_WORDS"]

# Of `sort_loop`. Scratch memory has `SORT_WORDS` for each element of a row.
SORT_ARGUMENTS = ArgumentRow(
    Field("source", "[rows][count]"),
    Field("rows", "how many"),
    Field("count", "elements of a row"),
    Field("code", "the type, by its place in `elements.ELEMENTS`"),
    Field("item", "bytes of an element"),
    Field("kept", "the first so many of each row are written"),
    Field("descending", "whether the largest come first; equals stay in their order"),
    Field("values", "[rows][kept], of the source's type; 0: not wanted"),
    Field("places", "[rows][kept]; 0: not wanted"),
    Field("place_code", "the type of places"),
    Field("place_item", "bytes of a place"),
)
# Keys and places, twice: each round merges from one into the other.
SORT_WORDS = 4

# Of `search_loop`.
SEARCH_ARGUMENTS = ArgumentRow(
    Field("sorted", "[count]: what is searched in, the smallest first"),
    Field("count", "how many"),
    Field("values", "[total]: what is searched for"),
    Field("total", "how many"),
    Field("code", "the type of both"),
    Field("item", "bytes of an element"),
    Field("right", "whether places are behind equal elements; else in front of them"),
    Field("target", "int64 [total]: how many elements lie in front"),
)

# Of `cumulate_loop`.
CUMULATE_ARGUMENTS = ArgumentRow(
    Field("source", "[outer][count][inner]"),
    Field("target", "[outer][count][inner]"),
    Field("outer", "how many"),
    Field("count", "elements along the axis"),
    Field("inner", "how many"),
    Field("code", "the source's type"),
    Field("item", "bytes of an element of the source"),
    Field("target_code", "the target's type"),
    Field("target_item", "bytes of an element of the target"),
    Field("is_product", "1 for products, 0 for sums"),
    Field("is_single", "whether each result is rounded to float32 before the next one"),
)

# Of `one_hot_loop`.
ONE_HOT_ARGUMENTS = ArgumentRow(
    Field("places", "[rows]"),
    Field("code", "their type"),
    Field("place_item", "bytes of a place"),
    Field("target", "[rows][depth]"),
    Field("rows", "how many"),
    Field("depth", "elements of a row"),
    Field("item", "bytes of an element"),
    Field("numbers", "two elements: off and on"),
)
