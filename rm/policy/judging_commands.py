"""`lurker policy best-of-n`, `teachers` and `responses`: what judges, and people, make of a policy's samples."""

from pathlib import Path
from typing import Annotated

import typer

from lurker.errors import CallError
from lurker.help import CommandGroup
from lurker.report import print_json, show
from lurker.workspace import open_workspace
from rm.options import AsJson

app = typer.Typer(cls=CommandGroup, pretty_exceptions_enable=False, rich_markup_mode=None, no_args_is_help=True)
SampleFile = Annotated[
    Path, typer.Argument(metavar="SAMPLES", help="Samples of one policy, as `lurker policy sample` writes them.")
]


@app.command("best-of-n")
def best_of_n_command(
    ctx: typer.Context,
    samples: SampleFile,
    judge: str = typer.Option(..., "--judge", help="What chooses the best: a run, truth or length."),
    held_out: str | None = typer.Option(None, "--held-out", help="A run that the choice does not see."),
    truth: bool = typer.Option(False, "--truth", help="Also by the simulator's truth."),
    n: str = typer.Option("", "--n", metavar="N,N,...", help="Samples of which the best is taken; powers of 2 to all."),
    as_json: AsJson = False,
) -> None:
    """Tell what the best of n samples is worth to its judge, to a held-out one and to the truth, for every n at once.

    The rewards are written into SAMPLES, and what is found beside it as NAME.JUDGE.best-of-n.parquet and .json.
    """
    workspace = open_workspace(ctx.obj)
    sizes = _numbers(n)
    from rm.policy.best_of_n_report import best_of_n

    found = best_of_n(workspace, samples, judge, held_out=held_out, with_truth=truth, sizes=sizes)
    if as_json:
        print_json(found.report())
        return
    for table in found.tables():
        show(table)


@app.command("teachers")
def teachers_command(
    ctx: typer.Context,
    samples: SampleFile,
    judge: list[str] = typer.Option(..., "--judge", help="A run, truth or length. Repeatable."),
    outcome: str = typer.Option("truth", "--outcome", help="What measures the taught: truth, or a run."),
    n: int = typer.Option(16, "--n", min=2, help="Samples of which the best is taken."),
    as_json: AsJson = False,
) -> None:
    """Compare reward models as teachers of the writer of SAMPLES: what is known before, and what came of each."""
    workspace = open_workspace(ctx.obj)
    from rm.policy.teacher import teachers

    found = teachers(workspace, samples, judge, outcome=outcome, n=n)
    if as_json:
        print_json(found.report())
    else:
        show(found.table())


@app.command("responses")
def responses_command(
    ctx: typer.Context,
    samples: Annotated[list[Path], typer.Argument(metavar="SAMPLES...", help="Files of `lurker policy sample`.")],
    out: Path = typer.Option(..., "--out", help="File to write, .parquet or .jsonl, for `arena serve --responses`."),
    judge: str | None = typer.Option(None, "--judge", help="Add the rewards of a run, truth or length."),
    best_of: int | None = typer.Option(None, "--best-of", min=2, help="Add the best of so many samples by the judge."),
    n_prompts: int | None = typer.Option(None, "--prompts", min=1, help="Number of prompts; all by default."),
    as_json: AsJson = False,
) -> None:
    """Put one response of each source to each prompt side by side, for people to compare blind in an arena."""
    workspace = open_workspace(ctx.obj)
    from rm.policy.responses import responses

    found = responses(workspace, samples, judge=judge, best_of=best_of, n_prompts=n_prompts, out=out)
    table = found.table()
    if as_json:
        print_json({"out": str(out), "sources": list(table.rows)})
    else:
        show(table)


def _numbers(text: str) -> list[int]:
    """Whole numbers between commas.

    Raises:
        CallError: one is none.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if wrong := [part for part in parts if not part.isdigit() or int(part) < 1]:
        raise CallError(f"--n takes whole numbers from 1, got {wrong[0]!r}.", "Write them as `--n 1,4,16,64`.")
    return [int(part) for part in parts]
