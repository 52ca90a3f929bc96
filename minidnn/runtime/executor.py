"""Running a program: memory for each call in flight, the table with its addresses filled in, the outputs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from minidnn.plan.layout import ALIGNMENT, COUNTER_WORDS, JOB_WORDS, LINE_BYTES, ROW_ARGUMENTS
from minidnn.plan.program import Address, Argument, HostStep, Kernel, Loop, NativeStep, Program, Tensor
from minidnn.runtime import recording
from minidnn.runtime.counters import COUNTERS, note_program
from minidnn.runtime.library import Library
from minidnn.runtime.memory import OUTPUTS, Arena, Arenas, size_class
from minidnn.runtime.recording import Recorder, Span
from minidnn.runtime.threads import ThreadPool, aligned_words

__all__ = ["Executor"]

# What every run needs beside the steps' own loops.
_DRIVER_LOOPS = ("run_loop", "help_loop")

Array = np.ndarray[Any, Any]

_NO_MEMORY: Array = np.empty(0, np.uint8)


def _new_output(tensor: Tensor, size: int) -> Array:
    block = OUTPUTS.take(size)
    skip = -block.ctypes.data % ALIGNMENT
    array: Array = np.ndarray(tensor.type.shape, tensor.type.dtype, block, skip, tensor.strides)
    return array


class Executor:
    """A program ready to run, from any number of Python threads at once.

    Args:
        program: what to run.
        library: has the kernels.
        pool: the threads that work.
        arenas: memory for temporaries, which programs that share it use in turns.
        is_operator: whether it is a single operator's, which runs eagerly.

    Raises:
        RuntimeError: a kernel could not be compiled.
    """

    def __init__(
        self,
        program: Program,
        library: Library,
        pool: ThreadPool,
        arenas: Arenas | None = None,
        is_operator: bool = False,
    ) -> None:
        self.program = program
        self.is_operator = is_operator
        self.arenas = Arenas() if arenas is None else arenas
        self._library = library
        self._pool = pool
        self._idle: list[_Context] = []
        self._outputs = [(t, size_class(t.type.nbytes + ALIGNMENT)) for t in program.outputs]
        # Compile now, not at the first run.
        native = [step for step in program.steps if isinstance(step, NativeStep)]
        arguments = [a for step in native for a in (step.loop, *step.arguments)]
        self.prepared = library.prepare(
            [*_DRIVER_LOOPS, *(a.name for a in arguments if isinstance(a, Loop))], program.kernels_ahead()
        )
        note_program(self)

    def resolve(self, argument: Kernel | Loop) -> int:
        if isinstance(argument, Kernel):
            return self._library.microkernel(argument.spec)
        return self._library.loop(argument.name)

    def __call__(self, inputs: Sequence[Array]) -> list[Array]:
        """Outputs for inputs; these must have the program's types and strides, which the caller has checked."""
        recorder = recording.current
        if recorder is not None:
            return self.record(inputs, recorder)
        # Taking from a list and giving back is one operation each: it needs no lock. A context comes back from a run
        # that has come to its end; what an interrupt or an error has left half changed is not used again.
        try:
            context = self._idle.pop()
        except IndexError:
            context = _Context(self, self.program)
        outputs = [_new_output(t, size) for t, size in self._outputs]
        context.run(inputs, outputs, self._pool)
        context.release_arrays()
        self._idle.append(context)
        return outputs

    def record(self, inputs: Sequence[Array], recorder: Recorder) -> list[Array]:
        """The same with each step run and timed by itself; the recorder gets the times."""
        # What is measured should not begin with memory that was never touched, so contexts are used again.
        idle = recorder.idle(self)
        try:
            context = idle.pop()
        except IndexError:
            context = _Context(self, self.program, single_steps=True)
        outputs = [_new_output(t, size) for t, size in self._outputs]
        recorder.add(self.program, context.run(inputs, outputs, self._pool, timed=True))
        context.release_arrays()
        idle.append(context)
        return outputs


