"""Train a writer: choose well-received responses, learn to write them, and measure what was learned and copied."""

from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
import torch

from lurker.config import fingerprint, to_dict
from lurker.errors import CallError
from lurker.files import read_json, write_json, write_parquet
from lurker.pair_sets import read_pair_set
from lurker.progress import progress, quiet, say
from lurker.workspace import Workspace
from rm.models.ladder import LADDER, save
from rm.models.scorer import describe_device, move_to_device, training_dtype
from rm.pairs.tokens import layout
from rm.policy.causal import CausalModel, build_causal, is_reward_model
from rm.policy.held_out import held_out_losses, loss_rows
from rm.policy.memorisation import memorisation
from rm.policy.policy_folder import CONFIG, MODEL_FOLDER, RESULT, WORDS, policy_folder, policy_lock
from rm.policy.sampling import SamplingConfig, sample_prompts
from rm.policy.writer_config import WriterConfig
from rm.policy.writer_data import WriterTexts, read_writer_texts, without_long, writer_sequences
from rm.policy.writer_step import TokenLoss, WriterStep
from rm.runs.run_facts import environment
from rm.training.checkpoint import delete_checkpoint, trained_weights
from rm.training.distributed import current_processes, is_sharded, join_processes
from rm.training.identity import lineage, model_digest, unseen_tests, write_seen
from rm.training.loop import Trained, train
from rm.training.run_folder import require_same_config
from rm.training.trainable import make_trainable, merge_adapters

SAMPLES_FILE = "samples.parquet"
"""In a writer's folder: SAMPLES of held-out posts, and what each of them copies from the training responses."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WriterRun:
    """Everything that determines a writer."""

    pairs: str
    """name of the pair set whose responses are learned"""
    model: str
    """SPEC: a name on the ladder, a Hugging Face id or a local folder, such as another policy's model"""
    train: WriterConfig
    """how it is trained"""
    subreddits: tuple[str, ...] = ()
    """communities; all of the pair set when empty"""


def run_writer(workspace: Workspace, policy_id: str, config: WriterRun, *, resume: bool) -> dict[str, Any]:
    """Train one writer; a finished one is not trained again.

    Args:
        workspace: where the pair set is read and the policy's folder is written.
        policy_id: name of the folder.
        config: what to train on, and how.
        resume: continue what was interrupted.

    Returns:
        The content of result.json; empty in all processes but the first.

    Raises:
        CallError: the policy exists and resume is False, or it was made with another config.
        LurkerError: too few responses are left, a test post was trained on, or another process writes the policy.
    """
    is_first = join_processes().is_first
    with quiet(not is_first), policy_lock(workspace, policy_id) if is_first else nullcontext():
        folder = policy_folder(workspace, policy_id)
        texts = read_writer_texts(read_pair_set(workspace, config.pairs), config.train, config.subreddits)
        described = {"kind": "writer", **to_dict(config), "data_digest": texts.digest}
        if digest := model_digest(config.model):
            described["model_digest"] = digest
        require_same_config(folder, described, WORDS, resume=resume)
        if (folder / RESULT).exists():
            say(f"Policy {policy_id} is already finished.")
            return dict(read_json(folder / RESULT))
        texts = replace(texts, test=unseen_tests(config.model, {config.pairs: texts.test})[config.pairs])
        started = _start(config, texts)
        current_processes().wait()  # until every process has checked the folder
        if is_first:
            parents = lineage(config.model)  # written after loading: a model that does not load leaves no folder
            write_json(described | ({"parents": parents} if parents else {}), folder / CONFIG)
        trained = _train(folder, config, started)
        if trained is None:
            return {}
        result = _conclude(folder, config, started, *trained)
        delete_checkpoint(folder)
        return result


@dataclass(frozen=True, slots=True)
class _Started:
    """An untrained writer and its data."""

    model: CausalModel
    texts: WriterTexts
    """without responses that are too long"""


def _start(config: WriterRun, texts: WriterTexts) -> _Started:
    """Build the model, and leave out what it could not write whole."""
    settings = config.train
    model = _build(config, texts)
    most, around = model.max_positions, layout(model.tokenizer).n_tokens
    wanted = settings.max_prompt_tokens + settings.max_response_tokens + around
    if most is not None and wanted > most:
        raise CallError(
            f"{config.model} reads at most {most:,} tokens, and prompt and response may have {wanted:,}.",
            f"Add `--set max_prompt_tokens={max(0, most - settings.max_response_tokens - around)}`.",
        )
    fitting = texts.map(lambda frame: without_long(frame, model.tokenizer, settings))
    n_long = texts.training.height - fitting.training.height
    counts = fitting.counts | {"longer than max_response_tokens": n_long, "trained on": fitting.training.height}
    return _Started(model, fitting.with_counts(counts))


def _build(config: WriterRun, texts: WriterTexts) -> CausalModel:
    words = sorted({*texts.training["prompt"], *texts.training["response"]})
    train = config.train
    return build_causal(config.model, words, train.vocabulary_size, train.seed, can_be_reward_model=True)


