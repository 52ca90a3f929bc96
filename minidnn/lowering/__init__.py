"""From a graph, its parameters and shapes to a `Program`: the only room that knows both ops and kernels."""

from minidnn.lowering.lower import has_kernel, lower, why_on_host
from minidnn.lowering.weight_store import WeightStore

__all__ = ["WeightStore", "has_kernel", "lower", "why_on_host"]
