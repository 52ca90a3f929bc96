"""Integers of a graph that MXNet quantized: which dtype and range they have, as far as the file says so."""

from __future__ import annotations

from functools import cached_property

from minidnn.interop.mxnet_node import MxnetNode
from minidnn.ir.graph import Entry, Node

__all__ = ["Integers", "dtype_of"]

_LIMITS = {"int8": 127.0, "uint8": 255.0}
_PREFIX = "mxnet_quantized_"
# What leaves integers and their range as they are, or orders them.
_MOVING = frozenset(_PREFIX + name for name in ("act", "pooling", "flatten", "transpose", "reshape"))
_CALIBRATED = frozenset({"mxnet_quantize_v2", "mxnet_requantize", _PREFIX + "add"})


class Integers:
    """A tensor of integers with its range, an input of a node that is being read.

    Args:
        node: the node.
        q: the integers.
        low, high: the ends of the range.
    """

    def __init__(self, node: MxnetNode, q: Entry, low: Entry, high: Entry) -> None:
        self._node, self.q, self.low, self.high = node, q, low, high
        self.dtype = dtype_of(q)

    @cached_property
    def level(self) -> Entry:
        """What one step stands for: a number where the file says range and dtype."""
        ends = _end(self.low), _end(self.high)
        suffix = f"{self._position}_level"
        if self.dtype is not None and None not in ends:
            largest = max(end for end in ends if end is not None)
            return self._node.constant(suffix, largest / _LIMITS[self.dtype])
        return self._node.before(suffix, "mxnet_level", {}, self.q, self.low, self.high)

    @cached_property
    def real(self) -> Entry:
        """The real numbers."""
        zero = self._node.constant(f"{self._position}_zero", 0.0)
        return self._node.before(f"{self._position}_real", "dequantize_linear", {}, self.q, self.level, zero)

    @property
    def _position(self) -> str:
        return f"input{list(self._node.inputs).index(self.q)}"


def dtype_of(q: Entry) -> str | None:
    """The dtype of integers; None where it is not known before the graph runs, and for floats."""
    node = q.node
    if q.index or node.is_variable:
        return None
    if node.op_name in ("quantize_linear", "quantize"):
        return str(node.attrs.out_type)
    if node.op_name in _MOVING:
        return dtype_of(node.inputs[0])
    if node.op_name == "mxnet_quantize_v2" and node.attrs.out_type == "auto":
        low = node.attrs.min_calib_range
        return "uint8" if low is not None and low >= 0 else "int8"
    if node.op_name in ("mxnet_quantize_v2", "mxnet_quantize"):
        return str(node.attrs.out_type)
    if node.op_name == "mxnet_requantize" or (node.op_name == _PREFIX + "add" and _calibrated(node) is not None):
        return "int8"
    return None


def _end(entry: Entry) -> float | None:
    """The magnitude of one end of a range; None where it is found at run time."""
    node = entry.node
    if node.is_variable:
        return None
    if node.op_name == "full":
        return abs(float(node.attrs.value))
    if node.op_name in _MOVING and entry.index:
        return _end(node.inputs[entry.index])
    if node.op_name in _CALIBRATED and entry.index:
        return _calibrated(node)
    return None


def _calibrated(node: Node) -> float | None:
    low, high = node.attrs.min_calib_range, node.attrs.max_calib_range
    return None if low is None or high is None else max(abs(low), abs(high))
