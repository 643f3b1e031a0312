"""`lurker experiment`: data and model size, transfer, recipes, settings, ceilings, and reports of them."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import typer

from lurker.errors import CallError
from lurker.help import CommandGroup
from lurker.pair_sets import read_pair_set
from lurker.progress import say
from lurker.workspace import open_workspace
from rm.experiments.finished_commands import delete_command, list_command, report_command, show_command, show_result
from rm.experiments.results import ExperimentResult
from rm.options import AsJson, EngineName, Model, Seeds, Settings, Split, Subreddits, Test, Title, Workers

app = typer.Typer(
    cls=CommandGroup,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Data and model size, transfer, recipes compared, settings searched, and the ceilings of a pair set.",
)
PairsName = Annotated[str, typer.Argument(metavar="NAME", help="Pair set to train on.")]


@app.command("scaling")
def scaling_command(
    ctx: typer.Context,
    name: PairsName,
    models: Annotated[str, typer.Option("--models", help="SPECs, separated by commas.")],
    sizes: Annotated[str, typer.Option("--sizes", help="Numbers of training pairs, separated by commas.")],
    seeds: Seeds = 3,
    protocol: Annotated[
        Literal["retrain", "online"],
        typer.Option(
            "--protocol", help="retrain: a run per size; online: one pass over the largest, evaluated at each size."
        ),
    ] = "retrain",
    x: Annotated[
        Literal["pairs", "tokens", "time"], typer.Option("--x", help="What the curve takes as the amount of data.")
    ] = "pairs",
    test: Test = None,
    subreddit: Subreddits = None,
    engine: EngineName = "local",
    workers: Workers = None,
    experiment: Title = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Accuracy on one test for every model, data size and seed; finished cells are not run again."""
    workspace = open_workspace(ctx.obj)
    from rm.experiments.scaling import scaling
    from rm.training.settings import parse_settings

    result = scaling(
        read_pair_set(workspace, name),
        _names(models),
        _whole_numbers("--sizes", sizes),
        seeds=seeds,
        protocol=protocol,
        x=x,
        test=test,
        subreddits=subreddit or (),
        name=experiment,
        engine=engine,
        n_workers=workers,
        **parse_settings(settings or ()),
    )
    _finish(result, as_json)


