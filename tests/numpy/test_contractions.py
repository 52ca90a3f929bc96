"""einsum and tensordot against NumPy, eager and traced."""

from __future__ import annotations

from typing import Any

import numpy as onp
import pytest

from minidnn import numpy as np
from minidnn.errors import OpError, ShapeError
from minidnn.ir.graph import evaluate
from minidnn.ir.trace import Trace
from minidnn.ops import TensorType

RNG = onp.random.default_rng(7)
SIZES = {"a": 2, "b": 3, "c": 4, "d": 2, "i": 3, "j": 4, "k": 5, "l": 2}


def operand(term: str) -> Any:
    """An array for a term of subscripts; an ellipsis stands for axes of 2 and 3."""
    shape: list[int] = []
    for letter in term.replace("...", "."):
        shape += [2, 3] if letter == "." else [SIZES[letter]]
    return RNG.normal(size=shape).astype(onp.float32)


def traced(function: Any, *arrays: Any) -> Any:
    trace = Trace(np.ndarray)
    inputs = [trace.input(f"in{i}", TensorType.of(a)) for i, a in enumerate(arrays)]
    graph = trace.graph([trace.run(function, *inputs)])
    constants = {name: value.asnumpy() for name, value in trace.constants.items()}
    return evaluate(graph, {**{f"in{i}": a for i, a in enumerate(arrays)}, **constants})[0]


def check(function: Any, expected: Any, *arrays: Any) -> None:
    for actual in (function(*(np.array(a, dtype=a.dtype) for a in arrays)).asnumpy(), traced(function, *arrays)):
        assert (actual.shape, actual.dtype) == (expected.shape, expected.dtype)
        onp.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "subscripts",
    [
        *("ij,jk->ik", "ij,jk", "ij,kj->ki", "i,i->", "i,j->ij", "i,j->ji", "ij,ij->ij", "ij->ji", "ij->", "ij->j"),
        *("ii->i", "ii", "iij->ij", "iij,i->j", "ijij->ij", "aa,aa->a", "ij,ij->", "bij,bjk->bik", "ijk,jil->kl"),
        *("...ij,...jk->...ik", "...i->...", "i...->...i", "...", "...,...->...", "...ij->...ji", "i...,i...->..."),
        *("ij,jk,kl->il", "a,b,c->abc", "ab,bc,ca->", "abi,abj,abk->ijk", "i,ij,j->", "ij,j->i", ",ij->ij", "ba,cb"),
        *("...ii->...i", "bi...,bi...->b...", "a,ab,abc->abc", "ij , jk -> ik", "dba,dba,dba->d"),
    ],
)
def test_einsum_is_numpys(subscripts: str) -> None:
    terms = subscripts.replace(" ", "").split("->")[0].split(",")
    arrays = [operand(term) for term in terms]
    check(lambda *a: np.einsum(subscripts, *a), onp.asarray(onp.einsum(subscripts, *arrays)), *arrays)


@pytest.mark.parametrize("seed", range(40))
def test_einsum_is_numpys_on_random_subscripts(seed: int) -> None:
    rng = onp.random.default_rng(seed)
    terms = ["".join(rng.choice(list("abcd"), rng.integers(0, 4))) for _ in range(rng.integers(1, 4))]
    used = sorted(set("".join(terms)))
    output = "".join(rng.permutation(used)[: rng.integers(0, len(used) + 1)]) if used else ""
    subscripts = f"{','.join(terms)}->{output}"
    arrays = [operand(term) for term in terms]
    check(lambda *a: np.einsum(subscripts, *a), onp.asarray(onp.einsum(subscripts, *arrays)), *arrays)


