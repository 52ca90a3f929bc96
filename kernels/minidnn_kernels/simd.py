"""A small vocabulary over llvmlite's IR builder: float32 vectors, addresses as integers.

Kernels are written in these words; nothing below names an instruction set. Addresses are 64-bit
integers in bytes, as in the argument tables the kernels are called with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from llvmlite import ir

from minidnn_kernels.isa import Isa

__all__ = [
    "BF16",
    "F32",
    "F64",
    "HALF",
    "I1",
    "I8",
    "I16",
    "I32",
    "I64",
    "LANE_BYTES",
    "VOID",
    "Loop",
    "Simd",
    "Value",
    "const",
    "new_function",
]

I1 = ir.IntType(1)
I8 = ir.IntType(8)
I16 = ir.IntType(16)
I32 = ir.IntType(32)
I64 = ir.IntType(64)
HALF = ir.HalfType()


class _Bfloat(ir.Type):  # type: ignore[misc]
    """LLVM's ``bfloat``, which llvmlite has no type for: what instructions take, never an element in memory."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Bfloat)

    def __hash__(self) -> int:
        return hash(_Bfloat)


BF16 = _Bfloat()
F32 = ir.FloatType()
F64 = ir.DoubleType()
VOID = ir.VoidType()

# Of a float32 or an int32 in a register.
LANE_BYTES = 4

Value = Any  # llvmlite has no types of its own


def const(value: int) -> Value:
    """An address-sized integer constant."""
    return ir.Constant(I64, value)


def _signed_word(word: int) -> int:
    """64 bits as the int64 that they are."""
    return word - (1 << 64) if word >> 63 else word


def _bytes_of(element: Any) -> int:
    """Bytes of LLVM's ``float``, ``double`` or ``iN`` in memory."""
    return int(element.intrinsic_name[1:]) // 8


def new_function(name: str, arguments: Sequence[str]) -> tuple[ir.Module, Any, ir.IRBuilder]:
    """A module with one function ``void name(i64 ...)``, and a builder at its entry."""
    module = ir.Module(name=name)
    function = ir.Function(module, ir.FunctionType(VOID, [I64] * len(arguments)), name)
    for value, argument in zip(function.args, arguments, strict=True):
        value.name = argument
    return module, function, ir.IRBuilder(function.append_basic_block("entry"))


# How float32 is rounded half to even into int32: the intrinsic by architecture and lanes, and its further operands.
_ROUND_TO_INT: dict[tuple[str, int], tuple[str, tuple[tuple[Any, Any], ...]]] = {
    ("x86_64", 4): ("llvm.x86.sse2.cvtps2dq", ()),
    ("x86_64", 8): ("llvm.x86.avx.cvt.ps2dq.256", ()),
    ("x86_64", 16): (
        "llvm.x86.avx512.mask.cvtps2dq.512",
        # All lanes, in the rounding mode that is set: to nearest, unless somebody changed it.
        ((ir.VectorType(I32, 16), [0] * 16), (ir.IntType(16), -1), (I32, 4)),
    ),
    ("aarch64", 4): ("llvm.aarch64.neon.fcvtns.v4i32.v4f32", ()),
}


