"""Fills the generated parts of the documentation from the code, so that they cannot drift from it.

MkDocs runs this file as a hook (see mkdocs.yml). A line `{{ name }}` or `{{ name argument }}` of a page is replaced by
the output of the generator of that name.
"""

import ast
import dataclasses
import importlib
import inspect
import itertools
import json
import re
import sys
import textwrap
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

MARKER = re.compile(r"^\{\{ (\w+)(?: (\S+))? \}\}$", re.MULTILINE)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """MkDocs calls this with the source of every page."""
    return MARKER.sub(lambda match: GENERATORS[match[1]](*filter(None, [match[2]])), markdown)


# --- commands --------------------------------------------------------------------------------------------------------


def commands() -> Iterator[tuple[str, Any]]:
    """Every command as (`lurker ...`, Click command), groups excluded, in the order of `--help`."""
    from lurker.cli import MOUNTED, mounted_command

    for name in MOUNTED:
        yield from _leaves(f"lurker {name}", mounted_command(name))


def _leaves(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "commands"):
        yield path, command
        return
    for name, child in command.commands.items():
        yield from _leaves(f"{path} {name}", child)


def parameters(command: Any) -> list[Any]:
    """The arguments and options of a command that a user may give, in order."""
    completion = {"--install-completion", "--show-completion"}  # typer adds these to some commands
    return [one for one in command.params if not getattr(one, "hidden", False) and not completion & set(one.opts)]


def command_reference() -> str:
    """One section per command: usage, description, and a table of its arguments and options."""
    return "\n\n".join(_command(path, command) for path, command in commands())


def _command(path: str, command: Any) -> str:
    shown = parameters(command)
    arguments = [one for one in shown if one.param_type_name == "argument"]
    usage = " ".join([path, *(_argument_name(one) for one in arguments), "[OPTIONS]"])
    rows = [(_name(one), _meaning(one), _default(one)) for one in shown]
    table = _table(("", "meaning", "default"), rows) if rows else ""
    return f"## {path}\n\n```text\n{usage}\n```\n\n{textwrap.dedent(command.help or '').strip()}\n\n{table}"


def _argument_name(argument: Any) -> str:
    name = (argument.metavar or argument.name.upper()).strip("{}")
    return f"{name}..." if argument.nargs == -1 and not name.endswith("...") else name


def _name(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{_argument_name(parameter)}`"
    names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    if getattr(parameter, "is_flag", False):
        return names
    return f"{names} {parameter.metavar or _value(parameter.type_descriptor.annotation)}"


def _value(annotation: Any) -> str:
    """How a value of this type is written in a usage line."""
    if typing.get_origin(annotation) is typing.Literal:
        return "\\|".join(map(str, typing.get_args(annotation)))
    if typing.get_args(annotation):  # list[str], Path | None
        return _value(typing.get_args(annotation)[0])
    return {str: "TEXT", int: "N", float: "X", Path: "PATH"}.get(annotation, "VALUE")


def _meaning(parameter: Any) -> str:
    notes = [parameter.help or ""]
    if parameter.required:
        notes.append("Required.")
    if envvar := getattr(parameter, "envvar", None):
        notes.append(f"Environment: `{envvar}`.")
    return " ".join(filter(None, notes))


def _default(parameter: Any) -> str:
    default = parameter.default
    if getattr(parameter, "is_flag", False) or not isinstance(default, str | int | float | Path) or default == "":
        return ""
    return f"`{default}`"


# --- configuration ---------------------------------------------------------------------------------------------------


def fields(target: str) -> str:
    """The fields of a config dataclass, `module:Class`: name, type, default, meaning."""
    config = _load(target)
    documented = field_docs(config)
    rows = [
        (f"`{one.name}`", f"`{_type(one.type)}`", _field_default(one), documented[one.name])
        for one in dataclasses.fields(config)
    ]
    return _table(("field", "type", "default", "meaning"), rows)


def field_docs(config: type) -> dict[str, str]:
    """Field -> the string literal below it in the source; an empty text for a field without one."""
    body = ast.parse(textwrap.dedent(inspect.getsource(config))).body[0].body  # type: ignore[attr-defined]
    docs = {one.target.id: "" for one in body if isinstance(one, ast.AnnAssign)}  # type: ignore[union-attr]
    for field, text in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
            docs[field.target.id] = " ".join(str(ast.literal_eval(text.value)).split())  # type: ignore[union-attr]
    return docs


def presets() -> str:
    """One section per recipe: its docstring and the fields in which it differs from the defaults."""
    from features.recipes.presets import PRESETS

    sections = []
    for name, make in PRESETS.items():
        recipe = make()
        rows = [
            (f"`{one.name}`", f"`{getattr(recipe, one.name)}`")
            for one in dataclasses.fields(recipe)
            if one.name != "name" and getattr(recipe, one.name) != one.default
        ]
        sections.append(f"### {name}\n\n{inspect.getdoc(make)}\n\n{_table(('field', 'value'), rows)}")
    return "\n\n".join(sections)


def _load(target: str) -> Any:
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


def _type(hint: Any) -> str:
    text = hint.__name__ if isinstance(hint, type) else str(hint)
    return text.removeprefix("typing.")


def _field_default(field: Any) -> str:
    return "required" if field.default is dataclasses.MISSING else f"`{field.default}`"


# --- tables, Python, notebook ----------------------------------------------------------------------------------------


def tables() -> str:
    """One section per table of lurker/schema: its key and its columns."""
    from lurker.schema import Table, pairs, policies, reddit, results, votes

    sections = []
    modules = (reddit, pairs, results, votes, policies)
    defined = [one for module in modules for one in vars(module).values() if isinstance(one, Table)]
    for table in defined:
        rows = [
            (f"`{name}`", str(column.dtype), "yes" if column.nullable else "", column.meaning)
            for name, column in table.columns.items()
        ]
        key = ", ".join(f"`{name}`" for name in table.key)
        columns = _table(("column", "type", "null allowed", "meaning"), rows)
        sections.append(f"## {table.name}\n\nOne row per {key}.\n\n{columns}")
    return "\n\n".join(sections)


def python_reference(package: str) -> str:
    """What a package exports, by its `__all__`; the fields of configs are listed on their own pages."""
    module = importlib.import_module(package)
    sections = []
    for name in getattr(module, "__all__", ()):
        options = "\n    options:\n      members: false" if dataclasses.is_dataclass(getattr(module, name)) else ""
        sections.append(f"::: {package}.{name}{options}")
    return "\n\n".join(sections)


def notebook() -> str:
    """The cells of docs/notebook.ipynb as Markdown."""
    cells = json.loads((ROOT / "docs" / "notebook.ipynb").read_text(encoding="utf-8"))["cells"]
    sources = [(one["cell_type"], "".join(one["source"])) for one in cells]
    return "\n\n".join(f"```python\n{text}\n```" if kind == "code" else text for kind, text in sources)


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *(tuple(_cell(value) for value in row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    return re.sub(r"(?<!\\)\|", r"\\|", " ".join(text.split()))


GENERATORS: dict[str, Callable[..., str]] = {
    one.__name__: one for one in (command_reference, fields, presets, tables, python_reference, notebook)
}
