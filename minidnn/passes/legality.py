"""What can be part of a kernel's epilogue: one predicate, which passes ask before they fuse and lowering asks too.

It needs no machine. Where types are not known it supposes that they fit; lowering asks again, with all types known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minidnn.errors import OpError
from minidnn.ir.graph import Entry, Node
from minidnn.ir.roles import input_roles
from minidnn.ops.checks import DTYPES
from minidnn.ops.registry import TensorType

__all__ = ["can_be_epilogue", "can_join_epilogue", "is_elementwise", "is_epilogue_group", "result_dtype"]

_FLOAT32 = np.dtype(np.float32)


def can_be_epilogue(node: Node) -> bool:
    """Whether operator and attributes are something that kernels do in an epilogue, whatever the types."""
    return node.op is not None and node.subgraph is None and node.op.epilogue_step(node.attrs) is not None


def is_elementwise(node: Node) -> bool:
    """Whether an operation computes each element of its result from the same element of its inputs.

    A batch normalization counts: at inference it is a multiplication and an addition per channel.
    """
    return node.op is not None and (node.op.kind == "elementwise" or node.op.affine is not None)


def can_join_epilogue(node: Node, types: Mapping[Entry, TensorType]) -> bool:
    """Whether passes may put an operation into an epilogue, or into a group of elementwise operations.

    Args:
        node: the operation.
        types: the types that are known.
    """
    if not can_be_epilogue(node) or not is_elementwise(node) or node.num_outputs != 1:
        return False
    assert node.op is not None
    known = [types[e].dtype for e in (node[0], *node.inputs) if e in types]
    # What has parameters is computed in float32 alone.
    return all(d == _FLOAT32 if node.op.affine is not None or node.op.parameters else d in DTYPES for d in known)


def result_dtype(node: Node, dtypes: Sequence[np.dtype[Any]]) -> np.dtype[Any] | None:
    """The dtype of an elementwise operation's result, by those of its inputs; None where it refuses them."""
    assert node.op is not None
    if node.op.affine is not None:
        return dtypes[0]
    roles = input_roles(node)
    types = [TensorType((1,) if role.is_parameter else (1, 1), d) for role, d in zip(roles, dtypes, strict=True)]
    try:
        return node.op.infer_types(node.attrs, types)[0].dtype
    except OpError:
        return None


def is_epilogue_group(nodes: Sequence[Node], types: Mapping[Entry, TensorType], shape: tuple[int, ...]) -> bool:
    """Whether one epilogue over results of that shape can compute all of `nodes`, inputs before users.

    Args:
        nodes: what is to be computed; the last one gives the result.
        types: of every entry they read or make.
        shape: of the result.
    """
    made = {node[0] for node in nodes}
    for node in nodes:
        if not can_be_epilogue(node):
            return False
        for entry in node.inputs:
            known = types[entry]
            if entry not in made and (known.dtype not in DTYPES or not _broadcasts(known.shape, shape, node)):
                return False
    return types[nodes[-1][0]].shape == shape if nodes else True


def _broadcasts(shape: tuple[int, ...], whole: tuple[int, ...], node: Node) -> bool:
    """Whether an operand fits the result; the parameters of a node with some have been checked by its inference."""
    assert node.op is not None
    if node.op.parameters:
        return True
    try:
        return np.broadcast_shapes(shape, whole) == whole
    except ValueError:
        return False
