"""Relocatable object files (ELF64) as LLVM makes them of kernels: what is in one, and its image at an address.

An image is the sections that code and its constants lie in, one behind the other, and behind them a stub for each
function that the object calls but does not have. There is no data that can be written, so an image is read and executed
only. Whatever kernels do not need is unsupported, and nothing is read outside of the file: any bytes either give an
image within its bounds or raise.

Formats and formulas: the System V ABI (gABI, chapter 4) and its supplements "AMD64", table 4.9, and "ELF for the Arm
64-bit Architecture", section 5.7.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["ObjectFile", "UnsupportedObjectError", "read_object"]

# x86-64 and AArch64 by their numbers in ELF; a stub of each, in front of the address it jumps to.
_MACHINES = {"x86_64": 62, "aarch64": 183}
_STUBS = {
    "x86_64": bytes.fromhex("ff25020000006690"),  # jmp *2(%rip); nop
    "aarch64": bytes.fromhex("5000005800021fd6"),  # ldr x16, 8; br x16
}
_STUB_BYTES = 16

_HEADER = struct.Struct("<4s5B7xHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_RELOCATION = struct.Struct("<QIIq")

_PROGBITS, _SYMTAB, _STRTAB, _RELA, _NOBITS, _REL = 1, 2, 3, 4, 8, 9
_ALLOCATED, _EXECUTABLE, _MERGEABLE, _STRINGS = 0x2, 0x4, 0x10, 0x20
_UNDEFINED = 0
_GLOBAL = 1
# No type, object, function, section: neither thread-local nor resolved by a call.
_PLAIN_SYMBOLS = range(4)
# What unwinds the stack: kernels neither raise nor let anything raise through them.
_UNUSED = ".eh_frame"

# Sections begin on cache lines of their own; none of a kernel asks for more than a page.
_LINE, _PAGE = 64, 4096
_LONGEST_NAME = 4096


class UnsupportedObjectError(ValueError):
    """The object is damaged, or has what kernels do not have."""


def _require(condition: bool, reason: str) -> None:
    if not condition:
        raise UnsupportedObjectError(reason)


def _signed(value: int, bits: int) -> int:
    _require(-(1 << bits - 1) <= value < 1 << bits - 1, "a target is too far away")
    return value & (1 << bits) - 1


def _page_distance(word: int, target: int, place: int) -> int:
    pages = _signed((target & -_PAGE) - (place & -_PAGE) >> 12, 21)
    return word & ~0x60FFFFE0 | (pages & 3) << 29 | pages >> 2 << 5


def _branch(word: int, target: int, place: int) -> int:
    _require((target - place) % 4 == 0, "a branch to the middle of an instruction")
    return word & ~0x03FFFFFF | _signed(target - place >> 2, 26)


def _low_bits(scale: int) -> Callable[[int, int, int], int]:
    """The place of the target in its page, in units of 1 << scale bytes, as an instruction's 12-bit number."""

    def relocate(word: int, target: int, _: int) -> int:
        offset = target % _PAGE
        _require(offset % (1 << scale) == 0, "a misaligned constant")
        return word & ~0x003FFC00 | offset >> scale << 10

    return relocate


def _distance(_: int, target: int, place: int) -> int:
    return _signed(target - place, 32)


class _Kind(NamedTuple):
    """A type of relocation: the 32-bit word it makes of (word, target, place), and whether it may call a stub."""

    relocate: Callable[[int, int, int], int]
    calls: bool = False


_KINDS = {
    ("x86_64", 2): _Kind(_distance),  # R_X86_64_PC32
    ("x86_64", 4): _Kind(_distance, calls=True),  # R_X86_64_PLT32
    ("aarch64", 261): _Kind(_distance),  # R_AARCH64_PREL32
    ("aarch64", 275): _Kind(_page_distance),  # R_AARCH64_ADR_PREL_PG_HI21
    ("aarch64", 277): _Kind(_low_bits(0)),  # R_AARCH64_ADD_ABS_LO12_NC
    ("aarch64", 278): _Kind(_low_bits(0)),  # R_AARCH64_LDST8_ABS_LO12_NC
    ("aarch64", 284): _Kind(_low_bits(1)),  # R_AARCH64_LDST16_ABS_LO12_NC
    ("aarch64", 285): _Kind(_low_bits(2)),  # R_AARCH64_LDST32_ABS_LO12_NC
    ("aarch64", 286): _Kind(_low_bits(3)),  # R_AARCH64_LDST64_ABS_LO12_NC
    ("aarch64", 299): _Kind(_low_bits(4)),  # R_AARCH64_LDST128_ABS_LO12_NC
    ("aarch64", 282): _Kind(_branch, calls=True),  # R_AARCH64_JUMP26
    ("aarch64", 283): _Kind(_branch, calls=True),  # R_AARCH64_CALL26
}


