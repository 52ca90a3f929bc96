"""Initializers of parameters, as ``mx.init``; users add their own by subclassing `Initializer`.

An initializer is called with a descriptor (the parameter's name, a `str`) and the array to fill in place.
All random numbers come from the generator that ``mx.random.seed`` starts.
"""

from __future__ import annotations

import copy
import json
import logging
import math
import os
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, TypeVar

import numpy as np

from minidnn import serialization
from minidnn.generator import generator

__all__ = [
    "Bilinear",
    "Constant",
    "InitDesc",
    "Initializer",
    "LSTMBias",
    "Load",
    "MSRAPrelu",
    "Mixed",
    "Normal",
    "One",
    "Orthogonal",
    "RNNFused",
    "Uniform",
    "Xavier",
    "Zero",
    "alias",
    "create",
    "load",
    "register",
]

_logger = logging.getLogger(__name__)
_registry: dict[str, type[Initializer]] = {}
_Class = TypeVar("_Class", bound="type[Initializer]")


class InitDesc(str):
    """The name of what is to be initialized, with what else is known of it.

    Args:
        name: the parameter's name.
        attrs: ``{"__init__": initializer}`` where the parameter has one of its own.
        global_init: the initializer to fall back to.
    """

    __slots__ = ("attrs", "global_init")

    attrs: dict[str, Any]
    global_init: Initializer | None

    def __new__(
        cls, name: str, attrs: Mapping[str, Any] | None = None, global_init: Initializer | None = None
    ) -> InitDesc:
        desc = super().__new__(cls, name)
        desc.attrs = dict(attrs or {})
        desc.global_init = global_init
        return desc


class Initializer:
    """Base of all initializers: a subclass overrides `_init_weight`, and the others where it must.

    Args:
        kwargs: the arguments that `dumps` writes down, so that `create` can make the same one again.
    """

    # Defaults of the class, for subclasses that do not call super().__init__().
    _kwargs: Mapping[str, Any] = MappingProxyType({})
    _verbose = False
    _print_func: Callable[[Any], str] | None = None

    def __init__(self, **kwargs: Any) -> None:
        self._kwargs = kwargs

    def set_verbosity(self, verbose: bool = False, print_func: Callable[[Any], str] | None = None) -> Initializer:
        """Log every initialized parameter with a statistic of its values (default: their root mean square)."""
        self._verbose = verbose
        self._print_func = print_func
        return self

    def with_default(self, default: Initializer) -> Initializer:
        """The initializer, with another one for what nobody said how to fill; most have no such parts."""
        return self

    def dumps(self) -> str:
        """The initializer as JSON: ``'["normal", {"sigma": 0.5}]'``; `create` reads it."""
        arguments = {k: np.asarray(v).tolist() if hasattr(v, "shape") else v for k, v in self._kwargs.items()}
        return json.dumps([type(self).__name__.lower(), arguments])

    def __call__(self, desc: str, arr: Any) -> None:
        """Fill `arr` by the descriptor's own initializer, else by what its name ends in.

        Raises:
            ValueError: the name ends in nothing known and there is no initializer of its own.
        """
        attrs = desc.attrs if isinstance(desc, InitDesc) else {}
        if isinstance(desc, InitDesc) and desc.global_init is None:
            desc.global_init = self
        own = attrs.get("__init__")
        if own:
            create(own)._init_weight(desc, arr)
        elif desc.endswith("weight"):
            self._init_weight(desc, arr)
        elif desc.endswith("bias"):
            self._init_bias(desc, arr)
        elif desc.endswith("gamma"):
            self._init_gamma(desc, arr)
        elif desc.endswith("beta"):
            self._init_beta(desc, arr)
        elif desc.endswith("min"):
            self._init_zero(desc, arr)
        elif desc.endswith("max"):
            self._init_one(desc, arr)
        else:
            self._init_default(desc, arr)
        if self._verbose:
            statistic = (self._print_func or _root_mean_square)(arr)
            _logger.info("Initialized %s as %s: %s", desc, own or type(self).__name__, statistic)

    def _init_weight(self, desc: str, arr: Any) -> None:
        raise NotImplementedError(f"{type(self).__name__} must override _init_weight")

    def _init_zero(self, desc: str, arr: Any) -> None:
        arr[:] = 0

    def _init_one(self, desc: str, arr: Any) -> None:
        arr[:] = 1

    def _init_bias(self, desc: str, arr: Any) -> None:
        self._init_zero(desc, arr)

    def _init_gamma(self, desc: str, arr: Any) -> None:
        self._init_one(desc, arr)

    def _init_beta(self, desc: str, arr: Any) -> None:
        self._init_zero(desc, arr)

    def _init_default(self, desc: str, arr: Any) -> None:
        raise ValueError(
            f"Unknown initialization pattern for {desc}. Default initialization is now limited to "
            '"weight", "bias", "gamma" (1.0), and "beta" (0.0). '
            "Please give the Parameter an initializer of its own (init=...)"
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Initializer):
            return NotImplemented
        return type(self) is type(other) and self.dumps() == other.dumps()

    def __hash__(self) -> int:
        return hash(self.dumps())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self._kwargs.items())})"


