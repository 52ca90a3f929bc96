"""NaN and infinity: numbers like others, unless ``MINIDNN_CHECK_FINITE`` asks for an error."""

from __future__ import annotations

import numpy as np
import pytest

import minidnn as mx
from minidnn.errors import OpError
from minidnn.gluon import nn


def _net(optimized: bool) -> nn.HybridSequential:
    net = nn.HybridSequential()
    net.add(nn.Conv2D(4, 3, in_channels=3), nn.Dense(3))
    net.initialize()
    if optimized:
        net.optimize_for(mx.np.zeros((1, 3, 8, 8)))
    return net


@pytest.mark.parametrize("optimized", [False, True], ids=["eager", "fused"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_finite_input_is_refused_on_demand(monkeypatch: pytest.MonkeyPatch, optimized: bool, value: float) -> None:
    net = _net(optimized)
    monkeypatch.setenv("MINIDNN_CHECK_FINITE", "1")
    data = np.zeros((1, 3, 8, 8), np.float32)
    assert np.isfinite(net(mx.np.array(data)).asnumpy()).all()
    data[0, 1, 2, 3] = value
    with pytest.raises(OpError, match=r"data.* must be finite .*got 1 NaN or infinite of 192"):
        net(mx.np.array(data))


@pytest.mark.parametrize("optimized", [False, True], ids=["eager", "fused"])
def test_nan_goes_through_the_network_by_default(optimized: bool) -> None:
    data = np.zeros((1, 3, 8, 8), np.float32)
    data[0, 1, 2, 3] = np.nan
    assert np.isnan(_net(optimized)(mx.np.array(data)).asnumpy()).any()
