"""Activation layers."""

from __future__ import annotations

from typing import Any, Literal

from minidnn.dispatch import invoke
from minidnn.gluon._hybrid_block import HybridBlock
from minidnn.gluon.nn._op import make_attrs
from minidnn.gluon.parameter import Init, Parameter
from minidnn.initializer import Constant

__all__ = ["ELU", "GELU", "SELU", "Activation", "LeakyReLU", "PReLU", "SiLU", "Swish"]


class Activation(HybridBlock):
    """An activation by its name.

    Args:
        activation: ``relu``, ``sigmoid``, ``log_sigmoid``, ``tanh``, ``softrelu``, ``softsign`` or ``mish``.

    Raises:
        OpError: another name.
    """

    def __init__(self, activation: str) -> None:
        super().__init__()
        self._attrs = make_attrs(type(self).__name__, "activation", act_type=activation)

    def forward(self, x: Any) -> Any:
        return invoke("activation", x, **self._attrs)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._attrs.act_type})"


class LeakyReLU(HybridBlock):
    """x where x >= 0, ``alpha * x`` elsewhere.

    Raises:
        ValueError: `alpha` is negative.
    """

    def __init__(self, alpha: float) -> None:
        if not alpha >= 0:
            raise ValueError(f"Slope coefficient for LeakyReLU must be no less than 0, got {alpha}.")
        super().__init__()
        self._alpha = alpha

    def forward(self, x: Any) -> Any:
        return invoke("leaky_relu", x, act_type="leaky", slope=self._alpha)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._alpha})"


class PReLU(HybridBlock):
    """A leaky ReLU whose slope is a parameter, https://arxiv.org/abs/1502.01852.

    Args:
        alpha_initializer: default 0.25.
        in_channels: number of slopes: 1, or one for each channel (axis 1).

    Parameters: ``alpha`` of shape ``(in_channels,)``.
    """

    def __init__(self, alpha_initializer: Init = None, in_channels: int = 1) -> None:
        super().__init__()
        init = Constant(0.25) if alpha_initializer is None else alpha_initializer
        self.alpha = Parameter("alpha", shape=(in_channels,), init=init)

    def forward(self, x: Any) -> Any:
        return invoke("leaky_relu", x, self.alpha.data(), act_type="prelu")


class ELU(HybridBlock):
    """x where x > 0, ``alpha * (exp(x) - 1)`` elsewhere, https://arxiv.org/abs/1511.07289."""

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        self._alpha = alpha

    def forward(self, x: Any) -> Any:
        return invoke("leaky_relu", x, act_type="elu", slope=self._alpha)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._alpha})"


class SELU(HybridBlock):
    """The scaled ELU that keeps mean and variance, https://arxiv.org/abs/1706.02515."""

    def forward(self, x: Any) -> Any:
        return invoke("leaky_relu", x, act_type="selu")


class GELU(HybridBlock):
    """``x * Φ(x)``, Φ the normal distribution function, https://arxiv.org/abs/1606.08415.

    Args:
        approximation: ``erf``, which is exact, or ``tanh``.

    Raises:
        ValueError: another approximation.
    """

    def __init__(self, approximation: Literal["erf", "tanh"] = "erf") -> None:
        if approximation not in ("erf", "tanh"):
            raise ValueError(
                f"Unsupported approximation! Supported values are 'erf' and 'tanh', but got '{approximation}'"
            )
        super().__init__()
        self._approximation = approximation

    def forward(self, x: Any) -> Any:
        return invoke("leaky_relu", x, act_type=f"gelu_{self._approximation}")


class Swish(HybridBlock):
    """``x * sigmoid(beta * x)``, https://arxiv.org/abs/1710.05941."""

    def __init__(self, beta: float = 1.0) -> None:
        super().__init__()
        self._beta = beta

    def forward(self, x: Any) -> Any:
        if self._beta == 1:
            return invoke("silu", x)
        return x * invoke("sigmoid", x * self._beta)


class SiLU(HybridBlock):
    """``x * sigmoid(x)``, https://arxiv.org/abs/1606.08415."""

    def forward(self, x: Any) -> Any:
        return invoke("silu", x)
