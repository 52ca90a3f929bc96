"""Parameters: shapes that are found later, initialization, values, and what MXNet says when they are missing."""

from __future__ import annotations

import copy
import pickle
import threading
from typing import Any

import numpy as np
import pytest

import minidnn as mx
from minidnn.errors import DataError, MXNetError, ShapeError
from minidnn.gluon import Constant, DeferredInitializationError, Parameter, ParameterDict


def test_an_initialized_parameter_has_data() -> None:
    parameter = Parameter("weight", shape=(2, 3), init=mx.init.One())
    parameter.initialize(device=mx.cpu(0))
    assert parameter.data().shape == parameter.shape == (2, 3)
    assert parameter.data().dtype == parameter.dtype == np.float32
    assert parameter.data().tolist() == [[1, 1, 1], [1, 1, 1]]
    assert parameter.list_data()[0] is parameter.data(mx.cpu())
    assert parameter.list_device() == parameter.list_ctx() == [mx.cpu(0)]
    assert repr(parameter) == "Parameter (shape=(2, 3), dtype=float32)"


def test_the_initializer_given_last_wins_then_the_own_then_the_default() -> None:
    parameter = Parameter("weight", shape=2, init="ones")
    parameter.initialize(default_init="zeros")
    assert parameter.data().tolist() == [1, 1]
    parameter.initialize(mx.init.Constant(3), force_reinit=True)
    assert parameter.data().tolist() == [3, 3]
    other = Parameter("anything", shape=(100,))
    other.initialize(default_init=mx.init.Uniform(0.5))
    assert 0.4 < float(mx.np.max(mx.np.abs(other.data()))) <= 0.5


def test_a_second_initialization_warns_and_does_nothing() -> None:
    parameter = Parameter("weight", shape=(2,), init="ones")
    parameter.initialize()
    with pytest.warns(UserWarning, match=r"Parameter 'weight' is already initialized, ignoring"):
        parameter.initialize("zeros")
    assert parameter.data().tolist() == [1, 1]


def test_without_initialize_there_is_no_data() -> None:
    parameter = Parameter("weight", shape=(2,))
    with pytest.raises(RuntimeError, match=r"Parameter 'weight' has not been initialized. Note that you should"):
        parameter.data()
    with pytest.raises(RuntimeError, match=r"has not been initialized"):
        parameter.set_data(mx.np.ones(2))
    with pytest.raises(RuntimeError, match=r"has not been initialized"):
        parameter.list_device()
    with pytest.raises(ValueError, match=r"Cannot reset device for Parameter 'weight'"):
        parameter.reset_ctx(mx.cpu())


@pytest.mark.parametrize("unknown", [0, -1])
def test_an_unknown_dimension_defers_initialization(unknown: int) -> None:
    parameter = Parameter("weight", shape=(4, unknown), init="ones", allow_deferred_init=True)
    assert parameter.shape == (4, -1)
    parameter.initialize()
    with pytest.raises(
        DeferredInitializationError,
        match=r"Parameter 'weight' has not been initialized yet because initialization was deferred. "
        r"Actual initialization happens during the first forward pass.",
    ):
        parameter.data()
    parameter.shape = (4, 3)
    parameter.finish_deferred_init()
    assert parameter.data().shape == (4, 3)


def test_an_unknown_dimension_is_an_error_where_nothing_may_be_deferred() -> None:
    with pytest.raises(ValueError, match=r"Cannot initialize Parameter 'weight' because it has invalid shape: \(-1,\)"):
        Parameter("weight", shape=(0,)).initialize()
    with pytest.raises(ValueError, match=r"invalid shape: None"):
        Parameter("weight").initialize()


def test_a_known_dimension_stays_as_it_is() -> None:
    parameter = Parameter("weight", shape=(4, 0))
    for wrong in ((5, 3), (4, 3, 1)):
        with pytest.raises(ShapeError, match=r"is incompatible with given shape"):
            parameter.shape = wrong
    for wrong in ((-2,), (1.5,), (True,)):
        with pytest.raises(ShapeError, match=r"a shape is integers"):
            Parameter("weight", shape=wrong)  # type: ignore[arg-type]


