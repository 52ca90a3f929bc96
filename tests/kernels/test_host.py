"""What this CPU has: the C library and LLVM say the same, and LLVM is asked where the C library says nothing."""

from __future__ import annotations

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
