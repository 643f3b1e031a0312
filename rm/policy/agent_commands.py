"""`lurker policy train-agent`: let a writer learn from a judge."""

from typing import Annotated

import typer

from lurker.help import CommandGroup
from lurker.report import print_json, show
from lurker.workspace import open_workspace
from rm.options import AsJson, Subreddits
from rm.policy.agent_config import Method

app = typer.Typer(cls=CommandGroup, pretty_exceptions_enable=False, rich_markup_mode=None, no_args_is_help=True)
AgentSettings = Annotated[
    list[str] | None,
    typer.Option("--set", help="field=value of the agent's config, e.g. kl_weight=0.1. Repeatable."),
]


@app.callback()
def group() -> None:
    """Let writers learn from a judge."""


@app.command("train-agent")
def train_agent_command(
    ctx: typer.Context,
    writer: Annotated[
        str, typer.Argument(metavar="WRITER", help="Id of a policy, a Hugging Face id or a folder of a language model.")
    ],
    judge: Annotated[
        list[str],
        typer.Option("--judge", help="A run, truth (simulated Reddit) or length. Repeat it for one per round."),
    ],
    method: Annotated[Method, typer.Option("--method", help="How it learns.")] = "grpo-pairwise",
    held_out: str | None = typer.Option(
        None, "--held-out", help="Judge trained on other posts: it selects the weights and stops training."
    ),
    pairs: str | None = typer.Option(
        None, "--pairs", help="Pair set whose posts are the prompts; by default that of the judge, or of the writer."
    ),
    rounds: int | None = typer.Option(None, "--rounds", min=1, help="Train so many agents, each from the one before."),
    policy: str | None = typer.Option(None, "--id", help="Id of the policy; made from the arguments by default."),
    resume: bool = typer.Option(False, "--resume", help="Resume an interrupted agent; a finished one is reported."),
    subreddit: Subreddits = None,
    seed: int = typer.Option(0, "--seed", min=0, help="Seed of the prompts' order and of all samples."),
    settings: AgentSettings = None,
    as_json: AsJson = False,
) -> None:
    """Train an agent: responses are drawn, a judge rewards them, and what it prefers becomes likelier."""
    workspace = open_workspace(ctx.obj)
    from rm.policy.agent_api import train_agent
    from rm.policy.agent_config import AgentConfig
    from rm.training.distributed import current_processes
    from rm.training.settings import parse_settings

    trained = train_agent(
        workspace,
        writer,
        judge,
        method=method,
        held_out=held_out,
        pairs=pairs,
        rounds=rounds,
        seed=seed,
        subreddits=subreddit or (),
        policy_id=policy,
        resume=resume,
        **parse_settings(settings or (), config=AgentConfig),
    )
    if not current_processes().is_first:
        return
    if as_json:
        print_json({"agents": trained.results})
    else:
        show(trained.table())
