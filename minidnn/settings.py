"""Every environment variable that minidnn reads: its name, what it means, and which values it may have.

Values are read when they are needed, so that a program may set them after the import, and checked wherever they are
read. The command line checks all of them before it begins.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

from minidnn.errors import SettingError

__all__ = [
    "CACHE_BYTES",
    "CACHE_DIR",
    "CHECK_FINITE",
    "DEBUG",
    "DEBUG_TOPICS",
    "HOME",
    "ISA",
    "LOG",
    "LOG_LEVELS",
    "MAX_TRIPS",
    "MOST_THREADS",
    "MXNET_HOME",
    "NOTICES",
    "NUM_THREADS",
    "SETTINGS",
    "TUNE",
    "WINOGRAD",
    "Setting",
    "check_settings",
    "expand_user",
    "home_folder",
    "in_environment",
    "is_homeless",
    "quoted",
    "user_folder",
]

MOST_THREADS = 1024

# What `MINIDNN_DEBUG` can show, and `all` of it.
DEBUG_TOPICS = ("graph", "passes", "verify", "plan", "asm")
# What `MINIDNN_LOG` can be: levels of the module logging.
LOG_LEVELS = ("debug", "info", "warning")

Value = TypeVar("Value")


@dataclass(frozen=True)
class Setting(Generic[Value]):
    """An environment variable.

    Args:
        name: of the variable.
        default: the value where the variable is missing or empty.
        meaning: what it does, in a line.
        values: which values it may have, as an error says it.
        parse: from the text to the value; raises ValueError for any other text.
    """

    name: str
    default: Value
    meaning: str
    values: str
    parse: Callable[[str], Value]

    @cached_property
    def _encoded_name(self) -> Any:
        """The name as `os.environ` keeps it.

        Every call of a network asks for a variable that is hardly ever there. `os.environ.get` then raises a KeyError
        and catches it, which takes ten times as long as a look into the dictionary behind it.
        """
        return os.environ.encodekey(self.name)

    def value(self) -> Value:
        """The value that the environment gives it.

        Raises:
            SettingError: a value that it cannot have; the message names the variable.
        """
        try:
            if self._encoded_name not in os.environ._data:  # type: ignore[attr-defined]
                return self.default
        except AttributeError:
            pass  # another mapping has been put in its place
        text = os.environ.get(self.name)
        if not text:
            return self.default
        try:
            return self.parse(text)
        except ValueError:
            raise SettingError(f"{self.name} must be {self.values}, got {quoted(text)}") from None


def quoted(value: object) -> str:
    """A value as an error shows it: at most some 80 characters."""
    try:
        text = repr(value)
    except ValueError:  # an integer of thousands of digits
        return f"a {type(value).__name__} too long to show"
    return text if len(text) <= 80 else f"{text[:80]}..."


def _count(text: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", text) or not 1 <= int(text) <= MOST_THREADS:
        raise ValueError(text)
    return int(text)


def _trips(text: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", text) or int(text) < 1:
        raise ValueError(text)
    return int(text)


_FLAGS = {"0": False, "false": False, "no": False, "off": False, "1": True, "true": True, "yes": True, "on": True}


def _flag(text: str) -> bool:
    flag = _FLAGS.get(text.strip().lower())
    if flag is None:
        raise ValueError(text)
    return flag


_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}


def _size(text: str) -> int:
    match = re.fullmatch("([0-9]{1,18})([KMGT]?)", text.strip().upper())
    if match is None:
        raise ValueError(text)
    return int(match[1]) << _UNITS[match[2]]


def _topics(text: str) -> frozenset[str]:
    topics = frozenset(word.strip() for word in text.split(",")) - {""}
    if not topics <= {*DEBUG_TOPICS, "all"}:
        raise ValueError(text)
    return frozenset(DEBUG_TOPICS) if "all" in topics else topics


def _level(text: str) -> str:
    level = text.strip().lower()
    if level not in LOG_LEVELS:
        raise ValueError(text)
    return level


def expand_user(path: str | os.PathLike[str]) -> Path:
    """The path with a user's home for ``~`` or ``~user``; as it is where there is no such home."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def is_homeless(path: Path) -> bool:
    """Whether the path lies in the home of a user who has none: nothing is to be made there."""
    return str(path).startswith("~")


_SWITCH = "0 or 1"
_NOT_SET: Path | None = None

