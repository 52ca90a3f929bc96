"""Matrix products."""

from __future__ import annotations

from typing import Any

from minidnn.interop.onnx.rules.linear import einsum, matmul
from minidnn.interop.onnx.values import Value
from minidnn.interop.torch.call import Call, aten
from minidnn.interop.torch.rules.normalization import vector_norm

__all__ = ["dense"]


def dense(call: Call, x: Value, weight: Value, bias: Value | None) -> Value:
    """x @ weight.T + bias, for a weight (outputs, inputs)."""
    inputs = (x, weight) if bias is None else (x, weight, bias)
    return call.emit("fully_connected", *inputs, num_hidden=weight.dim(0), no_bias=bias is None, flatten=False)


def _is_dense(x: Value, weight: Value) -> bool:
    """Whether the weight is a matrix of a known number of outputs, and there is something to multiply."""
    shape = weight._type.shape
    return x.element.is_float and weight._type.ndim == 2 and all(type(n) is int and n > 0 for n in shape)


@aten("linear")
def _linear(call: Call, x: Value, weight: Value, bias: Value | None = None) -> Value:
    if _is_dense(x, weight) and x.ndim:
        if x.ndim > 1:
            return dense(call, x, weight, bias)
        return call.reshape(dense(call, call.reshape(x, (1, x.dim(0))), weight, bias), (weight.dim(0),))
    product = call.emit("matmul", x, call.transpose(weight, (1, 0)) if weight.ndim == 2 else weight)
    return product if bias is None else call.emit("add", product, bias)


def _product(call: Call, a: Value, b: Value) -> Value:
    weight = call.untransposed(b)
    if weight is not None and a.ndim >= 2 and _is_dense(a, weight):
        return dense(call, a, weight, None)
    return matmul(call, a, b)


@aten("mm", "bmm", "matmul", "mv", "dot")
def _matmul(call: Call, a: Value, b: Value) -> Value:
    return _product(call, a, b)


def _times(call: Call, x: Value, factor: Any) -> Value:
    return x if factor == 1 else call.arithmetic("multiply", x, factor)


@aten("addmm")
def _addmm(call: Call, bias: Value, a: Value, b: Value, beta: Any = 1, alpha: Any = 1) -> Value:
    weight = call.untransposed(b)
    if weight is not None and beta == alpha == 1 and _is_dense(a, weight) and bias._type.shape == (weight.dim(0),):
        return dense(call, a, weight, bias)
    product = _times(call, _product(call, a, b), alpha)
    return product if beta == 0 else call.emit("add", product, _times(call, bias, beta))


@aten("baddbmm", "addbmm", "addmv")
def _baddbmm(call: Call, bias: Value, a: Value, b: Value, beta: Any = 1, alpha: Any = 1) -> Value:
    product = call.emit("matmul", a, b)
    if product.ndim > bias.ndim:
        product = call.emit("sum", product, axis=(0,))
    product = _times(call, product, alpha)
    return product if beta == 0 else call.emit("add", product, _times(call, bias, beta))


@aten("einsum")
def _einsum(call: Call, equation: str, tensors: Any, path: Any = None) -> Value:
    return einsum(call, equation, list(tensors))


@aten("_trilinear")
def _trilinear(
    call: Call, a: Value, b: Value, c: Value, new_a: Any, new_b: Any, new_c: Any, summed: Any, unroll_dim: int = 1
) -> Value:
    """The sum of products of three tensors that get axes of one element at the places given."""
    first, second, third = (call.expand_dims(x, axes) for x, axes in ((a, new_a), (b, new_b), (c, new_c)))
    product = call.emit("multiply", call.emit("multiply", first, second), third)
    return call.emit("sum", product, axis=tuple(summed)) if summed else product


# ---- distances


@aten("_cdist_forward")
def _distances(call: Call, a: Value, b: Value, p: float, compute_mode: int | None) -> Value:
    """The distance of each row (..., P, M) to each row (..., R, M)."""
    rows, others = a.dim(-2), b.dim(-2)
    # As PyTorch does it: many distances by a product.
    if p == 2 and compute_mode != 2 and (compute_mode == 1 or rows > 25 or others > 25):
        squares = [call.emit("sum", call.emit("square", x), axis=(x.ndim - 1,), keepdims=True) for x in (a, b)]
        order = [*range(b.ndim - 2), b.ndim - 1, b.ndim - 2]
        product = call.binary("multiply", matmul(call, a, call.transpose(b, order)), -2.0)
        total = call.emit("add", call.emit("add", product, squares[0]), call.transpose(squares[1], order))
        return call.emit("sqrt", call.emit("maximum_scalar", total, scalar=0.0))
    apart = call.emit("subtract", call.expand_dims(a, (a.ndim - 1,)), call.expand_dims(b, (b.ndim - 2,)))
    return vector_norm(call, apart, p, -1)
