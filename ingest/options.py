"""Options shared by the commands of `lurker ingest`, and the parsing of their values."""

import re
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import typer

from lurker.arguments import require_text
from lurker.errors import CallError

NEXT_COMMAND = "lurker pairs build balanced --recipe balanced"
"""What to run after an ingest."""

KEEP_NSFW = typer.Option(False, "--keep-nsfw", help="Keep rows marked over 18.")
KEEP_BOTS = typer.Option(False, "--keep-bots", help="Keep rows by well-known bots, including AutoModerator.")
KEEP_MENTIONS = typer.Option(False, "--keep-mentions", help="Leave user names in texts.")
REDDIT_URL = typer.Option(
    "", metavar="URL", envvar="LURKER_REDDIT_URL", help="Server to use instead of Reddit.", show_default=False
)
ARCHIVE_URL = typer.Option(
    "", metavar="URL", envvar="LURKER_ARCHIVE_URL", help="Server to use instead of Arctic Shift.", show_default=False
)
AS_JSON = typer.Option(False, "--json", help="Print one JSON object on stdout.")


def parse_day(value: str | date | None, name: str) -> datetime | None:
    """Midnight (UTC) of a day such as 2020-01-31 or of a date; None if there is no value; a datetime stays as it is.

    Args:
        name: name of the option or argument, for the error.

    Raises:
        CallError: the text is not a day.
    """
    if value is None or value == "":
        return None
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    try:
        day = value if isinstance(value, date) else datetime.strptime(require_text(value, name), "%Y-%m-%d").date()
    except ValueError as error:
        raise CallError(f"{name} takes a day such as 2020-01-31, got {value!r}.") from error
    return datetime.combine(day, time(), UTC)


def parse_age(value: str | timedelta, name: str) -> timedelta:
    """An age such as 90m, 36h or 30d as a timedelta.

    Args:
        name: name of the option or argument, for the error.

    Raises:
        CallError: the text is not an age.
    """
    if isinstance(value, timedelta):
        return value
    match = re.fullmatch(r"(\d{1,6})([smhd])", require_text(value, name).strip())
    if not match:
        raise CallError(f"{name} takes an age such as 90m, 36h or 30d, got {value!r}.")
    return int(match[1]) * timedelta(seconds={"s": 1, "m": 60, "h": 3600, "d": 86_400}[match[2]])


def read_names(path: Path | None) -> list[str]:
    """The names in a file, one per line; blank lines and text after a # are ignored.

    Raises:
        CallError: the file cannot be read, or has no names.
    """
    if path is None:
        return []
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CallError(f"Cannot read {path} (--subreddits-from): {error}.", "Give a text file.") from error
    names = [name for line in lines if (name := line.partition("#")[0].strip())]
    if not names:
        raise CallError(f"{path} (--subreddits-from) has no subreddit names.", "Write one name per line.")
    return names
