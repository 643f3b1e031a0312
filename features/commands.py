"""`lurker pairs`: build, audit and compare preference pairs."""

import contextlib
import sys
import tempfile
from pathlib import Path
from typing import Any, Literal

import typer

from lurker.errors import CallError, LurkerError
from lurker.report import print_json, print_table
from lurker.workspace import Workspace, open_workspace

app = typer.Typer(
    pretty_exceptions_enable=False, no_args_is_help=True, help="Build, audit and compare preference pairs."
)
JSON_OPTION = typer.Option(False, "--json", help="One JSON object on stdout.")


@app.command()
def build(
    ctx: typer.Context,
    name: str = typer.Argument(help="Name of the pair set."),
    recipe: str = typer.Option(
        ..., "--recipe", help="naive | shp | dialogrpt | litbench | matched | balanced | adjusted | hard-test."
    ),
    subreddits: list[str] | None = typer.Option(None, "--subreddit", help="Only this one; may be given again."),
    assignments: list[str] | None = typer.Option(None, "--set", help="field=value of the recipe; may be given again."),
    config: Path | None = typer.Option(None, "--config", help="TOML file of recipe fields; --set comes after it."),
    by: str | None = typer.Option(None, "--by", help="What decides who is held out: post | author | time."),
    refreeze: bool = typer.Option(False, "--refreeze", help="Replace the frozen hard test where the input changed."),
    engine: Literal["local", "ray"] = typer.Option(
        "local", help="ray: blocks of posts are spread over the cluster that RAY_ADDRESS names, or one here."
    ),
    memory_limit: str | None = typer.Option(
        None,
        metavar="SIZE",
        help="Memory for joining and sorting, like 2GB; what does not fit goes to the disk (TMPDIR). All else takes "
        "about 1.3 GB more, however large the workspace.",
    ),
    as_json: bool = JSON_OPTION,
) -> None:
    """Turn responses into pairs by a recipe, and freeze the hard test of new subreddits."""
    from features.blocks import Means
    from features.recipes.presets import preset
    from features.sets.build import build_pairs
    from lurker.config import from_toml, override

    rules = preset(recipe)
    if config is not None:
        rules = from_toml(rules, config)
    rules = override(rules, [*(assignments or []), *([f"split_by={by}"] if by else [])])
    means = Means(engine=engine, memory_limit=memory_limit)
    manifest = build_pairs(open_workspace(ctx.obj), name, rules, subreddits, refreeze=refreeze, means=means)
    if as_json:
        print_json(manifest)
        return
    for stage in ("responses", "pairs"):
        print_table(f"What each rule dropped: {stage}", _ledger_rows(manifest["ledger"][stage]))
    counts = {"pairs": manifest["n_pairs"], "posts": manifest["n_posts"], "responses": manifest["n_responses"]}
    print_table(f"Pair set {name}", [counts | manifest["pairs_by_split"]])
    typer.echo(f"Ceiling: no model can agree with more than {manifest['ceiling']['accuracy']:.3f} of these labels.")
    if (windows := manifest["second_window"]) is not None:
        typer.echo(
            f"Later votes agree with the labels of the first look in {windows['agreement']:.3f} "
            f"[{windows['agreement_low']:.3f}, {windows['agreement_high']:.3f}] of {windows['n_pairs']:,} pairs."
        )


@app.command()
def audit(
    ctx: typer.Context,
    name: str = typer.Argument(help="Name of the pair set."),
    second_opinion: bool = typer.Option(
        False, "--second-opinion", help="Ask an auditor that shares no code with the first: takes minutes."
    ),
    cuts: int | None = typer.Option(None, min=1, help="Of the second opinion: times that all is dealt out anew."),
    as_json: bool = JSON_OPTION,
) -> None:
    """How well confounders alone name the winner, without reading a word."""
    from features.audits.pair_audit import audit_pairs

    if second_opinion:
        _second_opinion(open_workspace(ctx.obj), name, cuts, as_json=as_json)
        return
    if cuts is not None:
        raise CallError(f"--cuts {cuts} is of the second opinion.", "Give --second-opinion too.")
    found = audit_pairs(open_workspace(ctx.obj), name)
    if as_json:
        print_json(found)
        return
    columns = (
        "split",
        "confounders",
        "probe",
        "n_pairs",
        "n_posts",
        "accuracy",
        "accuracy_low",
        "accuracy_high",
        "auc",
        "auc_low",
        "auc_high",
    )
    rows = [row for row in found["probes"] if row["subreddit"] == "all"]
    print_table(f"Audit of {name}", [{column: row[column] for column in columns} for row in rows])
    of_subreddits = [row for row in found["probes"] if (row["split"], row["confounders"]) == ("all", "joint")]
    by_subreddit = [{column: row[column] for column in ("subreddit", *columns[2:])} for row in of_subreddits]
    print_table("All confounders, by subreddit", by_subreddit)
    before = {row["confounder"]: row["smd"] for row in found["differences_before"]}
    print_table(
        "Chosen minus rejected, in standard deviations",
        [row | ({"before": before.get(row["confounder"])} if before else {}) for row in found["differences"]],
    )
    typer.echo(found["verdict"])


def _second_opinion(workspace: Workspace, name: str, cuts: int | None, *, as_json: bool) -> None:
    from features.audits.second_opinion import SecondOpinionConfig, second_opinion

    config = SecondOpinionConfig() if cuts is None else SecondOpinionConfig(n_cuts=cuts)
    found = second_opinion(workspace, name, config)
    if as_json:
        print_json(found)
        return
    print_table(f"Second opinion on {name}, mean of {found['n_cuts']} cuts", found["models"])
    typer.echo(found["verdict"])


