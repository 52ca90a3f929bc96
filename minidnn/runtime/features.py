"""What this installation can do, by the names of MXNet's features, as ``mx.runtime.Features``."""

from __future__ import annotations

from importlib.util import find_spec
from typing import NamedTuple

from minidnn.process_safe import uninterrupted
from minidnn_kernels.host import host_features

__all__ = ["Feature", "Features", "feature_list"]

_NEVER = [
    "CUDA",
    "CUDNN",
    "NCCL",
    "TENSORRT",
    "CUTENSOR",
    "OPENMP",
    "SSE",
    "JEMALLOC",
    "BLAS_OPEN",
    "BLAS_ATLAS",
    "BLAS_MKL",
    "BLAS_APPLE",
    "DIST_KVSTORE",
    "SIGNAL_HANDLER",
    "DEBUG",
    "TVM_OP",
]
# MXNet's names of what a CPU has, and LLVM's.
_OF_CPU = {
    "CPU_SSE": "sse",
    "CPU_SSE2": "sse2",
    "CPU_SSE3": "sse3",
    "CPU_SSE4_1": "sse4.1",
    "CPU_SSE4_2": "sse4.2",
    "CPU_SSE4A": "sse4a",
    "CPU_AVX": "avx",
    "CPU_AVX2": "avx2",
    "F16C": "f16c",
}


class Feature(NamedTuple):
    """A feature, and whether it is there."""

    name: str
    enabled: bool

    def __repr__(self) -> str:
        return f"{'✔' if self.enabled else '✖'} {self.name}"


def feature_list() -> list[Feature]:
    """All features that MXNet 2 knows.

    ``ONEDNN`` is there: fusion and int8 on the CPU, which scripts ask for by that name, are minidnn's own.
    """
    cpu = uninterrupted(host_features)
    found = {name: llvm in cpu for name, llvm in _OF_CPU.items()} | dict.fromkeys(_NEVER, False)
    found |= {"LAPACK": True, "ONEDNN": True, "INT64_TENSOR_SIZE": True, "OPENCV": find_spec("cv2") is not None}
    return [Feature(name, enabled) for name, enabled in found.items()]


class Features(dict[str, Feature]):
    """The features by name."""

    def __init__(self) -> None:
        super().__init__((feature.name, feature) for feature in feature_list())

    def is_enabled(self, feature_name: str) -> bool:
        """Whether a feature is there.

        Raises:
            RuntimeError: no feature has that name.
        """
        name = feature_name.upper()
        if name not in self:
            raise RuntimeError(f"feature {feature_name!r} is unknown; known features are {sorted(self)}")
        return self[name].enabled

    def __repr__(self) -> str:
        return str(list(self.values()))
