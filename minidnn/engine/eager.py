"""Operators on arrays, one at a time, through the kernels that fused graphs use."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from minidnn.engine.compiling import load_compiler, log_on_host, make_executor, refuse_nan
from minidnn.ir.graph import Graph, make_node, make_variable
from minidnn.ops.registry import Attrs, Op, TensorType
from minidnn.runtime.counters import COUNTERS
from minidnn.runtime.memory import Arenas
from minidnn.runtime.program_cache import Owner, ProgramCache
from minidnn.runtime.recording import run_on_host
from minidnn.scope import current_scope

if TYPE_CHECKING:
    from minidnn.runtime.executor import Executor

__all__ = ["Operand", "contiguous", "run_op"]

_log = logging.getLogger(__name__)

Array = np.ndarray[Any, Any]

_PLAIN, _CHANNELS_LAST = "plain", "channels_last"

# Programs that are kept, and bytes of their tables.
_programs: ProgramCache[Executor] = ProgramCache(1024, 192 << 20)
_arenas = Arenas(256 << 20)
_without_weights: Owner[Executor] = Owner()
# Sets of other weights, of which one that comes first in an operator keeps programs.
_OWNERS = 4


class Operand(Protocol):
    """What the engine asks of an array that users hold."""

    @property
    def _type(self) -> TensorType: ...

    @property
    def _version(self) -> int:
        """Number of writes to its memory so far."""

    @property
    def _compiled(self) -> dict[Any, Any]:
        """Room for kernels that baked the array in; empty again after any write to its memory."""

    def _read(self, what: str) -> Array:
        """The data; an error that names `what` where there is none."""


class _WeightOwner(Owner["Executor"]):
    """Programs of weights: hung on the first of them, they die with it, or when it is written to."""

    __slots__ = ("_others",)

    def __init__(self, others: Sequence[Operand]) -> None:
        super().__init__()
        self._others = [(other, other._version) for other in others]

    def is_current(self, others: Sequence[Operand]) -> bool:
        """Whether the other weights are the same, and have not been written to either."""
        for other, (known, version) in zip(others, self._others, strict=True):
            if other is not known or other._version != version:
                return False
        return True


def _owner_of(weights: Sequence[Operand]) -> Owner[Executor]:
    if not weights:
        return _without_weights
    first, *others = weights
    owners, key = first._compiled, tuple(map(id, others))
    owner = owners.get(key)
    if owner is None or not owner.is_current(others):
        owner = owners[key] = _WeightOwner(others)
        for older in [*owners][:-_OWNERS]:
            owners.pop(older, None)
    return owner


def run_op(op: Op, attrs: Attrs, arrays: Sequence[Operand]) -> tuple[Array, ...]:
    """One operator on arrays, by the kernels that fused graphs use; by its reference where it has none.

    Results of convolutions and their like may have channels-last strides: whatever comes next reads them
    as they are.

    Raises:
        OpError: the arrays do not fit.
    """
    load_compiler()
    from minidnn.lowering import has_kernel, why_on_host  # deferred: it loads the compiler

    types = tuple(a._type for a in arrays)
    data = [a._read(op.name) for a in arrays]
    if not op.is_dynamic:
        op.infer_types(attrs, types)
    for name, array in zip(op.input_names(attrs), data, strict=True):
        refuse_nan(f"{op.name}: {name}", array)
    if op.is_dynamic or not has_kernel(op.name, types, attrs):
        if _log.isEnabledFor(logging.INFO):
            log_on_host(op.name, current_scope() or op.name, why_on_host(op.name, types, is_alone=True))
        return run_on_host(op.name, lambda: op.compute(attrs, *data))
    names = op.input_names(attrs)
    weights = [i for i, name in enumerate(names) if name in op.parameters]
    moving = [i for i in range(len(arrays)) if i not in weights]
    read = [_readable(data[i]) for i in moving]
    layouts = tuple(_layout(a) for a in read)
    owner, key = _owner_of([arrays[i] for i in weights]), _key(op, attrs, types, layouts)
    executor = _counted(_programs.find(owner, key))
    if executor is None:
        variables = [make_variable(f"in{i}") for i in range(len(arrays))]
        node = make_node(op, op.name, variables, attrs)
        graph = Graph([node[i] for i in range(node.num_outputs)])
        inputs = {f"in{i}": (types[i], layout) for i, layout in zip(moving, layouts, strict=True)}
        versions = {f"in{i}": arrays[i]._version for i in weights}
        executor = make_executor(
            graph, {f"in{i}": data[i] for i in weights}, inputs, None, versions, _arenas, op.name, is_operator=True
        )
        _programs.keep(owner, key, executor)
    return tuple(executor(read))


def _counted(found: Executor | None) -> Executor | None:
    (COUNTERS.program_misses if found is None else COUNTERS.program_hits).add()
    return found


def _key(op: Op, attrs: Attrs, types: tuple[TensorType, ...], layouts: tuple[str, ...]) -> tuple[Any, ...]:
    # 0.0 and -0.0 are equal, but dividing by them is not the same.
    signs = tuple(math.copysign(1.0, v) for v in attrs.values() if isinstance(v, float) and v == 0)
    return (op.name, attrs, signs, types, layouts)


def _layout(array: Array) -> str:
    """How a readable array lies in memory."""
    return _PLAIN if array.flags.c_contiguous else _CHANNELS_LAST


def _is_channels_last(array: Array) -> bool:
    return array.ndim > 2 and np.moveaxis(array, 1, -1).flags.c_contiguous


def _readable(array: Array) -> Array:
    """The array as kernels can read it, in C order or channels last: itself, or a copy."""
    good = array.dtype.isnative and array.flags.aligned
    if good and (array.flags.c_contiguous or _is_channels_last(array)):
        return array
    return np.require(array, array.dtype.newbyteorder("="), ["C", "A"]).reshape(array.shape)


def contiguous(array: Array) -> Array:
    """The array in C order, aligned, in native byte order: itself if it is all that, else a copy.

    A channels-last array is reordered by a kernel, on all threads.
    """
    readable = _readable(array)
    if readable.flags.c_contiguous:
        return readable
    type_ = TensorType.of(readable)
    key = ("contiguous", type_)
    executor = _counted(_programs.find(_without_weights, key))
    if executor is None:
        variable = make_variable("in0")
        given = {"in0": (type_, _CHANNELS_LAST)}
        executor = make_executor(Graph([variable]), {}, given, [_PLAIN], {}, _arenas, "reorder", is_operator=True)
        _programs.keep(_without_weights, key, executor)
    return executor([readable])[0]
