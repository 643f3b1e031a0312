"""How an experiment was made and what it does not tell, in sentences."""

from collections.abc import Callable, Sequence
from typing import Any

from lurker.decimals import counted
from lurker.schema import TRUTH
from lurker.workspace import Workspace
from rm.experiments.scaling import Scaling
from rm.experiments.stored import Stored

INTERVALS = (
    "Accuracy is the share of test pairs whose chosen response gets the higher reward; 0.5 is chance. Intervals are at "
    "95 % and clustered by post, as pairs of one post share a prompt and responses."
)
OVER_SEEDS = (
    "Figures are means over seeds, and so are the ends of their intervals. All seeds are tested on the same pairs: "
    "more seeds do not narrow the interval, and the luck of a single seed is not in it."
)
WITH_SEEDS = (
    "Figures are means over seeds. Their intervals, and those of paired differences, add the variance of seeds to that "
    "of posts where there are several seeds; with one seed they hold for these models alone."
)
POWER = (
    "Differences are paired: both models are tested on the same pairs. The power of a comparison is the smallest "
    "difference that 80 % of such tests would detect."
)
CURVE = (
    "The curve loss = E + A·pairs^-alpha + B·parameters^-beta is fitted to log loss and to 1 − accuracy, each run "
    "weighted by the inverse of its variance; its intervals come from a bootstrap over whole runs and posts."
)
UNSEEN = "No post of a test was trained on, by any run or by a run that it started from."
VOTES = (
    "Votes are not quality. They are the taste of those who read a thread early enough to vote, in one community, "
    "after herding; an accuracy is agreement with these votes."
)
SHORTCUTS = (
    "The baselines length and time read no text: a model that is no better than they are may have learned nothing "
    "else. Shortcuts that are neither measured nor in the text, such as an image or a link that went viral, stay."
)
SIMULATED = "The threads are simulated. The figures say how the methods work, and nothing about people."
ONE_SEED = "One seed: how much a repetition with other initial weights would differ is not known."


def method(stored: Stored) -> list[str]:
    """What was trained, on what, and how it was judged; empty without a table."""
    said = _METHODS[stored.kind](stored.manifest) if stored.manifest else []
    is_fitted = isinstance(stored.result, Scaling) and not stored.result.fit.reason
    return [*said[:-1], CURVE, *said[-1:]] if is_fitted else said


def limits(stored: Stored) -> list[str]:
    """What the figures do not tell, the most important first."""
    config = stored.manifest.get("config", {})
    said = [stored.partial] if stored.partial else []
    if is_simulated(stored.experiment.workspace):
        said.append(SIMULATED)
    if config.get("n_seeds", 0) == 1 or stored.kind == "search":
        said.append(ONE_SEED)
    if stored.kind == "search":
        said.append("The kept candidate was chosen by the figures shown, so its own are too good by some luck.")
    if stored.kind in ("transfer", "few-shot"):
        said.append("Communities differ in more than taste: in length, in topics, and in how certain their votes are.")
    return [*said, VOTES, SHORTCUTS]


def is_simulated(workspace: Workspace) -> bool:
    """Whether the workspace knows the truth about its communities, as only the simulator does."""
    return bool(workspace.subreddits(TRUTH))


def _scaling(manifest: dict[str, Any]) -> list[str]:
    config = manifest["config"]
    sizes = ", ".join(f"{size:,}" for size in manifest["sizes"])
    how = {
        "retrain": "Each size is a run of its own, taken at its best step by validation; with the same seed, the pairs "
        "of a smaller size are among those of a larger one.",
        "online": "One pass over the largest set per model and seed, evaluated at each size.",
    }[config.get("protocol", "retrain")]
    models = _listed(one["model"] for one in manifest["models"])
    grid = (
        f"{counted(len(manifest['models']), 'model')} ({models}) {'was' if len(manifest['models']) == 1 else 'were'} "
        f"trained on {sizes} pairs of {config['pairs']} with {counted(config['n_seeds'], 'seed')} each, "
        f"{counted(len(manifest['cells']), 'run')} in all, and tested on {manifest['test_pairs']}. {how}"
    )
    sources = "A table separates what test posts and what seeds contribute to the interval of each accuracy."
    return [_training(grid, config), INTERVALS, f"{WITH_SEEDS} {sources}", UNSEEN]


