"""Arenas: what is asked of whom, in `votes/NAME/arena.json`, and the items, in `votes/NAME/items.parquet`.

The items hold copies of texts in the columns of pairs, so a purge erases them there too.
"""

import hashlib
import hmac
import json
import secrets
import time
from dataclasses import dataclass, fields
from typing import Any, Literal

import polars as pl

from lurker.config import to_dict, typed_values
from lurker.errors import CallError, LurkerError
from lurker.files import read_object, write_json, write_parquet
from lurker.schema import ITEMS, check
from lurker.votes.store import Rater, add_rater, count_raters, forget_rater
from lurker.workspace import Workspace

ARENA_FILE = "arena.json"
ITEMS_FILE = "items.parquet"
RESULTS_FILE, JUDGED_FILE = "results.json", "judged.parquet"
OTHERS = "gold, and repeats with the sides swapped, which tell about raters only"
"""Votes that no estimate but those of the raters is made of."""
HASH_DIGITS = 24


@dataclass(frozen=True, kw_only=True, slots=True)
class ArenaConfig:
    """What an arena asks, of whom, and how items are drawn."""

    mode: Literal["better", "reddit"] = "better"
    """better: which response is better; reddit: guess which one Reddit preferred."""
    raters: Literal["invited", "open"] = "invited"
    """invited: who has a link; open: everybody who reaches the page."""
    design: Literal["random", "active"] = "random"
    """How the next item is drawn. random: all alike. active: items that tell most about the runs more often, with the
    probability recorded, so that estimates are weighted back."""
    uniform_share: float = 0.5
    """active: share of draws from all items alike, above 0 and up to 1; an item's weight is at most its inverse."""
    repeat_share: float = 0.05
    """Share of draws that bring back an item the rater has judged, with the sides swapped, 0-1."""
    gold_share: float = 0.1
    """Share of draws of items whose answer is near certain, 0-1."""
    n_items: int = 500
    """Items to vote on, at most."""
    n_gold: int = 30
    """Gold items, at most."""
    n_qualifying: int = 5
    """Items that a rater judges with feedback before voting."""
    qualify_threshold: float = 0.6
    """Share of them that must be right, 0-1."""
    held_out_share: float = 0.2
    """Share of raters whose votes are never trained on, 0-1, spread evenly over those who join."""
    max_votes_per_rater: int = 200
    """Votes of one rater, without qualifying ones."""
    max_votes_per_minute: int = 30
    """Votes of one rater within a minute."""
    max_votes_per_minute_and_address: int = 300
    """Votes from one network address within a minute."""
    max_votes_per_address: int = 1_000
    """Votes from one network address within a day."""
    max_raters_per_address: int = 5
    """Raters that join an open arena from one network address within a day."""
    reveal: Literal["nothing", "source"] = "nothing"
    """What a rater learns after a vote: nothing, or which source wrote each response; never a score or an author. What
    was revealed may sway later votes, so leave it off where votes are collected as data."""
    seed: int = 0
    """Draws the items, and which raters are held out."""

    def __post_init__(self) -> None:
        for name in ("repeat_share", "gold_share", "qualify_threshold", "held_out_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be between 0 and 1, got {getattr(self, name)}")
        if not 0 < self.uniform_share <= 1:
            raise ValueError(f"uniform_share must be above 0 and at most 1, got {self.uniform_share}")
        if self.repeat_share + self.gold_share >= 1:
            raise ValueError("repeat_share + gold_share must be below 1")
        limits = [field.name for field in fields(self) if field.name.startswith("max_")]
        for name in ("n_items", *limits):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("n_gold", "n_qualifying", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class Example:
    """A worked example of the onboarding."""

    prompt: str
    better: str
    worse: str
    reason: str


@dataclass(frozen=True, slots=True)
class Arena:
    """An arena of a workspace."""

    workspace: Workspace
    name: str
    config: ArenaConfig
    origin: dict[str, Any]
    """pairs, split and runs, or the responses file, that the items come from"""
    instructions: str
    """Markdown by the researcher"""
    consent: str
    """text that a rater agrees to first; empty if there is none"""
    examples: tuple[Example, ...]

    @property
    def runs(self) -> tuple[str, ...]:
        """The runs that the active design tells apart, or the one whose uncertainty it follows."""
        return tuple(self.origin.get("runs", ()))

    @property
    def design(self) -> str:
        """The design as it is written with each vote."""
        return " ".join(("active", *self.runs)) if self.config.design == "active" else "random"

    def items(self) -> pl.DataFrame:
        """The items as ITEMS.

        Raises:
            LurkerError: the file is missing or damaged.
        """
        path = self.workspace.folder("votes", self.name) / ITEMS_FILE
        try:
            return check(pl.read_parquet(path), ITEMS)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise LurkerError(f"Cannot read {path}: {str(error).splitlines()[0]}.", "Make the arena again.") from error


def arena_names(workspace: Workspace) -> list[str]:
    """Names of the arenas, sorted."""
    return workspace.names("votes", ARENA_FILE)


def write_arena(arena: Arena, items: pl.DataFrame) -> None:
    """Write a new arena; its arena.json comes last."""
    folder = arena.workspace.folder("votes", arena.name)
    write_parquet(check(items, ITEMS), folder / ITEMS_FILE)
    examples = [[one.prompt, one.better, one.worse, one.reason] for one in arena.examples]
    texts = {"instructions": arena.instructions, "consent": arena.consent, "examples": examples}
    write_json({"config": to_dict(arena.config), "origin": arena.origin, **texts}, folder / ARENA_FILE)


def open_arena(workspace: Workspace, name: str) -> Arena:
    """The arena of that name.

    Raises:
        CallError: there is none.
        LurkerError: its file is damaged.
    """
    path = workspace.folder("votes", name) / ARENA_FILE
    if not path.exists():
        existing = ", ".join(arena_names(workspace)) or "none yet"
        raise CallError(
            f"There is no arena {name!r} in {workspace.root} (it has: {existing}).",
            f"Make one: `lurker arena serve {name} --pairs NAME`.",
        )
    content = read_object(path)
    try:
        config = ArenaConfig(**typed_values(ArenaConfig, content["config"]))
        examples = tuple(Example(*one) for one in content["examples"])
        return Arena(workspace, name, config, content["origin"], content["instructions"], content["consent"], examples)
    except (KeyError, TypeError, ValueError) as error:
        raise LurkerError(
            f"{path} is damaged: {error}.", "Restore it from a copy; votes are kept elsewhere."
        ) from error


def invite(arena: Arena, name: str = "", *, token: str | None = None, address: str | None = None) -> str:
    """Let one more rater in.

    Args:
        name: what the researcher calls the rater.
        token: random when None.
        address: salted hash of the network address, of those who join an open arena.

    Returns:
        The token, which is stored as a hash only.
    """
    token = token or secrets.token_urlsafe(18)
    rater = rater_of(token)
    # Every so manieth rater, from a random one on: a draw for each would often hold out none of the first few.
    share, start = arena.config.held_out_share, draw(arena.config.seed, "held-out", arena.name)
    n_before = count_raters(arena.workspace, arena.name)
    is_held_out = int((n_before + 1) * share + start) > int(n_before * share + start)
    add_rater(arena.workspace, Rater(rater, arena.name, name, is_held_out, address, int(time.time())))
    return token


def forget(arena: Arena, rater: str) -> dict[str, int]:
    """Erase a rater with all votes and remarks, and the figures of the arena, which hold some of them.

    Returns:
        Rows erased by table.
    """
    for name in (RESULTS_FILE, JUDGED_FILE):
        (arena.workspace.folder("votes", arena.name) / name).unlink(missing_ok=True)
    return forget_rater(arena.workspace, rater)


def rater_of(token: str) -> str:
    """The hash by which the owner of a token is known. Tokens have 144 random bits, so no salt is needed."""
    return hashlib.sha256(b"rater:" + token.encode()).hexdigest()[:HASH_DIGITS]


def address_hash(workspace: Workspace, address: str | None) -> str | None:
    """A network address as it is stored: hashed with the workspace's secret salt, as there are few addresses."""
    if not address:
        return None
    return hmac.new(workspace.salt(), f"address:{address}".encode(), hashlib.sha256).hexdigest()[:HASH_DIGITS]


def digest(*parts: object) -> str:
    """A stable id of these parts."""
    return hashlib.sha256(json.dumps(parts, ensure_ascii=True, default=str).encode()).hexdigest()[:HASH_DIGITS]


def draw(*parts: object) -> float:
    """A number in [0, 1) that looks random and is the same for the same parts everywhere."""
    return int(digest(*parts)[:13], 16) / 16**13
