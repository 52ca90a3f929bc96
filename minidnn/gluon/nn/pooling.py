"""Max and average pooling over one, two and three spatial dimensions, windowed and global."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minidnn.dispatch import invoke
from minidnn.gluon._hybrid_block import HybridBlock
from minidnn.gluon.nn._op import make_attrs, per_axis, show

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


class _Pooling(HybridBlock):
    """What all pools share.

    Args:
        rank: number of spatial dimensions.
        pool_type: ``max`` or ``avg``.
        layout: ``NCW``, ``NCHW`` or ``NCDHW``.
        pool_size, strides, padding: one number, or one for each spatial dimension; strides default to the size.
        ceil_mode: a window that reaches over the end gives an output too.
        count_include_pad: whether an average counts padding.
        global_pool: one window over everything.
    """

    def __init__(
        self,
        rank: int,
        pool_type: str,
        layout: str,
        pool_size: int | Sequence[int] = 1,
        strides: int | Sequence[int] | None = None,
        padding: int | Sequence[int] = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        global_pool: bool = False,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        size = per_axis(name, "pool_size", pool_size, rank)
        stride = per_axis(name, "strides", size if strides is None else strides, rank)
        pad = per_axis(name, "padding", padding, rank)
        self._attrs = make_attrs(
            name,
            "pooling",
            kernel=size,
            stride=stride,
            pad=pad,
            pool_type=pool_type,
            global_pool=global_pool,
            pooling_convention="full" if ceil_mode else "valid",
            count_include_pad=count_include_pad,
            layout=layout,
        )
        self._shown = show(
            self,
            size=size,
            stride=stride,
            padding=pad,
            ceil_mode=ceil_mode,
            global_pool=global_pool,
            pool_type=pool_type,
            layout=layout,
        )

    def forward(self, x: Any) -> Any:
        return invoke("pooling", x, **self._attrs)

    def __repr__(self) -> str:
        return self._shown


class MaxPool1D(_Pooling):
    """Largest element of each window of ``(N, C, W)``; see `_Pooling` for the arguments."""

    def __init__(
        self,
        pool_size: int | Sequence[int] = 2,
        strides: int | Sequence[int] | None = None,
        padding: int | Sequence[int] = 0,
        layout: str = "NCW",
        ceil_mode: bool = False,
    ) -> None:
        super().__init__(1, "max", layout, pool_size, strides, padding, ceil_mode)


class MaxPool2D(_Pooling):
    """Largest element of each window of ``(N, C, H, W)``; see `_Pooling` for the arguments."""

    def __init__(
        self,
        pool_size: int | Sequence[int] = (2, 2),
        strides: int | Sequence[int] | None = None,
        padding: int | Sequence[int] = 0,
        layout: str = "NCHW",
        ceil_mode: bool = False,
    ) -> None:
        super().__init__(2, "max", layout, pool_size, strides, padding, ceil_mode)


class MaxPool3D(_Pooling):
    """Largest element of each window of ``(N, C, D, H, W)``; see `_Pooling` for the arguments."""

    def __init__(
        self,
        pool_size: int | Sequence[int] = (2, 2, 2),
        strides: int | Sequence[int] | None = None,
        padding: int | Sequence[int] = 0,
        ceil_mode: bool = False,
        layout: str = "NCDHW",
    ) -> None:
        super().__init__(3, "max", layout, pool_size, strides, padding, ceil_mode)


class AvgPool1D(_Pooling):
    """Average of each window of ``(N, C, W)``; see `_Pooling` for the arguments."""

    def __init__(
        self,
        pool_size: int | Sequence[int] = 2,
        strides: int | Sequence[int] | None = None,
        padding: int | Sequence[int] = 0,
        layout: str = "NCW",
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(1, "avg", layout, pool_size, strides, padding, ceil_mode, count_include_pad)


class AvgPool2D(_Pooling):
    """Average of each window of ``(N, C, H, W)``; see `_Pooling` for the arguments."""

    def __init__(
        self,
        pool_size: int | Sequence[int] = (2, 2),
        strides: int | Sequence[int] | None = None,
        padding: int | Sequence[int] = 0,
        ceil_mode: bool = False,
        layout: str = "NCHW",
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(2, "avg", layout, pool_size, strides, padding, ceil_mode, count_include_pad)


class AvgPool3D(_Pooling):
    """Average of each window of ``(N, C, D, H, W)``; see `_Pooling` for the arguments."""

    def __init__(
        self,
        pool_size: int | Sequence[int] = (2, 2, 2),
        strides: int | Sequence[int] | None = None,
        padding: int | Sequence[int] = 0,
        ceil_mode: bool = False,
        layout: str = "NCDHW",
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(3, "avg", layout, pool_size, strides, padding, ceil_mode, count_include_pad)


class GlobalMaxPool1D(_Pooling):
    """Largest element of each channel: ``(N, C, W)`` becomes ``(N, C, 1)``."""

    def __init__(self, layout: str = "NCW") -> None:
        super().__init__(1, "max", layout, ceil_mode=True, global_pool=True)


class GlobalMaxPool2D(_Pooling):
    """Largest element of each channel: ``(N, C, H, W)`` becomes ``(N, C, 1, 1)``."""

    def __init__(self, layout: str = "NCHW") -> None:
        super().__init__(2, "max", layout, ceil_mode=True, global_pool=True)


class GlobalMaxPool3D(_Pooling):
    """Largest element of each channel: ``(N, C, D, H, W)`` becomes ``(N, C, 1, 1, 1)``."""

    def __init__(self, layout: str = "NCDHW") -> None:
        super().__init__(3, "max", layout, ceil_mode=True, global_pool=True)


class GlobalAvgPool1D(_Pooling):
    """Average of each channel: ``(N, C, W)`` becomes ``(N, C, 1)``."""

    def __init__(self, layout: str = "NCW") -> None:
        super().__init__(1, "avg", layout, ceil_mode=True, global_pool=True)


class GlobalAvgPool2D(_Pooling):
    """Average of each channel: ``(N, C, H, W)`` becomes ``(N, C, 1, 1)``."""

    def __init__(self, layout: str = "NCHW") -> None:
        super().__init__(2, "avg", layout, ceil_mode=True, global_pool=True)


class GlobalAvgPool3D(_Pooling):
    """Average of each channel: ``(N, C, D, H, W)`` becomes ``(N, C, 1, 1, 1)``."""

    def __init__(self, layout: str = "NCDHW") -> None:
        super().__init__(3, "avg", layout, ceil_mode=True, global_pool=True)
