"""Recurrent layers over whole sequences: RNN, LSTM, GRU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minidnn import npx
from minidnn import numpy as np
from minidnn.gluon._hybrid_block import HybridBlock
from minidnn.gluon.nn._op import complete_shapes, make_attrs
from minidnn.gluon.parameter import Init
from minidnn.gluon.rnn._sequences import make_states
from minidnn.gluon.rnn.packed_parameter import PackedParameter
from minidnn.initializer import RNNFused
from minidnn.numpy.multiarray import ndarray

__all__ = ["GRU", "LSTM", "RNN"]


class _Layer(HybridBlock):
    """What the three have in common.

    Args:
        layout: ``TNC`` or ``NTC``.
        inits: initializers of the parts of the parameters.
        dtype: of the parameters.
        use_sequence_length: whether a call gives lengths.
        attrs: of the operator.
    """

    def __init__(
        self,
        layout: str,
        input_size: int,
        inits: dict[str, Init],
        dtype: Any,
        use_sequence_length: bool,
        **attrs: Any,
    ) -> None:
        name = type(self).__name__
        if layout not in ("TNC", "NTC"):
            raise ValueError(f"{name}: layout must be 'TNC' or 'NTC', got {layout!r}")
        super().__init__()
        self._attrs = make_attrs(name, "rnn", use_sequence_length=use_sequence_length, **attrs)
        self._layout, self._dtype = layout, dtype
        a = self._attrs
        init = RNNFused(
            a.mode,
            a.num_layers,
            a.state_size,
            a.bidirectional,
            a.projection_size,
            **{f"{part}_initializer": value for part, value in inits.items()},
        )
        self.rnn_param = PackedParameter("rnn_param", self._attrs, input_size, dtype, init)

    def __getattr__(self, name: str) -> Any:
        """Parts of the parameters by MXNet 1's names: ``layer.l0_i2h_weight``; see `Part`."""
        whole = self.__dict__.get("rnn_param")
        if isinstance(whole, PackedParameter) and name[:1] in ("l", "r") and name in whole.packing.parts():
            return whole.part(name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)

    def state_info(self, batch_size: int = 0) -> list[dict[str, Any]]:
        """The shape, layout and dtype of each state for a batch of that size."""
        a = self._attrs
        count = a.num_layers * (2 if a.bidirectional else 1)
        sizes = [a.projection_size or a.state_size, *([a.state_size] if a.mode == "lstm" else [])]
        return [{"shape": (count, batch_size, n), "__layout__": "LNC", "dtype": self._dtype} for n in sizes]

    def begin_state(self, batch_size: int = 0, func: Callable[..., Any] = np.zeros, **kwargs: Any) -> list[Any]:
        """States to begin with, made by ``func(shape=..., device=..., dtype=...)``.

        Args:
            batch_size: of the data.
            func: makes an array.
            kwargs: instead of what `state_info` says.
        """
        return make_states(self.state_info(batch_size), func, kwargs)

    def cast(self, dtype: Any) -> None:
        """Change the dtype of the parameters, and of states that are made."""
        super().cast(dtype)
        self._dtype = dtype

    def __call__(self, inputs: Any, states: Any = None, sequence_length: Any = None) -> Any:  # type: ignore[override]
        """The outputs for whole sequences.

        Args:
            inputs: ``(time, batch, inputs)``, or ``(batch, time, inputs)`` with layout ``NTC``.
            states: as `begin_state` gives them, one or a list; None: zeros.
            sequence_length: ``(batch,)``, where the layer was made with ``use_sequence_length=True``.

        Returns:
            The outputs, ``(time, batch, directions * state)`` or batch first; with `states` a tuple of them and the
            list of the last states.

        Raises:
            OpError: shapes or dtypes do not fit; the message names the layer and the inputs.
        """
        given = (inputs, states, sequence_length)
        return super().__call__(*given[: 3 if sequence_length is not None else 2 if states is not None else 1])

    def forward(self, inputs: Any, states: Any = None, sequence_length: Any = None) -> Any:
        if inputs.ndim != 3:
            raise ValueError(
                f"{type(self).__name__}: inputs must have 3 dimensions, {self._layout}, got shape {inputs.shape}"
            )
        if (sequence_length is not None) != self._attrs.use_sequence_length:
            wanted = "wanted" if self._attrs.use_sequence_length else "not wanted without use_sequence_length=True"
            raise ValueError(f"{type(self).__name__}: sequence_length is {wanted}")
        batch = inputs.shape[self._layout.index("N")]
        given = self.begin_state(batch, dtype=inputs.dtype) if states is None else states
        given = [given] if isinstance(given, ndarray) else list(given)
        names = ("state", "state_cell")[: len(self.state_info())]
        if len(given) != len(names):
            raise ValueError(f"{type(self).__name__}: states must be {len(names)} arrays, got {len(given)}")
        x = inputs.swapaxes(0, 1) if self._layout == "NTC" else inputs
        arrays = {**dict(zip(names, given, strict=True)), "sequence_length": sequence_length}
        attrs = self._attrs.replace(state_outputs=states is not None)
        made = npx.rnn(x, self.rnn_param.data(), **arrays, **attrs)
        output, *last = [made] if states is None else made
        output = output.swapaxes(0, 1) if self._layout == "NTC" else output
        return output if states is None else (output, last)

    def infer_shape(self, inputs: Any, *args: Any) -> None:
        """Complete the parameters' shape from an input."""
        complete_shapes("rnn", self._attrs, inputs, {"parameters": self.rnn_param})

    def __repr__(self) -> str:
        a, inputs = self._attrs, self.rnn_param.input_size
        more = [f"num_layers={a.num_layers}"] if a.num_layers != 1 else []
        more += [f"dropout={a.p}"] if a.p else []
        more += ["bidirectional"] if a.bidirectional else []
        return f"{type(self).__name__}({', '.join([f'{inputs or None} -> {a.state_size}', self._layout, *more])})"


