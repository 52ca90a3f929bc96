"""Kernel tests run once for each ISA that this machine has."""

from __future__ import annotations

import pytest
from matrix_registers import MATRIX_ISAS, WithMatrices
from microkernels import FLOAT_ISAS, Integers, Machine
from tile_problem import INTEGER_ISAS, kinds

from minidnn_kernels.isa import ISAS, get_isa, host_supports

_HOST_ISAS = [isa for isa in ISAS if host_supports(isa)]


@pytest.fixture(scope="session", params=[isa.name for isa in FLOAT_ISAS if host_supports(isa)])
def machine(request: pytest.FixtureRequest) -> Machine:
    return Machine(get_isa(request.param))


@pytest.fixture(scope="session", params=[isa.name for isa in _HOST_ISAS])
def any_machine(request: pytest.FixtureRequest) -> Machine:
    """Rows that only differ in how they multiply integers, too."""
    return Machine(get_isa(request.param))


# AMX's bytes, wherever the tests run.
_MATRICES = [(isa.name, *kind) for isa in MATRIX_ISAS[-1:] for kind in kinds(isa) if kind[0] == "s8"]


@pytest.fixture(
    scope="session",
    params=[(isa.name, *kind) for isa in INTEGER_ISAS if host_supports(isa) for kind in kinds(isa)] + _MATRICES,
    ids=lambda param: "-".join(filter(None, param)),
)
def integers(request: pytest.FixtureRequest) -> Integers:
    name, data, dot = request.param
    emulated = next((isa for isa in MATRIX_ISAS if isa.name == name), None)
    return Integers(Machine(get_isa(name)) if emulated is None else WithMatrices(emulated), data, dot)
