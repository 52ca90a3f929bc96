"""Max and average pooling over one, two and three spatial dimensions, windowed and global."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from minidnn.errors import OpError
from minidnn.gluon._hybrid_block import HybridBlock
from minidnn.gluon.nn._op import make_attrs, per_axis, show
from minidnn.npx.layers import channels_first, pool

__all__ = [
    "AvgPool1D",
    "AvgPool2D",
    "AvgPool3D",
    "GlobalAvgPool1D",
    "GlobalAvgPool2D",
    "GlobalAvgPool3D",
    "GlobalMaxPool1D",
    "GlobalMaxPool2D",
    "GlobalMaxPool3D",
    "MaxPool1D",
    "MaxPool2D",
    "MaxPool3D",
]


Numbers = int | Sequence[int]

_LAYOUTS = {1: "NCW", 2: "NCHW", 3: "NCDHW"}


class _Pooling(HybridBlock):
    """What all pools share; a subclass says what is pooled, and over how many spatial dimensions.

    Args:
        pool_size, strides, padding: one number, or one for each spatial dimension; strides default to the size.
        ceil_mode: a window that reaches over the end gives an output too.
        layout: ``NCW``, ``NCHW`` or ``NCDHW``, as the dimensions have it (None: that one), or with the channels last
            ``NWC``, ``NHWC`` or ``NDHWC``: then outputs have them last too.
        count_include_pad: whether an average counts padding.
        global_pool: one window over everything.

    Raises:
        OpError, ValueError: an argument does not fit.
    """

    _rank: ClassVar[int]
    _pool_type: ClassVar[str]

    def __init__(
        self,
        pool_size: Numbers,
        strides: Numbers | None,
        padding: Numbers,
        ceil_mode: bool,
        layout: str | None,
        count_include_pad: bool = True,
        global_pool: bool = False,
    ) -> None:
        super().__init__()
        name, rank = type(self).__name__, self._rank
        layout = self._layout = layout or _LAYOUTS[rank]
        if channels_first(layout) != _LAYOUTS[rank]:
            known = f"{_LAYOUTS[rank]} or {_LAYOUTS[rank].replace('C', '')}C"
            raise OpError(f"{name}: layout must be {known}, got {layout}")
        size = per_axis(name, "pool_size", pool_size, rank)
        stride = per_axis(name, "strides", size if strides is None else strides, rank)
        pad = per_axis(name, "padding", padding, rank)
        checked = make_attrs(
            name,
            "pooling",
            kernel=size,
            stride=stride,
            pad=pad,
            pool_type=self._pool_type,
            global_pool=global_pool,
            pooling_convention="full" if ceil_mode else "valid",
            count_include_pad=count_include_pad,
        )
        self._attrs = {key: value for key, value in checked.items() if key != "layout"}
        self._shown = show(
            self,
            size=size,
            stride=stride,
            padding=pad,
            ceil_mode=ceil_mode,
            global_pool=global_pool,
            pool_type=self._pool_type,
            layout=layout,
        )

    def forward(self, x: Any) -> Any:
        return pool(x, self._layout, **self._attrs)

    def __repr__(self) -> str:
        return self._shown


# MXNet's order of arguments differs between the pools, so each order has its class.


class _MaxPool(_Pooling):
    _pool_type = "max"

    def __init__(
        self,
        pool_size: Numbers = 2,
        strides: Numbers | None = None,
        padding: Numbers = 0,
        layout: str | None = None,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__(pool_size, strides, padding, ceil_mode, layout)


class MaxPool1D(_MaxPool):
    """Largest element of each window of ``(N, C, W)``; see `MaxPool2D`. The layout is ``NCW`` or ``NWC``."""

    _rank = 1


class MaxPool2D(_MaxPool):
    """Largest element of each window of ``(N, C, H, W)``.

    Args:
        pool_size, strides, padding: one number, or one for height and one for width; strides default to the size.
        ceil_mode: round the output's size up: a window that reaches over the end gets an output, too.
        layout: ``NCHW`` or None, or with the channels last ``NHWC``: then outputs have them last, too.

    Raises:
        OpError, ValueError: an argument does not fit.
    """

    _rank = 2


class MaxPool3D(_Pooling):
    """Largest element of each window of ``(N, C, D, H, W)``; see `MaxPool2D`. The layout is ``NCDHW`` or ``NDHWC``."""

    _rank = 3
    _pool_type = "max"

    def __init__(
        self,
        pool_size: Numbers = 2,
        strides: Numbers | None = None,
        padding: Numbers = 0,
        ceil_mode: bool = False,
        layout: str | None = None,
    ) -> None:
        super().__init__(pool_size, strides, padding, ceil_mode, layout)


class AvgPool1D(_Pooling):
    """Average of each window of ``(N, C, W)``; see `AvgPool2D`. The layout is ``NCW`` or ``NWC``."""

    _rank = 1
    _pool_type = "avg"

    def __init__(
        self,
        pool_size: Numbers = 2,
        strides: Numbers | None = None,
        padding: Numbers = 0,
        layout: str | None = None,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(pool_size, strides, padding, ceil_mode, layout, count_include_pad)


class _AvgPool(_Pooling):
    _pool_type = "avg"

    def __init__(
        self,
        pool_size: Numbers = 2,
        strides: Numbers | None = None,
        padding: Numbers = 0,
        ceil_mode: bool = False,
        layout: str | None = None,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(pool_size, strides, padding, ceil_mode, layout, count_include_pad)


class AvgPool2D(_AvgPool):
    """Average of each window of ``(N, C, H, W)``.

    Args:
        pool_size, strides, padding: one number, or one for height and one for width; strides default to the size.
        ceil_mode: round the output's size up: a window that reaches over the end gets an output, too.
        layout: ``NCHW`` or None, or with the channels last ``NHWC``: then outputs have them last, too.
        count_include_pad: whether zeros of the padding count in the average.

    Raises:
        OpError, ValueError: an argument does not fit.
    """

    _rank = 2


class AvgPool3D(_AvgPool):
    """Average of each window of ``(N, C, D, H, W)``; see `AvgPool2D`. The layout is ``NCDHW`` or ``NDHWC``."""

    _rank = 3


class _GlobalPool(_Pooling):
    def __init__(self, layout: str | None = None) -> None:
        super().__init__(1, None, 0, True, layout, global_pool=True)


class GlobalMaxPool1D(_GlobalPool):
    """Largest element of each channel: ``(N, C, W)`` becomes ``(N, C, 1)``."""

    _rank = 1
    _pool_type = "max"


class GlobalMaxPool2D(_GlobalPool):
    """Largest element of each channel: ``(N, C, H, W)`` becomes ``(N, C, 1, 1)``."""

    _rank = 2
    _pool_type = "max"


class GlobalMaxPool3D(_GlobalPool):
    """Largest element of each channel: ``(N, C, D, H, W)`` becomes ``(N, C, 1, 1, 1)``."""

    _rank = 3
    _pool_type = "max"


class GlobalAvgPool1D(_GlobalPool):
    """Average of each channel: ``(N, C, W)`` becomes ``(N, C, 1)``."""

    _rank = 1
    _pool_type = "avg"


class GlobalAvgPool2D(_GlobalPool):
    """Average of each channel: ``(N, C, H, W)`` becomes ``(N, C, 1, 1)``."""

    _rank = 2
    _pool_type = "avg"


class GlobalAvgPool3D(_GlobalPool):
    """Average of each channel: ``(N, C, D, H, W)`` becomes ``(N, C, 1, 1, 1)``."""

    _rank = 3
    _pool_type = "avg"
