"""The fixtures of the kernels' tests, with rows of the ISA table that only an emulated CPU has."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from guest import INSTALL, Guest, missing

# The kernels and programs are those that are tried natively.
sys.path += [str(Path(__file__).parents[1] / folder) for folder in ("kernels", "lowering")]

from guest_machine import GuestMachine
from microkernels import Integers
from tile_problem import INTEGER_ISAS, kinds

from minidnn_kernels.isa import ISAS, get_isa

_GUEST_ISAS = [isa for isa in ISAS if isa.arch == "aarch64"]


@pytest.fixture(scope="session")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    absent = missing()
    if absent:
        reason = f"{', '.join(absent)} missing, for tests on an emulated CPU: {INSTALL}"
        if os.environ.get("MINIDNN_REQUIRE_QEMU") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    process = Guest(tmp_path_factory.mktemp("qemu"))
    yield process
    process.close()


@pytest.fixture(scope="session", params=["neon"])
def machine(request: pytest.FixtureRequest, guest: Guest) -> GuestMachine:
    return GuestMachine(get_isa(request.param), guest)


@pytest.fixture(scope="session", params=[isa.name for isa in _GUEST_ISAS])
def any_machine(request: pytest.FixtureRequest, guest: Guest) -> GuestMachine:
    return GuestMachine(get_isa(request.param), guest)


@pytest.fixture(
    scope="session",
    params=[(isa.name, *kind) for isa in INTEGER_ISAS if isa.arch == "aarch64" for kind in kinds(isa)],
    ids=lambda param: "-".join(filter(None, param)),
)
def integers(request: pytest.FixtureRequest, guest: Guest) -> Integers:
    name, data, dot = request.param
    return Integers(GuestMachine(get_isa(name), guest), data, dot)
