"""Layers of one operator or of a function: Dense, Dropout, Embedding, Lambda, Identity."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from minidnn import npx
from minidnn import numpy as np
from minidnn.dispatch import invoke
from minidnn.errors import MXNetError
from minidnn.gluon._block import Block
from minidnn.gluon._hybrid_block import HybridBlock
from minidnn.gluon.nn._op import complete_shapes, make_attrs
from minidnn.gluon.nn.activations import Activation
from minidnn.gluon.parameter import Init, Parameter

__all__ = ["Dense", "Dropout", "Embedding", "HybridLambda", "Identity", "Lambda"]


class Dense(HybridBlock):
    """``activation(x · weightᵀ + bias)``.

    Args:
        units: size of the output.
        activation: name of an activation, see `Activation`; None: none.
        use_bias: whether there is a bias.
        flatten: the input of shape ``(N, ...)`` counts as ``(N, in_units)``; otherwise the layer works on the
            last axis of ``(..., in_units)``.
        dtype: of the parameters.
        weight_initializer, bias_initializer: their own initializers.
        in_units: size of the input; 0: known at the first call.

    Parameters: ``weight`` of shape ``(units, in_units)``, ``bias`` of ``(units,)``.
    """

    def __init__(
        self,
        units: int,
        activation: str | None = None,
        use_bias: bool = True,
        flatten: bool = True,
        dtype: Any = "float32",
        weight_initializer: Init = None,
        bias_initializer: Init = "zeros",
        in_units: int = 0,
    ) -> None:
        super().__init__()
        self._attrs = make_attrs(
            type(self).__name__, "fully_connected", num_hidden=units, no_bias=not use_bias, flatten=flatten
        )
        self.weight = Parameter(
            "weight", shape=(units, in_units), dtype=dtype, init=weight_initializer, allow_deferred_init=True
        )
        self.bias = (
            Parameter("bias", shape=(units,), dtype=dtype, init=bias_initializer, allow_deferred_init=True)
            if use_bias
            else None
        )
        self.act = Activation(activation) if activation is not None else None

    def forward(self, x: Any) -> Any:
        parameters = [self.weight.data()] if self.bias is None else [self.weight.data(), self.bias.data()]
        out = invoke("fully_connected", x, *parameters, **self._attrs)
        return out if self.act is None else self.act(out)

    def infer_shape(self, x: Any, *args: Any) -> None:
        """Complete the weight's shape from an input."""
        complete_shapes("fully_connected", self._attrs, x, {"weight": self.weight})

    def __repr__(self) -> str:
        units, in_units = self.weight.shape or (0, 0)
        return f"{type(self).__name__}({in_units if in_units > 0 else None} -> {units}, {self.act or 'linear'})"


class Dropout(HybridBlock):
    """Gives its input: elements are dropped in training only.

    Args:
        rate: share of elements that training would drop, in [0, 1].
        axes: axes along which they would be dropped together.

    Raises:
        ValueError: `rate` is not in [0, 1].
    """

    def __init__(self, rate: float, axes: Sequence[int] = ()) -> None:
        if not 0 <= rate <= 1:
            raise ValueError(f"Dropout: rate must be in [0, 1], got {rate}")
        super().__init__()
        self._attrs = make_attrs("Dropout", "dropout", p=rate, axes=tuple(axes))

    def forward(self, x: Any) -> Any:
        return invoke("dropout", x, **self._attrs) if self._attrs.p > 0 else x

    def __repr__(self) -> str:
        return f"{type(self).__name__}(p = {self._attrs.p}, axes={self._attrs.axes})"


class Embedding(HybridBlock):
    """Turns numbers in [0, input_dim) into vectors: shape ``(...)`` becomes ``(..., output_dim)``.

    Args:
        input_dim: number of vectors.
        output_dim: their size.
        dtype: of the vectors.
        weight_initializer: the table's own initializer.
        sparse_grad: must be False.

    Parameters: ``weight`` of shape ``(input_dim, output_dim)``.
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        dtype: Any = "float32",
        weight_initializer: Init = None,
        sparse_grad: bool = False,
    ) -> None:
        super().__init__()
        if sparse_grad:
            raise MXNetError("Embedding: there are only dense arrays, sparse_grad must be False")
        self._attrs = make_attrs("Embedding", "embedding", input_dim=input_dim, output_dim=output_dim, dtype=dtype)
        self.weight = Parameter("weight", shape=(input_dim, output_dim), dtype=dtype, init=weight_initializer)

    def forward(self, x: Any) -> Any:
        return invoke("embedding", x, self.weight.data(), **self._attrs)

    def __repr__(self) -> str:
        attrs = self._attrs
        return f"{type(self).__name__}({attrs.input_dim} -> {attrs.output_dim}, {attrs.dtype})"


class _Function(Block):
    def __init__(self, function: str | Callable[..., Any]) -> None:
        super().__init__()
        self._func, self._func_name = _find(function)

    def forward(self, *args: Any) -> Any:
        return self._func(*args)

    def _signature(self) -> inspect.Signature:
        return inspect.signature(self._func)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._func_name})"


class Lambda(_Function):
    """A function as a block.

    Args:
        function: the name of a function of `mx.np` or `mx.npx`, or a function of arrays.

    Raises:
        ValueError: there is no function of that name.
    """


class HybridLambda(_Function, HybridBlock):
    """A function of `mx.np` and `mx.npx` operators as a hybrid block.

    Args:
        function: the name of a function of `mx.np` or `mx.npx`, or a function of arrays.

    Raises:
        ValueError: there is no function of that name.
    """


class Identity(HybridBlock):
    """Gives its input; of use beside other blocks in `HybridConcatenate`."""

    def forward(self, x: Any) -> Any:
        return x


def _find(function: str | Callable[..., Any]) -> tuple[Callable[..., Any], str]:
    if isinstance(function, str):
        for module in (np, npx):
            found = getattr(module, function, None) if function in module.__all__ else None
            if callable(found):
                return found, function
        raise ValueError(f"Function name {function} is not found in np/npx.")
    if not callable(function):
        raise ValueError(f"Unrecognized function in lambda: {function} of type {type(function)}")
    return function, getattr(function, "__name__", type(function).__name__)
