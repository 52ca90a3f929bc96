"""``python -m minidnn``."""

from __future__ import annotations

import sys

from minidnn.cli import main

sys.exit(main())
