"""Frozen dataclasses from TOML and `field=value` options, and back to JSON.

A config is a `@dataclass(frozen=True, kw_only=True, slots=True)` that validates itself in `__post_init__`. Its fields
are str, int, float, bool, an optional or a tuple of one of these, or a Literal.
"""

import dataclasses
import hashlib
import json
import math
import numbers
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from lurker.arguments import as_list, shown
from lurker.errors import CallError

C = TypeVar("C")


def override(config: C, assignments: Iterable[str]) -> C:
    """Return the config with `field=value` strings applied.

    Raises:
        CallError: an unknown field, or a value that has the wrong type or that the config refuses.
    """
    values: dict[str, Any] = {}
    hints = _field_types(type(config))
    for assignment in assignments:
        name, separator, text = assignment.partition("=")
        name = name.strip()
        if not separator:
            raise CallError(f"--set takes field=value, got {assignment!r}.")
        _require_field(name, hints)
        values[name] = _parse(name, text.strip(), hints[name])
    return _replace(config, values)


def from_toml(config: C, path: Path) -> C:
    """Return the config with the fields of a TOML file applied.

    Raises:
        CallError: the file is missing or not TOML, or has a field or value that the config does not take.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CallError(f"Cannot read the config file {path}: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CallError(f"{path} is not a TOML file: {error}.") from error
    hints = _field_types(type(config))
    parsed = {}
    for name, value in values.items():
        _require_field(name, hints)
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        parsed[name] = _parse(name, text, hints[name])
    return _replace(config, parsed)


def typed_values(config_type: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of a config's fields, checked: a whole number may come from NumPy, one value is a tuple of one.

    Raises:
        CallError: an unknown field, or a value of another type.
    """
    hints = _field_types(config_type)
    for name in values:
        _require_field(name, hints)
    return {name: _typed(name, value, hints[name]) for name, value in values.items()}


def to_dict(config: Any) -> dict[str, Any]:
    """The config as JSON-ready values (tuples become lists)."""
    return typing.cast(dict[str, Any], json.loads(json.dumps(dataclasses.asdict(config))))


def fingerprint(*parts: Any) -> str:
    """A 12-digit hex digest of configs, dicts and plain values, independent of the order of keys."""
    plain = [to_dict(part) if dataclasses.is_dataclass(part) else part for part in parts]
    text = json.dumps(plain, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _field_types(cls: type) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def _require_field(name: str, hints: dict[str, Any]) -> None:
    if name not in hints:
        raise CallError(f"Unknown field {name!r}.", f"Fields: {', '.join(sorted(hints))}.")


def _replace(config: C, values: dict[str, Any]) -> C:
    try:
        return dataclasses.replace(config, **values)  # type: ignore[type-var]
    except ValueError as error:
        raise CallError(str(error)) from error


_NUMBERS: dict[type, tuple[Any, str]] = {int: (numbers.Integral, "a whole number"), float: (numbers.Real, "a number")}


def _typed(name: str, value: Any, hint: Any) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return None if value is None else _typed(name, value, _without_none(arguments))
    if origin is tuple:
        return tuple(_typed(name, item, arguments[0]) for item in as_list(value, name))
    if origin is typing.Literal:
        if value not in arguments:
            raise CallError(f"{name} takes {' | '.join(map(str, arguments))}, got {shown(value)}.")
        return value
    if hint in _NUMBERS:
        kind, description = _NUMBERS[hint]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise CallError(f"{name} takes {description}, got {shown(value)}.")
        return _finite(name, hint(value))
    if not isinstance(value, hint):
        raise CallError(f"{name} takes {'text' if hint is str else hint.__name__}, got {shown(value)}.")
    return value


def _without_none(arguments: tuple[Any, ...]) -> Any:
    """The other type of an optional."""
    return next(argument for argument in arguments if argument is not type(None))


def _parse(name: str, text: str, hint: Any) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if text.lower() in ("none", "null", ""):
            return None
        return _parse(name, text, _without_none(arguments))
    if origin is tuple:
        return tuple(_parse(name, item.strip(), arguments[0]) for item in text.split(",") if item.strip())
    if origin is typing.Literal:
        if text not in arguments:
            raise CallError(f"{name} takes {' | '.join(map(str, arguments))}, got {text!r}.")
        return text
    if hint is bool:
        if text.lower() not in ("true", "false"):
            raise CallError(f"{name} takes true or false, got {text!r}.")
        return text.lower() == "true"
    try:
        return _finite(name, hint(text))
    except ValueError as error:
        raise CallError(f"{name} takes {hint.__name__}, got {text!r}.") from error


def _finite(name: str, value: Any) -> Any:
    """The value, unless it is a number that JSON cannot hold.

    Raises:
        CallError: it is infinite or no number.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise CallError(f"{name} takes a finite number, got {value}.")
    return value
