"""Contractions of inputs whose sizes are symbols of their own, compiled, beside NumPy's."""

import numpy as np
import pytest

import minidnn as mx
from minidnn.gluon import nn


class Contraction(nn.HybridBlock):
    def __init__(self, subscripts):
        super().__init__()
        self.subscripts = subscripts

    def forward(self, x, y):
        return mx.np.einsum(self.subscripts, x, y)


@pytest.mark.parametrize(
    ("subscripts", "shapes"),
    [
        ("bhqk,bhkd->bhqd", [((2, 3, 4, 5), (2, 3, 5, 6)), ((1, 3, 7, 2), (1, 3, 2, 6))]),
        ("bhqd,bhkd->bhqk", [((2, 3, 4, 5), (2, 3, 6, 5)), ((2, 2, 1, 5), (2, 2, 9, 5))]),
        ("bij,bj->bi", [((2, 3, 4), (2, 4)), ((5, 1, 4), (5, 4))]),
        ("bij,bij->b", [((2, 3, 4), (2, 3, 4)), ((3, 3, 2), (3, 3, 2))]),
        ("...ij,...jk->...ik", [((2, 3, 4), (1, 4, 5)), ((1, 3, 4), (2, 4, 5)), ((3, 2, 4), (3, 4, 1))]),
        ("ij,ij->ij", [((3, 4), (1, 4)), ((3, 4), (3, 4)), ((1, 4), (3, 4))]),
    ],
)
def test_sizes_of_two_inputs_that_meet(subscripts, shapes):
    random, net = np.random.default_rng(0), Contraction(subscripts)
    for number, pair in enumerate(shapes):
        x, y = (random.normal(size=shape).astype(np.float32) for shape in pair)
        if not number:
            net.optimize_for(mx.np.array(x), mx.np.array(y))
        found = net(mx.np.array(x), mx.np.array(y)).asnumpy()
        np.testing.assert_allclose(found, np.einsum(subscripts, x, y), rtol=1e-5, atol=1e-5)