class _Context:
    """The tables of one run, and where in them stand addresses of what is there only for a run: inputs, outputs, arena.

    Args:
        executor: finds the kernels.
        program: what to run.
        single_steps: whether each step is a job of its own, so that it can be timed.
    """

    def __init__(self, executor: Executor, program: Program, single_steps: bool = False) -> None:
        self._program, self._arenas = program, executor.arenas
        # Room behind: an int8 kernel reads whole groups of channels, the last one maybe beyond the end.
        self._arena_bytes = _aligned(program.arena_bytes + ALIGNMENT, LINE_BYTES) if program.arena_bytes else 0
        self._thread_bytes = _aligned(program.scratch_bytes, LINE_BYTES)
        self._arrays: dict[tuple[str, int], Array] = {}
        for i, constant in enumerate(program.constants):
            self._arrays["constant", i] = constant
        self._patches: list[tuple[int, int, tuple[str, int], int]] = []  # table, position, buffer, offset
        self._tables: list[Array] = []
        self._segments: list[int | HostStep] = []
        self._jobs: list[Array] = []
        self._counters: list[Array] = []  # only to keep them alive
        self._in_arena: list[tuple[Array, Array, Array]] = []  # table, positions, offsets
        self._placed = (0, 0)
        stretch: list[NativeStep] = []
        for step in program.steps:
            if isinstance(step, NativeStep):
                if single_steps:
                    self._add_table(executor, stretch)
                    stretch = []
                stretch.append(step)
                continue
            self._add_table(executor, stretch)
            stretch = []
            self._segments.append(step)
        self._add_table(executor, stretch)

    def _add_table(self, executor: Executor, steps: list[NativeStep]) -> None:
        if not steps:
            return
        words = ROW_ARGUMENTS + self._program.row_arguments
        table = aligned_words(len(steps) * words)
        counters = aligned_words(len(steps) * COUNTER_WORDS)
        number = len(self._tables)
        in_arena: dict[int, int] = {}
        for s, step in enumerate(steps):
            row = s * words
            table[row] = executor.resolve(step.loop)
            table[row + 1] = step.parts
            for a, argument in enumerate(step.arguments, row + ROW_ARGUMENTS):
                if isinstance(argument, Address) and argument.buffer.kind == "arena":
                    in_arena[a] = argument.offset
                else:
                    table[a] = self._value(executor, argument, number, a)
        if in_arena:
            self._in_arena.append((table, np.array([*in_arena]), np.array([*in_arena.values()])))
        job = aligned_words(JOB_WORDS)
        job[:4] = (table.ctypes.data, len(steps), words, counters.ctypes.data)
        self._tables.append(table)
        self._counters.append(counters)
        self._jobs.append(job)
        self._segments.append(job.ctypes.data)

    def _value(self, executor: Executor, argument: Argument, table: int, position: int) -> int:
        if isinstance(argument, int):
            return argument
        if isinstance(argument, (Kernel, Loop)):
            return executor.resolve(argument)
        buffer = (argument.buffer.kind, argument.buffer.index)
        if buffer in self._arrays:
            return int(self._arrays[buffer].ctypes.data) + argument.offset
        self._patches.append((table, position, buffer, argument.offset))
        return 0

    def run(
        self, inputs: Sequence[Array], outputs: Sequence[Array], pool: ThreadPool, timed: bool = False
    ) -> tuple[Span, ...]:
        """Compute the outputs; with `timed`, gives when each segment began and ended."""
        arena = self._take_arena(pool.threads)
        for i, array in enumerate(inputs):
            self._arrays["input", i] = array
        for i, array in enumerate(outputs):
            self._arrays["output", i] = array
        for table, position, buffer, offset in self._patches:
            self._tables[table][position] = self._arrays[buffer].ctypes.data + offset
        spans = []
        for segment in self._segments:
            begin = time.perf_counter() if timed else 0.0
            self._run_segment(segment, pool)
            if timed:
                spans.append((begin, time.perf_counter()))
        if arena is not None:
            self._arenas.give_back(arena)
        return tuple(spans)

    def _run_segment(self, segment: int | HostStep, pool: ThreadPool) -> None:
        if isinstance(segment, int):
            pool.run(segment)
            return
        COUNTERS.count_numpy(segment.operator or segment.name)
        results = segment.compute([self._view(t) for t in segment.inputs])
        for tensor, result in zip(segment.outputs, results, strict=True):
            self._view(tensor)[...] = result

    def _take_arena(self, threads: int) -> Arena | None:
        """An arena, with scratch memory for that many threads behind it, if one is needed; the tables lead to it."""
        size, begin, arena = self._arena_bytes + self._thread_bytes * threads, 0, None
        if size:
            arena = self._arenas.take(size)
            begin = arena.address
        # Tensors without elements lie in an arena even where there is none.
        self._arrays["arena", 0] = _NO_MEMORY if arena is None else arena.memory
        if (begin, threads) != self._placed:
            for table, positions, offsets in self._in_arena:
                table[positions] = offsets + begin
            for job in self._jobs:
                job[4:7] = (begin + self._arena_bytes, self._thread_bytes, threads)
            self._placed = (begin, threads)
        return arena

    def release_arrays(self) -> None:
        """Forget the caller's arrays and the arena, so that a resting context keeps no memory of others alive."""
        self._arrays.pop(("arena", 0), None)
        for kind, tensors in (("input", self._program.inputs), ("output", self._program.outputs)):
            for i in range(len(tensors)):
                self._arrays.pop((kind, i), None)

    def _view(self, tensor: Tensor) -> Array:
        buffer, offset = tensor.address.buffer, tensor.address.offset
        memory = _bytes_of(self._arrays[buffer.kind, buffer.index])
        view: Array = np.ndarray(tensor.type.shape, tensor.type.dtype, memory, offset, tensor.strides)
        return view


def _aligned(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment


def _bytes_of(array: Array) -> Array:
    """The memory of an array without gaps, whatever the order of its dimensions in it."""
    order = sorted(range(array.ndim), key=lambda d: -array.strides[d])
    memory: Array = array.transpose(order).reshape(-1).view(np.uint8)
    return memory