def test_set_data_writes_in_place() -> None:
    parameter = Parameter("weight", shape=(2,), init="zeros")
    parameter.initialize()
    array, version = parameter.data(), parameter.data()._version
    parameter.set_data(np.array([1.0, 2.0]))
    assert parameter.data() is array
    assert array.tolist() == [1, 2]
    assert array._version > version
    with pytest.raises(ShapeError, match=r"Expected shape \(3,\) is incompatible with given shape \(2,\)"):
        parameter.set_data(mx.np.ones(3))


def test_set_data_of_a_deferred_parameter_is_what_it_starts_with() -> None:
    parameter = Parameter("weight", shape=(-1,), allow_deferred_init=True)
    parameter.initialize()
    parameter.set_data(mx.np.array([1, 2]))
    parameter.finish_deferred_init()
    assert parameter.data().tolist() == [1, 2]


def test_cast_changes_data_and_what_is_to_come() -> None:
    parameter = Parameter("weight", shape=(2,), init="ones")
    parameter.cast("float16")
    parameter.initialize()
    assert parameter.data().dtype == np.float16
    parameter.dtype = "float64"
    assert parameter.data().dtype == np.float64
    assert parameter.data().tolist() == [1, 1]


def test_gradients_are_accepted_as_a_wish_only() -> None:
    parameter = Parameter("weight", shape=(2,), grad_req="add", lr_mult=2.0)
    assert (parameter.grad_req, parameter.lr_mult) == ("add", 2.0)
    parameter.zero_grad()
    with pytest.raises(ValueError, match=r"grad_req must be one of 'write', 'add', or 'null', but got 'yes'"):
        parameter.grad_req = "yes"
    with pytest.raises(MXNetError, match=r"Cannot get gradient array for Parameter 'weight'"):
        parameter.grad()
    assert Parameter("beta", shape=(2,), differentiable=False).grad_req == "null"
    with pytest.raises(MXNetError, match=r"only dense arrays"):
        Parameter("weight", stype="row_sparse")


def test_var_is_a_variable_of_the_parameters_type() -> None:
    symbol = Parameter("weight", shape=(2, 3)).var()
    assert symbol.list_arguments() == ["weight"]
    assert symbol.infer_shape()[0] == [(2, 3)]


def test_a_constant_keeps_its_value() -> None:
    constant = Constant([[1, 2], [3, 4]])
    constant.initialize()
    assert constant.data().tolist() == [[1, 2], [3, 4]]
    assert constant.grad_req == "null"
    assert repr(constant) == "Constant (shape=(2, 2), dtype=float32)"
    with pytest.warns(UserWarning, match='does not support grad_req other than "null"'):
        constant.grad_req = "write"
    constant.set_data(mx.np.zeros((2, 2)))
    assert constant.data().tolist() == [[0, 0], [0, 0]]


def test_parameters_copy_and_pickle_with_their_values() -> None:
    parameter = Parameter("weight", shape=(3,))
    parameter.initialize()
    for other in (copy.deepcopy(parameter), pickle.loads(pickle.dumps(parameter))):  # noqa: S301
        assert other.data().tolist() == parameter.data().tolist()
        other.set_data(mx.np.zeros(3))
        assert parameter.data().tolist() != [0, 0, 0]


