"""A workspace of an older version lacks newer columns: they read as null, and every command still works."""

import hashlib
import shutil

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import features
import ingest
from dashboard.ingested import ingested_rows
from ingest.revisit.purge import purge_texts
from ingest.tables.sorted_runs import read_run
from lurker.files import read_json
from lurker.schema import (
    COMMENTS,
    OBSERVATIONS,
    POSTS,
    READABLE_VERSIONS,
    SCHEMA_VERSION,
    TRUTH,
    WORKSPACE_TABLES,
    check,
)
from lurker.workspace import MARKER, open_workspace
from tests.ingest.conftest import make_older, newer_columns


@pytest.fixture(scope="module")
def new(tmp_path_factory):
    root = tmp_path_factory.mktemp("versions") / "new"
    ingest.simulate(root, n_posts=400, seed=3)
    return open_workspace(root)


@pytest.fixture
def old(new, tmp_path):
    shutil.copytree(new.root, tmp_path / "old")
    make_older(tmp_path / "old", version=2)
    return open_workspace(tmp_path / "old")


def columns_of(workspace, table):
    return workspace.scan(table).collect().sort(table.key)


@pytest.mark.parametrize("version", [version for version in READABLE_VERSIONS if version < SCHEMA_VERSION])
def test_newer_columns_are_null_and_others_as_before(new, tmp_path, version):
    shutil.copytree(new.root, tmp_path / "old")
    make_older(tmp_path / "old", version)
    old = open_workspace(tmp_path / "old")
    assert any(newer_columns(table, version) for table in WORKSPACE_TABLES)
    for table in WORKSPACE_TABLES:
        newer = newer_columns(table, version)
        before, after = columns_of(new, table), columns_of(old, table)
        assert after.schema == table.schema
        assert_frame_equal(after.drop(newer), before.drop(newer))
        assert all(after[name].null_count() == after.height for name in newer)
        check(after, table)
        with old.connect() as connection:
            in_duckdb = pl.DataFrame(connection.sql(f"SELECT * FROM {table.name}").to_arrow_table())
            nulls = ", ".join(f"count({name})" for name in newer) or "0"
            assert set(connection.sql(f"SELECT {nulls} FROM {old.sql(table, ['SimAdvice'])}").fetchall()[0]) == {0}
        assert_frame_equal(in_duckdb.select(after.columns).sort(table.key), after)


def test_a_new_column_raises_the_version():
    """All files of one version have the same columns; DuckDB reads them so. A new column needs a new SCHEMA_VERSION."""
    columns = "".join(
        f"{table.name}.{name}:{dtype} " for table in WORKSPACE_TABLES for name, dtype in table.schema.items()
    )
    assert (SCHEMA_VERSION, hashlib.sha256(columns.encode()).hexdigest()[:12]) == (4, "9b970991238e")


def test_an_older_partition_beside_a_newer_one(old, make, tmp_path):
    dump = make.file(tmp_path / "tea", [make.comment(1, subreddit="tea", controversiality=1)])
    ingest.dumps(old, dump)
    assert read_json(old.root / MARKER) == {"schema_version": SCHEMA_VERSION}
    assert read_json(old.partition(COMMENTS, "SimAdvice") / "manifest.json")["schema_version"] == 2
    flags = old.scan(COMMENTS).group_by("subreddit").agg(pl.col("is_controversial").max()).collect()
    assert dict(flags.rows()) == {"SimAdvice": None, "SimScience": None, "SimStories": None, "tea": True}
    with old.connect() as connection:
        query = f"SELECT subreddit, max(is_controversial) FROM {old.sql(COMMENTS)} GROUP BY ALL"
        assert dict(connection.sql(query).fetchall()) == dict(flags.rows())


def test_the_same_dump_again_fills_the_columns(old, new):
    """Simulated rows, read once more: the same looks, whose flags are now known."""
    shutil.rmtree(old.root / "ingested")
    ingest.simulate(old, n_posts=400, seed=3)
    for table in (POSTS, COMMENTS, OBSERVATIONS, TRUTH):
        hashes = [name for name in ("author_hash",) if name in table.columns]
        assert_frame_equal(columns_of(old, table).drop(hashes), columns_of(new, table).drop(hashes))


def test_pair_sets_are_the_same(old, new):
    for workspace in (old, new):
        features.build(workspace, "naive")
    assert all(
        (old.root / "pairs" / name / "pairs.parquet").read_bytes()
        == (new.root / "pairs" / name / "pairs.parquet").read_bytes()
        for name in ("naive", "hard-test")
    )


def test_a_purge_erases_texts_of_older_files_and_staged_rows(old):
    for table in (POSTS, COMMENTS):
        name = next(iter(old.subreddits(table)))
        path = next(old.partition(table, name).glob("*.parquet"))
        deleted = pl.read_parquet(path).with_columns(is_deleted=True)
        deleted.write_parquet(path)
        (old.root / "staging" / "refresh").mkdir(parents=True, exist_ok=True)
        deleted.write_ipc(old.root / "staging" / "refresh" / f"0.{table.name}.arrow")
    report = purge_texts(old)
    assert report.n_posts > 0 and report.n_comments > 0 and report.n_staged > 0
    for table in (POSTS, COMMENTS):
        rows = old.scan(table, [next(iter(old.subreddits(table)))]).collect()
        assert rows["is_deleted"].all() and not rows["body"].str.contains(r"^[^\[]").any()
        staged = read_run(old.root / "staging" / "refresh" / f"0.{table.name}.arrow")
        assert not staged["body"].str.contains(r"^[^\[]").any()


def test_the_dashboard_counts_older_rows(old, new):
    rows, errors = ingested_rows(old)
    assert not errors
    assert_frame_equal(rows, ingested_rows(new)[0])
