"""Command-line options that `lurker rm` and `lurker experiment` share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from lurker.engine import Engine

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="field=value of the training config, e.g. learning_rate=1e-3. Repeatable."),
]
Baselines = Annotated[
    Literal["none", "cheap", "all"],
    typer.Option("--baselines", help="none: the model alone; cheap: all but frozen embeddings; all."),
]
Subreddits = Annotated[list[str] | None, typer.Option("--subreddit", help="Only this community. Repeatable.")]
Model = Annotated[
    str, typer.Option("--model", help="scratch-10k to scratch-16m, a Hugging Face id, a local folder, or run:ID.")
]
Test = Annotated[str | None, typer.Option("--test", help="Pair set to test on; hard-test by default, if it exists.")]
EngineName = Annotated[
    Engine,
    typer.Option("--engine", help="local: processes here; ray: the cluster at RAY_ADDRESS, or a new one."),
]
Workers = Annotated[
    int | None, typer.Option("--workers", min=1, help="Processes of the local engine; as many as fit by default.")
]
Seeds = Annotated[int, typer.Option("--seeds", min=1, help="Number of seeds.")]
Title = Annotated[
    str | None,
    typer.Option("--name", help="Name of the experiment; NAME-scaling, NAME-transfer or NAME-search by default."),
]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="Id of a finished run.")]
Pairs = Annotated[str, typer.Option("--pairs", help="Pair set to evaluate on.")]
External = Annotated[
    Path | None,
    typer.Option(
        "--external",
        metavar="FILE",
        help="Judge on a file, folder or archive of prompt, chosen, rejected, in place of --pairs; also SHP's and "
        "UKPConvArg1's columns.",
    ),
]
Split = Annotated[str, typer.Option("--split", help="Its split: train | validation | test.")]
