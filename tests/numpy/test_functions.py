"""The functions of `mx.np`, against NumPy's own."""

from __future__ import annotations

from typing import Any

import numpy as onp
import pytest

from minidnn import numpy as np
from minidnn.errors import OpError, ShapeError
from minidnn.numpy import delegated, elementwise

A = onp.random.default_rng(1).uniform(0.1, 0.9, (3, 4)).astype(onp.float32)
B = onp.random.default_rng(2).uniform(0.1, 0.9, (3, 4)).astype(onp.float32)
BITS = {"bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_not", "bitwise_invert", "invert"}
OTHERS = {"clip", "where", "round", "around", "round_"}
OWN_DOMAIN = {"arccosh": 1.0, "acosh": 1.0}


def check(actual: Any, expected: Any, tolerance: float = 2e-6) -> None:
    if isinstance(expected, (list, tuple)):
        assert len(actual) == len(expected)
        for a, e in zip(actual, expected, strict=True):
            check(a, e, tolerance)
        return
    assert isinstance(actual, np.ndarray)
    expected = onp.asarray(expected)
    assert actual.shape == expected.shape
    assert actual.dtype == (onp.float32 if expected.dtype == onp.float64 else expected.dtype)
    onp.testing.assert_allclose(actual.asnumpy(), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", sorted(set(elementwise.__all__) - BITS - OTHERS))
def test_elementwise_functions_are_numpys(name: str) -> None:
    function, theirs = getattr(np, name), getattr(onp, name)
    a = A + OWN_DOMAIN.get(name, 0)
    binary = getattr(theirs, "nin", 1) == 2
    arguments = (a, B) if binary else (a,)
    expected = theirs(*arguments)
    check(function(*map(np.array, arguments)), expected)
    check(function(*arguments), expected)
    check(function(*(x.tolist() for x in arguments)), expected)
    out = np.zeros((3, 4), dtype=expected.dtype)
    assert function(*arguments, out=out) is out
    check(out, expected)


@pytest.mark.parametrize("name", sorted(BITS))
def test_bit_functions_are_numpys(name: str) -> None:
    a, b = onp.arange(-3, 3), onp.arange(6)
    theirs = getattr(onp, name)
    arguments = (a, b) if theirs.nin == 2 else (a,)
    check(getattr(np, name)(*map(np.array, arguments)), theirs(*arguments))


def test_numbers_give_numbers() -> None:
    assert np.exp(1.0) == onp.exp(1.0)
    assert np.sqrt(4) == 2.0
    assert (np.add(1, 2), type(np.add(1, 2))) == (3, int)
    assert np.true_divide(1, 3) == 1 / 3
    assert np.maximum(1, 2.5) == 2.5
    assert np.isnan(float("nan")) is True
    assert np.round(2.567, 2) == 2.57


def test_numbers_are_weak_beside_arrays() -> None:
    x = np.array([1, 2], dtype="float16")
    assert np.add(x, 1.5).dtype == np.power(2, x).dtype == "float16"
    assert np.maximum(np.array([1, 2], dtype="int8"), 0).dtype == "int8"


@pytest.mark.parametrize("decimals", [0, 2, -1])
def test_round_is_numpys(decimals: int) -> None:
    x = onp.array([0.5, 1.5, 2.345, -123.456], onp.float32)
    check(np.round(np.array(x), decimals), onp.round(x, decimals))
    assert np.array(x).round(decimals).tolist() == np.around(x, decimals).tolist()
    assert np.round(onp.array([15, 25]), 1).tolist() == [15, 25]


def test_clip_and_where() -> None:
    check(np.clip(A, 0.2, 0.5), onp.clip(A, 0.2, 0.5))
    check(np.clip(A, None, 0.5), onp.clip(A, None, 0.5))
    check(np.array(A).clip(0.2, 0.5), onp.clip(A, 0.2, 0.5))
    check(np.where(A > 0.5, A, 0), onp.where(A > 0.5, A, onp.float32(0)))
    check(np.where(A > 0.5, 1, A), onp.where(A > 0.5, onp.float32(1), A))
    check(np.where(A > 0.5), onp.where(A > 0.5))
    assert np.where(A > 0.5, 1, onp.array(2, onp.int8)).dtype == "int8"
    assert np.where(A > 0.5, 0.5, onp.array(2)).dtype == "float32"
    assert np.where(True, A, B).tolist() == A.tolist()
    with pytest.raises(ValueError, match="both x and y"):
        np.where(A > 0.5, A)


REDUCTIONS = ["sum", "prod", "mean", "std", "var", "max", "min", "any", "all", "amax", "amin"]


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize("axis", [None, 0, -1, (0, 1)])
def test_reductions_are_numpys(name: str, axis: Any) -> None:
    expected = getattr(onp, name)(A, axis=axis, keepdims=True)
    check(getattr(np, name)(A, axis=axis, keepdims=True), expected)
    if name not in {"amax", "amin"}:
        check(getattr(np.array(A), name)(axis=axis), getattr(A, name)(axis=axis))
    out = np.zeros(expected.shape, dtype=expected.dtype)
    assert getattr(np, name)(A, axis=axis, keepdims=True, out=out) is out


def test_reductions_with_more_arguments() -> None:
    check(np.std(A, axis=0, ddof=1), onp.std(A, axis=0, ddof=1))
    check(np.var(A, axis=0, correction=1), onp.var(A, axis=0, ddof=1))
    assert np.sum(A, dtype="float64").dtype == "float64"
    check(np.argmax(A, axis=1), onp.argmax(A, axis=1))
    check(np.array(A).argmin(), onp.argmin(A))
    check(np.average(A, axis=0), onp.average(A, axis=0))
    check(np.average(A, axis=1, weights=[1, 2, 3, 4]), onp.average(A, axis=1, weights=[1, 2, 3, 4]))
    check(np.average(A, weights=B, returned=True), onp.average(A, weights=B, returned=True))
    with pytest.raises(OpError, match="sum: initial is not supported"):
        np.sum(A, initial=1)  # type: ignore[arg-type]


X3 = onp.arange(24, dtype=onp.float32).reshape(2, 3, 4)

MANIPULATIONS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("reshape", (X3, (4, -1)), {}),
    ("reshape", (X3, 24), {}),
    ("ravel", (X3,), {}),
    ("transpose", (X3,), {}),
    ("transpose", (X3, (0, 2, 1)), {}),
    ("swapaxes", (X3, 0, -1), {}),
    ("moveaxis", (X3, 0, 2), {}),
    ("moveaxis", (X3, (0, 1), (-1, -2)), {}),
    ("rollaxis", (X3, 2), {}),
    ("rollaxis", (X3, 0, 3), {}),
    ("rollaxis", (X3, 0, -1), {}),
    ("expand_dims", (X3, 1), {}),
    ("squeeze", (X3[:1],), {}),
    ("squeeze", (X3[:1], 0), {}),
    ("broadcast_to", (X3[0], (5, 3, 4)), {}),
    ("broadcast_arrays", (X3, X3[0, 0]), {}),
    ("atleast_1d", (onp.float32(3),), {}),
    ("atleast_2d", (X3[0, 0],), {}),
    ("atleast_3d", (X3[0, 0],), {}),
    ("atleast_3d", (X3[0],), {}),
    ("concatenate", ((X3, X3 + 1), 1), {}),
    ("concatenate", ((X3, X3 + 1),), {"axis": None}),
    ("append", (X3, X3[:1], 0), {}),
    ("stack", ((X3, X3 + 1), -1), {}),
    ("vstack", ((X3[0, 0], X3[0, 1]),), {}),
    ("hstack", ((X3[0, 0], X3[0, 1]),), {}),
    ("hstack", ((X3[0], X3[1]),), {}),
    ("dstack", ((X3[0], X3[1]),), {}),
    ("column_stack", ((X3[0, 0], X3[0, 1]),), {}),
    ("split", (X3, 2), {"axis": 2}),
    ("split", (X3, [1, 3], -1), {}),
    ("array_split", (X3, 3), {"axis": 2}),
    ("array_split", (X3, 5), {"axis": 2}),
    ("hsplit", (X3, 3), {}),
    ("vsplit", (X3, 2), {}),
    ("dsplit", (X3, [1]), {}),
    ("repeat", (X3, 2, 1), {}),
    ("repeat", (X3, 2), {}),
    ("tile", (X3, (2, 1)), {}),
    ("flip", (X3,), {}),
    ("flip", (X3, (0, 2)), {}),
    ("flipud", (X3,), {}),
    ("fliplr", (X3,), {}),
    ("roll", (X3, 5), {}),
    ("roll", (X3, (1, -1), (0, 2)), {}),
    ("pad", (X3, ((0, 0), (1, 2), (0, 1))), {"constant_values": 3}),
    ("pad", (X3, 1, "edge"), {}),
    ("take", (X3, [0, -1, 5]), {}),
    ("take", (X3, onp.array([[0, 2]])), {"axis": 1}),
    ("take", (X3, 1, 0), {}),
    ("take", (X3, [0, 99, -99]), {"mode": "clip"}),
    ("take", (X3, [0, 99, -99]), {"mode": "wrap"}),
]


