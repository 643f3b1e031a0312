"""Fields of TrainConfig as `field=value` texts: how the command line takes them and manifests keep them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from lurker.errors import CallError
from rm.training.config import TrainConfig


def as_settings(values: Mapping[str, Any]) -> tuple[str, ...]:
    """`field=value` of each field, as `lurker.config.override` reads them."""
    return tuple(f"{name}={_text(value)}" for name, value in values.items())


def parse_settings(
    settings: Iterable[str], other_fields: Sequence[str] = (), config: type[Any] = TrainConfig
) -> dict[str, str]:
    """The fields that `field=value` texts set; the last one wins where a field comes twice.

    Args:
        settings: the texts.
        other_fields: names allowed besides those of the config.
        config: a config's dataclass.

    Raises:
        CallError: a text is not `field=value`, there is no such field, or it is the seed, which has its own option.
    """
    allowed = (*(field.name for field in fields(config)), *other_fields)
    values = {}
    for setting in settings:
        name, separator, value = setting.partition("=")
        if not separator:
            raise CallError(f"Settings are field=value, got {setting!r}.", "For example `--set epochs=1`.")
        if name.strip() == "seed":
            raise CallError("The seed is not a setting.", "Use `--seed N`, or `--seeds N` for the number of seeds.")
        if name.strip() not in allowed:
            raise CallError(f"Unknown field {name.strip()!r}.", f"Fields: {', '.join(sorted(allowed))}.")
        values[name.strip()] = value.strip()
    return values


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
