"""The simulated Reddit as dump files in Reddit's format, with its truth as tables.

Source: the fields of submissions and comments in the monthly dumps of Pushshift and Arctic Shift.
"""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, BinaryIO

import polars as pl
import zstandard

from ingest.simulator.communities import make_world, tastes
from ingest.simulator.config import SimulationConfig
from ingest.simulator.true_quality import quality_rule
from ingest.simulator.world import POSTS_PER_CHUNK, simulate
from lurker.config import fingerprint, to_dict
from lurker.errors import LurkerError
from lurker.files import atomic_path, write_parquet
from lurker.progress import progress
from lurker.schema import TRUTH, check
from lurker.true_quality import write_quality_rule
from lurker.workspace import Workspace

POST_ID_BASE = int("ga0000", 36)
COMMENT_ID_BASE = int("fa00000", 36)
RETRIEVED_AFTER_S = 40 * 86_400
COMPRESSION_LEVEL = 3
AUTHOR_PREFIX = len("sim_user_")
NEWER_FIELDS = (
    "contest_share",
    "contest_delay_effect",
    "hidden_share",
    "hidden_minutes",
    "first_look_share",
    "taste_layout",
)
"""Fields of SimulationConfig that came later."""

# <name> is replaced by the row's value; "=<name>" by a JSON value that is not a string.
POST_TEMPLATE: dict[str, Any] = {
    "all_awardings": [],
    "allow_live_comments": False,
    "archived": False,
    "author": "<author>",
    "author_flair_css_class": None,
    "author_flair_richtext": [],
    "author_flair_text": None,
    "author_flair_type": "text",
    "author_fullname": "t2_<author_id>",
    "author_patreon_flair": False,
    "author_premium": False,
    "can_gild": True,
    "category": None,
    "content_categories": None,
    "contest_mode": "=<contest_mode>",
    "created_utc": "=<created_utc>",
    "distinguished": None,
    "domain": "self.<subreddit>",
    "edited": False,
    "gilded": 0,
    "gildings": {},
    "hidden": False,
    "hide_score": False,
    "id": "<id>",
    "is_crosspostable": True,
    "is_meta": False,
    "is_original_content": False,
    "is_reddit_media_domain": False,
    "is_robot_indexable": True,
    "is_self": True,
    "is_video": False,
    "link_flair_css_class": None,
    "link_flair_richtext": [],
    "link_flair_text": None,
    "link_flair_type": "text",
    "locked": False,
    "media": None,
    "media_only": False,
    "name": "t3_<id>",
    "no_follow": False,
    "num_comments": "=<num_comments>",
    "num_crossposts": 0,
    "over_18": "=<over_18>",
    "parent_whitelist_status": "all_ads",
    "permalink": "/r/<subreddit>/comments/<id>/simulated/",
    "pinned": False,
    "quarantine": False,
    "removed_by_category": None,
    "retrieved_on": "=<retrieved_on>",
    "score": "=<score>",
    "selftext": "<selftext>",
    "send_replies": True,
    "spoiler": False,
    "stickied": False,
    "subreddit": "<subreddit>",
    "subreddit_id": "t5_<subreddit>",
    "subreddit_type": "public",
    "thumbnail": "self",
    "title": "<title>",
    "total_awards_received": 0,
    "upvote_ratio": "=<upvote_ratio>",
    "url": "https://www.reddit.com/r/<subreddit>/comments/<id>/simulated/",
    "whitelist_status": "all_ads",
}
COMMENT_TEMPLATE: dict[str, Any] = {
    "all_awardings": [],
    "archived": False,
    "associated_award": None,
    "author": "<author>",
    "author_flair_background_color": None,
    "author_flair_css_class": None,
    "author_flair_richtext": [],
    "author_flair_template_id": None,
    "author_flair_text": None,
    "author_flair_text_color": None,
    "author_flair_type": "text",
    "author_fullname": "=<author_fullname>",
    "author_patreon_flair": False,
    "author_premium": False,
    "awarders": [],
    "body": "<body>",
    "can_gild": True,
    "can_mod_post": False,
    "collapsed": False,
    "collapsed_because_crowd_control": None,
    "collapsed_reason": None,
    "comment_type": None,
    "controversiality": "=<controversiality>",
    "created_utc": "=<created_utc>",
    "distinguished": "=<distinguished>",
    "edited": "=<edited>",
    "gilded": 0,
    "gildings": {},
    "id": "<id>",
    "is_submitter": "=<is_submitter>",
    "link_id": "t3_<post_id>",
    "locked": False,
    "name": "t1_<id>",
    "no_follow": True,
    "parent_id": "<parent_id>",
    "permalink": "/r/<subreddit>/comments/<post_id>/simulated/<id>/",
    "replies": "",
    "retrieved_on": "=<retrieved_on>",
    "score": "=<score>",
    "score_hidden": "=<score_hidden>",
    "send_replies": True,
    "stickied": "=<stickied>",
    "subreddit": "<subreddit>",
    "subreddit_id": "t5_<subreddit>",
    "subreddit_name_prefixed": "r/<subreddit>",
    "subreddit_type": "public",
    "top_awarded_type": None,
    "total_awards_received": 0,
    "treatment_tags": [],
    "unrepliable_reason": None,
    "ups": "=<score>",
}


