"""Every elementwise operator of the registry is a kernel for every dtype that it takes, and gives its reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from elementwise_cases import Case, cases, numbers
from small_graphs import compiled, node, run, steps

from minidnn.ir.graph import Graph, make_variable
from minidnn.ops.registry import get_op
from minidnn.plan.program import Program

Array = np.ndarray[Any, Any]

# What is computed in float64 has arithmetic, comparisons, rounding and roots alone.
_FLOAT64 = {
    *("sin", "cos", "tan", "arcsin", "arccos", "arctan", "arctan2", "sinh", "cosh", "tanh", "arcsinh", "arccosh"),
    *("arctanh", "exp", "expm1", "log", "log2", "log10", "log1p", "cbrt", "rcbrt", "erf", "erfinv", "gamma", "gammaln"),
    *("digamma", "i0", "sigmoid", "log_sigmoid", "softsign", "softrelu", "mish", "silu", "hard_swish", "hard_sigmoid"),
    *("gelu", "activation", "leaky_relu", "hypot", "logaddexp", "ldexp", "floor_divide", "mod", "fmod", "spacing"),
}


def _may_be_on_host(case: Case) -> bool:
    base = case.op.removesuffix("_scalar")
    base = base if base in _FLOAT64 or not base.startswith("r") else base[1:]
    computed = {np.dtype(d) for d in case.dtypes}
    if base == "power":
        # A negative exponent of an integer is an error, and a kernel raises none.
        if np.dtype(np.float64) in computed:
            return case.op != "power_scalar" or case.attrs[0][1] not in (0.5, 1.0, 2.0, 3.0, 4.0, -1.0)
        if case.op == "power_scalar" or case.attrs == (("scalar", 2.5),) or any(d.kind == "f" for d in computed):
            return False
        # A scalar beside bools is an int64.
        return any(d.kind == "i" for d in computed) or (case.op != "power" and np.dtype(np.bool_) in computed)
    if case.attrs == (("act_type", "relu"),):
        return False
    return base in _FLOAT64 and (np.dtype(np.float64) in computed or (base, case.dtypes[0]) == ("spacing", "float16"))


_NATIVE = [case for case in cases() if not _may_be_on_host(case)]
_SIZE = 37


def _inputs(case: Case) -> list[Array]:
    arrays = [numbers(dtype, _SIZE, i) for i, dtype in enumerate(case.dtypes)]
    if case.op in ("cast", "fmod_scalar", "mod_scalar", "floor_divide_scalar") or "shift" in case.op:
        # What an integer cannot hold has no cast.
        arrays = [np.nan_to_num(a, nan=2, posinf=3, neginf=4) if a.dtype.kind == "f" else a for a in arrays]
        if case.op == "cast" and arrays[0].dtype.kind == "f" and np.dtype(case.attrs[0][1]).kind == "u":
            arrays = [np.abs(a) for a in arrays]
    if case.op == "i0" and arrays[0].dtype.kind in "iu":
        # NumPy's overflows before its result does.
        arrays = [np.clip(a, 0, 80) for a in arrays]
    if case.attrs == (("scalar", 0.5),):
        # NumPy has a root of float32 and a power of float16, which differ there.
        arrays = [np.abs(a) for a in arrays]
    return arrays


# Their results depend on what float32 can hold.
_OF_DTYPE = {"spacing", "nan_to_num"}


def _expected(case: Case, arrays: list[Array]) -> Array:
    """The reference; of float32 in float64, so that its own errors do not count."""
    op = get_op(case.op)
    attrs = op.make_attrs(dict(case.attrs))
    (result,) = op.compute(attrs, *arrays)
    if result.dtype == np.float32 and all(a.dtype == np.float32 for a in arrays) and case.op not in _OF_DTYPE:
        (wide,) = op.compute(attrs, *(a.astype(np.float64) for a in arrays))
        with np.errstate(over="ignore"):
            return wide.astype(np.float32)
    return result


def _assert_same(case: Case, actual: Array, expected: Array) -> None:
    assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape), str(case)
    if expected.dtype.kind != "f":
        np.testing.assert_array_equal(actual, expected, str(case))
        return
    digits = {2: 1e-3, 4: 2e-6, 8: 1e-14}[expected.dtype.itemsize]
    np.testing.assert_allclose(actual, expected, digits, 4e-7 if case.op in _NEAR_ZERO else 1e-37, err_msg=str(case))


# Sums that cancel: sigmoids and the like times or plus something.
_NEAR_ZERO = {"gelu", "leaky_relu", "hard_swish", "hard_sigmoid", "activation", "mish", "smooth_l1", "i0"}


def _planned(case: Case) -> tuple[Program, list[Array]]:
    arrays = _inputs(case)
    names = [f"x{i}" for i in range(len(arrays))]
    graph = Graph([node(case.op, *map(make_variable, names), **dict(case.attrs))])
    return compiled(graph, dict(zip(names, arrays, strict=True))), arrays


def _check(some: Sequence[Case]) -> None:
    with np.errstate(all="ignore"):
        for case in some:
            program, arrays = _planned(case)
            _assert_same(case, run(program, arrays)[0], _expected(case, arrays))


def test_no_step_runs_on_numpy() -> None:
    on_host = [str(case) for case in _NATIVE if "host" in steps(_planned(case)[0])]
    assert len(_NATIVE) > 1500 and not on_host


def test_only_what_is_said_to_runs_on_numpy() -> None:
    native = [str(case) for case in cases() if _may_be_on_host(case) and "host" not in steps(_planned(case)[0])]
    assert not native


_FLOATS = [case for case in _NATIVE if set(case.dtypes) == {"float32"}]
_OTHERS = [case for case in _NATIVE if set(case.dtypes) != {"float32"}]


@pytest.mark.parametrize("part", range(4))
def test_results_of_float32_are_the_references(part: int) -> None:
    _check(_FLOATS[part::4])


@pytest.mark.parametrize("part", range(4))
def test_results_of_other_dtypes_are_the_references(part: int) -> None:
    """Some of them: each kernel takes its time to compile."""
    _check(_OTHERS[part::41])


@pytest.mark.slow
def test_results_of_all_other_dtypes_are_the_references() -> None:
    _check(_OTHERS)