def test_many_threads_draw_a_deferred_parameter_once() -> None:
    parameter = Parameter("weight", shape=(-1,), allow_deferred_init=True)
    parameter.initialize()
    parameter.shape = (1000,)
    start, seen = threading.Barrier(8), []

    def finish() -> None:
        start.wait()
        parameter.finish_deferred_init()
        seen.append(parameter.data())

    threads = [threading.Thread(target=finish) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 8
    assert all(array is seen[0] for array in seen)


# ---- many parameters ------------------------------------------------------------------------------


def make_dict(**shapes: Any) -> ParameterDict:
    params = ParameterDict(
        {name: Parameter(name, shape=shape, init="ones", allow_deferred_init=True) for name, shape in shapes.items()}
    )
    params.initialize()
    return params


def test_a_dict_of_parameters_acts_on_all_of_them() -> None:
    params = ParameterDict({"a": Parameter("a_weight", shape=(2,)), "b": Parameter("b", shape=(2,), init="ones")})
    params.initialize(mx.init.Constant(3), verbose=True)
    assert [p.data().tolist() for p in params.values()] == [[3, 3], [1, 1]]
    params.setattr("grad_req", "null")
    params.zero_grad()
    params.reset_ctx(mx.cpu())
    assert {p.grad_req for p in params.values()} == {"null"}
    assert "'a': Parameter (shape=(2,)" in repr(params)


def test_values_come_from_a_dict_of_arrays() -> None:
    params = make_dict(a=(2,), b=(-1, 2))
    params.load_dict({"arg:a": np.array([1, 2], np.float32), "aux:b": mx.np.full((3, 2), 5)})
    assert params["a"].data().tolist() == [1, 2]
    assert params["b"].data().tolist() == [[5, 5]] * 3


def test_what_is_missing_or_left_over_is_named() -> None:
    params = make_dict(a=(2,), b=(2,))
    one = {"a": mx.np.zeros(2)}
    with pytest.raises(
        DataError,
        match=r"Parameter 'b' is missing in 'param_dict', which contains parameters: 'a'. "
        r"Set allow_missing=True to ignore missing parameters.",
    ):
        params.load_dict(one)
    with pytest.raises(
        DataError,
        match=r"Parameter 'c' loaded from 'param_dict' is not present in Dict, which contains parameters 'a', 'b'. "
        r"Set ignore_extra=True to ignore.",
    ):
        params.load_dict({**one, "b": mx.np.zeros(2), "c": mx.np.zeros(2)})
    assert params["a"].data().tolist() == [1, 1]
    params.load_dict({**one, "c": mx.np.zeros(2)}, allow_missing=True, ignore_extra=True)
    assert params["a"].data().tolist() == [0, 0]
    assert params["b"].data().tolist() == [1, 1]


def test_many_names_are_abbreviated() -> None:
    params = make_dict(**{f"p{i}": (1,) for i in range(20)})
    with pytest.raises(DataError, match=r"contains parameters 'p0', 'p1', 'p2', ..., 'p17', 'p18', 'p19'. Set"):
        params.load_dict({"x": mx.np.ones(1)}, allow_missing=True)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones((2, 3), np.float32), r"'b' from saved params: shape incompatible expected \(2,\) vs saved \(2, 3\)"),
        (np.ones((3,), np.float32), r"'b' from saved params: shape incompatible expected \(2,\) vs saved \(3,\)"),
        (np.ones((2,), np.float16), "'b' from saved params: dtype incompatible expected float32 vs saved float16. Set"),
    ],
)
def test_nothing_is_loaded_where_one_array_does_not_fit(array: np.ndarray[Any, Any], message: str) -> None:
    params = make_dict(a=(2,), b=(2,))
    with pytest.raises(DataError, match=f"Failed loading Parameter {message}"):
        params.load_dict({"a": mx.np.zeros(2), "b": array})
    assert params["a"].data().tolist() == [1, 1]


def test_dtypes_may_differ_where_that_is_asked_for() -> None:
    half = {"a": np.array([0.5, 1.5], np.float16)}
    params = make_dict(a=(2,))
    params.load_dict(half, cast_dtype=True)
    assert params["a"].data().dtype == np.float32
    assert params["a"].data().tolist() == [0.5, 1.5]
    params.load_dict(half, cast_dtype=True, dtype_source="saved")
    assert params["a"].data().dtype == np.float16
    with pytest.raises(ValueError, match=r"dtype_source must be 'current' or 'saved', got 'file'"):
        params.load_dict(half, cast_dtype=True, dtype_source="file")  # type: ignore[arg-type]


def test_loaded_arrays_are_copies() -> None:
    params, array = make_dict(a=(2,)), mx.np.zeros(2)
    fresh = ParameterDict({"a": Parameter("a", shape=(2,))})
    for target in (params, fresh):
        target.load_dict({"a": array})
        target["a"].data()[:] = 7
        assert array.tolist() == [0, 0]


def test_a_float64_parameter_takes_numpys_float64_as_it_is() -> None:
    layer = mx.gluon.nn.Dense(2, in_units=3, use_bias=False)
    layer.initialize()
    layer.cast("float64")
    value = np.full((2, 3), 1 / 3)
    layer.weight.set_data(value)
    np.testing.assert_array_equal(layer.weight.data().asnumpy(), value)
    layer.load_dict({"weight": value / 7})
    np.testing.assert_array_equal(layer.weight.data().asnumpy(), value / 7)
