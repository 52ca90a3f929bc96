"""The networks that commands take: of the zoo by name, or exported to files; and comparisons of the same weights."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import minidnn as mx
from minidnn import npx, symbol
from minidnn.amp import convert_hybrid_block
from minidnn.cli.datasets import Preparation
from minidnn.contrib.quantization import quantize_net
from minidnn.errors import DataError
from minidnn.gluon import SymbolBlock
from minidnn.gluon.model_zoo import vision
from minidnn.gluon.model_zoo.vision.models import close_models
from minidnn.interop.weights import load_weights
from minidnn.ir.roles import parameter_variables

__all__ = [
    "Source",
    "add_preparation",
    "add_shape",
    "add_source",
    "difference",
    "find_params",
    "find_source",
    "fixed_batch",
    "get_preparation",
    "input_shape",
    "is_quantized",
    "kind_of",
    "load_any_weights",
    "load_network",
    "make_bf16",
    "make_inputs",
    "make_int8",
    "make_pair",
    "weight_names",
]

if TYPE_CHECKING:
    from minidnn.interop.onnx import Port
    from minidnn.ir.graph import Graph
    from minidnn.onnx.model_block import ModelBlock


_SYMBOL = "-symbol.json"
_MODELS = (".onnx", ".pt2")
_PARAMS = "-[0-9][0-9][0-9][0-9].params"


@dataclass(frozen=True)
class Source:
    """Where a network comes from.

    Args:
        name: of the network; that of its files without their endings.
        symbol: the file with its graph; None for a network of the zoo.
        model: the file of another framework that it is in, ``.onnx`` or ``.pt2``.
    """

    name: str
    symbol: Path | None = None
    model: Path | None = None

    @cached_property
    def block(self) -> ModelBlock:
        """The network of a model's file, read once.

        Raises:
            DataError, GraphError: the file is damaged, or something in it is not supported.
            ImportError: the package that reads it is not installed.
            OSError: it cannot be read.
        """
        assert self.model is not None
        if self.model.suffix.lower() == ".pt2":
            return mx.interop.from_torch(self.model)  # type: ignore[no-any-return]
        return mx.onnx.import_model(self.model)

    @property
    def file(self) -> Path | None:
        """The file with its graph, ours or another framework's."""
        return self.model or self.symbol

    @property
    def prefix(self) -> Path | None:
        """What the names of its files begin with."""
        return None if self.symbol is None else self.symbol.with_name(self.name)


def find_source(text: str) -> Source:
    """A network by what a user calls it.

    Raises:
        argparse.ArgumentTypeError: there is no such network, or a folder has more than one.
    """
    names = vision.list_models()
    if text.lower() in names:
        return Source(text.lower())
    path = Path(text)
    if path.suffix.lower() in _MODELS:
        if not path.is_file():
            raise argparse.ArgumentTypeError(f"there is no file {text}")
        return Source(path.stem, model=path)
    if path.is_dir():
        symbols = sorted(path.glob(f"*{_SYMBOL}"))
        if len(symbols) != 1:
            found = ", ".join(symbol.name for symbol in symbols) or "none"
            raise argparse.ArgumentTypeError(f"a folder with one *{_SYMBOL} is wanted; {text} has {found}")
        (symbol,) = symbols
    else:
        symbol = path if path.name.endswith(_SYMBOL) else path.with_name(path.name + _SYMBOL)
        if not symbol.is_file():
            close = close_models(text)
            hint = f"; did you mean {' or '.join(close)}?" if close else ""
            raise argparse.ArgumentTypeError(f"no model is named {text!r}, and there is no file {symbol}{hint}")
    return Source(symbol.name.removesuffix(_SYMBOL), symbol)


