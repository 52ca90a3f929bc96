"""Cells made of cells: one after the other, both directions, and modifiers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from minidnn import npx
from minidnn import numpy as np
from minidnn.gluon._block import Block
from minidnn.gluon.parameter import Parameter
from minidnn.gluon.rnn._sequences import axis_of_time, given_lengths, masked, merged, reversed_times, separated
from minidnn.gluon.rnn.cells import HybridRecurrentCell, Made, RecurrentCell

__all__ = [
    "BidirectionalCell",
    "DropoutCell",
    "HybridSequentialRNNCell",
    "ModifierCell",
    "ResidualCell",
    "SequentialRNNCell",
    "VariationalDropoutCell",
    "ZoneoutCell",
]

_T = TypeVar("_T")


class _Composed(RecurrentCell):
    """A cell whose states are those of its children, one after the other."""

    @property
    def _cells(self) -> list[RecurrentCell]:
        return [child for child in self._children.values() if isinstance(child, RecurrentCell)]

    def register_child(self, block: Block, name: str | None = None) -> None:
        """Make a cell a child.

        Raises:
            TypeError: it is no cell.
        """
        if not isinstance(block, RecurrentCell):
            raise TypeError(f"{type(self).__name__}: a child must be a cell, got {type(block).__name__}")
        super().register_child(block, name)

    def state_info(self, batch_size: int = 0) -> list[dict[str, Any]]:
        """The shape and layout of each state for a batch of that size."""
        return [info for cell in self._cells for info in cell.state_info(batch_size)]

    def begin_state(self, batch_size: int = 0, func: Callable[..., Any] = np.zeros, **kwargs: Any) -> list[Any]:
        """States to begin with; see `RecurrentCell.begin_state`."""
        if self._is_modified:
            raise RuntimeError(f"{type(self).__name__}: the cell has been modified; call the modifier cell instead")
        return [state for cell in self._cells for state in cell.begin_state(batch_size, func, **kwargs)]

    def _distributed(self, states: Sequence[Any]) -> list[list[Any]]:
        """The states of each child.

        Raises:
            ValueError: there are more or fewer states than the children have.
        """
        counts = [len(cell.state_info()) for cell in self._cells]
        if len(states) != sum(counts):
            raise ValueError(f"{type(self).__name__}: there must be {sum(counts)} states, got {len(states)}")
        rest = iter(states)
        return [[next(rest) for _ in range(count)] for count in counts]


class _Sequential(_Composed):
    def add(self, cell: RecurrentCell) -> None:
        """Put a cell behind the others."""
        self.register_child(cell)

    def forward(self, inputs: Any, states: Any) -> Made:
        after: list[Any] = []
        for cell, own in zip(self._cells, self._distributed(states), strict=True):
            inputs, made = cell(inputs, own)
            after += made
        return inputs, after

    def unroll(
        self,
        length: int,
        inputs: Any,
        begin_state: Any = None,
        layout: str = "NTC",
        merge_outputs: bool | None = None,
        valid_length: Any = None,
    ) -> Made:
        """Run over a whole sequence, cell by cell; see `RecurrentCell.unroll`."""
        self.reset()
        name = type(self).__name__
        axis = axis_of_time(name, layout)
        x = merged(name, inputs, length, axis)
        states = self._distributed(self._states(begin_state, x[0] if axis == 0 else x[:, 0]))
        after: list[Any] = []
        outputs: Any = x
        for cell, own in zip(self._cells, states, strict=True):
            outputs, made = cell.unroll(length, outputs, own, layout, None, valid_length)
            after += made
        return self._formed(outputs, length, axis, merge_outputs), after

    def __getitem__(self, i: int) -> RecurrentCell:
        return self._cells[i]

    def __len__(self) -> int:
        return len(self._children)


class SequentialRNNCell(_Sequential):
    """Cells of any kind, each of which gets the outputs of the one before it."""


class HybridSequentialRNNCell(_Sequential, HybridRecurrentCell):
    """Hybrid cells, each of which gets the outputs of the one before it."""


class DropoutCell(HybridRecurrentCell):
    """Gives its input: elements are dropped in training only.

    Args:
        rate: share of elements that training would drop, in [0, 1].
        axes: axes along which they would be dropped together.

    Raises:
        ValueError: `rate` is not in [0, 1].
    """

    def __init__(self, rate: float, axes: Sequence[int] = ()) -> None:
        if not isinstance(rate, (int, float)) or not 0 <= rate <= 1:
            raise ValueError(f"DropoutCell: rate must be in [0, 1], got {rate!r}")
        super().__init__()
        self._rate, self._shared_axes = rate, tuple(axes)

    def state_info(self, batch_size: int = 0) -> list[dict[str, Any]]:
        """It has no state."""
        return []

    def forward(self, inputs: Any, states: Any) -> Made:
        return (npx.dropout(inputs, p=self._rate, axes=self._shared_axes) if self._rate else inputs), [*states]

    def unroll(
        self,
        length: int,
        inputs: Any,
        begin_state: Any = None,
        layout: str = "NTC",
        merge_outputs: bool | None = None,
        valid_length: Any = None,
    ) -> Made:
        """All times at once; see `RecurrentCell.unroll`. As in MXNet, nothing is zeroed behind `valid_length`."""
        axis = axis_of_time(type(self).__name__, layout)
        outputs, states = self.forward(merged(type(self).__name__, inputs, length, axis), begin_state or [])
        return self._formed(outputs, length, axis, merge_outputs), states

    def __repr__(self) -> str:
        return f"{type(self).__name__}(rate={self._rate}, axes={self._shared_axes})"


class ModifierCell(HybridRecurrentCell):
    """Base of cells that change what another one does; that one is not to be called by itself any more.

    Args:
        base_cell: the cell.

    Raises:
        ValueError: it has been modified already.
    """

    base_cell: RecurrentCell

    def __init__(self, base_cell: RecurrentCell) -> None:
        if base_cell._is_modified:
            raise ValueError(f"{type(self).__name__}: {type(base_cell).__name__} has been modified already")
        super().__init__()
        base_cell._is_modified = True
        self.base_cell = base_cell

    @property
    def params(self) -> dict[str, Parameter]:
        """The base cell's own parameters."""
        return self.base_cell.params

    def state_info(self, batch_size: int = 0) -> list[dict[str, Any]]:
        """Those of the base cell."""
        return self.base_cell.state_info(batch_size)

    def begin_state(self, batch_size: int = 0, func: Callable[..., Any] = np.zeros, **kwargs: Any) -> list[Any]:
        """Those of the base cell."""
        if self._is_modified:
            raise RuntimeError(f"{type(self).__name__}: the cell has been modified; call the modifier cell instead")
        return self._as_unmodified(lambda: self.base_cell.begin_state(batch_size, func, **kwargs))

    def _as_unmodified(self, function: Callable[[], _T]) -> _T:
        try:
            self.base_cell._is_modified = False
            return function()
        finally:
            self.base_cell._is_modified = True

    def forward(self, inputs: Any, states: Any) -> Made:
        output, after = self.base_cell(inputs, states)
        return output, after

    def unroll(
        self,
        length: int,
        inputs: Any,
        begin_state: Any = None,
        layout: str = "NTC",
        merge_outputs: bool | None = None,
        valid_length: Any = None,
    ) -> Made:
        """Run over a whole sequence; see `RecurrentCell.unroll`."""
        arguments = (length, inputs, begin_state, layout, merge_outputs, valid_length)
        return self._as_unmodified(lambda: self.base_cell.unroll(*arguments))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base_cell!r})"


