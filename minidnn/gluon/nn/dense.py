"""The densely connected layer."""

from __future__ import annotations

from typing import Any

from minidnn.dispatch import invoke
from minidnn.gluon._hybrid_block import HybridBlock
from minidnn.gluon.nn._op import complete_shapes, make_attrs
from minidnn.gluon.nn.activations import Activation
from minidnn.gluon.parameter import Init, Parameter

__all__ = ["Dense"]


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
