"""The public functions of this package; the commands of `lurker pairs` call them too."""

import contextlib
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import polars as pl

from features.build_context import BuildOptions
from features.recipes.presets import PRESETS, preset
from features.recipes.recipe import Recipe
from features.results import (
    Audit,
    Comparison,
    Description,
    Export,
    NaturalExperiments,
    SecondOpinion,
    TwoLooks,
)
from features.votes.report import ArenaResults
from lurker.arguments import as_list, as_names, as_path, require_kind
from lurker.config import override, to_dict, typed_values
from lurker.engine import Engine
from lurker.errors import CallError, LurkerError
from lurker.pair_sets import (
    JUDGED_BY_PEOPLE,
    PairSet,
    pair_set_name,
    read_manifest,
    require_pair_set,
    require_votes,
)
from lurker.workspace import AnyWorkspace, Workspace, as_workspace

Source = Literal["reddit", "archive"]
_RECIPES = "Pass a name such as 'balanced', or one of `features.presets()`."
_OPEN = "Open a set by its name (`features.load(workspace, NAME)`), or convert a frame with `polars.from_pandas`."


def build(
    ws: AnyWorkspace,
    recipe: str | Recipe,
    *,
    name: str | None = None,
    subreddits: Sequence[str] | str | None = None,
    refreeze: bool = False,
    replace: bool = False,
    engine: Engine = "local",
    memory_limit: str | None = None,
    **fields: Any,
) -> PairSet:
    """Turn responses into pairs by a recipe, and freeze the hard test of new subreddits.

    Args:
        ws: a workspace, or where one is.
        recipe: a name, such as "balanced", or a `Recipe`.
        name: of the pair set; the recipe's name when None.
        subreddits: all that were ingested when None.
        refreeze: replace the frozen hard test where the input has changed.
        replace: replace a set of this name that another recipe built.
        engine: local: threads of this process; ray: blocks of posts are tasks of a cluster.
        memory_limit: of DuckDB, such as "500MB", 2 GB by default; what does not fit is spilled to disk.
        fields: fields of the recipe to override, such as min_score_gap=5.

    Returns:
        The pair set; its pairs are read when first used.

    Raises:
        CallError: an unknown recipe or field, or a name that is reserved, not valid, or that of a set that another
            recipe built.
        LurkerError: nothing was ingested, or no pairs are left.
    """
    from features.sets.build import build_pairs

    workspace = as_workspace(ws)
    rules = preset(recipe) if isinstance(recipe, str) else require_kind(recipe, Recipe, "A recipe", _RECIPES)
    rules = override(rules, [f"{field}={value}" for field, value in fields.items()])  # checks names and types
    names = None if subreddits is None else as_names(subreddits, "subreddits")
    options = BuildOptions(engine=engine, memory_limit=memory_limit)
    name = rules.name if name is None else name
    manifest = build_pairs(workspace, name, rules, names, refreeze=refreeze, replace=replace, options=options)
    return PairSet(workspace, name, manifest)


def load(ws: AnyWorkspace, name: str) -> PairSet:
    """A finished pair set; its pairs are read, and checked against the manifest, when first used.

    Raises:
        CallError: there is no such set.
        LurkerError: its manifest is damaged.
    """
    workspace = as_workspace(ws)
    return PairSet(workspace, name, read_manifest(workspace, name))


def describe(pairs: PairSet) -> Description:
    """Everything that is known of a pair set without reading its pairs: rules, ledger, audit, runs trained on it."""
    one = require_pair_set(pairs)
    row = next(row for row in one.workspace.pairs() if row["name"] == one.name)
    known = {name: row[name] for name in ("audit", "bytes", "built", "runs")}
    return Description(one.manifest | known, _rules(one.manifest["recipe"]), one.ledger)