def _root_mean_square(arr: Any) -> str:
    return str(math.sqrt(float(np.mean(np.square(np.asarray(arr), dtype=np.float64)))))


def register(klass: _Class) -> _Class:
    """A class decorator: the initializer can be asked for by its lower-case class name from now on."""
    return _register_as(klass.__name__, klass)


def alias(*names: str) -> Callable[[_Class], _Class]:
    """A class decorator: further names under which `create` finds the initializer."""

    def decorate(klass: _Class) -> _Class:
        for name in names:
            _register_as(name, klass)
        return klass

    return decorate


def _register_as(name: str, klass: _Class) -> _Class:
    if not (isinstance(klass, type) and issubclass(klass, Initializer)):
        raise TypeError(f"can only register subclasses of Initializer, got {klass!r}")
    existing = _registry.get(name.lower())
    if existing not in (None, klass):
        warnings.warn(f"initializer {klass!r} registered as {name.lower()!r} replaces {existing!r}", stacklevel=3)
    _registry[name.lower()] = klass
    return klass


def create(init: str | Initializer, **kwargs: Any) -> Initializer:
    """An initializer from itself, from its name (``"xavier"``) or from what `Initializer.dumps` wrote.

    Raises:
        ValueError: no initializer of that name is registered.
    """
    if isinstance(init, Initializer):
        return init
    if not isinstance(init, str):
        raise TypeError(f"expected an initializer or the name of one, got {type(init).__name__}")
    name = init
    if init.startswith("["):
        try:
            name, arguments = json.loads(init)
            kwargs = {**arguments, **kwargs}
        except (ValueError, TypeError, RecursionError):
            raise ValueError(f"not an initializer's JSON: {init[:200]!r}") from None
    klass = _registry.get(str(name).lower())
    if klass is None:
        raise ValueError(f"no initializer {str(name)[:200]!r} is registered; there are {sorted(_registry)}")
    return klass(**kwargs)


class Mixed(Initializer):
    """Chooses an initializer by the parameter's name: the first regular expression that matches decides.

    Raises:
        ValueError: nothing matches a name; a last pattern ``".*"`` matches all.
    """

    def __init__(self, patterns: Sequence[str], initializers: Sequence[str | Initializer]) -> None:
        if len(patterns) != len(initializers):
            raise ValueError(f"Mixed takes one initializer for each pattern, got {len(initializers)}, {len(patterns)}")
        super().__init__(patterns=list(patterns), initializers=[create(i).dumps() for i in initializers])
        self.map = [(re.compile(p), create(i)) for p, i in zip(patterns, initializers, strict=True)]

    def __call__(self, name: str, arr: Any) -> None:
        self._init_weight(name, arr)

    def _init_weight(self, desc: str, arr: Any) -> None:
        for pattern, init in self.map:
            if pattern.match(desc):
                # The chosen one goes by the name's ending; the descriptor's own initializer may be this object.
                return init(InitDesc(desc), arr)
        raise ValueError(
            f"Parameter name {desc} did not match any pattern. Consider adding a '.*' pattern at the end "
            "with a default initializer."
        )


@register
@alias("zeros")
class Zero(Initializer):
    """All zeros."""

    def _init_weight(self, desc: str, arr: Any) -> None:
        arr[:] = 0


