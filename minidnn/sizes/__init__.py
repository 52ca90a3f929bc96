"""Symbolic sizes: dimensions of arrays while a network is traced for inputs of any size.

A `Size` is a polynomial with integer coefficients over atoms: symbols (the dimensions of the inputs), and quotients and
remainders of other sizes. It is kept in a normal form, so that ``2 * n // 2`` and ``n`` are the same. It also has an
example, the number that it is in the call that is traced.

It is no subclass of `int`: C code that takes an int (`range`, ``[0] * n``, slices, NumPy) reads the number of a
subclass where nobody sees it, and the number would be fixed in silence. A class with ``__index__`` is asked each time.
While user code is traced, being asked is a decision, which `Decisions` writes down as a guard: the graph holds for
those sizes for which everything that was decided would be decided so again. Elsewhere it depends on who asks:

- inference and checks of operators (`by_example`) decide by the example. What they come to is checked when sizes are
  known, by doing it again with numbers.
- passes, which look at a graph when it has been traced, take two sizes for the same only if their normal forms are.
"""

from minidnn.sizes.decisions import Decisions, Guard
from minidnn.sizes.real import Number
from minidnn.sizes.size import RELATIONS, Condition, Size, by_example, by_example_noting
from minidnn.sizes.text import SizedText, parse_sizes
from minidnn.sizes.values import (
    as_index,
    bind,
    example_of,
    has_sizes,
    is_same,
    slice_indices,
    slice_length,
    structure_of,
    symbols_of,
)

__all__ = [
    "RELATIONS",
    "Condition",
    "Decisions",
    "Guard",
    "Number",
    "Size",
    "SizedText",
    "as_index",
    "bind",
    "by_example",
    "by_example_noting",
    "example_of",
    "has_sizes",
    "is_same",
    "parse_sizes",
    "slice_indices",
    "slice_length",
    "structure_of",
    "symbols_of",
]
