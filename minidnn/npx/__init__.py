"""`mx.npx`: what neural networks need beyond NumPy's interface."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minidnn.device import (
    Device,
    cpu,
    cpu_pinned,
    current_context,
    current_device,
    gpu,
    gpu_memory_info,
    num_gpus,
)
from minidnn.missing import raising
from minidnn.npx import (
    control_flow,
    detection,
    files,
    functions,
    image,
    interchange,
    intgemm,
    layers,
    normalization,
    operators,
    quantized,
    random,
    recurrent,
    transformer,
    vision,
)
from minidnn.npx.control_flow import *  # noqa: F403
from minidnn.npx.detection import *  # noqa: F403
from minidnn.npx.files import *  # noqa: F403
from minidnn.npx.functions import *  # noqa: F403
from minidnn.npx.interchange import *  # noqa: F403
from minidnn.npx.intgemm import *  # noqa: F403
from minidnn.npx.layers import *  # noqa: F403
from minidnn.npx.normalization import *  # noqa: F403
from minidnn.npx.operators import *  # noqa: F403
from minidnn.npx.quantized import *  # noqa: F403
from minidnn.npx.recurrent import *  # noqa: F403
from minidnn.npx.transformer import *  # noqa: F403
from minidnn.npx.vision import *  # noqa: F403
from minidnn.random import seed
from minidnn.util import is_np_array, is_np_default_dtype, is_np_shape, reset_np, set_np, set_np_default_dtype


def waitall() -> None:
    """Returns at once: every operator has finished when its call returns."""


__all__ = [
    "Device",
    "cpu",
    "cpu_pinned",
    "current_context",
    "current_device",
    "gpu",
    "gpu_memory_info",
    "image",
    "is_np_array",
    "is_np_default_dtype",
    "is_np_shape",
    "num_gpus",
    "random",
    "reset_np",
    "seed",
    "set_np",
    "set_np_default_dtype",
    "waitall",
]

__all__ += control_flow.__all__
__all__ += detection.__all__
__all__ += files.__all__
__all__ += functions.__all__
__all__ += interchange.__all__
__all__ += intgemm.__all__
__all__ += layers.__all__
__all__ += normalization.__all__
__all__ += operators.__all__
__all__ += quantized.__all__
__all__ += recurrent.__all__
__all__ += transformer.__all__
__all__ += vision.__all__


if not TYPE_CHECKING:  # with it, mypy would take every name for one that is there
    __getattr__ = raising(__name__)