@register
@alias("ones")
class One(Initializer):
    """All ones."""

    def _init_weight(self, desc: str, arr: Any) -> None:
        arr[:] = 1


@register
class Constant(Initializer):
    """A given value: a number, or an array of the parameter's shape."""

    def __init__(self, value: Any) -> None:
        super().__init__(value=value)
        self.value = value

    def _init_weight(self, desc: str, arr: Any) -> None:
        arr[:] = self.value


@register
class Uniform(Initializer):
    """Uniform in [-scale, scale)."""

    def __init__(self, scale: float = 0.07) -> None:
        super().__init__(scale=scale)
        self.scale = scale

    def _init_weight(self, desc: str, arr: Any) -> None:
        _fill_uniform(arr, self.scale)


@register
class Normal(Initializer):
    """Normal, with mean 0 and standard deviation `sigma`."""

    def __init__(self, sigma: float = 0.01) -> None:
        super().__init__(sigma=sigma)
        self.sigma = sigma

    def _init_weight(self, desc: str, arr: Any) -> None:
        _fill_normal(arr, self.sigma)


@register
class Orthogonal(Initializer):
    """`scale` times a matrix with orthonormal rows or columns, https://arxiv.org/abs/1312.6120.

    An array of shape (n, ...) counts as the matrix (n, product of the rest).
    """

    def __init__(self, scale: float = 1.414, rand_type: Literal["uniform", "normal"] = "uniform") -> None:
        if rand_type not in ("uniform", "normal"):
            raise ValueError(f"Orthogonal: rand_type must be 'uniform' or 'normal', got {rand_type!r}")
        super().__init__(scale=scale, rand_type=rand_type)
        self.scale = scale
        self.rand_type = rand_type

    def _init_weight(self, desc: str, arr: Any) -> None:
        shape = (arr.shape[0], math.prod(arr.shape[1:]))
        draw = generator()
        matrix = draw.uniform(-1.0, 1.0, shape) if self.rand_type == "uniform" else draw.normal(0.0, 1.0, shape)
        left, _, right = np.linalg.svd(matrix, full_matrices=False)
        basis = left if left.shape == shape else right
        arr[:] = (self.scale * basis.reshape(arr.shape)).astype(arr.dtype)


@register
class Xavier(Initializer):
    """Keeps the scale of activations through the layers (Glorot and Bengio, 2010).

    With fan_in = product(shape[1:]) and fan_out = shape[0] * product(shape[2:]) the scale is
    ``sqrt(magnitude / factor)``.

    Args:
        rnd_type: ``uniform`` in [-scale, scale), or ``gaussian`` with standard deviation scale.
        factor_type: the factor is fan_in (``in``), fan_out (``out``) or their mean (``avg``).
        magnitude: see above.
    """

    def __init__(
        self,
        rnd_type: Literal["uniform", "gaussian"] = "uniform",
        factor_type: Literal["avg", "in", "out"] = "avg",
        magnitude: float = 3,
    ) -> None:
        if rnd_type not in ("uniform", "gaussian"):
            raise ValueError(f"{type(self).__name__}: rnd_type must be 'uniform' or 'gaussian', got {rnd_type!r}")
        if factor_type not in ("avg", "in", "out"):
            raise ValueError(f"{type(self).__name__}: factor_type must be 'avg', 'in' or 'out', got {factor_type!r}")
        super().__init__(rnd_type=rnd_type, factor_type=factor_type, magnitude=magnitude)
        self.rnd_type = rnd_type
        self.factor_type = factor_type
        self.magnitude = float(magnitude)

    def _init_weight(self, desc: str, arr: Any) -> None:
        shape = arr.shape
        if len(shape) < 2:
            raise ValueError(
                f"{type(self).__name__} initializer cannot be applied to vector {desc}. It requires at least 2D."
            )
        window = math.prod(shape[2:])
        fan_in, fan_out = shape[1] * window, shape[0] * window
        factor = {"avg": (fan_in + fan_out) / 2, "in": fan_in, "out": fan_out}[self.factor_type]
        scale = math.sqrt(self.magnitude / factor)
        if self.rnd_type == "uniform":
            _fill_uniform(arr, scale)
        else:
            _fill_normal(arr, scale)


