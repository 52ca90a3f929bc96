"""`Block`: the base of all layers and networks; a tree of blocks with parameters."""

from __future__ import annotations

import inspect
import json
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, overload

from minidnn.device import takes_ctx
from minidnn.errors import DataError, OpError, SizeError
from minidnn.gluon.calls import HookHandle, Hooks, describe_types, explained, is_in_block, observer, run_in_block
from minidnn.gluon.parameter import Devices, Init, Parameter
from minidnn.gluon.parameter_dict import ParameterDict
from minidnn.gluon.structure import named_types
from minidnn.gluon.summary import print_summary
from minidnn.ir.trace import current_trace
from minidnn.numpy.base import CHANGES
from minidnn.numpy.multiarray import ndarray
from minidnn.ops.registry import TensorType

__all__ = ["Block", "structure_version"]

_MAX_OUTLINE = 1 << 24  # bytes
# What Python says of a call with too few or too many arguments.
_WRONG_NUMBER = re.compile(r"forward\(\) (missing|takes|got) ")


class _Structure:
    """Counts the changes to any tree of blocks, so that what was built from one can tell when to look again."""

    version = 0


def structure_version() -> int:
    """Changes whenever a child or a parameter is put into any block."""
    return _Structure.version


class Block:
    """Base of all layers and models.

    A subclass makes its children and parameters in ``__init__``, as attributes, and computes in ``forward``:

        class Model(gluon.Block):
            def __init__(self):
                super().__init__()
                self.dense = nn.Dense(20)

            def forward(self, x):
                return mx.npx.relu(self.dense(x))
    """

    # Whether it is a container that computes nothing itself; summaries leave those out.
    _only_calls_children = False

    _children: dict[str, Block]
    _reg_params: dict[str, Parameter]

    def __init__(self) -> None:
        self._children = {}
        self._reg_params = {}
        self._forward_hooks: Hooks = {}
        self._forward_pre_hooks: Hooks = {}

    # ---- the tree --------------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        existing = self.__dict__.get(name)
        if isinstance(existing, (Parameter, Block)) and not isinstance(value, type(existing)):
            raise TypeError(
                f"Changing attribute type for {name} from {type(existing)} to {type(value)} is not allowed."
            )
        if isinstance(value, (Block, Parameter)) and "_children" not in self.__dict__:
            raise RuntimeError(f"call super().__init__() before assigning {name!r} in {type(self).__name__}.__init__")
        if isinstance(value, Block):
            self.register_child(value, name)
        elif isinstance(value, Parameter):
            self._reg_params[name] = value
            # Here and below no call stands in between, where Ctrl-C could leave a change that nobody has counted.
            _Structure.version += 1
            CHANGES.count += 1
        super().__setattr__(name, value)

    def register_child(self, block: Block, name: str | None = None) -> None:
        """Make `block` a child; attributes and the members of `Sequential` are registered by themselves.

        Raises:
            TypeError: it is no block.
        """
        if not isinstance(block, Block):
            raise TypeError(f"{type(self).__name__}: a child must be a Block, got {type(block).__name__}")
        self._children[str(len(self._children)) if name is None else name] = block
        _Structure.version += 1
        CHANGES.count += 1

    def __repr__(self) -> str:
        if not self._children:
            return f"{type(self).__name__}()"
        lines = [f"({name}): {child!r}".replace("\n", "\n  ") for name, child in self._children.items()]
        return "\n  ".join([f"{type(self).__name__}(", *lines]) + "\n)"

    def apply(self, fn: Callable[[Block], Any]) -> Self:
        """Call `fn` on every block below this one, children first, and on this one."""
        for child in self._children.values():
            child.apply(fn)
        fn(self)
        return self

    def _walk_blocks(self, prefix: str = "") -> Iterator[tuple[str, Block]]:
        """Every block of the tree with its dotted name; this one's is empty."""
        yield prefix.removesuffix("."), self
        for name, child in self._children.items():
            yield from child._walk_blocks(f"{prefix}{name}.")

    # ---- parameters ------------------------------------------------------------------------------

    @property
    def params(self) -> dict[str, Parameter]:
        """The block's own parameters, without its children's."""
        return self._reg_params

    def collect_params(self, select: str | None = None) -> ParameterDict:
        """The parameters of the whole tree, by structural name: ``features.0.weight``.

        Args:
            select: a regular expression that the beginning of a name must match: ``".*weight|.*bias"``.
        """
        self._check_containers()
        pattern = re.compile(select or "")
        named = {
            f"{path}.{name}" if path else name: parameter
            for path, block in self._walk_blocks()
            for name, parameter in block._reg_params.items()
        }
        return ParameterDict((name, parameter) for name, parameter in named.items() if pattern.match(name))

    def _check_containers(self) -> None:
        """Warn of blocks in a plain list, tuple or dict: they are no children, and their parameters are not found."""
        registered = {id(block) for _, block in self._walk_blocks()}

        def holds_block(value: Any) -> bool:
            if isinstance(value, Block):
                return id(value) not in registered
            values = value.values() if isinstance(value, dict) else value
            return isinstance(value, (list, tuple, dict)) and any(holds_block(v) for v in values)

        for name, value in self.__dict__.items():
            if name != "_children" and isinstance(value, (list, tuple, dict)) and holds_block(value):
                warnings.warn(
                    f'"{type(self).__name__}.{name}" is an unregistered container with Blocks. Note that Blocks '
                    "inside the list, tuple or dict will not be registered automatically. Make sure to register "
                    "them using register_child() or switching to nn.Sequential/nn.HybridSequential instead.",
                    stacklevel=3,
                )

    @takes_ctx
    def initialize(
        self, init: Init = None, device: Devices = None, verbose: bool = False, force_reinit: bool = False
    ) -> None:
        """Initialize the parameters of the whole tree.

        Args:
            init: for parameters that have no initializer of their own; default: ``mx.init.Uniform()``.
            device: a CPU.
            verbose: log what was done.
            force_reinit: also parameters that have values already.
        """
        self.collect_params().initialize(init, device, verbose, force_reinit)

    def share_parameters(self, shared: Mapping[str, Parameter] | None) -> Self:
        """Put other parameters in the place of this tree's own, by structural name: both blocks then use the same.

        Args:
            shared: ``other.collect_params()``; names that are not in this tree give a warning.
        """
        if shared is None:
            return self
        if not isinstance(shared, Mapping):
            raise ValueError(f"'shared' should be in type of Dict. Get type {type(shared)}!")
        own = {
            f"{path}.{name}" if path else name: (block, name)
            for path, block in self._walk_blocks()
            for name in block._reg_params
        }
        for name, parameter in shared.items():
            if name in own:
                block, attribute = own[name]
                setattr(block, attribute, parameter)
            else:
                warnings.warn(f"Parameter name {name} is not in the current model!", stacklevel=2)
        return self

    def cast(self, dtype: Any) -> None:
        """Change the dtype of all parameters."""
        for child in self._children.values():
            child.cast(dtype)
        for parameter in self._reg_params.values():
            parameter.cast(dtype)

    def setattr(self, name: str, value: Any) -> None:
        """Set an attribute of all parameters: ``net.setattr('grad_req', 'null')``."""
        self.collect_params().setattr(name, value)

    def zero_grad(self) -> None:
        """Does nothing: there are no gradients."""

    @takes_ctx
    def reset_device(self, device: Devices) -> None:
        """Move all parameters to another CPU; they stay where they are."""
        self.collect_params().reset_device(device)

    reset_ctx = reset_device

    # ---- files -----------------------------------------------------------------------------------

    def save_parameters(self, filename: str | os.PathLike[str], deduplicate: bool = False) -> None:
        """Write the parameters to a safetensors file, by structural name.

        Args:
            filename: where.
            deduplicate: write a shared parameter once only.
        """
        self.collect_params().save(filename, deduplicate)

    @takes_ctx
    def load_parameters(
        self,
        filename: str | os.PathLike[str],
        device: Devices = None,
        allow_missing: bool = False,
        ignore_extra: bool = False,
        cast_dtype: bool = False,
        dtype_source: Literal["current", "saved"] = "current",
    ) -> None:
        """Read the parameters from a file; see `ParameterDict.load_dict` for the arguments.

        Raises:
            DataError: the file is damaged, or does not fit; the message names the parameter.
            OSError: the file cannot be read.
        """
        self.collect_params().load(filename, device, allow_missing, ignore_extra, cast_dtype, dtype_source)

    @takes_ctx
    def load_dict(
        self,
        param_dict: Mapping[str, Any],
        device: Devices = None,
        allow_missing: bool = False,
        ignore_extra: bool = False,
        cast_dtype: bool = False,
        dtype_source: Literal["current", "saved"] = "current",
    ) -> None:
        """Take the parameters' values from arrays by name; see `ParameterDict.load_dict`."""
        self.collect_params().load_dict(param_dict, device, allow_missing, ignore_extra, cast_dtype, dtype_source)

    def save(self, prefix: str | os.PathLike[str]) -> None:
        """Write the parameters and an outline of the tree: ``<prefix>-model.params`` and ``<prefix>-model.json``."""
        Path(f"{os.fspath(prefix)}-model.json").write_text(json.dumps(self._structure_outline()), encoding="utf-8")
        self.save_parameters(f"{os.fspath(prefix)}-model.params")

    def load(self, prefix: str | os.PathLike[str]) -> None:
        """Read what `save` wrote, into a block that was built in the same way.

        Raises:
            DataError: the outline is not that of this tree.
        """
        path = Path(f"{os.fspath(prefix)}-model.json")
        with path.open("rb") as file:
            text = file.read(_MAX_OUTLINE + 1)
        if len(text) > _MAX_OUTLINE:
            raise DataError(f"{path}: not the outline of a block: more than {_MAX_OUTLINE} bytes")
        try:
            outline = json.loads(text)
        except (ValueError, RecursionError):
            raise DataError(f"{path}: not the outline of a block: no JSON") from None
        if outline != self._structure_outline():
            raise DataError(f"{path}: the outline of another block than this {type(self).__name__}")
        self.load_parameters(f"{os.fspath(prefix)}-model.params")

    def _structure_outline(self) -> dict[str, Any]:
        return {
            "class": type(self).__name__,
            "params": list(self._reg_params),
            "children": {name: child._structure_outline() for name, child in self._children.items()},
        }

    # ---- running ---------------------------------------------------------------------------------

    @overload
    def __call__(self, x: ndarray, /, *args: ndarray) -> ndarray: ...

    @overload
    def __call__(self, *args: Any) -> Any: ...

    def __call__(self, *args: Any) -> Any:
        """Run `forward`, with the hooks around it.

        To type checkers, a call with arrays gives an array; where `forward` gives several, annotate what takes them.

        Raises:
            OpError: shapes or dtypes do not fit; the message names the layer and the inputs.
        """
        try:
            return run_in_block(self, self._run_forward, args)
        except OpError as error:
            raise self._explained(error, args) from None
        except TypeError as error:
            self._check_number(args, error)
            raise

    def _check_number(self, args: tuple[Any, ...], error: TypeError) -> None:
        """Look whether a call from the user's code has as many arguments as `forward` takes.

        Args:
            args: of the call.
            error: what became of it.

        Raises:
            TypeError: it has not; the message names those that are wanted and says what came.
        """
        if is_in_block() or current_trace() is not None or not _WRONG_NUMBER.search(str(error)):
            return
        signature = self._signature()
        try:
            signature.bind(*args)
        except TypeError as wrong:
            came = describe_types(self._types_that_came(args))
            raise TypeError(
                f"{type(self).__name__}: {wrong}: forward() takes {signature}; it was called with {came or 'no arrays'}"
            ) from None

    def _types_that_came(self, args: tuple[Any, ...]) -> dict[str, TensorType]:
        """The types of the arrays in the arguments of a call, by name."""
        names = self._argument_names()
        names += [f"argument {i}" for i in range(len(names), len(args))]
        return {name: t for base, value in zip(names, args, strict=False) for name, t in named_types(base, value)}

    def _explained(self, error: OpError, args: tuple[Any, ...]) -> OpError:
        """The error with the inputs of the call, where nothing calls this block but the user's code."""
        if error.is_explained or is_in_block() or current_trace() is not None or isinstance(error, SizeError):
            return error
        return explained(error, type(self).__name__, self._types_that_came(args), self._types_that_fit())

    def _argument_names(self) -> list[str]:
        """Names of the arguments of a call, as far as there are any."""
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        return [p.name for p in self._signature().parameters.values() if p.kind in kinds]

    def _types_that_fit(self) -> Sequence[TensorType]:
        """Types of inputs that are known to fit, in the order of the arrays; none if none are known."""
        return ()

    def _run_forward(self, args: tuple[Any, ...]) -> Any:
        # Arrays have no values while they are traced, and the hooks of this call have nothing to see.
        hooked = current_trace() is None
        if hooked:
            for hook in [*self._forward_pre_hooks.values()]:
                hook(self, args)
        output = self.forward(*args)
        if hooked:
            for hook in [*self._forward_hooks.values()]:
                hook(self, args, output)
        watch = observer()
        if watch is not None:
            watch(self, output)
        return output

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "hybrid_forward" in cls.__dict__ and "forward" not in cls.__dict__:
            # An inherited forward would run in its place without a word.
            type.__setattr__(cls, "forward", Block.forward)

    def forward(self, *args: Any) -> Any:
        """What the block computes; every subclass has its own."""
        old = getattr(self, "hybrid_forward", None)
        raise NotImplementedError(
            f"{type(self).__name__} has no forward()" if old is None else _translate_hint(self, old)
        )

    def _signature(self) -> inspect.Signature:
        """The arguments of a call; a block that hands its own to another has the other's."""
        return inspect.signature(self.forward)

    def hybridize(self, active: bool = True, **kwargs: Any) -> None:
        """Turn compilation on or off for every `HybridBlock` below; see `HybridBlock.hybridize`."""
        for child in self._children.values():
            child.hybridize(active, **kwargs)

    # ---- looking on ------------------------------------------------------------------------------

    def register_forward_pre_hook(self, hook: Callable[[Any, Any], Any]) -> HookHandle:
        """Call ``hook(block, inputs)`` before `forward`."""
        return HookHandle(self._forward_pre_hooks, hook)

    def register_forward_hook(self, hook: Callable[[Any, Any, Any], Any]) -> HookHandle:
        """Call ``hook(block, inputs, output)`` after `forward`."""
        return HookHandle(self._forward_hooks, hook)

    def register_op_hook(self, callback: Callable[[str, str, Any], Any] | None, monitor_all: bool = False) -> None:
        """See `HybridBlock.register_op_hook`; this passes it on to the children."""
        for child in self._children.values():
            child.register_op_hook(callback, monitor_all)

    def summary(self, *inputs: Any) -> None:
        """Run once on `inputs` and print every layer with its output shape and number of parameters."""
        print_summary(self, inputs)


def _translate_hint(block: Block, hybrid_forward: Callable[..., Any]) -> str:
    """How to write a block of MXNet 1 for MXNet 2."""
    arguments = [p for p in inspect.signature(hybrid_forward).parameters.values() if p.kind is not p.VAR_KEYWORD][1:]
    own = [p.name for p in arguments if p.name in block._reg_params]
    inputs = ", ".join(["self", *(str(p.replace(annotation=p.empty)) for p in arguments if p.name not in own)])
    values = "".join(f", {name} = self.{name}.data()" for name in own) or ", weights as self.weight.data()"
    return (
        f"{type(block).__name__} defines hybrid_forward(), which is MXNet 1's: define forward({inputs}) instead, with "
        f"mx.np and mx.npx in place of F{values}"
    )
