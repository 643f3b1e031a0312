"""Loading a pretrained model's parts, with errors that name the model and the reason."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from lurker.errors import CallError
from lurker.progress import say

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    "vocab.json",
    "spiece.model",
    "spm.model",
    "tokenizer.model",
    "sentencepiece.bpe.model",
    "tokenizer.tiktoken",
)
"""A model's folder has one of these."""
WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""A model has one of these."""
HUB_TIMEOUT_S = 5.0
"""How long the hub may take to answer before it counts as out of reach."""


@contextmanager
def explained(spec: str, advice: str) -> Iterator[None]:
    """Turn what transformers raises for a model that does not load into a sentence.

    Args:
        spec: what the user named.
        advice: the next step.
    """
    try:
        yield
    except (AttributeError, ImportError, KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CallError(f"Cannot load the model {spec!r}: {reason}", advice) from error


def require_hub(spec: str, advice: str, known: Sequence[str] = ()) -> None:
    """Check that a SPEC that is no folder and not stored here can be asked of the hub, in seconds.

    Args:
        spec: a folder or a Hugging Face id; old ids such as gpt2 have no slash.
        advice: the next step.
        known: names of models that need no hub, of which the closest is named.

    Raises:
        CallError: the hub does not answer, or says that it has no such model.
    """
    if not needs_hub(spec):
        return
    close = get_close_matches(spec, known, n=1)
    meant = f" Did you mean {close[0]}?" if close else ""
    say(f"{spec!r} is no model, run or folder here: asking the Hugging Face Hub for it.{meant}")
    if fault := hub_fault(spec):
        raise CallError(f"Unknown model {spec!r}: none here, and {fault}.{meant}", advice)


def needs_hub(spec: str) -> bool:
    """Whether loading a SPEC asks the hub: it may be an id, and is neither a folder nor stored here."""
    from huggingface_hub import constants
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # it loads lazily

    try:
        validate_repo_id(spec)
    except HFValidationError:
        return False
    return not (constants.HF_HUB_OFFLINE or Path(spec).is_dir() or is_stored(spec))


def hub_fault(spec: str) -> str:
    """Why the hub does not give a model, as a clause; empty if it may.

    One question with a time limit: loading would ask again and again for half a minute a file.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

    try:
        HfApi().model_info(spec, timeout=HUB_TIMEOUT_S)
    except RepositoryNotFoundError:
        return f"{constants.ENDPOINT} has none that is public or yours"
    except HfHubHTTPError:  # it answers; loading says what is wrong
        return ""
    except Exception as error:  # noqa: BLE001 (errors of a connection have the classes of its library, which changes)
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        return f"{constants.ENDPOINT} cannot be reached ({reason})"
    return ""


def is_stored(spec: str) -> bool:
    """Whether the hub's cache on this machine has the model's config."""
    from transformers.utils import cached_file

    try:
        return cached_file(spec, "config.json", local_files_only=True) is not None
    except (OSError, ValueError):
        return False


def pretrained_tokenizer(spec: str, advice: str) -> Any:
    """The tokenizer of a folder or a Hugging Face id.

    Raises:
        CallError: There is none.
    """
    from transformers import AutoTokenizer

    folder = Path(spec)
    if folder.is_dir() and not any((folder / name).exists() for name in TOKENIZER_FILES):
        raise CallError(
            f"The folder {spec} holds no tokenizer: it has none of {', '.join(TOKENIZER_FILES)}.",
            f"Save the model's own there: `AutoTokenizer.from_pretrained(...).save_pretrained({spec!r})`.",
        )
    with explained(spec, advice):
        return AutoTokenizer.from_pretrained(spec, trust_remote_code=False)


def require_model_files(spec: str, advice: str) -> None:
    """Check that a folder or a Hugging Face id loads as a sequence classifier, without loading its weights.

    Raises:
        CallError: Its config, its tokenizer or its weights are missing, or transformers has no classifier of its kind.
    """
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING as CLASSIFIERS
    from transformers.utils import cached_file

    with explained(spec, advice):
        config = AutoConfig.from_pretrained(spec, trust_remote_code=False)
    if type(config) not in CLASSIFIERS:
        kind = getattr(config, "model_type", type(config).__name__)
        raise CallError(f"Cannot load the model {spec!r}: transformers has no sequence classifier of {kind}.", advice)
    pretrained_tokenizer(spec, advice)
    quiet = {f"_raise_exceptions_for_{what}": False for what in ("missing_entries", "connection_errors", "gated_repo")}
    with explained(spec, advice):
        found = any(cached_file(spec, name, **quiet) for name in WEIGHT_FILES)
    if not found:
        raise CallError(f"Cannot load the model {spec!r}: it has none of {', '.join(WEIGHT_FILES)}.", advice)
