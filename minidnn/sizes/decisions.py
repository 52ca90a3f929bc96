"""Guards: what was decided by sizes while a network was traced."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from minidnn.sizes.size import RELATIONS, Size
from minidnn.sizes.values import bind
from minidnn.user_code import user_line

__all__ = ["Decisions", "Guard"]


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
        return Size.symbol(name, example, self)

    def note(self, left: Any, relation: str, right: Any, outcome: bool) -> None:
        guard = Guard(left, relation, right, outcome, user_line())
        self._guards.setdefault(str(guard), guard)

    @property
    def guards(self) -> tuple[Guard, ...]:
        """The decisions, each once."""
        return tuple(self._guards.values())
