from pathlib import Path

import pytest

from kernels.cases import INSTRUCTION_SETS, instruction_set, needs_kernels
from mast.kernels import available, library, unavailable_reason


def test_turned_off_there_are_none_and_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAST_KERNELS", "off")
    assert not available()
    assert unavailable_reason() == "MAST_KERNELS is off"


def test_without_a_compiler_there_are_none_and_a_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    library.load.cache_clear()
    assert unavailable_reason() == "there is no C++ compiler (g++ or clang++)"
    monkeypatch.undo()
    library.load.cache_clear()


def test_a_compiler_that_fails_is_quoted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    compiler = tmp_path / "broken-compiler"
    compiler.write_text("#!/bin/sh\necho 'no such instruction' >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    library.load.cache_clear()
    reason = unavailable_reason()
    assert reason is not None
    assert "no such instruction" in reason
    monkeypatch.undo()
    library.load.cache_clear()


@needs_kernels
@pytest.mark.parametrize("name", INSTRUCTION_SETS)
def test_an_instruction_set_can_be_forced(name: str) -> None:
    with instruction_set(name):
        assert library.active().instruction_set.name == name


@needs_kernels
def test_an_unknown_instruction_set_is_refused_with_those_there_are() -> None:
    with instruction_set("mmx"):
        assert INSTRUCTION_SETS[-1] in (unavailable_reason() or "")
