"""Make an arena from a pair set or a file of responses, or open the one that was made before."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from dashboard.arena.items import items_of_pairs
from dashboard.arena.responses import items_of_responses, read_onboarding
from lurker.errors import CallError
from lurker.votes.arenas import Arena, ArenaConfig, arena_names, open_arena, write_arena
from lurker.workspace import Workspace

INSTRUCTIONS = (
    "Read the prompt and both responses, then say which response is better as an answer to it. "
    "Judge what is written, not how long it is. Nobody sees your single answers but the researcher."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Where the items of a new arena come from, and what raters read first."""

    pairs: str | None = None
    split: str | None = None
    runs: Sequence[str] = ()
    responses: Path | None = None
    instructions: Path | None = None
    consent: Path | None = None
    onboarding: Path | None = None


def make_arena(workspace: Workspace, name: str, source: Source, config: ArenaConfig) -> Arena:
    """Write a new arena.

    Raises:
        CallError: the name is taken, the source cannot be read, or the options do not fit each other.
        LurkerError: the source is damaged.
    """
    if name in arena_names(workspace):
        raise CallError(f"There is an arena {name!r} already.", f"Serve it as it is: `lurker arena serve {name}`.")
    if (source.pairs is None) == (source.responses is None):
        raise CallError("A new arena needs pairs or responses, and not both.", "Add --pairs NAME or --responses FILE.")
    if (config.design == "active") != (1 <= len(source.runs) <= 2):
        raise CallError(
            f"The design {config.design} does not go with {len(source.runs)} runs.",
            "Give one or two --run with `--set design=active`, and none with `--set design=random`.",
        )
    if source.responses is not None and (source.runs or source.split is not None):
        raise CallError("--run and --split are about a pair set.", "Leave them out, or add --pairs instead.")
    if source.pairs is not None and config.reveal == "source":
        raise CallError("People wrote both responses of a pair, so there is no source to reveal.", "Add --responses.")
    if source.pairs is not None:
        items = items_of_pairs(workspace, source.pairs, name, config, split=source.split, runs=source.runs)
        origin = {"pairs": source.pairs, "split": source.split, "runs": list(source.runs)}
    else:
        assert source.responses is not None, "one of the two is given"
        items = items_of_responses(source.responses, name, config)
        origin = {"responses": source.responses.name}
    onboarding, examples = read_onboarding(source.onboarding, name) if source.onboarding else (items.clear(), ())
    if replaced := onboarding["role"].unique().to_list():  # the researcher's own items stand for those of the set
        items = items.filter(~pl.col("role").is_in(replaced))
    arena = Arena(
        workspace=workspace,
        name=name,
        config=config,
        origin=origin,
        instructions=_text(source.instructions) or INSTRUCTIONS,
        consent=_text(source.consent),
        examples=examples,
    )
    write_arena(arena, pl.concat([items, onboarding]).unique("item_id", keep="first", maintain_order=True))
    return open_arena(workspace, name)


def _text(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CallError(f"Cannot read {path}: {error}.", "Name a Markdown file.") from error
