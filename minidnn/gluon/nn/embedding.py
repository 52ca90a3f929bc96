"""Rows of a table by number."""

from __future__ import annotations

from typing import Any

from minidnn.dispatch import invoke
from minidnn.errors import MXNetError
from minidnn.gluon._hybrid_block import HybridBlock
from minidnn.gluon.nn._op import make_attrs
from minidnn.gluon.parameter import Init, Parameter

__all__ = ["Embedding"]


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
