"""Erasing what people deleted: nowhere in the workspace is a word of it left, and everything else is as it was."""

import shutil
from dataclasses import replace
from pathlib import Path
from zlib import crc32

import polars as pl
import pytest

from features.recipes.presets import preset
from features.sets.build import build_pairs
from features.sets.export import export_pairs
from features.sets.hard_tests import HARD_TEST
from ingest.dump_files.read import ingest_dumps
from ingest.revisit.purge import purge_texts, without_deleted_texts
from ingest.tables.normalize import RowContext, RowFilters
from ingest.tables.sorted_runs import read_run
from ingest.tables.staging import stage_lines
from lurker.cli import run
from lurker.digest import frame_sha256
from lurker.exports import note_export
from lurker.files import read_json, write_json, write_parquet
from lurker.pair_sets import read_pairs
from lurker.schema import COMMENTS, OBSERVATIONS, POSTS, PREDICTIONS, check
from lurker.workspace import open_workspace
from tests.ingest.conftest import row_maker

N_POSTS, N_COMMENTS = 60, 900
SECOND = replace(preset("naive"), max_pairs_per_post=7)
GONE_POSTS = {f"p{n}" for n in range(0, N_POSTS, 10)}
GONE_COMMENTS = {f"c{n}" for n in range(0, N_COMMENTS, 7)}


def word(name):
    """The word that only the text of this item has."""
    return f"zq{name}qz"


def rows(make, is_later=False):
    """Posts and comments with a word each; later, some of them are deleted, though the archive kept their texts."""
    look = {"retrieved_on": 1_600_000_000 + 1_000 * is_later}
    for n in range(N_POSTS):
        name = f"p{n}"
        meta = {"was_deleted_later": True} if is_later and name in GONE_POSTS else {}
        texts = {"title": f"About {word(name)}", "selftext": f"More on {word(name)}.", "link_flair_text": word(name)}
        created = 1_500_000_000 + n * 100_000
        yield make.post(name, **texts, **look, created_utc=created, author=f"asker_{n}", _meta=meta)
    for n in range(N_COMMENTS):
        name = f"c{n}"
        meta = {"was_deleted_later": True} if is_later and name in GONE_COMMENTS else {}
        fields = {"body": f"I think {word(name)} is " + "so " * (n % 5) + "true", "score": crc32(name.encode()) % 101}
        created = 1_500_000_000 + n % N_POSTS * 100_000 + 600 + n // N_POSTS
        yield make.comment(n, f"p{n % N_POSTS}", **fields, **look, created_utc=created, author=f"user_{n}", _meta=meta)


