"""`Size`: an integer that depends on the sizes of a network's inputs, and who may decide by it."""

from __future__ import annotations

import numbers
import operator
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from minidnn.sizes.real import SIGNS, Number, example
from minidnn.sizes.terms import (
    RELATIONS,
    Atom,
    Terms,
    constant_of,
    floor_divided,
    holds_always,
    minus,
    negated,
    plus,
    remainder,
    text_of,
    times,
)

__all__ = ["RELATIONS", "Condition", "Size", "by_example", "by_example_noting"]

Result = TypeVar("Result")
# Left, relation, right, outcome: see `minidnn.sizes.decisions.Guard`.
Condition = tuple[Any, str, Any, bool]

# More terms than any shape needs: a bound on the work that a loop in user code can make of one size.
MAX_TERMS = 64
MAX_EXPONENT = 8


class _State(threading.local):
    """Whether sizes are decided by their examples in this thread; see `minidnn.scope`."""

    by_example = False
    conditions: list[Condition] | None = None


_state = _State()


def by_example(function: Callable[..., Result], *args: Any) -> Result:
    """``function(*args)``, in which what is asked of sizes is answered by their examples and written down nowhere."""
    before = _state.by_example
    try:
        _state.by_example = True
        return function(*args)
    finally:
        _state.by_example = before


def by_example_noting(function: Callable[..., Result], *args: Any) -> tuple[Result, Sequence[Condition]]:
    """`by_example`, and what was decided: for sizes for which all of it holds, the function decides the same again."""
    before = _state.conditions
    noted: list[Condition] = []
    try:
        _state.conditions = noted
        return by_example(function, *args), noted
    finally:
        _state.conditions = before


def _made(terms: Terms, example: int, decisions: Any) -> Any:
    """The size; an int where it is one."""
    constant = constant_of(terms)
    if constant is not None:
        return constant
    if len(terms) > MAX_TERMS:
        return Size(terms, example, decisions).__index__()
    return Size(terms, example, decisions)


