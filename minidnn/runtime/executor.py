"""Running a program: memory for each call in flight, the table with its addresses filled in, the outputs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minidnn.plan.layout import ALIGNMENT, LINE_BYTES, ROW_ARGUMENTS
from minidnn.plan.program import Address, Argument, HostStep, Kernel, Loop, NativeStep, Packing, Program, Tensor
from minidnn.runtime import recording
from minidnn.runtime.counters import COUNTERS, note_program
from minidnn.runtime.library import Library
from minidnn.runtime.memory import OUTPUTS, Arena, Arenas, address_of, size_class
from minidnn.runtime.recording import Recorder, Span
from minidnn.runtime.threads import Job, ThreadPool, aligned_words, view_words

__all__ = ["Executor"]

# What every run needs beside the steps' own loops.
_DRIVER_LOOPS = ("run_loop", "help_loop")

Array = np.ndarray[Any, Any]
# By kind of buffer, then by number.
_Arrays = Mapping[str, Sequence[Array]]

_NO_MEMORY: Array = np.empty(0, np.uint8)


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
        # Compile now, not at the first run.
        held = {packing: packing.arrays for packing in program.packings}
        packings = [packing for packing, arrays in held.items() if arrays is not None]
        steps = (*program.steps, *(packing.step for packing in packings))
        native = [step for step in steps if isinstance(step, NativeStep)]
        called = [a for step in native for a in (step.loop, *(step.arguments[i] for i in step.places))]
        packers = [a.spec for packing in packings for a in packing.step.arguments if isinstance(a, Kernel)]
        self.prepared = library.prepare(
            [*_DRIVER_LOOPS, *(a.name for a in called if isinstance(a, Loop))], [*program.kernels_ahead(), *packers]
        )
        self._pack(packings)
        note_program(self)

    def _pack(self, packings: Sequence[Packing]) -> None:
        """Have constants written that nobody has written yet, as far as is known; the caller holds the arrays."""
        if not packings:
            return
        steps = [packing.step for packing in packings]
        words = ROW_ARGUMENTS + max(len(step.arguments) for step in steps)
        table = aligned_words(len(steps) * words).reshape(-1, words)
        for row, step in zip(table, steps, strict=True):
            arguments = [self.resolve(a) if isinstance(a, (Kernel, Loop)) else a for a in step.arguments]
            row[: ROW_ARGUMENTS + len(arguments)] = [self.resolve(step.loop), step.parts, *arguments]
        job = Job(table, max(step.parts for step in steps))
        job.place(0, 0, min(job.most_parts, self._pool.threads))
        self._pool.run(job)
        for packing in packings:
            packing.arrays = None

    def resolve(self, argument: Kernel | Loop) -> int:
        if isinstance(argument, Kernel):
            return self._library.microkernel(argument.spec)
        return self._library.loop(argument.name)

    @property
    def is_native(self) -> bool:
        """Whether NumPy runs no step of it, and no run is refused but for values that it is not the program for."""
        program = self.program
        return all(check.decides for check in program.checks) and all(
            isinstance(step, NativeStep) for step in program.steps
        )

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
        outputs = context.run(inputs, self._pool)
        self._idle.append(context)
        return outputs

    def record(self, inputs: Sequence[Array], recorder: Recorder) -> list[Array]:
        """The same with each step run and timed by itself; the recorder gets the times."""
        # What is measured should not begin with memory that was never touched, so contexts are used again.
        idle = recorder.idle(self)
        try:
            context: _Context = idle.pop()
        except IndexError:
            context = _Context(self, self.program, single_steps=True)
        spans: list[Span] = []
        outputs = context.run(inputs, self._pool, spans)
        recorder.add(self.program, tuple(spans))
        idle.append(context)
        return outputs


# Where an address is put into tables: the words of a table, the place in it, and an offset to the address.
_Places = list[tuple[memoryview, int, int]]


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
        self._has_memory = self._arena_bytes + self._thread_bytes > 0
        self._places: dict[str, list[_Places]] = {
            "input": [[] for _ in program.inputs],
            "output": [[] for _ in program.outputs],
        }
        self._segments: list[Job | HostStep] = []
        self._in_arena: list[tuple[Array, Array, Array]] = []  # words of a table, positions, offsets
        stretch: list[NativeStep] = []
        for step in program.steps:
            if isinstance(step, NativeStep):
                if single_steps:
                    self._add_job(executor, stretch)
                    stretch = []
                stretch.append(step)
                continue
            self._add_job(executor, stretch)
            stretch = []
            self._segments.append(step)
        self._add_job(executor, stretch)
        self._checks = program.checks
        self._jobs = [segment for segment in self._segments if isinstance(segment, Job)]
        self._most_threads = max((job.most_parts for job in self._jobs), default=1)
        self._inputs = [(i, places) for i, places in enumerate(self._places["input"]) if places]
        self._outputs = [
            (t.type.shape, t.type.dtype, t.strides, size_class(t.type.nbytes + ALIGNMENT), places)
            for t, places in zip(program.outputs, self._places["output"], strict=True)
        ]
        self._place(0, 1)

    def _add_job(self, executor: Executor, steps: list[NativeStep]) -> None:
        if not steps:
            return
        row_words = ROW_ARGUMENTS + self._program.row_arguments
        words = aligned_words(len(steps) * row_words)
        places = view_words(words)
        in_arena: dict[int, int] = {}
        resolved: dict[int, int] = {}
        for s, step in enumerate(steps):
            row = s * row_words
            arguments = [executor.resolve(step.loop), step.parts, *step.arguments]
            for i in step.places:
                argument, place = step.arguments[i], row + ROW_ARGUMENTS + i
                if isinstance(argument, Address) and argument.buffer.kind == "arena":
                    in_arena[place] = argument.offset
                    value = 0
                elif id(argument) in resolved:
                    value = resolved[id(argument)]
                else:
                    value = self._value(executor, argument, places, place)
                    if isinstance(argument, Kernel):
                        resolved[id(argument)] = value
                arguments[ROW_ARGUMENTS + i] = value
            words[row : row + len(arguments)] = arguments
        if in_arena:
            self._in_arena.append((words, np.array([*in_arena]), np.array([*in_arena.values()])))
        self._segments.append(Job(words.reshape(-1, row_words), max(step.parts for step in steps)))

    def _value(self, executor: Executor, argument: Argument, words: memoryview, position: int) -> int:
        if isinstance(argument, int):
            return argument
        if isinstance(argument, (Kernel, Loop)):
            return executor.resolve(argument)
        kind, index = argument.buffer.kind, argument.buffer.index
        if kind == "constant":
            return address_of(self._program.constants[index]) + argument.offset
        self._places[kind][index].append((words, position, argument.offset))
        return 0

    def run(self, inputs: Sequence[Array], pool: ThreadPool, spans: list[Span] | None = None) -> list[Array]:
        """The outputs; `spans` gets when each segment began and ended."""
        outputs: list[Array] = []
        for shape, dtype, strides, size, places in self._outputs:
            block = OUTPUTS.take(size)
            address = address_of(block)
            skip = -address % ALIGNMENT
            outputs.append(np.ndarray(shape, dtype, block, skip, strides))
            for words, position, offset in places:
                words[position] = address + skip + offset
        for i, places in self._inputs:
            address = address_of(inputs[i])
            for words, position, offset in places:
                words[position] = address + offset
        arena = self._take_arena(pool) if self._has_memory or self._most_threads > 1 else None
        if spans is None and len(self._jobs) == len(self._segments):
            for job in self._jobs:
                pool.run(job)
        else:
            self._run_segments(self._by_buffer(inputs, outputs, arena), pool, spans)
        if self._checks:
            arrays = self._by_buffer(inputs, outputs, arena)
            for check in self._checks:
                check.refuse(_view(check.words, arrays))
        if arena is not None:
            self._arenas.give_back(arena)
        return outputs

    def _run_segments(self, arrays: _Arrays, pool: ThreadPool, spans: list[Span] | None) -> None:
        for segment in self._segments:
            begin = time.perf_counter()
            if isinstance(segment, Job):
                pool.run(segment)
            else:
                _run_on_host(segment, arrays)
            if spans is not None:
                spans.append((begin, time.perf_counter()))

    def _take_arena(self, pool: ThreadPool) -> Arena | None:
        """An arena, with scratch memory for all threads behind it, if one is needed; the tables lead to it."""
        threads, arena = min(self._most_threads, pool.threads), None
        if self._has_memory:
            arena = self._arenas.take(self._arena_bytes + self._thread_bytes * threads)
        begin = 0 if arena is None else arena.address
        if (begin, threads) != self._placed:
            self._place(begin, threads)
        return arena

    def _place(self, begin: int, threads: int) -> None:
        """Have the tables lead to an arena that begins there, with memory for that many threads behind it."""
        for words, positions, offsets in self._in_arena:
            words[positions] = offsets + begin
        for job in self._jobs:
            job.place(begin + self._arena_bytes, self._thread_bytes, threads)
        self._placed = (begin, threads)

    def _by_buffer(self, inputs: Sequence[Array], outputs: Sequence[Array], arena: Arena | None) -> _Arrays:
        """What steps on NumPy read and write."""
        # Tensors without elements lie in an arena even where there is none.
        memory = _NO_MEMORY if arena is None else arena.memory
        return {"arena": (memory,), "constant": self._program.constants, "input": inputs, "output": outputs}


def _run_on_host(step: HostStep, arrays: _Arrays) -> None:
    COUNTERS.count_numpy(step.operator or step.name)
    results = step.compute([_view(tensor, arrays) for tensor in step.inputs])
    for tensor, result in zip(step.outputs, results, strict=True):
        _view(tensor, arrays)[...] = result


def _view(tensor: Tensor, arrays: _Arrays) -> Array:
    buffer, offset = tensor.address.buffer, tensor.address.offset
    memory = _bytes_of(arrays[buffer.kind][buffer.index])
    view: Array = np.ndarray(tensor.type.shape, tensor.type.dtype, memory, offset, tensor.strides)
    return view


def _aligned(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment


def _bytes_of(array: Array) -> Array:
    """The memory of an array without gaps, whatever the order of its dimensions in it."""
    if array.ndim == 1 and array.dtype == np.uint8:
        return array
    order = sorted(range(array.ndim), key=lambda d: -array.strides[d])
    memory: Array = array.transpose(order).reshape(-1).view(np.uint8)
    return memory
