"""Recurrent layers and cells of Gluon 2."""

from __future__ import annotations

from minidnn.gluon.rnn.layers import GRU, LSTM, RNN

__all__ = ["GRU", "LSTM", "RNN"]
