"""What a writer is trained and judged on: the well-received responses of some posts, as token sequences.

Training posts alone are trained on. Responses to validation and test posts are chosen by the same bar, which training
responses set.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from lurker.config import fingerprint
from lurker.errors import CallError, LurkerError
from lurker.pair_sets import PairSet, of_subreddits, pair_set_names, read_pair_set, require_disjoint, require_votes
from lurker.subreddits import plain_name
from lurker.workspace import Workspace
from rm.pairs.subsets import stable_hash
from rm.pairs.tokens import Sequences, encode, layout, token_ids
from rm.policy.reception import add_reception, responses_of
from rm.policy.writer_config import WriterConfig

MEASURES = {"residual": "reception", "score": "log_score", "all": "log_score"}
"""selected_by of a config -> column that ranks responses."""


@dataclass(frozen=True, slots=True)
class WriterTexts:
    """Responses that are learned and read, each with prompt, response, post_id, response_id, subreddit, reception."""

    training: pl.DataFrame
    validation: pl.DataFrame
    test: pl.DataFrame
    counts: dict[str, int]
    """how many responses there were, and how many each rule left out"""
    traits: dict[str, dict[str, float]]
    """mean delay_s, n_chars, score and reception of all responses to training posts and of the chosen ones"""

    @property
    def digest(self) -> str:
        """Digest of what is learned and of what selects and judges: changes when the pair set is built again."""
        frames = (self.training, self.validation, self.test)
        return fingerprint(*(frame.select("response_id", "prompt", "response").rows() for frame in frames))

    def map(self, change: Callable[[pl.DataFrame], pl.DataFrame]) -> "WriterTexts":
        """The same with each of the three frames changed."""
        return replace(self, training=change(self.training), validation=change(self.validation), test=change(self.test))

    def with_counts(self, counts: dict[str, int]) -> "WriterTexts":
        """The same with other counts."""
        return replace(self, counts=counts)


def find_pairs(workspace: Workspace, name: str) -> tuple[PairSet, tuple[str, ...]]:
    """The pair set of a name; for the name of a community, the pair set with most of its training pairs.

    Returns:
        The pair set, and the community it is limited to, if the name was a community's.

    Raises:
        CallError: the name is neither, or the pair set holds no votes of Reddit.
    """
    names = pair_set_names(workspace)
    if name in names:
        pairs = read_pair_set(workspace, name)
        require_votes(pairs, "A writer's choice of responses")
        return pairs, ()
    community = plain_name(name).lower()
    sizes = {}
    for one in names:
        frame = read_pair_set(workspace, one).frame
        is_own = (pl.col("subreddit").str.to_lowercase() == community) & (pl.col("split") == "train")
        sizes[one] = frame.filter(is_own).height
    best = max(sorted(sizes), key=lambda one: sizes[one], default=None)
    if best is None or not sizes[best]:
        raise CallError(
            f"{name!r} is neither a pair set nor a community with training pairs in {workspace.root} "
            f"(pair sets: {', '.join(names) or 'none yet'}).",
            "Build one: `lurker pairs build naive --recipe naive`.",
        )
    pairs = read_pair_set(workspace, best)
    require_votes(pairs, "A writer's choice of responses")
    return pairs, (community,)


def read_writer_texts(pairs: PairSet, config: WriterConfig, subreddits: tuple[str, ...] = ()) -> WriterTexts:
    """Choose the responses that a writer learns, and those of held-out posts that it is judged by.

    Args:
        pairs: a pair set of Reddit's votes.
        config: how responses are chosen.
        subreddits: communities; all when empty.

    Raises:
        LurkerError: a split is left without responses, or splits share a post.
    """
    frame = of_subreddits(responses_of(pairs), pairs.name, subreddits)
    counts = {"responses": frame.height}
    if config.exclude_nsfw:
        frame = frame.filter(~pl.col("is_nsfw"))
        counts["of posts marked over 18"] = counts["responses"] - frame.height
    frame = add_reception(frame)
    chosen = choose(frame, config)
    parts = {split: chosen.filter(split=split) for split in ("train", "validation", "test")}
    training = first_posts(parts["train"], config.max_responses)
    held_out = {split: first_posts(parts[split], config.max_held_out_responses) for split in ("validation", "test")}
    for split, part in {"train": training, **held_out}.items():
        if part.height < 2:
            raise LurkerError(
                f"Pair set {pairs.name} has {part.height} well-received responses to {split} posts, and 2 are needed.",
                "Ingest more posts, or raise the share: `--set top_share=1`.",
            )
    for part in held_out.values():
        require_disjoint(training, part, pairs.name)
    candidates = frame.filter(split="train")
    counts |= {"of training posts": candidates.height, "chosen": training.height}
    traits = {"all": _traits(candidates), "chosen": _traits(training)}
    return WriterTexts(training, held_out["validation"], held_out["test"], counts, traits)


def choose(frame: pl.DataFrame, config: WriterConfig) -> pl.DataFrame:
    """The best-received share of each community's responses, by the bar that its training responses set.

    Ties are broken by a hash of the response's id.

    Args:
        frame: as returned by `add_reception`.
        config: selected_by and top_share.
    """
    if config.selected_by == "all":
        return frame
    measure = MEASURES[config.selected_by]
    tie = pl.Series("_tie", [stable_hash(0, one) for one in frame["response_id"]], dtype=pl.Int64)
    ranked = frame.with_columns(tie).sort(measure, "_tie", descending=True)
    parts = []
    for _, part in ranked.group_by("subreddit", maintain_order=True):
        training = part.filter(split="train")
        n_chosen = int(np.ceil(config.top_share * training.height))
        if n_chosen:
            last = training.row(n_chosen - 1, named=True)
            at_least = (pl.col(measure) > last[measure]) | (
                (pl.col(measure) == last[measure]) & (pl.col("_tie") >= last["_tie"])
            )
            parts.append(part.filter(at_least))
    return pl.concat(parts).drop("_tie").sort("response_id") if parts else frame.clear()


def first_posts(frame: pl.DataFrame, n_responses: int | None) -> pl.DataFrame:
    """Whole posts in order of the hash of their id, up to n_responses; all when None."""
    if n_responses is None or frame.height <= n_responses:
        return frame
    posts = frame["post_id"].unique().sort()
    order = pl.DataFrame({"post_id": posts, "_order": [stable_hash(0, post) for post in posts]})
    ordered = frame.join(order, on="post_id").sort("_order", "response_id")
    return ordered.head(n_responses).drop("_order").sort("response_id")


def writer_sequences(frame: pl.DataFrame, tokenizer: Any, config: WriterConfig) -> Sequences:
    """Prompts and responses as the writer reads them; no response is cut: see `without_long`."""
    max_tokens = config.max_prompt_tokens + config.max_response_tokens + layout(tokenizer).n_tokens
    prompts, responses = frame["prompt"].to_list(), frame["response"].to_list()
    return encode(tokenizer, prompts, responses, max_tokens, config.max_prompt_tokens)


def without_long(frame: pl.DataFrame, tokenizer: Any, config: WriterConfig) -> pl.DataFrame:
    """The responses that fit into max_response_tokens with their end token.

    Raises:
        LurkerError: fewer than two do.
    """
    ids = token_ids(tokenizer, frame["response"].to_list())
    fits = [len(ids[response]) < config.max_response_tokens for response in frame["response"]]
    kept = frame.filter(pl.Series(fits, dtype=pl.Boolean))
    if kept.height < 2:
        raise LurkerError(
            f"{frame.height - kept.height:,} of {frame.height:,} responses have more than "
            f"{config.max_response_tokens - 1} tokens, so that fewer than 2 are left.",
            "Allow longer ones: `--set max_response_tokens=...`.",
        )
    return kept


def _traits(frame: pl.DataFrame) -> dict[str, float]:
    means = frame.select(pl.col("delay_s", "n_chars", "score", "reception").mean()).row(0, named=True)
    return {name: round(float(value), 4) for name, value in means.items()}
