"""Packaged models: located, converted once, or missing with the command that installs them."""

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from lurker.errors import CallError, LurkerError
from rm.models import pretrained
from rm.models.pretrained import PACKAGED, Packaged, cache_folder, locate


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Packaged:
    """A package with a folder `model`, importable in this test."""
    (tmp_path / "packages/packaged_for_test/model").mkdir(parents=True)
    (tmp_path / "packages/packaged_for_test/__init__.py").write_text("raise ImportError('it must not be imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    packaged = Packaged(package="packaged_for_test", path="model", install="pip install packaged-for-test")
    monkeypatch.setitem(PACKAGED, "test", packaged)
    return packaged


def test_the_folder_is_found_without_running_the_package(package: Packaged, tmp_path: Path) -> None:
    assert locate("test") == tmp_path / "packages/packaged_for_test/model"
    assert package.package not in sys.modules


def test_the_error_for_a_missing_package_names_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PACKAGED, "test", Packaged(package="absent_package", path="model", install="pip install it"))
    with pytest.raises(CallError, match="package of the model 'test' is not installed") as error:
        locate("test")
    assert "pip install it" in error.value.next_step


def test_the_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "lurker"


def test_a_conversion_that_fails_leaves_nothing(
    package: Packaged, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    broken = tmp_path / "packages/packaged_for_test/broken.gguf"
    broken.write_bytes(b"GGUF, but cut")
    monkeypatch.setitem(PACKAGED, "test", Packaged(package=package.package, path="broken.gguf", install="pip"))
    monkeypatch.setattr(pretrained, "find_spec", lambda name: find_spec("json" if name == "gguf" else name))
    with pytest.raises(LurkerError, match="Cannot convert test"):
        locate("test")
    assert list((tmp_path / "cache").rglob("*")) in ([], [tmp_path / "cache/lurker"])


@pytest.mark.slow
@pytest.mark.parametrize("name", list(PACKAGED))
def test_a_packaged_model_scores_texts(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if find_spec(PACKAGED[name].package) is None:
        pytest.skip(f"not installed: {PACKAGED[name].install}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    from rm.models.ladder import build

    model = build(name, [], 0, seed=0)
    assert model.model.config.num_labels == 1
    assert locate(name) == locate(name)