def all_words(root):
    """Every such word in any file, Parquet read as rows."""
    texts = []
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        if path.read_bytes()[:4] == b"PAR1":
            texts.append(str(pl.read_parquet(path).to_dicts()))
        elif path.read_bytes()[:6] == b"ARROW1":
            texts.append(str(read_run(path).to_dicts()))
        else:
            texts.append(path.read_text(encoding="utf-8"))
    return set(pl.Series(texts).str.extract_all(r"zq[pc]\d+qz").explode().drop_nulls())


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A workspace with texts wherever texts can be, and with deletions that are marked and not purged yet."""
    make = row_maker()
    folder = tmp_path_factory.mktemp("purge")
    workspace = open_workspace(folder / "ws", create=True)
    malformed = b'{"id": "c0", "body": "' + word("c0").encode() + b'", "author": '
    dump = make.file(folder / "dump", [*rows(make), malformed])
    ingest_dumps(workspace, [dump], RowFilters())
    build_pairs(workspace, "naive", preset("naive"))
    build_pairs(workspace, "second", SECOND)
    pairs = pl.read_parquet(workspace.folder("pairs", "naive") / "pairs.parquet")
    write_parquet(pairs.head(200), workspace.folder("runs", "r1") / "sample.parquet")
    judged = pairs.select("pair_id", margin=pl.lit(1.0), is_correct=pl.lit(1.0))
    write_parquet(check(judged, PREDICTIONS), workspace.folder("runs", "r1") / "predictions" / "naive-test.parquet")
    ingest_dumps(workspace, [make.file(folder / "later", rows(make, is_later=True))], RowFilters())
    stopped = workspace.root / "staging" / "abc"
    lines = dump.read_bytes()
    stopped.mkdir(parents=True)
    stage_lines(lines, stopped, "000000", RowContext(RowFilters(), "dump", workspace.salt()))
    (stopped / "000001.lines").write_bytes(lines)
    (stopped / ".000002.comments.arrow.0badcafe.tmp").write_bytes(lines)
    (stopped / "spill").mkdir()
    (stopped / "spill" / "000000.comments.arrow").write_bytes(lines)
    (workspace.root / "comments" / "emory").mkdir()  # its first write was killed before the manifest
    for half in ("college/part-0badcafe.parquet", "college/.part-1.parquet.0badcafe.tmp", "emory/part-2.parquet"):
        (workspace.root / "comments" / half).write_bytes(lines)
    (workspace.root / "pairs" / "naive" / ".pairs.parquet.0badcafe.tmp").write_bytes(lines)
    return workspace


@pytest.fixture
def full(filled, tmp_path):
    shutil.copytree(filled.root, tmp_path / "copy")
    return open_workspace(tmp_path / "copy")


def tables(workspace):
    return {t.name: check(workspace.scan(t).collect(), t).sort(t.key) for t in (POSTS, COMMENTS, OBSERVATIONS)}


def pair_sets(workspace):
    folders = {name: workspace.folder("pairs", name) for name in ("naive", "second", HARD_TEST)}
    return {
        name: (pl.read_parquet(folder / "pairs.parquet"), read_json(folder / "manifest.json"))
        for name, folder in folders.items()
    }


def test_cached_model_outputs_are_deleted_too(tmp_path):
    workspace = open_workspace(tmp_path / "workspace", create=True)
    (workspace.root / "cache").mkdir()
    (workspace.root / "cache" / "states.npy").write_bytes(b"of a text")
    purge_texts(workspace)
    assert not (workspace.root / "cache").exists()


def test_readers_leave_out_pairs_without_a_text(full):
    purge_texts(full)
    has_texts = pl.all_horizontal(pl.col("prompt", "chosen", "rejected") != "")
    for name, (stored, _) in pair_sets(full).items():
        assert read_pairs(full, name).equals(stored.filter(has_texts))


def test_no_file_keeps_a_word_of_a_deleted_text(full):
    gone = {word(name) for name in GONE_POSTS | GONE_COMMENTS}
    before = all_words(full.root)
    assert gone < before
    purge_texts(full)
    assert all_words(full.root) == before - gone


def test_ids_counts_scores_and_all_other_texts_stay(full):
    before, sets = tables(full), pair_sets(full)
    purge_texts(full)
    after = tables(full)
    assert after["observations"].equals(before["observations"])
    for name, key, gone in (("posts", "post_id", GONE_POSTS), ("comments", "comment_id", GONE_COMMENTS)):
        texts = [column for column in ("title", "body", "flair", "author_hash") if column in before[name].columns]
        assert after[name].drop(texts).equals(before[name].drop(texts))
        is_gone = pl.col(key).is_in(list(gone))
        assert after[name].filter(~is_gone).equals(before[name].filter(~is_gone))
        assert set(after[name].filter(is_gone)["body"]) == {""}
        assert after[name].filter(is_gone)["author_hash"].null_count() == len(gone)
    for name, (pairs, manifest) in pair_sets(full).items():
        texts = ["prompt", "chosen", "rejected"]
        assert pairs.drop(texts).equals(sets[name][0].drop(texts))
        is_erased = pl.any_horizontal(pl.col(text) == "" for text in texts)
        assert manifest["n_purged"] == pairs.filter(is_erased).height > 0
        kept = pairs.filter(~is_erased)
        assert kept.equals(sets[name][0].filter(pl.col("pair_id").is_in(kept["pair_id"].implode())))
        assert manifest["n_pairs"] == sets[name][1]["n_pairs"]


def test_the_report_counts_what_was_erased_and_a_second_purge_finds_nothing(full):
    report = purge_texts(full)
    assert (report.n_posts, report.n_comments) == (len(GONE_POSTS), len(GONE_COMMENTS))
    assert (report.n_staged, report.n_malformed) == (len(GONE_POSTS) + len(GONE_COMMENTS), 2)
    without = {name: manifest["n_purged"] for name, (_, manifest) in pair_sets(full).items()}
    assert {name: report.pairs[f"pairs/{name}/pairs.parquet"] for name in without} == without
    assert report.pairs["runs/r1/sample.parquet"] > 0
    assert report.n_predictions == without["naive"]
    files = {path: path.read_bytes() for path in full.root.rglob("*") if path.is_file()}
    again = purge_texts(full)
    assert (again.n_posts, again.n_comments, again.n_staged, again.n_malformed, again.pairs) == (0, 0, 0, 0, {})
    assert again.n_predictions == without["naive"]
    assert {path: path.read_bytes() for path in full.root.rglob("*") if path.is_file()} == files


def test_the_hard_test_stays_frozen_and_every_manifest_names_its_digest(full):
    before = read_json(full.folder("pairs", HARD_TEST) / "manifest.json")["hard_test"]
    purge_texts(full)
    sets = pair_sets(full)
    hard, manifest = sets[HARD_TEST]
    digests = {name: frame_sha256(group) for (name,), group in hard.group_by("subreddit", maintain_order=True)}
    assert manifest["hard_test"] == digests != before
    assert sets["naive"][1]["hard_test"] == sets["second"][1]["hard_test"] == digests
    assert build_pairs(full, "matched", preset("matched"))["hard_test"] == digests
    rebuilt = build_pairs(full, "naive", preset("naive"))
    assert "n_purged" not in rebuilt
    pairs = read_pairs(full, "naive")
    assert not {*pairs["chosen_id"], *pairs["rejected_id"]} & GONE_COMMENTS
    assert not set(pairs["post_id"]) & GONE_POSTS


def test_the_next_purge_completes_one_stopped_before_any_rename(filled, tmp_path, monkeypatch):
    """What is left is whole, and ends as an unbroken purge does."""
    shutil.copytree(filled.root, tmp_path / "whole")
    whole = open_workspace(tmp_path / "whole")
    purge_texts(whole)
    wanted = all_words(whole.root), tables(whole), pair_sets(whole)
    rename = Path.replace
    stop, is_done = 0, False
    while not is_done:
        copy = tmp_path / f"stopped-{stop}"
        shutil.copytree(filled.root, copy)
        stopped = open_workspace(copy)
        n_left = iter(range(stop, -1, -1))

        def stopping(path, target, n_left=n_left):
            if next(n_left) == 0:
                raise KeyboardInterrupt
            return rename(path, target)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", stopping)
            try:
                purge_texts(stopped)
                is_done = True
            except KeyboardInterrupt:
                tables(stopped)
        purge_texts(stopped)
        assert all_words(stopped.root) == wanted[0]
        for name, table in tables(stopped).items():
            assert table.equals(wanted[1][name])
        for name, (pairs, manifest) in pair_sets(stopped).items():
            assert pairs.equals(wanted[2][name][0])
            assert manifest == wanted[2][name][1]
        assert not list(copy.rglob("purge.json"))
        shutil.rmtree(copy)
        stop += 1
    assert stop > 15


def test_runs_and_exports_out_of_reach_are_named(full, tmp_path, capsys):
    """Whatever was made of the texts before the purge; not what is made after it, nor what holds no text."""
    write_json({"pairs": "naive"}, full.folder("runs", "before") / "config.json")
    write_json({"pairs": "elsewhere"}, full.folder("runs", "other") / "config.json")
    note_export(full.folder("runs", "before"), tmp_path)
    for name, out in (("trl", "shared"), ("trl", "deleted"), ("ids", "ids")):
        export_pairs(full, "second", name, tmp_path / out)
    shutil.rmtree(tmp_path / "deleted")
    report = purge_texts(full)
    assert (report.runs, report.exports) == (["before"], [str(tmp_path), str(tmp_path / "shared")])
    write_json({"pairs": "naive"}, full.folder("runs", "after") / "config.json")
    export_pairs(full, "second", "trl", tmp_path / "again")
    assert run(["--workspace", str(full.root), "ingest", "refresh", "--purge", "--limit", "0"]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "stay: runs before. Train" in said
    assert f"hold erased texts: {tmp_path}, {tmp_path / 'shared'}. Delete" in said
    build_pairs(full, "naive", preset("naive"))
    assert purge_texts(full).runs == []


def test_votes_of_the_arena_lose_their_texts_too(full):
    pairs = pl.read_parquet(full.folder("pairs", "naive") / "pairs.parquet")
    votes = full.root / "votes" / "arena.parquet"
    write_parquet(pairs.with_columns(recipe=pl.lit("arena")), votes)
    report = purge_texts(full)
    assert report.pairs["votes/arena.parquet"] == report.pairs["pairs/naive/pairs.parquet"] > 0
    kept = pl.read_parquet(votes)
    assert kept.drop("prompt", "chosen", "rejected", "recipe").equals(
        pairs.drop("prompt", "chosen", "rejected", "recipe")
    )
    assert not {word(name) for name in GONE_COMMENTS | GONE_POSTS} & all_words(full.root)


def test_a_damaged_set_stays_damaged(full):
    """A file that was not what its manifest describes stays refused after a purge."""
    path = full.folder("pairs", "naive") / "pairs.parquet"
    write_parquet(pl.read_parquet(path).head(300), path)
    purge_texts(full)
    with pytest.raises(Exception, match="not what its manifest describes"):
        read_pairs(full, "naive")
    assert not {word(name) for name in GONE_COMMENTS | GONE_POSTS} & all_words(full.root)


def test_malformed_lines_lose_their_text_and_keep_their_number(full):
    (side_file,) = (full.root / "malformed").glob("*.ndjson")
    purge_texts(full)
    (row,) = pl.read_ndjson(side_file).to_dicts()
    problem = "Expecting value at character 42"
    assert row == {"file": row["file"], "line": N_POSTS + N_COMMENTS + 1, "problem": problem, "text": ""}
    assert row["file"].endswith("dump")


def test_an_older_dump_does_not_bring_a_purged_text_back(full, make, tmp_path):
    purge_texts(full)
    words = all_words(full.root)
    older = make.file(tmp_path / "again", list(rows(make)))
    ingest_dumps(full, [older], RowFilters())
    assert all_words(full.root) == words


def test_reddits_own_placeholders_stay():
    rows = pl.DataFrame({**dict.fromkeys(COMMENTS.columns), "body": ["[removed]", "mine"], "is_deleted": [True, True]})
    assert without_deleted_texts(rows, COMMENTS)["body"].to_list() == ["[removed]", ""]


def test_a_purge_fails_while_another_process_writes(full):
    from lurker.errors import LurkerError

    with full.lock("ingest dump"), pytest.raises(LurkerError, match="is being written"):
        purge_texts(full)