def _train(folder: Path, config: WriterRun, started: _Started) -> tuple[CausalModel, Trained, TokenLoss] | None:
    """The trained model, the facts about its training, and its network; None in all processes but the first."""
    settings, causal, processes = config.train, started.model, current_processes()
    device = move_to_device(causal.model, causal.n_parameters)
    dtype = training_dtype(settings.precision, device, causal.n_parameters)
    name = describe_device(device, dtype)
    say(f"{config.model}: {causal.n_parameters:,} parameters without embeddings, on {name}.")
    if processes.is_first:
        write_json(environment(name) | {"n_processes": processes.count}, folder / "env.json")
    model = make_trainable(causal.model, config.model, settings, "CAUSAL_LM")
    network = _network(CausalModel(model, causal.tokenizer), dtype)
    network.learns_prompt = settings.learns_prompt
    say(describe_data(started.texts, network))
    learned, validation = (
        writer_sequences(frame, causal.tokenizer, settings)
        for frame in (started.texts.training, started.texts.validation)
    )
    objective = WriterStep(network, learned, validation, settings, started.texts.training["post_id"].to_list())
    trained = train(objective, settings.loop, folder)
    weights = trained_weights(model) if is_sharded(model) else {}
    if not processes.is_first:
        return None
    if weights:
        model = make_trainable(_build(config, started.texts).model, config.model, settings, "CAUSAL_LM")
        model.load_state_dict(weights, strict=False)
        model.to(device)
    finished = CausalModel(merge_adapters(model), causal.tokenizer)
    return finished, trained, _network(finished, torch.float32)


def _network(causal: CausalModel, dtype: torch.dtype) -> TokenLoss:
    return TokenLoss(causal.model, causal.tokenizer.pad_token_id, len(layout(causal.tokenizer).separator), dtype)


def _conclude(
    folder: Path, config: WriterRun, started: _Started, causal: CausalModel, trained: Trained, network: TokenLoss
) -> dict[str, Any]:
    """Save the model, measure it on held-out posts, and write the result, which is returned."""
    settings, texts = config.train, started.texts
    save(causal.model, causal.tokenizer, folder / MODEL_FOLDER)
    own = {"policy": folder.name, "pairs": config.pairs}
    write_seen(folder / MODEL_FOLDER, own, config.model, [texts.training, texts.validation])
    losses = {"writer": held_out_losses(network, texts.test, causal.tokenizer, settings)}
    if config.model in LADDER or is_reward_model(config.model):
        losses["unigram"] = held_out_losses(None, texts.test, causal.tokenizer, settings, texts.training)
    else:
        backbone = _build(config, texts)
        backbone.model.to(next(causal.model.parameters()).device)
        losses["backbone"] = held_out_losses(_network(backbone, torch.float32), texts.test, causal.tokenizer, settings)
    result = {
        "policy_id": folder.name,
        "kind": "writer",
        "pairs": config.pairs,
        "model": config.model,
        "n_parameters": causal.n_parameters,
        "n_parameters_total": causal.n_parameters_total,
        "seed": settings.seed,
        "counts": texts.counts,
        "traits": texts.traits,
        "n_train_posts": texts.training["post_id"].n_unique(),
        "subreddits": sorted(texts.training["subreddit"].unique()),
        "steps": trained.n_steps,
        "best_step": trained.best_step,
        "best_validation_log_loss": trained.best_validation_loss,
        "train_time_s": trained.train_time_s,
        "n_tokens": trained.n_tokens,
        "tokens_per_s": round(trained.tokens_per_s, 1),
        "max_prompt_tokens": settings.max_prompt_tokens,
        "max_new_tokens": settings.max_response_tokens,
        "held_out": loss_rows(losses, texts.test),
        "memorisation": _memorisation(folder, config, causal, texts),
    }
    write_json(result, folder / RESULT)
    return result


def _memorisation(folder: Path, config: WriterRun, causal: CausalModel, texts: WriterTexts) -> dict[str, Any]:
    """Sample held-out prompts, write the samples with what they copy, and return the figures beside people's."""
    settings = config.train
    prompts = texts.test.unique("post_id", keep="first", maintain_order=True).head(settings.n_memorisation_prompts)
    if prompts.is_empty():
        return {}
    sampling = SamplingConfig(
        max_new_tokens=settings.max_response_tokens, max_prompt_tokens=settings.max_prompt_tokens, seed=settings.seed
    )
    with progress("Sampling", prompts.height, "prompts"):
        named = prompts.select("prompt", "subreddit", prompt_id="post_id")
        samples = sample_prompts(causal, named, sampling, folder.name)
    learned = texts.training["response"].to_list()
    groups = (samples["response"].to_list(), prompts["response"].to_list())
    of_writer, of_people = (memorisation(group, learned) for group in groups)
    ids = [None if one < 0 else texts.training["response_id"][int(one)] for one in of_writer.nearest]
    copies = samples.with_columns(
        longest_copied_words=pl.Series(of_writer.longest, dtype=pl.Int64),
        copied=pl.Series(of_writer.copied, dtype=pl.String),
        nearest_id=pl.Series(ids, dtype=pl.String),
        similarity=pl.Series(of_writer.similarity, dtype=pl.Float64),
    )
    write_parquet(copies, folder / SAMPLES_FILE)
    return {"n_samples": samples.height, "writer": of_writer.report(), "human": of_people.report()}


def describe_data(texts: WriterTexts, network: TokenLoss) -> str:
    """What is trained on, in words."""
    counts, batching = texts.counts, "padded batches"
    if network.is_packed:
        batching = "packed batches, each prompt computed once for its responses"
    left_out = counts["longer than max_response_tokens"]
    return (
        f"{counts['trained on']:,} of {counts['of training posts']:,} responses to training posts are learned, of "
        f"{texts.training['post_id'].n_unique():,} posts; {left_out:,} chosen ones are too long. In {batching}."
    )


def writer_id(config: WriterRun, name: str) -> str:
    """The default id of a writer: its model's name and a digest of all that determines it."""
    digest = fingerprint(to_dict(config), model_digest(config.model))[:8]
    return f"writer-{name}-{digest}"
