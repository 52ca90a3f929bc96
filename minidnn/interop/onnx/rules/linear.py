"""Matrix products and what is made of them."""

from __future__ import annotations

from typing import Any

from minidnn.interop.onnx.call import Call, rule
from minidnn.interop.onnx.maker import Maker
from minidnn.interop.onnx.rules.integers import multiply_quantized, transposed
from minidnn.interop.onnx.values import Value

__all__ = ["einsum", "matmul", "read_gemm"]


def matmul(call: Maker, a: Value, b: Value) -> Value:
    """A product of floats or integers; one with a matrix that is known is a dense layer."""
    if a.ndim >= 2 and b.ndim == 2 and b.name and a.element.is_float and b.array is not None and b.array.size:
        weight = call.emit("transpose", b, axes=(1, 0))
        return call.emit("fully_connected", a, weight, num_hidden=b.array.shape[1], no_bias=True, flatten=False)
    if 1 in (a.ndim, b.ndim) and a.element.is_float:
        return _matmul_of_vector(call, a, b)
    return call.emit("matmul", a, b)


def _matmul_of_vector(call: Maker, a: Value, b: Value) -> Value:
    """A product with a vector on either side, as one of matrices: these have kernels."""
    made = matmul(
        call,
        call.expand_dims(a, (0,)) if a.ndim == 1 else a,
        call.expand_dims(b, (1,)) if b.ndim == 1 else b,
    )
    axes = [made.ndim - 2] if a.ndim == 1 else []
    return call.emit("squeeze", made, axis=(*axes, made.ndim - 1) if b.ndim == 1 else tuple(axes))


@rule("MatMul")
def _matmul(call: Call) -> Value:
    made = multiply_quantized(call, call[0], call[1])
    return matmul(call, call[0], call[1]) if made is None else made


@rule("Gemm")
def _gemm(call: Call) -> Value:
    return read_gemm(call)


def read_gemm(call: Call) -> Value:
    """The product that the attributes of ``Gemm`` say."""
    call.ignore("broadcast")
    return _affine(
        call,
        call[0],
        call[1],
        call.get(2),
        call.real("alpha", 1.0),
        call.real("beta", 1.0),
        call.flag("transA"),
        call.flag("transB"),
    )


def _affine(
    call: Call, a: Value, b: Value, c: Value | None, alpha: float, beta: float, trans_a: bool, trans_b: bool
) -> Value:
    """alpha * A @ B + beta * C."""
    if a.ndim != 2 or b.ndim != 2:
        call.fail(f"both factors must have 2 dimensions, got {a.ndim} and {b.ndim}")
    if a.quantized and b.quantized and not trans_a and alpha == 1.0 and (c is None or beta == 1.0):
        made = multiply_quantized(call, a, transposed(call, b, (1, 0)) if trans_b else b, c)
        if made is not None:
            return made
    a = call.transpose(a, (1, 0)) if trans_a else a
    features = b._type.shape[0 if trans_b else 1]
    is_plain = alpha == 1.0 and a.element.is_float and isinstance(features, int) and a._type.size and b._type.size
    if is_plain and features:
        weight = b if trans_b else call.transpose(b, (1, 0))
        is_bias = c is not None and beta == 1.0 and c._type.shape == (features,)
        inputs = (a, weight, c) if is_bias and c is not None else (a, weight)
        product = call.emit("fully_connected", *inputs, num_hidden=features, no_bias=not is_bias, flatten=False)
        if is_bias:
            return product
    else:
        product = call.emit("matmul", a, call.transpose(b, (1, 0)) if trans_b else b)
        product = product if alpha == 1.0 else _times(call, product, alpha)
    if c is None or beta == 0.0:
        return product
    return call.binary("add", product, c if beta == 1.0 else _times(call, c, beta))


def _times(call: Maker, x: Value, factor: float) -> Value:
    if x.element.is_float:
        return call.binary("multiply", x, factor)
    return call.emit("multiply", x, call.like(factor, x))


@rule("Det")
def _det(call: Call) -> Value:
    return call.emit("linalg_det", call[0])


@rule("Einsum")
def _einsum(call: Call) -> Value:
    return einsum(call, call.text("equation"), call.all())


def einsum(call: Maker, equation: str, values: list[Value]) -> Value:
    """A sum of products, by transposes, reshapes and matrix products of two factors at a time."""
    terms, result = _parsed(call, equation.replace(" ", ""), [v.ndim for v in values])
    sizes: dict[str, Any] = {}
    for letters, value in zip(terms, values, strict=True):
        for letter, n in zip(letters, value.shape, strict=True):
            if letter not in sizes or (not hasattr(sizes[letter], "terms") and sizes[letter] == 1):
                sizes[letter] = n
    reduced = [_without_repeats(call, v, letters) for v, letters in zip(values, terms, strict=True)]
    total, have = reduced[0]
    for i, (value, letters) in enumerate(reduced[1:], 1):
        later = {*result}.union(*(other for _, other in reduced[i + 1 :]))
        total, have = _product(call, (total, have), (value, letters), later, sizes)
    total, have = _summed(call, total, have, set(result))
    missing = [letter for letter in result if letter not in have]
    if missing:
        call.fail(f"the result of {equation!r} has indices that no factor has")
    return call.transpose(total, [have.index(letter) for letter in result])