def add_source(parser: argparse.ArgumentParser, find: Callable[[str], Source] = find_source) -> None:
    parser.add_argument(
        "model",
        type=find,
        metavar="MODEL",
        help="a network of the zoo, such as efficientnet_lite0, or the folder, or the names' beginning, of an exported "
        "one's files, or a file .onnx, or .pt2 of torch.export",
    )
    parser.add_argument(
        "--params",
        type=Path,
        metavar="FILE",
        help="its weights: a file of parameters, MXNet's or minidnn's, or for a network of the zoo a checkpoint of "
        "torchvision or timm, .pth or .safetensors (default: of the zoo, those that pretrained=True finds; of an "
        "exported network, those beside it)",
    )
    parser.add_argument(
        "--key",
        metavar="NAME",
        help="which part of a checkpoint with several has the weights, such as state_dict or ema (default: the only "
        "one that can be)",
    )


def add_preparation(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("images", "What images become; without these, what the zoo's networks want.")
    group.add_argument(
        "--size", type=int, metavar="PIXELS", help="height and width (default: what the network was made for)"
    )
    for name, what in (
        ("mean", "means that are subtracted from the channels"),
        ("std", "standard deviations that divide the channels"),
    ):
        group.add_argument(
            f"--{name}",
            type=float,
            nargs=3,
            metavar=("R", "G", "B"),
            help=f"{what}, which range from 0 to 1 (default: what the network was trained with)",
        )


def get_preparation(arguments: argparse.Namespace) -> Preparation:
    """What the arguments of `add_preparation` say, and where they say nothing, what the network's name says.

    Raises:
        DataError: a size below 1, or a deviation of 0.
    """
    name = arguments.model.name
    if name.startswith("efficientnet_lite"):
        mean, std = (127 / 255,) * 3, (128 / 255,) * 3
    elif name == "inceptionv3":
        mean, std = (0.5,) * 3, (0.5,) * 3
    else:
        mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet
    size = _image_size(arguments.model) if arguments.size is None else arguments.size
    mean, std = arguments.mean or mean, arguments.std or std
    if size < 1 or not all(std):
        raise DataError(f"images want a size of at least 1 and deviations other than 0, got {size} and {list(std)}")
    return Preparation(size, tuple(255 * m for m in mean), tuple(255 * s for s in std))


def fixed_batch(source: Source) -> int | None:
    """How many samples at a time a model's file demands; None if it takes any number."""
    shape = source.block.ports[0].shape if source.model is not None and source.block.ports else None
    return shape[0] if shape and isinstance(shape[0], int) else None


def _image_size(source: Source) -> int:
    """Height and width of images: what a model's file fixes, or the zoo says."""
    if source.model is not None:
        shape = source.block.ports[0].shape if len(source.block.ports) == 1 else None
        if shape is not None and len(shape) == 4 and isinstance(shape[-1], int):
            return shape[-1]
    return vision.get_image_size(source.name)


def load_network(source: Source, params: Path | None, key: str | None = None) -> Any:
    """The network with its weights, not compiled yet.

    Args:
        source: the network.
        params: the file with its weights; None: the ones that belong to it.
        key: of the state dict in a PyTorch checkpoint of several things.

    Raises:
        DataError: there are no weights, a file is damaged, or the graph has not one input.
        GraphError: the graph is malformed.
        ImportError: the package with the weights, or that of the hub, is not installed.
        OSError: a file cannot be read.
    """
    if key is not None and (params is None or source.symbol is not None):
        raise DataError("--key names a part of a checkpoint, for a network of the zoo: give the checkpoint by --params")
    if source.model is not None:
        if params is not None:
            raise DataError(f"{source.model}: the file has its own weights; leave --params out")
        return source.block
    if source.symbol is not None:
        return _load_exported(source, params)
    if params is not None:
        return _load_zoo(source.name, params, key)
    try:
        return vision.get_model(source.name, pretrained=True)
    except DataError:
        raise
    except (ValueError, ImportError, ConnectionError) as error:
        kind = DataError if isinstance(error, ValueError) else type(error)
        raise kind(f"{error}; or give them by --params FILE") from None


def _load_zoo(name: str, params: Path, key: str | None) -> Any:
    """A network of the zoo with the weights of a file, in whichever structure they fit."""
    net = vision.get_model(name)
    try:
        load_weights(net, params, key=key)
    except DataError:
        if not isinstance(net, vision.MobileNetV2):
            raise
        net = vision.get_model(name, torchvision=True)
        load_weights(net, params, key=key)
    return net


def is_quantized(source: Source) -> bool:
    """Whether a network computes in int8 already."""
    return kind_of(source) == "int8"


def kind_of(source: Source) -> str:
    """What a network's products are of: ``int8``, ``bf16`` or ``float32``."""
    graph: Graph | None = None
    if source.model is not None:
        graph = source.block._symbol if source.block.is_known else None
    elif source.symbol is not None:
        graph = symbol.load(source.symbol)
    names = [] if graph is None else list(_operators(graph))
    if any("quantize" in name for name in names):
        return "int8"
    return "bf16" if any(name.endswith("_bfloat16_weight") for name in names) else "float32"


def _operators(graph: Graph) -> Iterator[str]:
    """The names of all operators, those that were fused among them."""
    for node in graph.operations():
        if node.subgraph is None:
            yield node.op_name
        else:
            yield from _operators(node.subgraph)


def find_params(source: Source, params: Path | None) -> Path | None:
    """The file with an exported network's weights: the one that is given, else the last epoch beside its graph."""
    if params is not None or source.symbol is None:
        return params
    epochs = sorted(source.symbol.parent.glob(source.name.replace("[", "[[]") + _PARAMS))
    return epochs[-1] if epochs else None


def weight_names(params: Path | None) -> set[str]:
    """The names in a file of weights; what else a graph reads is data.

    Raises:
        DataError: the file is damaged, or its arrays have no names.
        OSError: it cannot be read.
    """
    arrays = {} if params is None else npx.load(params)
    if not isinstance(arrays, dict):
        raise DataError(f"{params}: the arrays have no names")
    return {array.removeprefix("arg:").removeprefix("aux:") for array in arrays}


def _load_exported(source: Source, params: Path | None) -> Any:
    assert source.symbol is not None
    params = find_params(source, params)
    weights = weight_names(params)
    inputs = [variable for variable in symbol.load(source.symbol).list_inputs() if variable not in weights]
    if len(inputs) != 1:
        file = params or f"no file {source.name}{_PARAMS} beside it"
        raise DataError(f"{source.symbol}: a network with one input is wanted; with {file} these are left: {inputs}")
    return SymbolBlock.imports(source.symbol, inputs, params)


def add_shape(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--shape",
        type=_shape,
        metavar="CxHxW",
        help="of one sample, such as 3x224x224 (default: what an exported network was exported with, or the images "
        "that a network of the zoo was made for)",
    )
    parser.add_argument(
        "--dim",
        type=_dim,
        action="append",
        default=[],
        metavar="NAME=N",
        help="a size that an .onnx or .pt2 file leaves open, by the name it has there; may be given several times",
    )


def _dim(text: str) -> tuple[str, int]:
    name, _, number = text.rpartition("=")
    if not name or not (number.isascii() and number.isdecimal() and int(number) > 0):
        raise argparse.ArgumentTypeError(f"a name and a size such as length=128 are wanted, got {text!r}")
    return name, int(number)


def _shape(text: str) -> tuple[int, ...]:
    words = text.split("x")
    if not all(word.isascii() and word.isdecimal() and int(word) > 0 for word in words):
        raise argparse.ArgumentTypeError(f"sizes such as 3x224x224 are wanted, got {text!r}")
    return tuple(map(int, words))


def input_shape(source: Source, given: tuple[int, ...] | None, params: Path | None) -> tuple[int, ...]:
    """Of one sample, without the batch: as given, else as the network's file says, else of an image.

    Args:
        source: the network.
        given: the shape that a user gives.
        params: the file of weights that a user gives.

    Raises:
        DataError, GraphError: a file is damaged or malformed.
        OSError: it cannot be read.
    """
    if given is not None:
        return given
    if source.symbol is not None:
        graph = symbol.load(source.symbol)
        weights = weight_names(find_params(source, params)) | {v.name for v in parameter_variables(graph)}
        for variable in graph.variables():
            shape = variable.hints.get("shape")
            if variable.name not in weights and shape is not None and len(shape) > 1:
                return tuple(map(int, shape[1:]))
    size = vision.get_image_size(source.name)
    return (3, size, size)


def make_inputs(source: Source, arguments: argparse.Namespace) -> tuple[Any, ...]:
    """Random arrays for a call: one of images for a network of ours, and what the file declares for a model.

    Args:
        source: the network.
        arguments: of `add_shape`, with ``batch`` and ``params``.

    Raises:
        DataError: sizes are given that the model does not have.
    """
    rng = np.random.default_rng(0)
    if source.model is None:
        shape = (arguments.batch, *input_shape(source, arguments.shape, arguments.params))
        return (mx.np.array(rng.standard_normal(shape, np.float32)),)
    given, ports = dict(arguments.dim), source.block.ports
    unknown = given.keys() - {n for port in ports for n in port.shape or () if isinstance(n, str)}
    if unknown:
        raise DataError(f"{source.model}: no size is called {min(unknown)!r}; the inputs are {_described(source)}")
    if arguments.shape is not None and len(ports) != 1:
        raise DataError(f"{source.model}: --shape is for one input; use --dim for those of {_described(source)}")
    shapes = source.block.example_shapes(arguments.batch, given)
    if arguments.shape is not None:
        shapes = [(shapes[0][0], *arguments.shape)]
    return tuple(_random(rng, port, shape) for port, shape in zip(ports, shapes, strict=True))


def _described(source: Source) -> str:
    listed = [f"{port.name} {list(port.shape or ())}" for port in source.block.ports]
    return ", ".join(listed)


def _random(rng: np.random.Generator, port: Port, shape: tuple[int, ...]) -> Any:
    """An array for an input: normal numbers, or integers that are small enough to count something."""
    assert port.element is not None
    dtype = port.element.outside
    drawn = rng.standard_normal(shape) if dtype.kind == "f" else rng.integers(0, 2, shape)
    return mx.np.array(drawn.astype(dtype), dtype=dtype)


def load_any_weights(source: Source, params: Path | None, key: str | None) -> Any:
    """The network; one of the zoo with random weights where none are given.

    Raises:
        DataError: an exported network has no weights, or a file is damaged.
        OSError: a file cannot be read.
    """
    if source.symbol is not None or source.model is not None or params is not None or key is not None:
        return load_network(source, params, key)
    net = vision.get_model(source.name)
    net.initialize(mx.init.MSRAPrelu())
    return net


def make_pair(make: Callable[[], Any], data: Any) -> tuple[Any, Any]:
    """Two networks with the same random weights; the second is fused and compiled for `data`.

    The weights keep the activations' magnitude: vanishing ones would time denormal numbers.

    Args:
        make: makes a network that is not initialized.
        data: a batch.
    """
    eager, fused = make(), make()
    eager.initialize(mx.init.MSRAPrelu())
    eager.infer_shape(data)
    fused.load_dict({name: parameter.data() for name, parameter in eager.collect_params().items()})
    fused.optimize_for(data)
    return eager, fused


def make_bf16(net: Any, data: Sequence[Any]) -> Any:
    """The network with weights in bfloat16, for inputs like these."""
    return convert_hybrid_block(net, data)


def make_int8(net: Any, batches: Iterable[Any], mode: str = "naive", accuracy: Any = None) -> Any:
    """The network in int8, with a scale for each output channel of every weight.

    Args:
        net: with weights.
        batches: to calibrate on.
        mode: how: ``naive``, ``entropy`` or ``tuned``.
        accuracy: for ``tuned``, what must be kept; see `quantize_net`.
    """
    return quantize_net(
        net, quantize_granularity="channel-wise", calib_mode=mode, calib_data=batches, accuracy=accuracy
    )


def difference(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> float:
    """The largest difference between two outputs, as a share of the first one's largest magnitude."""
    return float(np.abs(other - one).max() / np.abs(one).max())