@app.command("transfer")
def transfer_command(
    ctx: typer.Context,
    name: PairsName,
    model: Model,
    design: Annotated[
        Literal["pairwise", "pooled", "leave-one-out", "few-shot"],
        typer.Option(
            "--design",
            help="pairwise: each community teaches a model, tested on all; pooled: one of all together; leave-one-out: "
            "for each target, all others; few-shot: start elsewhere, then tune on few pairs of --target.",
        ),
    ] = "pairwise",
    max_pairs: int | None = typer.Option(
        None, "--max-pairs", min=2, help="Training pairs of each source; those of the smallest by default."
    ),
    unequal: bool = typer.Option(False, "--unequal", help="Train each source on all its pairs."),
    min_pairs: int = typer.Option(
        200, "--min-pairs", min=2, help="Training pairs that a community needs; others are named and left out."
    ),
    effect: float = typer.Option(
        0.02, "--effect", help="Difference in accuracy for which the test posts needed are told."
    ),
    target: str | None = typer.Option(
        None, "--target", help="few-shot: the community, or `external` where NAME was imported."
    ),
    sizes: str | None = typer.Option(
        None, "--sizes", help="few-shot: numbers of target pairs; 0 tests a start as it is. [default: 0,100,1000]"
    ),
    starts: list[str] | None = typer.Option(
        None,
        "--start",
        help="few-shot: run:ID or SPEC to tune beside --model from nothing, with `field=value` of its own after it; "
        "by default a model of the other communities. Repeatable.",
    ),
    source_sizes: str | None = typer.Option(
        None, "--source-sizes", help="few-shot: training pairs of the other communities; a sequence by default."
    ),
    seeds: Seeds = 1,
    test: Test = None,
    subreddit: Subreddits = None,
    engine: EngineName = "local",
    workers: Workers = None,
    experiment: Title = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Train on communities, test on others, against in-domain training; finished cells are not run again."""
    workspace = open_workspace(ctx.obj)
    from rm.experiments.few_shot import few_shot
    from rm.experiments.transfer import transfer
    from rm.training.settings import parse_settings

    common: dict[str, Any] = {
        **{"seeds": seeds, "test": test, "subreddits": subreddit or (), "name": experiment, "effect": effect},
        **{"engine": engine, "n_workers": workers, **parse_settings(settings or ())},
    }
    pairs = read_pair_set(workspace, name)
    if design == "few-shot":
        _refuse(design, {"--max-pairs": max_pairs, "--unequal": unequal or None})
        if target is None:
            raise CallError("few-shot needs a target.", "Add `--target COMMUNITY`, or `--target external`.")
        result: ExperimentResult = few_shot(
            pairs,
            model,
            target,
            sizes=_whole_numbers("--sizes", "0,100,1000" if sizes is None else sizes),
            starts=starts or (),
            source_sizes=_whole_numbers("--source-sizes", source_sizes or ""),
            **common,
        )
    else:
        few_shot_only = {"--target": target, "--sizes": sizes, "--start": starts, "--source-sizes": source_sizes}
        _refuse(design, few_shot_only)
        result = transfer(
            pairs,
            model,
            design=design,
            max_pairs=max_pairs,
            is_equal=not unequal,
            min_pairs=min_pairs,
            **common,
        )
    _finish(result, as_json)


def _refuse(design: str, options: Mapping[str, Any]) -> None:
    """Refuse options that a design does not read."""
    if given := [name for name, value in options.items() if value is not None]:
        raise CallError(f"--design {design} does not read {', '.join(given)}.", "Leave it out, or change the design.")


@app.command("recipes")
def recipes_command(
    ctx: typer.Context,
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Pair sets to train on, one per recipe.")],
    models: str = typer.Option("tfidf", "--models", help="tfidf and SPECs, separated by commas."),
    sizes: str = typer.Option(
        "all", "--sizes", help="Maximum numbers of training pairs: `all` or numbers, separated by commas."
    ),
    seeds: Seeds = 3,
    test: list[str] | None = typer.Option(
        None, "--test", help="Pair set to test on; hard-test and the balanced NAMEs by default. Repeatable."
    ),
    gaps: str = typer.Option("1,5", "--gaps", help="Minimum score gaps of the test pairs, separated by commas."),
    reference: str | None = typer.Option(
        None, "--reference", help="NAME that the others are compared with; the balanced one by default."
    ),
    engine: EngineName = "local",
    workers: Workers = None,
    experiment: str = typer.Option("recipes", "--name", help="Name of the experiment."),
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Train the same model on each pair set; test all on the same pairs and, where it is known, on truth."""
    workspace = open_workspace(ctx.obj)
    from rm.experiments.recipe_comparison import recipes
    from rm.training.settings import parse_settings

    result = recipes(
        [read_pair_set(workspace, name) for name in names],
        models=_names(models),
        sizes=[None if part == "all" else _whole_numbers("--sizes", part)[0] for part in _names(sizes)],
        seeds=seeds,
        tests=test or (),
        min_gaps=_whole_numbers("--gaps", gaps),
        reference=reference,
        name=experiment,
        engine=engine,
        n_workers=workers,
        **parse_settings(settings or ()),
    )
    _finish(result, as_json)


@app.command("search")
def search_command(
    ctx: typer.Context,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Pair set whose validation split evaluates; trained on too.")
    ],
    model: Model,
    stages: Annotated[
        list[str],
        typer.Option(
            "--try",
            help="Candidates of a stage: `field=value field=value | field=value`; pairs and max_pairs are fields too. "
            "Repeatable: each stage continues from the best of the one before.",
        ),
    ],
    seed: int = typer.Option(0, "--seed", min=0, help="Seed of every candidate."),
    engine: EngineName = "local",
    workers: Workers = None,
    experiment: Title = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Search training settings on validation pairs alone, stage by stage; finished cells are not run again."""
    workspace = open_workspace(ctx.obj)
    from rm.experiments.search import RUN_FIELDS, parse_stage, search
    from rm.training.settings import parse_settings

    result = search(
        read_pair_set(workspace, name),
        model,
        [parse_stage(stage) for stage in stages],
        start=parse_settings(settings or (), RUN_FIELDS),
        seed=seed,
        name=experiment,
        engine=engine,
        n_workers=workers,
    )
    _finish(result, as_json)
    if not as_json:
        say(result.sentence)


@app.command("ceiling")
def ceiling_command(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Pair set whose labels are judged.")],
    split: Split = "test",
    test: str | None = typer.Option(
        None, "--test", help="Judge the labels of this pair set instead, with the runs that were trained on NAME."
    ),
    runs: str | None = typer.Option(
        None, "--runs", help="Ids of runs, separated by commas; all that were evaluated on these pairs by default."
    ),
    experiment: str | None = typer.Option(None, "--name", help="Name of the experiment; NAME-ceiling by default."),
    as_json: AsJson = False,
) -> None:
    """Estimate the accuracy that no predictor can exceed on a pair set's labels; nothing is trained."""
    workspace = open_workspace(ctx.obj)
    from rm.experiments.ceiling import ceiling

    result = ceiling(
        read_pair_set(workspace, name),
        split=split,
        test=test,
        runs=None if runs is None else _names(runs),
        name=experiment,
    )
    _finish(result, as_json)


app.command("list")(list_command)
app.command("show")(show_command)
app.command("report")(report_command)
app.command("delete")(delete_command)


def _finish(result: ExperimentResult, as_json: bool) -> None:
    """Print a result; exit with 1 when a cell failed."""
    show_result(result, as_json=as_json)
    if result.failures:
        raise typer.Exit(1)


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _whole_numbers(option: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in _names(text))
    except ValueError as error:
        raise CallError(f"{option} takes whole numbers separated by commas, got {text!r}.") from error
