"""The one way to apply an operator: recorded while tracing, computed otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minidnn.errors import OpError, TypeMismatchError
from minidnn.ir import trace as tracing
from minidnn.numpy import multiarray
from minidnn.ops.checks import DTYPES
from minidnn.ops.registry import get_op

if TYPE_CHECKING:
    from minidnn.numpy.multiarray import ndarray

__all__ = ["as_native", "invoke", "invoke_one"]


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
    try:
        op = get_op(op_name)
        arrays = [_as_input(op_name, i, x) for i, x in enumerate(inputs)]
        made = op.make_attrs(attrs)
        trace = tracing.trace_of(arrays)
        outputs = trace.record(op, made, arrays) if trace is not None else _run(op, made, arrays)
    except OpError as error:
        scope = tracing.current_scope()
        if not scope:
            raise
        raise type(error)(f"{scope}: {error}") from None
    return outputs[0] if len(outputs) == 1 else outputs


def invoke_one(op_name: str, *inputs: Any, **attrs: Any) -> ndarray:
    """`invoke` for an operator with one output."""
    output = invoke(op_name, *inputs, **attrs)
    assert not isinstance(output, tuple)
    return output


def _run(op: Any, attrs: Any, arrays: Sequence[ndarray]) -> tuple[ndarray, ...]:
    # The engine stands on this module's siblings; it is looked up late so that neither waits for the other.
    from minidnn import engine

    results = engine.run_op(op, attrs, arrays)
    return tuple(multiarray.ndarray._wrap(_owned(result, arrays)) for result in results)


def _owned(result: np.ndarray[Any, Any], arrays: Sequence[ndarray]) -> np.ndarray[Any, Any]:
    """`result` itself, or a copy where it is a view on an input: outputs can be written to, inputs stay as they are."""
    if any(np.may_share_memory(result, a._data) for a in arrays if a._data is not None):
        return result.copy()
    return result


def _as_input(op_name: str, position: int, x: Any) -> ndarray:
    if isinstance(x, multiarray.ndarray):
        return x
    if isinstance(x, (np.ndarray, np.generic)):
        return multiarray.ndarray._wrap(as_native(np.asarray(x)))
    raise TypeMismatchError(f"{op_name}: input {position} must be an array, got {type(x).__name__}")


def as_native(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """`x`, or its copy, as kernels can read it: native byte order, aligned, C-contiguous, of a supported dtype.

    Raises:
        TypeMismatchError: a dtype that no operator knows (complex, object, strings, dates, records).
    """
    native = x.dtype.newbyteorder("=")
    if native not in DTYPES:
        raise TypeMismatchError(f"arrays of {x.dtype} are not supported; bool, integers and floats up to 64 bits are")
    return np.require(np.asarray(x), native, ["C", "A"]).reshape(x.shape)
