"""The whole path on a slice of real Reddit threads, by the commands a user types: dumps in, dashboard out."""

import io
import json
import zlib
from pathlib import Path

import polars as pl
import pytest
import zstandard
from streamlit.testing.v1 import AppTest

from features.audits.pair_audit import audit_pairs
from features.audits.probes import ProbeConfig
from lurker.cli import run
from lurker.schema import PAIRS, SCALING, TRANSFER, check
from lurker.workspace import Workspace

REAL = Path(__file__).parents[1].parent / "shared/data/reddit"
APP = Path(__file__).parents[1] / "dashboard/app.py"
QUICK = ["--set", "epochs=1", "--set", "min_steps=8", "--set", "max_tokens=48", "--set", "vocabulary_size=600"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not REAL.exists(), reason=f"the real threads are not at {REAL}"),
]


def read_lines(path: Path) -> io.TextIOWrapper:
    decompressor = zstandard.ZstdDecompressor(max_window_size=2**31)
    return io.TextIOWrapper(decompressor.stream_reader(path.open("rb")), encoding="utf-8")


@pytest.fixture(scope="module")
def dumps(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One post in twelve of the real files with all its comments, as dump files with the window of the real ones."""
    folder = tmp_path_factory.mktemp("dumps")
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=31, enable_ldm=True)
    for name, post_id_key in (("RC_college.zst", '"link_id":"t3_'), ("RS_college.zst", '"id":"')):
        lines = [
            line for line in read_lines(REAL / name) if is_in_slice(line.split(post_id_key, 1)[1].split('"', 1)[0])
        ]
        compressed = zstandard.ZstdCompressor(compression_params=parameters).compress("".join(lines).encode())
        (folder / name).write_bytes(compressed)
    return [folder / "RS_college.zst", folder / "RC_college.zst"]


def is_in_slice(post_id: str) -> bool:
    return zlib.crc32(post_id.encode()) % 12 == 0


@pytest.fixture(scope="module")
def root(dumps: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace after ingest, pairs and audits."""
    root = tmp_path_factory.mktemp("real") / "ws"
    call(root, "ingest", "dump", *map(str, dumps))
    call(root, "pairs", "build", "naive", "--recipe", "naive")
    call(root, "pairs", "build", "matched", "--recipe", "matched")
    call(root, "pairs", "audit", "hard-test")
    for name in ("naive", "matched"):
        audit_pairs(Workspace(root), name, probes=ProbeConfig(n_folds=3, n_repeats=1, n_boosting_rounds=20))
    return root


def call(root: Path, *arguments: str) -> None:
    assert run(["--workspace", str(root), *arguments]) == 0, arguments


def read_json(path: Path) -> dict:  # type: ignore[type-arg]
    return json.loads(path.read_text())  # type: ignore[no-any-return]


def test_time_names_the_winner_of_naive_pairs_and_less_of_matched_ones(root: Path) -> None:
    reached = {}
    for name in ("naive", "matched"):
        probes = read_json(root / "pairs" / name / "audit.json")["probes"]
        reached[name] = next(
            row["accuracy"]
            for row in probes
            if (row["split"], row["confounders"], row["probe"]) == ("all", "time", "boosting")
        )
    assert reached["naive"] > 0.7
    assert reached["matched"] < reached["naive"] - 0.1


def test_ledgers_add_up_and_splits_share_no_post(root: Path) -> None:
    for name in ("naive", "matched"):
        pairs = check(pl.read_parquet(root / "pairs" / name / "pairs.parquet"), PAIRS)
        for ledger in read_json(root / "pairs" / name / "manifest.json")["ledger"].values():
            assert ledger["input"] == ledger["kept"] + sum(line["n"] for line in ledger["dropped"])
        assert pairs.group_by("post_id").agg(pl.col("split").n_unique()).filter(pl.col("split") > 1).is_empty()
        assert pairs.filter(pl.col("chosen_score") <= pl.col("rejected_score")).is_empty()


def test_no_author_name_reaches_a_table(root: Path, dumps: list[Path]) -> None:
    names = {json.loads(line).get("author") for path in dumps for line in read_lines(path)} - {None}
    assert len(names) > 1000
    for path in root.rglob("*.parquet"):
        if "author_hash" in pl.read_parquet_schema(path):
            assert not set(pl.read_parquet(path, columns=["author_hash"])["author_hash"].drop_nulls()) & names


def test_training_experiments_and_every_page(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call(root, "rm", "train", "matched", "--model", "scratch-10k", "--max-pairs", "500", "--run", "first", *QUICK)
    call(root, "rm", "evaluate", "first", "--pairs", "naive")
    sizes = ["--sizes", "200,400", "--seeds", "1"]
    call(root, "experiment", "scaling", "matched", "--models", "scratch-10k", *sizes, "--workers", "1", *QUICK)
    scaling = check(pl.read_parquet(root / "experiments/matched-scaling/scaling.parquet"), SCALING)
    assert set(scaling["predictor"]) == {"scratch-10k", "length", "time", "both", "tfidf"}
    pairs = pl.read_parquet(root / "pairs/matched/pairs.parquet")
    common = pairs.filter(split="train")["subreddit"].value_counts(sort=True)["subreddit"].head(2).to_list()
    both = [word for name in common for word in ("--subreddit", name)]
    call(root, "experiment", "transfer", "matched", "--model", "scratch-10k", *both, "--workers", "1", *QUICK)
    transfer = check(pl.read_parquet(root / "experiments/matched-transfer/transfer.parquet"), TRANSFER)
    cells = transfer.filter(pl.col("predictor") == "scratch-10k")
    assert set(cells.select("source", "target").rows()) == {(a, b) for a in common for b in common}
    monkeypatch.setenv("LURKER_WORKSPACE", str(root))
    page = AppTest.from_file(str(APP), default_timeout=60).run()
    assert not page.exception
    assert any("matched" in str(element.value) for element in [*page.markdown, *page.dataframe])
