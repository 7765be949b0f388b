import tempfile
from collections.abc import Callable
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


def truncate(library: Path) -> None:
    """As a full disk or a power cut leaves it: loaded like this, it ends the process with SIGBUS."""
    library.write_bytes(library.read_bytes()[:5000])


DAMAGES: dict[str, Callable[[Path], object]] = {
    "truncated": truncate,
    "empty": lambda library: library.write_bytes(b""),
    "one byte": lambda library: library.write_bytes(library.read_bytes()[:-1] + b"x"),
    "checksum empty": lambda library: library.with_suffix(".sha256").write_bytes(b""),
    "checksum gone": lambda library: library.with_suffix(".sha256").unlink(),
    "checksum no text": lambda library: library.with_suffix(".sha256").write_bytes(b"\xff" * 64),
}


@pytest.fixture
def small_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], Path]:
    """Compiles the smallest source into a cache folder of its own, or takes it from there."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return lambda: library._compiled("probe.cc", library.BASELINE)


@needs_kernels
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_library_is_compiled_again_and_that_is_said(
    small_cache: Callable[[], Path], damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = small_cache()
    whole = path.stat().st_size
    assert capsys.readouterr().err == ""
    DAMAGES[damage](path)
    assert small_cache() == path
    assert capsys.readouterr().err == f"mast: {path} is damaged; compiling it again …\n"
    assert path.stat().st_size == whole
    library._opened(path)
    assert sorted(each.name for each in path.parent.iterdir()) == [
        path.with_suffix(".sha256").name,
        path.name,
    ]


@needs_kernels
def test_a_whole_library_is_not_compiled_again(
    small_cache: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = small_cache()
    monkeypatch.setattr(tempfile, "TemporaryDirectory", None)
    assert small_cache() == path


@needs_kernels
def test_a_folder_in_place_of_a_library_is_a_reason(small_cache: Callable[[], Path]) -> None:
    path = small_cache()
    path.unlink()
    path.mkdir()
    with pytest.raises(library.Unavailable, match="cannot be read: Is a directory"):
        small_cache()


@needs_kernels
def test_a_library_that_cannot_be_loaded_is_a_reason(tmp_path: Path) -> None:
    text = tmp_path / "text.so"
    text.write_text("no library")
    with pytest.raises(library.Unavailable, match="cannot be loaded"):
        library._opened(text)
