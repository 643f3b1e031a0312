"""`lurker experiment`: data and model size, transfer across communities, recipes compared."""

from typing import Annotated, Any

import typer

from lurker.engine import Engine
from lurker.errors import CallError
from lurker.progress import say
from lurker.report import print_json, print_table
from lurker.workspace import Workspace, open_workspace, read_json
from rm.options import AsJson, Model, Settings, Subreddits, Test

app = typer.Typer(
    pretty_exceptions_enable=False, no_args_is_help=True, help="Data and model size, transfer, and recipes compared."
)

EngineName = Annotated[
    Engine, typer.Option("--engine", help="local: processes here; ray: the cluster of RAY_ADDRESS, or a new one.")
]
Workers = Annotated[int | None, typer.Option("--workers", min=1, help="Processes of the local engine; one per core.")]
Seeds = Annotated[int, typer.Option("--seeds", min=1, help="How many seeds.")]
Title = Annotated[
    str | None, typer.Option("--name", help="Name of the experiment; NAME-scaling, NAME-transfer or NAME-search.")
]


@app.command("scaling")
def scaling_command(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Pair set to train on.")],
    models: Annotated[str, typer.Option("--models", help="SPECs, separated by commas.")],
    sizes: Annotated[str, typer.Option("--sizes", help="Training pairs, separated by commas.")],
    seeds: Seeds = 3,
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
    from rm.experiments.scaling import ScalingConfig, run_scaling, summary

    config = _checked(
        ScalingConfig,
        pairs=name,
        models=_names(models),
        sizes=_whole_numbers("--sizes", sizes),
        n_seeds=seeds,
        test_pairs=test,
        subreddits=tuple(subreddit or ()),
        settings=tuple(settings or ()),
    )
    title = experiment or f"{name}-scaling"
    table = run_scaling(workspace, title, config, engine, workers)
    if as_json:
        print_json(_experiment_report(workspace, title, table.to_dicts()))
        return
    print_table(f"Accuracy on {table['test_pairs'][0]} (experiment {title})", summary(table))


@app.command("transfer")
def transfer_command(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Pair set to train on.")],
    model: Model,
    max_pairs: int | None = typer.Option(
        None, "--max-pairs", min=2, help="Pairs of each source; the smallest's count."
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
    """Train on each community, judge on every other; finished cells are not run again."""
    workspace = open_workspace(ctx.obj)
    from rm.experiments.transfer import TransferConfig, matrix, run_transfer

    config = _checked(
        TransferConfig,
        pairs=name,
        model=model,
        max_pairs=max_pairs,
        n_seeds=seeds,
        test_pairs=test,
        subreddits=tuple(subreddit or ()),
        settings=tuple(settings or ()),
    )
    title = experiment or f"{name}-transfer"
    table = run_transfer(workspace, title, config, engine, workers)
    if as_json:
        print_json(_experiment_report(workspace, title, table.to_dicts()))
        return
    for predictor in (model, *(["tfidf"] if "tfidf" in table["predictor"] else [])):
        print_table(
            f"Accuracy of {predictor} on {table['test_pairs'][0]} (experiment {title})", matrix(table, predictor)
        )


@app.command("recipes")
def recipes_command(
    ctx: typer.Context,
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Pair sets to train on, one a recipe.")],
    models: str = typer.Option("tfidf", "--models", help="tfidf and SPECs, separated by commas."),
    sizes: str = typer.Option("all", "--sizes", help="Most training pairs of a set: `all`, numbers, by commas."),
    seeds: Seeds = 3,
    test: list[str] | None = typer.Option(
        None, "--test", help="Pair set judged on; hard-test and the balanced NAMEs. Repeatable."
    ),
    gaps: str = typer.Option("1,5", "--gaps", help="Least score gaps that tests are judged at, by commas."),
    reference: str | None = typer.Option(None, "--reference", help="NAME the others are compared with; the balanced."),
    engine: EngineName = "local",
    workers: Workers = None,
    experiment: str = typer.Option("recipes", "--name", help="Name of the experiment."),
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """The same model trained on each pair set, judged on the same tests and, where it is known, on the truth."""
    workspace = open_workspace(ctx.obj)
    from rm.experiments.recipe_comparison import RecipesConfig, run_recipes

    config = _checked(
        RecipesConfig,
        pairs=tuple(names),
        models=_names(models),
        sizes=_sizes(sizes),
        n_seeds=seeds,
        tests=tuple(test or ()),
        min_gaps=_whole_numbers("--gaps", gaps),
        reference=reference,
        settings=tuple(settings or ()),
    )
    table, differences = run_recipes(workspace, experiment, config, engine, workers)
    manifest = read_json(workspace.folder("experiments", experiment) / "manifest.json")
    if as_json:
        report = _experiment_report(workspace, experiment, table.to_dicts())
        print_json(report | {"differences": differences.to_dicts(), "manifest": manifest})
        return
    _print_recipes(table, differences, manifest)


@app.command("search")
def search_command(
    ctx: typer.Context,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Pair set whose validation split judges; trained on too.")
    ],
    model: Model,
    stages: Annotated[
        list[str],
        typer.Option(
            "--try",
            help="Candidates of a stage: `field=value field=value | field=value`; pairs and max_pairs are fields too. "
            "Repeatable: each stage goes on from the best of the one before.",
        ),
    ],
    seed: int = typer.Option(0, "--seed", min=0, help="Seed of every candidate."),
    engine: EngineName = "local",
    workers: Workers = None,
    experiment: Title = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Find a way to train on validation pairs alone, one field after another; finished cells are not run again."""
    workspace = open_workspace(ctx.obj)
    from rm.experiments.search import SearchConfig, run_search

    config = _checked(
        SearchConfig, pairs=name, model=model, stages=tuple(stages), settings=tuple(settings or ()), seed=seed
    )
    title = experiment or f"{name}-search"
    table = run_search(workspace, title, config, engine, workers)
    if as_json:
        print_json(_experiment_report(workspace, title, table.to_dicts()))
        return
    shown = [
        {
            "stage": row["stage"],
            "candidate": row["candidate"],
            "log loss": f"{row['log_loss']:.4f}",
            "over the best": f"{row['excess']:+.4f} [{row['excess_low']:+.4f}, {row['excess_high']:+.4f}]",
            "accuracy": f"{row['accuracy']:.3f} [{row['accuracy_low']:.3f}, {row['accuracy_high']:.3f}]",
            "best step": f"{row['best_step']} of {row['steps']}",
            "seconds": round(row["train_time_s"]),
            "kept": "yes" if row["is_kept"] else "",
        }
        for row in table.to_dicts()
    ]
    print_table(f"Validation of {name} (experiment {title})", shown)
    say(f"Best: `lurker rm train {_train_call(table.filter('is_kept')['settings'][-1], name, model)}`")


def _train_call(settings: str, name: str, model: str) -> str:
    """The arguments of `rm train` that a candidate's settings stand for."""
    fields = dict(setting.split("=", 1) for setting in settings.split())
    pairs, most = fields.pop("pairs", name), fields.pop("max_pairs", None)
    call = [pairs, f"--model {model}", *([f"--max-pairs {most}"] if most else [])]
    call += [f"--validation {name}"] if pairs != name else []
    return " ".join([*call, *(f"--set {field}={value}" for field, value in fields.items())])


def _print_recipes(table: Any, differences: Any, manifest: dict[str, Any]) -> None:
    from rm.experiments.recipe_tables import accuracy_summary, difference_summary, following_summary, truth_summary

    for test in manifest["tests"]:
        print_table(f"Accuracy on {test}, the same pairs for every row", accuracy_summary(table, test))
    ours = f"{manifest['reference']} minus the others, on the same"
    print_table(f"{ours} test pairs", difference_summary(differences, of_truth=False))
    if not manifest["has_truth"]:
        say("No truth of these responses is known here, as of any real Reddit: the tests are the judge.")
        return
    print_table("Names the response of higher true quality", truth_summary(table))
    print_table("Follows, within posts (length and delay at fixed quality: 0 is best)", following_summary(table))
    print_table(f"{ours} responses of known quality", difference_summary(differences, of_truth=True))


def _sizes(text: str) -> tuple[int | None, ...]:
    return tuple(None if part == "all" else _whole_numbers("--sizes", part)[0] for part in _names(text))


def _experiment_report(workspace: Workspace, title: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {"experiment": title, "folder": str(workspace.folder("experiments", title)), "rows": rows}


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _whole_numbers(option: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in _names(text))
    except ValueError as error:
        raise CallError(f"{option} takes whole numbers separated by commas, got {text!r}.") from error


def _checked(config: type[Any], **values: Any) -> Any:
    try:
        return config(**values)
    except ValueError as error:
        raise CallError(f"{str(error)[0].upper()}{str(error)[1:]}.") from error
