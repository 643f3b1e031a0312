"""Pair sets in the formats of other tools: a folder that `datasets.load_dataset` reads, with a dataset card.

Each format is a pure function from the table `pairs` to the columns of the format. The folder is written under a
temporary name and renamed last.
"""

import hashlib
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from features.hashing import hash_ids
from features.sets.card import dataset_card
from features.sets.store import SECOND_OPINION_FILE
from lurker.errors import CallError, LurkerError
from lurker.exports import note_export
from lurker.files import read_json, write_json, write_parquet
from lurker.pair_sets import AUDIT_FILE, MANIFEST, SPLITS, TEXTS, pair_set_folder, read_pair_set
from lurker.schema import POSTS
from lurker.workspace import Workspace

PROMPT_END = "\n\n"
"""Separates prompt and response when a trainer concatenates them."""
DIGEST_HEX_DIGITS = 16
_CARRIED = ("label_confidence", "weight", "confounder_log_odds", "pair_id", "subreddit")
"""Columns that TRL ignores and others may train with: soft labels, weights, offsets."""


def trl(pairs: pl.DataFrame) -> pl.DataFrame:
    """prompt, chosen, rejected and margin, as TRL's RewardTrainer and DPOTrainer read them.

    Source: https://huggingface.co/docs/trl/dataset_formats, "Preference", explicit prompt.
    """
    return pairs.select(pl.col("prompt") + PROMPT_END, "chosen", "rejected", _margin(), *_CARRIED)


def trl_conversational(pairs: pl.DataFrame) -> pl.DataFrame:
    """The same as lists of messages: the prompt is the user's, the response the assistant's.

    Source: https://huggingface.co/docs/trl/dataset_formats, "Preference", conversational.
    """
    return pairs.select(
        _message("user", "prompt"),
        _message("assistant", "chosen"),
        _message("assistant", "rejected"),
        _margin(),
        *_CARRIED,
    )


def shp(pairs: pl.DataFrame) -> pl.DataFrame:
    """The columns of Stanford Human Preferences; which response is A depends on a hash of the pair's id.

    seconds_difference is chosen minus rejected; SHP has only pairs where it is at least 0, other recipes do not.
    post_id is Reddit's id; domain is the subreddit and the split, as in SHP.

    Args:
        pairs: with post_created_utc and upvote_ratio.

    Source: https://huggingface.co/datasets/stanfordnlp/SHP, "Dataset Structure".
    """
    is_a_chosen = pl.Series("_is_a_chosen", hash_ids(pairs["pair_id"], "shp side") % 2 == 0)
    marked = pairs.with_columns(
        is_a_chosen,
        chosen_utc=pl.col("post_created_utc") + pl.col("chosen_delay_s"),
        rejected_utc=pl.col("post_created_utc") + pl.col("rejected_delay_s"),
    )

    def side(chosen: str, rejected: str, *, is_a: bool) -> pl.Expr:
        first, second = (chosen, rejected) if is_a else (rejected, chosen)
        return pl.when("_is_a_chosen").then(first).otherwise(second)

    both = {
        "c_root_id": ("chosen_id", "rejected_id"),
        "created_at_utc": ("chosen_utc", "rejected_utc"),
        "score": ("chosen_score", "rejected_score"),
        "human_ref": ("chosen", "rejected"),
    }
    higher, lower = (pl.max_horizontal(1, f"{role}_score") for role in ("chosen", "rejected"))
    return marked.select(
        "post_id",
        domain=pl.col("subreddit").str.to_lowercase() + "_" + pl.col("split"),
        upvote_ratio="upvote_ratio",
        history="prompt",
        **{f"{name}_{letter}": side(*roles, is_a=letter == "A") for name, roles in both.items() for letter in "AB"},
        labels=pl.col("_is_a_chosen").cast(pl.Int64),
        seconds_difference=(pl.col("chosen_utc") - pl.col("rejected_utc")).cast(pl.Float64),
        score_ratio=higher / lower,
    )