class RNN(_Layer):
    """Layers of an Elman network: ``h = act(i2h_weight x + i2h_bias + h2h_weight h + h2h_bias)``.

    Args:
        hidden_size: units of a layer.
        num_layers: how many layers.
        activation: ``relu`` or ``tanh``.
        layout: of inputs and outputs: ``TNC`` or ``NTC``.
        dropout: what training would drop between layers.
        bidirectional: whether each layer also runs from the end to the begin.
        i2h_weight_initializer, h2h_weight_initializer, i2h_bias_initializer, h2h_bias_initializer: of the parts of the
            parameters.
        input_size: features of the inputs; 0: known at the first call.
        dtype: of the parameters.
        use_sequence_length: whether calls give the lengths of sequences.

    Parameters: ``rnn_param``, one vector; its parts have the names that MXNet 1 gave them, ``l0_i2h_weight``, ...,
    also in files and as attributes (`PackedParameter`).
    """

    def __init__(
        self,
        hidden_size: int,
        num_layers: int = 1,
        activation: str = "relu",
        layout: str = "TNC",
        dropout: float = 0,
        bidirectional: bool = False,
        i2h_weight_initializer: Init = None,
        h2h_weight_initializer: Init = None,
        i2h_bias_initializer: Init = "zeros",
        h2h_bias_initializer: Init = "zeros",
        input_size: int = 0,
        dtype: Any = "float32",
        use_sequence_length: bool = False,
    ) -> None:
        if activation not in ("relu", "tanh"):
            raise ValueError(f"RNN: activation must be 'relu' or 'tanh', got {activation!r}")
        super().__init__(
            layout,
            input_size,
            {
                "i2h_weight": i2h_weight_initializer,
                "h2h_weight": h2h_weight_initializer,
                "i2h_bias": i2h_bias_initializer,
                "h2h_bias": h2h_bias_initializer,
            },
            dtype,
            use_sequence_length,
            mode=f"rnn_{activation}",
            state_size=hidden_size,
            num_layers=num_layers,
            bidirectional=bidirectional,
            p=dropout,
        )