@register
class MSRAPrelu(Xavier):
    """Xavier's, gaussian, for layers followed by a (leaky) ReLU, https://arxiv.org/abs/1502.01852.

    Args:
        factor_type: as in `Xavier`.
        slope: of the negative half axis; the magnitude is ``2 / (1 + slope**2)``.
    """

    def __init__(self, factor_type: Literal["avg", "in", "out"] = "avg", slope: float = 0.25) -> None:
        super().__init__("gaussian", factor_type, 2.0 / (1 + slope**2))
        self._kwargs = {"factor_type": factor_type, "slope": slope}


@register
class Bilinear(Initializer):
    """The kernel of bilinear upsampling in the last two axes of a 4-d deconvolution weight."""

    def _init_weight(self, desc: str, arr: Any) -> None:
        if len(arr.shape) != 4:
            raise ValueError(f"Bilinear initializer requires a 4-d array for {desc}, got shape {tuple(arr.shape)}")
        height, width = arr.shape[2:]
        factor = math.ceil(width / 2)
        centre = (2 * factor - 1 - factor % 2) / (2 * factor)
        rows = 1 - np.abs(np.arange(height) / factor - centre)
        columns = 1 - np.abs(np.arange(width) / factor - centre)
        arr[:] = np.broadcast_to(np.outer(rows, columns), arr.shape).astype(arr.dtype)


@register
class LSTMBias(Initializer):
    """Biases of an LSTM's gates: `forget_bias` for the second of four (Jozefowicz et al., 2015), 0 for the others."""

    def __init__(self, forget_bias: float = 1.0) -> None:
        super().__init__(forget_bias=forget_bias)
        self.forget_bias = forget_bias

    def _init_weight(self, desc: str, arr: Any) -> None:
        arr[:] = 0.0
        units = arr.shape[0] // 4
        arr[units : 2 * units] = self.forget_bias


_GATES = {"rnn_relu": 1, "rnn_tanh": 1, "lstm": 4, "gru": 3}


@register
class RNNFused(Initializer):
    """The one vector of all parameters of recurrent layers: first all weights, then all biases.

    Args:
        mode: ``rnn_relu``, ``rnn_tanh``, ``lstm`` or ``gru``.
        num_layers, state_size: of the layers.
        bidirectional: whether each layer has two directions.
        projection_size: of the projected state of an LSTM; None: none.
        i2h_weight_initializer, h2h_weight_initializer, i2h_bias_initializer, h2h_bias_initializer,
            h2r_weight_initializer: of each part; by default ``uniform`` for weights and ``zeros`` for biases.

    Raises:
        ValueError: an unknown mode, or a vector of a size that no input size leads to.
    """

    def __init__(
        self,
        mode: str,
        num_layers: int,
        state_size: int,
        bidirectional: bool = False,
        projection_size: int | None = None,
        i2h_weight_initializer: str | Initializer | None = None,
        h2h_weight_initializer: str | Initializer | None = None,
        i2h_bias_initializer: str | Initializer | None = None,
        h2h_bias_initializer: str | Initializer | None = None,
        h2r_weight_initializer: str | Initializer | None = None,
    ) -> None:
        if mode not in _GATES:
            raise ValueError(f"RNNFused: mode must be one of {sorted(_GATES)}, got {mode!r}")
        given = {
            "i2h_weight": i2h_weight_initializer,
            "h2h_weight": h2h_weight_initializer,
            "h2r_weight": h2r_weight_initializer,
            "i2h_bias": i2h_bias_initializer,
            "h2h_bias": h2h_bias_initializer,
        }
        parts = {
            name: create(init or ("zeros" if name.endswith("bias") else "uniform")) for name, init in given.items()
        }
        super().__init__(
            mode=mode,
            num_layers=num_layers,
            state_size=state_size,
            bidirectional=bidirectional,
            projection_size=projection_size,
            **{f"{name}_initializer": part.dumps() for name, part in parts.items()},
        )
        self._parts = parts
        self._open = [name for name, init in given.items() if init is None and name.endswith("weight")]
        self._rows = _GATES[mode] * state_size
        self._size, self._state = state_size, projection_size or state_size
        self._projection = projection_size or 0
        self._layers, self._directions = num_layers, 2 if bidirectional else 1

    def with_default(self, default: Initializer) -> Initializer:
        """`default` for the weights that have no initializer of their own."""
        if default is self or not self._open:
            return self
        made = copy.copy(self)
        made._parts = {**self._parts, **dict.fromkeys(self._open, default)}
        return made

    def _shapes(self, input_size: int) -> list[tuple[str, tuple[int, ...]]]:
        """The parts in their order in the vector, with their shapes."""
        shapes: list[tuple[str, tuple[int, ...]]] = []
        for layer in range(self._layers):
            inputs = input_size if layer == 0 else self._state * self._directions
            for _ in range(self._directions):
                shapes += [("i2h_weight", (self._rows, inputs)), ("h2h_weight", (self._rows, self._state))]
                shapes += [("h2r_weight", (self._projection, self._size))] if self._projection else []
        biases: list[tuple[str, tuple[int, ...]]] = [("i2h_bias", (self._rows,)), ("h2h_bias", (self._rows,))]
        return shapes + biases * (self._layers * self._directions)

    def _init_weight(self, desc: str, arr: Any) -> None:
        fixed = sum(math.prod(shape) for _, shape in self._shapes(0))
        input_size, rest = divmod(arr.shape[0] - fixed, self._rows * self._directions)
        if rest or input_size < 1:
            raise ValueError(f"{desc}: RNNFused({self._kwargs}) does not make a vector of {arr.shape[0]} elements")
        begin = 0
        for name, shape in self._shapes(input_size):
            end = begin + math.prod(shape)
            # Initializers of matrices look at their shape.
            part = np.zeros(shape, arr.dtype)
            self._parts[name]._init_weight(InitDesc(name), part)
            arr[begin:end] = part.reshape(-1)
            begin = end


