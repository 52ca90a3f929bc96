"""`mx.np.linalg` against NumPy in float64."""

from __future__ import annotations

import numpy as np
import pytest

import minidnn as mx
from minidnn.errors import OpError, ShapeError
from minidnn.gluon import nn

linalg = mx.np.linalg
RNG = np.random.default_rng(3)
SQUARE = RNG.normal(size=(2, 4, 4)).astype(np.float32) + 4 * np.eye(4, dtype=np.float32)
WIDE = RNG.normal(size=(3, 5)).astype(np.float32)
TALL = WIDE.T.copy()
POSITIVE = SQUARE @ SQUARE.swapaxes(-1, -2)
CUBE = RNG.normal(size=(4, 6, 8, 3)).astype(np.float32)


def close(got, want, tolerance=2e-5):
    assert got.dtype == np.float32
    np.testing.assert_allclose(got.asnumpy(), want, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ["inv", "det", "pinv", "eigvalsh", "cond"])
def test_functions_of_square_matrices(name):
    close(getattr(linalg, name)(mx.np.array(POSITIVE)), getattr(np.linalg, name)(POSITIVE.astype(np.float64)), 1e-3)


def test_solutions_of_equations():
    b = RNG.normal(size=(2, 4, 3)).astype(np.float32)
    close(mx.np.matmul(mx.np.array(SQUARE), linalg.solve(mx.np.array(SQUARE), mx.np.array(b))), b)
    x, residuals, rank, singular = linalg.lstsq(mx.np.array(TALL), mx.np.array(CUBE[0, :5, 0]))
    want = np.linalg.lstsq(TALL.astype(np.float64), CUBE[0, :5, 0].astype(np.float64), rcond=None)
    for got, wanted in ((x, want[0]), (residuals, want[1]), (singular, want[3])):
        close(got, wanted)
    assert rank == 3


def test_tensor_equations():
    a = RNG.normal(size=(6, 4, 2, 3, 4)).astype(np.float32)
    b = RNG.normal(size=(6, 4)).astype(np.float32)
    close(linalg.tensorsolve(mx.np.array(a), mx.np.array(b)), np.linalg.tensorsolve(a.astype(np.float64), b), 1e-3)
    close(linalg.tensorinv(mx.np.array(a)), np.linalg.tensorinv(a.astype(np.float64)), 1e-3)


def test_factors_multiply_to_the_matrix():
    q, r = linalg.qr(mx.np.array(TALL))
    close(q @ r, TALL)
    u, s, vh = linalg.svd(mx.np.array(WIDE))
    assert (u.shape, s.shape, vh.shape) == ((3, 3), (3,), (3, 5))
    close((u * s) @ vh, WIDE)
    close(linalg.svdvals(mx.np.array(WIDE)), np.linalg.svd(WIDE, compute_uv=False))
    lower = linalg.cholesky(mx.np.array(POSITIVE))
    close(lower @ linalg.matrix_transpose(lower), POSITIVE, 1e-4)
    close(linalg.cholesky(mx.np.array(POSITIVE), upper=True), lower.asnumpy().swapaxes(-1, -2))


@pytest.mark.parametrize("upper", [False, True])
def test_eigenvectors_satisfy_their_equation(upper):
    values, vectors = linalg.eigh(mx.np.array(POSITIVE), upper=upper)
    close(mx.np.array(POSITIVE) @ vectors, vectors.asnumpy() * values.asnumpy()[:, None, :], 1e-3)
    values, vectors = linalg.eig(mx.np.array(POSITIVE))
    close(mx.np.array(POSITIVE) @ vectors, vectors.asnumpy() * values.asnumpy()[:, None, :], 1e-3)


def test_complex_eigenvalues_are_refused():
    turn = mx.np.array([[0.0, -1.0], [1.0, 0.0]])
    for function in (linalg.eig, linalg.eigvals):
        with pytest.raises(OpError, match="the eigenvalues are complex"):
            function(turn)


def test_determinants_by_sign_and_logarithm():
    sign, logarithm = linalg.slogdet(mx.np.array(-SQUARE[0, :3, :3]))
    close(sign * mx.np.exp(logarithm), np.linalg.det(-SQUARE[0, :3, :3].astype(np.float64)), 1e-4)