class LSTM(_Layer):
    """Layers of long short-term memory; the gates are input, forget, cell and output, in this order.

    Args:
        hidden_size: units of a layer.
        num_layers: how many layers.
        layout: of inputs and outputs: ``TNC`` or ``NTC``.
        dropout: what training would drop between layers.
        bidirectional: whether each layer also runs from the end to the begin.
        input_size: features of the inputs; 0: known at the first call.
        i2h_weight_initializer, h2h_weight_initializer, i2h_bias_initializer, h2h_bias_initializer,
            h2r_weight_initializer: of the parts of the parameters.
        projection_size: of a projected state (H. Sak et al., 2014); None: none.
        state_clip_min, state_clip_max, state_clip_nan: bounds of the cell state, and whether a NaN becomes the lower.
        dtype: of the parameters.
        use_sequence_length: whether calls give the lengths of sequences.

    Parameters: ``rnn_param``, see `RNN`.
    """

    def __init__(
        self,
        hidden_size: int,
        num_layers: int = 1,
        layout: str = "TNC",
        dropout: float = 0,
        bidirectional: bool = False,
        input_size: int = 0,
        i2h_weight_initializer: Init = None,
        h2h_weight_initializer: Init = None,
        i2h_bias_initializer: Init = "zeros",
        h2h_bias_initializer: Init = "zeros",
        projection_size: int | None = None,
        h2r_weight_initializer: Init = None,
        state_clip_min: float | None = None,
        state_clip_max: float | None = None,
        state_clip_nan: bool = False,
        dtype: Any = "float32",
        use_sequence_length: bool = False,
    ) -> None:
        super().__init__(
            layout,
            input_size,
            {
                "i2h_weight": i2h_weight_initializer,
                "h2h_weight": h2h_weight_initializer,
                "i2h_bias": i2h_bias_initializer,
                "h2h_bias": h2h_bias_initializer,
                "h2r_weight": h2r_weight_initializer,
            },
            dtype,
            use_sequence_length,
            mode="lstm",
            state_size=hidden_size,
            num_layers=num_layers,
            bidirectional=bidirectional,
            p=dropout,
            # 0 means none, as in MXNet.
            projection_size=projection_size or None,
            lstm_state_clip_min=state_clip_min,
            lstm_state_clip_max=state_clip_max,
            lstm_state_clip_nan=state_clip_nan,
        )


class GRU(_Layer):
    """Layers of gated recurrent units, cuDNN's: the reset gate comes after the product with the state.

    The gates are reset, update and new, in this order.

    Args:
        hidden_size: units of a layer.
        num_layers: how many layers.
        layout: of inputs and outputs: ``TNC`` or ``NTC``.
        dropout: what training would drop between layers.
        bidirectional: whether each layer also runs from the end to the begin.
        input_size: features of the inputs; 0: known at the first call.
        i2h_weight_initializer, h2h_weight_initializer, i2h_bias_initializer, h2h_bias_initializer: of the parts of the
            parameters.
        dtype: of the parameters.
        use_sequence_length: whether calls give the lengths of sequences.

    Parameters: ``rnn_param``, see `RNN`.
    """

    def __init__(
        self,
        hidden_size: int,
        num_layers: int = 1,
        layout: str = "TNC",
        dropout: float = 0,
        bidirectional: bool = False,
        input_size: int = 0,
        i2h_weight_initializer: Init = None,
        h2h_weight_initializer: Init = None,
        i2h_bias_initializer: Init = "zeros",
        h2h_bias_initializer: Init = "zeros",
        dtype: Any = "float32",
        use_sequence_length: bool = False,
    ) -> None:
        super().__init__(
            layout,
            input_size,
            {
                "i2h_weight": i2h_weight_initializer,
                "h2h_weight": h2h_weight_initializer,
                "i2h_bias": i2h_bias_initializer,
                "h2h_bias": h2h_bias_initializer,
            },
            dtype,
            use_sequence_length,
            mode="gru",
            state_size=hidden_size,
            num_layers=num_layers,
            bidirectional=bidirectional,
            p=dropout,
        )
