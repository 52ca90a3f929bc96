"""`ndarray`: what users hold."""

from __future__ import annotations

import copy
import pickle

import numpy as onp
import pytest

from minidnn import cpu
from minidnn import numpy as np
from minidnn.errors import MXNetError, ShapeError, TypeMismatchError


def test_it_says_what_it_is() -> None:
    x = np.zeros((2, 3), dtype="int32")
    assert (x.shape, x.ndim, x.size, x.itemsize, x.nbytes, len(x)) == ((2, 3), 2, 6, 4, 24, 2)
    assert x.dtype == onp.int32
    assert x.T.shape == (3, 2)
    assert x.device == x.ctx == x.context == cpu(0)
    assert x.stype == "default"
    assert x.grad is None


def test_its_constructor_says_what_to_use() -> None:
    with pytest.raises(TypeError, match=r"use mx\.np\.array"):
        np.ndarray()


def test_asnumpy_is_a_copy_in_c_order() -> None:
    x = np.array([[1, 2], [3, 4]]).T
    y = x.asnumpy()
    assert y.flags.c_contiguous
    y[0, 0] = 9
    assert x[0, 0].item() == 1


def test_scalars_come_out() -> None:
    x = np.array([2.5])
    assert (x.item(), x.asscalar(), float(x), int(x), bool(x), x.tolist()) == (2.5, 2.5, 2.5, 2, True, [2.5])
    assert [10, 20, 30][np.array(1, dtype="int64")] == 20
    with pytest.raises(TypeError, match="only integer arrays with one element"):
        _ = [1, 2][np.array(1.0)]
    with pytest.raises(ValueError, match="ambiguous"):
        bool(np.ones(2))
    with pytest.raises(ValueError, match=r"size 1|scalar"):
        np.ones(2).asscalar()


def test_len_and_iteration_need_a_dimension() -> None:
    assert [row.tolist() for row in np.array([[1, 2], [3, 4]])] == [[1, 2], [3, 4]]
    with pytest.raises(TypeError, match="len"):
        len(np.array(1.0))
    with pytest.raises(TypeError, match="iteration"):
        iter(np.array(1.0))
    assert 3 in np.array([1, 2, 3])
    assert 4 not in np.array([1, 2, 3])


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.array([1.0, 2.5]), "array([1. , 2.5])"),
        (np.array([1, 2], dtype="int32"), "array([1, 2], dtype=int32)"),
        (np.array([True]) > 0, "array([ True])"),
        (np.array(3.0), "array(3.)"),
        (np.zeros((0, 3)), "array([], shape=(0, 3), dtype=float32)"),
        (np.array([[1, 2], [3, 4]]), "array([[1., 2.],\n       [3., 4.]])"),
    ],
)
def test_repr_is_numpys_with_float32_as_default(array: np.ndarray, text: str) -> None:
    assert repr(array) == text


def test_it_formats_like_a_number_where_it_is_one() -> None:
    assert f"{np.array(0.25):.1%}" == "25.0%"
    assert f"{np.array([1.0])}" == "[1.]"


def test_devices_are_the_cpu() -> None:
    x = np.ones(2)
    assert x.as_in_ctx(cpu()) is x.as_in_context(cpu()) is x.to_device(cpu()) is x
    assert x.as_np_ndarray() is x.as_nd_ndarray() is x.detach() is x.tostype("default") is x
    x.wait_to_read()
    x.wait_to_write()
    with pytest.raises(MXNetError, match="only dense arrays"):
        x.tostype("csr")


def test_copies_are_of_their_own() -> None:
    x = np.ones((2, 2))
    for y in (x.copy(), x.copyto(cpu()), copy.copy(x), copy.deepcopy(x), x.astype("float32"), +x):
        y[0, 0] = 5
        assert x[0, 0].item() == 1
    assert x.astype("float32", copy=False) is x


def test_copyto_writes_into_another_array() -> None:
    x, y = np.array([1.5, 2.5]), np.zeros(2, dtype="int32")
    assert x.copyto(y) is y
    assert y.tolist() == [1, 2]
    with pytest.raises(ShapeError, match=r"shape \(2,\) cannot be written into one of shape \(3,\)"):
        x.copyto(np.zeros(3))
    with pytest.raises(TypeMismatchError, match="wants an array or a device"):
        x.copyto("cpu")  # type: ignore[arg-type]


def test_astype_casts() -> None:
    assert np.array([1.9, -1.9]).astype("int8").tolist() == [1, -1]
    assert np.array([0, 2]).astype(bool).tolist() == [False, True]
    with pytest.raises(TypeMismatchError, match="by the rule 'safe'"):
        np.array([1.5]).astype("int32", casting="safe")
    with pytest.raises(TypeMismatchError, match="complex64"):
        np.array([1.5]).astype("complex64")


def test_training_is_refused_plainly() -> None:
    x = np.ones(2)
    x.attach_grad("null")
    with pytest.raises(MXNetError, match="minidnn is for inference"):
        x.attach_grad()
    with pytest.raises(MXNetError, match="minidnn is for inference"):
        x.backward()


def test_pickle_goes_through_numpy() -> None:
    x = np.array([[1, 2], [3, 4]], dtype="int16")
    y = pickle.loads(pickle.dumps(x))  # noqa: S301
    assert isinstance(y, np.ndarray)
    assert y.dtype == x.dtype
    assert y.tolist() == x.tolist()


