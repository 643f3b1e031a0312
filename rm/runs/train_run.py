"""One run: read pairs, train, judge beside the baselines, write the run folder; `result.json` comes last."""

import os
import platform
from pathlib import Path
from typing import Any

import polars as pl
import torch

from lurker import __version__
from lurker.config import to_dict
from lurker.errors import CallError
from lurker.progress import progress, quiet, say
from lurker.workspace import CACHE, Workspace, read_json, write_json, write_parquet
from rm.evaluation.evaluate_run import evaluate_predictors, tokenise_as
from rm.evaluation.metrics import ALL
from rm.evaluation.trained_run import TrainedRun
from rm.models.ladder import RewardModel, build, save
from rm.models.layer_cache import freeze_below, with_states
from rm.models.mean_pooling import add_mean_pooling
from rm.models.scorer import Scorer, describe_device, place, training_dtype
from rm.pairs.subsets import texts
from rm.pairs.tokenised import TokenisedPairs, with_delays
from rm.pairs.tokens import load_tokenizer
from rm.training.checkpoint import drop_checkpoint, has_checkpoint, trained_state
from rm.training.config import TrainConfig
from rm.training.distributed import Team, is_sharded, join_team
from rm.training.head_only import on_embeddings, start_from_probe
from rm.training.loop import Trained, n_planned_steps, train
from rm.training.run_folder import RESULT, RunConfig, RunPairs, read_run_pairs
from rm.training.trainable import merged, prepare


def train_run(
    workspace: Workspace,
    run_id: str,
    config: RunConfig,
    *,
    resume: bool,
    is_quiet: bool = False,
) -> dict[str, Any]:
    """Train and judge one run; its result, as in `result.json`. A finished run is not trained again.

    is_quiet: no messages and no bar.
    Started by a launcher (`rm.training.distributed`), all its processes train, and all but the first return nothing.
    Errors: CallError when the run exists and is not to be resumed, or was made otherwise; LurkerError when a split is
    empty or a judged post was trained on.
    """
    team = join_team()
    is_quiet = is_quiet or not team.is_first
    tell = _silent if is_quiet else say
    folder = workspace.folder("runs", run_id)
    pairs = read_run_pairs(workspace, config)
    described = {**to_dict(config), "data_digest": pairs.digest}
    _require_ours(folder, run_id, described, resume)
    if (folder / RESULT).exists():
        tell(f"Run {run_id} is finished already: nothing to do.")
        return dict(read_json(folder / RESULT))
    reward_model = _build(workspace, config, pairs.training)
    team.wait()  # none looks for a free folder any more
    if team.is_first:
        write_json(described, folder / "config.json")  # only now: a model that does not load leaves no folder behind
    device = place(reward_model.model, reward_model.n_parameters)
    dtype = training_dtype(config.train.precision, device, reward_model.n_parameters)
    where = describe_device(device, dtype)
    tell(f"{config.model}: {reward_model.n_parameters:,} parameters without embeddings; {where}.")
    if team.is_first:
        write_json(environment(where) | {"n_processes": team.size}, folder / "env.json")
    sets = [tokenise_as(frame, reward_model, config.train) for frame in (pairs.training, pairs.validation)]
    tell(_what_trains(sets[0], pairs.training, config))
    model = prepare(reward_model.model, config.model, config.train)
    scorer = Scorer(model, reward_model.tokenizer.pad_token_id, config.train.max_tokens, dtype)
    tell(_how_it_runs(scorer))
    trainee, read = _what_is_frozen(workspace, scorer, sets, config.train, is_quiet, team)
    if config.train.head == "probe" and not has_checkpoint(folder):
        start_from_probe(scorer, read[0], read[1], config.train, workspace.root / CACHE, is_quiet=is_quiet)
    with progress("Training", n_planned_steps(sets[0], config.train), "steps", is_quiet=is_quiet) as advance:
        trained = train(trainee, read[0], read[1], config.train, folder, advance, team)
    whole = trained_state(model) if is_sharded(model) else {}
    if not team.is_first:
        return {}
    if whole:
        model = prepare(_build(workspace, config, pairs.training).model, config.model, config.train)
        model.load_state_dict(whole, strict=False)
        model.to(device)
    reward_model = RewardModel(merged(model), reward_model.tokenizer)
    facts = _facts(run_id, config, reward_model, trained, sets[0], pairs, device)
    result = conclude(workspace, run_id, config, reward_model, pairs, facts, is_quiet=is_quiet)
    drop_checkpoint(folder)
    return result


def conclude(
    workspace: Workspace,
    run_id: str,
    config: RunConfig,
    reward_model: RewardModel,
    pairs: RunPairs,
    facts: dict[str, Any],
    *,
    is_quiet: bool = False,
) -> dict[str, Any]:
    """Save a run's model, judge it beside the baselines and write its result: the facts and the evaluations."""
    folder = workspace.folder("runs", run_id)
    save(reward_model, folder / "model")
    with quiet(is_quiet):
        table = evaluate_predictors(TrainedRun(workspace, run_id, config, reward_model), pairs)
    write_parquet(table, folder / "evaluations.parquet")
    result = {**facts, "evaluations": table.filter(pl.col("subreddit") == ALL).drop("run_id", "subreddit").to_dicts()}
    write_json(result, folder / RESULT)
    return result


