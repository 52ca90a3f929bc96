"""Bits, parts of floats, sets, polynomials, samples, conditions, dtypes: against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

import minidnn as mx
from minidnn.gluon import nn

X = np.array([[1.5, -2.0, 0.25], [3.0, -0.5, 7.0]], np.float32)
V = np.array([0.5, -1.0, 2.0, 2.0, 0.0], np.float32)
I = np.array([12, 18, 35, 7], np.int32)  # noqa: E741
J = np.array([8, 27, 14, 2], np.int32)
HOLES = np.array([[1.0, np.nan, 3.0], [4.0, 5.0, 8.0]], np.float32)
BITS = np.array([[1, 0, 1, 1, 0, 0, 1, 0], [0, 1, 1, 0, 0, 0, 0, 1]], np.uint8)
PHASES = np.array([0.0, 3.0, 6.5, 0.2], np.float32)

# ours and NumPy's are called with the same arguments.
ALIKE = {
    "acos": (np.arccos, (X / 8,)),
    "acosh": (np.arccosh, (np.abs(X) + 1,)),
    "asin": (np.arcsin, (X / 8,)),
    "asinh": (np.arcsinh, (X,)),
    "atan": (np.arctan, (X,)),
    "atan2": (np.arctan2, (X, X[::-1].copy())),
    "atanh": (np.arctanh, (X / 8,)),
    "pow": (np.power, (np.abs(X), X)),
    "bitwise_left_shift": (np.left_shift, (I, np.array([0, 1, 3, 2], np.int32))),
    "bitwise_right_shift": (np.right_shift, (-I, np.array([0, 1, 3, 2], np.int32))),
    "gcd": (np.gcd, (I, J)),
    "lcm": (np.lcm, (I, J)),
    "ldexp": (np.ldexp, (X, np.array([3, -2, 0], np.int32))),
    "frexp": (np.frexp, (X,)),
    "modf": (np.modf, (X,)),
    "divmod": (np.divmod, (X, np.float32(2.0) + np.abs(X))),
    "float_power": (np.float_power, (I, 2)),
    "signbit": (np.signbit, (np.array([-0.0, 0.0, -1.0, np.inf, -np.inf], np.float32),)),
    "spacing": (np.spacing, (X,)),
    "real": (np.real, (X,)),
    "packbits": (np.packbits, (BITS,)),
    "unpackbits": (np.unpackbits, (np.array([7, 130], np.uint8),)),
    "nanargmax": (np.nanargmax, (HOLES, 0)),
    "nanargmin": (np.nanargmin, (HOLES, 1)),
    "nancumprod": (np.nancumprod, (HOLES, 1)),
    "nancumsum": (np.nancumsum, (HOLES, 0)),
    "nanmedian": (np.nanmedian, (HOLES, 1)),
    "nanpercentile": (np.nanpercentile, (HOLES, 30.0)),
    "nanprod": (np.nanprod, (HOLES, 1)),
    "nanquantile": (np.nanquantile, (HOLES, 0.3)),
    "nanstd": (np.nanstd, (HOLES, 1)),
    "nanvar": (np.nanvar, (HOLES, 0)),
    "poly": (np.poly, (V,)),
    "polyadd": (np.polyadd, (V, X[0])),
    "polydiv": (np.polydiv, (V, X[0])),
    "polyfit": (np.polyfit, (np.arange(5, dtype=np.float32), V, 2)),
    "polyint": (np.polyint, (V,)),
    "polymul": (np.polymul, (V, X[0])),
    "polysub": (np.polysub, (V, X[0])),
    "roots": (np.roots, (np.array([1.0, -3.0, 2.0], np.float32),)),
    "vander": (np.vander, (V, 3)),
    "setxor1d": (np.setxor1d, (V, X[0])),
    "in1d": (lambda a, b: np.isin(np.ravel(a), b), (X, V)),
    "unique_values": (np.unique, (V,)),
    "unique_inverse": (np.unique_inverse, (X,)),
    "unique_all": (np.unique_all, (np.array([[2, 1], [2, 5]], np.int32),)),
    "correlate": (np.correlate, (V, X[0], "full")),
    "histogram2d": (np.histogram2d, (V, V[::-1].copy(), 3)),
    "histogram_bin_edges": (np.histogram_bin_edges, (V, 4)),
    "histogramdd": (np.histogramdd, (X.T.copy(), 2)),
    "i0": (np.i0, (V,)),
    "ix_": (np.ix_, ([0, 1], [1, 2])),
    "msort": (lambda a: np.sort(a, 0), (X,)),
    "tril_indices_from": (np.tril_indices_from, (X, -1)),
    "triu_indices_from": (np.triu_indices_from, (X, 1)),
    "unwrap": (np.unwrap, (PHASES,)),
    "trapz": (np.trapezoid, (X, np.array([0.0, 1.0, 4.0], np.float32))),
    "alltrue": (np.all, (X, 1)),
    "sometrue": (np.any, (X - X, 0)),
    "product": (np.prod, (X, 0)),
    "extract": (np.extract, (X > 1, X)),
    "trim_zeros": (np.trim_zeros, (np.array([0, 0, 1, 0, 2, 0], np.float32),)),
    "select": (np.select, ([X > 2, X < 0], [X, -X], 9.0)),
    "piecewise": (np.piecewise, (X, [X < 0, X > 2], [-1, lambda x: x * x, 5])),
    "apply_over_axes": (np.apply_over_axes, (np.sum, X, [0, 1])),
}


def to_ours(value):
    if isinstance(value, np.ndarray):
        return mx.np.array(value, dtype=value.dtype)
    return [to_ours(v) for v in value] if isinstance(value, list) else value


def parts(value):
    if not isinstance(value, (tuple, list)):
        return [np.asarray(value)]
    return [part for v in value for part in parts(v)]


@pytest.mark.parametrize("name", ALIKE)
def test_functions_give_what_numpy_gives(name):
    reference, args = ALIKE[name]
    with np.errstate(all="ignore"):
        want = parts(reference(*args))
    got = getattr(mx.np, name)(*map(to_ours, args))
    assert len(parts(got)) == len(want)
    for g, w in zip(parts(got), want, strict=True):
        # float64 results are float32, the default.
        assert g.dtype == (np.float32 if w.dtype == np.float64 else w.dtype)
        np.testing.assert_allclose(g, w, rtol=2e-6, atol=1e-6)


TRACEABLE = {
    "acosh": (np.abs(X) + 1,),
    "pow": (np.abs(X), X),
    "modf": (X,),
    "divmod": (X, np.abs(X) + 2),
    "ldexp": (X, np.array([3.0, -2.0, 0.0], np.float32)),
    "signbit": (X,),
    "float_power": (np.abs(X), 1.5),
    "nanprod": (HOLES, 1),
    "nanvar": (HOLES, 1),
    "nanstd": (HOLES,),
    "trapz": (X,),
    "product": (X, 1),
}


@pytest.mark.parametrize("name", TRACEABLE)
def test_functions_made_of_operators_run_compiled(name):
    class Net(nn.HybridBlock):
        def forward(self, *arrays):
            result = getattr(mx.np, name)(*arrays, *TRACEABLE[name][len(arrays) :])
            return list(result) if isinstance(result, tuple) else result

    net = Net()
    arrays = [to_ours(a) for a in TRACEABLE[name] if isinstance(a, np.ndarray)]
    want = parts(net(*arrays))
    net.hybridize()
    for g, w in zip(parts(net(*arrays)), want, strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-6)


def test_conditions_choose_while_tracing():
    class Net(nn.HybridBlock):
        def forward(self, x):
            return mx.np.select([x > 2, x < 0], [x, -x], 9.0) + mx.np.piecewise(x, [x < 0], [lambda v: v * v, 1.0])

    net = Net()
    net.hybridize()
    want = np.select([X > 2, X < 0], [X, -X], 9.0) + np.piecewise(X, [X < 0], [lambda v: v * v, 1.0])
    np.testing.assert_allclose(net(mx.np.array(X)).asnumpy(), want, rtol=1e-6)


def test_a_shift_or_divisor_of_floats_is_refused():
    for name in ("bitwise_left_shift", "gcd", "lcm"):
        with pytest.raises(TypeError, match="must be integers"):
            getattr(mx.np, name)(mx.np.array(X), mx.np.array(X))


def test_ldexp_overflows_only_where_the_product_does():
    assert mx.np.ldexp(mx.np.array([1e-30]), mx.np.array([130.0])).item() == pytest.approx(float(np.ldexp(1e-30, 130)))


def test_modf_of_infinities_and_zeros_keeps_the_sign():
    x = np.array([np.inf, -np.inf, -0.0, -3.0], np.float32)
    for got, want in zip(mx.np.modf(mx.np.array(x)), np.modf(x), strict=True):
        np.testing.assert_array_equal(got.asnumpy(), want)
        np.testing.assert_array_equal(np.signbit(got.asnumpy()), np.signbit(want))


def test_nanvar_without_numbers_is_nan():
    x = mx.np.array([[np.nan, np.nan], [1.0, 2.0]])
    np.testing.assert_allclose(mx.np.nanvar(x, axis=1).asnumpy(), [np.nan, 0.25])
    np.testing.assert_allclose(mx.np.nanvar(x, axis=1, ddof=2).asnumpy(), [np.nan, np.nan])


def test_trapz_along_every_axis():
    y = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    for axis in range(-3, 3):
        got = mx.np.trapz(mx.np.array(y), dx=0.5, axis=axis)
        np.testing.assert_allclose(got.asnumpy(), np.trapezoid(y, dx=0.5, axis=axis), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("wrap", [False, True])
def test_fill_diagonal_writes_in_place(wrap):
    ours, numpys = mx.np.zeros((7, 3)), np.zeros((7, 3), np.float32)
    mx.np.fill_diagonal(ours, 4, wrap)
    np.fill_diagonal(numpys, 4, wrap)
    np.testing.assert_array_equal(ours.asnumpy(), numpys)


def test_limits_of_dtypes():
    info = mx.np.finfo("float32")
    assert (info.bits, info.eps, info.max, info.min, info.smallest_normal) == (
        32,
        *(float(getattr(np.finfo(np.float32), n)) for n in ("eps", "max", "min", "tiny")),
    )
    assert tuple(mx.np.iinfo(mx.np.zeros(2, dtype="int8"))) == (8, 127, -128)
    with pytest.raises(ValueError, match="not inexact"):
        mx.np.finfo("int32")


def test_common_dtypes_are_those_of_results():
    for a in mx.np.numeric_dtypes:
        for b in mx.np.numeric_dtypes:
            both = mx.np.zeros(1, dtype=a) + mx.np.zeros(1, dtype=b)
            assert mx.np.result_type(mx.np.zeros(1, dtype=a), b) == both.dtype
    assert mx.np.promote_types("int8", "uint8") == np.int16
    assert mx.np.can_cast("int8", "int16") and not mx.np.can_cast(mx.np.ones(2), "int8")
    assert mx.np.min_scalar_type(3) == np.uint8
    assert mx.np.min_scalar_type(mx.np.ones(3)) == np.float32
    for wrong in ((), (3.5,), ("none such",)):
        with pytest.raises(ValueError, match="result_type"):
            mx.np.result_type(*wrong)


def test_an_array_names_its_namespace():
    x = mx.np.ones(3)
    assert x.__array_namespace__() is mx.np
    assert x.__array_namespace__(api_version="2022.12").sum(x).item() == 3


def test_numpys_functions_give_our_arrays():
    x = mx.np.array(I, dtype="int32")
    assert type(np.gcd(x, 6)) is type(np.left_shift(x, 1)) is type(np.polyadd(x, x)) is mx.np.ndarray