class Load:
    """Initializes parameters from a file or a dictionary.

    Args:
        param: a file of parameters, or arrays by name; the prefixes ``arg:`` and ``aux:`` are dropped.
        default_init: initializes what has no array there; None: that is an error.
        verbose: whether the source of each is logged.
    """

    def __init__(
        self,
        param: str | os.PathLike[str] | Mapping[str, Any],
        default_init: Callable[[str, Any], Any] | None = None,
        verbose: bool = False,
    ) -> None:
        arrays = param if isinstance(param, Mapping) else load(param)
        self.param = {name.removeprefix("arg:").removeprefix("aux:"): value for name, value in arrays.items()}
        self.default_init = default_init
        self.verbose = verbose

    def __call__(self, name: str, arr: Any) -> None:
        """Fill `arr`.

        Raises:
            ValueError: the shapes differ, or there is no array of that name and no `default_init`.
        """
        if name in self.param:
            value = self.param[name]
            if tuple(arr.shape) != tuple(value.shape):
                raise ValueError(f"parameter {name} has shape {arr.shape}, but the loaded array {tuple(value.shape)}")
            arr[:] = value
        elif self.default_init is None:
            raise ValueError(f"parameter {name} was not loaded, and there is no default initializer")
        else:
            self.default_init(name, arr)
        if self.verbose:
            _logger.info("Initialized %s by %s", name, "loading" if name in self.param else "default")


def load(file: str | os.PathLike[str]) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of a file of parameters, by name: safetensors, or MXNet's ``.params`` or ``.npy``.

    Raises:
        DataError: the file is damaged, or of another kind.
        OSError: it cannot be read.
    """
    return serialization.load(file)


def _fill_uniform(arr: Any, scale: float) -> None:
    dtype = np.dtype(arr.dtype)
    if dtype in (np.float32, np.float64):
        values = generator().random(arr.shape, dtype=dtype.type)
        values *= 2 * scale
        values -= scale
        arr[:] = values
    else:
        arr[:] = generator().uniform(-scale, scale, arr.shape).astype(dtype)


def _fill_normal(arr: Any, sigma: float) -> None:
    dtype = np.dtype(arr.dtype)
    if dtype in (np.float32, np.float64):
        values = generator().standard_normal(arr.shape, dtype=dtype.type)
        values *= sigma
        arr[:] = values
    else:
        arr[:] = generator().normal(0, sigma, arr.shape).astype(dtype)