@pytest.mark.parametrize(
    ("subscripts", "shapes"),
    [
        ("ij,jk->ik", [(3, 1), (4, 5)]),
        ("ij,ij->ij", [(1, 4), (3, 1)]),
        ("...i,...i->...", [(2, 1, 4), (3, 4)]),
        ("...i,...i", [(4,), (2, 3, 4)]),
        ("i...->...", [(3,)]),
        ("ij,jk->ik", [(3, 0), (0, 5)]),
    ],
)
def test_sizes_of_one_are_broadcast(subscripts: str, shapes: list[tuple[int, ...]]) -> None:
    arrays = [RNG.normal(size=shape).astype(onp.float32) for shape in shapes]
    check(lambda *a: np.einsum(subscripts, *a), onp.asarray(onp.einsum(subscripts, *arrays)), *arrays)


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8", "float16", "float64"])
def test_einsum_keeps_dtypes(dtype: str) -> None:
    a, b = (RNG.integers(0, 5, shape).astype(dtype) for shape in ((3, 4), (4, 2)))
    check(lambda *x: np.einsum("ij,jk->i", *x), onp.einsum("ij,jk->i", a, b), a, b)
    check(lambda *x: np.einsum("ij,jk->ik", *x), onp.einsum("ij,jk->ik", a, b), a, b)


def test_einsum_takes_numbered_axes_and_what_numpy_takes() -> None:
    a, b = operand("ij"), operand("jk")
    check(lambda x, y: np.einsum(x, [0, 1], y, [1, 2], [2, 0]), onp.einsum("ij,jk->ki", a, b), a, b)
    check(lambda x, y: np.einsum(x, [5, 1], y, [1, 7]), onp.einsum("ij,jk", a, b), a, b)
    check(lambda x: np.einsum(x, [Ellipsis, 0], [Ellipsis]), onp.einsum("...i->...", a), a)
    check(lambda x, y: np.einsum("ij,jk->ik", x, y, optimize=True), onp.einsum("ij,jk->ik", a, b), a, b)
    out = np.zeros((3, 5))
    assert np.einsum("ij,jk->ik", np.array(a), np.array(b), out=out) is out
    onp.testing.assert_allclose(out.asnumpy(), a @ b, rtol=1e-5)
    assert onp.einsum("ij,jk->ik", np.array(a), np.array(b)).shape == (3, 5)


@pytest.mark.parametrize(
    ("subscripts", "shapes", "error", "message"),
    [
        ("ij,jk->ik", [(3, 4)], OpError, "names 2 operands, got 1"),
        ("ij->ik", [(3, 4)], OpError, "must have labels of the operands"),
        ("ij->ii", [(3, 4)], OpError, "each once"),
        ("i1->i", [(3, 4)], OpError, "must be letters"),
        ("ijk->i", [(3, 4)], ShapeError, "does not fit an array of 2 dimensions"),
        ("i->i", [(3, 4)], ShapeError, "does not fit an array of 2 dimensions"),
        ("ij,jk->ik", [(3, 4), (5, 2)], ShapeError, "must have one size, got 4 and 5"),
        ("ii->i", [(3, 4)], ShapeError, "must have one size, got 3, 4"),
    ],
)
def test_einsum_refuses(subscripts: str, shapes: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        np.einsum(subscripts, *(np.ones(shape) for shape in shapes))


@pytest.mark.parametrize("axes", [0, 1, 2, ([2, 1], [0, 1]), ([1], [1]), (1, 1), ([-1], [0]), ([0, 1, 2], [2, 1, 0])])
def test_tensordot_is_numpys(axes: Any) -> None:
    a, b = RNG.normal(size=(4, 3, 4)).astype(onp.float32), RNG.normal(size=(4, 3, 4)).astype(onp.float32)
    if axes == 2:
        b = b.transpose(1, 0, 2)
    check(lambda x, y: np.tensordot(x, y, axes), onp.asarray(onp.tensordot(a, b, axes)), a, b)


@pytest.mark.parametrize(
    ("axes", "message"),
    [(4, r"axes must lie in \[0, 2\]"), (([0], [3]), "distinct axes"), (([0, 1], [0]), "as many"), (1, "one size")],
)
def test_tensordot_refuses(axes: Any, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        np.tensordot(np.ones((2, 3)), np.ones((2, 3)), axes)
