"""Normal forms of sizes: polynomials with integer coefficients over atoms.

Atoms are symbols, and quotients and remainders that are no polynomials. Equal polynomials have one form.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

__all__ = [
    "RELATIONS",
    "Atom",
    "Terms",
    "constant_of",
    "floor_divided",
    "holds_always",
    "lower_bound",
    "minus",
    "negated",
    "normal_form",
    "plus",
    "remainder",
    "symbols_in",
    "text_of",
    "times",
    "value_of",
]

# A product of atoms, in order of their texts; and how often it is taken.
Monomial = tuple["Atom", ...]
Terms = tuple[tuple[Monomial, int], ...]

RELATIONS: dict[str, Callable[[Any, Any], Any]] = {"==": operator.eq, "<": operator.lt, "<=": operator.le}


class Atom(str):
    """Something with a number that is not a sum or a product: its text, by which atoms are compared.

    Args:
        kind: ``symbol``, ``//`` or ``%``.
        name: of a symbol.
        left, right: the operands of the others.
    """

    # Normal forms are keys of caches: a text is compared and hashed at once.
    __slots__ = ("kind", "left", "right")
    kind: str
    left: Terms
    right: Terms

    def __new__(cls, kind: str, name: str = "", left: Terms = (), right: Terms = ()) -> Atom:
        text = name if kind == "symbol" else f"{_in_brackets(left)} {kind} {_in_brackets(right)}"
        atom = super().__new__(cls, text)
        atom.kind, atom.left, atom.right = kind, left, right
        return atom

    @property
    def name(self) -> str:
        """Of a symbol."""
        return str(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return Atom, (self.kind, str(self), self.left, self.right)

    def value(self, values: Mapping[str, Any]) -> Any:
        if self.kind == "symbol":
            return values[self]
        left, right = value_of(self.left, values), value_of(self.right, values)
        return left // right if self.kind == "//" else left % right


def _in_brackets(terms: Terms) -> str:
    text = text_of(terms)
    return text if text.replace("_", "").isalnum() else f"({text})"


def text_of(terms: Terms) -> str:
    shown = []
    for monomial, count in sorted(terms, key=lambda term: (not term[0], -term[1] if term[0] else 0)):
        atoms = [str(a) if a.kind == "symbol" else f"({a})" for a in monomial]
        number = [str(abs(count))] if abs(count) != 1 or not atoms else []
        if len(terms) == 1 and not number and len(atoms) == 1 and count > 0:
            return str(monomial[0])
        product = "*".join([*number, *atoms])
        shown.append((" - " if count < 0 else " + ") + product)
    text = "".join(shown)
    return ("-" if text.startswith(" - ") else "") + text[3:] if text else "0"


def value_of(terms: Terms, values: Mapping[str, Any]) -> Any:
    total: Any = 0
    for monomial, count in terms:
        product: Any = count
        for atom in monomial:
            product = product * atom.value(values)
        total = total + product
    return total


def lower_bound(terms: Terms) -> int | None:
    """A number that the sum is never below; None if none is known. Symbols are sizes, so never negative."""
    low = 0
    for monomial, count in terms:
        if not monomial:
            low += count
        elif count < 0 or not all(a.kind == "symbol" or _is_nonnegative(a) for a in monomial):
            return None
    return low


def _is_nonnegative(atom: Atom) -> bool:
    left, right = lower_bound(atom.left), lower_bound(atom.right)
    return right is not None and right > 0 and (atom.kind == "%" or (left is not None and left >= 0))


def negated(terms: Terms) -> Terms:
    return tuple((monomial, -count) for monomial, count in terms)


def normal_form(terms: Iterable[tuple[Monomial, int]]) -> Terms:
    sums: dict[Monomial, int] = {}
    for monomial, count in terms:
        sums[monomial] = sums.get(monomial, 0) + count
    return tuple((monomial, count) for monomial, count in sorted(sums.items()) if count)


def constant_of(terms: Terms) -> int | None:
    if not terms:
        return 0
    return terms[0][1] if len(terms) == 1 and not terms[0][0] else None


# Networks repeat themselves: the same few expressions come again in every layer and every pass.
_REMEMBERED = 4096


@lru_cache(_REMEMBERED)
def plus(left: Terms, right: Terms) -> Terms:
    return normal_form([*left, *right])


@lru_cache(_REMEMBERED)
def minus(left: Terms, right: Terms) -> Terms:
    return normal_form([*left, *negated(right)])


@lru_cache(_REMEMBERED)
def times(left: Terms, right: Terms) -> Terms:
    return normal_form((tuple(sorted((*a, *b))), m * n) for a, m in left for b, n in right)


@lru_cache(_REMEMBERED)
def floor_divided(left: Terms, right: Terms) -> Terms:
    exact = _divided(left, right)
    if exact is not None:
        return exact
    divisor = constant_of(right)
    if divisor is None or divisor < 0:
        return (((Atom("//", left=left, right=right),), 1),)
    # floor((d A + B) / d) = A + floor(B / d)
    whole = [(monomial, count // divisor) for monomial, count in left if not monomial or count % divisor == 0]
    rest = normal_form(
        (monomial, count % divisor if not monomial else count)
        for monomial, count in left
        if not monomial or count % divisor
    )
    nested = [term for term in rest if term[0]]
    if len(nested) == 1 and nested[0][1] == 1 and len(nested[0][0]) == 1 and nested[0][0][0].kind == "//":
        # floor((floor(A / b) + c) / d) = floor((A + b c) / (b d))
        inner = nested[0][0][0]
        by = constant_of(inner.right)
        if by is not None and by > 0:
            shift = by * sum(count for monomial, count in rest if not monomial)
            numerator = normal_form([*inner.left, ((), shift)])
            return normal_form([*whole, *floor_divided(numerator, (((), by * divisor),))])
    if not rest:
        return normal_form(whole)
    constant = constant_of(rest)
    if constant is not None:
        return normal_form([*whole, ((), constant // divisor)])
    return normal_form([*whole, ((Atom("//", left=rest, right=right),), 1)])


def _divided(left: Terms, right: Terms) -> Terms | None:
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
    return normal_form(result)


@lru_cache(_REMEMBERED)
def remainder(left: Terms, right: Terms) -> Terms:
    if _divided(left, right) is not None:
        return ()
    divisor = constant_of(right)
    if divisor is None or divisor < 0:
        return (((Atom("%", left=left, right=right),), 1),)
    rest = normal_form((monomial, count % divisor) for monomial, count in left)
    constant = constant_of(rest)
    if constant is not None:
        return normal_form([((), constant % divisor)])
    return (((Atom("%", left=rest, right=right),), 1),)


@lru_cache(_REMEMBERED)
def holds_always(left: Terms, relation: str, right: Terms) -> bool | None:
    """Whether ``left relation right``, whatever the sizes are; None where that depends on them, or is not known."""
    difference = minus(left, right)
    constant = constant_of(difference)
    if constant is not None:
        return bool(RELATIONS[relation](constant, 0))
    low, below = lower_bound(difference), lower_bound(negated(difference))
    if low is not None and (low > 0 or (low == 0 and relation == "<")):
        return False
    if below is not None and (below > 0 or (below == 0 and relation == "<=")):
        return relation != "=="
    return None


@lru_cache(_REMEMBERED)
def symbols_in(terms: Terms) -> frozenset[str]:
    found: set[str] = set()
    for monomial, _ in terms:
        for atom in monomial:
            found |= {str(atom)} if atom.kind == "symbol" else symbols_in(atom.left) | symbols_in(atom.right)
    return frozenset(found)
