"""No name of an author is in the workspace, whatever door the rows came through."""

import json

import polars as pl
import pytest

from lurker.cli import run
from lurker.schema import COMMENTS, POSTS
from lurker.workspace import open_workspace
from tests.ingest import archive_double
from tests.ingest.little_reddit import little_reddit
from tests.ingest.reddit_double import Server

AUTHORS = ("Quentin_Q_Quill", "ZelmaZzyx-99")
MENTIONED = ("Wanda_Wxyz", "Vito-Vvv")
BODIES = (f"as u/{MENTIONED[0]} said", f"ask /u/{MENTIONED[1]}!", f"www.reddit.com/user/{MENTIONED[0]}/comments")


def written(root):
    """Path and content of every file, Parquet read as rows, names of files too."""
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        parquet = path.read_bytes()[:4] == b"PAR1"
        yield str(path), str(pl.read_parquet(path).to_dicts()) if parquet else path.read_bytes().decode("utf-8")


def names_in(root):
    """Which names are in which files, in any case."""
    return {
        (name, path)
        for path, text in written(root)
        for name in (*AUTHORS, *MENTIONED)
        if name.lower() in f"{path} {text}".lower()
    }


def dump(path, make):
    """A dump with names in every field that Reddit has them in, and in a line that nothing can read."""
    personal = {
        "author": AUTHORS[0],
        "author_fullname": "t2_abc",
        "author_flair_text": AUTHORS[0],
        "permalink": f"/user/{AUTHORS[0]}/comments/x",
        "subreddit_name_prefixed": f"u/{AUTHORS[0]}",
        "author_flair_richtext": [{"t": AUTHORS[1]}],
        "approved_by": AUTHORS[1],
    }
    title = {"title": f"To u/{MENTIONED[1]}", "selftext": BODIES[0], "link_flair_text": f"u/{MENTIONED[0]}"}
    rows = [make.post(**personal, **title)]
    rows += [make.comment(n, **{**personal, "author": AUTHORS[n % 2], "body": body}) for n, body in enumerate(BODIES)]
    return make.file(path, [*rows, (json.dumps(rows[1])[:-1]).encode()])


@pytest.fixture
def everywhere(tmp_path, make, credentials, fake_clock, monkeypatch):
    """Rows from a dump, from live Reddit and from the archive in one workspace."""
    fake_clock.replace_clocks(monkeypatch)
    world = little_reddit(("Emory",), n_posts=3, n_comments=12)
    for number, one in enumerate(one for tree in world.comments.values() for one in tree.values()):
        one |= {"author": AUTHORS[number % 2], "body": BODIES[number % 3], "author_flair_text": AUTHORS[0]}
    for post in world.posts.values():
        post |= {"author": AUTHORS[1], "selftext": BODIES[0], "title": f"u/{MENTIONED[0]}?"}
    root = str(tmp_path / "ws")
    assert run(["--workspace", root, "ingest", "dump", str(dump(tmp_path / "dump", make))]) == 0
    with Server(world) as server:
        for command in (["reddit", "emory"], ["refresh"]):
            assert run(["--workspace", root, "ingest", *command, "--reddit-url", server.url]) == 0
    with archive_double.served() as archive:
        archive.posts = [make.post("p9", author=AUTHORS[0], subreddit="rant", selftext=BODIES[1])]
        archive.comments = [make.comment(n, author=AUTHORS[1], subreddit="rant", body=BODIES[n]) for n in range(3)]
        assert run(["--workspace", root, "ingest", "archive", "rant", "--archive-url", archive.url]) == 0
    return open_workspace(tmp_path / "ws")


def test_no_name_is_in_any_file(everywhere):
    assert everywhere.scan(POSTS).collect().height == 5
    assert everywhere.scan(COMMENTS).collect().height > 20
    assert everywhere.subreddits(COMMENTS) == ["college", "Emory", "rant"]
    assert list((everywhere.root / "malformed").iterdir())
    assert names_in(everywhere.root) == set()


def test_user_profiles_are_dropped_unless_named(tmp_path, make):
    path = make.file(tmp_path / "dump", [make.comment(1), make.comment(2, subreddit=f"u_{AUTHORS[0]}")])
    for name, options in (
        ("all", []),
        ("college", ["--subreddit", "college"]),
        ("own", ["--subreddit", f"u_{AUTHORS[0]}"]),
    ):
        workspace = open_workspace(tmp_path / name, create=True)
        assert run(["--workspace", str(workspace.root), "ingest", "dump", str(path), *options]) == 0
        assert workspace.scan(COMMENTS).collect().height == 1
        is_named = name == "own"
        assert workspace.subreddits(COMMENTS) == [f"u_{AUTHORS[0]}" if is_named else "college"]
        assert is_named or names_in(workspace.root) == set()


def test_an_author_has_the_same_hash_from_every_source(everywhere):
    hashes = everywhere.scan(COMMENTS).collect()["author_hash"]
    assert hashes.null_count() == 0
    assert hashes.n_unique() == len(AUTHORS)
    assert hashes.str.len_chars().unique().to_list() == [16]


def test_only_its_owner_can_read_the_salt(everywhere):
    assert (everywhere.root / "salt").stat().st_mode & 0o077 == 0


def test_mentions_are_kept_on_request(tmp_path, make):
    workspace = open_workspace(tmp_path / "ws", create=True)
    command = ["--workspace", str(workspace.root), "ingest", "dump", str(dump(tmp_path / "dump", make))]
    assert run([*command, "--keep-mentions"]) == 0
    bodies = set(workspace.scan(COMMENTS).collect()["body"])
    assert bodies == set(BODIES)
    in_tables = {name for name, path in names_in(workspace.root) if "malformed" not in path}
    assert in_tables == set(MENTIONED)
