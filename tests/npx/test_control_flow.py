"""foreach, while_loop and cond give the same eagerly, traced, and for other sizes and values than the traced ones."""

from __future__ import annotations

import numpy as np
import pytest
from npx_helpers import Net

import minidnn as mx
from minidnn.errors import OpError

npx = mx.npx


def hybrid(function):
    net = Net(function)
    net.hybridize()
    return net


def running_sum(data, state):
    return npx.foreach(lambda x, s: (x * s, s + x), data, state)


def test_foreach_runs_over_the_first_axis():
    net = hybrid(running_sum)
    for length in (4, 2):
        data, state = np.arange(length * 3, dtype=np.float32).reshape(length, 3), np.ones(3, np.float32)
        wanted, s = [], state
        for x in data:
            wanted.append(x * s)
            s = s + x
        for block in (running_sum, net):
            out, last = block(mx.np.array(data), mx.np.array(state))
            np.testing.assert_array_equal(out.asnumpy(), wanted)
            np.testing.assert_array_equal(last.asnumpy(), s)


def test_foreach_with_lists():
    def function(a, b):
        outs, states = npx.foreach(lambda x, s: ([x[0] + x[1], s[0]], [s[0] + 1, s[1]]), [a, b], [a[0], b[0]])
        return [*outs, *states]

    x = mx.np.array(np.arange(6, dtype=np.float32).reshape(3, 2))
    for got, want in zip(hybrid(function)(x, x * 2), function(x, x * 2), strict=True):
        np.testing.assert_array_equal(got.asnumpy(), want.asnumpy())
    with pytest.raises(OpError, match="foreach: data must be arrays of one length"):
        function(x, x[:2])
    with pytest.raises(OpError, match=r"foreach: states 0 must be float32 of \(2,\), got float32 of \(1, 2\)"):
        npx.foreach(lambda e, s: (e, s.reshape(1, 2)), x, x[0])


def doubled(limit, x):
    return npx.while_loop(
        lambda i, s: s.sum() < limit.sum(), lambda i, s: (s * i, [i + 1, s * 2]), [mx.np.ones(1), x], max_iterations=6
    )


def test_while_loop_ends_where_its_condition_says():
    net = hybrid(doubled)
    x = np.array([1, 2], np.float32)
    for limit, rounds in ((20.0, 3), (5.0, 1), (0.0, 0), (1e9, 6)):
        wanted = [x * 2**k * (k + 1) for k in range(rounds)] + [np.zeros(2)] * (6 - rounds)
        outputs, (count, last) = net(mx.np.array([limit]), mx.np.array(x))
        np.testing.assert_array_equal(outputs.asnumpy(), wanted)
        assert count.item() == rounds + 1
        np.testing.assert_array_equal(last.asnumpy(), x * 2**rounds)
        outputs, (count, last) = doubled(mx.np.array([limit]), mx.np.array(x))
        assert count.item() == rounds + 1
        np.testing.assert_array_equal(last.asnumpy(), x * 2**rounds)
        if rounds:
            np.testing.assert_array_equal(outputs.asnumpy(), wanted)


def test_loops_are_written_out_up_to_a_limit(monkeypatch):
    x = mx.np.zeros((5, 2))
    monkeypatch.setenv("MINIDNN_MAX_TRIPS", "4")
    assert running_sum(x, x[0])[0].shape == (5, 2)
    with pytest.raises(OpError, match="foreach: 5 iterations would be written out, MINIDNN_MAX_TRIPS allows 4"):
        hybrid(running_sum)(x, x[0])
    with pytest.raises(OpError, match="while_loop: max_iterations must be a positive number, got None"):
        npx.while_loop(lambda s: s < 1, lambda s: ([], [s + 1]), [mx.np.zeros(1)])


def chosen(p, x):
    return npx.cond(lambda a, b: a > 0, lambda a, b: b + 1, lambda a, b: b * 2, [p, x])


def test_cond_takes_one_branch():
    net = hybrid(chosen)
    x = mx.np.array([3.0, 4.0])
    for p, wanted in ((1.0, [4, 5]), (-1.0, [6, 8])):
        for block in (chosen, net):
            assert block(mx.np.array([p]), x).asnumpy().tolist() == wanted
    with pytest.raises(TypeError, match="cond: the condition must be one number"):
        npx.cond(x, lambda: x, lambda: x)
    with pytest.raises(OpError, match="cond: the results of else_func 0 must be"):
        hybrid(lambda p: npx.cond(p, lambda: x, lambda: x[:1]))(mx.np.array([1.0]))
