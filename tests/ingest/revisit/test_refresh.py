"""A second look: scores ripen, deletions are marked, and a stop costs no more than a batch."""

import json
from itertools import pairwise

import polars as pl
import pytest

from ingest.dump_files.read import ingest_dumps
from ingest.live_reddit.live import LiveConfig, ingest_reddit
from ingest.revisit.refresh import RefreshConfig, refresh_items, unripe_items, updated_rows
from ingest.revisit.survivorship import count_present, survivorship
from ingest.tables.normalize import RowFilters
from lurker.cli import run
from lurker.errors import LurkerError
from lurker.maturity import RIPE_AFTER_S
from lurker.schema import COMMENTS, OBSERVATIONS, POSTS, check
from lurker.workspace import Workspace
from tests.ingest import reddit_faults as faults
from tests.ingest.conftest import make_older
from tests.ingest.little_reddit import CREATED_UTC, little_reddit
from tests.ingest.reddit_double import Server

FIRST_LOOK = CREATED_UTC + 20_000
LATER = CREATED_UTC + 3 * 86_400


@pytest.fixture
def world():
    return little_reddit(("college", "Emory", "u_somebody"), n_posts=2, n_comments=60)


@pytest.fixture
def server(world):
    with Server(world) as server:
        yield server


@pytest.fixture
def seen_once(workspace, server, make_api, fake_clock):
    """A workspace in which everything was seen once, too soon; the present is three days later."""
    fake_clock.now_utc = FIRST_LOOK
    ingest_reddit(workspace, ["college", "emory", "u_somebody"], LiveConfig(keep_nsfw=True), make_api(server))
    fake_clock.now_utc = LATER
    server.log.clear()
    server.counts.clear()
    return workspace


def everything(world):
    return {name: one for tree in world.comments.values() for name, one in tree.items()}


def rows_of(workspace, table):
    key = "item_id" if table is OBSERVATIONS else table.key[0]
    return {row[key]: row for row in check(workspace.scan(table).collect(), table).iter_rows(named=True)}


def asked(server):
    return [entry[3]["id"].split(",") for entry in server.log if entry[2] == "/api/info"]


def no_api():
    raise AssertionError("nobody is to be asked")


