"""How jobs lie in memory: numbers that the driver and those who fill its tables share."""

from __future__ import annotations

__all__ = ["ALIGNMENT", "JOB_WORDS", "LINE_BYTES", "PAUSED_BYTE", "ROW_ARGUMENTS", "SHARES_BYTE", "SLOT_WORDS"]

# Twice a cache line: neighbouring lines are fetched in pairs.
LINE_BYTES = 128
SLOT_WORDS = 2 * LINE_BYTES // 8
JOB_WORDS = 2 * LINE_BYTES // 8
# Where a job says that it is not done yet.
PAUSED_BYTE = 56
# Where it says among how many threads its steps are dealt.
SHARES_BYTE = 64
# Where a kernel's arguments begin in a table row.
ROW_ARGUMENTS = 2
# Of buffers in an arena, in bytes: a cache line, which is also the widest vector.
ALIGNMENT = 64
