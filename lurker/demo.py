"""`lurker demo`: every stage on a simulated Reddit, by the commands a user would type, each shown as it runs.

The simulator knows what each community truly likes, so the closing table compares three accuracies: of shortcuts, of a
reward model, and of the truth.
"""

import contextlib
import sys
import time
from typing import Any

import polars as pl
import typer

from lurker.cli import run
from lurker.errors import LurkerError
from lurker.progress import say
from lurker.report import print_json, print_table
from lurker.workspace import Workspace, open_workspace, read_json

app = typer.Typer(pretty_exceptions_enable=False)

RECIPES = ("naive", "matched", "balanced")
MODEL = "scratch-50k"
N_TRAIN_PAIRS = 3200


def plan(seed: int, n_posts: int) -> list[str]:
    """The command lines of the demo, in order."""
    return [
        f"ingest simulate --seed {seed} --posts {n_posts}",
        *(f"pairs build {recipe} --recipe {recipe}" for recipe in RECIPES),
        *(f"pairs audit {name}" for name in (*RECIPES, "hard-test")),
        *(
            f"rm train {recipe} --model {MODEL} --max-pairs {N_TRAIN_PAIRS} --run demo-{recipe} --resume"
            for recipe in RECIPES
        ),
        f"experiment recipes {' '.join(RECIPES)} --models tfidf",
        "experiment scaling balanced --models scratch-10k,scratch-50k,scratch-200k --sizes 400,800,1600,3200 --seeds 1",
        f"experiment transfer balanced --model {MODEL}",
    ]


@app.command()
def demo(
    ctx: typer.Context,
    seed: int = typer.Option(0, help="Seed of the simulated Reddit."),
    posts: int = typer.Option(8000, min=300, help="Posts to simulate."),
    as_json: bool = typer.Option(False, "--json", help="Print the closing table as one JSON object on stdout."),
) -> None:
    """Run every stage on a simulated Reddit: ingest, pairs, audits, reward models, recipes, scaling, transfer."""
    started = time.monotonic()
    commands = plan(seed, posts)
    for number, command in enumerate(commands, start=1):
        say(f"\n[bold cyan]({number}/{len(commands)}) lurker {command}[/]")
        with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
            code = run(["--workspace", str(ctx.obj), *command.split()])
        if code:
            raise LurkerError(f"The demo stopped at `lurker {command}` (exit code {code}).", "Fix it, then run again.")
    workspace = open_workspace(ctx.obj)
    rows = [closing_row(workspace, recipe) for recipe in RECIPES]
    minutes, seconds = divmod(round(time.monotonic() - started), 60)
    if as_json:
        print_json({"workspace": str(ctx.obj), "seconds": minutes * 60 + seconds, "recipes": rows})
        return
    print_table("\nIs that accuracy taste, or a shortcut?", rows)
    say("Shortcut columns: how often a probe that never reads the text predicts the winner of the recipe's own pairs.")
    say("Hard-test columns: the same frozen pairs for every row, balanced in all shortcuts. 95 % intervals by post.")
    say(f"\nDone in {minutes} min {seconds} s. Explore the results:  [bold]lurker --workspace {ctx.obj} dashboard[/]")


def closing_row(workspace: Workspace, recipe: str) -> dict[str, Any]:
    """One row of the closing table, read from the tables that the demo's commands wrote."""
    audit = read_json(workspace.folder("pairs", recipe) / "audit.json")
    truth = read_json(workspace.folder("pairs", "hard-test") / "audit.json")["truth"]
    evaluations = pl.read_parquet(workspace.folder("runs", f"demo-{recipe}") / "evaluations.parquet")

    def probe(confounders: str) -> str:
        return next(
            _interval(row)
            for row in audit["probes"]
            if (row["split"], row["subreddit"], row["confounders"]) == ("all", "all", confounders)
            and row["probe"] == "boosting"
        )

    def hard(predictor: str) -> str:
        row = evaluations.filter(pairs="hard-test", subreddit="all", predictor=predictor)
        return _interval(row.row(0, named=True))

    return {
        "recipe": recipe,
        "pairs": audit["n_pairs"],
        "shortcut: time": probe("time"),
        "shortcut: length": probe("length"),
        "shortcut: all": probe("joint"),
        "hard test: TF-IDF": hard("tfidf"),
        f"hard test: {MODEL}": hard("model"),
        "hard test: truth allows": _interval(truth),
    }


def _interval(row: dict[str, Any]) -> str:
    return f"{row['accuracy']:.3f} [{row['accuracy_low']:.3f}, {row['accuracy_high']:.3f}]"
