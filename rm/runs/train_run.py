"""Train and evaluate one run: read pairs, train, evaluate next to the baselines, write `result.json` last."""

from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import polars as pl

from lurker.errors import CallError
from lurker.files import read_json, write_json
from lurker.progress import progress, quiet, say
from lurker.workspace import Workspace
from rm.evaluation.baseline_margins import wanted_baselines
from rm.evaluation.baselines import Which
from rm.evaluation.curve_points import point_recorder, steps_of_points
from rm.evaluation.embeddings import means_folder
from rm.evaluation.evaluate_run import (
    accuracy_rows,
    add_evaluations,
    evaluate_baselines,
    evaluate_model,
    result_rows,
)
from rm.evaluation.trained_run import TrainedRun
from rm.models.frozen_pass import Outputs, Wanted
from rm.models.ladder import LADDER, RewardModel, build, reward_head, save
from rm.models.layer_cache import freeze_below, use_cached_states
from rm.models.limits import most_tokens
from rm.models.mean_pooling import add_mean_pooling, is_mean_pooled
from rm.models.scorer import Scorer, describe_device, move_to_device, training_dtype
from rm.pairs.subsets import texts
from rm.pairs.tokenised import TokenisedPairs, with_delays
from rm.pairs.tokens import load_shared_tokenizer
from rm.runs.run_facts import describe_batching, describe_data, environment, training_facts
from rm.training.checkpoint import delete_checkpoint, has_checkpoint, trained_weights
from rm.training.config import TrainConfig
from rm.training.distributed import current_processes, is_sharded, join_processes
from rm.training.head_only import MeansFolder, embed_for_head, keep_outputs, start_from_probe
from rm.training.identity import (
    lineage,
    model_digest,
    unseen_tests,
    write_seen_posts,
)
from rm.training.loop import Trained
from rm.training.reward_step import reward_step, tokenise_for_model, train_rewards
from rm.training.run_folder import (
    RESULT,
    WORDS,
    RunConfig,
    RunPairs,
    describe_run,
    read_run_pairs,
    require_same_config,
    run_lock,
)
from rm.training.trainable import make_trainable, merge_adapters


def train_run(
    workspace: Workspace, run_id: str, config: RunConfig, *, resume: bool, baselines: Which = "all", waits: bool = False
) -> dict[str, Any]:
    """Train and evaluate one run; a finished run is not trained again.

    Args:
        workspace: Where pair sets are read and the run's folder is written.
        run_id: Name of the run's folder.
        config: What to train on, and how.
        resume: Continue the run if its folder exists.
        baselines: Which baselines to fit; those that a finished run lacks are added.
        waits: Wait for another process that writes the run, in place of an error.

    Returns:
        The content of `result.json`. When a launcher started several processes (`rm.training.distributed`), all of
        them train, and all but the first return an empty dict.

    Raises:
        CallError: The run exists and resume is False, or it was made with another config.
        LurkerError: A split is empty, a test post was trained on, or another process writes the run.
    """
    is_first = join_processes().is_first
    with quiet(not is_first), run_lock(workspace, run_id, waits=waits) if is_first else nullcontext():
        folder = workspace.folder("runs", run_id)
        pairs = read_run_pairs(workspace, config)
        described = {**describe_run(config), "data_digest": pairs.digest}
        if digest := model_digest(config.model):
            described["model_digest"] = digest
        require_same_config(folder, described, WORDS, resume=resume)
        pairs = replace(pairs, test=unseen_tests(config.model, pairs.test))
        if (folder / RESULT).exists():
            say(f"Run {run_id} is already finished.")
            if is_first and lacks_baselines(folder, baselines):
                return finish_baselines(workspace, run_id, config, pairs, baselines)
            return dict(read_json(folder / RESULT))
        trained = _train(workspace, run_id, config, pairs, described, baselines)
        if trained is None:
            return {}
        result = conclude(workspace, run_id, config, *trained, pairs, baselines)
        delete_checkpoint(folder)
        return result