def _without_directions(cell: str, base_cell: RecurrentCell) -> None:
    if isinstance(base_cell, BidirectionalCell):
        raise ValueError(f"{cell}: a BidirectionalCell has no single step; modify the cells underneath instead")


class ZoneoutCell(ModifierCell):
    """The base cell: outputs and states are kept from the step before in training only (D. Krueger et al., 2016).

    Args:
        base_cell: the cell.
        zoneout_outputs, zoneout_states: shares that training would keep.

    Raises:
        ValueError: it has been modified already, or has two directions.
    """

    def __init__(self, base_cell: RecurrentCell, zoneout_outputs: float = 0.0, zoneout_states: float = 0.0) -> None:
        _without_directions("ZoneoutCell", base_cell)
        super().__init__(base_cell)
        self.zoneout_outputs, self.zoneout_states = zoneout_outputs, zoneout_states

    def __repr__(self) -> str:
        shares = f"p_out={self.zoneout_outputs}, p_state={self.zoneout_states}"
        return f"{type(self).__name__}({shares}, {self.base_cell!r})"


class VariationalDropoutCell(ModifierCell):
    """The base cell: elements are dropped in training only, the same at all times (Y. Gal and Z. Ghahramani, 2016).

    Args:
        base_cell: the cell.
        drop_inputs, drop_states, drop_outputs: shares that training would drop.

    Raises:
        ValueError: it has been modified already, or `drop_states` is given for a cell of two directions.
    """

    def __init__(
        self,
        base_cell: RecurrentCell,
        drop_inputs: float = 0.0,
        drop_states: float = 0.0,
        drop_outputs: float = 0.0,
    ) -> None:
        if drop_states:
            _without_directions("VariationalDropoutCell", base_cell)
        super().__init__(base_cell)
        self.drop_inputs, self.drop_states, self.drop_outputs = drop_inputs, drop_states, drop_outputs

    def __repr__(self) -> str:
        return f"{type(self).__name__}(p_out = {self.drop_outputs}, p_state = {self.drop_states})"


