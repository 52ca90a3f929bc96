"""Kernel tests run once for each ISA that this machine has."""

from __future__ import annotations

import pytest
from microkernels import FLOAT_ISAS, Machine

from minidnn_kernels.isa import get_isa, host_supports


@pytest.fixture(scope="session", params=[isa.name for isa in FLOAT_ISAS if host_supports(isa)])
def machine(request: pytest.FixtureRequest) -> Machine:
    return Machine(get_isa(request.param))