@pytest.mark.parametrize(("name", "args", "kwargs"), MANIPULATIONS)
def test_manipulations_are_numpys(name: str, args: Any, kwargs: Any) -> None:
    expected = getattr(onp, name)(*args, **kwargs)
    check(getattr(np, name)(*args, **kwargs), list(expected) if isinstance(expected, (list, tuple)) else expected)
    ours = [np.array(a) if isinstance(a, onp.ndarray) and a.dtype == onp.float32 else a for a in args]
    check(getattr(np, name)(*ours, **kwargs), list(expected) if isinstance(expected, (list, tuple)) else expected)


@pytest.mark.parametrize("k", range(-3, 5))
def test_rot90_is_numpys(k: int) -> None:
    check(np.rot90(X3, k), onp.rot90(X3, k))
    check(np.rot90(X3, k, (2, 1)), onp.rot90(X3, k, (2, 1)))


def test_shapes_and_sizes() -> None:
    assert (np.shape(X3), np.ndim(X3), np.size(X3), np.size(X3, 1)) == ((2, 3, 4), 3, 24, 3)


def test_joining_promotes() -> None:
    joined = np.concatenate([np.array([1], dtype="int32"), np.array([0.5])])
    assert joined.dtype == "float32"
    assert joined.tolist() == [1, 0.5]
    out = np.zeros((2, 1))
    assert np.stack([np.ones(1), np.ones(1)], out=out) is out


