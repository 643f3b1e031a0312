"""One run: read pairs, train, judge beside the baselines, write the run folder; `result.json` comes last."""

import os
import platform
import shutil
import uuid
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import torch

from lurker import __version__
from lurker.config import fingerprint, to_dict
from lurker.errors import CallError, LurkerError
from lurker.progress import progress, say
from lurker.schema import EVALUATIONS
from lurker.workspace import CACHE, Workspace, read_json, write_json, write_parquet
from rm.adapt import merged, on_embeddings, prepare
from rm.baselines import fit_baselines
from rm.checkpoint import drop_checkpoint, trained_state
from rm.config import TrainConfig
from rm.data import TokenisedPairs, content_digest, read_pairs, split_of, subset, texts, tokenise, with_delays
from rm.embed import embeddings
from rm.evaluate import ALL, MODEL, evaluate, model_margins, predictions, require_disjoint
from rm.forward import Scorer, describe_device, place, training_dtype
from rm.frozen import freeze_below, with_states
from rm.model import LADDER, RewardModel, build, load
from rm.pooling import add_mean_pooling
from rm.team import Team, is_sharded, join_team
from rm.tokens import load_tokenizer
from rm.train import Trained, n_planned_steps, train

RESULT = "result.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig:
    """What makes a run: two runs with the same fingerprint are the same run."""

    pairs: str
    """pair set trained on"""
    model: str
    """SPEC: a name of the ladder, a Hugging Face id or a local folder"""
    train: TrainConfig
    """how it is trained"""
    subreddits: tuple[str, ...] = ()
    """communities trained on; all of the pair set when empty"""
    max_pairs: int | None = None
    """training pairs, a nested subset by hash of their post; all when absent"""
    validation_pairs: str | None = None
    """pair set whose validation split chooses the best step; that trained on when absent"""
    test_pairs: tuple[str, ...] = ()
    """pair sets whose test split it is judged on"""
    test_subreddits: tuple[str, ...] = ()
    """communities judged on; all of the test pairs when empty"""
    tokenizer: str | None = None
    """folder of a tokenizer shared by the runs of an experiment; trained on the run's own texts when absent"""

    def __post_init__(self) -> None:
        if self.max_pairs is not None and self.max_pairs < 2:
            raise ValueError(f"max_pairs must be at least 2, got {self.max_pairs}")


@dataclass(frozen=True, slots=True)
class RunPairs:
    """The pairs of a run: what trains, what chooses, what judges (by name of the pair set)."""

    training: pl.DataFrame
    validation: pl.DataFrame
    judged: dict[str, pl.DataFrame]

    @property
    def digest(self) -> str:
        """Changes when a pair set was built anew with another content."""
        return fingerprint(
            *(content_digest(frame) for frame in (self.training, self.validation, *self.judged.values()))
        )


