"""What `Block.collect_params` gives: a dict of parameters by structural name, with what can be done to all of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np

from minidnn import serialization
from minidnn.device import takes_ctx
from minidnn.errors import DataError
from minidnn.gluon.parameter import Devices, Init, Parameter
from minidnn.initializer import create
from minidnn.numpy.convert import as_array
from minidnn.numpy.multiarray import ndarray

__all__ = ["ParameterDict"]

_DtypeSource = Literal["current", "saved"]


class ParameterDict(dict[str, Parameter]):
    """Parameters by structural name (``features.0.weight``); one that is shared stands under each of its names."""

    def __repr__(self) -> str:
        return "{" + ", ".join(f"'{name}': {parameter!r}" for name, parameter in self.items()) + "}"

    def distinct(self) -> list[Parameter]:
        """Every parameter once."""
        return list({id(parameter): parameter for parameter in self.values()}.values())

    @takes_ctx
    def initialize(
        self, init: Init = None, device: Devices = None, verbose: bool = False, force_reinit: bool = False
    ) -> None:
        """Initialize all of them; see `Parameter.initialize`. A parameter's own initializer goes before `init`."""
        chosen = create("uniform" if init is None else init)
        if verbose:
            chosen.set_verbosity(True)
        for parameter in self.distinct():
            parameter.initialize(None, device, chosen, force_reinit=force_reinit)

    def zero_grad(self) -> None:
        """Does nothing: there are no gradients."""

    @takes_ctx
    def reset_device(self, device: Devices) -> None:
        """Move all of them to another CPU; see `Parameter.reset_device`."""
        for parameter in self.distinct():
            parameter.reset_device(device)

    reset_ctx = reset_device

    def setattr(self, name: str, value: Any) -> None:
        """Set an attribute of all of them: ``params.setattr('grad_req', 'null')``."""
        for parameter in self.distinct():
            setattr(parameter, name, value)

    def save(self, filename: str | os.PathLike[str], deduplicate: bool = False) -> None:
        """Write their values to a safetensors file.

        Args:
            filename: where.
            deduplicate: write a shared parameter under one of its names only.

        Raises:
            RuntimeError: one of them has not been initialized.
            OSError: the file cannot be written.
        """
        named = self.items()
        if deduplicate:
            named = {name: parameter for parameter, name in {p: n for n, p in self.items()}.items()}.items()
        serialization.save(filename, {name: parameter.concrete() for name, parameter in named})

    @takes_ctx
    def load(
        self,
        filename: str | os.PathLike[str],
        device: Devices = None,
        allow_missing: bool = False,
        ignore_extra: bool = False,
        cast_dtype: bool = False,
        dtype_source: _DtypeSource = "current",
    ) -> None:
        """Read their values from a file that `save` or `HybridBlock.export` wrote; see `load_dict`.

        Raises:
            DataError: the file is damaged, or does not fit.
            OSError: the file cannot be read.
        """
        arrays = {}
        for name, array in serialization.load(filename).items():
            if array.dtype.kind not in "biuf":
                raise DataError(f"{filename}: record {name!r}: a parameter cannot be {array.dtype}")
            arrays[name] = ndarray._wrap(array)
        self._take(arrays, f"file: {filename}", allow_missing, ignore_extra, cast_dtype, dtype_source, adopt=True)

    @takes_ctx
    def load_dict(
        self,
        param_dict: Mapping[str, Any],
        device: Devices = None,
        allow_missing: bool = False,
        ignore_extra: bool = False,
        cast_dtype: bool = False,
        dtype_source: _DtypeSource = "current",
    ) -> None:
        """Take their values from arrays by name. All of them are checked before the first one changes.

        Args:
            param_dict: arrays by structural name; a prefix ``arg:`` or ``aux:`` is dropped.
            device: a CPU.
            allow_missing: leave parameters alone that have no array.
            ignore_extra: pass over arrays that have no parameter.
            cast_dtype: whether dtypes may differ.
            dtype_source: with `cast_dtype`, which dtype to end with: the parameter's (``current``) or the
                array's (``saved``).

        Raises:
            DataError: an array is missing, or left over, or of the wrong shape or dtype; the message names it.
        """
        self._take(param_dict, "param_dict", allow_missing, ignore_extra, cast_dtype, dtype_source, adopt=False)

    def _take(
        self,
        arrays: Mapping[str, Any],
        source: str,
        allow_missing: bool,
        ignore_extra: bool,
        cast_dtype: bool,
        dtype_source: _DtypeSource,
        adopt: bool,
    ) -> None:
        if dtype_source not in ("current", "saved"):
            raise ValueError(f"dtype_source must be 'current' or 'saved', got {dtype_source!r}")
        loaded = {name[4:] if name.startswith(("arg:", "aux:")) else name: array for name, array in arrays.items()}
        for name, parameter in self.items():
            prefix = name[: len(name) - len(parameter.name)] if name.endswith(parameter.name) else name
            parameter.gather(loaded, name, prefix)
        if not allow_missing:
            self._check_missing(loaded, source)
        extra = [name for name in loaded if name not in self]
        if extra and not ignore_extra:
            raise DataError(
                f"Parameter '{extra[0]}' loaded from '{source}' is not present in Dict, which contains parameters "
                f"{_brief(self)}. Set ignore_extra=True to ignore."
            )
        values = {name: _as_kept(array, self[name]) for name, array in loaded.items() if name in self}
        for name, value in values.items():
            self[name].check_load(value, name, cast_dtype)
        for name, value in values.items():
            self[name].load(value, cast_dtype, dtype_source, adopt)

    def _check_missing(self, loaded: Mapping[str, Any], source: str) -> None:
        # A shared parameter is there as soon as one of its names is.
        found = {id(parameter) for name, parameter in self.items() if name in loaded}
        for name, parameter in self.items():
            if id(parameter) not in found:
                raise DataError(
                    f"Parameter '{name}' is missing in '{source}', which contains parameters: {_brief(loaded)}. "
                    "Set allow_missing=True to ignore missing parameters."
                )


def _as_kept(array: Any, parameter: Parameter) -> ndarray:
    """`array` as ours: NumPy's float64 becomes float32, the default, unless the parameter holds it."""
    is_wide = isinstance(array, np.ndarray) and array.dtype == parameter.dtype == np.float64
    return as_array(array, np.float64 if is_wide else None)


def _brief(names: Iterable[str], limit: int = 7) -> str:
    """At most `limit` names, quoted, with dots in the middle."""
    quoted = [f"'{name}'" for name in names]
    if len(quoted) > limit:
        quoted = [*quoted[: limit // 2], "...", *quoted[-(limit // 2) :]]
    return ", ".join(quoted)
