"""The driver: one loop that walks a program's table, compiled by Numba and shared by all threads of a run.

Each step is cut into parts, in order of images and rows, and each thread is dealt a contiguous share of them: what a
step makes, the next one finds in the cache of the same core. A thread takes its parts from the front, and when it is
done those of others from their ends. A step is over when all its parts are done, so a thread may join a run late or
never: the others do its share. Nothing waits for a thread that is not working, and a process without helpers (after a
fork, say) still finishes.

A run pauses now and then, between two parts, so that Python can look for signals: Ctrl-C does not wait for the end
of a long one. It goes on from its shares.

A job is a row of int64:  [table, steps, words in a table row, counters, scratch memory, bytes of it per
                           thread, threads it is enough for, whether it is paused, threads it is dealt to]
A table row:              [kernel address, parts, the kernel's arguments ...]
Counters, for each step:  [parts done], and for each thread the share that is left to it: the first part, and 2^32
                          times the one behind the last; on cache lines of their own.
The pool's slot:          [the posted job or 0, threads looking at it], likewise; the job's own second line has
                          the number of helpers working on it.
"""

from __future__ import annotations

from numba import njit

from minidnn.plan.layout import LINE_BYTES, PAUSED_BYTE, ROW_ARGUMENTS, SHARES_BYTE
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

_ARGUMENT_BYTES = ROW_ARGUMENTS * 8
# Spins before a waiting thread offers its core to others: the thread it waits for may need it.
_PATIENCE = 4000
# Milliseconds between two pauses: nobody notices that Ctrl-C is so late, nor what a pause costs.
_STRETCH = 100
# Of a share: the first part in the lower half of a word, the end in the upper one.
_HALF = 32
_FIRST = (1 << _HALF) - 1


@njit(error_model="numpy", boundscheck=False)
def _deal(job: int, shares: int) -> None:
    """Give each thread its share of every step, in order."""
    table, steps, words, counter = load(job), load(job + 8), load(job + 16), load(job + 24)
    step_bytes = (1 + load(job + 48)) * LINE_BYTES
    store(job + SHARES_BYTE, shares)
    for step in range(steps):
        parts = load(table + step * words * 8 + 8)
        store(counter, 0)
        first = 0
        for thread in range(shares):
            # Rounded up: a single part is the first thread's.
            end = ((thread + 1) * parts + shares - 1) // shares
            store(counter + (1 + thread) * LINE_BYTES, first | end << _HALF)
            first = end
        counter += step_bytes


@njit(error_model="numpy", boundscheck=False)
def _take(share: int, from_front: bool) -> int:
    """A part of the share at that address, from one of its ends; -1 if none is left."""
    word = atomic_load(share)
    while True:
        first, end = word & _FIRST, word >> _HALF
        if first >= end:
            return -1
        part: int = first if from_front else end - 1
        seen = compare_exchange(share, word, word + 1 if from_front else word - (1 << _HALF))
        if seen == word:
            return part
        word = seen


@njit(error_model="numpy", boundscheck=False)
def _next_part(counter: int, thread: int, shares: int) -> int:
    """A part of the thread's own share, or of the next one's that has any left; -1 if none has."""
    part = _take(counter + (1 + thread) * LINE_BYTES, True) if thread < shares else -1
    other = thread
    for _ in range(shares):
        if part >= 0:
            break
        other = other + 1 if other + 1 < shares else 0
        part = _take(counter + (1 + other) * LINE_BYTES, False)
    return part


@njit(error_model="numpy", boundscheck=False)
def _drive(job: int, thread: int, deadline: int) -> None:
    table, steps, words, counters = load(job), load(job + 8), load(job + 16), load(job + 24)
    memory = load(job + 32) + thread * load(job + 40)
    step_bytes, shares = (1 + load(job + 48)) * LINE_BYTES, load(job + SHARES_BYTE)
    for step in range(steps):
        row = table + step * words * 8
        counter = counters + step * step_bytes
        parts = load(row + 8)
        while True:
            if atomic_load(job + PAUSED_BYTE) != 0:
                return
            part = _next_part(counter, thread, shares)
            if part < 0:
                break
            call4(load(row), row + _ARGUMENT_BYTES, part, parts, memory)
            atomic_add(counter, 1)
            if thread == 0 and milliseconds() > deadline:
                atomic_store(job + PAUSED_BYTE, 1)
        spins = 0
        while atomic_load(counter) < parts:
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
        _deal(job, load(job + 48) if helpers > 0 else 1)
    store(job + PAUSED_BYTE, 0)
    store(job + LINE_BYTES, 0)
    posted = helpers > 0 and compare_exchange(slot, 0, job) == 0
    if resumed == 0 and helpers > 0 and not posted:
        _deal(job, 1)
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