def train_run(
    workspace: Workspace,
    run_id: str,
    config: RunConfig,
    *,
    resume: bool,
    is_quiet: bool = False,
) -> dict[str, Any]:
    """Train and judge one run; its result, as in `result.json`. A finished run is not trained again.

    is_quiet: no messages and no bar, for the cells of an experiment.
    Started by a launcher (`rm.team`), all its processes train, and all but the first return nothing.
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
        write_json(_environment(where) | {"n_processes": team.size}, folder / "env.json")
    sets = [tokenise_as(frame, reward_model, config.train) for frame in (pairs.training, pairs.validation)]
    tell(_what_trains(sets[0], pairs.training, config))
    model = prepare(reward_model.model, config.model, config.train)
    scorer = Scorer(model, reward_model.tokenizer.pad_token_id, config.train.max_tokens, dtype)
    tell(_how_it_runs(scorer))
    trainee, read = _what_is_frozen(workspace, scorer, sets, config.train, is_quiet, team)
    bar = nullcontext(_silent) if is_quiet else progress("Training", n_planned_steps(sets[0], config.train), "steps")
    with bar as advance:
        trained = train(trainee, read[0], read[1], config.train, folder, advance, team)
    whole = trained_state(model) if is_sharded(model) else {}
    if not team.is_first:
        return {}
    if whole:
        model = prepare(_build(workspace, config, pairs.training).model, config.model, config.train)
        model.load_state_dict(whole, strict=False)
        model.to(device)
    reward_model = RewardModel(merged(model), reward_model.tokenizer)
    scorer = reward_model.scorer(config.train.max_tokens)
    _save_model(reward_model, folder / "model")
    table = judge(reward_model, scorer, pairs, config.train, run_id, folder, embed=_embedder(workspace, config))
    write_parquet(table, folder / "evaluations.parquet")
    result = _result(run_id, config, reward_model, trained, sets[0], pairs, device, table)
    write_json(result, folder / RESULT)
    drop_checkpoint(folder)
    return result


def evaluate_run(workspace: Workspace, run_id: str, pairs_name: str, split: str) -> pl.DataFrame:
    """Judge a finished run on a split of any pair set, all its subreddits; adds to the run's predictions and table.

    The baselines are fitted again on the run's own training pairs.
    Errors: CallError when there is no such run or pair set; LurkerError when the pairs it was trained on have changed
    or a judged post is among them.
    """
    folder = finished_run(workspace, run_id)
    described = read_json(folder / "config.json")
    config = run_config(described)
    trained_on = read_run_pairs(workspace, config)
    if trained_on.digest != described["data_digest"]:
        raise LurkerError(f"The pair sets that run {run_id} used were built anew since.", "Train a new run on them.")
    frame = split_of(read_pairs(workspace, pairs_name), pairs_name, split)
    require_disjoint(trained_on.training, frame, pairs_name)
    pairs = replace(trained_on, judged={pairs_name: frame})
    reward_model = load(folder / "model")
    place(reward_model.model, reward_model.n_parameters)
    scorer = reward_model.scorer(config.train.max_tokens)
    embed = _embedder(workspace, config)
    table = judge(reward_model, scorer, pairs, config.train, run_id, folder, split, embed)
    path = folder / "evaluations.parquet"
    others = pl.read_parquet(path).filter((pl.col("pairs") != pairs_name) | (pl.col("split") != split))
    write_parquet(pl.concat([others, table]), path)
    return table


def finished_run(workspace: Workspace, run_id: str) -> Path:
    """The folder of a finished run.

    Errors: CallError that lists the runs there are.
    """
    folder = workspace.folder("runs", run_id)
    if not (folder / RESULT).exists():
        have = ", ".join(workspace.names("runs", RESULT)) or "none yet"
        raise CallError(
            f"There is no finished run {run_id!r} in {workspace.root} (it has: {have}).",
            "Train one: `lurker rm train NAME --model SPEC`.",
        )
    return folder


def run_config(described: dict[str, Any]) -> RunConfig:
    """The RunConfig that a run's config.json holds."""
    names = {field.name for field in fields(RunConfig)}
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in described.items()
    }
    values["train"] = TrainConfig(**described["train"])
    return RunConfig(**{name: value for name, value in values.items() if name in names})


def read_run_pairs(workspace: Workspace, config: RunConfig) -> RunPairs:
    """The run's training subset, validation pairs and judged pairs, none of whose posts trained or chose the model."""
    frame = read_pairs(workspace, config.pairs, config.subreddits)
    training = subset(split_of(frame, config.pairs, "train"), config.max_pairs, config.train.seed)
    validation = _validation(workspace, config, frame)
    require_disjoint(training, validation, config.validation_pairs or config.pairs)
    validation = subset(validation, min(config.train.max_validation_pairs, validation.height), seed=0)
    if training.height < 2:
        raise LurkerError(f"Pair set {config.pairs} has {training.height} training pair here.", "Take more posts.")
    judged = {}
    for name in config.test_pairs:
        subreddits = config.test_subreddits or tuple(training["subreddit"].unique().sort())
        tested = read_pairs(workspace, name).filter(pl.col("subreddit").is_in(subreddits))
        judged[name] = split_of(tested, name, "test")
        require_disjoint(pl.concat([training, validation]), judged[name], name)
    return RunPairs(training, validation, judged)


