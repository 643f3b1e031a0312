"""What the packages import is what pyproject.toml declares, no more and no less."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

PROJECT = Path(__file__).parents[1]
PACKAGES = ("lurker", "ingest", "features", "rm", "dashboard")


def imported_modules() -> set[str]:
    """Top-level names of the third-party modules that the packages import, anywhere in a file."""
    names: set[str] = set()
    for path in (path for package in PACKAGES for path in (PROJECT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.partition(".")[0])
    return names - sys.stdlib_module_names - set(PACKAGES)


def declared(requirements: list[str]) -> set[str]:
    """Distribution names, normalised as in PEP 503."""
    return {normal(re.match(r"[A-Za-z0-9._-]+", line)[0]) for line in requirements}  # type: ignore[index]


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_declared_dependencies_are_those_imported() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    distributions = packages_distributions()
    imported = {normal(distributions[name][0]) for name in imported_modules() if name in distributions}
    assert imported, "nothing was found: are the packages installed?"
    core = declared(project["dependencies"])
    optional = declared([line for extra in project["optional-dependencies"].values() for line in extra])
    assert imported - core - optional == set()
    assert core - imported == set()
