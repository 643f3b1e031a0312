"""`lurker policy`: train writers, sample them, and look at policies."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from lurker.errors import CallError
from lurker.help import CommandGroup
from lurker.pair_sets import read_pair_set
from lurker.report import print_json, show
from lurker.workspace import open_workspace
from rm.options import AsJson, Subreddits

app = typer.Typer(
    cls=CommandGroup,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Train language models that write responses, and sample them.",
)
PolicyId = Annotated[str, typer.Argument(metavar="POLICY", help="Id of a policy.")]
WriterModel = Annotated[
    str,
    typer.Option(
        "--model",
        help="scratch-10k to scratch-16m, smollm2-135m, a Hugging Face id, a local folder, policy:ID or run:ID.",
    ),
]
WriterSettings = Annotated[
    list[str] | None,
    typer.Option("--set", help="field=value of the writer's config, e.g. top_share=0.1. Repeatable."),
]


@app.command("list")
def list_command(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List the policies: kind, model, pair set, validation loss, size and date; interrupted ones too."""
    workspace = open_workspace(ctx.obj)
    from rm.policy.listing import list_policies

    list_policies(workspace).print("policies", as_json=as_json)


@app.command("show")
def show_command(ctx: typer.Context, policy: PolicyId, as_json: AsJson = False) -> None:
    """Show a policy: what it learned from, its loss on held-out responses, what it copies, its learning curve."""
    workspace = open_workspace(ctx.obj)
    from rm.policy.show import show_policy

    shown = show_policy(workspace, policy)
    if as_json:
        print_json(shown.report())
        return
    for table in shown.tables():
        show(table)
    if shown.config.get("kind") == "writer":
        typer.echo(shown.curve.text("share of tokens that the writer finds likeliest"))


@app.command("delete")
def delete_command(
    ctx: typer.Context,
    policies: Annotated[list[str], typer.Argument(metavar="POLICY...", help="Ids of policies, finished or not.")],
    force: bool = typer.Option(False, "--force", help="Also policies that others were trained from."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Only say what would be deleted, and what uses it."),
    as_json: AsJson = False,
) -> None:
    """Delete policies, all or none; one that others were trained from is refused."""
    workspace = open_workspace(ctx.obj)
    from rm.policy.listing import delete_policies

    deletion = delete_policies(workspace, policies, force=force, is_dry=dry_run)
    if as_json:
        print_json(deletion.report())
    else:
        show(deletion.table())


@app.command("train-writer")
def train_writer_command(
    ctx: typer.Context,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Pair set; or a community: the pair set with most of its pairs.")
    ],
    model: WriterModel,
    policy: str | None = typer.Option(None, "--id", help="Id of the policy; made from the arguments by default."),
    resume: bool = typer.Option(False, "--resume", help="Resume an interrupted writer; a finished one is reported."),
    subreddit: Subreddits = None,
    seed: int = typer.Option(0, "--seed", min=0, help="Seed of the initial weights and the order."),
    settings: WriterSettings = None,
    as_json: AsJson = False,
) -> None:
    """Train a writer: supervised fine-tuning on responses whose score is above what time and length foretell."""
    workspace = open_workspace(ctx.obj)
    from lurker.progress import say
    from rm.policy.api import train_writer
    from rm.policy.writer_config import WriterConfig
    from rm.policy.writer_data import find_pairs
    from rm.training.distributed import current_processes
    from rm.training.settings import parse_settings

    pairs, community = find_pairs(workspace, name)
    if community:
        say(f"r/{name.removeprefix('r/')} has most pairs in {pairs.name}: its responses are learned.")
    if community and subreddit:
        raise CallError(f"{name} is a community, and --subreddit names another.", "Name a pair set with --subreddit.")
    trained = train_writer(
        pairs,
        model,
        seed=seed,
        subreddits=community or subreddit or (),
        policy_id=policy,
        resume=resume,
        **parse_settings(settings or (), config=WriterConfig),
    )
    if not current_processes().is_first:
        return
    if as_json:
        print_json(trained.result)
    else:
        show(trained.table())


@app.command("sample")
def sample_command(
    ctx: typer.Context,
    policy: Annotated[
        str, typer.Argument(metavar="POLICY", help="Id of a policy, a Hugging Face id or a folder of a language model.")
    ],
    prompts: Annotated[
        Path | None,
        typer.Argument(metavar="PROMPTS", help="JSONL or Parquet of prompt, and optionally prompt_id and subreddit."),
    ] = None,
    pairs: str | None = typer.Option(None, "--pairs", help="Answer the posts of this pair set, in place of PROMPTS."),
    split: str = typer.Option("test", "--split", help="Its split: train | validation | test | all."),
    n_prompts: int | None = typer.Option(None, "--prompts", min=1, help="Number of prompts; all by default."),
    n: int = typer.Option(1, "--n", min=1, help="Samples of each prompt."),
    out: Path | None = typer.Option(
        None, "--out", help="File to write, .parquet or .jsonl; samples/POLICY.parquet in the workspace by default."
    ),
    max_new_tokens: int | None = typer.Option(
        None, "--max-new-tokens", min=1, help="Longest sample; what the policy was trained with by default."
    ),
    max_prompt_tokens: int | None = typer.Option(
        None, "--max-prompt-tokens", min=0, help="Tokens of a prompt that are read, from its start; likewise."
    ),
    temperature: float = typer.Option(1.0, "--temperature", min=0, help="0 takes the most probable token."),
    top_p: float = typer.Option(1.0, "--top-p", help="Draw only tokens that together have this probability."),
    reference: str | None = typer.Option(
        None, "--reference", help="Also add the log-probability under this policy, such as the writer of an agent."
    ),
    human: bool = typer.Option(False, "--human", help="Also add people's responses to the posts, up to --n each."),
    engine: Annotated[
        Literal["transformers", "vllm"], typer.Option("--engine", help="vllm: for GPUs, where it is installed.")
    ] = "transformers",
    seed: int = typer.Option(0, "--seed", min=0, help="Seed of the samples."),
    replace: bool = typer.Option(
        False, "--replace", help="Replace samples in the file that were drawn in another way, rewards included."
    ),
    as_json: AsJson = False,
) -> None:
    """Sample responses to prompts into a file; the same command again goes on where an interrupted one was."""
    workspace = open_workspace(ctx.obj)
    from rm.policy.api import sample
    from rm.policy.sample_file import read_prompts, require_sample_file

    if (prompts is None) == (pairs is None):
        given = "neither" if pairs is None else "both"
        raise CallError(f"One of PROMPTS and --pairs is needed, got {given}.", "Name a file or a pair set.")
    if prompts is not None and out is not None:
        require_sample_file(out, [prompts])
    lengths: dict[str, Any] = {"max_new_tokens": max_new_tokens, "max_prompt_tokens": max_prompt_tokens}
    samples = sample(
        policy,
        read_pair_set(workspace, pairs) if pairs is not None else read_prompts(Path(str(prompts))),
        split=split,
        n_prompts=n_prompts,
        out=out or workspace.root / "samples" / f"{Path(policy).name.removeprefix('policy:')}.parquet",
        reference=reference,
        with_human=human,
        engine=engine,
        workspace=workspace,
        replace=replace,
        n=n,
        temperature=temperature,
        top_p=top_p,
        seed=seed,
        **{name: value for name, value in lengths.items() if value is not None},
    )
    table = samples.table()
    if as_json:
        print_json({"out": str(samples.out), "sources": list(table.rows)})
    else:
        show(table)
