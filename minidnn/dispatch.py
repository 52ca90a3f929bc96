"""The one way to apply an operator to the arrays users hold: recorded while tracing, computed otherwise."""

from __future__ import annotations

from typing import Any

from minidnn.numpy.base import apply
from minidnn.numpy.multiarray import ndarray

__all__ = ["binary", "invoke", "invoke_one", "product"]

binary = ndarray._binary
product = ndarray._product


def invoke(op_name: str, *inputs: Any, **attrs: Any) -> ndarray | tuple[ndarray, ...]:
    """Apply the operator `op_name` to `inputs`.

    Args:
        op_name: a name of the registry.
        inputs: arrays, ours or NumPy's, in the order of the operator's inputs.
        attrs: the operator's attributes.

    Returns:
        One array, or a tuple of them where the operator has several outputs.

    Raises:
        OpError: the inputs or attributes do not fit; the message begins with the layer's name.
    """
    outputs = apply(ndarray, op_name, inputs, attrs)
    return outputs[0] if len(outputs) == 1 else outputs


def invoke_one(op_name: str, *inputs: Any, **attrs: Any) -> ndarray:
    """`invoke` for an operator with one output."""
    (output,) = apply(ndarray, op_name, inputs, attrs)
    return output
