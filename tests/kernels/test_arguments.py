"""Argument rows: what is declared is what is filled and read; limits are those of the loops' stack memory."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator

import numpy as np
import pytest

from minidnn.runtime.loops import LOOPS
from minidnn_kernels import arguments, depthwise, elementwise, matmul, pooling, winograd
from minidnn_kernels.arguments import WORD_BYTES, ArgumentRow, Field
from minidnn_kernels.isa import ISAS
from minidnn_kernels.numba_loops import loop_ir
from minidnn_kernels.store import CONTEXT
from minidnn_kernels.winograd import F2X3_INT, F4X3, F4X3_INT

_ROW = ArgumentRow(
    Field("first", "a word"),
    Field("middle", "three words", words=3),
    Field("last", "a word"),
    Field("rest", "as many as there are", words=None),
    Field("behind", "as many as there are", words=None),
)


def _declared() -> Iterator[tuple[str, ArgumentRow]]:
    """Every row that a module of the kernels declares."""
    modules = [
        "matmul",
        "depthwise",
        "elementwise",
        "extrema",
        "copy",
        "pooling",
        "rows",
        "winograd",
        "transposed",
        "store",
    ]
    for name in modules:
        module = importlib.import_module(f"minidnn_kernels.{name}")
        for key, value in vars(module).items():
            if isinstance(value, ArgumentRow) and key in module.__all__:
                yield f"{name}.{key}", value


def test_offsets_follow_from_the_order_of_the_fields() -> None:
    assert _ROW.offsets == (0, 8, 32, 40)
    assert _ROW.offsets.last == 4 * WORD_BYTES
    assert [_ROW.position(name) for name in ("first", "middle", "last", "rest")] == [0, 1, 4, 5]
    assert _ROW.words == 5
    assert not hasattr(_ROW.offsets, "behind"), "nobody knows where it begins"


def test_a_row_is_filled_by_name() -> None:
    row = _ROW.fill(behind=[9], rest=[7, 8], last=6, middle=(2, 3, 4), first=1)
    assert row == [1, 2, 3, 4, 6, 7, 8, 9]
    assert _ROW.fill(first=1, middle=[2, 3, 4], last=6, rest=[], behind=[]) == [1, 2, 3, 4, 6]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"first": 1, "last": 2, "rest": []}, r"missing \['middle'\]"),
        ({"first": 1, "middle": [1, 2, 3], "last": 2, "rest": [], "more": 1}, r"unknown \['more'\]"),
        ({"first": 1, "middel": [1, 2, 3], "last": 2, "rest": []}, r"missing \['middle'\], unknown \['middel'\]"),
        ({"first": 1, "middle": [1, 2], "last": 2, "rest": []}, "'middle' has 3 words"),
        ({"first": 1, "middle": 1, "last": 2, "rest": []}, "'middle' has 3 words"),
        ({"first": [1], "middle": [1, 2, 3], "last": 2, "rest": []}, "'first' has one word"),
        ({"first": 1, "middle": [1, 2, 3], "last": 2, "rest": 5}, "'rest' has a list of words"),
    ],
)
def test_what_does_not_fit_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        _ROW.fill(behind=[], **values)


def test_a_declaration_is_checked() -> None:
    with pytest.raises(ValueError, match="declared twice"):
        ArgumentRow(Field("a", ""), Field("a", ""))


def test_every_argument_is_documented() -> None:
    rows = dict(_declared())
    assert len(rows) >= 9
    for name, row in rows.items():
        assert all(field.meaning for field in row.fields), name


def _stack_words(loop: str) -> list[int]:
    """The sizes of the arrays on a loop's stack, in words, as they are compiled."""
    function = getattr(importlib.import_module(LOOPS[loop]), loop)
    return sorted(int(count) for count in re.findall(r"alloca \[(\d+) x i64\]", loop_ir(function, loop)))


@pytest.mark.parametrize(
    ("loop", "words"),
    [
        ("matmul_loop", [matmul.MAX_POINTERS]),
        ("transposed_loop", [matmul.MAX_POINTERS]),
        ("depthwise_loop", [depthwise.MAX_POINTERS]),
        ("pool_loop", [pooling.MAX_TAPS]),
        ("elementwise_loop", [1 + elementwise.MAX_OPERANDS]),
        ("winograd_loop", [CONTEXT.words, winograd.MAX_POINTERS]),
    ],
)
def test_a_limit_is_what_the_stack_has_room_for(loop: str, words: list[int]) -> None:
    assert _stack_words(loop) == sorted(words)


def test_winograd_needs_no_more_pointers_than_there_is_room_for() -> None:
    assert max(scheme.products for scheme in (F4X3, F4X3_INT, F2X3_INT)) <= winograd.MAX_POINTERS
    assert max(isa.max_rows for isa in ISAS) <= winograd.MAX_POINTERS


def test_a_word_is_an_int64() -> None:
    assert np.dtype(np.int64).itemsize == arguments.WORD_BYTES