def _train(
    workspace: Workspace, run_id: str, config: RunConfig, pairs: RunPairs, described: dict[str, Any], which: Which
) -> tuple[RewardModel, dict[str, Any]] | None:
    """The trained model and the facts about its training; None in all processes but the first."""
    folder, processes = workspace.folder("runs", run_id), current_processes()
    reward_model = _build(workspace, config, pairs.training)
    processes.wait()  # until every process has checked the folder
    if processes.is_first:
        parents = lineage(config.model)  # written after loading: a model that does not load leaves no folder
        write_json(described | ({"parents": parents} if parents else {}), folder / "config.json")
    device = move_to_device(reward_model.model, reward_model.n_parameters)
    dtype = training_dtype(config.train.precision, device, reward_model.n_parameters)
    device_name = describe_device(device, dtype)
    say(f"{config.model}: {reward_model.n_parameters:,} parameters without embeddings, on {device_name}.")
    if processes.is_first:
        write_json(environment(device_name) | {"n_processes": processes.count}, folder / "env.json")
    sets = [
        tokenise_for_model(frame, reward_model.tokenizer, config.train) for frame in (pairs.training, pairs.validation)
    ]
    say(describe_data(sets[0], pairs.training, config))
    model = make_trainable(reward_model.model, config.model, config.train)
    scorer = Scorer(model, reward_model.tokenizer.pad_token_id, config.train.max_tokens, dtype)
    say(describe_batching(scorer))
    run = TrainedRun(workspace, run_id, config, RewardModel(model, reward_model.tokenizer))
    trained = _train_weights(run, scorer, sets, pairs, has_means=which == "all")
    weights = trained_weights(model) if is_sharded(model) else {}
    if not processes.is_first:
        return None
    if weights:
        model = make_trainable(_build(workspace, config, pairs.training).model, config.model, config.train)
        model.load_state_dict(weights, strict=False)
        model.to(device)
    reward_model = RewardModel(merge_adapters(model), reward_model.tokenizer)
    return reward_model, training_facts(run_id, config, reward_model, trained, sets[0], pairs, device)


def conclude(
    workspace: Workspace,
    run_id: str,
    config: RunConfig,
    reward_model: RewardModel,
    facts: dict[str, Any],
    pairs: RunPairs,
    baselines: Which,
) -> dict[str, Any]:
    """Save a run's model, evaluate it and write its result; then fit the baselines and add them.

    Returns:
        The content of `result.json`: the facts and the evaluations over all subreddits.
    """
    folder = workspace.folder("runs", run_id)
    save(reward_model.model, reward_model.tokenizer, folder / "model")
    write_seen_posts(folder / "model", run_id, config, pairs)
    (folder / "evaluations.parquet").unlink(missing_ok=True)
    run = TrainedRun(workspace, run_id, config, reward_model)
    add_evaluations(folder, evaluate_model(run, pairs, has_means=baselines == "all"))
    result = {**facts, "evaluations": result_rows(folder, config), "baselines": "none"}
    write_json(result, folder / RESULT)
    for row in accuracy_rows(result["evaluations"]):
        say(f"{config.model} on {row['pairs']}: accuracy {row['accuracy']}, {row['test pairs']:,} pairs.")
    return finish_baselines(workspace, run_id, config, pairs, baselines) if baselines != "none" else result


def finish_baselines(
    workspace: Workspace, run_id: str, config: RunConfig, pairs: RunPairs, baselines: Which
) -> dict[str, Any]:
    """Fit the baselines that a finished run lacks, and add them to its result, which is returned."""
    folder = workspace.folder("runs", run_id)
    result = dict(read_json(folder / RESULT))
    n_tests = Counter(row["predictor"] for row in result["evaluations"])
    names = [name for name in wanted_baselines(baselines, config.model) if n_tests[name] < len(pairs.test)]
    table, left_out = evaluate_baselines(workspace, run_id, pairs, names)
    add_evaluations(folder, table)
    result |= {"evaluations": result_rows(folder, config), "baselines": baselines}
    if left_out:
        result["baselines_left_out"] = left_out
    write_json(result, folder / RESULT)
    return result


