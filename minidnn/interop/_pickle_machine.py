"""A reader of the pickle language that builds plain data and runs nothing.

Python's own unpickler looks up any global a file names and calls it. This one knows an exact table of constructors
given by its user; every other global, and every object made by one, is a placeholder that says what the file says.
What a file can do to it is bounded: every opcode is one step and the steps are counted, every length is checked
against what is left of the file, memo numbers are keys of a dict (no table grows to a number the file chose), and
nothing here walks, hashes, compares or prints a structure that came from the file, so that shared and cyclic
containers are harmless.

Opcodes: protocols 0 to 5, see PEP 307, PEP 3154, PEP 574 and the comments of the standard library's ``pickletools``.
Not admitted are the registry of extensions (a number for a global), buffers outside the pickle, and persistent ids as
text, which are for what is not in the file.
"""

from __future__ import annotations

import pickle  # for the names of the opcodes only
import re
import struct
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

from minidnn.errors import DataError
from minidnn.interop._pickle_objects import RECONSTRUCTORS, Constructor, Global, Placeholder, check_key

__all__ = ["read_pickle"]

# A state dict takes about 35 opcodes a tensor; an opcode makes at most some 300 bytes of Python objects.
MAX_OPCODES = 5_000_000
_MAX_NAME = 1000  # bytes; the name of a module or of a class
_MAX_NUMBER = 5000  # bytes, of one written in decimal
_ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|[0-7]{1,3}|.)", re.DOTALL)
_ESCAPED = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"a": b"\a", b"b": b"\b", b"f": b"\f", b"v": b"\v"}


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
        table: what stands for a global ``(module, name)``; for every other one a `Global` does. Only a `Constructor`
            is called; calls of a `Global` give a `Placeholder`.
        persistent_load: what stands for a persistent id.

    Raises:
        DataError: the pickle is truncated, damaged, too long or has opcodes that are not admitted.
    """
    machine = _Machine(file, size, {**RECONSTRUCTORS, **(table or {})}, persistent_load)
    try:
        return machine.run()
    except (IndexError, KeyError, UnicodeDecodeError, struct.error) as error:
        raise DataError(f"damaged pickle: {type(error).__name__} at byte {file.tell()}") from None


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

    def line(self, what: str, limit: int | None = _MAX_NAME) -> bytes:
        line = self.file.readline(min(self.remaining, limit or self.remaining))
        self.remaining -= len(line)
        if not line.endswith(b"\n"):
            raise DataError(f"damaged pickle: {what} has no end")
        return line[:-1]

    def name(self) -> str:
        return self.line("the name of a global").decode()

    def number(self, kind: Callable[[bytes], Any]) -> Any:
        line = self.line("a number", _MAX_NUMBER)
        try:
            return kind(line)
        except ValueError:
            raise DataError(f"damaged pickle: {line[:40]!r} is not a number") from None

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
        target = self.stack[-1]
        (target.items if type(target) is Placeholder else self.top(list)).extend(items)

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        target = target.mapping if type(target) is Placeholder else self.top(dict)
        if len(items) % 2:
            raise DataError("damaged pickle: a key of a dict has no value")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[check_key(key)] = value

    def push_dict(self, items: list[Any]) -> None:
        self.push({})
        self.set_items(items)

    def add_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is Placeholder:
            target.items.extend(items)
        else:
            self.top(set).update(map(check_key, items))

    # Globals and calls

    def find(self, module: Any, name: Any) -> Any:
        if type(module) is not str or type(name) is not str:
            raise DataError("damaged pickle: the name of a global is not a string")
        known = self.table.get((module, name))
        return Global(module, name) if known is None else known

    def call(self, function: Any, arguments: Any) -> None:
        """What a call would give: plain data of a constructor, or a placeholder."""
        origin = function.origin if type(function) is Placeholder else function
        if type(origin) not in (Constructor, Global):
            raise DataError(f"refused call of a {type(function).__name__}")
        if type(arguments) is not tuple:
            raise DataError(f"{origin.name}: the arguments are a {type(arguments).__name__}, not a tuple")
        self.push(origin.build(arguments) if type(origin) is Constructor else Placeholder(origin, arguments))

    def call_with_keywords(self, function: Any, arguments: Any, keywords: Any) -> None:
        if type(arguments) is not tuple or type(keywords) is not dict:
            raise DataError("damaged pickle: the arguments of a call are not a tuple and a dict")
        self.call(function, (*arguments, keywords) if keywords else arguments)

    def call_from_mark(self) -> None:
        function, *arguments = self.pop_mark() or [None]
        self.call(function, tuple(arguments))

    def build(self) -> None:
        """Attributes for the object on top: a placeholder keeps them, those of an OrderedDict are dropped."""
        state, target = self.stack.pop(), self.stack[-1]
        if type(target) is Placeholder:
            target.state = state
        else:
            self.top(dict)

    def load_persistent(self) -> None:
        if self.persistent_load is None:
            raise DataError("a persistent id where none is expected")
        self.push(self.persistent_load(self.stack.pop()))


def _integer(data: bytes) -> int:
    return int.from_bytes(data, "little", signed=True)


def _long_line(line: bytes) -> int:
    return int(line.removesuffix(b"L"))


def _int_line(line: bytes) -> int | bool:
    return {b"00": False, b"01": True}.get(line, int(line))


def _python2_text(data: bytes) -> str | bytes:
    """A ``str`` of Python 2, which is text or bytes."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def _quoted(line: bytes) -> str | bytes:
    if len(line) < 2 or line[:1] not in (b"'", b'"') or line[-1:] != line[:1]:
        raise DataError("damaged pickle: a string without its quotes")

    def unescape(match: re.Match[bytes]) -> bytes:
        code = match[1]
        if code[:1] == b"x" and len(code) == 3:
            return bytes([int(code[1:], 16)])
        return bytes([int(code, 8) & 255]) if code[:1].isdigit() else _ESCAPED.get(code, code)

    return _python2_text(_ESCAPE.sub(unescape, line[1:-1]))