def _parsed(call: Maker, equation: str, ranks: list[int]) -> tuple[list[str], str]:
    """The letters of each factor and of the result; the dimensions of ``...`` as digits."""
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    letters = left.replace(",", "").replace("...", "")
    if len(terms) != len(ranks) or not all(c.isalpha() for c in letters + right.replace("...", "")):
        call.fail(f"attribute 'equation' does not describe {len(ranks)} factors: {equation[:80]!a}")
    spread = 0
    for term, rank in zip(terms, ranks, strict=True):
        named = len(term.replace("...", ""))
        if named > rank or ("..." not in term and named != rank):
            call.fail(f"{term!r} in attribute 'equation' does not fit an input of {rank} dimensions")
        spread = max(spread, rank - named)
    if spread > 10:
        call.refuse(f"'...' stands for {spread} dimensions, at most 10 are supported")
    dots = "0123456789"[:spread]
    full = []
    for term, rank in zip(terms, ranks, strict=True):
        count = rank - len(term.replace("...", ""))
        full.append(term.replace("...", dots[len(dots) - count :]))
    if not arrow:
        once = sorted(c for c in set(letters) if letters.count(c) == 1)
        return full, dots + "".join(once)
    return full, right.replace("...", dots)


def _without_repeats(call: Maker, value: Value, letters: str) -> tuple[Value, str]:
    """The diagonal where an index occurs twice."""
    for letter in dict.fromkeys(letters):
        while letters.count(letter) > 1:
            first = letters.index(letter)
            second = letters.index(letter, first + 1)
            value = call.emit("diagonal", value, offset=0, axis1=first, axis2=second)
            letters = letters[:first] + letters[first + 1 : second] + letters[second + 1 :] + letter
    return value, letters


def _summed(call: Maker, value: Value, letters: str, kept: set[str]) -> tuple[Value, str]:
    """The value without the indices that nothing else has."""
    axes = tuple(i for i, letter in enumerate(letters) if letter not in kept)
    if not axes:
        return value, letters
    total = call.cast(call.emit("sum", value, axis=axes), value.dtype)
    return total, "".join(letter for letter in letters if letter in kept)


def _product(
    call: Maker, left: tuple[Value, str], right: tuple[Value, str], later: set[str], sizes: dict[str, Any]
) -> tuple[Value, str]:
    """Two factors as one: a batched matrix product over the indices that end here."""
    a, in_a = _summed(call, *left, later | set(right[1]))
    b, in_b = _summed(call, *right, later | set(in_a))
    batch = [c for c in in_a if c in in_b and c in later]
    inner = [c for c in in_a if c in in_b and c not in later]
    rows, columns = [c for c in in_a if c not in in_b], [c for c in in_b if c not in in_a]
    if not inner:
        return _outer(call, (a, in_a), (b, in_b), [*batch, *rows, *columns])

    def arranged(value: Value, letters: str, order: list[str], grouped: list[list[str]]) -> Value:
        moved = call.transpose(value, [letters.index(c) for c in order])
        moved = call.emit("broadcast_to", moved, shape=tuple(sizes[c] for c in order))
        return call.reshape(moved, [*(sizes[c] for c in batch), *(_volume(sizes, group) for group in grouped)])

    x = arranged(a, in_a, [*batch, *rows, *inner], [rows, inner])
    y = arranged(b, in_b, [*batch, *inner, *columns], [inner, columns])
    product = call.emit("matmul", x, y)
    order = [*batch, *rows, *columns]
    return call.reshape(product, [sizes[c] for c in order]), "".join(order)


def _volume(sizes: dict[str, Any], letters: list[str]) -> Any:
    volume: Any = 1
    for letter in letters:
        volume = volume * sizes[letter]
    return volume


def _outer(call: Maker, left: tuple[Value, str], right: tuple[Value, str], order: list[str]) -> tuple[Value, str]:
    """Two factors that share no index that is summed: their elements, multiplied."""

    def spread(value: Value, letters: str) -> Value:
        present = [c for c in order if c in letters]
        moved = call.transpose(value, [letters.index(c) for c in present])
        return call.expand_dims(moved, [i for i, c in enumerate(order) if c not in letters])

    return call.emit("multiply", spread(*left), spread(*right)), "".join(order)