def _rules(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a recipe that differ from their defaults; of an import, all that is known of it."""
    if recipe["name"] in JUDGED_BY_PEOPLE:
        return dict(recipe)
    defaults = to_dict(Recipe(name=recipe["name"]))
    return {name: value for name, value in recipe.items() if value != defaults.get(name)}


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
        require_votes(pairs, "An audit")
        return Audit(audit_pair_set(pairs))
    frame = require_kind(pairs, pl.DataFrame, "A pair set or a Polars frame", _OPEN)
    return Audit(*audit_frame(frame))


def second_opinion(pairs: PairSet, *, n_resplits: int | None = None) -> SecondOpinion:
    """Audit a pair set by an auditor that shares no code with the first; takes minutes, writes second-opinion.json.

    Args:
        n_resplits: number of random re-splits; 3 when None.

    Raises:
        LurkerError: too few posts to train on some and test on others.
    """
    from features.audits.second_opinion import SecondOpinionConfig
    from features.audits.second_opinion import second_opinion as write_second_opinion

    require_votes(require_pair_set(pairs), "An audit")
    values = {} if n_resplits is None else {"n_cuts": n_resplits}
    try:
        config = SecondOpinionConfig(**typed_values(SecondOpinionConfig, values))
    except ValueError as error:
        raise CallError(f"{error}.") from error
    return SecondOpinion(write_second_opinion(pairs.workspace, pairs.name, config))


def two_looks(pairs: PairSet) -> TwoLooks:
    """Do the votes cast after a first look prefer the response that led then? Writes two-looks.json.

    Every thread of the set's subreddits counts whose responses were observed twice, in the set or not.

    Raises:
        LurkerError: too few responses were observed twice.
    """
    from features.audits.two_looks import two_looks as write_two_looks

    require_votes(require_pair_set(pairs), "An audit")
    return TwoLooks(write_two_looks(pairs.workspace, pairs.name))


def natural_experiments(pairs: PairSet, *, naive: PairSet | str | None = None) -> NaturalExperiments:
    """Does time predict less where Reddit drew the order of comments at random? Writes natural.json.

    Args:
        naive: a pair set by the recipe naive, to compare contest threads of; the workspace's when None.

    Raises:
        CallError: there is no such set.
    """
    from features.audits.natural import naive_set, natural_experiments

    one = require_pair_set(pairs)
    require_votes(one, "An audit")
    name = naive_set(one) if naive is None else pair_set_name(naive)
    if name is None:
        raise CallError(
            "There is no pair set by the recipe naive.", "Build one: `lurker pairs build naive --recipe naive`."
        )
    return NaturalExperiments(natural_experiments(one.workspace, one.name, name))


def compare(ws: AnyWorkspace, names: Sequence[PairSet | str]) -> Comparison:
    """Audits side by side, and what TF-IDF learns from each pair set, tested on the frozen hard test.

    Args:
        ws: a workspace, or where one is.
        names: two pair sets or more, or their names.

    Raises:
        CallError: fewer than two sets are named, or one does not exist.
        LurkerError: the sets cannot be compared.
    """
    from features.audits.compare import compare_sets

    return Comparison(compare_sets(as_workspace(ws), [pair_set_name(one) for one in as_list(names, "names")]))


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

    require_votes(require_pair_set(pairs), "An export")
    return Export(export_pairs(pairs.workspace, pairs.name, format_name, as_path(out, "out")))


def rehydrate(ws: AnyWorkspace, folder: str | Path, *, name: str, fetch: Source | None = None) -> PairSet:
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

    workspace, folder = as_workspace(ws, create=fetch is not None), as_path(folder, "folder")
    check_name(workspace, name)
    if fetch is not None and (missing := missing_items(workspace, folder)):
        _fetch(workspace, missing, fetch)
    return PairSet(workspace, name, write_rehydrated(workspace, folder, name))


def import_judgements(
    ws: AnyWorkspace, name: str, path: str | Path, *, group: str | None = None, **fields: Any
) -> PairSet:
    """A pair set of judgements from outside, to train on them with whole topics held out.

    Args:
        ws: a workspace, or where one is; made if there is none.
        name: of the pair set to make.
        path: file, folder or tar archive of prompt, chosen and rejected; also the columns of SHP or UKPConvArg1.
        group: who judged, the set's community; `name` when None.
        fields: of `ImportConfig`: validation_fraction, test_fraction, seed.

    Raises:
        CallError: the name is taken, a field is not possible, or no file can be read.
        LurkerError: a file cannot be used, or there are too few prompts to split.
    """
    from features.sets.imported import ImportConfig
    from features.sets.imported import import_judgements as write_imported

    try:
        config = ImportConfig(**typed_values(ImportConfig, fields))
    except ValueError as error:
        raise CallError(f"{error}.") from error
    workspace = as_workspace(ws, create=True)
    manifest = write_imported(workspace, name, as_path(path, "path"), name if group is None else group, config)
    return PairSet(workspace, name, manifest)


def votes_to_pairs(ws: AnyWorkspace, name: str, *, replace: bool = False, **fields: Any) -> PairSet:
    """A pair set of the votes of an arena, to train on; a second set, NAME-held-out, has those of held-out raters.

    Args:
        ws: a workspace, or where one is.
        name: of the pair set to make.
        replace: replace sets of these names.
        fields: of `VotePairsConfig`, such as arena="tea" or min_confidence=0.7.

    Raises:
        CallError: a name is taken, a field is not possible, or the arena is not named and not the only one.
        LurkerError: no vote makes a pair.
    """
    from features.votes.to_pairs import VotePairsConfig, build_from_votes

    try:
        config = VotePairsConfig(**typed_values(VotePairsConfig, fields))
    except ValueError as error:
        raise CallError(f"{error}.") from error
    workspace = as_workspace(ws)
    build_from_votes(workspace, name, config, replace=replace)
    return load(workspace, name)


def arena_results(ws: AnyWorkspace, arena: str) -> ArenaResults:
    """What the votes of an arena say of its raters, of Reddit and runs, and of the sources; writes results.json.

    Raises:
        CallError: there is no such arena.
    """
    from features.votes.results import arena_results as compute
    from lurker.votes.arenas import open_arena

    return compute(open_arena(as_workspace(ws), arena))


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
