"""Reads the documentation: its shell commands, and the generator of its reference pages."""

import importlib.util
import re
import shlex
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHELL_BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
LURKER = re.compile(r"(?:^|-m )lurker (.*)")


def pages() -> list[Path]:
    """The README and every page of the site."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def lurker_calls(page: Path) -> list[list[str]]:
    """The arguments of every `lurker ...` line in the shell blocks of a page."""
    lines = [line for block in SHELL_BLOCK.findall(page.read_text(encoding="utf-8")) for line in block.splitlines()]
    calls = [match[1] for line in lines if (match := LURKER.search(line.removeprefix("$ ")))]
    return [shlex.split(call, comments=True) for call in calls]


@pytest.fixture(scope="session")
def generate() -> ModuleType:
    """docs/generate.py, which MkDocs runs as a hook."""
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
