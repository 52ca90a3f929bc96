"""Comparing networks that PyTorch made with PyTorch itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

import minidnn as mx
from minidnn.ir.graph import evaluate
from minidnn.ir.symbolic import bind_known

Function = Callable[..., Any]


class Many(torch.nn.Module):
    """Functions of the same inputs, in one module: to trace it takes long, and each does not."""

    def __init__(self, functions: Sequence[Function]) -> None:
        super().__init__()
        self.functions = functions

    def forward(self, *inputs: torch.Tensor) -> list[Any]:
        return [function(*inputs) for function in self.functions]


def by_reference(net: Any, inputs: Sequence[torch.Tensor]) -> list[np.ndarray]:
    """What the graph of a network gives, computed by the operators' references."""
    made = net._own_graph()
    arrays = dict(zip(made.inputs, [x.numpy() for x in inputs], strict=True))
    graph = bind_known(made.symbol, {name: array.shape for name, array in arrays.items()})
    values = {name: array.asnumpy() for name, array in made.arrays().items()}
    return evaluate(graph, {**arrays, **values})


def flat(results: Any) -> list[torch.Tensor]:
    return [r for r in torch.utils._pytree.tree_leaves(results) if isinstance(r, torch.Tensor)]


def check(functions: dict[str, Function], *inputs: torch.Tensor, tolerance: float = 2e-6) -> None:
    """Each function gives what PyTorch does: dtype, shape and values."""
    for name, function in functions.items():
        assert function.__code__.co_argcount <= len(inputs), name
    module = Many([*functions.values()])
    net = mx.interop.from_torch(module, inputs)
    wanted = {name: flat(function(*inputs)) for name, function in functions.items()}
    made = iter(by_reference(net, inputs))
    for name, tensors in wanted.items():
        for tensor in tensors:
            close(next(made), tensor, tolerance, name)


def close(made: Any, wanted: torch.Tensor, tolerance: float, name: str = "") -> None:
    array = np.asarray(made)
    expected = wanted.detach()
    assert array.shape == tuple(expected.shape), f"{name}: {array.shape}, {tuple(expected.shape)}"
    assert str(expected.dtype) == f"torch.{array.dtype}", f"{name}: {array.dtype}, {expected.dtype}"
    np.testing.assert_allclose(array, expected.numpy(), rtol=tolerance, atol=tolerance, err_msg=name)
