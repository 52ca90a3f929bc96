"""Symbolic sizes: arithmetic in normal form, decisions as guards, texts of files."""

from __future__ import annotations

import copy
import math
import numbers
import operator
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidnn.sizes import (
    Decisions,
    Number,
    Size,
    bind,
    by_example,
    example_of,
    has_sizes,
    is_same,
    parse_sizes,
    slice_indices,
    slice_length,
    symbols_of,
)

EXAMPLES = {"N": 3, "M": 4, "H": 10}


def sizes() -> tuple[Decisions, dict[str, Size]]:
    decisions = Decisions()
    return decisions, {name: decisions.symbol(name, number) for name, number in EXAMPLES.items()}


# ---- arithmetic -----------------------------------------------------------------------------------


def expressions() -> st.SearchStrategy[str]:
    leaves = st.sampled_from([*EXAMPLES, "1", "2", "3"])

    def grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        sums = st.tuples(inner, st.sampled_from("+-*"), inner)
        quotients = st.tuples(
            inner, st.sampled_from(["//", "%"]), st.sampled_from(["1", "2", "3", "4", "N", "(M + 1)"])
        )
        return st.one_of(sums, quotients).map(lambda parts: f"({' '.join(parts)})")

    return st.recursive(leaves, grown, max_leaves=8)


@settings(max_examples=400)
@given(text=expressions(), n=st.integers(1, 9), m=st.integers(0, 9), h=st.integers(0, 300))
def test_arithmetic_is_that_of_ints_whatever_the_numbers(text: str, n: int, m: int, h: int) -> None:
    _, symbols = sizes()
    values = {"N": n, "M": m, "H": h}
    size = by_example(eval, text, dict(symbols))
    assert example_of(size) == eval(text, dict(EXAMPLES))  # noqa: S307
    assert bind(size, values) == eval(text, dict(values))  # noqa: S307
    # What is written is read again as the same.
    assert is_same(parse_sizes(repr(size), symbols), size)


def test_equal_sizes_have_one_form() -> None:
    _, s = sizes()
    n, m, h = s["N"], s["M"], s["H"]
    assert 2 * n // 2 is not None and is_same(2 * n // 2, n)
    assert is_same((n + 1) * (n - 1), n * n - 1)
    assert is_same(n * m // n, m)
    assert is_same((h + 2 - 3) // 2 + 1, (h - 1) // 2 + 1)
    assert is_same(((h - 1) // 2 + 1 - 1) // 2 + 1, (h + 3) // 4)
    assert n - n == 0 and type(n - n) is int
    assert (4 * n + 2) % 2 == 0


@pytest.mark.parametrize("scalar", [np.int64(4), np.int32(4), np.uint8(4), 4])
@pytest.mark.parametrize("sign", [operator.add, operator.sub, operator.mul, operator.floordiv, operator.mod])
def test_numpys_integers_keep_a_size(scalar: Any, sign: Callable[[Any, Any], Any]) -> None:
    decisions, s = sizes()
    for left, right in ((s["H"], scalar), (scalar, s["H"])):
        result = sign(left, right)
        assert has_sizes(result)
        a, b = (int(x) if not isinstance(x, Size) else 17 for x in (left, right))
        assert bind(result, {"N": 0, "M": 0, "H": 17}) == sign(a, b)
    assert not decisions.guards


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda n: n / 2, 2.5),
        (lambda n: 1 / n, 0.2),
        (lambda n: n**-0.5, 5**-0.5),
        (lambda n: 2**n / 3, 32 / 3),
        (lambda n: (n / 2 + 1) * 3 - n, 5.5),
        (lambda n: n * 0.5, 2.5),
        (lambda n: np.float32(2) / n, 0.4),
        (lambda n: math.floor(n / 2), 2),
        (lambda n: math.ceil(n / 2), 3),
    ],
)
def test_real_numbers_depend_on_sizes(make: Callable[[Any], Any], expected: float) -> None:
    decisions, s = sizes()
    number = make(s["N"])
    assert has_sizes(number)
    assert bind(number, {"N": 5}) == pytest.approx(expected)
    assert not decisions.guards


def test_it_is_an_integer_to_python() -> None:
    _, s = sizes()
    assert isinstance(s["N"], numbers.Integral)
    assert not isinstance(s["N"], int)
    assert isinstance(s["N"] / 2, Number)
    for again in (copy.copy(s["N"]), copy.deepcopy(s["N"]), pickle.loads(pickle.dumps(s["N"]))):  # noqa: S301
        assert is_same(again, s["N"])
    assert symbols_of((1, s["N"] * 2, (s["M"] / 2,))) == {"N", "M"}


# ---- decisions ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("use", "guard"),
    [
        (lambda n: n == 3, "N == 3"),
        (lambda n: n != 4, "N != 4"),
        (lambda n: n > 2, "N > 2"),
        (lambda n: n <= 7, "N <= 7"),
        (lambda n: max(n, 2), "N >= 2"),
        (lambda n: "odd" if n % 2 else "even", "N % 2 != 0"),
        (lambda n: list(range(n)), "N == 3"),
        (lambda n: [0] * n, "N == 3"),
        (lambda n: "abcdef"[:n], "N == 3"),
        (lambda n: np.zeros((n, 2)), "N == 3"),
        (lambda n: np.arange(n), "N == 3"),
        (lambda n: np.sqrt(n), "N == 3"),
        (lambda n: np.ones(2) * n, "N == 3"),
        (lambda n: math.sqrt(n), "N == 3"),
        (lambda n: {n: 1}, "N == 3"),
        (lambda n: int(n), "N == 3"),
        (lambda n: f"{n:d}", "N == 3"),
        (lambda n: n & 1, "N == 3"),
        (lambda n: int(n / 2), "N == 3"),
        (lambda n: n / 2 < 2, "N == 3"),
    ],
)
def test_what_python_decides_by_a_size_is_a_guard(use: Callable[[Any], Any], guard: str) -> None:
    decisions, s = sizes()
    expected = use(3)
    result = use(s["N"])
    np.testing.assert_array_equal(example_of(result) if has_sizes(result) else result, expected)
    assert guard in {str(g).split(" (")[0] for g in decisions.guards}
    assert all(__file__ in g.line for g in decisions.guards)
    assert all(g.holds({"N": 3}) for g in decisions.guards)
    assert not all(g.holds({"N": n}) for n in (0, 4, 8) for g in decisions.guards)


