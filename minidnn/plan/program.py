"""A program: steps, constants, and how much memory they need. Plain data; `Executor` runs it.

A native step is a kernel, its number of parts and a row of int64 arguments. Addresses are not known until
a run has memory, so an argument that is one is an `Address`: a buffer and an offset. A host step is an
operator without a kernel of its own: its NumPy reference, called between two stretches of native steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from minidnn.ops.registry import TensorType

if TYPE_CHECKING:
    # For types alone: `import minidnn` loads no compiler.
    from minidnn_kernels.isa import Isa

__all__ = [
    "Address",
    "Argument",
    "Buffer",
    "Check",
    "Cost",
    "HostStep",
    "Kernel",
    "KernelSpec",
    "Loop",
    "NativeStep",
    "Packing",
    "PlanStep",
    "Program",
    "Tensor",
    "describe_step",
]


@dataclass(frozen=True)
class Buffer:
    """Memory by kind: ``arena`` (one, index 0), ``constant``, ``input`` or ``output`` number `index`."""

    kind: str
    index: int = 0


@dataclass(frozen=True)
class Address:
    """A byte in a buffer."""

    buffer: Buffer
    offset: int = 0

    def __add__(self, offset: int) -> Address:
        return Address(self.buffer, self.offset + offset)


class KernelSpec(Protocol):
    """A microkernel that can be generated: a frozen dataclass whose `repr` says all there is to it."""

    @property
    def name(self) -> str: ...

    def emit(self, isa: Isa) -> str: ...


@dataclass(frozen=True)
class Kernel:
    """The address of a microkernel."""

    spec: KernelSpec


@dataclass(frozen=True)
class Loop:
    """The address of a loop of the library."""

    name: str


Argument = int | Address | Kernel | Loop


@dataclass(frozen=True)
class Cost:
    """What a step must do at least, for the profiler: arithmetic operations and bytes moved."""

    operations: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class NativeStep:
    """`loop` with `arguments`, in `parts` parts; each thread needs `scratch` bytes of memory for it.

    `result` is the type of what it makes, for the profiler.
    """

    name: str
    loop: Loop
    arguments: tuple[Argument, ...]
    parts: int
    cost: Cost = Cost()
    scratch: int = 0
    result: TensorType | None = None

    @cached_property
    def places(self) -> list[int]:
        """Which arguments are no numbers: few of many."""
        return [i for i, argument in enumerate(self.arguments) if type(argument) is not int]


class Packing:
    """A step that writes a constant.

    Args:
        step: its addresses are numbers.
        arrays: what lies there.

    Attributes:
        arrays: who runs the step holds them meanwhile; None: it has been run, and need not be run again.
    """

    __slots__ = ("arrays", "step")

    def __init__(self, step: NativeStep, *arrays: np.ndarray[Any, Any] | None) -> None:
        self.step = step
        self.arrays: tuple[np.ndarray[Any, Any] | None, ...] | None = arrays

    @property
    def is_done(self) -> bool:
        return self.arrays is None


@dataclass(frozen=True)
class Tensor:
    """Where a value lies: its type, its address, and its strides in bytes (None: C order)."""

    type: TensorType
    address: Address
    strides: tuple[int, ...] | None = None


@dataclass(frozen=True)
class HostStep:
    """``compute(input arrays) -> output arrays`` on NumPy views of the tensors.

    `operator` is what is computed, and `reason` why no kernel does it.
    """

    name: str
    compute: Callable[[Sequence[np.ndarray[Any, Any]]], Sequence[np.ndarray[Any, Any]]]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    operator: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Check:
    """Words that kernels leave for the end of a run: ``refuse(words)`` raises where a run must not have happened.

    Kernels cannot raise: one that meets an index beyond an axis reads another element, and says so here. A check that
    `decides` whether the program is for these inputs at all comes before those of what it computes.
    """

    words: Tensor
    refuse: Callable[[np.ndarray[Any, Any]], object]
    decides: bool = False


@dataclass(frozen=True)
class PlanStep:
    """One step as users see it.

    Args:
        name: of the node it computes, or what it does between nodes: ``reorder``, ``pad``, ``copy``.
        kernel: the loop and the microkernels it calls, as ``matmul: f32_6x2_add_relu``; ``NumPy`` on the host.
        on_host: whether NumPy runs it, the operator's reference, because no kernel does.
        shape: of what it makes; None where that is not known.
        dtype: likewise.
        reason: why NumPy runs it; empty where a kernel does.
    """

    name: str
    kernel: str
    on_host: bool
    shape: tuple[int, ...] | None
    dtype: np.dtype[Any] | None
    reason: str = ""


def describe_step(step: NativeStep | HostStep) -> PlanStep:
    """What there is to know of a step without its numbers."""
    if isinstance(step, HostStep):
        kernel, made = "NumPy", step.outputs[0].type if step.outputs else None
    else:
        specs = dict.fromkeys(a.spec.name for a in step.arguments if isinstance(a, Kernel))
        kernel = ": ".join([step.loop.name.removesuffix("_loop"), *([", ".join(specs)] if specs else [])])
        made = step.result
    shape, dtype = (None, None) if made is None else (made.shape, made.dtype)
    reason = step.reason if isinstance(step, HostStep) else ""
    return PlanStep(step.name, kernel, isinstance(step, HostStep), shape, dtype, reason)


# Python's objects for a step and for an argument, and the places of both in the tables of a run.
_STEP_BYTES, _ARGUMENT_BYTES = 1500, 60


@dataclass(frozen=True)
class Program:
    """Everything a run needs but its inputs.

    Args:
        steps: in order.
        constants: packed weights and tables, read-only, shared by all runs.
        arena_bytes: size of the one buffer all temporaries lie in.
        inputs, outputs: types and strides of what a run takes and gives.
        lent: numbers of constants that are parameters, or shared with other programs.
        ahead: microkernels that programs for other sizes may call.
        checks: what is looked at when a run is over.
        packings: what writes constants that had not been written yet; before the first run.
    """

    steps: tuple[NativeStep | HostStep, ...]
    constants: tuple[np.ndarray[Any, Any], ...]
    arena_bytes: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    lent: frozenset[int] = frozenset()
    ahead: tuple[KernelSpec, ...] = ()
    checks: tuple[Check, ...] = ()
    packings: tuple[Packing, ...] = ()

    @property
    def own_constants(self) -> list[np.ndarray[Any, Any]]:
        """Those that go with the program."""
        return [constant for i, constant in enumerate(self.constants) if i not in self.lent]

    @property
    def table_bytes(self) -> int:
        """About what the steps take in memory, their rows of arguments included."""
        arguments = sum(len(s.arguments) for s in self.steps if isinstance(s, NativeStep))
        return _STEP_BYTES * len(self.steps) + _ARGUMENT_BYTES * arguments

    @property
    def row_arguments(self) -> int:
        """The longest argument row."""
        return max((len(s.arguments) for s in self.steps if isinstance(s, NativeStep)), default=0)

    @property
    def scratch_bytes(self) -> int:
        """Scratch memory a thread needs."""
        return max((s.scratch for s in self.steps if isinstance(s, NativeStep)), default=0)

    def kernels(self) -> list[KernelSpec]:
        """The microkernels its steps call, each once, in order."""
        native = (step for step in self.steps if isinstance(step, NativeStep))
        arguments = (step.arguments[i] for step in native for i in step.places)
        # Equal layers have the same objects: hashing a specification takes a while.
        kernels = {id(a.spec): a.spec for a in arguments if isinstance(a, Kernel)}
        return list(dict.fromkeys(kernels.values()))

    def kernels_ahead(self) -> list[KernelSpec]:
        """`kernels`, and those to have ready."""
        return list(dict.fromkeys([*self.kernels(), *self.ahead]))

    def __str__(self) -> str:
        lines = [f"program: {len(self.steps)} steps, arena {self.arena_bytes:,} bytes"]
        for i, step in enumerate(self.steps):
            how = f"{step.loop.name} in {step.parts} parts" if isinstance(step, NativeStep) else "NumPy"
            lines.append(f"{i:4}  {step.name:44} {how}")
        return "\n".join(lines)
