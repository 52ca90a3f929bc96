"""The driver: one loop that walks a program's table, compiled by Numba and shared by all threads of a run.

Each step is cut into parts. Threads take parts from a counter until none is left, and a step is over when
all its parts are done, so a thread may join a run late or never: the others do its share. Nothing waits
for a thread that is not working, and a process without helpers (after a fork, say) still finishes.

A run pauses now and then, between two parts, so that Python can look for signals: Ctrl-C does not wait for the end
of a long one. It goes on from its counters.

A job is a row of int64:  [table, steps, words in a table row, counters, scratch memory, bytes of it per
                           thread, threads it is enough for, whether it is paused]
A table row:              [kernel address, parts, the kernel's arguments ...]
Counters, for each step:  [next part, parts done], on cache lines of their own.
The pool's slot:          [the posted job or 0, threads looking at it], likewise; the job's own second line has
                          the number of helpers working on it.
"""

from __future__ import annotations

from numba import njit

from minidnn.plan.layout import COUNTER_WORDS, LINE_BYTES, PAUSED_BYTE, ROW_ARGUMENTS
from minidnn_kernels.loop_words import (
    atomic_add,
    atomic_load,
    atomic_store,
    call4,
    compare_exchange,
    load,
    milliseconds,
    pause,
    store,
    yield_cpu,
)

__all__ = ["help_loop", "run_loop"]

_STEP_BYTES = COUNTER_WORDS * 8
_ARGUMENT_BYTES = ROW_ARGUMENTS * 8
# Spins before a waiting thread offers its core to others: the thread it waits for may need it.
_PATIENCE = 4000
# Milliseconds between two pauses: nobody notices that Ctrl-C is so late, nor what a pause costs.
_STRETCH = 100


@njit(error_model="numpy", boundscheck=False)
def _drive(job: int, thread: int, deadline: int) -> None:
    table, steps, words, counters = load(job), load(job + 8), load(job + 16), load(job + 24)
    memory = load(job + 32) + thread * load(job + 40)
    for step in range(steps):
        row = table + step * words * 8
        counter = counters + step * _STEP_BYTES
        parts = load(row + 8)
        while atomic_load(counter) < parts:
            if atomic_load(job + PAUSED_BYTE) != 0:
                return
            part = atomic_add(counter, 1)
            if part < parts:
                call4(load(row), row + _ARGUMENT_BYTES, part, parts, memory)
                atomic_add(counter + LINE_BYTES, 1)
                if thread == 0 and milliseconds() > deadline:
                    atomic_store(job + PAUSED_BYTE, 1)
        spins = 0
        while atomic_load(counter + LINE_BYTES) < parts:
            if atomic_load(job + PAUSED_BYTE) != 0:
                return  # there may be parts that nobody takes
            pause()
            spins += 1
            if spins > _PATIENCE:
                yield_cpu()


@njit(error_model="numpy", boundscheck=False)
def _wait_for_zero(address: int) -> None:
    spins = 0
    while atomic_load(address) != 0:
        pause()
        spins += 1
        if spins > _PATIENCE:
            yield_cpu()


def run_loop(slot: int, job: int, helpers: int, resumed: int) -> None:
    """Run a job to its end or to a pause; with helpers, post it for them unless another job is posted already.

    When it returns, no helper works on the job. Paused, it goes on when it is called again with `resumed`.
    """
    if resumed == 0:
        counters = load(job + 24)
        for step in range(load(job + 8)):
            store(counters + step * _STEP_BYTES, 0)
            store(counters + step * _STEP_BYTES + LINE_BYTES, 0)
    store(job + PAUSED_BYTE, 0)
    store(job + LINE_BYTES, 0)
    posted = helpers > 0 and compare_exchange(slot, 0, job) == 0
    _drive(job, 0, milliseconds() + _STRETCH)
    if posted:
        atomic_store(slot, 0)
        _wait_for_zero(slot + LINE_BYTES)
        _wait_for_zero(job + LINE_BYTES)


def help_loop(slot: int, patience: int, thread: int, unused: int) -> None:
    """Work on posted jobs as thread number `thread` (1 and up); return when none was posted for `patience` spins."""
    idle = 0
    while idle < patience:
        if atomic_load(slot) != 0:
            # Announce first, look again after: the owner clears the slot first and waits for this count after.
            # It is held for a moment only, so that nobody waits for the helpers of another's job.
            atomic_add(slot + LINE_BYTES, 1)
            job = atomic_load(slot)
            if job != 0 and thread < load(job + 48):
                atomic_add(job + LINE_BYTES, 1)
                atomic_add(slot + LINE_BYTES, -1)
                _drive(job, thread, 0)
                atomic_add(job + LINE_BYTES, -1)
            else:
                atomic_add(slot + LINE_BYTES, -1)
            idle = 0
        pause()
        idle += 1
