"""``mx.random``: the seed of the random number generator behind the initializers and ``mx.np.random``."""

from __future__ import annotations

from minidnn.errors import MXNetError
from minidnn.generator import generator, restart
from minidnn.ir import trace as tracing

__all__ = ["generator", "seed"]


def seed(seed_state: int, device: object = "all") -> None:
    """Restart the process's generator; the same seed gives the same numbers, eager and compiled.

    Args:
        seed_state: any integer; negative ones are taken modulo 2**64.
        device: accepted for MXNet's sake; all devices share one generator.

    Raises:
        MXNetError: a network is being traced: the seed would be set then, and never when it runs.
    """
    if tracing.current_trace() is not None:
        raise MXNetError("random.seed cannot be traced: call it outside forward()")
    restart(int(seed_state))