def test_it_is_hashable_by_identity() -> None:
    x = np.ones(2)
    assert {x: 1}[x] == 1
    assert len({x, np.ones(2)}) == 2


# ---- operators ---------------------------------------------------------------------------------------

OPERATORS = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "//": lambda a, b: a // b,
    "%": lambda a, b: a % b,
    "**": lambda a, b: a**b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


@pytest.mark.parametrize("symbol", OPERATORS)
def test_operators_are_numpys_on_either_side(symbol: str) -> None:
    apply = OPERATORS[symbol]
    a = onp.array([[0.5, 2.0, 3.0]], onp.float32)
    b = onp.array([[2.0], [0.5]], onp.float32)
    x, y = np.array(a), np.array(b)
    for left, right, expected in (
        (x, y, apply(a, b)),
        (x, b, apply(a, b)),
        (a, y, apply(a, b)),
        (x, 2, apply(a, 2)),
        (2, x, apply(2, a)),
        (x, 0.5, apply(a, onp.float32(0.5))),
        (onp.float64(0.5), x, apply(onp.float32(0.5), a)),
    ):
        result = apply(left, right)
        assert isinstance(result, np.ndarray)
        assert result.dtype == expected.dtype
        onp.testing.assert_allclose(result.asnumpy(), expected, rtol=1e-6)


def test_unary_operators() -> None:
    x = np.array([-1.5, 2])
    assert (-x).tolist() == [1.5, -2]
    assert abs(x).tolist() == [1.5, 2]
    assert (~np.array([True, False]).astype(bool)).tolist() == [False, True]


def test_bit_operators() -> None:
    x, y = np.array([6, 5], dtype="int32"), np.array([3, 3], dtype="int32")
    assert [(x & y).tolist(), (x | y).tolist(), (x ^ y).tolist()] == [[2, 1], [7, 7], [5, 6]]
    assert [(1 & x).tolist(), (1 | x).tolist(), (1 ^ x).tolist()] == [[0, 1], [7, 5], [7, 4]]
    mask = (np.array([1, 2, 3]) > 1) & (np.array([1, 2, 3]) < 3)
    assert mask.tolist() == [False, True, False]


def test_matmul_on_either_side_and_of_any_dtypes() -> None:
    a, b = onp.arange(6, dtype=onp.float32).reshape(2, 3), onp.arange(3, dtype=onp.float32)
    assert (np.array(a) @ b).tolist() == (a @ b).tolist()
    assert (a @ np.array(b)).tolist() == (a @ b).tolist()
    assert (np.array(a, dtype="int32") @ np.array(b, dtype="int32")).dtype == onp.int32
    assert (np.array(a, dtype="int32") @ np.array(b)).dtype == onp.float32
    x = np.array(onp.eye(3))
    x @= x * 2
    assert x.tolist() == (onp.eye(3) * 2).tolist()
    with pytest.raises(TypeError):
        _ = np.array(a) @ 2  # type: ignore[operator]


@pytest.mark.parametrize("other", ["text", None, object()])
def test_other_types_are_left_to_python(other: object) -> None:
    x = np.ones(2)
    with pytest.raises(TypeError):
        _ = x + other
    with pytest.raises(TypeError):
        x -= other
    assert (x == other) is False


def test_large_integers_keep_all_their_digits() -> None:
    x = np.array([2**60 + 1], dtype="int64")
    assert (x + 2**59).item() == 2**60 + 2**59 + 1
    assert (x - (2**60 + 1)).item() == 0
    assert (2**62 - x).item() == 2**62 - 2**60 - 1


# ---- in place ----------------------------------------------------------------------------------------


def test_writing_in_place_keeps_the_array_and_its_dtype() -> None:
    x = np.array([1.0, 2.0], dtype="float16")
    same = x
    x += np.ones(2, dtype="float32")
    x *= 2
    x -= 1
    x /= 2
    x **= 2
    x //= 0.5
    x %= 3
    assert same is x
    assert x.dtype == onp.float16
    assert x.tolist() == [(1.5**2 // 0.5) % 3, (2.5**2 // 0.5) % 3]


def test_writing_in_place_refuses_what_would_not_fit() -> None:
    x = np.array([1, 2], dtype="int32")
    with pytest.raises(TypeMismatchError, match="float32 results cannot be written into an array of int32"):
        x += 0.5
    with pytest.raises(ShapeError, match=r"shape \(2, 2\) cannot be written into one of shape \(2,\)"):
        x += np.ones((2, 2), dtype="int32")
    assert x.tolist() == [1, 2]


def test_every_write_is_counted_through_views_too() -> None:
    x = np.zeros((2, 3))
    view = x[0]
    x._compiled["kernel"] = view._compiled["kernel"] = 1
    before = x._version
    view[1] = 5
    assert x[0, 1].item() == 5
    assert x._version > before
    assert x._compiled == view._compiled == {}
    before = view._version
    x += 1
    assert view._version > before
    assert view.tolist() == [1, 6, 1]


def test_results_do_not_share_memory_with_their_inputs() -> None:
    x = np.zeros((2, 3))
    results = [x.reshape(3, 2), x.T, x.squeeze(), x.flatten(), np.broadcast_to(x, (1, 2, 3)), np.split(x, 2)[0]]
    for result in results:
        result += 1
    assert not x.any()
