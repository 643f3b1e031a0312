"""docs/notebook.ipynb runs from top to bottom in an empty folder."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from tests.docs.conftest import ROOT

CELLS = json.loads((ROOT / "docs" / "notebook.ipynb").read_text(encoding="utf-8"))["cells"]


def test_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__notebook__"}
    shown = [_run_cell("".join(cell["source"]), names) for cell in CELLS if cell["cell_type"] == "code"]
    tables = [html for html in shown if html and "<table" in html]
    assert len(tables) >= 4, "ingest or pair set, ledger, audit and evaluations show themselves as tables"


def test_notebook_is_stored_without_outputs() -> None:
    code = [cell for cell in CELLS if cell["cell_type"] == "code"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code)


def _run_cell(source: str, names: dict[str, Any]) -> str | None:
    """Run a cell as Jupyter does; return the HTML of its last expression, if it has any."""
    body = ast.parse(source).body
    last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), "notebook", "exec"), names)
    if not isinstance(last, ast.Expr):
        return None
    value = eval(compile(ast.Expression(last.value), "notebook", "eval"), names)
    return value._repr_html_() if hasattr(value, "_repr_html_") else repr(value)
