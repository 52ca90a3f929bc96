"""A reader of the pickle language that builds plain data and runs nothing.

Python's own unpickler looks up any global a file names and calls it. This one knows two dozen opcodes and
an exact table of constructors given by its user. What a file can do to it is bounded: every opcode is
one step and the steps are counted, every length is checked against what is left of the file, memo numbers
are keys of a dict (no table grows to a number the file chose), and nothing here walks, hashes, compares or
prints a structure that came from the file, so that shared and cyclic containers are harmless.

Opcodes: protocols 2 to 5, see PEP 307, PEP 3154 and the comments of the standard library's ``pickletools``.
"""

from __future__ import annotations

import pickle  # for the names of the opcodes only
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from minidnn.errors import DataError

__all__ = ["Constructor", "check_key", "read_pickle", "shorten"]

# A state dict takes about 35 opcodes a tensor; an opcode makes at most some 100 bytes of Python objects.
MAX_OPCODES = 5_000_000
_KEY_TYPES = (str, bytes, int, float, type(None))
_INT64 = 1 << 63
_MAX_LINE = 1000  # bytes; the name of a module or of a class


@dataclass(frozen=True)
class Constructor:
    """What a file may call: `build` gets the tuple of arguments and checks it."""

    name: str
    build: Callable[[tuple[Any, ...]], Any]


def read_pickle(
    file: BinaryIO,
    size: int,
    table: Mapping[tuple[str, str], Any] | None = None,
    persistent_load: Callable[[Any], Any] | None = None,
) -> Any:
    """The object of the pickle that starts at the file's position; the position is left just behind it.

    Args:
        file: a binary file that can be seeked.
        size: the file's size in bytes.
        table: what stands for a global ``(module, name)``; every other one is refused. Only a
            `Constructor` can be called.
        persistent_load: what stands for a persistent id.

    Raises:
        DataError: the pickle is truncated, damaged, too long or wants what is not admitted.
    """
    machine = _Machine(file, size, table or {}, persistent_load)
    try:
        return machine.run()
    except (IndexError, KeyError, UnicodeDecodeError, struct.error) as error:
        raise DataError(f"damaged pickle: {type(error).__name__} at byte {file.tell()}") from None


def shorten(text: str, limit: int = 80) -> str:
    """A string of the file, fit for an error message."""
    return ascii(text if len(text) <= limit else text[:limit] + "...")[1:-1]


class _Machine:
    def __init__(
        self,
        file: BinaryIO,
        size: int,
        table: Mapping[tuple[str, str], Any],
        persistent_load: Callable[[Any], Any] | None,
    ) -> None:
        self.file = file
        self.remaining = size - file.tell()
        self.table = table
        self.persistent_load = persistent_load
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        for _ in range(MAX_OPCODES):
            code = self.take(1)
            if code == pickle.STOP:
                return self.stack.pop()
            action = _ACTIONS.get(code)
            if action is None:
                raise DataError(f"opcode 0x{code.hex()} at byte {self.file.tell() - 1} of the pickle is not admitted")
            action(self)
        raise DataError(f"the pickle has more than {MAX_OPCODES} opcodes")

    # Reading

    def take(self, count: int) -> bytes:
        if count > self.remaining:
            raise DataError(f"truncated pickle: {count} bytes wanted, {max(self.remaining, 0)} left")
        self.remaining -= count
        data = self.file.read(count)
        if len(data) != count:
            raise DataError(f"truncated pickle: {count} bytes wanted, {len(data)} read")
        return data

    def unsigned(self, width: int) -> int:
        return int.from_bytes(self.take(width), "little")

    def line(self) -> str:
        line = self.file.readline(min(self.remaining, _MAX_LINE))
        self.remaining -= len(line)
        if not line.endswith(b"\n"):
            raise DataError("truncated pickle: the name of a global has no end")
        return line[:-1].decode()

    def frame(self) -> None:
        if self.unsigned(8) > self.remaining:
            raise DataError("truncated pickle: a frame is longer than the file")

    # The stack

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def push_mark(self) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def pop_mark(self) -> list[Any]:
        items = self.stack
        self.stack = self.marks.pop()
        return items

    def pop_last(self, count: int) -> list[Any]:
        if count > len(self.stack):
            raise DataError("damaged pickle: it takes more from the stack than is there")
        items = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return items

    def top(self, kind: type) -> Any:
        """The container on top, which must be exactly of that kind."""
        value = self.stack[-1]
        if type(value) is not kind:
            raise DataError(f"damaged pickle: items for a {kind.__name__} meet a {type(value).__name__}")
        return value

    # Containers

    def append_items(self, items: list[Any]) -> None:
        self.top(list).extend(items)

    def set_items(self, items: list[Any]) -> None:
        target = self.top(dict)
        if len(items) % 2:
            raise DataError("damaged pickle: a key of a dict has no value")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[check_key(key)] = value

    def add_items(self, items: list[Any]) -> None:
        self.top(set).update(map(check_key, items))

    # Globals and calls

    def find(self, module: Any, name: Any) -> None:
        if type(module) is not str or type(name) is not str:
            raise DataError("damaged pickle: the name of a global is not a string")
        if (module, name) not in self.table:
            raise DataError(
                f"refused global {shorten(module)}.{shorten(name)}: only tensors, plain containers and numbers are "
                "read; of a whole module save its state_dict()"
            )
        self.push(self.table[module, name])

    def reduce(self) -> None:
        function, arguments = self.pop_last(2)
        if type(function) is not Constructor:
            raise DataError(f"refused call of a {type(function).__name__}")
        if type(arguments) is not tuple:
            raise DataError(f"{function.name}: the arguments are a {type(arguments).__name__}, not a tuple")
        self.push(function.build(arguments))

    def build(self) -> None:
        """Attributes for the object on top. Only an OrderedDict has some (``_metadata``); they are dropped."""
        self.stack.pop()
        self.top(dict)

    def load_persistent(self) -> None:
        if self.persistent_load is None:
            raise DataError("a persistent id where none is expected")
        self.push(self.persistent_load(self.stack.pop()))


