"""Command-line options that `lurker rm` and `lurker experiment` share."""

from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="field=value of the training, e.g. learning_rate=1e-3. Repeatable."),
]
Subreddits = Annotated[list[str] | None, typer.Option("--subreddit", help="Only this community. Repeatable.")]
Model = Annotated[str, typer.Option("--model", help="scratch-10k … scratch-16m, a Hugging Face id or a local folder.")]
Test = Annotated[str | None, typer.Option("--test", help="Pair set judged on; hard-test where there is one.")]