def _transfer(manifest: dict[str, Any]) -> list[str]:
    config = manifest["config"]
    size = f"{manifest['n_train_pairs']:,} pairs" if config["is_equal"] else "all pairs"
    taught = {
        "pairwise": "tested on every one of them",
        "pooled": "and on a sample of all of them together, tested on every one",
        "leave-one-out": "and for each on a sample of all others together, tested on the one left out",
    }[config["design"]]
    grid = (
        f"{manifest['model']} was trained on {size} of each of "
        f"{_listed('r/' + name for name in manifest['subreddits'])} in {manifest['pairs']}, with "
        f"{counted(config['n_seeds'], 'seed')} each, {taught} in {manifest['test_pairs']}."
    )
    return [_training(grid, config), INTERVALS, WITH_SEEDS, POWER, UNSEEN]


def _few_shot(manifest: dict[str, Any]) -> list[str]:
    config = manifest["config"]
    starts = _listed(config["starts"]) or f"{config['model']}, trained on the other communities,"
    sizes = ", ".join(f"{size:,}" for size in config["sizes"])
    grid = (
        f"{starts} and an untrained {config['model']} (start: nothing) were tuned on {sizes} pairs of "
        f"{config['target']} in {manifest['pairs']} with {counted(config['n_seeds'], 'seed')} each, and tested on "
        f"{manifest['test_pairs']}; a quarter as many validation pairs chose the best step."
    )
    rates = "An exchange rate is read off a curve that never falls and is linear in the log of pairs between its sizes."
    return [_training(grid, config), INTERVALS, WITH_SEEDS, POWER, rates, UNSEEN]


def _recipes(manifest: dict[str, Any]) -> list[str]:
    config = manifest["config"]
    sets = _listed(f"{pairs} (recipe {recipe})" for pairs, recipe in manifest["recipes"].items())
    grid = (
        f"{_listed(config['models'])} {'was' if len(config['models']) == 1 else 'were'} trained on {sets} with "
        f"{counted(config['n_seeds'], 'seed')} each and tested on the same pairs of {_listed(manifest['tests'])}. "
        f"{manifest['reference']} is compared with the others on the same pairs, by a paired interval over posts."
    )
    truth = (
        "The simulator knows the quality of every response: each reward is also tested on pairs ordered by it, and "
        "correlated with quality, length and delay within posts."
    )
    return [_training(grid, config), INTERVALS, OVER_SEEDS, *([truth] if manifest["has_truth"] else []), UNSEEN]


def _search(manifest: dict[str, Any]) -> list[str]:
    config = manifest["config"]
    stages = (
        f"{config['model']} was trained with each candidate, seed {config['seed']}, and judged on the validation pairs "
        f"of {config['pairs']}, by log loss at the best scale of its margins. Each of "
        f"{counted(len(config['stages']), 'stage')} starts from the best candidate of the one before. No test was "
        "read."
    )
    return [_training(stages, config), "Intervals are at 95 % and clustered by post."]


def _ceiling(manifest: dict[str, Any]) -> list[str]:
    models = _listed(manifest["models"]) or "none"
    return [
        f"Nothing was trained. The labels of {manifest['pairs']} ({manifest['split']}) are judged by how certain their "
        f"votes are, by later looks at the same scores, and by models that were evaluated on them: {models}.",
        "Intervals are at 95 % and clustered by post; a bracket contains the ceiling if its assumptions hold.",
    ]


_METHODS: dict[str, Callable[[dict[str, Any]], list[str]]] = {
    "scaling": _scaling,
    "transfer": _transfer,
    "few-shot": _few_shot,
    "recipes": _recipes,
    "search": _search,
    "ceiling": _ceiling,
}


def _training(grid: str, config: dict[str, Any]) -> str:
    """The sentence with the settings that differ from their defaults."""
    settings: Sequence[str] = config["settings"]
    return f"{grid} Settings other than the defaults: {', '.join(settings)}." if settings else grid


def _listed(names: Any) -> str:
    *first, last = [*map(str, names)] or [""]
    return f"{', '.join(first)} and {last}" if first else last