def write_simulation(workspace: Workspace, config: SimulationConfig) -> list[Path]:
    """Write RS_sim.zst and RC_sim.zst to `simulated/`, and the truth about every comment, community and other text.

    With `first_look_share`, RC_sim_early.zst has the same comments as they were some hours after they were written.
    The same config produces the same lines, byte for byte.

    Returns:
        The paths of the dump files.

    Raises:
        LurkerError: the workspace holds another simulation, whose ids refer to different comments.
    """
    with workspace.lock("ingest simulate"):
        return _write(workspace, config)


def _write(workspace: Workspace, config: SimulationConfig) -> list[Path]:
    world, config_fingerprint = make_world(config), _fingerprint(config)
    for name in workspace.subreddits(TRUTH):
        if workspace.manifest(TRUTH, name).get("simulation") != config_fingerprint:
            raise LurkerError(
                f"{workspace.root} holds a simulation with another seed, size or other parameters.",
                "Use another workspace: `lurker --workspace NEW ingest simulate ...`.",
            )
    folder = workspace.root / "simulated"
    files = [folder / "RS_sim.zst", folder / "RC_sim.zst"]
    if config.first_look_share:
        files.append(folder / "RC_sim_early.zst")
    truths: list[pl.DataFrame] = []
    with ExitStack() as stack, progress("Simulating", config.n_posts, unit="posts") as advance:
        post_writer, comment_writer, *early_writers = [stack.enter_context(_dump_writer(file)) for file in files]
        for posts, comments in simulate(config):
            named_posts, named_comments = with_ids(posts, comments)
            post_writer.write(b"".join(post_lines(named_posts)))
            comment_writer.write(b"".join(comment_lines(named_comments)))
            for early_writer in early_writers:
                early_writer.write(b"".join(comment_lines(first_looks(named_comments, 60 * config.hidden_minutes))))
            truths.append(truth(named_comments))
            advance(min(posts.height, POSTS_PER_CHUNK))
    for name in world.subreddits:
        rows = pl.concat([part.filter(pl.col("subreddit") == name) for part in truths])
        workspace.replace_partition(TRUTH, name, [rows.sort("post_id", "comment_id")], simulation=config_fingerprint)
    write_parquet(tastes(world), workspace.root / "truth" / "tastes.parquet")
    write_quality_rule(quality_rule(world), to_dict(config), workspace)
    return files


def _fingerprint(config: SimulationConfig) -> str:
    """The fingerprint of a simulation: new fields at their defaults leave that of earlier versions unchanged."""
    defaults = {field.name: field.default for field in fields(config)}
    values = asdict(config)
    unused = [name for name in NEWER_FIELDS if values[name] == defaults[name]]
    return fingerprint({name: value for name, value in values.items() if name not in unused})


def first_looks(comments: pl.DataFrame, hidden_s: int) -> pl.DataFrame:
    """Comments as returned by `with_ids`, as they were at their first look: what is deleted later still has a text.

    Args:
        hidden_s: how long Reddit hides scores where it does, seconds; it then shows 1 and no flag.
    """
    is_score_hidden = pl.col("is_hidden") & (pl.col("first_look_s") < hidden_s)
    return comments.with_columns(
        score=pl.when(is_score_hidden).then(1).otherwise("first_score"),
        is_controversial=pl.col("first_is_controversial") & ~is_score_hidden,
        is_score_hidden=is_score_hidden,
        removal=pl.lit(""),
        retrieved_utc=pl.col("created_utc") + pl.col("first_look_s"),
    )


