"""All tests check graphs between passes, as ``MINIDNN_DEBUG=verify`` does."""

from __future__ import annotations

import os
import signal

from hypothesis import settings

# How long a case takes depends on what else the machine does.
settings.register_profile("minidnn", deadline=None)
settings.load_profile("minidnn")

os.environ.setdefault("MINIDNN_DEBUG", "verify")

# A shell's background jobs ignore Ctrl-C, and so would the processes that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
