"""One model of several seeds: the mean of their weights, judged as they were.

Runs that start from the same pretrained weights end in one basin, where the mean of the weights does what the mean of
the rewards would, and costs one model. Sources: Wortsman et al. 2022, "Model soups"; Ramé et al. 2024, "WARM: on the
benefits of weight averaged reward models".
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from lurker.config import fingerprint
from lurker.errors import CallError, LurkerError
from lurker.progress import progress, say
from lurker.workspace import Workspace, read_json, write_json
from rm.evaluation.evaluate_run import tokenise_as
from rm.models.ladder import LADDER, RewardModel, load, slug
from rm.models.scorer import describe_device, place
from rm.runs.train_run import conclude, environment
from rm.training.loop import validate
from rm.training.run_folder import RESULT, RunConfig, finished_run, read_run_pairs, run_config


def average_runs(workspace: Workspace, run_ids: Sequence[str], run_id: str | None = None) -> dict[str, Any]:
    """Write the mean of finished runs as a run of its own; its result, as in `result.json`.

    run_id: made from theirs when absent. A mean that is finished already is not made again.
    Errors: CallError when there are fewer than two, one comes twice, or they differ in more than their seed;
    LurkerError when the pairs they were trained on have changed.
    """
    if len(set(run_ids)) < max(len(run_ids), 2):
        raise CallError(f"A mean needs two runs or more, each once, got {', '.join(run_ids)}.", "E.g. RUN,RUN,RUN.")
    run_ids = sorted(run_ids)
    folders = [finished_run(workspace, name) for name in run_ids]
    described, config = _common(dict(zip(run_ids, folders, strict=True)))
    run_id = run_id or f"{config.pairs}-{slug(config.model)}-mean-{fingerprint(run_ids)[:8]}"
    folder = workspace.folder("runs", run_id)
    described |= {"mean_of": run_ids}
    if (folder / "config.json").exists() and read_json(folder / "config.json") != described:
        raise CallError(f"Run {run_id} exists already.", "Name another with `--run ID`.")
    if (folder / RESULT).exists():
        say(f"Run {run_id} is finished already: nothing to do.")
        return dict(read_json(folder / RESULT))
    pairs = read_run_pairs(workspace, config)
    if pairs.digest != described["data_digest"]:
        raise LurkerError(f"The pair sets that run {run_ids[0]} used were built anew since.", "Train new runs on them.")
    reward_model = mean_of(folders)
    write_json(described, folder / "config.json")
    where = describe_device(place(reward_model.model, reward_model.n_parameters))
    write_json(environment(where), folder / "env.json")
    validation = tokenise_as(pairs.validation, reward_model, config.train)
    results = [read_json(one / RESULT) for one in folders]
    facts = {
        **{name: value for name, value in results[0].items() if name not in ("best_step", "tokens_per_s")},
        "run_id": run_id,
        "mean_of": run_ids,
        "steps": sum(one["steps"] for one in results),
        "train_time_s": sum(one["train_time_s"] for one in results),
        "best_validation_log_loss": validate(reward_model.scorer(config.train.max_tokens), validation, config.train),
    }
    return conclude(workspace, run_id, config, reward_model, pairs, facts)


def mean_of(folders: Sequence[Path]) -> RewardModel:
    """The model of the first run's folder with the mean of the weights of all, added up in double precision.

    Errors: CallError when their weights have other names or shapes.
    """
    reward_model = load(folders[0] / "model")
    total: dict[str, torch.Tensor] = {}
    with progress("Adding weights", len(folders), "runs") as advance:
        for folder in folders:
            weights = load(folder / "model").model.state_dict()
            shapes = {name: tensor.shape for name, tensor in weights.items()}
            if total and shapes != {name: tensor.shape for name, tensor in total.items()}:
                raise CallError(f"The weights of {folder.name} are not those of {folders[0].name}.", "Leave it out.")
            for name, tensor in weights.items():
                total[name] = total[name] + tensor.double() if name in total else tensor.double()
            advance(1)
    mean = {name: (tensor / len(folders)).to(weights[name].dtype) for name, tensor in total.items()}
    reward_model.model.load_state_dict(mean)
    return reward_model


def _common(folders: dict[str, Path]) -> tuple[dict[str, Any], RunConfig]:
    """What the runs' config.json say, the seed that of the first.

    Errors: CallError when they differ in more than the seed, or start from other random weights each.
    """
    described = {name: read_json(folder / "config.json") for name, folder in folders.items()}
    first, *others = described
    for other in others:
        for part, (one, two) in {
            "": (described[first], described[other]),
            "train.": (described[first]["train"], described[other]["train"]),
        }.items():
            differ = [name for name in sorted(one.keys() | two.keys()) if one.get(name) != two.get(name)]
            if named := [f"{part}{name}" for name in differ if name not in ("train", "seed")]:
                raise CallError(
                    f"{first} and {other} differ in {', '.join(named)}: a mean is of runs that differ by seed alone.",
                    "Train the same call with `--seed 1`, `--seed 2`, ...",
                )
    config = run_config(described[first])
    if config.model in LADDER:
        raise CallError(
            f"{config.model} starts from other random weights with every seed: the mean of such models is no model.",
            "Compare their rewards instead: `lurker rm compare RUN,RUN,RUN tfidf --pairs NAME`.",
        )
    return dict(described[first]), config
