"""Tiles with weights in bfloat16 for AArch64, executed: widened, and by ``bfmmla`` and ``bfdot``."""

from __future__ import annotations

import pytest
from bfloat16_problem import solve_some
from guest import Guest
from guest_machine import GuestMachine
from test_bfloat16_tile import test_float32_is_rounded_half_to_even, test_weights_are_widened_as_they_are_read

from minidnn_kernels.isa import ISAS, get_isa

__all__ = ["test_float32_is_rounded_half_to_even", "test_weights_are_widened_as_they_are_read"]


@pytest.mark.parametrize("isa", [isa.name for isa in ISAS if isa.arch == "aarch64" and isa.bfloat16])
@pytest.mark.parametrize("dot", ["", "bfdot"])
def test_data_in_bfloat16_is_multiplied_by_the_instruction(guest: Guest, isa: str, dot: str) -> None:
    solve_some(GuestMachine(get_isa(isa), guest), "bf16", dot)