def test_ranks():
    flat = np.outer(np.arange(1, 5), np.arange(3)).astype(np.float32)
    assert linalg.matrix_rank(mx.np.array(flat)).item() == 1
    np.testing.assert_array_equal(linalg.matrix_rank(mx.np.array(SQUARE)).asnumpy(), [4, 4])
    assert linalg.matrix_rank(mx.np.zeros(3)).item() == 0
    assert linalg.matrix_rank(mx.np.array(WIDE), rtol=10.0).item() == 0


NORMS = [(WIDE, ord, axis) for ord in (None, 1, 2, 3, 0, np.inf, -np.inf) for axis in (0, 1, (-1,))] + [
    (CUBE, ord, axis) for ord in (None, "fro", 1, -1, 2, -2, "nuc", np.inf, -np.inf) for axis in ((0, 2), (-1, 1))
]


@pytest.mark.parametrize("x, ord, axis", NORMS)
@pytest.mark.parametrize("keepdims", [False, True])
def test_norms(x, ord, axis, keepdims):
    want = np.linalg.norm(x.astype(np.float64), ord, axis[0] if axis == (-1,) else axis, keepdims)
    close(linalg.norm(mx.np.array(x), ord, axis, keepdims), want)


def test_norms_of_all_elements():
    close(linalg.norm(mx.np.array(CUBE)), np.linalg.norm(CUBE))
    close(linalg.norm(mx.np.array(WIDE), 1), np.linalg.norm(WIDE, 1))
    close(linalg.norm(mx.np.array([3, 4], dtype="int32")), 5.0)
    close(linalg.vector_norm(mx.np.array(CUBE), 3, axis=(0, 2)), np.linalg.vector_norm(CUBE, ord=3, axis=(0, 2)))
    close(linalg.matrix_norm(mx.np.array(CUBE)), np.linalg.matrix_norm(CUBE))
    with pytest.raises(OpError, match="one or two axes"):
        linalg.norm(mx.np.array(CUBE), 1)
    with pytest.raises(OpError, match="must be 1, 2, inf"):
        linalg.norm(mx.np.array(WIDE), 3)


@pytest.mark.parametrize("power", [-2, 0, 1, 2, 5])
def test_powers_of_matrices(power):
    close(
        linalg.matrix_power(mx.np.array(SQUARE), power), np.linalg.matrix_power(SQUARE.astype(np.float64), power), 1e-4
    )
    with pytest.raises(ShapeError, match="square"):
        linalg.matrix_power(mx.np.array(WIDE), power)


def test_products():
    close(linalg.multi_dot([mx.np.array(a) for a in (WIDE, TALL, WIDE)]), np.linalg.multi_dot([WIDE, TALL, WIDE]))
    close(linalg.vecdot(mx.np.array(WIDE), mx.np.array(WIDE)), np.linalg.vecdot(WIDE, WIDE))
    close(linalg.outer(mx.np.array(WIDE[0]), mx.np.array(WIDE[1])), np.outer(WIDE[0], WIDE[1]))
    close(linalg.trace(mx.np.array(WIDE), 1), np.trace(WIDE, 1))
    close(linalg.cross(mx.np.array(TALL), mx.np.array(TALL[::-1].copy())), np.cross(TALL, TALL[::-1]))
    close(linalg.tensordot(mx.np.array(WIDE), mx.np.array(TALL), 1), WIDE @ TALL)
    close(linalg.diagonal(mx.np.array(WIDE)), np.diagonal(WIDE))
    close(linalg.matmul(mx.np.array(WIDE), mx.np.array(TALL)), WIDE @ TALL)


def test_float64_stays():
    assert linalg.inv(mx.np.array(SQUARE, dtype="float64")).dtype == np.float64


@pytest.mark.parametrize(
    "name, argument", [("inv", np.zeros((2, 2))), ("cholesky", -np.eye(2)), ("solve", np.ones((2, 3)))]
)
def test_what_has_no_result_is_refused(name, argument):
    arguments = [mx.np.array(argument)] * (2 if name == "solve" else 1)
    with pytest.raises(OpError, match=rf"linalg.{name}: .*(square|shapes are \(2, )"):
        getattr(linalg, name)(*arguments)


def test_operators_run_compiled():
    class Net(nn.HybridBlock):
        def forward(self, x):
            return linalg.norm(x, axis=(0, 1)) + linalg.vector_norm(x, 3) + linalg.norm(linalg.matrix_power(x, 3), 1)

    net = Net()
    x = mx.np.array(SQUARE[0])
    want = net(x).asnumpy()
    net.hybridize()
    np.testing.assert_allclose(net(x).asnumpy(), want, rtol=1e-5)