class Simd:
    """The vocabulary, bound to a builder and an ISA.

    Attributes:
        fuses: whether `fma` rounds once.
    """

    def __init__(self, builder: ir.IRBuilder, isa: Isa) -> None:
        self.builder = builder
        self.isa = isa
        self.fuses = isa.fma
        self.lanes = isa.lanes
        self.vector_bytes = LANE_BYTES * self.lanes
        self.vector = ir.VectorType(F32, self.lanes)
        self.int_vector = ir.VectorType(I32, self.lanes)
        self.byte_vector = ir.VectorType(I8, self.vector_bytes)
        self.short_vector = ir.VectorType(I16, 2 * self.lanes)
        self._opaque: dict[str, Value] = {}
        self.mask_type = ir.VectorType(I1, self.lanes)

    # --- integers and addresses -------------------------------------------------------------

    def add(self, *terms: Value) -> Value:
        total = terms[0]
        for term in terms[1:]:
            total = self.builder.add(total, term)
        return total

    def mul(self, a: Value, b: Value) -> Value:
        return self.builder.mul(a, b)

    def smaller(self, a: Value, b: Value) -> Value:
        """The smaller of two signed integers."""
        return self.builder.select(self.builder.icmp_signed("<", a, b), a, b)

    def smaller_or_zero(self, a: Value, limit: Value) -> Value:
        """`a` if it is not larger than the limit, else 0."""
        return self.builder.select(self.builder.icmp_signed("<=", a, limit), a, const(0))

    def pointer(self, address: Value, pointee: Any) -> Value:
        return self.builder.inttoptr(address, pointee.as_pointer())

    def prefetch(self, address: Value) -> None:
        """Bring a cache line nearer that is going to be read; the address need not be one that may be read."""
        kind = ir.IntType(8).as_pointer()
        intrinsic = self.intrinsic("llvm.prefetch.p0", VOID, [kind, I32, I32, I32])
        read, far, data = (ir.Constant(I32, value) for value in (0, 2, 1))
        self.builder.call(intrinsic, [self.builder.inttoptr(address, kind), read, far, data])

    def load_i64(self, address: Value) -> Value:
        return self.builder.load(self.pointer(address, I64), align=8)

    def load_argument(self, row: Value, offset: int) -> Value:
        """The word of an argument row that begins at that offset, in bytes; nobody writes to it meanwhile."""
        word = self.load_i64(self.add(row, const(offset)) if offset else row)
        word.set_metadata("invariant.load", self.builder.module.add_metadata([]))
        return word

    def load_i32(self, address: Value) -> Value:
        """An int32 from memory, widened."""
        return self.builder.sext(self.builder.load(self.pointer(address, I32), align=LANE_BYTES), I64)

    # --- float32 vectors --------------------------------------------------------------------

    def splat(self, value: float | Value) -> Value:
        """A vector with every lane the same, from a Python number or a scalar."""
        if isinstance(value, (int, float)):
            return ir.Constant(self.vector, [float(value)] * self.lanes)
        undefined = ir.Constant(self.vector_of(value.type), ir.Undefined)
        first = self.builder.insert_element(undefined, value, ir.Constant(I32, 0))
        zeros = ir.Constant(self.int_vector, [0] * self.lanes)
        return self.builder.shuffle_vector(first, undefined, zeros)

    def vector_of(self, element: Any) -> Any:
        """LLVM's type of a vector of that element; of a vector, that itself."""
        return element if isinstance(element, ir.VectorType) else ir.VectorType(element, self.lanes)

    def zero(self, like: Value) -> Value:
        """Zeros of the type of another vector."""
        return ir.Constant(like.type, None)

    def load_splat(self, address: Value, constant: bool = False, element: Any = F32) -> Value:
        """One float32 from memory, or another element, in every lane.

        A `constant` one nobody writes to while the kernel runs, so that it need not be kept over stores.
        """
        number = self.builder.load(self.pointer(address, element), align=_bytes_of(element))
        if constant:
            number.set_metadata("invariant.load", self.builder.module.add_metadata([]))
        return self.splat(number)

    def load(self, address: Value, mask: Value | None = None) -> Value:
        """A vector from memory; lanes off in `mask` are not read and come as zero."""
        return self.load_elements(address, F32, mask)

    def store(self, value: Value, address: Value, mask: Value | None = None) -> None:
        """A vector to memory; lanes off in `mask` are not written."""
        self.store_elements(value, address, mask)

    # --- vectors of other elements ----------------------------------------------------------

    def load_elements(self, address: Value, element: Any, mask: Value | None = None, vectors: int = 1) -> Value:
        """As many elements of that type as `vectors` float32 vectors have lanes; with a mask there is one."""
        type_ = ir.VectorType(element, vectors * self.lanes)
        pointer, align = self.pointer(address, type_), _bytes_of(element)
        if mask is None:
            return self.builder.load(pointer, align=align)
        name = f"llvm.masked.load.v{self.lanes}{element.intrinsic_name}.p0"
        intrinsic = self.intrinsic(name, type_, [type_.as_pointer(), I32, self.mask_type, type_])
        return self.builder.call(intrinsic, [pointer, ir.Constant(I32, align), mask, ir.Constant(type_, None)])

    def store_elements(self, value: Value, address: Value, mask: Value | None = None) -> None:
        """A vector of any elements to memory; lanes off in `mask` are not written."""
        type_, element = value.type, value.type.element
        pointer, align = self.pointer(address, type_), _bytes_of(element)
        if mask is None:
            self.builder.store(value, pointer, align=align)
            return
        name = f"llvm.masked.store.v{self.lanes}{element.intrinsic_name}.p0"
        intrinsic = self.intrinsic(name, VOID, [type_, type_.as_pointer(), I32, self.mask_type])
        self.builder.call(intrinsic, [value, pointer, ir.Constant(I32, align), mask])

    def narrow_int(self, value: Value, element: Any) -> Value:
        """The low bits of int32 lanes, as many as the element has."""
        return self.builder.trunc(value, ir.VectorType(element, self.lanes))

    def to_int(self, a: Value) -> Value:
        """Float32 lanes to int32, rounded half to even; the low byte of a NaN is 0. The caller has clamped."""
        name, more = _ROUND_TO_INT[self.isa.arch, self.lanes]
        operands = [a, *(ir.Constant(type_, value) for type_, value in more)]
        intrinsic = self.intrinsic(name, self.int_vector, [operand.type for operand in operands])
        return self.builder.call(intrinsic, operands)

    def pack_bytes(self, low: Value, high: Value) -> Value:
        """Two vectors of eight int32 each as 16 bytes in an int32 vector of four; below 0 as 0, above 255 as 255."""
        # The instructions pack the halves of vectors by themselves; the four parts are put in order at the end.
        words = self._pack("packssdw", low, high, self.short_vector)
        packed = self.builder.bitcast(self._pack("packuswb", words, words, self.byte_vector), self.int_vector)
        order = ir.Constant(ir.VectorType(I32, 4), [0, 4, 1, 5])
        return self.builder.shuffle_vector(packed, packed, order)

    def store_halves(self, value: Value, *addresses: Value) -> None:
        """The two halves of 16 bytes to two addresses, or the lower one to one."""
        words = self.builder.bitcast(value, ir.VectorType(I64, 2))
        for i, address in enumerate(addresses):
            half = self.builder.extract_element(words, ir.Constant(I32, i))
            self.builder.store(half, self.pointer(address, I64), align=1)

    def _pack(self, instruction: str, low: Value, high: Value, result: Any) -> Value:
        intrinsic = self.intrinsic(f"llvm.x86.avx2.{instruction}", result, [low.type, high.type])
        return self.builder.call(intrinsic, [low, high])

    def first_lanes(self, count: Value) -> Value:
        """A mask with the first `count` lanes on (all of them from `lanes` up, none below 1)."""
        narrow = self.builder.trunc(self.smaller(count, const(self.lanes)), I32)
        indices = ir.Constant(self.int_vector, list(range(self.lanes)))
        return self.builder.icmp_signed("<", indices, self.splat_i32(narrow))

    def splat_i32(self, value: Value) -> Value:
        """An int32 in every lane."""
        undefined = ir.Constant(self.int_vector, ir.Undefined)
        first = self.builder.insert_element(undefined, value, ir.Constant(I32, 0))
        return self.builder.shuffle_vector(first, undefined, ir.Constant(self.int_vector, [0] * self.lanes))

    def load_splat_i32(self, address: Value) -> Value:
        """Four bytes from memory, of any kind, in every lane."""
        return self.splat_i32(self.builder.load(self.pointer(address, I32), align=1))

    def load_words(self, address: Value) -> Value:
        """A vector of int32, or of whatever else has its size, from memory."""
        return self.builder.load(self.pointer(address, self.int_vector), align=1)

    def flip_signs(self, a: Value) -> Value:
        """The sign bit of every byte flipped: an int8 plus 128 as uint8, a uint8 minus 128 as int8."""
        return self.builder.xor(a, self.splat_int(0x80808080))

    def constant_like(self, vector: Value, value: int) -> Value:
        """An integer in every lane of a vector of that one's type."""
        return ir.Constant(vector.type, [value] * vector.type.count)

    def splat_int(self, value: int) -> Value:
        """A constant int32 in every lane."""
        return ir.Constant(self.int_vector, [value] * self.lanes)

    def opaque(self, value: Value) -> Value:
        """An address, or a vector of x86, of which LLVM knows nothing: it leaves the instructions around it alone."""
        constraints = "=r,0" if value.type == I64 else "=x,0"
        return self.builder.asm(ir.FunctionType(value.type, [value.type]), "", constraints, [value], side_effect=False)

    def opaque_constant(self, constant: Value) -> Value:
        """The same of a constant, once in the function."""
        key = str(constant)
        if key not in self._opaque:
            with self.builder.goto_entry_block():
                self._opaque[key] = self.opaque(constant)
        return self._opaque[key]

    @contextmanager
    def rounding_twice(self, wanted: bool = True) -> Iterator[None]:
        """Within it `fma` is two instructions on every ISA, if that is wanted: the same bits on all of them."""
        before = self.fuses
        self.fuses = before and not wanted
        try:
            yield
        finally:
            self.fuses = before

    def fma(self, a: Value, b: Value, c: Value) -> Value:
        """a * b + c; fused where that is one instruction and `fuses`, two roundings elsewhere."""
        if not self.fuses:
            return self.builder.fadd(self.builder.fmul(a, b), c)
        return self._call("fma", a, b, c)

    def unary(self, intrinsic: str, a: Value) -> Value:
        """An LLVM intrinsic of one vector: ``fabs``, ``sqrt``, ``floor``, ``ceil``, ``trunc``, ``rint``."""
        return self._call(intrinsic, a)

    def binary(self, intrinsic: str, a: Value, b: Value) -> Value:
        """An LLVM intrinsic of two vectors: ``maximum``, ``minimum`` (NaN wins), ``copysign``."""
        return self._call(intrinsic, a, b)

    def _call(self, intrinsic: str, *vectors: Value) -> Value:
        """An LLVM intrinsic of vectors of one type, which it gives too."""
        type_ = vectors[0].type
        name = f"llvm.{intrinsic}.v{type_.count}{type_.element.intrinsic_name}"
        return self.builder.call(self.intrinsic(name, type_, [type_] * len(vectors)), list(vectors))

    def at_least(self, a: Value, bound: Value) -> Value:
        """max(a, bound), one instruction; a NaN in `a` stays."""
        return self.builder.select(self.builder.fcmp_ordered(">", bound, a), bound, a)

    def at_most(self, a: Value, bound: Value) -> Value:
        """min(a, bound), one instruction; a NaN in `a` stays."""
        return self.builder.select(self.builder.fcmp_ordered("<", bound, a), bound, a)

    def where(self, comparison: str, a: Value, b: Value, then: Value, otherwise: Value) -> Value:
        """Lanewise ``then if a comparison b else otherwise``; false where a or b is NaN."""
        return self.builder.select(self.builder.fcmp_ordered(comparison, a, b), then, otherwise)

    def any(self, mask: Value) -> Value:
        """Whether a lane of the mask is on, as one bit."""
        bits = ir.IntType(self.lanes)
        return self.builder.icmp_unsigned("!=", self.builder.bitcast(mask, bits), bits(0))

    def as_int(self, a: Value) -> Value:
        return self.builder.bitcast(a, self.int_vector)

    def as_float(self, a: Value) -> Value:
        return self.builder.bitcast(a, self.vector)

    def half_to_float(self, bits: Value) -> Value:
        """Float16, as int16 bits, to float32."""
        b = self.builder
        if self.isa.half:
            return b.fpext(b.bitcast(bits, self.vector_of(HALF)), self.vector)
        # By a product with a power of two, which makes normal numbers of subnormal ones.
        wide = b.zext(bits, self.int_vector)
        shifted = b.shl(b.and_(wide, self.splat_int(0x7FFF)), self.splat_int(13))
        number = self.as_int(b.fmul(self.as_float(shifted), self.splat(2.0**112)))
        special = b.icmp_unsigned(">=", shifted, self.splat_int(0x0F800000))
        number = b.or_(number, b.select(special, self.splat_int(0x7F800000), self.splat_int(0)))
        sign = b.shl(b.and_(wide, self.splat_int(0x8000)), self.splat_int(16))
        return self.as_float(b.or_(number, sign))

    def float_to_half(self, a: Value) -> Value:
        """Float32 to float16, as int16 bits, rounded half to even."""
        b, short = self.builder, self.vector_of(I16)
        if self.isa.half:
            return b.bitcast(b.fptrunc(a, self.vector_of(HALF)), short)
        # A sum with a power of two that the exponent says rounds at the last bit of float16: M. Dukhan's FP16 library.
        doubled = b.shl(self.as_int(a), self.splat_int(1))
        sign = b.and_(self.as_int(a), self.splat_int(0x80000000))
        base = b.fmul(b.fmul(self.unary("fabs", a), self.splat(2.0**112)), self.splat(2.0**-110))
        exponent = b.and_(doubled, self.splat_int(0xFF000000))
        least = self.splat_int(0x71000000)
        exponent = b.select(b.icmp_unsigned("<", exponent, least), least, exponent)
        bias = self.as_float(b.add(b.lshr(exponent, self.splat_int(1)), self.splat_int(0x07800000)))
        bits = self.as_int(b.fadd(bias, base))
        high = b.and_(b.lshr(bits, self.splat_int(13)), self.splat_int(0x7C00))
        number = b.add(high, b.and_(bits, self.splat_int(0xFFF)))
        is_nan = b.icmp_unsigned(">", doubled, self.splat_int(0xFF000000))
        number = b.select(is_nan, self.splat_int(0x7E00), number)
        return b.trunc(b.or_(b.lshr(sign, self.splat_int(16)), number), short)

    def bfloat16_to_float(self, bits: Value) -> Value:
        """Bfloat16, as int16 bits, to float32: they are its upper half."""
        wide = self.builder.zext(bits, self.int_vector)
        return self.as_float(self.builder.shl(wide, self.splat_int(16)))

    def float_to_bfloat16(self, a: Value) -> Value:
        """Float32 to bfloat16, as int16 bits, rounded half to even; a NaN stays one."""
        b, bits = self.builder, self.as_int(a)
        odd = b.and_(b.lshr(bits, self.splat_int(16)), self.splat_int(1))
        rounded = b.lshr(b.add(b.add(bits, self.splat_int(0x7FFF)), odd), self.splat_int(16))
        quiet = b.or_(b.lshr(bits, self.splat_int(16)), self.splat_int(0x40))
        return b.trunc(b.select(b.fcmp_unordered("uno", a, a), quiet, rounded), self.vector_of(I16))

    def gather(self, table: Sequence[int], name: str, indices: Value) -> Value:
        """Elements of a table of int64 constants, by lanes of int64 that lie within it."""
        module, type_ = self.builder.module, ir.ArrayType(I64, len(table))
        known = module.globals.get(name)
        if known is None:
            known = ir.GlobalVariable(module, type_, name)
            known.linkage, known.global_constant = "internal", True
            known.initializer = ir.Constant(type_, [_signed_word(word) for word in table])
        result = ir.Constant(indices.type, ir.Undefined)
        for lane in range(self.lanes):
            at = ir.Constant(I32, lane)
            place = self.builder.gep(known, [const(0), self.builder.extract_element(indices, at)])
            result = self.builder.insert_element(result, self.builder.load(place, align=8), at)
        return result

    def reduce(self, a: Value, combine: Callable[[Value, Value], Value]) -> Value:
        """All lanes combined into lane 0 by halving, in a fixed order; the result is a scalar."""
        width = self.lanes
        while width > 1:
            width //= 2
            order = [(i + width) % self.lanes if i < width else i for i in range(self.lanes)]
            shuffled = self.builder.shuffle_vector(a, a, ir.Constant(self.int_vector, order))
            a = combine(a, shuffled)
        return self.builder.extract_element(a, ir.Constant(I32, 0))

    # --- control ----------------------------------------------------------------------------

    @contextmanager
    def loop(self, start: Value, stop: Value, step: int, carried: Sequence[Value]) -> Iterator[Loop]:
        """``for index in range(start, stop, step)`` with values carried round; may run no times.

        Inside the block, read ``loop.index`` and ``loop.values`` and give the next values to
        ``loop.next``; after it, ``loop.results`` holds the values of the last round.
        """
        builder = self.builder
        before = builder.block
        head = builder.append_basic_block("head")
        body = builder.append_basic_block("body")
        after = builder.append_basic_block("after")
        builder.branch(head)
        builder.position_at_end(head)
        index = builder.phi(I64)
        index.add_incoming(start, before)
        phis = [builder.phi(value.type) for value in carried]
        for phi, value in zip(phis, carried, strict=True):
            phi.add_incoming(value, before)
        builder.cbranch(builder.icmp_signed("<", index, stop), body, after)
        builder.position_at_end(body)
        loop = Loop(index, phis)
        yield loop
        index.add_incoming(builder.add(index, const(step)), builder.block)
        for phi, value in zip(phis, loop.next, strict=True):
            phi.add_incoming(value, builder.block)
        builder.branch(head)
        builder.position_at_end(after)

    def repeat_while(
        self,
        condition: Callable[[list[Value]], Value],
        step: Callable[[list[Value]], list[Value]],
        values: Sequence[Value],
    ) -> list[Value]:
        """``values = step(values)`` as long as a lane of ``condition(values)`` is on."""
        builder = self.builder
        before = builder.block
        head, body, after = (builder.append_basic_block(name) for name in ("head", "body", "after"))
        builder.branch(head)
        builder.position_at_end(head)
        phis = [builder.phi(value.type) for value in values]
        for phi, value in zip(phis, values, strict=True):
            phi.add_incoming(value, before)
        builder.cbranch(self.any(condition(phis)), body, after)
        builder.position_at_end(body)
        for phi, value in zip(phis, step(phis), strict=True):
            phi.add_incoming(value, builder.block)
        builder.branch(head)
        builder.position_at_end(after)
        return phis

    def each_vector(
        self, count: Value, body: Callable[[Value, Value | None], None], first: Value | None = None
    ) -> None:
        """``body(index, mask)`` for every vector of `count` elements; only the last may be partial and masked.

        It begins with the element `first`, a multiple of a vector's, or with the very first.
        """
        whole = self.builder.and_(count, const(-self.lanes))
        with self.loop(const(0) if first is None else first, whole, self.lanes, []) as loop:
            body(loop.index, None)
        with self.builder.if_then(self.builder.icmp_signed("<", whole, count)):
            body(whole, self.first_lanes(self.builder.sub(count, whole)))

    def intrinsic(self, name: str, result: Any, arguments: Sequence[Any]) -> Any:
        """LLVM's intrinsic of that name, declared in the module."""
        module = self.builder.module
        existing = module.globals.get(name)
        if existing is not None:
            return existing
        return ir.Function(module, ir.FunctionType(result, list(arguments)), name)


class Loop:
    """What a `Simd.loop` block reads and writes."""

    def __init__(self, index: Value, values: list[Value]) -> None:
        self.index = index
        self.values = values
        self.next: list[Value] = values

    @property
    def results(self) -> list[Value]:
        return self.values