def ids(pairs: pl.DataFrame) -> pl.DataFrame:
    """Ids, labels and a digest of each text, without the texts: can be shared when the texts cannot."""
    digests = [text_digest(pairs[role]).alias(f"{role}_digest") for role in TEXTS]
    return pairs.drop(TEXTS).with_columns(digests)


def everything(pairs: pl.DataFrame) -> pl.DataFrame:
    """The table `pairs` unchanged."""
    return pairs


FORMATS: dict[str, Callable[[pl.DataFrame], pl.DataFrame]] = {
    "trl": trl,
    "trl-conversational": trl_conversational,
    "shp": shp,
    "datasets": everything,
    "ids": ids,
}


def export_pairs(workspace: Workspace, name: str, format_name: str, out: Path) -> dict[str, Any]:
    """Write pair set `name` to the folder `out` as data/SPLIT.parquet, README.md and manifest.json.

    Returns:
        pairs, format, out, n_pairs (by split), is_audited.

    Raises:
        CallError: the format or the pair set is unknown, or the folder is not empty.
        LurkerError: the folder cannot be written.
    """
    if format_name not in FORMATS:
        raise CallError(f"Unknown format {format_name!r}.", f"Use one of: {', '.join(FORMATS)}.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CallError(f"{out} exists already.", "Use another --out, or remove it first.")
    pair_set = read_pair_set(workspace, name)
    pairs, manifest, folder = pair_set.frame, pair_set.manifest, pair_set_folder(workspace, name)
    audit, second_opinion = (
        read_json(path) if (path := folder / file).exists() else None for file in (AUDIT_FILE, SECOND_OPINION_FILE)
    )
    table = FORMATS[format_name](_add_post_columns(workspace, pairs) if format_name == "shp" else pairs)
    n_pairs = {split: int((pairs["split"] == split).sum()) for split in SPLITS}
    non_empty = [split for split in SPLITS if n_pairs[split]]
    partial = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}")
    try:
        for split in non_empty:
            write_parquet(table.filter(pairs["split"] == split), partial / "data" / f"{split}.parquet")
        write_json(manifest | {"format": format_name}, partial / MANIFEST)
        card = dataset_card(name, format_name, non_empty, manifest, audit, second_opinion)
        (partial / "README.md").write_text(card, encoding="utf-8")
        partial.replace(out)
        if format_name != "ids":
            note_export(folder, out)
    except OSError as error:
        raise LurkerError(f"Cannot write {out}: {error}.", "Use another --out.") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return {"pairs": name, "format": format_name, "out": str(out), "n_pairs": n_pairs, "is_audited": audit is not None}


def text_digest(texts: pl.Series) -> pl.Series:
    """The first DIGEST_HEX_DIGITS of each text's SHA-256. Shape [n]."""
    unique = texts.unique()
    digests = [hashlib.sha256(text.encode()).hexdigest()[:DIGEST_HEX_DIGITS] for text in unique]
    return texts.replace_strict(unique, pl.Series(digests, dtype=pl.String), return_dtype=pl.String)


def _margin() -> pl.Expr:
    """Difference of log(1 + score), negative scores counted as 0: does not grow with the thread's size, nats."""
    chosen, rejected = (pl.max_horizontal(0, f"{role}_score").log1p() for role in ("chosen", "rejected"))
    return (chosen - rejected).alias("margin")


def _message(role: str, column: str) -> pl.Expr:
    return pl.concat_list(pl.struct(role=pl.lit(role), content=pl.col(column))).alias(column)


def _add_post_columns(workspace: Workspace, pairs: pl.DataFrame) -> pl.DataFrame:
    """The pairs with post_created_utc and upvote_ratio of their posts."""
    posts = workspace.scan(POSTS).join(pairs.lazy().select("post_id").unique(), on="post_id", how="semi")
    columns = posts.select("post_id", "upvote_ratio", post_created_utc="created_utc").collect()
    return pairs.join(columns, on="post_id", how="left", maintain_order="left")
