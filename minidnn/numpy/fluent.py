"""The methods of arrays that MXNet has beside NumPy's: functions of `mx.np` and operators, with the array first."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, ClassVar, Self

import numpy as np

import minidnn.ops  # noqa: F401 # the records
from minidnn.errors import ShapeError
from minidnn.numpy.base import apply
from minidnn.numpy.methods import ArrayMethods
from minidnn.ops.registry import REQUIRED, get_op
from minidnn.user_code import named

__all__ = ["FluentMethods", "show_signatures"]

# MXNet 1's codes of new shapes, as those of `npx.reshape`: copy a dimension, copy all, merge two, split one.
_OLD_CODES = {0: -2, -2: -4, -3: -5, -4: -6}


def _parameter(name: str, default: Any = REQUIRED, by_place: bool = True) -> inspect.Parameter:
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD if by_place else inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=inspect.Parameter.empty if default is REQUIRED else default)


def _function(name: str) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(self._namespace, name)(self, *args, **kwargs)

    method.is_function = True  # type: ignore[attr-defined] # for `show_signatures`
    return named(method, name, f"`mx.np.{name}` of the array.", "ndarray")


def show_signatures(namespace: ModuleType) -> None:
    """Let `inspect` and `help` show the arguments of the functions of `namespace` at the methods that call them."""
    for method in vars(FluentMethods).values():
        if not getattr(method, "is_function", False):
            continue
        signature = inspect.signature(getattr(namespace, method.__name__))
        method.__signature__ = signature.replace(
            parameters=[_parameter("self"), *list(signature.parameters.values())[1:]]
        )


def _operator(name: str, by_place: int | None = None) -> Callable[..., Any]:
    """A method of one operator on the array alone.

    Its arguments are the record's attributes, in their order; those after the first `by_place` by keyword alone.
    """
    attrs = get_op(name).attrs
    count = len(attrs) if by_place is None else by_place

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        if len(args) > count:
            raise TypeError(f"{name}() takes {count} arguments beside the array, got {len(args)}")
        named = {attr.name: value for attr, value in zip(attrs, args, strict=False)}
        for twice in named.keys() & kwargs.keys():
            raise TypeError(f"{name}() got multiple values for argument {twice!r}")
        results = apply(type(self), name, (self,), named | kwargs)
        return results[0] if len(results) == 1 else list(results)

    shown = [_parameter(attr.name, attr.default, i < count) for i, attr in enumerate(attrs)]
    method.__signature__ = inspect.Signature([_parameter("self"), *shown])  # type: ignore[attr-defined] # for `help`
    return named(method, name, f"The operator `{name}` on the array.", "ndarray")


class FluentMethods(ArrayMethods):
    """``x.exp()`` for ``mx.np.exp(x)``."""

    __slots__ = ()

    # `minidnn.numpy` itself, which puts itself here.
    _namespace: ClassVar[ModuleType]

    arccos = _function("arccos")
    arccosh = _function("arccosh")
    arcsin = _function("arcsin")
    arcsinh = _function("arcsinh")
    arctan = _function("arctan")
    arctanh = _function("arctanh")
    cbrt = _function("cbrt")
    ceil = _function("ceil")
    cos = _function("cos")
    cosh = _function("cosh")
    degrees = _function("degrees")
    diag = _function("diag")
    diagonal = _function("diagonal")
    exp = _function("exp")
    expm1 = _function("expm1")
    fix = _function("fix")
    flip = _function("flip")
    floor = _function("floor")
    log = _function("log")
    log10 = _function("log10")
    log1p = _function("log1p")
    log2 = _function("log2")
    nanprod = _function("nanprod")
    nansum = _function("nansum")
    ones_like = _function("ones_like")
    pad = _function("pad")
    radians = _function("radians")
    reciprocal = _function("reciprocal")
    rint = _function("rint")
    sign = _function("sign")
    sin = _function("sin")
    sinh = _function("sinh")
    split = _function("split")
    sqrt = _function("sqrt")
    square = _function("square")
    tan = _function("tan")
    tanh = _function("tanh")
    trunc = _function("trunc")
    zeros_like = _function("zeros_like")

    log_sigmoid = _operator("log_sigmoid")
    log_softmax = _operator("log_softmax", by_place=2)
    mish = _operator("mish")
    one_hot = _operator("one_hot")
    rcbrt = _operator("rcbrt")
    relu = _operator("relu")
    rsqrt = _operator("rsqrt")
    shape_array = _operator("shape_array")
    sigmoid = _operator("sigmoid")
    slice = _operator("slice")
    slice_axis = _operator("slice_axis")
    softmax = _operator("softmax", by_place=2)
    topk = _operator("topk")

    def softmin(self, axis: int = -1) -> Self:
        """`softmax` of the negative elements."""
        return self._apply("negative")._apply("softmax", axis=axis)

    def pick(self, index: Any, axis: int = -1, mode: str = "clip", keepdims: bool = False) -> Self:
        """One element along `axis` for every position in `index`; see `mx.npx.pick`."""
        return self._apply("pick", self._of(index), axis=axis, mode=mode, keepdims=keepdims)

    def reshape_like(
        self,
        rhs: Any,
        lhs_begin: int | None = None,
        lhs_end: int | None = None,
        rhs_begin: int | None = None,
        rhs_end: int | None = None,
    ) -> Self:
        """The elements in the shape of `rhs`; see `mx.npx.reshape_like`."""
        ranges = {"lhs_begin": lhs_begin, "lhs_end": lhs_end, "rhs_begin": rhs_begin, "rhs_end": rhs_end}
        return self._apply("reshape_like", self._of(rhs), **ranges)

    def broadcast_like(self, other: Any, lhs_axes: Any = None, rhs_axes: Any = None) -> Self:
        """Repeated to the shape of `other`; see `mx.npx.broadcast_like`."""
        return self._apply("broadcast_like", self._of(other), lhs_axes=lhs_axes, rhs_axes=rhs_axes)

    def slice_like(self, shape_like: Any, axes: Sequence[int] = ()) -> Self:
        """The first elements, as many as `shape_like` has, along `axes` (all by default)."""
        return self._apply("slice_like", self._of(shape_like), axes=axes)

    def broadcast_axes(self, axis: int | Sequence[int] = (), size: int | Sequence[int] = ()) -> Self:
        """Repeated along the dimensions `axis`, of size one, to `size`.

        Raises:
            ShapeError: there is not one size for each axis, or a dimension has another size than one.
        """
        axes, sizes = ((v,) if isinstance(v, int) else tuple(v) for v in (axis, size))
        if len(axes) != len(sizes):
            raise ShapeError(f"broadcast_axes: one size for each axis is wanted, got axis={axis}, size={size}")
        shape = list(self.shape)
        for a, n in zip(axes, sizes, strict=True):
            shape[a] = n
        return self._apply("broadcast_to", shape=shape)

    def norm(self, ord: int = 2, axis: Any = None, keepdims: bool = False) -> Any:
        """The norm along `axis`, or of all elements taken as one vector."""
        return self._namespace.linalg.vector_norm(self, ord, axis, keepdims)

    def argmax_channel(self) -> Self:
        """The position of the largest element along axis 1, in the dtype of the array."""
        return self._apply("argmax", axis=1).astype(self.dtype)

    def split_v2(self, indices_or_sections: Any, axis: int = 0, squeeze_axis: bool = False) -> list[Self]:
        """Parts along `axis`; with `squeeze_axis` parts of size one without that axis."""
        parts: list[Self] = self._namespace.split(self, indices_or_sections, axis)
        return [p.squeeze(axis) for p in parts] if squeeze_axis else parts

    def reshape_view(self, *shape: Any) -> Self:
        """The elements in another shape by MXNet 1's codes: 0 and -2 copy one and all dimensions, -3 merges, -4 splits.

        Unlike MXNet's it is a copy.
        """
        codes = shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
        numbers, after_split = [], 0
        for n in codes:
            # The two numbers behind -4 are sizes, and no codes.
            numbers.append(n if after_split else _OLD_CODES.get(n, n))
            after_split = 2 if n == -4 and not after_split else max(after_split - 1, 0)
        return self._apply("npx_reshape", newshape=numbers)

    def depth_to_space(self, block_size: int) -> Self:
        """Channels as pixels: ``(N, b·b·C, H, W)`` becomes ``(N, C, b·H, b·W)``."""
        images, channels, height, width = self._images("depth_to_space")
        b = block_size
        self._want_multiple("depth_to_space", b, channels % (b * b) if b > 0 else 1)
        blocks = self.reshape(images, b, b, channels // (b * b), height, width).transpose(0, 3, 4, 1, 5, 2)
        return blocks.reshape(images, channels // (b * b), height * b, width * b)

    def space_to_depth(self, block_size: int) -> Self:
        """Pixels as channels: ``(N, C, b·H, b·W)`` becomes ``(N, b·b·C, H, W)``."""
        images, channels, height, width = self._images("space_to_depth")
        b = block_size
        self._want_multiple("space_to_depth", b, height % b + width % b if b > 0 else 1)
        blocks = self.reshape(images, channels, height // b, b, width // b, b).transpose(0, 3, 5, 1, 2, 4)
        return blocks.reshape(images, channels * b * b, height // b, width // b)

    def _images(self, method: str) -> tuple[int, ...]:
        if self.ndim != 4:
            raise ShapeError(f"{method}: four dimensions (N, C, H, W) are wanted, got shape {self.shape}")
        return self.shape

    def _want_multiple(self, method: str, block: int, remainder: int) -> None:
        if remainder:
            raise ShapeError(f"{method}: blocks of {block} do not divide an array of shape {self.shape}")

    def size_array(self) -> Self:
        """The number of elements, as an int64 vector of one."""
        return self._wrap(np.asarray([self.size], np.int64))

    def slice_assign(self, rhs: Any, begin: Sequence[Any], end: Sequence[Any], step: Sequence[Any]) -> Self:
        """Write `rhs` to the elements from `begin` to `end` with `step` of the first axes; the array itself."""
        self._write(_slices(begin, end, step), rhs)
        return self

    def slice_assign_scalar(self, value: float, begin: Sequence[Any], end: Sequence[Any], step: Sequence[Any]) -> Self:
        """Write one number to the elements from `begin` to `end` with `step` of the first axes; the array itself."""
        return self.slice_assign(value, begin, end, step)

    def _write(self, key: Any, value: Any) -> None:
        self[key] = value  # type: ignore[index] # `ndarray` defines it

    @property
    def mT(self) -> Self:  # noqa: N802 - the array API's name
        """The last two axes exchanged."""
        return self.swapaxes(-1, -2)

    @property
    def writable(self) -> bool:
        """Whether elements can be written to."""
        return self._data is not None and bool(self._data.flags.writeable)

    def drop_grad(self) -> None:
        """Does nothing: there is no gradient."""


def _slices(begin: Sequence[Any], end: Sequence[Any], step: Sequence[Any]) -> tuple[slice, ...]:
    steps = tuple(step) or (None,) * len(begin)
    return tuple(slice(b, e, s) for b, e, s in zip(begin, end, steps, strict=True))
