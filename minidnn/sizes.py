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

from __future__ import annotations

import ast
import math
import numbers
import operator
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from minidnn.user_code import user_line

__all__ = [
    "RELATIONS",
    "Decisions",
    "Guard",
    "Number",
    "Size",
    "SizedText",
    "as_index",
    "bind",
    "by_example",
    "example_of",
    "has_sizes",
    "is_same",
    "parse_sizes",
    "slice_indices",
    "slice_length",
    "structure_of",
    "symbols_of",
]

Result = TypeVar("Result")

# A product of atoms, in order of their texts; and how often it is taken.
_Monomial = tuple["_Atom", ...]
_Terms = tuple[tuple[_Monomial, int], ...]

# More terms than any shape needs: a bound on the work that a loop in user code can make of one size.
_MAX_TERMS = 64
_MAX_EXPONENT = 8


class _Atom:
    """Something with a number that is not a sum or a product. Two are equal if their texts are.

    Args:
        kind: ``symbol``, ``//`` or ``%``.
        name: of a symbol.
        left, right: the operands of the others.
    """

    __slots__ = ("kind", "left", "name", "right", "text")

    def __init__(self, kind: str, name: str = "", left: _Terms = (), right: _Terms = ()) -> None:
        self.kind, self.name, self.left, self.right = kind, name, left, right
        self.text = name if kind == "symbol" else f"{_in_brackets(left)} {kind} {_in_brackets(right)}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Atom) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __reduce__(self) -> tuple[Any, ...]:
        return _Atom, (self.kind, self.name, self.left, self.right)

    def value(self, values: Mapping[str, Any]) -> Any:
        if self.kind == "symbol":
            return values[self.name]
        left, right = _value(self.left, values), _value(self.right, values)
        return left // right if self.kind == "//" else left % right


def _in_brackets(terms: _Terms) -> str:
    text = _text(terms)
    return text if text.replace("_", "").isalnum() else f"({text})"


def _text(terms: _Terms) -> str:
    shown = []
    for monomial, count in sorted(terms, key=lambda term: (not term[0], -term[1] if term[0] else 0)):
        atoms = [a.text if a.kind == "symbol" else f"({a.text})" for a in monomial]
        number = [str(abs(count))] if abs(count) != 1 or not atoms else []
        if len(terms) == 1 and not number and len(atoms) == 1 and count > 0:
            return monomial[0].text
        product = "*".join([*number, *atoms])
        shown.append((" - " if count < 0 else " + ") + product)
    text = "".join(shown)
    return ("-" if text.startswith(" - ") else "") + text[3:] if text else "0"


def _value(terms: _Terms, values: Mapping[str, Any]) -> Any:
    total: Any = 0
    for monomial, count in terms:
        product: Any = count
        for atom in monomial:
            product = product * atom.value(values)
        total = total + product
    return total


def _low(terms: _Terms) -> int | None:
    """A number that the sum is never below; None if none is known. Symbols are sizes, so never negative."""
    low = 0
    for monomial, count in terms:
        if not monomial:
            low += count
        elif count < 0 or not all(a.kind == "symbol" or _is_nonnegative(a) for a in monomial):
            return None
    return low


def _is_nonnegative(atom: _Atom) -> bool:
    left, right = _low(atom.left), _low(atom.right)
    return right is not None and right > 0 and (atom.kind == "%" or (left is not None and left >= 0))


def _negated(terms: _Terms) -> _Terms:
    return tuple((monomial, -count) for monomial, count in terms)


def _normal(terms: Iterable[tuple[_Monomial, int]]) -> _Terms:
    sums: dict[_Monomial, int] = {}
    for monomial, count in terms:
        sums[monomial] = sums.get(monomial, 0) + count
    ordered = sorted(sums.items(), key=lambda term: [a.text for a in term[0]])
    return tuple((monomial, count) for monomial, count in ordered if count)


def _constant(terms: _Terms) -> int | None:
    if not terms:
        return 0
    return terms[0][1] if len(terms) == 1 and not terms[0][0] else None