def lacks_baselines(folder: Path, baselines: Which) -> bool:
    """Whether a finished run was evaluated with fewer baselines than these; runs of earlier versions have all."""
    levels = get_args(Which)
    return levels.index(read_json(folder / RESULT).get("baselines", "all")) < levels.index(baselines)


def _build(workspace: Workspace, config: RunConfig, training: pl.DataFrame) -> RewardModel:
    """The untrained model.

    Raises:
        CallError: It does not load, or reads fewer than max_tokens tokens.
    """
    tokenizer = load_shared_tokenizer(workspace.root / config.tokenizer) if config.tokenizer else None
    frame = with_delays(training) if config.train.with_delay else training
    seed = config.train.seed
    if config.model not in LADDER and config.train.head_seed is not None:
        seed = config.train.head_seed
    reward_model = build(
        config.model, texts(frame), config.train.vocabulary_size, seed, tokenizer, head=config.train.head
    )
    most = most_tokens(reward_model.model)
    if most is not None and config.train.max_tokens > most:
        raise CallError(
            f"{config.model} reads at most {most:,} tokens, and max_tokens is {config.train.max_tokens:,}.",
            f"Add `--set max_tokens={most}`.",
        )
    if config.train.pooling == "mean" and not is_mean_pooled(reward_model.model):
        add_mean_pooling(reward_model.model)
    return reward_model


def _train_weights(
    run: TrainedRun, scorer: Scorer, sets: list[TokenisedPairs], pairs: RunPairs, *, has_means: bool
) -> Trained:
    """Train the scorer's model on the training and validation pairs in `sets`, and evaluate it on the way if wanted.

    What the untrained model yields is computed in one pass: outputs of frozen layers, the probe's features and, if
    `has_means`, what the baseline `embeddings` needs of these pairs.
    """
    config, cache, folder, train = run.config, run.cache, run.folder, run.config.train
    means = means_folder(scorer, config, cache) if has_means and current_processes().is_first else None
    network, (training, validation) = _compute_frozen_layers(scorer, sets, train, cache, means)
    if train.head == "probe" and not has_checkpoint(folder):
        start_from_probe(scorer, training, validation, train, cache, means)
    if not config.curve_points:
        return train_rewards(network, training, validation, train, folder)
    steps = reward_step(network, training, validation, train).epoch_steps(0)
    recorder = point_recorder(run, pairs.test, steps_of_points(config.curve_points, steps))
    return train_rewards(network, training, validation, train, folder, recorder)


def _compute_frozen_layers(
    scorer: Scorer, sets: list[TokenisedPairs], config: TrainConfig, cache: Path, means: MeansFolder | None
) -> tuple[Any, list[TokenisedPairs]]:
    """Compute the outputs of frozen layers, if any.

    Returns:
        The module that trains, and the pair sets as it reads them.
    """
    processes = current_processes()
    n_tokens = sum(int(pairs.sequences.n_tokens.sum()) for pairs in sets)
    if config.trained == "head":
        if processes.count > 1:
            raise CallError("trained=head supports one process only.", "Run it without a launcher: it takes seconds.")
        with progress("Embedding", n_tokens, "tokens"):
            return embed_for_head(scorer, sets, config.tokens_per_batch, cache, means)
    if config.train_layers is None:
        return scorer, sets
    n_layers = freeze_below(scorer.model, config.train_layers + (config.pooling == "mean"))
    if not scorer.is_packed:
        return scorer, sets
    head = reward_head(scorer.model)
    wanted = Wanted(head=head if config.head == "probe" else None, **(means.wanted if means else {}))

    def keep(pairs: TokenisedPairs, outputs: Outputs) -> None:
        keep_outputs(scorer, head, pairs.sequences, outputs, cache, means)

    cached = sets
    with progress("Frozen layers", n_tokens, "tokens"):
        for rank in (0, processes.rank):  # the first process computes, then the others read its file
            if processes.rank == rank and scorer.states is None:
                cached = use_cached_states(scorer, sets, n_layers, config.tokens_per_batch, cache, keep, wanted)
            processes.wait()
    return scorer, cached