def check_key(key: Any) -> Any:
    """The key of a dict or the element of a set, if hashing it is cheap whatever the file says.

    A tuple's hash walks the tuple: 60 nested pairs of one shared object would take for ever. Integers beyond
    64 bits can be chosen to collide.
    """
    if not isinstance(key, _KEY_TYPES) or (isinstance(key, int) and not -_INT64 <= key < _INT64):
        raise DataError(f"a {type(key).__name__} as key of a dict or a set is not admitted")
    return key


def _integer(data: bytes) -> int:
    return int.from_bytes(data, "little", signed=True)


_Action = Callable[[_Machine], Any]

_ACTIONS: dict[bytes, _Action] = {
    pickle.PROTO: lambda m: m.take(1),
    pickle.FRAME: _Machine.frame,
    # the stack
    pickle.MARK: _Machine.push_mark,
    pickle.POP: lambda m: m.stack.pop() if m.stack else m.pop_mark(),
    pickle.POP_MARK: _Machine.pop_mark,
    # scalars
    pickle.NONE: lambda m: m.push(None),
    pickle.NEWTRUE: lambda m: m.push(True),
    pickle.NEWFALSE: lambda m: m.push(False),
    pickle.BININT: lambda m: m.push(_integer(m.take(4))),
    pickle.BININT1: lambda m: m.push(m.unsigned(1)),
    pickle.BININT2: lambda m: m.push(m.unsigned(2)),
    pickle.LONG1: lambda m: m.push(_integer(m.take(m.unsigned(1)))),
    pickle.BINFLOAT: lambda m: m.push(struct.unpack(">d", m.take(8))[0]),
    pickle.SHORT_BINUNICODE: lambda m: m.push(m.take(m.unsigned(1)).decode("utf-8", "surrogatepass")),
    pickle.BINUNICODE: lambda m: m.push(m.take(m.unsigned(4)).decode("utf-8", "surrogatepass")),
    pickle.BINUNICODE8: lambda m: m.push(m.take(m.unsigned(8)).decode("utf-8", "surrogatepass")),
    pickle.SHORT_BINSTRING: lambda m: m.push(m.take(m.unsigned(1)).decode()),  # Python 2's str
    pickle.BINSTRING: lambda m: m.push(m.take(m.unsigned(4)).decode()),
    pickle.SHORT_BINBYTES: lambda m: m.push(m.take(m.unsigned(1))),
    pickle.BINBYTES: lambda m: m.push(m.take(m.unsigned(4))),
    pickle.BINBYTES8: lambda m: m.push(m.take(m.unsigned(8))),
    # containers
    pickle.EMPTY_TUPLE: lambda m: m.push(()),
    pickle.TUPLE: lambda m: m.push(tuple(m.pop_mark())),
    pickle.TUPLE1: lambda m: m.push(tuple(m.pop_last(1))),
    pickle.TUPLE2: lambda m: m.push(tuple(m.pop_last(2))),
    pickle.TUPLE3: lambda m: m.push(tuple(m.pop_last(3))),
    pickle.EMPTY_LIST: lambda m: m.push([]),
    pickle.APPEND: lambda m: m.append_items(m.pop_last(1)),
    pickle.APPENDS: lambda m: m.append_items(m.pop_mark()),
    pickle.EMPTY_DICT: lambda m: m.push({}),
    pickle.SETITEM: lambda m: m.set_items(m.pop_last(2)),
    pickle.SETITEMS: lambda m: m.set_items(m.pop_mark()),
    pickle.EMPTY_SET: lambda m: m.push(set()),
    pickle.ADDITEMS: lambda m: m.add_items(m.pop_mark()),
    pickle.FROZENSET: lambda m: m.push(frozenset(map(check_key, m.pop_mark()))),
    # the memo
    pickle.BINPUT: lambda m: m.memo.__setitem__(m.unsigned(1), m.stack[-1]),
    pickle.LONG_BINPUT: lambda m: m.memo.__setitem__(m.unsigned(4), m.stack[-1]),
    pickle.MEMOIZE: lambda m: m.memo.__setitem__(len(m.memo), m.stack[-1]),
    pickle.BINGET: lambda m: m.push(m.memo[m.unsigned(1)]),
    pickle.LONG_BINGET: lambda m: m.push(m.memo[m.unsigned(4)]),
    # globals and calls
    pickle.GLOBAL: lambda m: m.find(m.line(), m.line()),
    pickle.STACK_GLOBAL: lambda m: m.find(*m.pop_last(2)),
    pickle.REDUCE: _Machine.reduce,
    pickle.BUILD: _Machine.build,
    pickle.BINPERSID: _Machine.load_persistent,
}
