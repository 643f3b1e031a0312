"""The library functions of this room; the commands of `lurker pairs` call them too."""

import contextlib
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import polars as pl

from features.build_context import BuildOptions
from features.recipes.presets import PRESETS, preset
from features.recipes.recipe import Recipe
from features.results import Audit, Comparison, Export, SecondOpinion
from lurker.config import override
from lurker.engine import Engine
from lurker.errors import LurkerError
from lurker.pair_sets import PairSet, read_manifest
from lurker.workspace import Workspace

Source = Literal["reddit", "archive"]


def build(
    ws: Workspace,
    recipe: str | Recipe,
    *,
    name: str | None = None,
    subreddits: Sequence[str] | None = None,
    refreeze: bool = False,
    engine: Engine = "local",
    memory_limit: str | None = None,
    **fields: Any,
) -> PairSet:
    """Turn responses into pairs by a recipe, and freeze the hard test of new subreddits.

    Args:
        recipe: a name, such as "balanced", or a `Recipe`.
        name: of the pair set; the recipe's name when None.
        subreddits: all that were ingested when None.
        refreeze: replace the frozen hard test where the input has changed.
        engine: local: threads of this process; ray: blocks of posts are tasks of a cluster.
        memory_limit: of DuckDB, such as "2GB"; what does not fit is spilled to disk.
        fields: fields of the recipe to override, such as min_score_gap=5.

    Returns:
        The pair set; its pairs are read when first used.

    Raises:
        CallError: an unknown recipe or field, or a name that is reserved or not valid.
        LurkerError: nothing was ingested, or no pairs are left.
    """
    from features.sets.build import build_pairs

    rules = preset(recipe) if isinstance(recipe, str) else recipe
    rules = override(rules, [f"{field}={value}" for field, value in fields.items()])  # checks names and types
    options = BuildOptions(engine=engine, memory_limit=memory_limit)
    name = rules.name if name is None else name
    return PairSet(ws, name, build_pairs(ws, name, rules, subreddits, refreeze=refreeze, options=options))


def load(ws: Workspace, name: str) -> PairSet:
    """A finished pair set; its pairs are read, and checked against the manifest, when first used.

    Raises:
        CallError: there is no such set.
    """
    return PairSet(ws, name, read_manifest(ws, name))


def presets() -> dict[str, Recipe]:
    """The recipes by name."""
    return {name: make() for name, make in PRESETS.items()}


def audit(pairs: PairSet | pl.DataFrame) -> Audit:
    """How well confounders alone name the winner, without reading the text.

    Args:
        pairs: a pair set, whose audit.json is written; or a frame with the PAIRS columns, which needs no workspace: the
            confounders are those that its columns give, and nothing is written.

    Raises:
        CallError: the frame lacks a column.
        LurkerError: too few posts to judge a probe on posts it has not seen.
    """
    from features.audits.pair_audit import audit_frame, audit_pair_set

    if isinstance(pairs, PairSet):
        return Audit(audit_pair_set(pairs))
    return Audit(*audit_frame(pairs))


def second_opinion(pairs: PairSet, *, n_resplits: int | None = None) -> SecondOpinion:
    """Audit a pair set by an auditor that shares no code with the first; takes minutes, writes second-opinion.json.

    Args:
        n_resplits: number of random re-splits; 3 when None.

    Raises:
        LurkerError: too few posts to train on some and test on others.
    """
    from features.audits.second_opinion import SecondOpinionConfig
    from features.audits.second_opinion import second_opinion as write_second_opinion

    config = SecondOpinionConfig() if n_resplits is None else SecondOpinionConfig(n_cuts=n_resplits)
    return SecondOpinion(write_second_opinion(pairs.workspace, pairs.name, config))


def compare(ws: Workspace, names: Sequence[str]) -> Comparison:
    """Audits side by side, and what TF-IDF learns from each pair set, tested on the frozen hard test.

    Raises:
        CallError: fewer than two sets are named, or one does not exist.
        LurkerError: the sets cannot be compared.
    """
    from features.audits.compare import compare_sets

    return Comparison(compare_sets(ws, names))


def export(pairs: PairSet, format_name: str, out: str | Path) -> Export:
    """Write a pair set, with a dataset card, in the format of another tool.

    Args:
        format_name: trl | trl-conversational | shp | datasets | ids (no texts).
        out: folder to make.

    Raises:
        CallError: the format is unknown, or the folder is not empty.
        LurkerError: the folder cannot be written.
    """
    from features.sets.export import export_pairs

    return Export(export_pairs(pairs.workspace, pairs.name, format_name, Path(out)))


def rehydrate(ws: Workspace, folder: str | Path, *, name: str, fetch: Source | None = None) -> PairSet:
    """Join an export of ids to the texts of a workspace.

    Args:
        folder: an export of format ids.
        name: of the pair set to make.
        fetch: fetch the missing texts first, from live Reddit (with credentials) or from Arctic Shift.

    Raises:
        CallError: the folder is not an export of ids, or the name is taken.
        LurkerError: the texts could not be fetched, or no pair is left.
    """
    from features.sets.rehydrate import check_name, missing_items
    from features.sets.rehydrate import rehydrate as write_rehydrated

    folder = Path(folder)
    check_name(ws, name)
    if fetch is not None and (missing := missing_items(ws, folder)):
        _fetch(ws, missing, fetch)
    return PairSet(ws, name, write_rehydrated(ws, folder, name))


def _fetch(ws: Workspace, fullnames: list[str], source: Source) -> None:
    """Call `lurker ingest ids`; its output goes to stderr, because stdout is for the result."""
    from lurker.cli import run

    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.write("\n".join(fullnames))
        file.flush()
        with contextlib.redirect_stdout(sys.stderr):
            code = run(["--workspace", str(ws.root), "ingest", "ids", file.name, "--from", source])
    if code:
        raise LurkerError(
            f"The texts of {len(fullnames):,} items could not be fetched from {source}.",
            "Fix what the error above says, then run the same command again to resume.",
        )