_Action = Callable[[_Machine], Any]

_ACTIONS: dict[bytes, _Action] = {
    pickle.PROTO: lambda m: m.take(1),
    pickle.FRAME: _Machine.frame,
    # the stack
    pickle.MARK: _Machine.push_mark,
    pickle.POP: lambda m: m.stack.pop() if m.stack else m.pop_mark(),
    pickle.POP_MARK: _Machine.pop_mark,
    pickle.DUP: lambda m: m.push(m.stack[-1]),
    # scalars
    pickle.NONE: lambda m: m.push(None),
    pickle.NEWTRUE: lambda m: m.push(True),
    pickle.NEWFALSE: lambda m: m.push(False),
    pickle.BININT: lambda m: m.push(_integer(m.take(4))),
    pickle.BININT1: lambda m: m.push(m.unsigned(1)),
    pickle.BININT2: lambda m: m.push(m.unsigned(2)),
    pickle.INT: lambda m: m.push(m.number(_int_line)),
    pickle.LONG: lambda m: m.push(m.number(_long_line)),
    pickle.LONG1: lambda m: m.push(_integer(m.take(m.unsigned(1)))),
    pickle.LONG4: lambda m: m.push(_integer(m.take(m.unsigned(4)))),
    pickle.FLOAT: lambda m: m.push(m.number(float)),
    pickle.BINFLOAT: lambda m: m.push(struct.unpack(">d", m.take(8))[0]),
    pickle.SHORT_BINUNICODE: lambda m: m.push(m.take(m.unsigned(1)).decode("utf-8", "surrogatepass")),
    pickle.BINUNICODE: lambda m: m.push(m.take(m.unsigned(4)).decode("utf-8", "surrogatepass")),
    pickle.BINUNICODE8: lambda m: m.push(m.take(m.unsigned(8)).decode("utf-8", "surrogatepass")),
    pickle.UNICODE: lambda m: m.push(m.line("a text", None).decode("raw-unicode-escape")),
    pickle.STRING: lambda m: m.push(_quoted(m.line("a text", None))),
    pickle.SHORT_BINSTRING: lambda m: m.push(_python2_text(m.take(m.unsigned(1)))),
    pickle.BINSTRING: lambda m: m.push(_python2_text(m.take(m.unsigned(4)))),
    pickle.SHORT_BINBYTES: lambda m: m.push(m.take(m.unsigned(1))),
    pickle.BINBYTES: lambda m: m.push(m.take(m.unsigned(4))),
    pickle.BINBYTES8: lambda m: m.push(m.take(m.unsigned(8))),
    pickle.BYTEARRAY8: lambda m: m.push(bytearray(m.take(m.unsigned(8)))),
    # containers
    pickle.EMPTY_TUPLE: lambda m: m.push(()),
    pickle.TUPLE: lambda m: m.push(tuple(m.pop_mark())),
    pickle.TUPLE1: lambda m: m.push(tuple(m.pop_last(1))),
    pickle.TUPLE2: lambda m: m.push(tuple(m.pop_last(2))),
    pickle.TUPLE3: lambda m: m.push(tuple(m.pop_last(3))),
    pickle.LIST: lambda m: m.push(m.pop_mark()),
    pickle.EMPTY_LIST: lambda m: m.push([]),
    pickle.APPEND: lambda m: m.append_items(m.pop_last(1)),
    pickle.APPENDS: lambda m: m.append_items(m.pop_mark()),
    pickle.DICT: lambda m: m.push_dict(m.pop_mark()),
    pickle.EMPTY_DICT: lambda m: m.push({}),
    pickle.SETITEM: lambda m: m.set_items(m.pop_last(2)),
    pickle.SETITEMS: lambda m: m.set_items(m.pop_mark()),
    pickle.EMPTY_SET: lambda m: m.push(set()),
    pickle.ADDITEMS: lambda m: m.add_items(m.pop_mark()),
    pickle.FROZENSET: lambda m: m.push(frozenset(map(check_key, m.pop_mark()))),
    # the memo
    pickle.PUT: lambda m: m.memo.__setitem__(m.number(int), m.stack[-1]),
    pickle.GET: lambda m: m.push(m.memo[m.number(int)]),
    pickle.BINPUT: lambda m: m.memo.__setitem__(m.unsigned(1), m.stack[-1]),
    pickle.LONG_BINPUT: lambda m: m.memo.__setitem__(m.unsigned(4), m.stack[-1]),
    pickle.MEMOIZE: lambda m: m.memo.__setitem__(len(m.memo), m.stack[-1]),
    pickle.BINGET: lambda m: m.push(m.memo[m.unsigned(1)]),
    pickle.LONG_BINGET: lambda m: m.push(m.memo[m.unsigned(4)]),
    # globals and calls
    pickle.GLOBAL: lambda m: m.push(m.find(m.name(), m.name())),
    pickle.STACK_GLOBAL: lambda m: m.push(m.find(*m.pop_last(2))),
    pickle.REDUCE: lambda m: m.call(*m.pop_last(2)),
    pickle.NEWOBJ: lambda m: m.call(*m.pop_last(2)),
    pickle.NEWOBJ_EX: lambda m: m.call_with_keywords(*m.pop_last(3)),
    pickle.INST: lambda m: m.call(m.find(m.name(), m.name()), tuple(m.pop_mark())),
    pickle.OBJ: _Machine.call_from_mark,
    pickle.BUILD: _Machine.build,
    pickle.BINPERSID: _Machine.load_persistent,
}