@pytest.mark.parametrize(
    "use",
    [
        lambda n: (n >= 0, n + 1 > 0, n == n, n * 2 == n + n, n != n + 1),
        lambda n: (f"{n}", str(n), repr(n * 2)),
        lambda n: math.prod((n, 3)),
        lambda n: -(-n // 2),
    ],
)
def test_what_holds_for_every_size_is_none(use: Callable[[Any], Any]) -> None:
    decisions, s = sizes()
    use(s["N"])
    assert not decisions.guards


def test_nothing_is_decided_by_example_or_afterwards() -> None:
    decisions, s = sizes()
    assert by_example(lambda: s["N"] == 3)
    decisions.is_open = False
    assert s["N"] != 3, "with no trace, sizes are what they are for every input"
    assert s["N"] == s["N"]
    assert not decisions.guards


def test_division_by_a_size_of_zero_is_pythons_error() -> None:
    with pytest.raises(ZeroDivisionError, match="N"):
        5 // Decisions().symbol("N", 0)


# ---- slices ---------------------------------------------------------------------------------------


@settings(max_examples=300)
@given(
    start=st.none() | st.integers(-12, 12),
    stop=st.none() | st.integers(-12, 12),
    step=st.none() | st.integers(-3, 3).filter(bool),
    n=st.integers(0, 11),
)
def test_slices_of_a_size_are_those_of_its_number(start: Any, stop: Any, step: Any, n: int) -> None:
    size, part = Size.symbol("N", n), slice(start, stop, step)
    assert example_of(slice_length(part, size)) == len(range(*part.indices(n)))
    assert example_of(tuple(slice_indices(part, size))) == part.indices(n)


# ---- texts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os')",
        "N.example",
        "(lambda: 1)()",
        "N ** 10 ** 10",
        "2 ** 99999999",
        "[N for N in 'x']",
        "M",
        "'N'",
        "N // 0",
        "-" * 3000 + "N",
        "N + " * 4000 + "N",
        "N if N else 1",
        "",
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_sizes(text, {"N": Size.symbol("N", 3)})
