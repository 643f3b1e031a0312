"""`lurker pairs`: build, audit and compare preference pairs."""

from pathlib import Path
from typing import Any

import typer

from lurker.report import print_json, print_table
from lurker.workspace import Workspace, open_workspace, read_json

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
    refreeze: bool = typer.Option(False, "--refreeze", help="Replace the frozen hard test where the input changed."),
    as_json: bool = JSON_OPTION,
) -> None:
    """Turn responses into pairs by a recipe, and freeze the hard test of new subreddits."""
    from features.build import build_pairs
    from features.recipes import preset
    from lurker.config import from_toml, override

    rules = preset(recipe)
    if config is not None:
        rules = from_toml(rules, config)
    rules = override(rules, assignments or [])
    manifest = build_pairs(open_workspace(ctx.obj), name, rules, subreddits, refreeze=refreeze)
    if as_json:
        print_json(manifest)
        return
    for stage in ("responses", "pairs"):
        print_table(f"What each rule dropped: {stage}", _ledger_rows(manifest["ledger"][stage]))
    counts = {"pairs": manifest["n_pairs"], "posts": manifest["n_posts"], "responses": manifest["n_responses"]}
    print_table(f"Pair set {name}", [counts | manifest["pairs_by_split"]])


@app.command()
def audit(
    ctx: typer.Context, name: str = typer.Argument(help="Name of the pair set."), as_json: bool = JSON_OPTION
) -> None:
    """How well time and length alone name the winner, without reading a word."""
    from features.audit import audit_pairs

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
    )
    print_table(f"Audit of {name}", [{column: row[column] for column in columns} for row in found["probes"]])
    print_table("Chosen minus rejected, in standard deviations", found["differences"])
    typer.echo(found["verdict"])


@app.command()
def compare(
    ctx: typer.Context,
    names: list[str] = typer.Argument(help="Names of pair sets."),
    as_json: bool = JSON_OPTION,
) -> None:
    """Audits side by side; a set without an audit is audited first."""
    workspace = open_workspace(ctx.obj)
    audits = [_existing_audit(workspace, name) for name in dict.fromkeys(names)]
    if as_json:
        print_json({"audits": audits})
        return
    print_table("Accuracy of what never reads the text, and of the text alone", [_comparison(one) for one in audits])


@app.command()
def export(
    ctx: typer.Context,
    name: str = typer.Argument(help="Name of the pair set."),
    format_name: str = typer.Option(..., "--format", help="trl | trl-conversational | shp | datasets | ids."),
    out: Path = typer.Option(..., "--out", metavar="DIR", help="Folder to make."),
    as_json: bool = JSON_OPTION,
) -> None:
    """Write a pair set, with a dataset card, as others read it; `ids` holds no text."""
    from features.export import export_pairs

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
    as_json: bool = JSON_OPTION,
) -> None:
    """Join an export of ids to the texts this workspace has, and report what is gone."""
    from features.rehydrate import rehydrate

    manifest = rehydrate(open_workspace(ctx.obj), folder, name)
    if as_json:
        print_json(manifest)
        return
    print_table("What is gone", _ledger_rows(manifest["ledger"]["rehydrate"]))
    typer.echo(f"next: lurker pairs audit {name}")


def _existing_audit(workspace: Workspace, name: str) -> dict[str, Any]:
    from features.audit import audit_pairs
    from features.store import existing_folder

    path = existing_folder(workspace, name) / "audit.json"
    found: dict[str, Any] = read_json(path) if path.exists() else audit_pairs(workspace, name)
    return found


def _comparison(audit: dict[str, Any]) -> dict[str, Any]:
    """One row a pair set: for each group of confounders the better of its probes, over all pairs."""
    row: dict[str, Any] = {"pairs": audit["pairs"], "recipe": audit["recipe"], "n_pairs": audit["n_pairs"]}
    for group in ("time", "length", "joint", "text"):
        probes = [probe for probe in audit["probes"] if probe["split"] == "all" and probe["confounders"] == group]
        row[group] = max(probe["accuracy"] for probe in probes)
    row["earlier wins"], row["longer wins"] = audit["earlier_wins"]["value"], audit["longer_wins"]["value"]
    row["label confidence"] = audit["label_confidence_mean"]
    row["truth"] = audit["truth"]["accuracy"] if "truth" in audit else None
    row["clean"] = "yes" if audit["is_clean"] else "no"
    return row


def _ledger_rows(ledger: dict[str, Any]) -> list[dict[str, Any]]:
    dropped = [{"reason": line["reason"], "n": line["n"]} for line in ledger["dropped"]]
    return [{"reason": "input", "n": ledger["input"]}, *dropped, {"reason": "kept", "n": ledger["kept"]}]