def _times(left: _Terms, right: _Terms) -> _Terms:
    return _normal((tuple(sorted((*a, *b), key=lambda atom: atom.text)), m * n) for a, m in left for b, n in right)


def _floor_divided(left: _Terms, right: _Terms) -> _Terms:
    exact = _divided(left, right)
    if exact is not None:
        return exact
    divisor = _constant(right)
    if divisor is None or divisor < 0:
        return (((_Atom("//", left=left, right=right),), 1),)
    # floor((d A + B) / d) = A + floor(B / d)
    whole = [(monomial, count // divisor) for monomial, count in left if not monomial or count % divisor == 0]
    rest = _normal(
        (monomial, count % divisor if not monomial else count)
        for monomial, count in left
        if not monomial or count % divisor
    )
    nested = [term for term in rest if term[0]]
    if len(nested) == 1 and nested[0][1] == 1 and len(nested[0][0]) == 1 and nested[0][0][0].kind == "//":
        # floor((floor(A / b) + c) / d) = floor((A + b c) / (b d))
        inner = nested[0][0][0]
        by = _constant(inner.right)
        if by is not None and by > 0:
            shift = by * sum(count for monomial, count in rest if not monomial)
            numerator = _normal([*inner.left, ((), shift)])
            return _normal([*whole, *_floor_divided(numerator, (((), by * divisor),))])
    if not rest:
        return _normal(whole)
    constant = _constant(rest)
    if constant is not None:
        return _normal([*whole, ((), constant // divisor)])
    return _normal([*whole, ((_Atom("//", left=rest, right=right),), 1)])


def _divided(left: _Terms, right: _Terms) -> _Terms | None:
    """The quotient by a single product, where every term has it as a factor."""
    if len(right) != 1:
        return None if left != right else (((), 1),)
    monomial, count = right[0]
    result = []
    for term, number in left:
        rest = list(term)
        for atom in monomial:
            if atom not in rest:
                return None
            rest.remove(atom)
        if number % count:
            return None
        result.append((tuple(rest), number // count))
    return _normal(result)


def _remainder(left: _Terms, right: _Terms) -> _Terms:
    if _divided(left, right) is not None:
        return ()
    divisor = _constant(right)
    if divisor is None or divisor < 0:
        return (((_Atom("%", left=left, right=right),), 1),)
    rest = _normal((monomial, count % divisor) for monomial, count in left)
    constant = _constant(rest)
    return (
        _normal([((), constant % divisor)]) if constant is not None else (((_Atom("%", left=rest, right=right),), 1),)
    )


def symbols_of(value: Any) -> frozenset[str]:
    """Names of the symbols in a size, a number, or a nested tuple of them and other things."""
    if isinstance(value, Size):
        return _symbols(value.terms)
    if isinstance(value, Number):
        return frozenset[str]().union(*map(symbols_of, value.operands))
    if isinstance(value, (tuple, list)):
        return frozenset[str]().union(*map(symbols_of, value))
    return frozenset()


def _symbols(terms: _Terms) -> frozenset[str]:
    found: set[str] = set()
    for monomial, _ in terms:
        for atom in monomial:
            found |= {atom.name} if atom.kind == "symbol" else _symbols(atom.left) | _symbols(atom.right)
    return frozenset(found)


# ---- who asks ----------------------------------------------------------------------------------------


class _State(threading.local):
    """Whether sizes are decided by their examples in this thread; see `minidnn.scope`."""

    by_example = False


_state = _State()


def by_example(function: Callable[..., Result], *args: Any) -> Result:
    """``function(*args)``, in which what is asked of sizes is answered by their examples and written down nowhere."""
    before = _state.by_example
    try:
        _state.by_example = True
        return function(*args)
    finally:
        _state.by_example = before


@dataclass(frozen=True)
class Guard:
    """A decision on sizes: ``left relation right`` came out as `outcome`.

    Args:
        left, right: sizes, numbers or ints.
        relation: ``==``, ``<`` or ``<=``.
        outcome: what was decided.
        line: ``file:line`` of the code that decided.
    """

    left: Any
    relation: str
    right: Any
    outcome: bool
    line: str = ""

    def holds(self, values: Mapping[str, int]) -> bool:
        """Whether it is decided so again with these sizes."""
        try:
            return bool(RELATIONS[self.relation](bind(self.left, values), bind(self.right, values))) == self.outcome
        except ArithmeticError:
            return False

    def __str__(self) -> str:
        relation = self.relation if self.outcome else {"==": "!=", "<": ">=", "<=": ">"}[self.relation]
        return f"{self.left} {relation} {self.right}" + (f" ({self.line})" if self.line else "")


RELATIONS: dict[str, Callable[[Any, Any], Any]] = {"==": operator.eq, "<": operator.lt, "<=": operator.le}


class Decisions:
    """What was decided by sizes while a network was traced.

    Attributes:
        is_open: whether the network is being traced; afterwards nothing is added.
    """

    def __init__(self) -> None:
        self._guards: dict[str, Guard] = {}
        self.is_open = True
        self.owner = threading.get_ident()

    def symbol(self, name: str, example: int) -> Size:
        return Size((((_Atom("symbol", name),), 1),), example, self)

    def note(self, left: Any, relation: str, right: Any, outcome: bool) -> None:
        guard = Guard(left, relation, right, outcome, user_line())
        self._guards.setdefault(str(guard), guard)

    @property
    def guards(self) -> tuple[Guard, ...]:
        """The decisions, each once."""
        return tuple(self._guards.values())


# ---- integers ----------------------------------------------------------------------------------------


def _made(terms: _Terms, example: int, decisions: Decisions | None) -> Any:
    """The size; an int where it is one."""
    constant = _constant(terms)
    if constant is not None:
        return constant
    if len(terms) > _MAX_TERMS:
        return Size(terms, example, decisions).__index__()
    return Size(terms, example, decisions)


class Size:
    """An integer that depends on the sizes of a network's inputs.

    Arithmetic gives other sizes, or an int where it does not depend on them after all. See the module.
    """

    __slots__ = ("decisions", "example", "terms")
    # NumPy's scalars leave arithmetic to this class, its arrays do not.
    __array_priority__ = -1.0

    terms: _Terms
    example: int

    def __init__(self, terms: _Terms, example: int, decisions: Decisions | None = None) -> None:
        self.terms, self.example, self.decisions = terms, example, decisions

    @staticmethod
    def symbol(name: str, example: int) -> Size:
        """A size that belongs to no trace."""
        return Size((((_Atom("symbol", name),), 1),), example)

    @property
    def name(self) -> str | None:
        """Of a symbol; None of everything else."""
        atoms = self.terms[0][0] if len(self.terms) == 1 and self.terms[0][1] == 1 else ()
        return atoms[0].name if len(atoms) == 1 and atoms[0].kind == "symbol" else None

    # ---- arithmetic

    def _operand(self, other: Any) -> tuple[_Terms, int] | None:
        if isinstance(other, Size):
            return other.terms, other.example
        if isinstance(other, (int, np.integer)):
            return (((), int(other)),) if other else (), int(other)
        return None

    def _combined(self, other: Any, terms: Callable[[_Terms, _Terms], _Terms], number: Any, flipped: bool) -> Any:
        operand = self._operand(other)
        if operand is None:
            sign = _SIGNS.get(number)
            left, right = (other, self) if flipped else (self, other)
            return NotImplemented if sign is None else Number.of(sign, left, right)
        pair = [(self.terms, self.example), operand]
        (left, a), (right, b) = reversed(pair) if flipped else pair
        return _made(terms(left, right), number(a, b), self.decisions or getattr(other, "decisions", None))

    def __add__(self, other: Any) -> Any:
        return self._combined(other, lambda a, b: _normal([*a, *b]), operator.add, False)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        return self._combined(other, lambda a, b: _normal([*a, *_negated(b)]), operator.sub, False)

    def __rsub__(self, other: Any) -> Any:
        return self._combined(other, lambda a, b: _normal([*a, *_negated(b)]), operator.sub, True)

    def __mul__(self, other: Any) -> Any:
        if isinstance(other, (list, tuple, str, bytes)):
            return other * self.__index__()
        return self._combined(other, _times, operator.mul, False)

    __rmul__ = __mul__

    def __neg__(self) -> Any:
        return _made(_negated(self.terms), -self.example, self.decisions)

    def __pos__(self) -> Any:
        return self

    def __abs__(self) -> Any:
        return -self if self < 0 else self

    def _want_divisor(self, other: Any) -> None:
        if example_of(other) == 0:
            raise ZeroDivisionError(f"{self} is divided by {other}, which is 0")

    def __floordiv__(self, other: Any) -> Any:
        self._want_divisor(other)
        return self._combined(other, _floor_divided, operator.floordiv, False)

    def __rfloordiv__(self, other: Any) -> Any:
        self._want_divisor(self)
        return self._combined(other, _floor_divided, operator.floordiv, True)

    def __mod__(self, other: Any) -> Any:
        self._want_divisor(other)
        return self._combined(other, _remainder, operator.mod, False)

    def __rmod__(self, other: Any) -> Any:
        if isinstance(other, str):
            return NotImplemented
        self._want_divisor(self)
        return self._combined(other, _remainder, operator.mod, True)

    def __divmod__(self, other: Any) -> Any:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> Any:
        return other // self, other % self

    def __pow__(self, other: Any, modulo: Any = None) -> Any:
        if modulo is not None:
            return pow(self.__index__(), other, modulo)
        if isinstance(other, (int, np.integer)) and 0 <= other <= _MAX_EXPONENT:
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
        if not isinstance(other, (Size, int, np.integer)):
            return self._decide(other, relation, bool(holds(self.example, example_of(other))))
        difference: Any = by_example(operator.sub, self, other)
        if isinstance(difference, int):
            return bool(holds(difference, 0))
        low, negated = _low(difference.terms), _low(_negated(difference.terms))
        if low is not None and low > 0:
            return False
        if low == 0 and relation == "<":
            return False
        if negated is not None and (negated > 0 or (negated == 0 and relation == "<=")):
            return relation != "=="
        return self._decide(other, relation, bool(holds(self.example, example_of(other))))

    def _decide(self, other: Any, relation: str, outcome: bool) -> bool:
        decisions = self.decisions or getattr(other, "decisions", None)
        if _state.by_example:
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
        return _text(self.terms)

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec) if not spec or spec[-1] in "s<>^" else format(self.__index__(), spec)

    def __reduce__(self) -> tuple[Any, ...]:
        return Size, (self.terms, self.example)

    def __copy__(self) -> Size:
        return self

    def __deepcopy__(self, memo: Any) -> Size:
        return self


numbers.Integral.register(Size)


# ---- real numbers ------------------------------------------------------------------------------------

_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "**": operator.pow,
}
_SIGNS = {function: sign for sign, function in _ARITHMETIC.items()}


class Number:
    """A real number that depends on sizes: ``1 / n``, ``n ** 0.5``. What is decided by it is decided by sizes."""

    __slots__ = ("example", "operands", "sign")
    __array_priority__ = -1.0

    def __init__(self, sign: str, operands: tuple[Any, Any], example: Any) -> None:
        self.sign, self.operands, self.example = sign, operands, example

    @staticmethod
    def of(sign: str, left: Any, right: Any) -> Any:
        if not isinstance(left, (Size, Number, int, float, np.number)):
            return NotImplemented
        if not isinstance(right, (Size, Number, int, float, np.number)):
            return NotImplemented
        left, right = (x.item() if isinstance(x, np.number) else x for x in (left, right))
        return Number(sign, (left, right), _ARITHMETIC[sign](example_of(left), example_of(right)))

    @property
    def decisions(self) -> Decisions | None:
        return next((d for x in self.operands if (d := getattr(x, "decisions", None)) is not None), None)

    def __add__(self, other: Any) -> Any:
        return Number.of("+", self, other)

    def __radd__(self, other: Any) -> Any:
        return Number.of("+", other, self)

    def __sub__(self, other: Any) -> Any:
        return Number.of("-", self, other)

    def __rsub__(self, other: Any) -> Any:
        return Number.of("-", other, self)

    def __mul__(self, other: Any) -> Any:
        return Number.of("*", self, other)

    def __rmul__(self, other: Any) -> Any:
        return Number.of("*", other, self)

    def __truediv__(self, other: Any) -> Any:
        return Number.of("/", self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return Number.of("/", other, self)

    def __pow__(self, other: Any) -> Any:
        return Number.of("**", self, other)

    def __rpow__(self, other: Any) -> Any:
        return Number.of("**", other, self)

    def __neg__(self) -> Any:
        return 0 - self

    def __floor__(self) -> Any:
        left, right = self.operands
        if self.sign == "/" and all(isinstance(x, (Size, int)) for x in self.operands):
            return left // right
        return math.floor(float(self))

    def __ceil__(self) -> Any:
        left, right = self.operands
        if self.sign == "/" and all(isinstance(x, (Size, int)) for x in self.operands):
            return -(-left // right)
        return math.ceil(float(self))

    def __trunc__(self) -> int:
        return int(float(self))

    def __round__(self, digits: int | None = None) -> Any:
        return round(float(self), digits)

    def __float__(self) -> float:
        for size in self.operands:
            if isinstance(size, (Size, Number)):
                float(size)
        return float(self.example)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        return np.asarray(float(self), dtype)

    def __int__(self) -> int:
        # Of a quotient of sizes it is a size, but Python wants an int here.
        return int(self.__trunc__())

    def __bool__(self) -> bool:
        return bool(float(self))

    def __eq__(self, other: object) -> Any:
        if not isinstance(other, (Size, Number, int, float, np.number)):
            return NotImplemented
        return is_same(self, other) or (float(self) == float(other))

    def __lt__(self, other: Any) -> bool:
        return float(self) < float(other)

    def __le__(self, other: Any) -> bool:
        return float(self) <= float(other)

    def __gt__(self, other: Any) -> bool:
        return float(self) > float(other)

    def __ge__(self, other: Any) -> bool:
        return float(self) >= float(other)

    def __hash__(self) -> int:
        return hash((self.sign, self.operands))

    def __repr__(self) -> str:
        left, right = (f"({x})" if isinstance(x, Number) or not str(x).isalnum() else str(x) for x in self.operands)
        return f"{left} {self.sign} {right}"

    def __reduce__(self) -> tuple[Any, ...]:
        return Number, (self.sign, self.operands, self.example)


numbers.Real.register(Number)


# ---- values that may hold sizes ----------------------------------------------------------------------


def has_sizes(value: Any) -> bool:
    """Whether a value is a size or a number that depends on one, or a nested tuple with some."""
    if isinstance(value, (tuple, list)):
        return any(map(has_sizes, value))
    return isinstance(value, (Size, Number))


def bind(value: Any, values: Mapping[str, Any]) -> Any:
    """The value with these numbers, or other sizes, for its symbols, of which each must be among them."""
    if isinstance(value, Size):
        result = _value(value.terms, values)
        return result if isinstance(result, Size) else int(result)
    if isinstance(value, Number):
        left, right = (bind(x, values) for x in value.operands)
        if has_sizes((left, right)):
            return Number.of(value.sign, left, right)
        return _ARITHMETIC[value.sign](left, right)
    if isinstance(value, tuple):
        return tuple(bind(x, values) for x in value) if has_sizes(value) else value
    return value


def structure_of(value: Any) -> Any:
    """The value with the normal forms of its sizes in their place: what tells it apart whatever the sizes are."""
    if isinstance(value, Size):
        return value.terms
    if isinstance(value, Number):
        return (value.sign, *map(structure_of, value.operands))
    if isinstance(value, tuple):
        return tuple(map(structure_of, value)) if has_sizes(value) else value
    return value


def example_of(value: Any) -> Any:
    """The value in the call that was traced; nested tuples too."""
    if isinstance(value, (Size, Number)):
        return value.example
    if isinstance(value, tuple):
        return tuple(map(example_of, value)) if has_sizes(value) else value
    return value


def is_same(left: Any, right: Any) -> bool:
    """Whether both are the same whatever the sizes are, as far as normal forms say."""
    if isinstance(left, tuple) and isinstance(right, tuple):
        return len(left) == len(right) and all(map(is_same, left, right))
    if isinstance(left, Size) and isinstance(right, Size):
        return left.terms == right.terms
    if isinstance(left, Number) and isinstance(right, Number):
        return left.sign == right.sign and is_same(left.operands, right.operands)
    if has_sizes(left) or has_sizes(right):
        return False
    return bool(left == right)


# ---- slices ------------------------------------------------------------------------------------------


def slice_indices(part: slice, size: Any) -> tuple[Any, Any, Any]:
    """``part.indices(size)``, where start, stop and size may be symbolic: what is cut off is decided by examples."""
    if not has_sizes((part.start, part.stop, part.step, size)):
        return part.indices(size)
    return by_example(_slice_indices, part, size)


def _slice_indices(part: slice, size: Any) -> tuple[Any, Any, Any]:
    step = 1 if part.step is None else operator.index(part.step)
    if step == 0:
        raise ValueError("slice step cannot be zero")
    lowest, highest = (0, size) if step > 0 else (-1, size - 1)

    def bounded(number: Any, default: Any) -> Any:
        if number is None:
            return default
        if number < 0:
            number = number + size
        return lowest if number < lowest else highest if number > highest else number

    first, last = (lowest, highest) if step > 0 else (highest, lowest)
    return bounded(part.start, first), bounded(part.stop, last), step


def slice_length(part: slice, size: Any) -> Any:
    """How many of `size` elements a slice takes."""
    start, stop, step = slice_indices(part, size)
    if not has_sizes((start, stop)):
        return len(range(start, stop, step))
    return by_example(_range_length, start, stop, step)


def _range_length(start: Any, stop: Any, step: int) -> Any:
    span = stop - start if step > 0 else start - stop
    return 0 if span <= 0 else (span + abs(step) - 1) // abs(step)


def as_index(number: Any) -> Any:
    """``operator.index(number)``, but a size stays what it is."""
    return number if isinstance(number, Size) else operator.index(number)


# ---- as text -----------------------------------------------------------------------------------------


class SizedText(str):
    """A text of a file that speaks of sizes, and the value it stands for."""

    __slots__ = ("value",)
    value: Any


# A bound on what a file can make of one text.
_MAX_TEXT = 10_000
_MAX_DEPTH = 50

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}


def parse_sizes(text: str, symbols: Mapping[str, Size]) -> Any:
    """The value that a text spells: numbers, symbols, arithmetic of them, None, bools, and tuples.

    Args:
        text: as `repr` writes it.
        symbols: the sizes that names stand for.

    Raises:
        ValueError: it is not of that form.
    """
    if len(text) > _MAX_TEXT:
        raise ValueError(f"a text of {len(text)} characters")
    try:
        return by_example(_evaluated, ast.parse(text, mode="eval").body, symbols, 0)
    except (SyntaxError, RecursionError, MemoryError, ArithmeticError, TypeError) as error:
        raise ValueError(str(error)) from None


def _evaluated(node: ast.expr, symbols: Mapping[str, Size], depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise ValueError("nested too deeply")
    if isinstance(node, ast.Tuple):
        return tuple(_evaluated(item, symbols, depth + 1) for item in node.elts)
    if isinstance(node, ast.Name) and node.id in symbols:
        return symbols[node.id]
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float, type(None))):
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_evaluated(node.operand, symbols, depth + 1)
    if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        left, right = (_evaluated(side, symbols, depth + 1) for side in (node.left, node.right))
        if isinstance(node.op, ast.Pow) and abs(example_of(right)) > _MAX_EXPONENT:
            raise ValueError("a power that is too large")
        return _BINARY[type(node.op)](left, right)
    raise ValueError(f"{ast.unparse(node)[:80]!r} is no size")
