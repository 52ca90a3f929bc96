"""A machine with AVX-512 VNNI, emulated."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from bochs_machine import INSTALL, BochsMachine, missing

# The problems that tiles solve here are those they solve natively.
sys.path.append(str(Path(__file__).parents[1] / "kernels"))


@pytest.fixture(scope="session")
def bochs(tmp_path_factory: pytest.TempPathFactory) -> BochsMachine:
    absent = missing()
    if absent:
        reason = f"{', '.join(absent)} missing, for tests on an emulated CPU: {INSTALL}"
        if os.environ.get("MINIDNN_REQUIRE_BOCHS") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return BochsMachine(tmp_path_factory.mktemp("bochs"))