class ResidualCell(ModifierCell):
    """Adds the input to the base cell's output (Y. Wu et al., 2016)."""

    def forward(self, inputs: Any, states: Any) -> Made:
        output, after = super().forward(inputs, states)
        return output + inputs, after

    def unroll(
        self,
        length: int,
        inputs: Any,
        begin_state: Any = None,
        layout: str = "NTC",
        merge_outputs: bool | None = None,
        valid_length: Any = None,
    ) -> Made:
        """Run over a whole sequence; see `RecurrentCell.unroll`."""
        name = type(self).__name__
        axis = axis_of_time(name, layout)
        x = merged(name, inputs, length, axis)
        outputs, states = super().unroll(length, x, begin_state, layout, True, valid_length)
        added = x if valid_length is None else masked(x, given_lengths(name, valid_length, length), axis)
        return self._formed(outputs + added, length, axis, merge_outputs), states


class BidirectionalCell(_Composed, HybridRecurrentCell):
    """Two cells over a sequence, from its begin and from its end; their outputs stand side by side.

    Args:
        l_cell, r_cell: from the begin, and from the end.
    """

    l_cell: RecurrentCell
    r_cell: RecurrentCell

    def __init__(self, l_cell: RecurrentCell, r_cell: RecurrentCell) -> None:
        super().__init__()
        self.l_cell, self.r_cell = l_cell, r_cell

    def forward(self, inputs: Any, states: Any) -> Made:
        raise NotImplementedError("BidirectionalCell has no single step: call unroll()")

    def unroll(
        self,
        length: int,
        inputs: Any,
        begin_state: Any = None,
        layout: str = "NTC",
        merge_outputs: bool | None = None,
        valid_length: Any = None,
    ) -> Made:
        """Run over a whole sequence; see `RecurrentCell.unroll`."""
        self.reset()
        name = type(self).__name__
        axis = axis_of_time(name, layout)
        times = separated(name, inputs, length, axis)
        lengths = None if valid_length is None else given_lengths(name, valid_length, length)
        own, others = self._distributed(self._states(begin_state, times[0]))
        outputs, states = self.l_cell.unroll(length, times, own, layout, True, lengths)
        turned = reversed_times(times, lengths)
        backward, after = self.r_cell.unroll(length, turned, others, layout, False, lengths)
        back = np.stack(reversed_times(backward, lengths), axis=axis)
        whole = np.concatenate([outputs, back], axis=2)
        return self._formed(whole, length, axis, merge_outputs), states + after

    def __repr__(self) -> str:
        return f"{type(self).__name__}(forward={self.l_cell!r}, backward={self.r_cell!r})"