@app.command()
def compare(
    ctx: typer.Context,
    names: list[str] = typer.Argument(help="Names of pair sets."),
    as_json: bool = JSON_OPTION,
) -> None:
    """Audits side by side, and what words alone learn from each set, judged on the one hard test."""
    from features.audits.compare import compare_sets

    found = compare_sets(open_workspace(ctx.obj), names)
    if as_json:
        print_json(found)
        return
    judged, sets = found["hard_test"], found["sets"]
    print_table("Accuracy of what never reads the text, on the set's own pairs", [_audited(one) for one in sets])
    posts = f"{judged['n_pairs']:,} hard pairs of {judged['n_posts']:,} posts"
    print_table(f"Words alone, trained on each set, on the same {posts}", [_taught(one) for one in sets])


@app.command()
def export(
    ctx: typer.Context,
    name: str = typer.Argument(help="Name of the pair set."),
    format_name: str = typer.Option(..., "--format", help="trl | trl-conversational | shp | datasets | ids."),
    out: Path = typer.Option(..., "--out", metavar="DIR", help="Folder to make."),
    as_json: bool = JSON_OPTION,
) -> None:
    """Write a pair set, with a dataset card, as others read it; `ids` holds no text."""
    from features.sets.export import export_pairs

    summary = export_pairs(open_workspace(ctx.obj), name, format_name, out)
    if as_json:
        print_json(summary)
        return
    print_table(f"{name} as {format_name}", [summary["n_pairs"]])
    if not summary["is_audited"]:
        typer.echo(f"The card says that {name} was not audited: `lurker pairs audit {name}`, then export again.")
    typer.echo(f'next: datasets.load_dataset("{out}")')


@app.command()
def rehydrate(
    ctx: typer.Context,
    folder: Path = typer.Argument(metavar="DIR", help="An export of format ids."),
    name: str = typer.Option(..., "--name", help="Name of the pair set to make."),
    fetch: Literal["reddit", "archive"] | None = typer.Option(
        None, help="Fetch first what this workspace lacks: from live Reddit (with credentials), or from Arctic Shift."
    ),
    as_json: bool = JSON_OPTION,
) -> None:
    """Join an export of ids to the texts this workspace has or fetches, and report what is gone."""
    from features.sets.rehydrate import check_name, missing_items, rehydrate

    workspace = open_workspace(ctx.obj, create=fetch is not None)
    check_name(workspace, name)
    if fetch is not None and (missing := missing_items(workspace, folder)):
        _fetch(workspace, missing, fetch)
    manifest = rehydrate(workspace, folder, name)
    if as_json:
        print_json(manifest)
        return
    print_table("What is gone", _ledger_rows(manifest["ledger"]["rehydrate"]))
    typer.echo(f"next: lurker pairs audit {name}")


def _fetch(workspace: Workspace, fullnames: list[str], source: str) -> None:
    """Call `lurker ingest ids` for them; what it prints goes to stderr, for the report of this command comes later."""
    from lurker.cli import run

    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.write("\n".join(fullnames))
        file.flush()
        with contextlib.redirect_stdout(sys.stderr):
            code = run(["--workspace", str(workspace.root), "ingest", "ids", file.name, "--from", source])
    if code:
        raise LurkerError(
            f"The texts of {len(fullnames):,} items could not be fetched from {source}.",
            "Mend what the error above says, then run the same command: it goes on from there.",
        )


def _audited(one: dict[str, Any]) -> dict[str, Any]:
    """One row a pair set: for each group of confounders the better of its probes, over all pairs."""
    audit = one["audit"]
    row: dict[str, Any] = {"pairs": one["pairs"], "n": one["n_pairs"]}
    for group in ("time", "length", "joint"):
        probes = [
            probe
            for probe in audit["probes"]
            if (probe["split"], probe["subreddit"], probe["confounders"]) == ("all", "all", group)
        ]
        best = max(probes, key=lambda probe: float(probe["accuracy"]))
        row["all confounders" if group == "joint" else group] = _shown(best, "accuracy")
    row["earlier wins"], row["longer wins"] = audit["earlier_wins"]["value"], audit["longer_wins"]["value"]
    row["label confidence"] = audit["label_confidence_mean"]
    row["truth"] = audit["truth"]["accuracy"] if "truth" in audit else None
    row["verdict"] = audit["verdict"].partition(":")[0]
    return row


def _taught(one: dict[str, Any]) -> dict[str, Any]:
    return {
        "trained on": one["pairs"],
        "recipe": one["recipe"],
        "training pairs": one["n_train_pairs"],
        "effective, all splits": round(one["n_effective"]),
        "posts": one["n_posts"],
        "TF-IDF on the hard test": _shown(one["hard_test"]),
        "more than the first": _shown(one["lead"], sign="+"),
    }


def _shown(interval: dict[str, float] | None, name: str = "value", sign: str = "") -> str | None:
    if interval is None:
        return None
    ends = ("low", "high") if name == "value" else (f"{name}_low", f"{name}_high")
    value, low, high = (format(interval[key], f"{sign}.3f") for key in (name, *ends))
    return f"{value} [{low}, {high}]"


def _ledger_rows(ledger: dict[str, Any]) -> list[dict[str, Any]]:
    dropped = [{"reason": line["reason"], "n": line["n"]} for line in ledger["dropped"]]
    return [{"reason": "input", "n": ledger["input"]}, *dropped, {"reason": "kept", "n": ledger["kept"]}]
