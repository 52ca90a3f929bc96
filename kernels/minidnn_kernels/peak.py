"""The machine's limits, measured: what a share of the peak is a share of."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from minidnn_kernels.isa import Isa, best_isa
from minidnn_kernels.loader import Loader
from minidnn_kernels.simd import Simd, const, new_function

__all__ = ["measure_bandwidth", "measure_fma_peak"]

# Independent chains: more than latency times throughput of any core, few enough for any register file.
_CHAINS = 12
_STEPS = 2_000_000
_ROUNDS = 7


@dataclass(frozen=True)
class _FmaChains:
    """Nothing but fused multiply-adds on registers (on an ISA without them, multiplications and additions)."""

    @property
    def name(self) -> str:
        return f"f32_peak_{_CHAINS}_chains"

    def emit(self, isa: Isa) -> str:
        module, function, builder = new_function(self.name, ("steps", "memory"))
        s = Simd(builder, isa)
        steps, memory = function.args
        x = s.load(memory)
        with s.loop(const(0), steps, 1, [s.splat(0.0)] * _CHAINS) as loop:
            loop.next = [s.fma(x, x, value) for value in loop.values]
        total = loop.results[0]
        for value in loop.results[1:]:
            total = builder.fadd(total, value)
        s.store(total, memory)
        builder.ret_void()
        return str(module)


def _best_of(threads: int, work: Callable[[int], None]) -> float:
    """The shortest time in seconds in which every thread has done ``work(thread)``."""
    best = float("inf")
    for _ in range(_ROUNDS):
        barrier = threading.Barrier(threads + 1)

        def run(number: int, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            work(number)

        workers = [threading.Thread(target=run, args=(i,)) for i in range(threads)]
        for worker in workers:
            worker.start()
        barrier.wait()
        begin = time.perf_counter()
        for worker in workers:
            worker.join()
        best = min(best, time.perf_counter() - begin)
    return best


def measure_fma_peak(threads: int, isa: Isa | None = None) -> float:
    """Float32 operations a second that `threads` threads can do, in operations (not giga), two per multiply-add.

    Args:
        threads: how many run at once.
        isa: for which instructions; the best of this machine by default.
    """
    from minidnn_kernels.codegen import emit_object  # deferred: it loads LLVM

    isa = isa or best_isa()
    spec = _FmaChains()
    loader = Loader()  # the code lives as long as it
    address = loader.load(emit_object(spec.emit(isa), isa), spec.name)
    kernel = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64)(address)
    memory = [np.full(64, 1e-20, np.float32) for _ in range(threads)]
    seconds = _best_of(threads, lambda i: kernel(_STEPS, memory[i].ctypes.data))
    del loader
    return 2.0 * _CHAINS * isa.lanes * _STEPS * threads / seconds


def measure_bandwidth(threads: int, nbytes: int = 1 << 28) -> float:
    """Bytes a second that `threads` threads read from main memory, by summing arrays larger than any cache."""
    arrays = [np.ones(nbytes // threads // 8) for _ in range(threads)]
    seconds = _best_of(threads, lambda i: arrays[i].sum())
    return float(sum(a.nbytes for a in arrays)) / seconds