class Size:
    """An integer that depends on the sizes of a network's inputs.

    Arithmetic gives other sizes, or an int where it does not depend on them after all. See the module.
    """

    __slots__ = ("decisions", "example", "terms")
    # NumPy's scalars leave arithmetic to this class, its arrays do not.
    __array_priority__ = -1.0

    terms: Terms
    example: int

    def __init__(self, terms: Terms, example: int, decisions: Any = None) -> None:
        self.terms, self.example, self.decisions = terms, example, decisions

    @staticmethod
    def symbol(name: str, example: int, decisions: Any = None) -> Size:
        """A size by its name; without decisions it belongs to no trace."""
        return Size((((Atom("symbol", name),), 1),), example, decisions)

    @property
    def name(self) -> str | None:
        """Of a symbol; None of everything else."""
        atoms = self.terms[0][0] if len(self.terms) == 1 and self.terms[0][1] == 1 else ()
        return atoms[0].name if len(atoms) == 1 and atoms[0].kind == "symbol" else None

    @property
    def structure(self) -> Terms:
        """What tells it apart whatever the sizes are."""
        return self.terms

    def is_identical(self, other: Any) -> bool:
        """Whether the other is this size, of the same trace and with the same example: whether either can stand for
        both."""
        return self is other or (
            isinstance(other, Size)
            and self.terms == other.terms
            and self.example == other.example
            and self.decisions is other.decisions
        )

    # ---- arithmetic

    def _operand(self, other: Any) -> tuple[Terms, int] | None:
        if isinstance(other, Size):
            return other.terms, other.example
        if isinstance(other, (int, np.integer)):
            return (((), int(other)),) if other else (), int(other)
        return None

    def _combined(self, other: Any, terms: Callable[[Terms, Terms], Terms], number: Any, flipped: bool) -> Any:
        operand = self._operand(other)
        if operand is None:
            sign = SIGNS.get(number)
            left, right = (other, self) if flipped else (self, other)
            return NotImplemented if sign is None else Number.of(sign, left, right)
        pair = [(self.terms, self.example), operand]
        (left, a), (right, b) = reversed(pair) if flipped else pair
        return _made(terms(left, right), number(a, b), self.decisions or getattr(other, "decisions", None))

    def __add__(self, other: Any) -> Any:
        return self._combined(other, plus, operator.add, False)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        return self._combined(other, minus, operator.sub, False)

    def __rsub__(self, other: Any) -> Any:
        return self._combined(other, minus, operator.sub, True)

    def __mul__(self, other: Any) -> Any:
        if isinstance(other, (list, tuple, str, bytes)):
            return other * self.__index__()
        return self._combined(other, times, operator.mul, False)

    __rmul__ = __mul__

    def __neg__(self) -> Any:
        return _made(negated(self.terms), -self.example, self.decisions)

    def __pos__(self) -> Any:
        return self

    def __abs__(self) -> Any:
        return -self if self < 0 else self

    def _want_divisor(self, other: Any) -> None:
        if example(other) == 0:
            raise ZeroDivisionError(f"{self} is divided by {other}, which is 0")
        if isinstance(other, Size) and _state.by_example:
            other._compare(0, "==")

    def __floordiv__(self, other: Any) -> Any:
        self._want_divisor(other)
        return self._combined(other, floor_divided, operator.floordiv, False)

    def __rfloordiv__(self, other: Any) -> Any:
        self._want_divisor(self)
        return self._combined(other, floor_divided, operator.floordiv, True)

    def __mod__(self, other: Any) -> Any:
        self._want_divisor(other)
        return self._combined(other, remainder, operator.mod, False)

    def __rmod__(self, other: Any) -> Any:
        if isinstance(other, str):
            return NotImplemented
        self._want_divisor(self)
        return self._combined(other, remainder, operator.mod, True)

    def __divmod__(self, other: Any) -> Any:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> Any:
        return other // self, other % self

    def __pow__(self, other: Any, modulo: Any = None) -> Any:
        if modulo is not None:
            return pow(self.__index__(), other, modulo)
        if isinstance(other, (int, np.integer)) and 0 <= other <= MAX_EXPONENT:
            result: Any = 1
            for _ in range(int(other)):
                result = result * self
            return result
        return Number.of("**", self, other)

    def __rpow__(self, other: Any, modulo: Any = None) -> Any:
        return Number.of("**", other, self)

    def __truediv__(self, other: Any) -> Any:
        return Number.of("/", self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return Number.of("/", other, self)

    def __lshift__(self, other: Any) -> Any:
        return self * (1 << int(other))

    def __rshift__(self, other: Any) -> Any:
        return self // (1 << int(other))

    def __round__(self, digits: int | None = None) -> Any:
        return self if digits is None or digits >= 0 else round(self.__index__(), digits)

    def __floor__(self) -> Any:
        return self

    __ceil__ = __trunc__ = __floor__

    # ---- decisions

    def _compare(self, other: Any, relation: str) -> bool:
        """``self relation other``, for == and < and <=."""
        holds = RELATIONS[relation]
        other = other.item() if isinstance(other, np.number) else other
        operand = self._operand(other)
        always = None if operand is None else holds_always(self.terms, relation, operand[0])
        return self._decide(other, relation, bool(holds(self.example, example(other)))) if always is None else always

    def _decide(self, other: Any, relation: str, outcome: bool) -> bool:
        decisions = self.decisions or getattr(other, "decisions", None)
        if _state.by_example:
            if _state.conditions is not None:
                _state.conditions.append((self, relation, other, outcome))
            return outcome
        if decisions is not None and decisions.is_open and decisions.owner == threading.get_ident():
            decisions.note(self, relation, other, outcome)
            return outcome
        return outcome and relation != "=="

    def __eq__(self, other: object) -> Any:
        if not isinstance(other, (Size, Number, int, float, np.number)):
            return NotImplemented
        return self._compare(other, "==")

    def __ne__(self, other: object) -> Any:
        equal = self.__eq__(other)
        return equal if equal is NotImplemented else not equal

    def __lt__(self, other: Any) -> bool:
        return self._compare(other, "<")

    def __le__(self, other: Any) -> bool:
        return self._compare(other, "<=")

    def __gt__(self, other: Any) -> bool:
        return not self._compare(other, "<=")

    def __ge__(self, other: Any) -> bool:
        return not self._compare(other, "<")

    def __bool__(self) -> bool:
        return not self._compare(0, "==")

    def __index__(self) -> int:
        self._decide(self.example, "==", True)
        return self.example

    __int__ = __index__

    def __float__(self) -> float:
        return float(self.__index__())

    def __complex__(self) -> complex:
        return complex(self.__index__())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        return np.asarray(self.__index__(), dtype)

    def __hash__(self) -> int:
        decisions = self.decisions
        if _state.by_example or (decisions is not None and decisions.is_open):
            return hash(self.__index__())
        return hash(self.terms)

    # ---- as an integer of Python's

    @property
    def numerator(self) -> Any:
        return self

    @property
    def denominator(self) -> int:
        return 1

    @property
    def real(self) -> Any:
        return self

    @property
    def imag(self) -> int:
        return 0

    def conjugate(self) -> Any:
        return self

    def bit_length(self) -> int:
        return self.__index__().bit_length()

    def __and__(self, other: Any) -> int:
        return self.__index__() & int(other)

    def __or__(self, other: Any) -> int:
        return self.__index__() | int(other)

    def __xor__(self, other: Any) -> int:
        return self.__index__() ^ int(other)

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__

    def __invert__(self) -> Any:
        return -self - 1

    def __rlshift__(self, other: Any) -> int:
        return int(other) << self.__index__()

    def __rrshift__(self, other: Any) -> int:
        return int(other) >> self.__index__()

    def __repr__(self) -> str:
        return text_of(self.terms)

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec) if not spec or spec[-1] in "s<>^" else format(self.__index__(), spec)

    def __reduce__(self) -> tuple[Any, ...]:
        return Size, (self.terms, self.example)

    def __copy__(self) -> Size:
        return self

    def __deepcopy__(self, memo: Any) -> Size:
        return self


numbers.Integral.register(Size)
