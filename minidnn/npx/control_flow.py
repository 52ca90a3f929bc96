"""`foreach`, `while_loop` and `cond`: loops and branches that depend on values.

Eagerly they are loops and branches of Python. While a network is traced, loops are written out: `foreach` for the
length that there is, `while_loop` for all its iterations, behind whose end nothing changes any more; of `cond` both
branches are computed, and one is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from minidnn.dispatch import invoke_one
from minidnn.errors import OpError, TypeMismatchError
from minidnn.ir.trace import current_trace
from minidnn.numpy.convert import as_array
from minidnn.numpy.multiarray import ndarray
from minidnn.settings import MAX_TRIPS

__all__ = ["cond", "foreach", "while_loop"]

Arrays = Any


def _listed(value: Arrays) -> list[ndarray]:
    return [as_array(v) for v in value] if isinstance(value, (list, tuple)) else [as_array(value)]


def _like(values: Sequence[ndarray], given: Any) -> Any:
    """One array where one was given, else a list."""
    return list(values) if isinstance(given, (list, tuple)) else values[0]


def _check_count(op: str, count: int) -> None:
    most = MAX_TRIPS.value()
    if count > most and current_trace() is not None:
        raise OpError(f"{op}: {count} iterations would be written out, {MAX_TRIPS.name} allows {most}")


def _want_same(op: str, what: str, new: Sequence[ndarray], old: Sequence[ndarray]) -> None:
    if len(new) != len(old):
        raise OpError(f"{op}: {what} must be {len(old)} arrays, got {len(new)}")
    for i, (a, b) in enumerate(zip(new, old, strict=True)):
        if a.shape != b.shape or a.dtype != b.dtype:
            raise OpError(f"{op}: {what} {i} must be {b.dtype} of {b.shape}, got {a.dtype} of {a.shape}")


def _stacked(values: Sequence[ndarray]) -> ndarray:
    return invoke_one("stack", *values, num_args=len(values), axis=0)


def foreach(body: Callable[[Any, Any], Any], data: Any, init_states: Any, name: str = "foreach") -> tuple[Any, Any]:
    """A function of each element along the first axis and of the states that it has left.

    Args:
        body: ``(element, states)`` gives ``(outputs, states)``.
        data: an array, or a list of arrays of one length.
        init_states: an array or a list of arrays; what `body` gets first.
        name: ignored.

    Returns:
        The outputs, stacked along a new first axis, and the last states; each one array or a list, as `body` gives it.

    Raises:
        OpError: no elements, states of other shapes, or while tracing more elements than `MINIDNN_MAX_TRIPS`.
    """
    op = "foreach"
    arrays = _listed(data)
    states, lengths = _listed(init_states), [len(a) for a in arrays]
    if len(set(lengths)) != 1 or not lengths[0]:
        raise OpError(f"{op}: data must be arrays of one length, which is not zero, got {lengths}")
    _check_count(op, lengths[0])
    collected: list[list[ndarray]] = []
    outputs: Any = None
    shown = _like(states, init_states) if states else []
    for i in range(lengths[0]):
        outputs, shown = body(_like([a[i] for a in arrays], data), shown)
        made = _listed(shown)
        _want_same(op, "states", made, states)
        states = made
        collected.append(_listed(outputs))
        if len(collected[-1]) != len(collected[0]):
            raise OpError(f"{op}: outputs must be {len(collected[0])} arrays, got {len(collected[-1])}")
    stacked = [_stacked(values) for values in zip(*collected, strict=True)]
    return (_like(stacked, outputs) if stacked else []), shown


def _decided(op: str, value: Any) -> ndarray:
    condition = as_array(value)
    if condition.size != 1:
        raise TypeMismatchError(f"{op}: the condition must be one number, got shape {condition.shape}")
    return condition.reshape(())


def while_loop(
    cond: Callable[..., Any],
    func: Callable[..., Any],
    loop_vars: Any,
    max_iterations: int | None = None,
    name: str = "while_loop",
) -> tuple[Any, Any]:
    """A function of variables, again and again while a condition of them holds.

    Args:
        cond: ``cond(*loop_vars)`` gives one number.
        func: ``func(*loop_vars)`` gives ``(outputs, loop_vars)``; outputs may be an empty list.
        loop_vars: an array or a list of arrays.
        max_iterations: where it ends in any case.
        name: ignored.

    Returns:
        The outputs stacked along a new first axis of `max_iterations`, zeros behind the last iteration; and the last
        variables.

    Raises:
        OpError: `max_iterations` is missing, or while tracing more than `MINIDNN_MAX_TRIPS`; or variables change shape.
    """
    op = "while_loop"
    if max_iterations is None or int(max_iterations) < 1:
        raise OpError(f"{op}: max_iterations must be a positive number, got {max_iterations}")
    most = int(max_iterations)
    _check_count(op, most)
    variables, traced = _listed(loop_vars), None
    if not variables:
        raise OpError(f"{op}: loop_vars must not be empty")
    outputs: Any = []
    collected: list[list[ndarray]] = []
    for _ in range(most):
        condition = _decided(op, cond(*variables))
        going = condition.astype("bool")
        if going._trace is None and traced is None:
            if not going.item():
                break
            outputs, new = func(*variables)
            made, values = _listed(new), _listed(outputs) if _is_some(outputs) else []
            _want_same(op, "loop_vars", made, variables)
            variables = made
            collected.append(values)
            continue
        traced = going if traced is None else invoke_one("logical_and", traced, going)
        outputs, new = func(*variables)
        made, values = _listed(new), _listed(outputs) if _is_some(outputs) else []
        _want_same(op, "loop_vars", made, variables)
        variables = [invoke_one("where", traced, a, b) for a, b in zip(made, variables, strict=True)]
        collected.append([invoke_one("where", traced, v, _zeros(v)) for v in values])
    if collected and any(len(row) != len(collected[0]) for row in collected):
        raise OpError(f"{op}: outputs must be {len(collected[0])} arrays each time")
    stacked = [
        _stacked([*values, *[_zeros(values[0])] * (most - len(values))]) for values in zip(*collected, strict=True)
    ]
    return (_like(stacked, outputs) if stacked else []), _like(variables, loop_vars)


def _is_some(outputs: Any) -> bool:
    return outputs is not None and not (isinstance(outputs, (list, tuple)) and not outputs)


def _zeros(like: ndarray) -> ndarray:
    return invoke_one("full_like", like, fill_value=0)


def cond(
    pred: Any,
    then_func: Callable[..., Any],
    else_func: Callable[..., Any],
    inputs: Any = None,
    name: str = "cond",
) -> Any:
    """What one of two functions gives, by a condition.

    Args:
        pred: one number, or a function of `inputs` that gives it.
        then_func, else_func: functions of `inputs`, or of nothing without them; while tracing both are called, and
            their results must have the same shapes and dtypes.
        inputs: an array or a list of arrays.
        name: ignored.
    """
    op = "cond"
    arrays = [] if inputs is None else _listed(inputs)
    condition = _decided(op, pred(*arrays) if callable(pred) else pred).astype("bool")
    if condition._trace is None:
        return then_func(*arrays) if condition.item() else else_func(*arrays)
    taken, other = then_func(*arrays), else_func(*arrays)
    yes, no = _listed(taken), _listed(other)
    _want_same(op, "the results of else_func", no, yes)
    return _like([invoke_one("where", condition, a, b) for a, b in zip(yes, no, strict=True)], taken)
