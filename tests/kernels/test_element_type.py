"""The table of element types: every row against NumPy, over all remainders of a vector."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from microkernels import Machine, Watched

from minidnn_kernels.element_type import ELEMENT_TYPES, FLOAT32, element_type_of
from minidnn_kernels.epilogue import OPERAND_KINDS, OUTPUTS, tensor_kind
from minidnn_kernels.isa import ISAS, Isa, get_isa
from minidnn_kernels.simd import Simd, Value, const, new_function

_NAMES = list(ELEMENT_TYPES)


@dataclass(frozen=True)
class Converted:
    """``target[i] = source[i]`` in lanes, or as they lie in memory, stored as they were, or as float32."""

    source: str
    way: str

    @property
    def name(self) -> str:
        return f"{self.source}_by_{self.way}"

    def emit(self, isa: Isa) -> str:
        module, function, builder = new_function(self.name, ("source", "target", "count"))
        s = Simd(builder, isa)
        source, target, count = function.args
        read = ELEMENT_TYPES[self.source]
        made = FLOAT32 if self.way == "float" else read

        def body(index: Value, mask: Value | None) -> None:
            address = s.add(source, s.mul(index, const(read.bytes)))
            load = {"float": read.load, "lanes": read.load_lanes, "elements": read.read}[self.way]
            store = read.write if self.way == "elements" else made.store_lanes
            store(s, load(s, address, mask), s.add(target, s.mul(index, const(made.bytes))), mask)

        s.each_vector(count, body)
        builder.ret_void()
        return str(module)


def _numbers(name: str, count: int) -> np.ndarray:
    """The ends of the type's range, and numbers between them."""
    dtype, rng = ELEMENT_TYPES[name].dtype, np.random.default_rng(count)
    if dtype.kind == "f":
        return rng.standard_normal(count).astype(dtype)
    if name == "bf16":
        return (rng.standard_normal(count).astype(np.float32).view(np.uint32) >> 16).astype(np.uint16).view(dtype)
    if dtype.kind == "b":
        return rng.integers(0, 2, count).astype(dtype)
    info = np.iinfo(dtype)
    numbers = rng.integers(info.min, info.max, count, dtype, endpoint=True)
    numbers[: min(count, 2)] = (info.min, info.max)[:count]
    return numbers


def _as_float32(source: np.ndarray) -> np.ndarray:
    if source.dtype.names is None:
        return source.astype(np.float32)
    return (source.view(np.uint16).astype(np.uint32) << 16).view(np.float32)


@pytest.mark.parametrize("name", _NAMES)
@pytest.mark.parametrize("way", ["lanes", "float", "elements"])
def test_elements_come_back_or_as_the_nearest_float32(machine: Machine, name: str, way: str) -> None:
    for count in range(1, 2 * machine.isa.lanes + 2):
        source = _numbers(name, count)
        expected = _as_float32(source) if way == "float" else source
        target = Watched((count,), expected.dtype)
        machine.call(Converted(name, way), source, target.array, count)
        target.assert_untouched_around()
        np.testing.assert_array_equal(target.array, expected)


@pytest.mark.parametrize("name", _NAMES)
def test_a_row_says_what_numpy_says(name: str) -> None:
    row = ELEMENT_TYPES[name]
    assert element_type_of(row.dtype) is row
    assert element_type_of(row.dtype.newbyteorder(">")) is row
    assert row.bytes == np.zeros(1, row.dtype).nbytes
    assert row.is_integer == np.issubdtype(row.dtype, np.integer)
    if row.is_integer:
        for limit in row.limits:
            assert int(np.array(limit).astype(row.dtype)) == limit
        with np.errstate(over="ignore"):
            assert np.add(row.dtype.type(row.limits[1]), row.dtype.type(1)) == row.limits[0]


def test_a_type_that_no_kernel_has_is_none() -> None:
    assert element_type_of(np.dtype(np.complex64)) is None
    assert element_type_of(np.dtype(np.longdouble)) is None


@pytest.mark.parametrize("isa", [isa.name for isa in ISAS])
def test_an_isa_names_a_dot_for_every_type_that_is_multiplied(isa: str) -> None:
    assert {name for name, row in ELEMENT_TYPES.items() if row.dots} == {"f32", "u8", "s8", "s16", "bf16"}
    for row in ELEMENT_TYPES.values():
        if not row.dots:
            with pytest.raises(ValueError, match=row.name):
                row.dot(get_isa(isa))
            continue
        dot = row.dot(get_isa(isa))
        assert dot in row.dots.values()
        # A step takes whole elements.
        assert dot.step_bytes == dot.group * row.bytes
    with pytest.raises(ValueError, match="'vnni' of f32"):
        FLOAT32.dot(get_isa(isa), "vnni")


def test_operand_kinds_and_outputs_have_their_types() -> None:
    for type in OUTPUTS.values():
        kind = OPERAND_KINDS[tensor_kind(type)]
        assert (kind.form, kind.type) == ("tensor", type)
    assert all(OPERAND_KINDS[name].type is FLOAT32 for name in ("tensor", "channel", "scalar"))
