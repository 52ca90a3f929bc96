"""`quantize_net` and `quantize_model`, with MXNet 2.0's signatures."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minidnn.contrib.quantization.collector import CalibrationCollector
from minidnn.contrib.quantization.data import CalibrationData, zeros_like_shapes
from minidnn.contrib.quantization.network import FusedNetwork, fuse_block, fuse_symbol, input_names, make_block
from minidnn.contrib.quantization.stages import (
    WEIGHT_ONLY,
    Options,
    Stages,
    make_collector,
    run_stages,
    run_weight_only,
)
from minidnn.contrib.quantization.tuning.tune import tune
from minidnn.device import Device, cpu, takes_ctx
from minidnn.errors import OpError
from minidnn.gluon.block import HybridBlock, SymbolBlock
from minidnn.numpy.multiarray import ndarray
from minidnn.symbol.symbol import Symbol

__all__ = ["quantization_stages", "quantize_model", "quantize_net"]


@takes_ctx
def quantize_net(
    network: HybridBlock,
    quantized_dtype: str = "auto",
    quantize_mode: str = "full",
    quantize_granularity: str = "tensor-wise",
    exclude_layers: Sequence[str] | None = None,
    exclude_layers_match: Sequence[str] | None = None,
    exclude_operators: Sequence[str] | None = None,
    calib_data: Any = None,
    data_shapes: Any = None,
    calib_mode: str = "none",
    num_calib_batches: int | None = None,
    device: Device | None = None,
    LayerOutputCollector: CalibrationCollector | None = None,  # noqa: N803 - MXNet's name
    logger: logging.Logger | None = None,
    accuracy: Any = None,
) -> SymbolBlock:
    """An int8 network of a float32 one, which stays as it is. The same call gives the same bits again.

    Args:
        network: a `HybridBlock`, fused or not.
        quantized_dtype: of the data between layers. ``int8``: int8 everywhere. ``auto``: uint8 where values cannot be
            negative (behind a ReLU), and for an input of the network where calibration sees nothing negative.
            ``uint8``: uint8 wherever calibration sees nothing negative; what has negative numbers is int8 still.
        quantize_mode: ``smart``: convolutions, dense and recurrent layers and batch_dot read int8. ``full``: so do
            pooling, sums, ReLUs, batch normalization and joins behind them. ``weight-only``: weights of large dense
            and recurrent layers are int8, with a scale per output channel, and everything else stays float32: the
            most accurate one, and as fast as memory allows where a batch has one row.
        quantize_granularity: ``channel-wise`` gives dense layers a weight scale per output channel, which
            convolutions have in any case; ``tensor-wise`` one scale.
        exclude_layers: names of operations, fused or not, or of blocks, that stay in float32.
        exclude_layers_match: likewise, all whose name has one of these texts in it.
        exclude_operators: operators that stay in float32: ``convolution``, or MXNet's ``Convolution``.
        calib_data: batches: anything that can be iterated (a DataLoader, a list, a generator); each an array, or a list
            or tuple in which the network's arguments come first and labels are left out, or a dict of them by name.
            An argument is what the network takes: arrays nested in lists, tuples and dicts, None, numbers, strings;
            what is no array must be the same in all batches. Or one array of samples.
        data_shapes: shapes of the inputs, one for each (tuples, or with attributes ``shape`` and ``dtype``); needed
            where there is no calib_data and the network has not run yet, or to say that optional inputs are given.
        calib_mode: ``none``: ranges are found at every inference, for each sample, or for each row where a layer works
            on rows; a sample with NaN or infinity gives NaN, and leaves its neighbours alone; joins and reshapes
            stay in float32. ``naive``: minimum and maximum over calib_data. ``entropy``: thresholds of the least
            divergence. ``custom``: what LayerOutputCollector says. ``tuned``: as near to float32 as calib_data can
            bring it, without labels, in a minute or some: channels equalized, thresholds of the least error (but
            of what dense layers work on row by row the range of each row, at inference), weights rounded by second
            moments of their inputs, biases corrected; a scale per output channel in any case. Where
            that errs more on calib_data than ``naive`` does, ``naive`` is what comes out, and log and report say so.
            See `read_tuning`.
        num_calib_batches: how many batches of calib_data to use; None for all.
        device: a CPU; there is no other.
        LayerOutputCollector: the collector of mode ``custom``.
        logger: gets what happens.
        accuracy: for ``tuned``, what must be kept: a pair of a metric and how much of it may be lost on calib_data,
            which then has labels, ``(mx.gluon.metric.Accuracy(), 0.001)``, or the least signal to quantization noise
            of the outputs in dB, ``30``. Layers that cost most stay in float32, as few as keep it; there are several
            runs of tuning. The metric is one of `minidnn.gluon.metric`, its name, or a function of labels and outputs.

    Raises:
        TypeError: an argument is of a wrong type.
        ValueError: an option that does not exist; ``custom`` without a collector; calibration without data; no way
            to know the shapes. `DataError`, `OpError` and `GraphError` are such, too:
        DataError: calib_data is empty, has too few inputs or others from batch to batch, has NaN or infinity, or leads
            to them in some layer.
        OpError: batches do not fit the network; a collector gave no range for a layer, or an impossible one; weights
            with NaN or infinity.
        GraphError: the network is int8 already.

    A network without a convolution, dense layer or batch_dot that is not excluded stays in float32; so does a batch_dot
    of more products than int32 holds the sum of. A layer that gives zeros only, or the same tiny number, has scale 1;
    so has a channel whose weights and bias are zero.
    """
    options = Options(
        quantized_dtype,
        quantize_mode,
        quantize_granularity,
        calib_mode,
        exclude_layers,
        exclude_layers_match,
        exclude_operators,
    )
    if accuracy is not None and (calib_mode != "tuned" or quantize_mode == WEIGHT_ONLY):
        raise ValueError(
            f"accuracy belongs to calib_mode='tuned' with activations in int8, but calib_mode is {calib_mode!r} and "
            f"quantize_mode {quantize_mode!r}"
        )
    if quantize_mode == WEIGHT_ONLY:
        network_ = _fuse_net(network, calib_data, data_shapes, num_calib_batches, device)[0]
        graph, parameters = run_weight_only(network_, options)
        return make_block(Symbol(graph.outputs), network_.inputs, parameters, network_.structure)
    network_, stages = _run_net(
        network, options, calib_data, data_shapes, num_calib_batches, device, LayerOutputCollector, logger, accuracy
    )
    made = stages.quantized
    return make_block(Symbol(made.graph.outputs), network_.inputs, made.parameters, network_.structure)


def quantization_stages(network: HybridBlock, **options: Any) -> Stages:
    """The graph at each stage on its way to int8, for those who want to look.

    Args:
        network: see `quantize_net`.
        options: those of `quantize_net`.
    """
    fields = Options.__dataclass_fields__
    chosen = Options(**{key: value for key, value in options.items() if key in fields})
    if chosen.quantize_mode == WEIGHT_ONLY:
        raise ValueError(f"quantize_mode={WEIGHT_ONLY!r} has no stages: quantize_net gives all there is")
    return _run_net(network, chosen, **{key: value for key, value in options.items() if key not in fields})[1]


def _run_net(
    network: Any,
    options: Options,
    calib_data: Any = None,
    data_shapes: Any = None,
    num_calib_batches: int | None = None,
    device: Device | None = None,
    LayerOutputCollector: Any = None,  # noqa: N803 - as in `quantize_net`
    logger: logging.Logger | None = None,
    accuracy: Any = None,
) -> tuple[FusedNetwork, Stages]:
    collector = make_collector(options, LayerOutputCollector, calib_data, logger)
    fused, data = _fuse_net(network, calib_data, data_shapes, num_calib_batches, device)
    return fused, _run(fused, options, data, collector, logger, accuracy)


def _fuse_net(
    network: Any, calib_data: Any, data_shapes: Any, num_calib_batches: int | None, device: Device | None
) -> tuple[FusedNetwork, CalibrationData | None]:
    """The fused float32 network for the data that it is given, and that data."""
    if not isinstance(network, HybridBlock):
        raise TypeError(f"network must be a HybridBlock, got {type(network).__name__}")
    _check_device(device)
    described = None if data_shapes is None else zeros_like_shapes(data_shapes)
    names = input_names(network, None if described is None else len(described))
    data = None if calib_data is None else CalibrationData(calib_data, names, num_calib_batches)
    example = described if data is None else data.first.arguments
    try:
        fused = fuse_block(network, example)
    except (OpError, TypeError) as error:
        if data is None:
            raise
        raise type(error)(f"calib_data does not fit the network: {error}") from None
    return fused, data


def _run(
    network: FusedNetwork,
    options: Options,
    data: CalibrationData | None,
    collector: CalibrationCollector | None,
    logger: logging.Logger | None,
    accuracy: Any = None,
) -> Stages:
    if options.calib_mode == "tuned" and data is not None:
        return tune(network, options, data, accuracy, logger)
    return run_stages(network, options, data, collector, logger)


@takes_ctx
def quantize_model(
    sym: Symbol,
    arg_params: Mapping[str, Any],
    aux_params: Mapping[str, Any] | None = None,
    data_names: str | Sequence[str] = ("data",),
    device: Device | None = None,
    excluded_sym_names: Sequence[str] | None = None,
    excluded_op_names: Sequence[str] | None = None,
    calib_mode: str = "entropy",
    calib_data: Any = None,
    num_calib_batches: int | None = None,
    quantized_dtype: str = "int8",
    quantize_mode: str = "smart",
    quantize_granularity: str = "tensor-wise",
    logger: logging.Logger | None = None,
    LayerOutputCollector: CalibrationCollector | None = None,  # noqa: N803 - as in `quantize_net`
) -> tuple[Symbol, dict[str, ndarray], dict[str, ndarray]]:
    """An int8 graph of a float32 one, with its parameters. Defaults are MXNet's, other than those of `quantize_net`.

    Args:
        sym: the graph, fused or not.
        arg_params: values of its parameters, by name.
        aux_params: values of running statistics, by name.
        data_names: its inputs, in the order of the arrays of a batch.
        excluded_sym_names, excluded_op_names: what `quantize_net` calls exclude_layers and exclude_operators.
        device, calib_mode, calib_data, num_calib_batches, quantized_dtype, quantize_mode, quantize_granularity,
            LayerOutputCollector, logger: see `quantize_net`.

    Returns:
        The int8 symbol, the values of its arguments, and those of its auxiliary states.

    Raises:
        See `quantize_net`.
    """
    if not isinstance(sym, Symbol):
        raise TypeError(f"sym must be a Symbol, got {type(sym).__name__}")
    options = Options(
        quantized_dtype, quantize_mode, quantize_granularity, calib_mode, excluded_sym_names, None, excluded_op_names
    )
    _check_device(device)
    names = [data_names] if isinstance(data_names, str) else list(data_names)
    collector = make_collector(options, LayerOutputCollector, calib_data, logger)
    data = None if calib_data is None else CalibrationData(calib_data, names, num_calib_batches)
    parameters = {**arg_params, **(aux_params or {})}
    fused = fuse_symbol(sym, parameters, names, None if data is None else data.first)
    if quantize_mode == WEIGHT_ONLY:
        graph, values = run_weight_only(fused, options)
    else:
        made = _run(fused, options, data, collector, logger).quantized
        graph, values = made.graph, dict(made.parameters)
    symbol = Symbol(graph.outputs)
    arrays = {name: ndarray._wrap(np.array(value)) for name, value in values.items()}
    auxiliary = symbol.list_auxiliary_states()
    aux = {name: arrays.pop(name) for name in auxiliary}
    return symbol, arrays, aux


def _check_device(device: Any) -> None:
    # Any Device is a CPU: the others cannot be made.
    if device is not None and not isinstance(device, Device):
        raise TypeError(f"device must be a Device, got {device!r}; use {cpu()!r}")
