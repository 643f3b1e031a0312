"""Exports as others read them, and ids back to pairs."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from features.recipes.presets import preset
from features.sets.build import build_pairs
from features.sets.export import FORMATS, PROMPT_END, TEXTS, export_pairs
from features.sets.rehydrate import rehydrate
from lurker.cli import run
from lurker.config import override
from lurker.errors import CallError, LurkerError
from lurker.pair_sets import read_pairs
from lurker.schema import COMMENTS, POSTS
from lurker.workspace import Workspace, open_workspace


@pytest.fixture(scope="module")
def workspace(frozen_workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    import shutil

    workspace = open_workspace(shutil.copytree(frozen_workspace, tmp_path_factory.mktemp("export") / "ws"))
    build_pairs(workspace, "mine", override(preset("naive"), ["max_pairs_per_post=4"]))
    return workspace


@pytest.fixture(scope="module")
def pairs(workspace: Workspace) -> pl.DataFrame:
    return read_pairs(workspace, "mine")


def loaded(folder: Path, cache: Path) -> Any:
    import datasets

    return datasets.load_dataset(str(folder), cache_dir=str(cache))


@pytest.mark.parametrize("format_name", FORMATS)
def test_datasets_loads_every_format_by_split(
    workspace: Workspace, pairs: pl.DataFrame, tmp_path: Path, format_name: str
) -> None:
    summary = export_pairs(workspace, "mine", format_name, tmp_path / "out")
    found = loaded(tmp_path / "out", tmp_path / "cache")
    expected = dict(pairs.group_by("split").len().iter_rows())
    assert {split: len(rows) for split, rows in found.items()} == expected == summary["n_pairs"]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_trl_rows_are_the_pairs(workspace: Workspace, pairs: pl.DataFrame, tmp_path: Path) -> None:
    export_pairs(workspace, "mine", "trl", tmp_path / "plain")
    export_pairs(workspace, "mine", "trl-conversational", tmp_path / "chat")
    test = pairs.filter(split="test").row(0, named=True)
    plain = pl.read_parquet(tmp_path / "plain/data/test.parquet").row(0, named=True)
    assert (plain["prompt"], plain["chosen"], plain["rejected"]) == (
        test["prompt"] + PROMPT_END,
        test["chosen"],
        test["rejected"],
    )
    chat = pl.read_parquet(tmp_path / "chat/data/test.parquet").row(0, named=True)
    assert chat["prompt"] == [{"role": "user", "content": test["prompt"]}]
    assert chat["rejected"] == [{"role": "assistant", "content": test["rejected"]}]
    assert (pl.read_parquet(tmp_path / "plain/data/train.parquet")["margin"] >= 0).all()


@pytest.mark.parametrize("format_name", [name for name in FORMATS if name != "shp"])
def test_weights_offsets_and_label_confidence_are_exported(pairs: pl.DataFrame, format_name: str) -> None:
    numbers = pl.int_range(pairs.height, eager=True)
    marked = pairs.with_columns(weight=0.5 + numbers % 7, confounder_log_odds=(numbers % 5) / 10 - 0.2)
    names = ["pair_id", "label_confidence", "weight", "confounder_log_odds"]
    assert FORMATS[format_name](marked).select(names).equals(marked.select(names))


CHAT_TEMPLATE = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"


def test_trl_trains_on_both_of_its_exports(workspace: Workspace, tmp_path: Path) -> None:
    import trl
    from transformers import LlamaConfig, LlamaForSequenceClassification

    from rm.pairs.tokens import train_tokenizer

    tokenizer = None
    for format_name in ("trl", "trl-conversational"):
        export_pairs(workspace, "mine", format_name, tmp_path / format_name)
        train = loaded(tmp_path / format_name, tmp_path / "cache")["train"].select(range(16))
        if tokenizer is None:
            tokenizer = train_tokenizer([*train["chosen"], *train["rejected"]], 300)
            tokenizer.chat_template = CHAT_TEMPLATE
        config = LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
            num_labels=1, pad_token_id=tokenizer.pad_token_id,
        )  # fmt: skip
        settings = trl.RewardConfig(
            output_dir=str(tmp_path / "run"), max_steps=1, per_device_train_batch_size=8, max_length=256, use_cpu=True,
            bf16=False, report_to=[], disable_tqdm=True, save_strategy="no", gradient_checkpointing=False,
        )  # fmt: skip
        model = LlamaForSequenceClassification(config)
        trainer = trl.RewardTrainer(model=model, args=settings, train_dataset=train, processing_class=tokenizer)
        assert trainer.train().training_loss > 0
        assert len(trainer.train_dataset) == 16


def test_shp_presents_the_winner_as_a_or_b_at_random(workspace: Workspace, pairs: pl.DataFrame, tmp_path: Path) -> None:
    export_pairs(workspace, "mine", "shp", tmp_path / "out")
    rows = pl.concat([pl.read_parquet(path) for path in sorted((tmp_path / "out/data").glob("*.parquet"))])
    assert rows.columns == [
        *("post_id", "domain", "upvote_ratio", "history", "c_root_id_A", "c_root_id_B"),
        *("created_at_utc_A", "created_at_utc_B", "score_A", "score_B", "human_ref_A", "human_ref_B"),
        *("labels", "seconds_difference", "score_ratio"),
    ]
    assert 0.4 < rows["labels"].mean() < 0.6
    winner = rows.select(
        score=pl.when(pl.col("labels") == 1).then("score_A").otherwise("score_B"),
        other=pl.when(pl.col("labels") == 1).then("score_B").otherwise("score_A"),
    )
    assert (winner["score"] > winner["other"]).all()
    assert rows["score_ratio"].min() >= 1
    facts = rows.with_columns(is_a=pl.col("labels") == 1).select(
        delay=pl.col("created_at_utc_A") - pl.col("created_at_utc_B"), late="seconds_difference", is_a="is_a"
    )
    assert (facts["delay"] * facts["is_a"].replace_strict({True: 1, False: -1}) == facts["late"]).all()
    assert set(rows["domain"].str.split("_").list.last()) == set(pairs["split"])


def test_ids_have_no_text_and_can_be_rehydrated(workspace: Workspace, pairs: pl.DataFrame, tmp_path: Path) -> None:
    export_pairs(workspace, "mine", "ids", tmp_path / "out")
    ids = pl.read_parquet(tmp_path / "out/data/train.parquet")
    assert not set(TEXTS) & set(ids.columns)
    everything = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert pairs["chosen"][0].encode() not in everything
    manifest = rehydrate(workspace, tmp_path / "out", "again")
    assert manifest["ledger"]["rehydrate"] == {"input": pairs.height, "dropped": [], "kept": pairs.height}
    assert read_pairs(workspace, "again").sort("pair_id").equals(pairs.sort("pair_id"))


def test_rehydrate_counts_what_is_missing(workspace: Workspace, pairs: pl.DataFrame, tmp_path: Path) -> None:
    export_pairs(workspace, "mine", "ids", tmp_path / "out")
    by_use = pl.concat([pairs["chosen_id"], pairs["rejected_id"]]).unique().sort()
    edited, deleted, absent = by_use[0], by_use[1], by_use[2]
    later = open_workspace(tmp_path / "later", create=True)
    for subreddit in workspace.subreddits(COMMENTS):
        later.replace_partition(POSTS, subreddit, [workspace.scan(POSTS, [subreddit]).collect()])
        comments = workspace.scan(COMMENTS, [subreddit]).filter(pl.col("comment_id") != absent).collect()
        body = pl.when(pl.col("comment_id") == edited).then(pl.lit("Another text.")).otherwise("body")
        body = pl.when(pl.col("comment_id") == deleted).then(pl.lit("[deleted]")).otherwise(body)
        later.replace_partition(COMMENTS, subreddit, [comments.with_columns(body=body)])

    def n_with(*wanted: str) -> int:
        return pairs.filter(pl.col("chosen_id").is_in(wanted) | pl.col("rejected_id").is_in(wanted)).height

    ledger = rehydrate(later, tmp_path / "out", "again")["ledger"]["rehydrate"]
    dropped = {line["reason"]: line["n"] for line in ledger["dropped"]}
    assert dropped["response not ingested"] == n_with(absent)
    assert dropped["text deleted or removed"] == n_with(absent, deleted) - n_with(absent)
    assert ledger["kept"] == pairs.height - n_with(absent, deleted, edited)


def test_rehydrate_writes_nothing_if_no_pair_is_left(workspace: Workspace, tmp_path: Path) -> None:
    export_pairs(workspace, "mine", "ids", tmp_path / "out")
    empty = open_workspace(tmp_path / "empty", create=True)
    with pytest.raises(LurkerError, match="post not ingested"):
        rehydrate(empty, tmp_path / "out", "again")
    assert not (tmp_path / "empty/pairs/again").exists()


@pytest.mark.slow
def test_the_card_shows_recipe_ledger_and_audit(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["--workspace", str(workspace.root), "pairs"]
    assert run([*call, "export", "mine", "--format", "trl", "--out", str(tmp_path / "before")]) == 0
    assert "lurker pairs audit mine" in capsys.readouterr().out
    before = (tmp_path / "before/README.md").read_text()
    assert "Not audited" in before and "No second opinion. Run `lurker pairs audit mine --second-opinion`" in before
    assert run([*call, "audit", "mine", "--json"]) == 0
    verdict = json.loads(capsys.readouterr().out)["verdict"]
    assert run([*call, "audit", "mine", "--second-opinion", "--cuts", "1", "--json"]) == 0
    second = json.loads(capsys.readouterr().out)
    assert run([*call, "export", "mine", "--format", "trl", "--out", str(tmp_path / "after"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["is_audited"]
    audit = json.loads((workspace.folder("pairs", "mine") / "audit.json").read_text())
    card = (tmp_path / "after/README.md").read_text()
    first = second["models"][0]
    for words in (
        verdict,
        f"checked the pairs (random re-splits: 1). {second['verdict']}",
        f"| {first['split']} | {first['model']} | {first['n_pairs']:,.0f} | {first['accuracy']:.3f} |",
        "| max_pairs_per_post | 4 |",
        "over max_pairs_per_post",
        f"| log_delay | – | {audit['differences'][0]['smd']:.3f} |",
        "| all | all | joint | boosting |",
        "## Columns for training",
        "## Terms",
        "## Whom it represents",
    ):
        assert words in card
    for file in ("audit.json", "second-opinion.json"):
        (workspace.folder("pairs", "mine") / file).unlink()


@pytest.mark.parametrize(("format_name", "words"), [("csv", "Unknown format 'csv'"), ("trl", "exists already")])
def test_a_wrong_call_writes_nothing(workspace: Workspace, tmp_path: Path, format_name: str, words: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("keep")
    with pytest.raises(CallError, match=words):
        export_pairs(workspace, "mine", format_name, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_a_folder_that_is_not_an_export_of_ids_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(CallError, match="is not an export"):
        rehydrate(workspace, tmp_path, "again")
    export_pairs(workspace, "mine", "trl", tmp_path / "out")
    with pytest.raises(CallError, match="'trl'"):
        rehydrate(workspace, tmp_path / "out", "again2")
    export_pairs(workspace, "mine", "ids", tmp_path / "ids")
    with pytest.raises(CallError, match="already"):
        rehydrate(workspace, tmp_path / "ids", "mine")
    part = tmp_path / "ids/data/train.parquet"
    whole = pl.read_parquet(part)
    whole.drop("chosen_digest", "label_confidence").write_parquet(part)
    with pytest.raises(CallError, match=r"train.parquet has no column label_confidence, chosen_digest"):
        rehydrate(workspace, tmp_path / "ids", "again3")
    part.write_bytes(part.read_bytes()[:200])
    with pytest.raises(CallError, match=r"train.parquet cannot be read"):
        rehydrate(workspace, tmp_path / "ids", "again3")