def test_manipulations_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one array"):
        np.concatenate([])
    with pytest.raises(ShapeError, match="number of sections must be positive"):
        np.split(X3, 0)
    with pytest.raises(ShapeError, match="at least 2 dimensions"):
        np.vsplit(X3[0, 0], 2)
    with pytest.raises(ShapeError, match="rollaxis"):
        np.rollaxis(X3, 3)
    with pytest.raises(IndexError, match=r"indices must lie in \[-3, 3\) along axis 1"):
        np.take(X3, [0, 3], axis=1)


def test_methods_are_the_functions() -> None:
    x = np.array(X3)
    assert x.reshape(4, 6).shape == x.reshape((4, 6)).shape == x.reshape([4, -1]).shape == (4, 6)
    assert x.reshape(-1).shape == x.flatten().shape == x.ravel().shape == (24,)
    assert x.transpose(2, 0, 1).shape == x.transpose((2, 0, 1)).shape == (4, 2, 3)
    assert x.transpose().shape == x.transpose(None).shape == (4, 3, 2)
    assert x.swapaxes(0, 1).shape == (3, 2, 4)
    assert x.expand_dims(0).squeeze(0).shape == (2, 3, 4)
    assert x[0].broadcast_to((2, 3, 4)).shape == (2, 3, 4)
    assert x.repeat(2, 0).shape == x.tile((2, 1, 1)).shape == (4, 3, 4)
    assert x.take([0], axis=1).shape == (2, 1, 4)
    assert x.abs().tolist() == X3.tolist()
    assert x.sort(descending=True)[0, 0].tolist() == [3, 2, 1, 0]
    assert x.argsort(axis=0).shape == x.cumsum(0).shape == (2, 3, 4)
    assert [p.shape for p in x.nonzero()] == [(23,)] * 3
    out = np.zeros((2, 3))
    assert x.max(axis=-1, out=out) is out
    assert out.tolist() == X3.max(-1).tolist()


@pytest.mark.parametrize(
    ("name", "left", "right"),
    [
        ("dot", A, B.T),
        ("dot", X3, B.T[:, 0]),
        ("dot", A, 2.0),
        ("matmul", X3, X3.transpose(0, 2, 1)),
        ("inner", A, B),
        ("inner", A[0], B[0]),
        ("outer", A, B),
        ("vdot", A, B),
    ],
)
def test_products_are_numpys(name: str, left: Any, right: Any) -> None:
    check(getattr(np, name)(left, right), getattr(onp, name)(left, right), 1e-5)