def _validation(workspace: Workspace, config: RunConfig, trained_on: pl.DataFrame) -> pl.DataFrame:
    name = config.validation_pairs or config.pairs
    frame = trained_on if name == config.pairs else read_pairs(workspace, name, config.subreddits)
    return split_of(frame, name, "validation")


def judge(
    reward_model: RewardModel,
    scorer: Scorer,
    pairs: RunPairs,
    config: TrainConfig,
    run_id: str,
    folder: Path,
    split: str = "test",
    embed: Callable[[Sequence[str]], Any] | None = None,
) -> pl.DataFrame:
    """Judge the model and the baselines on the same pairs; write predictions, return EVALUATIONS.

    A pair whose two sides are equal after cutting stays in, as a tie.
    """
    if not pairs.judged:
        return EVALUATIONS.empty()
    tables = []
    baselines = fit_baselines(pairs.training, pairs.validation, embed)
    for name, frame in pairs.judged.items():
        tokenised = tokenise_as(frame, reward_model, config)
        margins = model_margins(scorer, tokenised, config.tokens_per_batch)
        write_parquet(predictions(frame, margins), folder / "predictions" / f"{name}-{split}.parquet")
        everyone = {MODEL: margins, **{baseline: predict(frame) for baseline, predict in baselines.items()}}
        tables.append(evaluate(frame, everyone, run_id, name, split))
    return pl.concat(tables)


def _embedder(workspace: Workspace, config: RunConfig) -> Callable[[Sequence[str]], Any] | None:
    """Frozen embeddings by the model that the run started from; None for one from scratch, which knows nothing yet."""
    if config.model in LADDER:
        return None
    return partial(embeddings, config.model, folder=workspace.root / CACHE)


def tokenise_as(frame: pl.DataFrame, reward_model: RewardModel, config: TrainConfig) -> TokenisedPairs:
    """The pairs as the run's model reads them."""
    told = with_delays(frame) if config.with_delay else frame
    return tokenise(told, reward_model.tokenizer, config.max_tokens, config.max_prompt_tokens, config.reads)


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


def _save_model(reward_model: RewardModel, folder: Path) -> None:
    """Write weights, config and tokenizer as transformers loads them; the folder appears whole."""
    temporary = folder.with_name(f".model-{uuid.uuid4().hex[:8]}.tmp")
    try:
        reward_model.model.save_pretrained(temporary)
        reward_model.tokenizer.save_pretrained(temporary)
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    except OSError as error:
        raise LurkerError(f"Cannot write {folder}: {error}.", "Free some space, then add `--resume`.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _what_is_frozen(
    workspace: Workspace, scorer: Scorer, sets: list[TokenisedPairs], config: TrainConfig, is_quiet: bool, team: Team
) -> tuple[Any, list[TokenisedPairs]]:
    """What trains, and the pairs as it reads them: what frozen layers give is computed once."""
    if config.trained == "head":
        if team.size > 1:
            raise CallError("trained=head takes seconds: it is for one process.", "Start it without a launcher.")
        return on_embeddings(scorer, sets, config)
    if config.train_layers is None:
        return scorer, sets
    n_layers = freeze_below(scorer.model, config.train_layers + (config.pooling == "mean"))
    if not scorer.is_packed:
        return scorer, sets
    n_tokens = sum(int(pairs.sequences.n_tokens.sum()) for pairs in sets)
    with nullcontext(_silent) if is_quiet else progress("Frozen layers", n_tokens, "tokens") as advance:
        for rank in (0, team.rank):  # the first computes, the others find
            if team.rank == rank and scorer.states is None:
                read = with_states(scorer, sets, n_layers, config.tokens_per_batch, workspace.root / CACHE, advance)
            team.wait()
    return scorer, read


def _environment(device: str) -> dict[str, Any]:
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


def _result(
    run_id: str,
    config: RunConfig,
    reward_model: RewardModel,
    trained: Trained,
    training: TokenisedPairs,
    pairs: RunPairs,
    device: torch.device,
    table: pl.DataFrame,
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
        "evaluations": table.filter(pl.col("subreddit") == ALL).drop("run_id", "subreddit").to_dicts(),
    }


def _silent(_: Any) -> None:
    """Take a message or an advance and show nothing."""