def with_ids(posts: pl.DataFrame, comments: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Add ids (base 36, without prefix) to simulated posts and comments, and `parent_id` to comments."""
    posts = posts.with_columns(post_id=pl.Series([_base36(POST_ID_BASE + 97 * n) for n in posts["post_number"]]))
    ids = pl.Series([_base36(COMMENT_ID_BASE + number) for number in comments["comment_number"]], dtype=pl.String)
    comments = comments.with_columns(comment_id=ids).join(posts.select("post", "post_id"), on="post", how="left")
    answered = comments.select("post", parent_index="thread_index", parent_id=pl.lit("t1_") + pl.col("comment_id"))
    comments = (
        comments.join(answered, on=["post", "parent_index"], how="left")
        .with_columns(pl.col("parent_id").fill_null(pl.lit("t3_") + pl.col("post_id")))
        .sort("comment_number")
    )
    return posts, comments


def truth(comments: pl.DataFrame) -> pl.DataFrame:
    """The table TRUTH for comments as returned by `with_ids`, except pinned ones and those without a text."""
    rows = comments.filter((pl.col("removal") == "") & ~pl.col("is_sticky"))
    return check(rows.select(*TRUTH.columns), TRUTH)


def post_lines(posts: pl.DataFrame) -> Iterator[bytes]:
    """Yield submissions as lines of JSON, in the order of the rows."""
    rows = posts.select(
        author=pl.col("author"),
        author_id=pl.col("author").str.slice(AUTHOR_PREFIX),
        created_utc="created_utc",
        id="post_id",
        num_comments="n_comments",
        over_18=_json_bool("is_nsfw"),
        # Reddit hides the scores of comments while contest mode is on: the comments' last look is after its end.
        contest_mode=_json_bool("is_contest"),
        retrieved_on=pl.col("created_utc") + RETRIEVED_AFTER_S,
        score="score",
        selftext="body",
        subreddit="subreddit",
        title="title",
        upvote_ratio="upvote_ratio",
    )
    yield from _lines(POST_TEMPLATE, rows)


def comment_lines(comments: pl.DataFrame) -> Iterator[bytes]:
    """Yield comments as lines of JSON, in the order of the rows; retrieved at `retrieved_utc` if there is one."""
    last_look_utc = pl.col("created_utc") - pl.col("delay_s") + RETRIEVED_AFTER_S
    is_gone = pl.col("author") == "[deleted]"
    if "is_score_hidden" not in comments.columns:
        comments = comments.with_columns(is_score_hidden=pl.lit(False))
    rows = comments.select(
        author=pl.col("author"),
        author_fullname=pl.when(is_gone)
        .then(pl.lit("null"))
        .otherwise(pl.format('"t2_{}"', pl.col("author").str.slice(AUTHOR_PREFIX))),
        body=pl.when(pl.col("removal") == "").then("body").otherwise(pl.format("[{}]", "removal")),
        controversiality=pl.col("is_controversial").cast(pl.Int64),
        created_utc="created_utc",
        distinguished=pl.when("is_sticky").then(pl.lit('"moderator"')).otherwise(pl.lit("null")),
        edited=pl.when("is_edited").then((pl.col("created_utc") + 300).cast(pl.String)).otherwise(pl.lit("false")),
        id="comment_id",
        is_submitter=_json_bool("is_by_op"),
        post_id="post_id",
        parent_id="parent_id",
        retrieved_on="retrieved_utc" if "retrieved_utc" in comments.columns else last_look_utc,
        score="score",
        score_hidden=_json_bool("is_score_hidden"),
        stickied=_json_bool("is_sticky"),
        subreddit="subreddit",
    )
    yield from _lines(COMMENT_TEMPLATE, rows)


def _lines(template: dict[str, Any], rows: pl.DataFrame) -> Iterator[bytes]:
    """Yield the template filled with each row; simulated texts need no JSON escapes."""
    text = json.dumps(template, separators=(",", ":")).replace("%", "%%")
    text = re.sub(r'"=<(\w+)>"', r"<\1>", text)
    slots = re.findall(r"<(\w+)>", text)
    line = re.sub(r"<\w+>", "%s", text) + "\n"
    columns = {f"{index}": rows[name] for index, name in enumerate(slots)}
    for row in pl.DataFrame(columns).iter_rows():
        yield (line % row).encode()


@contextmanager
def _dump_writer(path: Path) -> Iterator[BinaryIO]:
    """A writer of a compressed file, which appears when it is complete."""
    compressor = zstandard.ZstdCompressor(level=COMPRESSION_LEVEL)
    with atomic_path(path) as temporary, temporary.open("wb") as file, compressor.stream_writer(file) as writer:
        yield writer


def _json_bool(name: str) -> pl.Expr:
    return pl.when(name).then(pl.lit("true")).otherwise(pl.lit("false")).alias(name)


def _base36(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    return digits
