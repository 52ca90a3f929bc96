"""Recurrent cells: their steps against torch, and whole sequences against their steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gluon_helpers import close, copy_to_torch, draw

import minidnn as mx
from minidnn.errors import MXNetError, OpError, ShapeError
from minidnn.gluon import nn, rnn

CELLS: dict[str, tuple[Any, Any]] = {
    "tanh": (lambda: rnn.RNNCell(7, input_size=5), lambda: torch.nn.RNNCell(5, 7)),
    "relu": (lambda: rnn.RNNCell(7, "relu", input_size=5), lambda: torch.nn.RNNCell(5, 7, nonlinearity="relu")),
    "lstm": (lambda: rnn.LSTMCell(7, input_size=5), lambda: torch.nn.LSTMCell(5, 7)),
    "gru": (lambda: rnn.GRUCell(7, input_size=5), lambda: torch.nn.GRUCell(5, 7)),
}


def ready(cell: Any) -> Any:
    cell.initialize(mx.init.Uniform(0.5))
    return cell


def stepped(cell: Any, x: Any, lengths: list[int] | None, states: list[Any]) -> tuple[Any, list[Any]]:
    """Outputs and states of a batch, sample by sample and step by step; x is ``(batch, time, ...)``."""
    outputs, ends = [], []
    for n in range(x.shape[0]):
        state, made = [s[n : n + 1] for s in states], []
        for t in range(x.shape[1]):
            if lengths is None or t < lengths[n]:
                out, state = cell(x[n : n + 1, t], state)
            else:
                out = mx.np.zeros_like(out)
            made.append(out.asnumpy())
        outputs.append(np.stack(made, 1))
        ends.append([s.asnumpy() for s in state])
    return np.concatenate(outputs), [np.concatenate(of_one) for of_one in zip(*ends, strict=True)]


def same(ours: Any, theirs: Any) -> None:
    np.testing.assert_allclose(ours.asnumpy(), theirs, rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", CELLS)
def test_a_step_is_torchs(name: str) -> None:
    ours, theirs = (make() for make in CELLS[name])
    ready(ours)
    copy_to_torch(ours, theirs)
    x, states = draw(3, 5), [draw(3, 7) for _ in ours.state_info()]
    given: Any = [torch.from_numpy(s) for s in states]
    with torch.no_grad():
        wanted = theirs(torch.from_numpy(x), tuple(given) if len(given) > 1 else given[0])
    output, after = ours(mx.np.array(x), [mx.np.array(s) for s in states])
    for one, two in zip([output, *after], [wanted[0], *wanted] if len(given) > 1 else [wanted, wanted], strict=True):
        close(one, two)
    assert [*ours.collect_params()] == ["i2h_weight", "h2h_weight", "i2h_bias", "h2h_bias"]


COMPOSED: dict[str, Any] = {
    **{name: ours for name, (ours, _) in CELLS.items()},
    "projected": lambda: rnn.LSTMPCell(7, 3),
    "other activations": lambda: rnn.LSTMCell(7, activation="softsign", recurrent_activation="relu"),
    "a block as activation": lambda: rnn.RNNCell(7, activation=nn.LeakyReLU(0.1)),
    "residual": lambda: rnn.ResidualCell(rnn.GRUCell(5)),
    "zoneout": lambda: rnn.ZoneoutCell(rnn.LSTMCell(7), 0.3, 0.2),
    "variational": lambda: rnn.VariationalDropoutCell(rnn.GRUCell(7), 0.3, 0.2, 0.1),
}


@pytest.mark.parametrize("name", COMPOSED)
@pytest.mark.parametrize("lengths", [None, [3, 4, 1]])
def test_a_sequence_is_its_steps(name: str, lengths: list[int] | None) -> None:
    cell = ready(COMPOSED[name]())
    x = mx.np.array(draw(3, 4, 5))
    cell(x[:, 0], cell.begin_state(3))
    states = [mx.np.array(draw(*info["shape"])) for info in cell.state_info(3)]
    valid = None if lengths is None else mx.np.array(lengths)
    wanted, ends = stepped(cell, x, lengths, states)
    output, after = cell.unroll(4, x, states, merge_outputs=True, valid_length=valid)
    same(output, wanted)
    for one, two in zip(after, ends, strict=True):
        same(one, two)
    times = [x[:, t] for t in range(4)]
    listed, after = cell.unroll(4, times, states, "TNC", merge_outputs=False, valid_length=valid)
    assert isinstance(listed, list) and len(listed) == 4
    for t, one in enumerate(listed):
        same(one, wanted[:, t])
    for one, two in zip(after, ends, strict=True):
        same(one, two)


def test_a_sequence_of_no_times_keeps_its_states() -> None:
    for cell in (rnn.GRUCell(7), rnn.RNNCell(7, activation=nn.LeakyReLU(0.1))):
        ready(cell)
        state = mx.np.array(draw(2, 7))
        output, (after,) = cell.unroll(3, mx.np.array(draw(2, 3, 5)), state, "NTC", True, mx.np.array([0, 3]))
        assert not output[0].asnumpy().any()
        np.testing.assert_array_equal(after[0].asnumpy(), state[0].asnumpy())


def test_cells_one_after_the_other_and_from_both_ends() -> None:
    stack = rnn.SequentialRNNCell()
    stack.add(rnn.LSTMCell(7))
    stack.add(rnn.DropoutCell(0.5))
    stack.add(rnn.BidirectionalCell(rnn.LSTMCell(4), rnn.GRUCell(3)))
    ready(stack)
    assert len(stack) == 3 and isinstance(stack[1], rnn.DropoutCell)
    x, lengths = mx.np.array(draw(3, 5, 6)), [5, 2, 4]
    states = stack.begin_state(batch_size=3, func=mx.np.ones)
    assert [s.shape for s in states] == [(3, 7), (3, 7), (3, 4), (3, 4), (3, 3)]
    output, after = stack.unroll(5, x, states, merge_outputs=True, valid_length=mx.np.array(lengths))
    first, _ = stepped(stack[0], x, lengths, states[:2])
    both = stack[2]
    assert isinstance(both, rnn.BidirectionalCell)
    left, ends = stepped(both.l_cell, mx.np.array(first), lengths, states[2:4])
    turned = first.copy()
    for n, length in enumerate(lengths):
        turned[n, :length] = first[n, :length][::-1]
    right, others = stepped(both.r_cell, mx.np.array(turned), lengths, states[4:])
    for n, length in enumerate(lengths):
        right[n, :length] = right[n, :length][::-1].copy()
    same(output, np.concatenate([left, right], 2))
    for one, two in zip(after[2:], [*ends, *others], strict=True):
        same(one, two)
    with pytest.raises(NotImplementedError, match="BidirectionalCell has no single step"):
        both(x[:, 0], states[2:])


@pytest.mark.parametrize("fused", [False, True])
def test_a_network_unrolls_cells_for_any_batch(fused: bool) -> None:
    class Net(nn.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            self.cells = rnn.HybridSequentialRNNCell()
            self.cells.add(rnn.LSTMCell(7))
            self.cells.add(rnn.ResidualCell(rnn.GRUCell(7)))

        def forward(self, x: Any, lengths: Any) -> Any:
            return self.cells.unroll(5, x, merge_outputs=True, valid_length=lengths)

    net = Net()
    ready(net)
    for batch in (3, 1, 4):
        x, lengths = mx.np.array(draw(batch, 5, 6)), mx.np.array(np.arange(batch) + 1)
        net.hybridize(False)
        eager, eager_states = net(x, lengths)
        net.hybridize(backend="MINIDNN" if fused else None)
        output, states = net(x, lengths)
        for one, two in zip([output, *states], [eager, *eager_states], strict=True):
            same(one, two.asnumpy())
    assert next(name for name in net.collect_params() if "cells.1" in name) == "cells.1.base_cell.i2h_weight"


def test_a_hybridized_cell_is_stepped_by_one_program() -> None:
    cell = ready(rnn.LSTMCell(7))
    x, states = mx.np.array(draw(3, 5)), cell.begin_state(3)
    eager = cell(x, states)
    cell.hybridize()
    output, after = cell(x, states)
    for one, two in zip([output, *after], [eager[0], *eager[1]], strict=True):
        same(one, two.asnumpy())


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("rank", [1, 2])
def test_a_convolutional_cell_of_one_pixel_is_a_plain_one(kind: str, rank: int) -> None:
    made = getattr(rnn, f"Conv{rank}D{kind}Cell")((5, *[1] * rank), 7, 1, 3)
    plain = getattr(rnn, f"{kind}Cell")(7, input_size=5)
    ready(plain)
    made.initialize()
    middle = (..., *[1] * rank)
    for name, parameter in plain.collect_params().items():
        values = parameter.data().asnumpy()
        target = np.zeros(made.params[name].shape, np.float32)
        target[middle if name == "h2h_weight" else (...,) + (0,) * (target.ndim - values.ndim)] = values
        made.params[name].set_data(target)
    x = draw(3, 4, 5)
    output, _ = made.unroll(
        4, mx.np.array(x.reshape(3, 4, 5, *[1] * rank)), layout="NTCHW"[: 3 + rank], merge_outputs=True
    )
    wanted, _ = plain.unroll(4, mx.np.array(x), merge_outputs=True)
    same(output.reshape(wanted.shape), wanted.asnumpy())
    assert made.state_info(3)[0]["shape"] == (3, 7, *[1] * rank)


# ---- what does not fit ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: rnn.LSTMCell(0), "LSTMCell: hidden_size must be an integer of at least 1, got 0"),
        (lambda: rnn.GRUCell(3, input_size=-1), "GRUCell: input_size must be an integer of at least 0, got -1"),
        (lambda: rnn.LSTMPCell(3, 0), "LSTMPCell: projection_size must be an integer of at least 1"),
        (lambda: rnn.DropoutCell(2), r"DropoutCell: rate must be in \[0, 1\]"),
        (lambda: rnn.ZoneoutCell(rnn.BidirectionalCell(rnn.GRUCell(3), rnn.GRUCell(3))), "no single step"),
        (lambda: rnn.ResidualCell(rnn.ResidualCell(rnn.GRUCell(3)).base_cell), "GRUCell has been modified already"),
        (lambda: rnn.Conv2DGRUCell((3, 8, 8), 4, 3, 2), "h2h_kernel must be odd"),
        (lambda: rnn.Conv2DGRUCell((3, 8), 4, 3, 3), "input_shape must have 3 numbers"),
    ],
)
def test_cells_that_cannot_be(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
    with pytest.raises(MXNetError, match="conv_layout must be 'NCHW', got 'NHWC'"):
        rnn.Conv2DGRUCell((3, 8, 8), 4, 3, 3, conv_layout="NHWC")


@pytest.mark.parametrize("cell", [rnn.GRUCell(3), rnn.RNNCell(3, activation=nn.LeakyReLU(0.1))])
def test_sequences_that_do_not_fit(cell: Any) -> None:
    ready(cell)
    x, name = mx.np.array(draw(2, 4, 5)), type(cell).__name__
    with pytest.raises(ShapeError, match=f"{name}: inputs must have 5 times"):
        cell.unroll(5, x)
    with pytest.raises(ValueError, match=f"{name}: layout must begin with 'NT' or 'TN', got 'CNT'"):
        cell.unroll(4, x, layout="CNT")
    with pytest.raises(OpError, match=rf"{name}: sequence_length must be integers from 0 to 4, got .* at 1"):
        cell.unroll(4, x, valid_length=mx.np.array([1, 5]))
    with pytest.raises(ShapeError, match=rf"{name}: valid_length must have 1 dimension"):
        cell.unroll(4, x, valid_length=mx.np.array([[1, 5]]))
    with pytest.raises(ShapeError):
        cell.unroll(4, x, cell.begin_state(3))


def test_a_modified_cell_is_not_for_direct_use() -> None:
    inner = rnn.GRUCell(3)
    modifier = rnn.ResidualCell(inner)
    with pytest.raises(RuntimeError, match="GRUCell: the cell has been modified; call the modifier cell instead"):
        inner.begin_state(2)
    assert [s.shape for s in modifier.begin_state(2)] == [(2, 3)]
    with pytest.raises(TypeError, match="a child must be a cell, got Dense"):
        rnn.SequentialRNNCell().add(nn.Dense(3))  # type: ignore[arg-type]
    stack = rnn.SequentialRNNCell()
    stack.add(rnn.LSTMCell(3))
    with pytest.raises(ValueError, match="SequentialRNNCell: there must be 2 states, got 1"):
        stack(mx.np.ones((2, 4)), [mx.np.ones((2, 3))])
