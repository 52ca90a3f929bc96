"""What can be part of a kernel's epilogue: one predicate, which passes ask before they fuse and lowering asks too.

It needs no machine. Where types are not known it supposes that they fit; lowering asks again, with all types known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from minidnn.errors import OpError
from minidnn.ir.graph import Entry, Node
from minidnn.ir.roles import input_roles
from minidnn.ops.registry import TensorType

__all__ = ["EPILOGUE_DTYPES", "can_be_epilogue", "can_join_epilogue", "is_elementwise", "is_epilogue_group"]

_FLOAT32 = np.dtype(np.float32)

# What an epilogue reads beside the value it works on; everything is converted to float32 in registers.
EPILOGUE_DTYPES = frozenset(np.dtype(t) for t in (np.float32, np.int8, np.uint8, np.int32))


def can_be_epilogue(node: Node) -> bool:
    """Whether operator and attributes are something that kernels do in an epilogue, whatever the types."""
    return node.op is not None and node.subgraph is None and node.op.epilogue_step(node.attrs) is not None


def is_elementwise(node: Node) -> bool:
    """Whether an operation computes each element of its result from the same element of its inputs.

    A batch normalization counts: at inference it is a multiplication and an addition per channel.
    """
    return node.op is not None and (node.op.kind == "elementwise" or node.op.affine is not None)


def can_join_epilogue(node: Node, types: Mapping[Entry, TensorType]) -> bool:
    """Whether float32 passes may put an operation into an epilogue, or into a group of elementwise operations.

    Args:
        node: the operation.
        types: the types that are known.
    """
    if not can_be_epilogue(node) or not is_elementwise(node) or node.num_outputs != 1 or not _keeps_float32(node):
        return False
    data = [e for e, role in zip(node.inputs, input_roles(node), strict=True) if not role.is_parameter]
    return all(types[e].dtype == _FLOAT32 for e in (node[0], *data) if e in types)


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
            if entry not in made and (known.dtype not in EPILOGUE_DTYPES or not _broadcasts(known.shape, shape, node)):
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


def _keeps_float32(node: Node) -> bool:
    """Whether float32 in gives float32 out: no comparison, no cast to something else."""
    assert node.op is not None
    if node.op.affine is not None:
        return True
    probe = [TensorType((1,) if role.is_parameter else (1, 1), _FLOAT32) for role in input_roles(node)]
    try:
        return node.op.infer_types(node.attrs, probe)[0].dtype == _FLOAT32
    except OpError:
        return False
