"""The pair sets and the runs of a workspace, one row each; only manifests and results are read, so it is quick."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lurker.decimals import accuracy_text
from lurker.errors import LurkerError
from lurker.files import read_object
from lurker.pair_sets import AUDIT_FILE, HARD_TEST, MANIFEST, PAIRS_FILE, pair_set_names, read_manifest
from lurker.report import Displayed, ResultTable, print_json, show
from lurker.workspace import Workspace

CONFIG, RESULT = "config.json", "result.json"
"""In a run's folder: what it is, written first; what it reached, written last."""
DIGEST_DIGITS = 12
_ACCURACY = ("accuracy", "accuracy_low", "accuracy_high")
Row = dict[str, Any]


@dataclass(frozen=True, slots=True, repr=False)
class Listing(Displayed):
    """Things of one kind in a workspace; shows itself as a table."""

    title: str
    rows: Sequence[Row]
    """JSON-ready; `problem` says why a row could not be read, else it is None."""
    shown: Callable[[Row], Row]
    """The columns that people read."""
    hint: str
    """How to make the first one."""

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def table(self) -> ResultTable:
        """The rows as people read them, and what is wrong with those that could not be read."""
        notes = [row["problem"] for row in self.rows if row["problem"]] if self.rows else [self.hint]
        return ResultTable(self.title, [self.shown(row) for row in self.rows], "\n".join(notes))

    def print(self, name: str, *, as_json: bool) -> None:
        """Print a table, or one JSON object with the rows under a name."""
        if as_json:
            print_json({name: list(self)})
        else:
            show(self.table())


def list_pair_sets(workspace: Workspace) -> Listing:
    """The finished pair sets by name: recipe, size, audit, digest, and the runs trained on each."""
    runs = trained_on(workspace, "runs")
    rows = []
    for name in pair_set_names(workspace):
        row: Row = {"name": name, "recipe": None, "subreddits": [], "pairs": None, "posts": None, "purged": None}
        row |= {"audit": None, "bytes": None, "built": None, "digest": None, "runs": runs.get(name, [])}
        rows.append(_filled(row, lambda name=name: _pair_set(workspace, name)))  # type: ignore[misc]
    hint = "None yet. Build one: `lurker pairs build balanced --recipe balanced`."
    return Listing(f"Pair sets in {workspace.root}", rows, _shown_pair_set, hint)


def list_runs(workspace: Workspace) -> Listing:
    """The runs by id: pair set, model, accuracy on the hard test or else on the first test, size, and date."""
    rows = []
    for name in workspace.names("runs", CONFIG):
        row: Row = {"run": name, "state": "broken", "pairs": None, "model": None, "seed": None, "train_pairs": None}
        row |= {"tested_on": None, "accuracy": None, "accuracy_low": None, "accuracy_high": None}
        row |= {"bytes": None, "finished": None}
        rows.append(_filled(row, lambda name=name: _run(workspace.folder("runs", name))))  # type: ignore[misc]
    hint = "None yet. Train one: `lurker rm train NAME --model scratch-50k`."
    return Listing(f"Runs in {workspace.root}", rows, _shown_run, hint)


def trained_on(workspace: Workspace, folder: str) -> dict[str, list[str]]:
    """Pair set -> runs (or policies) trained on it, finished or not; those that cannot be read are left out.

    Args:
        workspace: where they are.
        folder: runs or policies.
    """
    trained: dict[str, list[str]] = {}
    for name in workspace.names(folder, CONFIG):
        try:
            pairs = read_object(workspace.folder(folder, name) / CONFIG).get("pairs")
        except LurkerError:
            continue
        trained.setdefault(str(pairs), []).append(name)
    return trained


def _filled(row: Row, read: Callable[[], Row]) -> Row:
    """The row with what `read` returns, or with the problem that it raises."""
    try:
        return row | read() | {"problem": None}
    except LurkerError as error:
        return row | {"problem": str(error)}
    except (KeyError, TypeError, AttributeError) as error:
        where = f"{row.get('name') or row['run']}: its manifest or result is damaged"
        return row | {"problem": f"{where} ({'it lacks ' if isinstance(error, KeyError) else ''}{error})."}


def _pair_set(workspace: Workspace, name: str) -> Row:
    folder, manifest = workspace.folder("pairs", name), read_manifest(workspace, name)
    audit = read_object(folder / AUDIT_FILE).get("verdict") if (folder / AUDIT_FILE).exists() else None
    return {
        "recipe": manifest["recipe"]["name"],
        "subreddits": manifest.get("subreddits", []),
        "pairs": manifest["n_pairs"],
        "posts": manifest.get("n_posts"),
        "purged": manifest.get("n_purged", 0),
        "audit": audit,
        "bytes": _size(folder / PAIRS_FILE),
        "built": _day(folder / MANIFEST),
        "digest": str(manifest.get("pairs_sha256", ""))[:DIGEST_DIGITS] or None,
    }


def _run(folder: Path) -> Row:
    config = read_object(folder / CONFIG)
    row = {
        "state": "unfinished",
        "pairs": config.get("pairs"),
        "model": config.get("model"),
        "seed": (config.get("train") or {}).get("seed"),
        "bytes": sum(_size(path) or 0 for path in folder.rglob("*")),
    }
    if not (folder / RESULT).exists():
        return row
    result = read_object(folder / RESULT)
    row |= {"state": "finished", "train_pairs": result.get("n_train_pairs"), "finished": _day(folder / RESULT)}
    tests = [one for one in result.get("evaluations", []) if one["predictor"] == "model"]
    if tests:
        test = next((one for one in tests if one["pairs"] == HARD_TEST), tests[0])
        row |= {"tested_on": test["pairs"]} | {name: test[name] for name in _ACCURACY}
    return row


def _shown_pair_set(row: Row) -> Row:
    verdict = str(row["audit"] or "not audited").partition(":")[0]
    return {
        "name": row["name"],
        "recipe": row["recipe"] or "broken",
        "pairs": row["pairs"],
        "audit": None if row["problem"] else verdict,
        "MB": _megabytes(row),
        "built": row["built"],
        "digest": row["digest"],
        "runs": len(row["runs"]),
    }


def _shown_run(row: Row) -> Row:
    has_test = row["accuracy"] is not None
    accuracy = accuracy_text(row) if has_test else row["state"]
    return {
        "run": row["run"],
        "trained on": row["pairs"],
        "model": model_in_short(row["model"]),
        "train pairs": row["train_pairs"],
        "accuracy": accuracy,
        "tested on": row["tested_on"],
        "MB": _megabytes(row),
        "finished": row["finished"],
    }


def model_in_short(spec: Any) -> str | None:
    """SPEC of a model, that of another run's model as run:NAME."""
    path = Path(str(spec))
    is_run = path.name == "model" and path.parent.name
    return None if spec is None else f"run:{path.parent.name}" if is_run else str(spec)


def _megabytes(row: Row) -> str | None:
    return None if row["bytes"] is None else f"{row['bytes'] / 1e6:,.1f}"


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _day(path: Path) -> str:
    """Day (UTC) on which a file was written."""
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).date().isoformat()
