"""`lurker pairs`: build, audit and compare preference pairs."""

from pathlib import Path
from typing import Literal

import typer

from lurker.errors import CallError
from lurker.help import CommandGroup
from lurker.next_commands import tell
from lurker.pair_sets import VOTES_RECIPE
from lurker.report import print_json, print_table, show
from lurker.workspace import open_workspace

app = typer.Typer(
    cls=CommandGroup,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Build, audit and compare preference pairs.",
)
NAME = typer.Argument(help="Name of the pair set.")
JSON_OPTION = typer.Option(False, "--json", help="Print one JSON object on stdout.")


@app.command()
def build(
    ctx: typer.Context,
    name: str = NAME,
    recipe: str = typer.Option(
        ..., "--recipe", help="naive | shp | dialogrpt | litbench | matched | balanced | adjusted | hard-test | votes."
    ),
    subreddits: list[str] | None = typer.Option(None, "--subreddit", help="Only this subreddit; repeatable."),
    assignments: list[str] | None = typer.Option(None, "--set", help="field=value of the recipe; repeatable."),
    config: Path | None = typer.Option(None, "--config", help="TOML file of recipe fields; --set overrides it."),
    by: str | None = typer.Option(None, "--by", help="What is held out: post | author | time."),
    refreeze: bool = typer.Option(False, "--refreeze", help="Replace the frozen hard test where the input changed."),
    replace: bool = typer.Option(False, "--replace", help="Replace a set of this name that another recipe built."),
    engine: Literal["local", "ray"] = typer.Option(
        "local", help="ray: distribute blocks of posts over the cluster that RAY_ADDRESS names, or a local one."
    ),
    memory_limit: str | None = typer.Option(
        None,
        metavar="SIZE",
        help="Memory for joining and sorting, 2GB by default; the rest is spilled to disk (TMPDIR). Everything else "
        "takes about 1.3 GB more, whatever the size of the workspace.",
    ),
    as_json: bool = JSON_OPTION,
) -> None:
    """Turn responses into pairs by a recipe, and freeze the hard test of new subreddits."""
    from features import api
    from features.recipes.presets import preset
    from features.results import second_window_table
    from lurker.config import from_toml, override

    if recipe == VOTES_RECIPE:
        other = {"--subreddit": subreddits, "--config": config, "--by": by, "--refreeze": refreeze}
        if given := [option for option, value in other.items() if value]:
            raise CallError(f"{given[0]} does not go with --recipe votes.", "Use --set field=value.")
        _build_from_votes(ctx, name, assignments or [], replace=replace, as_json=as_json)
        return
    rules = preset(recipe)
    if config is not None:
        rules = from_toml(rules, config)
    rules = override(rules, [*(assignments or []), *([f"split_by={by}"] if by else [])])
    pairs = api.build(
        open_workspace(ctx.obj),
        rules,
        name=name,
        subreddits=subreddits or None,
        refreeze=refreeze,
        replace=replace,
        engine=engine,
        memory_limit=memory_limit,
    )
    manifest = pairs.manifest
    if as_json:
        print_json(manifest)
        return
    show(pairs.ledger)
    counts = {"pairs": manifest["n_pairs"], "posts": manifest["n_posts"], "responses": manifest["n_responses"]}
    print_table(f"Pair set {name}", [counts | manifest["pairs_by_split"]])
    typer.echo(f"Ceiling: no model can agree with more than {manifest['ceiling']['accuracy']:.3f} of these labels.")
    if (windows := manifest["second_window"]) is not None:
        typer.echo(
            f"Later votes agree with the labels of the first observation in {windows['agreement']:.3f} "
            f"[{windows['agreement_low']:.3f}, {windows['agreement_high']:.3f}] of {windows['n_pairs']:,} pairs."
        )
        show(second_window_table(windows))


def _build_from_votes(ctx: typer.Context, name: str, assignments: list[str], *, replace: bool, as_json: bool) -> None:
    """Make a pair set of the votes of an arena, and show it."""
    from features import api
    from features.votes.to_pairs import HELD_OUT, VotePairsConfig
    from lurker.config import override, to_dict
    from lurker.pair_sets import pair_set_names

    workspace = open_workspace(ctx.obj)
    config = override(VotePairsConfig(), assignments)
    pairs = api.votes_to_pairs(workspace, name, replace=replace, **to_dict(config))
    if as_json:
        print_json(pairs.manifest)
        return
    show(pairs.ledger)
    show(pairs.table())
    if f"{name}{HELD_OUT}" in pair_set_names(workspace):
        show(api.load(workspace, f"{name}{HELD_OUT}").table())
    tell(f"next: lurker rm train {name} --model run:ID")


