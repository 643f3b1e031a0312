"""What the commands of `lurker ingest` share: options, and how texts given to them are read."""

import re
from datetime import UTC, datetime
from pathlib import Path

import typer

from lurker.errors import CallError

KEEP_NSFW = typer.Option(False, "--keep-nsfw", help="Keep what is marked over 18.")
KEEP_BOTS = typer.Option(False, "--keep-bots", help="Keep what well-known bots wrote, AutoModerator's too.")
KEEP_MENTIONS = typer.Option(False, "--keep-mentions", help="Leave names of users in texts.")
REDDIT_URL = typer.Option(
    "", metavar="URL", envvar="LURKER_REDDIT_URL", help="Ask this server instead of Reddit.", show_default=False
)
ARCHIVE_URL = typer.Option(
    "", metavar="URL", envvar="LURKER_ARCHIVE_URL", help="Ask this server instead.", show_default=False
)
AS_JSON = typer.Option(False, "--json", help="One JSON object on stdout.")


def day(text: str, option: str) -> int | None:
    """Midnight (UTC) of a day like 2020-01-31 as seconds since 1970; None for an empty text."""
    if not text:
        return None
    try:
        return int(datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).timestamp())
    except ValueError as error:
        raise CallError(f"{option} takes a day like 2020-01-31, got {text!r}.") from error


def subreddit_name(subreddit: str) -> str:
    """A subreddit's name without what people put before it."""
    return subreddit.strip().removeprefix("/").removeprefix("r/")


def names_in(path: Path | None) -> list[str]:
    """The names a file lists, one a line, without blank lines and what follows a #.

    Errors: CallError when it cannot be read or names nothing.
    """
    if path is None:
        return []
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CallError(f"Cannot read {path} of --subreddits-from: {error}.", "Give a text file.") from error
    names = [name for line in lines if (name := line.partition("#")[0].strip())]
    if not names:
        raise CallError(f"{path} of --subreddits-from names no subreddit.", "Write one name a line.")
    return names


def age_s(text: str, option: str) -> int:
    """An age like 90m, 36h or 30d as seconds."""
    found = re.fullmatch(r"(\d{1,6})([smhd])", text.strip())
    if not found:
        raise CallError(f"{option} takes an age like 90m, 36h or 30d, got {text!r}.")
    return int(found[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86_400}[found[2]]
