"""All tests check graphs between passes, as ``MINIDNN_DEBUG=verify`` does."""

from __future__ import annotations

import os

os.environ.setdefault("MINIDNN_DEBUG", "verify")