NUM_THREADS: Setting[int | None] = Setting(
    "MINIDNN_NUM_THREADS",
    None,
    "threads that inference uses (default: the cores this process may use)",
    f"an integer from 1 to {MOST_THREADS}",
    _count,
)
ISA = Setting(
    "MINIDNN_ISA",
    "",
    "the instruction set that kernels are made for, below what the CPU has (default: the best it has)",
    "the name of an instruction set",
    str,
)
CACHE_DIR = Setting(
    "MINIDNN_CACHE_DIR",
    _NOT_SET,
    "the folder of compiled code (default: minidnn in the user's cache folder)",
    "a folder",
    expand_user,
)
CACHE_BYTES = Setting(
    "MINIDNN_CACHE_BYTES",
    256 << 20,
    "how large that folder may grow; what was used longest ago goes first, and 0 switches it off (default: 256M)",
    "a number of bytes, with K, M, G or T for 1024 and its powers",
    _size,
)
PLAN_BYTES = Setting(
    "MINIDNN_PLAN_BYTES",
    128 << 20,
    "how much memory the plans of networks may take, one for each combination of input sizes; those used longest ago "
    "go first (default: 128M)",
    "a number of bytes, with K, M, G or T for 1024 and its powers",
    _size,
)
HOME = Setting(
    "MINIDNN_HOME",
    _NOT_SET,
    "the folder in which `models` has weights that were put there by hand (default: ~/.minidnn)",
    "a folder",
    expand_user,
)
MXNET_HOME = Setting(
    "MXNET_HOME",
    _NOT_SET,
    "the folder in which MXNet keeps models and data sets (default: ~/.mxnet)",
    "a folder",
    expand_user,
)
DEBUG: Setting[frozenset[str]] = Setting(
    "MINIDNN_DEBUG",
    frozenset(),
    f"stages of the compiler to show on standard error: {', '.join(DEBUG_TOPICS)}, or all (default: none)",
    f"a comma-separated list of {', '.join(DEBUG_TOPICS)}, or all",
    _topics,
)
LOG: Setting[str | None] = Setting(
    "MINIDNN_LOG",
    None,
    "what the logger `minidnn` says is shown on standard error, from this level on: debug, info or warning "
    "(default: nothing is shown)",
    "debug, info or warning",
    _level,
)
NOTICES = Setting(
    "MINIDNN_NOTICES",
    True,
    "0 silences the line that says, on a terminal, that kernels are being compiled (default: 1)",
    _SWITCH,
    _flag,
)
CHECK_FINITE = Setting(
    "MINIDNN_CHECK_FINITE", False, "1 makes NaN and infinity in inputs an error (default: 0)", _SWITCH, _flag
)
WINOGRAD = Setting("MINIDNN_WINOGRAD", True, "0 switches Winograd's algorithm off (default: 1)", _SWITCH, _flag)
TUNE = Setting(
    "MINIDNN_TUNE",
    True,
    "0 has algorithms chosen by estimates alone, without measurements on this machine (default: 1)",
    _SWITCH,
    _flag,
)
MAX_TRIPS = Setting(
    "MINIDNN_MAX_TRIPS",
    1024,
    "how many iterations of a loop are written out while a network is traced (default: 1024)",
    "a number from 1 to 999999999",
    _trips,
)

SETTINGS: Sequence[Setting[Any]] = (
    NUM_THREADS,
    ISA,
    CACHE_DIR,
    CACHE_BYTES,
    PLAN_BYTES,
    HOME,
    MXNET_HOME,
    DEBUG,
    LOG,
    NOTICES,
    CHECK_FINITE,
    WINOGRAD,
    TUNE,
    MAX_TRIPS,
)


def check_settings() -> None:
    """Look at all of them.

    Raises:
        SettingError: one has a value that it cannot have. Whether this machine has the ISA is for the runtime to say.
    """
    for setting in SETTINGS:
        setting.value()


def in_environment() -> list[str]:
    """``NAME=value`` of each variable of ours that the environment has; those that mean nothing say so."""
    known = {setting.name for setting in SETTINGS}
    names = sorted(name for name in os.environ if name in known or name.startswith("MINIDNN_"))
    return [f"{name}={os.environ[name]}{'' if name in known else ' (not a setting)'}" for name in names]


def home_folder(setting: Setting[Path | None], name: str) -> Path:
    """The folder of a setting; by default the folder `name` in the user's home, below ``~`` if there is none."""
    return setting.value() or user_folder(name) or Path("~", name)


def user_folder(*below: str) -> Path | None:
    """A folder below the user's home; None where there is no home, or one that says nothing."""
    try:
        home = Path.home()
    except (RuntimeError, OSError):
        return None
    return home.joinpath(*below) if home.is_absolute() else None
