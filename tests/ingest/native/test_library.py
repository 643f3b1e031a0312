"""The compiled library is used only if it was built from the present sources, and a failed build is not silent."""

import ctypes
import subprocess
import sys

import pytest

from ingest.native import build, library
from ingest.native.build import BuildError, find_compiler, is_expected, source_hash
from lurker.errors import LurkerError

needs_compiler = pytest.mark.skipif(find_compiler() is None, reason="there is no C compiler")


@pytest.fixture
def load(monkeypatch):
    """Load the library at a path, outside CI; afterwards the real one is loaded again."""
    monkeypatch.delenv("CI", raising=False)

    def load_from(path):
        library._load.cache_clear()
        monkeypatch.setattr(library, "LIBRARY", path)
        return library.compiled()

    yield load_from
    library._load.cache_clear()


def test_the_library_is_built_wherever_it_should_be():
    """Never skipped: in CI, and wherever there is a compiler, a missing or outdated library is a failure."""
    assert library.compiled() is not None or not is_expected()


def test_ci_expects_a_library_even_without_a_compiler(monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler")
    monkeypatch.delenv("CI", raising=False)
    assert not is_expected()
    monkeypatch.setenv("CI", "true")
    assert is_expected()


@needs_compiler
def test_a_missing_library_is_reported_once(load, tmp_path, capsys):
    assert load(tmp_path / "libjson_lines.so") is None
    assert library.compiled() is None
    assert capsys.readouterr().err.count("python -m ingest.native.build") == 1


def test_without_a_compiler_the_message_says_so(load, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler")
    assert load(tmp_path / "libjson_lines.so") is None
    assert "no C compiler was found" in capsys.readouterr().err


@needs_compiler
def test_a_missing_library_is_an_error_in_ci(load, tmp_path, monkeypatch):
    monkeypatch.setenv("CI", "true")
    with pytest.raises(LurkerError, match="missing"):
        load(tmp_path / "libjson_lines.so")


@needs_compiler
def test_a_library_of_other_sources_is_not_used(load, tmp_path, capsys, monkeypatch):
    stale = tmp_path / "stale.so"
    with monkeypatch.context() as older:
        older.setattr(build, "source_hash", lambda: "0123456789abcdef")
        build.build(stale, ("-O0",))
    assert ctypes.CDLL(str(stale)).lurker_read_lines, "its symbols are those of the present one"
    assert load(stale) is None
    assert "other C sources" in capsys.readouterr().err
    monkeypatch.setenv("CI", "true")
    library._load.cache_clear()
    with pytest.raises(LurkerError, match="other C sources"):
        library.compiled()


@needs_compiler
def test_a_library_without_a_hash_is_not_used(load, tmp_path):
    source, old = tmp_path / "old.c", tmp_path / "old.so"
    source.write_text("long lurker_read_lines(void) { return 0; }\n")
    subprocess.run([*find_compiler(), "-shared", "-fPIC", "-o", old, source], check=True)
    assert load(old) is None


@pytest.mark.parametrize("name", ["comments.c", "json_lines.h"])
def test_the_hash_depends_on_every_source(tmp_path, monkeypatch, name):
    for path in build.FOLDER.glob("*.[ch]"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    before = source_hash()
    monkeypatch.setattr(build, "FOLDER", tmp_path)
    assert source_hash() == before
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes() + b"\n")
    assert source_hash() != before


@needs_compiler
def test_a_failed_build_shows_what_the_compiler_said_and_keeps_the_old_library(tmp_path, monkeypatch):
    target = tmp_path / "library.so"
    target.write_bytes(b"the old one")
    with pytest.raises(BuildError, match="no-such-flag"):
        build.build(target, ("-fno-such-flag",))
    assert [path.name for path in tmp_path.iterdir()] == ["library.so"]
    assert target.read_bytes() == b"the old one"


def test_the_build_command_without_a_compiler(monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler")
    done = subprocess.run([sys.executable, "-m", "ingest.native.build"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "No C compiler found (tried no-such-compiler).\n")
