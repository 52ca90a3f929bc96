"""The ISA table: one row is everything the generators need to know about a family of CPUs.

Adding a machine is adding a row. Nothing else in the package asks what CPU it runs on.
"""

from __future__ import annotations

from dataclasses import dataclass

from minidnn_kernels.host import host_arch, missing_features

__all__ = ["ISAS", "Isa", "best_isa", "get_isa", "host_supports"]


@dataclass(frozen=True)
class Isa:
    """One row.

    Args:
        name: how users name it (``MINIDNN_ISA=avx2``).
        arch: ``x86_64`` or ``aarch64``.
        triple: LLVM's target triple for emitting code on any host.
        cpu: the CPU LLVM generates code for.
        features: LLVM features switched on or off beside the CPU's own.
        requires: features (LLVM's names) a host must have.
        lanes: float32 elements in a vector register.
        registers: vector registers.
        max_rows: most rows of the matmul tile, for the widest tile at that row count (see `tile_fits`).
        fma: whether a fused multiply-add is one instruction.
        masked: whether masked loads and stores are instructions.
        dot: how four int8 products are summed into an int32, one of `ElementType.dots`.
        half: whether float16 is converted by instructions.
        bfloat16: how products of bfloat16 are summed into float32, one of `ElementType.dots`; empty: elements are
            widened and multiplied as float32.
        tall: rows of tiles that matrix registers hold, beside those up to `max_rows`.
        on_request: whether the row is only used where it is named: its code was never run on such a CPU.
    """

    name: str
    arch: str
    triple: str
    cpu: str
    features: str
    requires: tuple[str, ...]
    lanes: int
    registers: int
    max_rows: int
    fma: bool
    masked: bool
    dot: str
    half: bool = True
    bfloat16: str = ""
    tall: tuple[int, ...] = ()
    on_request: bool = False

    @property
    def heights(self) -> tuple[int, ...]:
        """Rows that a matmul tile may have, if it fits."""
        return *range(1, self.max_rows + 1), *self.tall

    @property
    def has_vnni(self) -> bool:
        """Whether products of bytes and of int16 are summed by VNNI's instructions on vectors."""
        return any(feature.endswith("vnni") for feature in self.requires)

    def tile_fits(self, rows: int, vectors: int) -> bool:
        """Whether a rows x vectors tile stays in registers: accumulators, one row of B, one broadcast.

        Without fused multiply-add, a product needs a register before it is added.
        """
        return rows * vectors + vectors + (1 if self.fma else 2) <= self.registers


_X86 = "x86_64-unknown-linux-gnu"
_ARM = "aarch64-unknown-linux-gnu"

_AVX2 = ("avx2", "fma", "bmi2")
_AVX512 = ("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd")
# LLVM would otherwise split 512-bit vectors in two on these generic CPUs.
_WIDE = "-prefer-256-bit"

# From the least to the most capable, architecture by architecture.
#     name, arch, triple, cpu, features, requires, lanes, registers, max_rows, fma, masked, dot, half, bfloat16, tall,
#     on_request
ISAS: tuple[Isa, ...] = (
    Isa("sse", "x86_64", _X86, "x86-64", "", ("sse2",), 4, 16, 6, False, False, "maddwd", False),
    Isa("avx2", "x86_64", _X86, "x86-64-v3", "", _AVX2, 8, 16, 6, True, True, "split"),
    Isa("avxvnni", "x86_64", _X86, "x86-64-v3", "+avxvnni", (*_AVX2, "avxvnni"), 8, 16, 6, True, True, "vnni"),
    Isa(
        "avxvnniint8",
        "x86_64",
        _X86,
        "x86-64-v3",
        "+avxvnni,+avxvnniint8",
        (*_AVX2, "avxvnni", "avxvnniint8"),
        8,
        16,
        6,
        True,
        True,
        "vnniint8",
    ),
    Isa("avx512", "x86_64", _X86, "x86-64-v4", _WIDE, _AVX512, 16, 32, 14, True, True, "split"),
    Isa(
        "avx512vnni",
        "x86_64",
        _X86,
        "x86-64-v4",
        f"+avx512vnni,{_WIDE}",
        (*_AVX512, "avx512vnni"),
        16,
        32,
        14,
        True,
        True,
        "vnni",
    ),
    Isa(
        "avx512bf16",
        "x86_64",
        _X86,
        "x86-64-v4",
        f"+avx512vnni,+avx512bf16,{_WIDE}",
        (*_AVX512, "avx512vnni", "avx512bf16"),
        16,
        32,
        14,
        True,
        True,
        "vnni",
        bfloat16="dpbf16",
    ),
    Isa(
        "amx",
        "x86_64",
        _X86,
        "x86-64-v4",
        f"+avx512vnni,+avx512bf16,+amx-tile,+amx-int8,+amx-bf16,{_WIDE}",
        (*_AVX512, "avx512vnni", "avx512bf16", "amx-tile", "amx-int8", "amx-bf16"),
        16,
        32,
        14,
        True,
        True,
        "amx",
        bfloat16="amx",
        tall=(16, 32),
        on_request=True,
    ),
    Isa("neon", "aarch64", _ARM, "generic", "+neon", (), 4, 32, 12, True, False, "widen"),
    Isa("neondot", "aarch64", _ARM, "generic", "+neon,+dotprod", ("dotprod",), 4, 32, 12, True, False, "sdot"),
    Isa(
        "i8mm",
        "aarch64",
        _ARM,
        "generic",
        "+neon,+dotprod,+i8mm",
        ("dotprod", "i8mm"),
        4,
        32,
        12,
        True,
        False,
        "mmla",
    ),
    Isa(
        "neonbf16",
        "aarch64",
        _ARM,
        "generic",
        "+neon,+dotprod,+i8mm,+bf16",
        ("dotprod", "i8mm", "bf16"),
        4,
        32,
        12,
        True,
        False,
        "mmla",
        bfloat16="bfmmla",
    ),
)


def host_supports(isa: Isa) -> bool:
    """Whether its code can run here. The system is asked to let this process use matrix registers that it may need."""
    return isa.arch == host_arch() and not missing_features(isa.requires)


def get_isa(name: str) -> Isa:
    """The row of that name.

    Raises:
        ValueError: there is none; the message lists those there are.
    """
    for isa in ISAS:
        if isa.name == name:
            return isa
    raise ValueError(f"unknown ISA {name!r}; known: {', '.join(isa.name for isa in ISAS)}")


def best_isa() -> Isa:
    """The most capable row this machine supports, of those that are used unasked.

    Raises:
        RuntimeError: there is none.
    """
    for isa in reversed(ISAS):
        if not isa.on_request and host_supports(isa):
            return isa
    least = next(
        (f" without {', '.join(missing_features(isa.requires))}" for isa in ISAS if isa.arch == host_arch()), ""
    )
    raise RuntimeError(f"no kernels for this machine: {host_arch()}{least}")