DELEGATED: dict[str, tuple[Any, ...]] = {
    "allclose": (A, A),
    "apply_along_axis": (onp.sum, 0, A),
    "argpartition": (A, 1),
    "argwhere": (A > 0.5,),
    "array_equal": (A, A),
    "array_equiv": (A, A[0]),
    "bincount": (onp.array([1, 1, 3]),),
    "blackman": (5,),
    "choose": (onp.array([0, 1]), [A[0, :2], B[0, :2]]),
    "compress": ([True, False, True], A, 0),
    "corrcoef": (A,),
    "count_nonzero": (A > 0.5,),
    "cov": (A,),
    "cross": (A[:, :3], B[:, :3]),
    "cumprod": (A, 1),
    "cumsum": (A, 0),
    "delete": (A, 1, 0),
    "diag": (A,),
    "diag_indices_from": (A[:3, :3],),
    "diagflat": (A[0],),
    "diagonal": (A,),
    "diff": (A,),
    "digitize": (A[0], [0.2, 0.5]),
    "ediff1d": (A,),
    "einsum": ("ij,kj->ik", A, B),
    "flatnonzero": (A > 0.5,),
    "hamming": (5,),
    "hanning": (5,),
    "heaviside": (A - 0.5, onp.float32(0.5)),
    "histogram": (A, 4),
    "indices": ((2, 3),),
    "insert": (A, 1, 0.0, 0),
    "interp": (A[0], [0, 1], [2, 3]),
    "intersect1d": ([1, 2, 3], [2, 3, 4]),
    "isclose": (A, B),
    "isin": (A, A[0]),
    "kron": (A, B),
    "lexsort": ((A[0], B[0]),),
    "logaddexp": (A, B),
    "may_share_memory": (A, B),
    "median": (A, 0),
    "meshgrid": (A[0], B[:, 0]),
    "nan_to_num": (onp.array([onp.nan, onp.inf], onp.float32),),
    "nanmax": (A, 0),
    "nanmean": (A, 0),
    "nanmin": (A, 0),
    "nansum": (A, 0),
    "nonzero": (A > 0.5,),
    "partition": (A, 1),
    "percentile": (A, 30),
    "polyval": ([1.0, 2.0], A),
    "ptp": (A, 0),
    "quantile": (A, 0.3),
    "resize": (A, (2, 2)),
    "searchsorted": (onp.array([1.0, 2.0, 3.0], onp.float32), A[0]),
    "setdiff1d": ([1, 2, 3], [2]),
    "shares_memory": (A, B),
    "take_along_axis": (A, onp.array([[0], [1], [2]]), 1),
    "tensordot": (X3, X3, ([1, 2], [1, 2])),
    "trace": (A,),
    "tri": (3, 4, 1),
    "tril": (A, -1),
    "tril_indices": (3,),
    "triu": (A, 1),
    "triu_indices": (3,),
    "union1d": ([1, 2], [2, 3]),
    "unique": (onp.array([3, 1, 3]),),
    "unravel_index": (onp.array([5, 7]), (3, 4)),
}


def test_every_delegated_function_is_tried_here() -> None:
    assert set(DELEGATED) | {"sort", "argsort"} == set(delegated.__all__) | {"einsum", "tensordot"}


@pytest.mark.parametrize("name", sorted(DELEGATED))
def test_delegated_functions_are_numpys(name: str) -> None:
    args = DELEGATED[name]
    expected = getattr(onp, name)(*args)
    ours = [np.array(a) if isinstance(a, onp.ndarray) and a.dtype == onp.float32 else a for a in args]
    for actual in (getattr(np, name)(*args), getattr(np, name)(*ours)):
        if isinstance(expected, bool):
            assert actual is expected
        else:
            check(actual, expected, 1e-5)


def test_delegated_functions_keep_float64_where_it_was_given_or_asked_for() -> None:
    assert np.cumsum(np.array([1.0, 2.0], dtype="float64")).dtype == "float64"
    assert np.cumsum(A, dtype="float64").dtype == "float64"
    assert np.hanning(5, device=None).dtype == "float32"


def test_sorting() -> None:
    x = onp.array([[3, 1, 2], [0, 5, 5]], onp.float32)
    check(np.sort(x), onp.sort(x))
    check(np.sort(x, axis=None), onp.sort(x, axis=None))
    assert np.sort(x, descending=True).tolist() == [[3, 2, 1], [5, 5, 0]]
    check(np.argsort(x, axis=0), onp.argsort(x, axis=0))
    assert np.argsort(x, descending=True).tolist() == [[0, 2, 1], [1, 2, 0]]
    assert np.argsort(x, axis=None, descending=True).tolist() == [4, 5, 0, 2, 1, 3]