class _Relocation(NamedTuple):
    """Where in the image a word is made from a target: a place in the image, plus `addend`."""

    place: int
    kind: _Kind
    target: int
    addend: int


@dataclass(frozen=True)
class ObjectFile:
    """An object file, laid out.

    Args:
        functions: offsets in the image of what the object defines for others, by name.
        externals: functions it calls and does not have.
        size: bytes of the image.
    """

    functions: Mapping[str, int]
    externals: tuple[str, ...]
    size: int
    _contents: tuple[tuple[int, bytes], ...]
    _relocations: tuple[_Relocation, ...]

    def image(self, base: int, externals: Mapping[str, int]) -> bytes:
        """The memory from `base`, the beginning of a page; `externals` are the addresses of those functions.

        Raises:
            UnsupportedObjectError: something lies too far from where it is used, or is not aligned.
        """
        _require(base % _PAGE == 0, "an image begins with a page")
        memory = bytearray(self.size)
        for offset, content in self._contents:
            memory[offset : offset + len(content)] = content
        first = self.size - _STUB_BYTES * len(self.externals)
        for number, name in enumerate(self.externals):
            struct.pack_into("<Q", memory, first + _STUB_BYTES * number + _STUB_BYTES // 2, externals[name])
        for place, kind, target, addend in self._relocations:
            (word,) = struct.unpack_from("<I", memory, place)
            struct.pack_into("<I", memory, place, kind.relocate(word, base + target + addend, base + place))
        return bytes(memory)


class _Section(NamedTuple):
    name: str
    type: int
    flags: int
    content: memoryview
    link: int
    info: int
    alignment: int
    entry_size: int

    @property
    def is_loaded(self) -> bool:
        return bool(self.flags & _ALLOCATED) and self.name != _UNUSED


class _Symbol(NamedTuple):
    name: str
    binding: int
    type: int
    section: int
    value: int


def read_object(content: bytes, arch: str) -> ObjectFile:
    """The object file, for that architecture.

    Raises:
        UnsupportedObjectError: it is not one of kernels for that architecture, or is damaged.
    """
    sections = _read_sections(memoryview(content), arch)
    offsets, contents, size = _place(sections)
    tables = [index for index, section in enumerate(sections) if section.type == _SYMTAB]
    _require(len(tables) == 1, f"{len(tables)} symbol tables")
    symbols = _read_symbols(sections, tables[0])
    found: list[tuple[int, _Kind, _Symbol, int]] = []
    for section in sections:
        if section.type in (_RELA, _REL) and section.info in offsets:
            _require(section.type == _RELA and section.link == tables[0], "unknown relocations")
            found += _read_relocations(section, sections[section.info], offsets[section.info], symbols, arch)
    for _, kind, symbol, _ in found:
        is_call = symbol.section == _UNDEFINED and kind.calls and symbol.name != ""
        _require(is_call or symbol.section in offsets, f"symbol {symbol.name!r} of no section")
    externals = tuple(dict.fromkeys(symbol.name for _, _, symbol, _ in found if symbol.section == _UNDEFINED))
    size = -(-size // _STUB_BYTES) * _STUB_BYTES
    stubs = {name: size + _STUB_BYTES * number for number, name in enumerate(externals)}
    contents += [(offset, _STUBS[arch]) for offset in stubs.values()]

    def target(symbol: _Symbol) -> int:
        return stubs[symbol.name] if symbol.section == _UNDEFINED else offsets[symbol.section] + symbol.value

    defined = [s for s in symbols if s.binding == _GLOBAL and s.section in offsets]
    return ObjectFile(
        {s.name: target(s) for s in defined if sections[s.section].flags & _EXECUTABLE},
        externals,
        size + _STUB_BYTES * len(externals),
        tuple(contents),
        tuple(_Relocation(place, kind, target(symbol), addend) for place, kind, symbol, addend in found),
    )


def _read_sections(content: memoryview, arch: str) -> list[_Section]:
    _require(len(content) >= _HEADER.size, "no ELF header")
    header = _HEADER.unpack_from(content)
    # The class (64 bits), the byte order (little-endian), the version, the ABI, and the ABI's version.
    _require(header[:6] == (b"\x7fELF", 2, 1, 1, 0, 0), "not a 64-bit little-endian ELF file")
    kind, machine, version, _, _, table, _, _, _, _, entry_size, count, names = header[6:]
    _require((kind, version) == (1, 1), "not a relocatable object")
    _require(machine == _MACHINES.get(arch), f"not for {arch}")
    _require(entry_size == _SECTION.size, "unknown section headers")
    headers = [_SECTION.unpack(row) for row in _rows(_part(content, table, count * entry_size), entry_size)]
    _require(names < count, "no names of sections")
    texts = bytes(_part(content, headers[names][4], headers[names][5]))
    sections = []
    for name, type_, flags, _, offset, size, link, info, alignment, rows in headers:
        # Zeros (NOBITS) would be data, and occupy nothing in the file.
        is_stored = type_ not in (0, _NOBITS)
        part = _part(content, offset, size) if is_stored else content[:0]
        section = _Section(_text(texts, name), type_, flags, part, link, info, alignment, rows)
        _require(is_stored or not section.is_loaded, f"section {section.name!r} is not in the file")
        sections.append(section)
    return sections


def _part(content: memoryview, offset: int, size: int) -> memoryview:
    _require(offset + size <= len(content), "the file is truncated")
    return content[offset : offset + size]


def _rows(table: memoryview, size: int) -> list[memoryview]:
    return [table[i : i + size] for i in range(0, len(table), size)]


def _text(texts: bytes, offset: int) -> str:
    """The name that begins there and ends with a zero."""
    end = texts.find(b"\0", offset, offset + _LONGEST_NAME)
    _require(end >= 0, "a name without end")
    name = texts[offset:end]
    _require(name.isascii(), "a name that is not ASCII")
    return name.decode()


def _place(sections: list[_Section]) -> tuple[dict[int, int], list[tuple[int, bytes]], int]:
    """Where in the image each loaded section begins, what is there, and where they end."""
    offsets, contents, end = {}, [], 0
    for index, section in enumerate(sections):
        if not section.is_loaded:
            continue
        _require(section.type == _PROGBITS, f"section {section.name!r} of type {section.type}")
        known = _ALLOCATED | _EXECUTABLE | _MERGEABLE | _STRINGS
        _require(section.flags | known == known, f"section {section.name!r} with flags {section.flags:#x}")
        align = max(section.alignment, _LINE)
        _require(align & (align - 1) == 0 and align <= _PAGE, f"section {section.name!r} aligned to {align} bytes")
        offset = -(-end // align) * align
        offsets[index] = offset
        contents.append((offset, bytes(section.content)))
        end = offset + len(section.content)
    return offsets, contents, end


def _read_symbols(sections: list[_Section], index: int) -> list[_Symbol]:
    table = sections[index]
    _require(table.entry_size == _SYMBOL.size and len(table.content) % _SYMBOL.size == 0, "unknown symbols")
    _require(table.link < len(sections) and sections[table.link].type == _STRTAB, "no names of symbols")
    texts = bytes(sections[table.link].content)
    symbols = []
    for row in _rows(table.content, _SYMBOL.size):
        name, info, _, section, value, _ = _SYMBOL.unpack(row)
        if 0 < section < len(sections):
            _require(value <= len(sections[section].content), "a symbol outside of its section")
        symbols.append(_Symbol(_text(texts, name), info >> 4, info & 15, section, value))
    return symbols


def _read_relocations(
    table: _Section, section: _Section, begin: int, symbols: list[_Symbol], arch: str
) -> list[tuple[int, _Kind, _Symbol, int]]:
    """Those of a section that begins there in the image: (place in the image, kind, symbol, addend)."""
    _require(table.entry_size == _RELOCATION.size and len(table.content) % _RELOCATION.size == 0, "unknown relocations")
    found = []
    for row in _rows(table.content, _RELOCATION.size):
        offset, type_, number, addend = _RELOCATION.unpack(row)
        kind = _KINDS.get((arch, type_))
        _require(offset + 4 <= len(section.content), "a relocation outside of its section")
        _require(0 < number < len(symbols), "a relocation without a symbol")
        symbol = symbols[number]
        if kind is None:
            raise UnsupportedObjectError(f"a relocation of type {type_}")
        _require(symbol.type in _PLAIN_SYMBOLS, f"symbol {symbol.name!r} of type {symbol.type}")
        found.append((begin + offset, kind, symbol, addend))
    return found