def test_scores_are_updated_and_every_observation_is_kept(seen_once, world, server, make_api):
    before = rows_of(seen_once, COMMENTS)
    for one in [*everything(world).values(), *world.posts.values()]:
        one["score"] += 7
    report = refresh_items(seen_once, lambda: make_api(server), RefreshConfig())
    n_items = len(everything(world)) + len(world.posts)
    assert (report.n_unripe, report.n_looked, report.n_absent, report.n_changed) == (n_items, n_items, 0, n_items)
    assert (report.n_gone, report.n_ripe_now, report.n_calls) == (0, n_items, -(-n_items // 100))
    after = rows_of(seen_once, COMMENTS)
    for name, row in before.items():
        text_utc = None if row["is_edited"] else row["retrieved_utc"]  # an edited comment has its new text
        seen_now = {"score": row["score"] + 7, "retrieved_utc": LATER, "first_retrieved_utc": text_utc}
        assert after[name] == {**row, **seen_now}
    looks = seen_once.scan(OBSERVATIONS).collect()
    assert looks.height == 2 * n_items
    gained = (
        looks.sort("observed_utc").group_by("item_id", "kind").agg(pl.col("score").last() - pl.col("score").first())
    )
    assert set(gained["score"]) == {7}
    assert list((seen_once.root / "staging").iterdir()) == []


def test_a_workspace_of_version_2_is_refreshed(seen_once, world, server, make_api):
    make_older(seen_once.root, version=2)
    name, changed = next(iter(everything(world).items()))
    changed["score"], changed["controversiality"] = 50, 1
    report = refresh_items(seen_once, lambda: make_api(server), RefreshConfig())
    assert report.n_changed == 1
    row = rows_of(seen_once, COMMENTS)[name]
    assert (row["score"], row["is_controversial"]) == (50, True)


def test_a_look_at_a_hidden_score_keeps_the_score_and_tells_the_flag():
    """Reddit shows the mark even while it hides the score."""
    seen = {"comment_id": "c1", "post_id": "p1", "parent_id": "p1", "is_top_level": True, "subreddit": "tea"}
    seen |= {"body": "yes", "created_utc": 1, "source": "dump", "is_edited": False, "is_deleted": False}
    seen |= {"is_stickied": False, "is_distinguished": False, "is_by_op": False}
    old = {"score": 8, "is_score_hidden": False, "retrieved_utc": 5, "is_controversial": False, "ups": 9, "downs": 1}
    new = {"score": 1, "is_score_hidden": True, "retrieved_utc": 9, "is_controversial": True}
    (row,) = updated_rows(*(pl.DataFrame([seen | one], COMMENTS.schema) for one in (old, new)), COMMENTS).to_dicts()
    assert (row["score"], row["ups"], row["downs"], row["is_controversial"]) == (8, 9, 1, True)
    assert (row["retrieved_utc"], row["first_retrieved_utc"], row["is_score_hidden"]) == (9, 5, False)
    (row,) = updated_rows(
        *(pl.DataFrame([seen | old | one], COMMENTS.schema) for one in ({}, {"score": 9, "ups": None, "downs": None})),
        COMMENTS,
    ).to_dicts()
    assert (row["score"], row["ups"], row["downs"]) == (9, None, None)


@pytest.mark.parametrize(("before", "now", "kept"), [(True, False, False), (False, True, True), (True, None, True)])
def test_contest_mode_is_that_of_the_newest_look_that_tells_it(before, now, kept):
    seen = {"post_id": "p1", "subreddit": "tea", "title": "Which?", "body": "", "created_utc": 1, "is_self": True}
    seen |= {"is_nsfw": False, "is_edited": False, "is_deleted": False, "source": "dump", "score": 3}
    looks = ({"is_contest": before, "retrieved_utc": 5}, {"is_contest": now, "retrieved_utc": 9})
    rows = updated_rows(*(pl.DataFrame([seen | look], POSTS.schema) for look in looks), POSTS)
    assert rows["is_contest"].to_list() == [kept]


def test_batches_of_a_hundred_youngest_first(seen_once, world, server, make_api):
    refresh_items(seen_once, lambda: make_api(server), RefreshConfig())
    batches = asked(server)
    assert all(len(batch) == 100 for batch in batches[:-1])
    assert len(batches[-1]) <= 100
    created = {f"t1_{name}": one["created_utc"] for name, one in everything(world).items()}
    created |= {f"t3_{name}": one["created_utc"] for name, one in world.posts.items()}
    order = [name for batch in batches for name in batch]
    assert sorted(order) == sorted(created)
    assert all(created[one] >= created[other] for one, other in pairwise(order))


def test_ripe_items_are_not_fetched_again(seen_once, server, make_api):
    refresh_items(seen_once, lambda: make_api(server), RefreshConfig())
    report = refresh_items(seen_once, no_api, RefreshConfig())
    assert (report.n_unripe, report.n_looked) == (0, 0)
    longer = unripe_items(seen_once, RefreshConfig(ripe_after_s=30 * 86_400))
    assert longer.height == seen_once.scan(POSTS).collect().height + seen_once.scan(COMMENTS).collect().height


def test_simulated_items_are_not_requested(workspace, tmp_path, make):
    for source, number in (("simulator", 1), ("dump", 2)):
        path = make.file(tmp_path / source, [make.comment(number)])
        ingest_dumps(workspace, [path], RowFilters(), source=source)
    assert unripe_items(workspace, RefreshConfig(ripe_after_s=10**9))["fullname"].to_list() == ["t1_c2"]


@pytest.mark.parametrize(("seen_after_s", "is_asked"), [(RIPE_AFTER_S - 1, True), (RIPE_AFTER_S, False), (None, True)])
def test_ripe_is_36_hours_after_it_was_written(workspace, tmp_path, make, seen_after_s, is_asked):
    row = make.comment(1)
    row["retrieved_on"] = None if seen_after_s is None else row["created_utc"] + seen_after_s
    ingest_dumps(workspace, [make.file(tmp_path / "dump", [row])], RowFilters())
    assert unripe_items(workspace, RefreshConfig()).height == is_asked


def test_deleted_items_are_marked_and_keep_their_text_until_purged(seen_once, world, server, make_api):
    names = list(everything(world))
    before = rows_of(seen_once, COMMENTS)
    for name, body in zip(names[:4], ["[deleted]", "[removed]", "[ Removed by Reddit ]", ""], strict=True):
        everything(world)[name].update(body=body, author="[deleted]")
    post = next(iter(world.posts))
    world.posts[post]["removed_by_category"] = "deleted"
    report = refresh_items(seen_once, lambda: make_api(server), RefreshConfig())
    after = rows_of(seen_once, COMMENTS)
    assert {name for name, row in after.items() if row["is_deleted"]} == set(names[:4])
    for name in names[:4]:
        assert (after[name]["body"], after[name]["author_hash"]) == (before[name]["body"], before[name]["author_hash"])
    assert rows_of(seen_once, POSTS)[post]["is_deleted"]
    assert report.n_gone == 5
    assert report.gone.group_by("kind").len().sort("kind").rows() == [("comments", 4), ("posts", 1)]
    assert unripe_items(seen_once, RefreshConfig(ripe_after_s=10**9)).height == len(names) + len(world.posts) - 5


def test_edited_texts_are_updated_and_others_kept(seen_once, world, server, make_api):
    before = rows_of(seen_once, COMMENTS)
    edited, other = [name for name, one in everything(world).items() if one["edited"] is False][:2]
    everything(world)[edited].update(body="Literally &amp; <b>, said u/somebody", edited=float(LATER))
    everything(world)[other].update(body="not marked as edited")
    refresh_items(seen_once, lambda: make_api(server), RefreshConfig())
    after = rows_of(seen_once, COMMENTS)
    assert after[edited]["body"] == "Literally &amp; <b>, said u/[name]"
    assert after[edited]["is_edited"]
    assert after[other]["body"] == before[other]["body"]


@pytest.mark.parametrize("error", [LurkerError("Reddit is down."), KeyboardInterrupt()])
def test_an_interruption_costs_at_most_one_batch(seen_once, world, server, make_api, error, monkeypatch):
    for one in everything(world).values():
        one["score"] += 1
    api = make_api(server)
    n_answers = []

    def info(names, ask=api.info):
        if len(n_answers) == 2:
            raise error
        n_answers.append(len(names))
        return ask(names)

    monkeypatch.setattr(api, "info", info)
    with pytest.raises(type(error)):
        refresh_items(seen_once, lambda: api, RefreshConfig())
    first = {name for batch in asked(server) for name in batch}
    server.log.clear()
    report = refresh_items(seen_once, lambda: make_api(server), RefreshConfig())
    second = {name for batch in asked(server) for name in batch}
    assert len(first) == 200
    assert first.isdisjoint(second)
    assert report.n_looked == len(first | second) == report.n_unripe
    assert {row["retrieved_utc"] for row in rows_of(seen_once, COMMENTS).values()} == {LATER}


@pytest.mark.parametrize("n_commits", [0, 1, 4, 5, 7])
def test_a_killed_merge_is_repeated_with_the_same_counts(seen_once, world, server, make_api, n_commits):
    """Three subreddits, three tables: it is killed before any partition is new, and after some are."""
    n_gone = 0
    for number, one in enumerate([*world.posts.values(), *everything(world).values()]):
        one["score"] += 3
        if number % 8 == 0:
            one["selftext" if "selftext" in one else "body"] = "[removed]"
            n_gone += 1
    before = count_present(seen_once)
    commit, n_left = Workspace.commit_partition, iter(range(n_commits, -99, -1))

    def killed(*arguments, **notes):
        if next(n_left) == 0:
            raise KeyboardInterrupt
        commit(*arguments, **notes)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Workspace, "commit_partition", killed)
        with pytest.raises(KeyboardInterrupt):
            refresh_items(seen_once, lambda: make_api(server), RefreshConfig())
    n_calls = server.counts["info"]
    report = refresh_items(seen_once, lambda: make_api(server), RefreshConfig())
    n_items = len(everything(world)) + len(world.posts)
    assert server.counts["info"] == n_calls
    assert report.n_ripe_now == report.n_looked == report.n_changed == n_items
    assert report.n_gone == n_gone
    order = ["kind", "subreddit", "score_band"]
    assert count_present(seen_once, before=report.before).sort(order).equals(before.sort(order))
    assert list((seen_once.root / "staging").iterdir()) == []


@pytest.mark.parametrize("fault", [faults.status(503), faults.html, faults.reset])
def test_permanent_faults_end_the_run_with_one_sentence(seen_once, server, make_api, fault):
    server.fault = faults.always(fault, "info")
    with pytest.raises(LurkerError, match=r"failed with \d+ of \d+ items left: .*, 7 tries"):
        refresh_items(seen_once, lambda: make_api(server), RefreshConfig())
    assert not any(row["retrieved_utc"] == LATER for row in rows_of(seen_once, COMMENTS).values())


def test_items_unknown_to_reddit_stay_and_do_not_stop_the_run(seen_once, world, server, make_api):
    """Reddit returns nothing for a batch, for example from a banned subreddit; later batches are read."""
    lost = asked_first = set(unripe_items(seen_once, RefreshConfig())["fullname"].head(100))
    for tree in world.comments.values():
        for name in [name for name in tree if f"t1_{name}" in asked_first]:
            del tree[name]
    for name in [name for name in world.posts if f"t3_{name}" in asked_first]:
        del world.posts[name]
    before = rows_of(seen_once, COMMENTS)
    report = refresh_items(seen_once, lambda: make_api(server), RefreshConfig())
    assert (report.n_absent, report.n_looked) == (100, report.n_unripe - 100)
    after = rows_of(seen_once, COMMENTS)
    for name in (name[3:] for name in lost if name.startswith("t1_")):
        assert after[name] == before[name]


def test_limit_and_subreddits_restrict_the_items(seen_once, server, make_api):
    refresh_items(seen_once, lambda: make_api(server), RefreshConfig(max_items=30, subreddits=("EMORY",)))
    (batch,) = asked(server)
    assert len(batch) == 30
    looked = [row for row in rows_of(seen_once, COMMENTS).values() if row["retrieved_utc"] == LATER]
    assert {row["subreddit"] for row in looked} == {"Emory"}
    with pytest.raises(LurkerError, match="No comments of r/nowhere"):
        refresh_items(seen_once, no_api, RefreshConfig(subreddits=("nowhere",)))


def test_the_survivorship_report_adds_up(seen_once, world, server, make_api):
    """By hand: of each band and subreddit, how many there were and how many are left."""
    everything_now = everything(world)
    names = sorted(everything_now)[::9]
    scores = rows_of(seen_once, COMMENTS)
    for name in names:
        everything_now[name]["body"] = "[removed]"
    report = refresh_items(seen_once, lambda: make_api(server), RefreshConfig())
    table = survivorship(count_present(seen_once, before=report.before), report.gone)
    assert sum(row["before"] for row in table) == len(everything_now) + len(world.posts)
    bands = {"below 0": (-99, 0), "0–1": (0, 2), "2–4": (2, 5), "5–19": (5, 20), "20–99": (20, 100)}
    for row in table:
        if row["kind"] == "comments":
            low, high = bands[row["score_band"]]
            here = [
                n for n, one in scores.items() if one["subreddit"] == row["subreddit"] and low <= one["score"] < high
            ]
            n_gone = len(set(here) & set(names))
            assert (row["n_items"], row["before"], row["after"]) == (len(here), len(here), len(here) - n_gone)
            assert row["share_left"] == pytest.approx((len(here) - n_gone) / len(here))
        else:
            assert row["before"] == row["after"]


def test_the_command(seen_once, world, server, credentials, fake_clock, monkeypatch, capsys):
    fake_clock.replace_clocks(monkeypatch)
    names = list(everything(world))[:3]
    for name in names:
        everything(world)[name]["body"] = "[deleted]"
    command = ["--workspace", str(seen_once.root), "ingest", "refresh", "--reddit-url", server.url]
    assert run([*command, "--limit", "0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n_looked"] == 0
    assert run([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["n_gone"], found["purged"], found["n_absent"]) == (3, None, 0)
    assert sum(row["before"] - row["after"] for row in found["survivorship"]) == 3
    assert run([*command, "--purge"]) == 0
    printed = capsys.readouterr()
    assert "Texts erased" in printed.out
    assert "Survivorship" in printed.out
    erased = rows_of(seen_once, COMMENTS)
    assert {erased[name]["body"] for name in names} == {""}
    assert run([*command, "--older-than", "soon"]) == 2
    assert "36h" in capsys.readouterr().err
    assert run([*command, "--subreddit", "nowhere"]) == 1


def test_credentials_are_needed_only_to_fetch(seen_once, monkeypatch, capsys):
    for name in ("client_id", "client_secret"):
        monkeypatch.delenv(f"praw_{name}")
    command = ["--workspace", str(seen_once.root), "ingest", "refresh"]
    assert run([*command, "--purge", "--limit", "0"]) == 0
    assert run(command) == 2
    assert "Reddit requires credentials" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [{"ripe_after_s": -1}, {"max_items": -1}])
def test_an_invalid_setting_is_named_with_its_value(wrong):
    with pytest.raises(ValueError, match="got -1"):
        RefreshConfig(**wrong)