def _require_ours(folder: Path, run_id: str, described: dict[str, Any], resume: bool) -> None:
    """Check that the run folder is free, or is to be resumed and was made by the same call.

    Errors: CallError when it exists and is not to be resumed, or was made by another call.
    """
    path = folder / "config.json"
    if not path.exists():
        return
    if not resume:
        raise CallError(f"Run {run_id} exists already.", "Go on with `--resume`, or name another with `--run ID`.")
    before = read_json(path)
    if changed := sorted(name for name in described if before.get(name) != described[name]):
        raise CallError(
            f"Run {run_id} was made with another {', '.join(changed)}.",
            "Repeat its call, or name another with `--run ID`.",
        )


def _build(workspace: Workspace, config: RunConfig, training: pl.DataFrame) -> RewardModel:
    """The untrained model; CallError when it cannot read as many tokens as the config asks for."""
    tokenizer = load_tokenizer(workspace.root / config.tokenizer) if config.tokenizer else None
    read = with_delays(training) if config.train.with_delay else training
    reward_model = build(config.model, texts(read), config.train.vocabulary_size, config.train.seed, tokenizer)
    n_positions = getattr(reward_model.model.config, "max_position_embeddings", config.train.max_tokens)
    if config.train.max_tokens > n_positions:
        raise CallError(
            f"{config.model} reads at most {n_positions:,} tokens, max_tokens is {config.train.max_tokens:,}.",
            f"Add `--set max_tokens={n_positions}`.",
        )
    if config.train.pooling == "mean":
        add_mean_pooling(reward_model.model)
    return reward_model


def _what_trains(training: TokenisedPairs, frame: pl.DataFrame, config: RunConfig) -> str:
    n_cut = training.sequences.n_cut
    limit = config.train.max_prompt_tokens
    prompts = "" if limit is None else f"prompts of at most {limit:,} tokens; "
    lost = int(training.is_equal.sum())
    return (
        f"{frame.height - lost:,} training pairs of {frame['post_id'].n_unique():,} posts, "
        f"{len(training.sequences.tokens):,} responses; {prompts}{n_cut:,} cut to {config.train.max_tokens} tokens; "
        f"{lost:,} pairs left out whose two sides are equal."
    )


def _how_it_runs(scorer: Scorer) -> str:
    if scorer.is_packed:
        if scorer.is_causal:
            return "Each prompt is computed once for all its responses (packed)."
        return "Unique responses without padding (packed); an encoder's prompt sees the response and is not shared."
    return f"Unique responses in batches of similar length, for prompts cannot be shared: {scorer.reason}."


def _what_is_frozen(
    workspace: Workspace, scorer: Scorer, sets: list[TokenisedPairs], config: TrainConfig, is_quiet: bool, team: Team
) -> tuple[Any, list[TokenisedPairs]]:
    """What trains, and the pairs as it reads them: what frozen layers give is computed once."""
    n_tokens = sum(int(pairs.sequences.n_tokens.sum()) for pairs in sets)
    if config.trained == "head":
        if team.size > 1:
            raise CallError("trained=head takes seconds: it is for one process.", "Start it without a launcher.")
        with progress("Embedding", n_tokens, "tokens", is_quiet=is_quiet) as advance:
            return on_embeddings(scorer, sets, config.tokens_per_batch, workspace.root / CACHE, advance)
    if config.train_layers is None:
        return scorer, sets
    n_layers = freeze_below(scorer.model, config.train_layers + (config.pooling == "mean"))
    if not scorer.is_packed:
        return scorer, sets
    with progress("Frozen layers", n_tokens, "tokens", is_quiet=is_quiet) as advance:
        for rank in (0, team.rank):  # the first computes, the others find
            if team.rank == rank and scorer.states is None:
                read = with_states(scorer, sets, n_layers, config.tokens_per_batch, workspace.root / CACHE, advance)
            team.wait()
    return scorer, read


def environment(device: str) -> dict[str, Any]:
    """What a run was made with, for its env.json. device: in words."""
    import transformers

    return {
        "lurker": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "platform": platform.platform(),
        "n_cores": os.cpu_count(),
        "n_threads": torch.get_num_threads(),
        "device": device,
    }


def _facts(
    run_id: str,
    config: RunConfig,
    reward_model: RewardModel,
    trained: Trained,
    training: TokenisedPairs,
    pairs: RunPairs,
    device: torch.device,
) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "pairs": config.pairs,
        "model": config.model,
        "n_parameters": reward_model.n_parameters,
        "n_parameters_total": reward_model.n_parameters_total,
        "n_train_pairs": pairs.training.height,
        "n_train_posts": pairs.training["post_id"].n_unique(),
        "n_train_responses": len(training.sequences),
        "n_pairs_left_out_as_equal": int(training.is_equal.sum()),
        "n_responses_cut": training.sequences.n_cut,
        "n_validation_pairs": pairs.validation.height,
        "subreddits": sorted(pairs.training["subreddit"].unique()),
        "seed": config.train.seed,
        "steps": trained.n_steps,
        "best_step": trained.best_step,
        "best_validation_log_loss": trained.best_validation_log_loss,
        "train_time_s": trained.train_time_s,
        "tokens_per_s": round(trained.tokens_per_s, 1),
        "device": device.type,
    }


def _silent(_: Any) -> None:
    """Take a message or an advance and show nothing."""
