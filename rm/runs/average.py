"""Average the weights of several seeds into one model, evaluated as they were.

Runs that start from the same pretrained weights end in one basin, where averaging weights approximates averaging
rewards at the cost of one model.
Source: Wortsman et al. 2022, "Model soups"; Ramé et al. 2024, "WARM: on the benefits of weight averaged reward models".
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from lurker.config import fingerprint
from lurker.errors import CallError, LurkerError
from lurker.files import read_json, write_json
from lurker.progress import progress, say
from lurker.workspace import Workspace
from rm.models.ladder import LADDER, RewardModel, load, new_layers, slug
from rm.models.scorer import describe_device, move_to_device
from rm.runs.run_facts import environment
from rm.runs.train_run import conclude
from rm.training.reward_step import tokenise_for_model, validate
from rm.training.run_folder import RESULT, RunConfig, finished_run, read_run_pairs, run_config, run_lock, short_name

NOT_OF_MEAN = ("best_step", "tokens_per_s", "baselines_left_out")
"""Facts about a run that its average does not have."""


def average_runs(workspace: Workspace, run_ids: Sequence[str], run_id: str | None = None) -> dict[str, Any]:
    """Write the average of finished runs as a new run, unless it is already finished.

    Args:
        workspace: Where the runs are.
        run_ids: Two or more runs that differ in their seed only.
        run_id: Name of the new run; derived from the others when None.

    Returns:
        The content of its `result.json`.

    Raises:
        CallError: There are fewer than two runs, one is given twice, or they differ in more than their seed.
        LurkerError: The pairs they were trained on have changed.
    """
    if len(set(run_ids)) < max(len(run_ids), 2):
        raise CallError(
            f"Averaging needs two or more different runs, got {', '.join(run_ids)}.",
            "List them as `lurker rm average RUN1,RUN2,RUN3`.",
        )
    run_ids = sorted(run_ids)
    folders = [finished_run(workspace, name) for name in run_ids]
    described, config = _common_config(dict(zip(run_ids, folders, strict=True)))
    run_id = run_id or short_name(f"{config.pairs}-{slug(config.model)}-mean-{fingerprint(run_ids)[:8]}")
    with run_lock(workspace, run_id, waits=False):
        return _average(workspace, run_id, run_ids, described, config)


def _average(
    workspace: Workspace, run_id: str, run_ids: Sequence[str], described: dict[str, Any], config: RunConfig
) -> dict[str, Any]:
    """Write the average of runs with this config; described: the content of its config.json."""
    folders = [finished_run(workspace, name) for name in run_ids]
    folder = workspace.folder("runs", run_id)
    described |= {"mean_of": run_ids}
    if (folder / "config.json").exists() and read_json(folder / "config.json") != described:
        raise CallError(f"Run {run_id} exists already.", "Choose another name with `--run ID`.")
    if (folder / RESULT).exists():
        say(f"Run {run_id} is already finished.")
        return dict(read_json(folder / RESULT))
    pairs = read_run_pairs(workspace, config)
    if pairs.digest != described["data_digest"]:
        raise LurkerError(
            f"The pair sets of run {run_ids[0]} were rebuilt with other pairs.", "Train new runs on them."
        )
    reward_model = average_models(folders)
    write_json(described, folder / "config.json")
    device = move_to_device(reward_model.model, reward_model.n_parameters)
    write_json(environment(describe_device(device)), folder / "env.json")
    validation = tokenise_for_model(pairs.validation, reward_model.tokenizer, config.train)
    scorer = reward_model.scorer(config.train.max_tokens)
    results = [read_json(source / RESULT) for source in folders]
    facts = {
        **{name: value for name, value in results[0].items() if name not in NOT_OF_MEAN},
        "run_id": run_id,
        "mean_of": run_ids,
        "steps": sum(result["steps"] for result in results),
        "train_time_s": sum(result["train_time_s"] for result in results),
        "best_validation_log_loss": validate(scorer, validation, config.train)[0],
    }
    return conclude(workspace, run_id, config, reward_model, facts, pairs, "all")


def average_models(folders: Sequence[Path]) -> RewardModel:
    """The first run's model with the mean of all runs' weights, summed in float64.

    Raises:
        CallError: Names or shapes of weights differ.
    """
    reward_model = load(folders[0] / "model")
    total: dict[str, torch.Tensor] = {}
    with progress("Averaging weights", len(folders), "runs") as advance:
        for folder in folders:
            weights = load(folder / "model").model.state_dict()
            shapes = {name: tensor.shape for name, tensor in weights.items()}
            if total and shapes != {name: tensor.shape for name, tensor in total.items()}:
                raise CallError(
                    f"Weights of {folder.name} and {folders[0].name} differ in name or shape.",
                    f"Leave {folder.name} out.",
                )
            for name, tensor in weights.items():
                total[name] = total[name] + tensor.double() if name in total else tensor.double()
            advance(1)
    mean = {name: (tensor / len(folders)).to(weights[name].dtype) for name, tensor in total.items()}
    reward_model.model.load_state_dict(mean)
    return reward_model


def _require_shared_start(config: RunConfig) -> None:
    """Check that the runs' models differ at the start in nothing but a linear head, whose rewards average exactly.

    Raises:
        CallError: Layers below the head start at random with every seed.
    """
    if config.model not in LADDER and config.train.head_seed is None and (names := new_layers(config.model)):
        raise CallError(
            f"{config.model} has no weights for {', '.join(names)}, which start at random with every seed: "
            "the average of such layers is another, smaller model.",
            "Train the runs with `--set head_seed=0`, so that these layers start alike, or compare their rewards: "
            "`lurker rm compare RUN,RUN,RUN tfidf --pairs NAME`.",
        )


def _common_config(folders: dict[str, Path]) -> tuple[dict[str, Any], RunConfig]:
    """The content of the runs' config.json, with the seed of the first run, and its RunConfig.

    Raises:
        CallError: They differ in more than the seed, or start from random weights.
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
                    f"{first} and {other} differ in {', '.join(named)}; averaged runs may differ in their seed only.",
                    "Repeat one training command with `--seed 1`, `--seed 2`, ...",
                )
    config = run_config(described[first])
    _require_shared_start(config)
    if config.model in LADDER:
        raise CallError(
            f"{config.model} starts from different random weights with every seed, so their average means nothing.",
            "Compare their rewards instead: `lurker rm compare RUN,RUN,RUN tfidf --pairs NAME`.",
        )
    return dict(described[first]), config
