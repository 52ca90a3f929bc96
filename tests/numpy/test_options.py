"""Options of functions that NumPy knows: those that are not supported are refused, never ignored."""

from __future__ import annotations

import operator

import numpy
import pytest

import minidnn as mx
from minidnn import numpy as np
from minidnn.errors import MXNetError, OpError, ShapeError, UnsupportedError

X = numpy.array([[4.0, 1.0], [9.0, 2.25]], numpy.float32)

CALLS = {
    "unary": lambda **options: np.sqrt(np.array(X), **options),
    "unary on bools": lambda **options: np.isnan(np.array(X), **options),
    "binary": lambda **options: np.add(np.array(X), 2.0, **options),
    "two numbers": lambda **options: np.maximum(1.0, 2.0, **options),
    "bits": lambda **options: np.bitwise_left_shift(np.array([1], dtype="int32"), 2, **options),
    "matrix product": lambda **options: np.matmul(np.array(X), np.array(X), **options),
    "round": lambda **options: np.round(np.array(X), 1, **options),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_options_of_ufuncs_that_are_not_supported_are_refused(call) -> None:
    for options in (
        {"where": False},
        {"where": np.array(X) > 2},
        {"dtype": "int8"},
        {"casting": "safe"},
        {"order": "C"},
        {"subok": False},
    ):
        with pytest.raises(NotImplementedError, match=next(iter(options))) as raised:
            call(**options)
        assert isinstance(raised.value, MXNetError)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_options_that_numpy_does_not_know_are_type_errors(call) -> None:
    for options in ({"dtype": "abcdefg"}, {"casting": "loose"}, {"subok": 3}, {"whereever": True}):
        with pytest.raises(TypeError, match=next(iter(options))):
            call(**options)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_options_at_their_defaults_change_nothing(call) -> None:
    defaults = {"where": True, "casting": "same_kind", "order": "K", "dtype": None, "subok": True}
    numpy.testing.assert_array_equal(numpy.asarray(call(**defaults)), numpy.asarray(call()))


def test_the_only_order_in_memory_is_c() -> None:
    x = np.array(X)
    for make in (
        lambda order: np.empty((2, 3), order=order),
        lambda order: np.empty_like(x, order=order),
        lambda order: np.zeros((2,), order=order),
        lambda order: np.ones((), order=order),
        lambda order: np.full((2,), 3.0, order=order),
        lambda order: np.zeros_like(x, order=order),
        lambda order: np.ones_like(x, order=order),
        lambda order: np.full_like(x, 2.0, order=order),
        lambda order: x.copy(order=order),
    ):
        assert make("C").dtype == "float32"
        for order in ("F", "A"):
            with pytest.raises(UnsupportedError, match=f"order must be 'C', got '{order}'"):
                make(order)


def test_negative_sizes_and_counts_are_errors_of_minidnn() -> None:
    for call in (
        lambda: np.zeros((2, -1)),
        lambda: np.eye(-1),
        lambda: np.eye(2, -3),
        lambda: np.identity(-2),
        lambda: np.random.uniform(size=(-1,)),
    ):
        with pytest.raises(ShapeError, match="negative"):
            call()
    for make in (np.linspace, np.logspace):
        for num in (-1, 2.5):
            with pytest.raises(OpError, match="num must be an integer"):
                make(0, 1, num)


def test_evenly_spaced_integers_are_rounded_down() -> None:
    class Spaced(mx.gluon.HybridBlock):
        def forward(self, low: np.ndarray) -> np.ndarray:
            return np.linspace(low, 4.0, 30, dtype="int32")

    wanted = numpy.linspace(-2, 4, 30, dtype=numpy.int32)
    numpy.testing.assert_array_equal(np.linspace(-2, 4, 30, dtype="int32").asnumpy(), wanted)
    net = Spaced()
    net.hybridize()
    numpy.testing.assert_array_equal(net(np.array(-2.0)).asnumpy(), wanted)


def test_an_index_is_an_integer_array_without_dimensions() -> None:
    assert operator.index(np.array(3, dtype="int16")) == 3
    for wrong in (np.ones((1,), dtype="int32"), np.ones((1, 1), dtype="int64"), np.array(1.0), np.array(True)):
        with pytest.raises(TypeError, match="index"):
            operator.index(wrong)


def test_a_format_belongs_to_an_array_without_dimensions() -> None:
    assert f"{np.array(3.14159):0.3g}" == "3.14"
    assert f"{np.array(X)}" == str(X)
    with pytest.raises(TypeError, match="format"):
        f"{np.array(X):30}"


def test_the_array_api_is_asked_for_by_version() -> None:
    x = np.array(X)
    for version in (None, "2021.12", "2022.12", "2024.12"):
        assert x.__array_namespace__(version) is np
        assert x.__array_namespace__(api_version=version) is np
    for unknown in ("2020.09", "2021.24", "2021", "", "2021.123"):
        with pytest.raises(ValueError, match="version"):
            x.__array_namespace__(unknown)


def test_an_element_takes_a_value_with_leading_dimensions_of_one() -> None:
    x = np.zeros((2, 3, 4))
    x[1, 2, 3] = np.full((1, 1), 5.0)
    x[0, 0] = numpy.ones((1, 1, 4))
    assert x[1, 2, 3].item() == 5 and x.sum().item() == 9
    with pytest.raises(ValueError):
        x[1, 2, 3] = np.ones(2)


def test_repeats_can_differ_from_slice_to_slice() -> None:
    class Repeated(mx.gluon.HybridBlock):
        def forward(self, x: np.ndarray) -> np.ndarray:
            return np.repeat(x, [1, 0, 2], axis=1)

    host = numpy.arange(6, dtype=numpy.float32).reshape(2, 3)
    x = np.array(host)
    for repeats, axis in (((2, 1), 0), ([0, 3, 1], -1), ([2], 1), (numpy.array([1, 2, 0, 0, 1, 3]), None), (2, 0)):
        numpy.testing.assert_array_equal(np.repeat(x, repeats, axis).asnumpy(), numpy.repeat(host, repeats, axis))
        numpy.testing.assert_array_equal(x.repeat(repeats, axis).asnumpy(), numpy.repeat(host, repeats, axis))
    numpy.testing.assert_array_equal(x.repeat(np.array([2, 1], dtype="int32"), 0).asnumpy(), host.repeat([2, 1], 0))
    net = Repeated()
    net.hybridize()
    numpy.testing.assert_array_equal(net(x).asnumpy(), numpy.repeat(host, [1, 0, 2], 1))
    for wrong in ([1, 2], [1, -1, 1], [1.5, 1, 1]):
        with pytest.raises(OpError, match="3 integers that are not negative"):
            np.repeat(x, wrong, 1)
    with pytest.raises(ShapeError, match="repeat"):
        np.repeat(x, [1], 2)


def test_infinite_orders_of_norms_may_be_words() -> None:
    x = np.array(X)
    for word, order in (("inf", numpy.inf), ("-inf", -numpy.inf)):
        numpy.testing.assert_allclose(np.linalg.vector_norm(x, word, axis=1), numpy.linalg.norm(X, order, axis=1))
        numpy.testing.assert_allclose(np.linalg.matrix_norm(x, word), numpy.linalg.norm(X, order))
        numpy.testing.assert_allclose(np.linalg.norm(x, word, axis=0), numpy.linalg.norm(X, order, axis=0))
    with pytest.raises(OpError, match="order"):
        np.linalg.vector_norm(x, "fro")


def test_probabilities_that_float32_has_rounded_add_up() -> None:
    for p in ([0.0, 0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1, 0.0], [1 / 3] * 3, [0.7, 0.3]):
        counts = np.random.multinomial(1000, np.array(p, dtype="float32"), size=(4,))
        assert counts.shape == (4, len(p)) and counts.sum(axis=1).tolist() == [1000] * 4
    assert np.random.multinomial(3, [], size=(2,)).shape == (2, 0)
    with pytest.raises(OpError, match="pvals"):
        np.random.multinomial(3, np.array([0.6, 0.6, 0.1]))


def test_sums_and_seeds_take_mxnets_arguments() -> None:
    out = np.zeros((2, 2))
    assert mx.npx.add_n(np.array(X), np.array(X), out=out) is out
    numpy.testing.assert_array_equal(out.asnumpy(), X + X)
    draws = []
    for _ in range(2):
        mx.npx.random.seed(seed=11)
        draws.append(np.random.uniform(size=(3,)).tolist())
    assert draws[0] == draws[1]
