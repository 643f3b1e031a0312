"""Judgements from outside as PAIRS: one prompt is one post, so that intervals, splits and training treat them alike."""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from lurker.errors import LurkerError
from lurker.judgements.files import file_rows, plain_stem, raw_files
from lurker.judgements.formats import Judgement, judgements_of
from lurker.pair_sets import EXTERNAL, SPLITS
from lurker.schema import PAIRS, check

ID_DIGITS = 12
MAX_NAME = 60


@dataclass(frozen=True, slots=True)
class Judgements:
    """The judgements of a file, a folder or an archive."""

    name: str
    """made from the file's name, usable as a folder's"""
    format_name: str
    """preference | SHP | UKPConvArg1, or several"""
    frame: pl.DataFrame
    """PAIRS, sorted by pair_id; `subreddit` is the topic, `split` is test, times are 0, and the score of chosen is 1
    and of rejected 0 where the file has no scores"""
    n_rows: int
    """rows read"""
    dropped: dict[str, int]
    """reason -> rows"""
    sha256: str
    """of the unpacked files"""


def read_judgements(path: Path) -> Judgements:
    """Read a file, folder or archive of judgements; equal and repeated pairs are dropped and counted.

    A prompt is known by its text, and a response by its text and its prompt: so the same judgement has the same ids
    in every file.

    Raises:
        CallError: there is no file that can be read.
        LurkerError: a file is damaged or empty, lacks a column, or has a value that is no text or no label; or no
            judgement is left.
    """
    digest, formats, rows = hashlib.sha256(), [], []
    for file in raw_files(path):
        digest.update(file.content)
        format_name, judgements = judgements_of(file, file_rows(file))
        formats.append(format_name)
        rows += judgements
    kept, dropped = _usable(rows)
    frame, repeated = _distinct(check(pl.DataFrame([_pair(one) for one in kept], schema=PAIRS.schema), PAIRS))
    dropped |= repeated
    if frame.is_empty():
        counts = ", ".join(f"{reason}: {n:,}" for reason, n in dropped.items())
        raise LurkerError(
            f"None of the {len(rows):,} judgements of {path} can be used ({counts}).",
            "Name a file in which one of two different texts won.",
        )
    return Judgements(
        name=folder_name(path),
        format_name=" and ".join(dict.fromkeys(formats)),
        frame=frame,
        n_rows=len(rows),
        dropped=dropped,
        sha256=digest.hexdigest(),
    )


def folder_name(path: Path) -> str:
    """A path's name as that of a file or folder here."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", plain_stem(path.resolve().name))[:MAX_NAME]
    return name.strip("-._") or EXTERNAL


def prompt_key(prompt: str) -> str:
    """What a prompt is known by: its words, in lower case, with one space between them."""
    return " ".join(prompt.lower().split())


def _usable(rows: Sequence[Judgement]) -> tuple[list[Judgement], dict[str, int]]:
    reasons = [_reason(one) for one in rows]
    kept = [one for one, reason in zip(rows, reasons, strict=True) if reason is None]
    return kept, dict(Counter(reason for reason in reasons if reason is not None))


def _reason(one: Judgement) -> str | None:
    """Why a judgement cannot be used, or None."""
    if one.is_tie:
        return "no side won"
    if not (one.chosen and one.rejected and one.prompt):
        return "a text is empty"
    return "both sides are equal" if one.chosen == one.rejected else None


def _pair(one: Judgement) -> dict[str, object]:
    post_id = one.post_id or f"x{_digest(prompt_key(one.prompt))}"
    ids = {side: f"x{_digest(post_id, text)}" for side, text in (("chosen", one.chosen), ("rejected", one.rejected))}
    return {
        "pair_id": "-".join(sorted(ids.values())),
        "post_id": post_id,
        "subreddit": one.topic,
        "split": SPLITS[-1],
        "prompt": one.prompt,
        "chosen": one.chosen,
        "rejected": one.rejected,
        "chosen_id": ids["chosen"],
        "rejected_id": ids["rejected"],
        "chosen_score": one.chosen_score,
        "rejected_score": one.rejected_score,
        "chosen_delay_s": 0,
        "rejected_delay_s": 0,
        "chosen_chars": len(one.chosen),
        "rejected_chars": len(one.rejected),
        "label_confidence": 1.0,
        "weight": 1.0,
        "confounder_log_odds": 0.0,
        "recipe": EXTERNAL,
    }


def _distinct(frame: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, int]]:
    """One row per pair of texts, sorted; pairs that were judged both ways are dropped."""
    n_winners = pl.col("chosen_id").n_unique().over("pair_id")
    agreed = frame.filter(n_winners == 1)
    distinct = agreed.unique("pair_id", keep="first", maintain_order=True).sort("pair_id")
    counts = {"judged both ways": frame.height - agreed.height, "repeated": agreed.height - distinct.height}
    return distinct, {reason: n for reason, n in counts.items() if n}


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:ID_DIGITS]
