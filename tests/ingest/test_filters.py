"""The filters of `lurker ingest dump`, as a user gives them: each alone, and some together."""

import json

import polars as pl
import pytest

from lurker.cli import run
from lurker.schema import COMMENTS, POSTS
from lurker.workspace import open_workspace

DAY = 86_400
NOON = 1_577_880_000  # 2020-01-01 12:00 UTC


def rows(make):
    """Three posts of two subreddits on three days, three comments under each: plain, of a bot, of score -2."""
    for n, subreddit in enumerate(("college", "college", "Emory")):
        created = NOON + n * DAY
        yield make.post(f"p{n}", subreddit=subreddit, created_utc=created, over_18=n == 1, score=5)
        common = {"post": f"p{n}", "subreddit": subreddit}
        yield make.comment(10 * n, **common, created_utc=created + 1, score=3)
        yield make.comment(10 * n + 1, **common, created_utc=created + 2, score=4, author="AutoModerator")
        yield make.comment(10 * n + 2, **common, created_utc=created + 3, score=-2, over_18=n == 1)


ALL = {"p0", "p2", "c0", "c2", "c10", "c20", "c22"}
"""What is kept by default: no bot, nothing marked over 18; a comment below such a post stays where it says nothing."""
FILTERS = {
    "none": ([], ALL),
    "subreddit": (["--subreddit", "r/COLLEGE"], {"p0", "c0", "c2", "c10"}),
    "subreddits": (["--subreddit", "college", "--subreddit", "emory"], ALL),
    "subreddits from a file": (["--subreddits-from", "names.txt"], {"p2", "c20", "c22"}),
    "both": (["--subreddits-from", "names.txt", "--subreddit", "college"], ALL),
    "since": (["--since", "2020-01-02"], {"p2", "c10", "c20", "c22"}),
    "until": (["--until", "2020-01-02"], {"p0", "c0", "c2"}),
    "since and until": (["--since", "2020-01-02", "--until", "2020-01-03"], {"c10"}),
    "min score": (["--min-score", "0"], {"p0", "p2", "c0", "c10", "c20"}),
    "min score below 0": (["--min-score", "-2"], ALL),
    "nsfw": (["--keep-nsfw"], ALL | {"p1", "c12"}),
    "bots": (["--keep-bots"], ALL | {"c1", "c11", "c21"}),
    "everything": (["--keep-bots", "--keep-nsfw"], ALL | {"p1", "c12", "c1", "c11", "c21"}),
    "together": (["--keep-bots", "--min-score", "4", "--subreddit", "emory"], {"p2", "c21"}),
}


@pytest.mark.parametrize(("options", "kept"), FILTERS.values(), ids=FILTERS.keys())
@pytest.mark.parametrize("n_files", [1, 2])
def test_each_filter_keeps_what_it_says_and_counts_the_rest(
    tmp_path, monkeypatch, capsys, make, options, kept, n_files
):
    """The same for one file of everything and for posts and comments apart."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "names.txt").write_text("# ours\n\nr/Emory  # the second\n")
    everything = list(rows(make))
    parts = (
        [everything]
        if n_files == 1
        else [[row for row in everything if ("title" in row) == is_post] for is_post in (0, 1)]
    )
    files = [str(make.file(tmp_path / f"dump{number}", part)) for number, part in enumerate(parts)]
    assert run(["--workspace", "ws", "ingest", "dump", *files, *options, "--json"]) == 0
    reports = json.loads(capsys.readouterr().out)["files"]
    workspace = open_workspace(tmp_path / "ws")
    assert {row for t in (POSTS, COMMENTS) for row in workspace.scan(t).collect()[t.key[0]]} == kept
    assert sum(one["n_kept"] for one in reports) == len(kept)
    assert sum(sum(one["dropped"].values()) for one in reports) == len(everything) - len(kept)


def test_comments_of_a_dropped_post_form_no_pair(tmp_path, make, capsys):
    posts = [make.post(f"p{n}", over_18=n == 1) for n in range(3)]
    answers = [make.comment(10 * n + k, f"p{n}", score=k, body=f"so {'long ' * k}") for n in range(3) for k in range(8)]
    dump = str(make.file(tmp_path / "dump", [*posts, *answers]))
    root = ["--workspace", str(tmp_path / "ws")]
    assert run([*root, "ingest", "dump", dump]) == 0
    assert run([*root, "pairs", "build", "naive", "--recipe", "naive"]) == 0
    pairs = pl.read_parquet(tmp_path / "ws" / "pairs" / "naive" / "pairs.parquet")
    assert set(pairs["post_id"]) == {"p0", "p2"}
    manifest = json.loads((tmp_path / "ws" / "pairs" / "naive" / "manifest.json").read_text())
    assert {"reason": "post not ingested", "n": 8} in manifest["ledger"]["responses"]["dropped"]


@pytest.mark.parametrize(("content", "said"), [(None, "Cannot read"), ("# nothing\n", "has no subreddit names")])
def test_an_unusable_file_of_names_is_rejected(tmp_path, make, capsys, content, said):
    names = tmp_path / "names.txt"
    if content is not None:
        names.write_text(content)
    dump = str(make.file(tmp_path / "dump", [make.comment(1)]))
    arguments = ["--workspace", str(tmp_path / "ws"), "ingest", "dump", dump, "--subreddits-from", str(names)]
    assert run(arguments) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "ws").exists()


def test_a_recipe_can_require_ripe_scores(tmp_path, make):
    """`--set min_maturity_s=129600` from the command line to the pairs: 36 h, by the newest look."""
    ripe = 129_600
    posts = [make.post("p0", created_utc=NOON)]
    looks = [None, 60, ripe - 1, ripe, ripe + 5, 10 * ripe]
    answers = [
        make.comment(
            n,
            "p0",
            score=n,
            created_utc=NOON + n,
            retrieved_on=None if look is None else NOON + n + look,
            body="so " * n + "x",
        )
        for n, look in enumerate(looks)
    ]
    dump = str(make.file(tmp_path / "dump", [*posts, *answers]))
    root = ["--workspace", str(tmp_path / "ws")]
    assert run([*root, "ingest", "dump", dump]) == 0
    for name, options, wanted in (
        ("any", [], {f"c{n}" for n in range(6)}),
        ("ripe", ["--set", f"min_maturity_s={ripe}"], {"c3", "c4", "c5"}),
    ):
        assert run([*root, "pairs", "build", name, "--recipe", "naive", *options]) == 0
        pairs = pl.read_parquet(tmp_path / "ws" / "pairs" / name / "pairs.parquet")
        assert {*pairs["chosen_id"], *pairs["rejected_id"]} == wanted