@app.command()
def audit(
    ctx: typer.Context,
    name: str = NAME,
    second_opinion: bool = typer.Option(
        False, "--second-opinion", help="Use an auditor that shares no code with the first; takes minutes."
    ),
    cuts: int | None = typer.Option(None, min=1, help="With --second-opinion: number of random re-splits."),
    looks: bool = typer.Option(
        False, "--looks", help="Judge labels of first looks by the votes cast later, where comments were seen twice."
    ),
    natural: bool = typer.Option(
        False, "--natural", help="Compare with threads in random order (contest mode) or with hidden scores."
    ),
    as_json: bool = JSON_OPTION,
) -> None:
    """Measure how well confounders alone name the winner, without reading the text."""
    from features import api

    if cuts is not None and not second_opinion:
        raise CallError(f"--cuts {cuts} only applies to the second opinion.", "Add --second-opinion.")
    if (n_chosen := second_opinion + looks + natural) > 1:
        raise CallError(f"One audit at a time, got {n_chosen}.", "Give one of --second-opinion, --looks, --natural.")
    pairs = api.load(open_workspace(ctx.obj), name)
    if looks:
        seen = api.two_looks(pairs)
        if as_json:
            print_json(seen.report)
            return
        for table in seen.details():
            show(table)
        return
    if natural:
        contrast = api.natural_experiments(pairs)
        if as_json:
            print_json(contrast.report)
        else:
            show(contrast.table())
        return
    if second_opinion:
        opinion = api.second_opinion(pairs, n_resplits=cuts)
        if as_json:
            print_json(opinion.report)
        else:
            show(opinion.table())
        return
    result = api.audit(pairs)
    if as_json:
        print_json(result.report)
        return
    for table in result.details():
        if table.rows:
            show(table)
    typer.echo(result.verdict)


@app.command("list")
def list_pairs(ctx: typer.Context, as_json: bool = JSON_OPTION) -> None:
    """List the pair sets: recipe, size, audit, digest, and how many runs were trained on each."""
    open_workspace(ctx.obj).pairs().print("pairs", as_json=as_json)


@app.command("show")
def show_pairs(ctx: typer.Context, name: str = NAME, as_json: bool = JSON_OPTION) -> None:
    """Show a pair set: rules of its recipe, what each of them dropped, pairs by split, audit, runs trained on it."""
    from features import api

    description = api.describe(api.load(open_workspace(ctx.obj), name))
    if as_json:
        print_json(description.report)
        return
    for table in description.tables():
        show(table)


@app.command("delete")
def delete_command(
    ctx: typer.Context,
    names: list[str] = typer.Argument(metavar="NAME...", help="Names of pair sets."),
    force: bool = typer.Option(False, "--force", help="Also sets that something else is built on."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Only say what would be deleted, and what uses it."),
    as_json: bool = JSON_OPTION,
) -> None:
    """Delete pair sets, all or none; one that runs or policies were trained on is refused."""
    from features.sets.delete import delete_pair_sets

    deletion = delete_pair_sets(open_workspace(ctx.obj), names, force=force, is_dry=dry_run)
    if as_json:
        print_json(deletion.report())
    else:
        show(deletion.table())


@app.command()
def compare(
    ctx: typer.Context,
    names: list[str] = typer.Argument(help="Names of pair sets."),
    as_json: bool = JSON_OPTION,
) -> None:
    """Compare audits, and what TF-IDF learns from each pair set, tested on the same hard test."""
    from features import api

    comparison = api.compare(open_workspace(ctx.obj), names)
    if as_json:
        print_json(comparison.report)
        return
    for table in comparison.tables():
        show(table)


@app.command()
def export(
    ctx: typer.Context,
    name: str = NAME,
    format_name: str = typer.Option(..., "--format", help="trl | trl-conversational | shp | datasets | ids."),
    out: Path = typer.Option(..., "--out", metavar="DIR", help="Folder to make."),
    as_json: bool = JSON_OPTION,
) -> None:
    """Write a pair set, with a dataset card, in the format of another tool; `ids` has no texts."""
    from features import api

    result = api.export(api.load(open_workspace(ctx.obj), name), format_name, out)
    if as_json:
        print_json(result.report)
        return
    show(result.table())
    typer.echo(f'next: datasets.load_dataset("{out}")')


@app.command()
def rehydrate(
    ctx: typer.Context,
    folder: Path = typer.Argument(metavar="DIR", help="An export of format ids."),
    name: str = typer.Option(..., "--name", help="Name of the pair set to make."),
    fetch: Literal["reddit", "archive"] | None = typer.Option(
        None, help="Fetch missing texts first: from live Reddit (with credentials), or from Arctic Shift."
    ),
    as_json: bool = JSON_OPTION,
) -> None:
    """Join an export of ids to the texts this workspace has or fetches, and report what is missing."""
    from features import api

    pairs = api.rehydrate(open_workspace(ctx.obj, create=fetch is not None), folder, name=name, fetch=fetch)
    if as_json:
        print_json(pairs.manifest)
        return
    show(pairs.ledger)
    tell(f"next: lurker pairs audit {name}")


@app.command("import")
def import_command(
    ctx: typer.Context,
    name: str = typer.Argument(help="Name of the pair set to make."),
    file: Path = typer.Argument(
        metavar="FILE",
        help="File, folder or archive of prompt, chosen, rejected; also with SHP's or UKPConvArg1's columns.",
    ),
    group: str | None = typer.Option(None, "--group", help="Who judged, the set's community; NAME by default."),
    validation_fraction: float = typer.Option(0.1, help="Share of the judgements in validation, in whole topics."),
    test_fraction: float = typer.Option(0.2, help="Share of the judgements in test, in whole topics."),
    seed: int = typer.Option(0, min=0, help="Draws which topics are held out."),
    as_json: bool = JSON_OPTION,
) -> None:
    """Make a pair set of judgements from outside, to train on them with whole topics held out."""
    from features import api

    fractions = {"validation_fraction": validation_fraction, "test_fraction": test_fraction}
    pairs = api.import_judgements(open_workspace(ctx.obj, create=True), name, file, group=group, seed=seed, **fractions)
    if as_json:
        print_json(pairs.manifest)
        return
    show(pairs.ledger)
    show(pairs.table())
    tell(f"next: lurker rm train {name} --model run:ID")
