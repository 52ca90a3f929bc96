"""What this CPU has: the C library and LLVM say the same, and LLVM is asked where the C library says nothing."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from minidnn_kernels import host
from minidnn_kernels.host import host_arch, host_features, missing_features
from minidnn_kernels.isa import ISAS

_REQUIRED = sorted({name for isa in ISAS if isa.arch == host_arch() for name in isa.requires})


def test_the_c_library_says_of_each_feature_what_llvm_says() -> None:
    told = host._told_by_c_library()
    assert {name: told[name] for name in told} == {name: name in host_features() for name in told}


@pytest.mark.skipif(not host._told_by_c_library(), reason="the C library does not tell")
def test_the_c_library_knows_what_the_isa_table_asks_for() -> None:
    assert host._told_by_c_library().keys() >= set(_REQUIRED)


@pytest.mark.parametrize("feature", _REQUIRED)
def test_llvm_is_asked_where_the_c_library_does_not_know(feature: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = missing_features([feature])
    monkeypatch.setattr(host, "_told_by_c_library", dict)
    assert missing_features([feature]) == expected == ([] if feature in host_features() else [feature])


def test_what_is_missing_is_named() -> None:
    assert missing_features([]) == []
    assert missing_features(["of no CPU", "of none either"]) == ["of no CPU", "of none either"]


def test_a_c_library_that_does_not_tell_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for trouble in (OSError, TypeError, AttributeError):

        def refuse(*_: object, trouble: type[Exception] = trouble) -> None:
            raise trouble

        monkeypatch.setattr("ctypes.CDLL", refuse)
        assert host._told_by_c_library.__wrapped__() == {}


@pytest.mark.parametrize("avx2", [False, True])
def test_a_feature_that_the_c_library_is_too_old_to_know(avx2: bool) -> None:
    """It says that the CPU has it, and not that it can be used, which then is as with AVX2."""
    words = {number: [0] * 8 for number in (host._LEAF_1, host._LEAF_7, host._LEAF_7_1)}
    words[host._LEAF_7_1][3] = 1 << 4
    words[host._LEAF_7][1] = 1 << 5
    words[host._LEAF_7][host._ACTIVE + 1] = avx2 << 5

    def leaf(number: int) -> SimpleNamespace:
        return SimpleNamespace(contents=words[number])

    told = host._of_x86(SimpleNamespace(__x86_get_cpuid_feature_leaf=leaf))
    assert {name for name, there in told.items() if there} == ({"avx2", "avxvnniint8"} if avx2 else set())


@pytest.mark.parametrize(("word", "bit", "name"), [(16, 20, "dotprod"), (26, 13, "i8mm")])
def test_linux_says_what_an_aarch64_cpu_has(word: int, bit: int, name: str) -> None:
    def getauxval(asked: int) -> int:
        return 1 << bit if asked == word else 0

    told = host._of_arm(SimpleNamespace(getauxval=getauxval))
    assert [name for name, there in told.items() if there] == [name]
