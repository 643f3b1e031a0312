import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import polars as pl
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from lurker.errors import CallError, LurkerError
from lurker.workspace import Workspace
from rm.evaluation.metrics import is_correct, model_margins
from rm.evaluation.score import score_texts, text_scorer
from rm.models.ladder import RewardModel, build, learning_rate
from rm.models.scorer import TOKENS_PER_BATCH, Scorer
from rm.pairs.subsets import texts
from rm.pairs.tokenised import TokenisedPairs, tokenise, with_delays
from rm.pairs.tokens import encode_both, train_tokenizer
from rm.runs.train_run import train_run
from rm.training.config import TrainConfig
from rm.training.loop import pair_targets, step_seed, train
from rm.training.run_folder import RunConfig

SLOW = TrainConfig(learning_rate=1e-3, pairs_per_step=6, checkpoint_interval_s=0.0, patience=100, epochs=1)
Prepared = tuple[RewardModel, dict[str, TokenisedPairs]]


def prepare(frame: pl.DataFrame, spec: str) -> Prepared:
    splits = {split: frame.filter(pl.col("split") == split) for split in ("train", "validation", "test")}
    model = build(spec, texts(splits["train"]), 400, seed=0)
    return model, {split: tokenise(part, model.tokenizer, max_tokens=64) for split, part in splits.items()}


@pytest.mark.parametrize("spec", ["scratch-10k", "scratch-50k"])
def test_a_planted_taste_is_learned(planted: Callable[..., pl.DataFrame], tmp_path: Path, spec: str) -> None:
    model, pairs = prepare(planted(100), spec)
    config = TrainConfig(learning_rate=learning_rate(spec), pairs_per_step=32)
    scorer = model.scorer(64)
    trained = train(scorer, pairs["train"], pairs["validation"], config, tmp_path, lambda _: None)
    margins = model_margins(scorer, pairs["test"], TOKENS_PER_BATCH)
    assert is_correct(margins).mean() > 0.8
    assert trained.best_validation_log_loss < 0.5
    assert trained.best_step <= trained.n_steps


def test_training_stops_early_and_keeps_the_best_weights(planted: Callable[..., pl.DataFrame], tmp_path: Path) -> None:
    frame = planted(40)
    turned = frame.with_columns(  # validation wants the opposite: each step makes it worse
        chosen=pl.when(pl.col("split") == "validation").then("rejected").otherwise("chosen"),
        rejected=pl.when(pl.col("split") == "validation").then("chosen").otherwise("rejected"),
    )
    model, pairs = prepare(turned, "scratch-10k")
    config = TrainConfig(learning_rate=3e-3, pairs_per_step=12, epochs=20, patience=2)
    done: list[float] = []
    scorer = model.scorer(64)
    trained = train(scorer, pairs["train"], pairs["validation"], config, tmp_path, done.append)
    assert trained.best_step < trained.n_steps < sum(done)  # what was saved counts as done on the bar
    losses = np.logaddexp(0, -model_margins(scorer, pairs["validation"], TOKENS_PER_BATCH))
    assert losses.mean() == pytest.approx(trained.best_validation_log_loss, abs=1e-6)


def test_a_loss_that_is_not_finite_names_its_step(planted: Callable[..., pl.DataFrame], tmp_path: Path) -> None:
    model, pairs = prepare(planted(10), "scratch-10k")
    scorer = model.scorer(64)
    with torch.no_grad():
        model.model.score.weight.fill_(float("nan"))
    with pytest.raises(LurkerError, match=r"Step 1: the loss is nan.* its posts are alpha"):
        train(scorer, pairs["train"], pairs["validation"], SLOW, tmp_path, print)


def test_a_killed_run_goes_on_with_the_losses_of_one_never_stopped(workspace: Workspace) -> None:
    config = RunConfig(pairs="planted", model="scratch-10k", train=SLOW, test_pairs=("planted",))
    whole = train_run(workspace, "whole", config, resume=False, is_quiet=True)
    code = (
        "import sys; from pathlib import Path; from lurker.workspace import Workspace\n"
        "from rm.runs.train_run import train_run; from rm.training.run_folder import RunConfig\n"
        "from rm.training.config import TrainConfig\n"
        f"config = {config!r}\n"
        "train_run(Workspace(Path(sys.argv[1])), 'killed', config, resume=False, is_quiet=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(workspace.root)])
    metrics = workspace.root / "runs" / "killed" / "metrics.jsonl"
    deadline = time.monotonic() + 60
    while not (metrics.exists() and metrics.read_bytes().count(b"\n") >= 20):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (workspace.root / "runs" / "killed" / "result.json").exists()
    resumed = train_run(workspace, "killed", config, resume=True, is_quiet=True)
    assert _losses(workspace, "killed") == _losses(workspace, "whole")
    assert resumed["best_validation_log_loss"] == whole["best_validation_log_loss"]
    assert resumed["steps"] == whole["steps"] > 50


def _losses(workspace: Workspace, run_id: str) -> list[tuple[int, float, float | None]]:
    lines = (workspace.root / "runs" / run_id / "metrics.jsonl").read_bytes().splitlines()
    rows = [orjson.loads(line) for line in lines]
    return [(row["step"], row["train_log_loss"], row.get("validation_log_loss")) for row in rows]


def test_dropout_is_the_same_when_a_step_is_done_again(planted: Callable[..., pl.DataFrame], tmp_path: Path) -> None:
    tokenizer = train_tokenizer(texts(planted(10)), 400)
    pairs = tokenise(planted(10), tokenizer, 64)
    config = replace(SLOW, has_dropout=True, epochs=1, min_steps=12, checkpoint_interval_s=0.0)

    def scorer() -> Scorer:
        torch.manual_seed(0)
        sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
        model = BertForSequenceClassification(BertConfig(vocab_size=len(tokenizer), num_labels=1, **sizes))
        return Scorer(model, tokenizer.pad_token_id, 64)

    def stop_at_7(_: float) -> None:
        metrics = tmp_path / "stopped/metrics.jsonl"
        if metrics.exists() and metrics.read_bytes().count(b"\n") == 7:
            raise KeyboardInterrupt

    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
    train(scorer(), pairs, pairs, config, tmp_path / "whole", lambda _: None)
    with pytest.raises(KeyboardInterrupt):
        train(scorer(), pairs, pairs, config, tmp_path / "stopped", stop_at_7)
    torch.manual_seed(99)
    train(scorer(), pairs, pairs, config, tmp_path / "stopped", lambda _: None)
    whole, stopped = ((tmp_path / name / "metrics.jsonl").read_bytes() for name in ("whole", "stopped"))
    assert whole == stopped and whole.count(b"\n") >= 12
    assert len({step_seed(0, step, rank) for step in range(9) for rank in range(3)}) == 27


@pytest.mark.parametrize(
    "field", ["learning_rate", "epochs", "pairs_per_step", "patience", "max_grad_norm", "evaluations_per_epoch"]
)
def test_a_config_refuses_what_cannot_train(field: str) -> None:
    with pytest.raises(ValueError, match=f"{field} must be over 0, got 0"):
        TrainConfig(**{"learning_rate": 1e-3, field: 0})


def prepare_confounded(planted: Callable[..., pl.DataFrame], told: float = 1.0) -> Prepared:
    """Pairs of one word each: the early one wins nine times in ten, and says `soon` with the probability `told`."""
    rng = np.random.default_rng(0)
    base = pl.concat([planted(200).filter(pl.col("split") == split) for split in ("train", "validation")])
    is_early = rng.random(base.height) < 0.9
    is_soon = is_early == (rng.random(base.height) < told)
    words = [np.where(is_soon, one, other) for one, other in (("soon", "later"), ("later", "soon"))]
    frame = base.with_columns(
        chosen=pl.Series(words[0]),
        rejected=pl.Series(words[1]),
        confounder_log_odds=pl.Series(np.where(is_early, np.log(9), -np.log(9))),
    )
    model = build("scratch-10k", texts(frame), 400, seed=0)
    splits = {split: frame.filter(pl.col("split") == split) for split in ("train", "validation")}
    return model, {split: tokenise(part, model.tokenizer, max_tokens=64) for split, part in splits.items()}


def test_adjusted_training_leaves_to_the_text_what_confounders_leave_over(
    planted: Callable[..., pl.DataFrame], tmp_path: Path
) -> None:
    leads = {}
    for is_adjusted in (False, True):
        model, pairs = prepare_confounded(planted)
        config = TrainConfig(learning_rate=2e-3, epochs=2, adjusted=is_adjusted, post_weight="pair")
        folder = tmp_path / str(is_adjusted)
        folder.mkdir()
        train(model.scorer(64), pairs["train"], pairs["validation"], config, folder, lambda _: None)
        rewards = score_texts(text_scorer(model, config), ["tea", "tea"], ["soon", "later"])
        leads[is_adjusted] = rewards[0] - rewards[1]
    assert leads[False] > 1.5  # log 9 is 2.2
    assert abs(leads[True]) < 0.3


def test_a_nuisance_head_takes_on_what_confounders_explain_and_is_thrown_away(
    planted: Callable[..., pl.DataFrame], tmp_path: Path
) -> None:
    leads = {}
    for has_head in (False, True):
        model, pairs = prepare_confounded(planted, told=0.8)
        config = TrainConfig(
            learning_rate=2e-3, epochs=6, has_nuisance_head=has_head, nuisance_rate=0.1, post_weight="pair"
        )
        folder = tmp_path / str(has_head)
        folder.mkdir()
        train(model.scorer(64), pairs["train"], pairs["validation"], config, folder, lambda _: None)
        rewards = score_texts(text_scorer(model, config), ["tea", "tea"], ["soon", "later"])
        leads[has_head] = rewards[0] - rewards[1]
    kept = torch.load(tmp_path / "True" / "checkpoint.pt", weights_only=True)
    assert float(kept["nuisance"]["weight"][0, 0]) > 0.5  # of the log-odds, whose truth is 1
    assert not any("nuisance" in name for name in kept["model"])
    assert leads[False] > 0.8
    assert abs(leads[True]) < 0.4
    with pytest.raises(ValueError, match="take one of them"):
        TrainConfig(learning_rate=1e-3, adjusted=True, has_nuisance_head=True)


def test_a_pairwise_model_reads_both_responses_and_knows_no_sides(
    planted: Callable[..., pl.DataFrame], tmp_path: Path
) -> None:
    frame = planted(100)
    model = build("scratch-50k", texts(frame), 400, seed=0)
    splits = {split: frame.filter(pl.col("split") == split) for split in ("train", "validation", "test")}
    pairs = {split: tokenise(part, model.tokenizer, 64, reads="both") for split, part in splits.items()}
    sequences = pairs["test"].sequences
    assert len(sequences) == 2 * splits["test"].height
    first = model.tokenizer.decode(sequences.tokens[pairs["test"].chosen[0]])
    row = splits["test"].row(0, named=True)
    assert first.index(row["chosen"]) < first.index(row["rejected"])
    config = TrainConfig(learning_rate=2e-3, pairs_per_step=32, reads="both", epochs=4)
    scorer = model.scorer(64)
    train(scorer, pairs["train"], pairs["validation"], config, tmp_path, lambda _: None)
    margins = model_margins(scorer, pairs["test"], TOKENS_PER_BATCH)
    assert is_correct(margins).mean() > 0.75
    sides = splits["test"].rename({"chosen": "rejected", "rejected": "chosen"})
    turned = model_margins(scorer, tokenise(sides, model.tokenizer, 64, reads="both"), TOKENS_PER_BATCH)
    assert turned == pytest.approx(-margins, abs=1e-5)
    with pytest.raises(CallError, match="two responses at a time"):
        text_scorer(model, config)


@pytest.mark.parametrize("max_tokens", [8, 20, 30, 64])
def test_both_responses_share_the_room_and_the_prompt_goes_first(max_tokens: int) -> None:
    model = build("scratch-10k", ["the road was long"], 300, seed=0)
    prompt, short, long = "the road " * 8, "tea", "the long road was long " * 6
    (cut,) = encode_both(model.tokenizer, [prompt], [short], [long], max_tokens).tokens
    (other,) = encode_both(model.tokenizer, [prompt], [long], [short], max_tokens).tokens
    assert cut.size == other.size <= max_tokens
    said = model.tokenizer.decode(cut)
    assert short[:1] in said and sorted(cut) == sorted(other)


def test_a_disk_that_fills_keeps_the_last_good_checkpoint(workspace: Workspace) -> None:
    """A real full disk: the process may write no file over a limit, which the second checkpoint passes."""
    config = RunConfig(pairs="planted", model="scratch-10k", train=SLOW, test_pairs=("planted",))
    code = (
        "import resource, signal, sys; from pathlib import Path; from lurker.workspace import Workspace\n"
        "from lurker.errors import LurkerError; from rm.training import loop; from rm.runs.train_run import train_run\n"
        "from rm.training.run_folder import RunConfig\n"
        "from rm.training.config import TrainConfig\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "write, n = loop.write_checkpoint, 0\n"
        "def write_then_fill(*arguments):\n"
        "    global n\n"
        "    n += 1\n"
        "    if n == 6: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "    write(*arguments)\n"
        "loop.write_checkpoint = write_then_fill\n"
        f"config = {config!r}\n"
        "try: train_run(Workspace(Path(sys.argv[1])), 'full', config, resume=False, is_quiet=True)\n"
        "except LurkerError as error: sys.exit(str(error))\n"
    )
    call = [sys.executable, "-c", code, str(workspace.root)]
    ended = subprocess.run(call, capture_output=True, text=True, check=False)
    folder = workspace.root / "runs" / "full"
    assert ended.returncode == 1 and "the last good checkpoint stays" in ended.stderr, ended.stderr
    assert "Free some space" in ended.stderr
    assert not list(folder.glob(".*.tmp")) and not list(folder.glob("*.tmp"))
    assert torch.load(folder / "checkpoint.pt", weights_only=True)["state"]["step"] == 5
    train_run(workspace, "full", config, resume=True, is_quiet=True)
    train_run(workspace, "whole", config, resume=False, is_quiet=True)
    assert _losses(workspace, "full") == _losses(workspace, "whole")


def test_adjusted_needs_the_confounders_log_odds(planted: Callable[..., pl.DataFrame]) -> None:
    _, pairs = prepare(planted(10), "scratch-10k")
    with pytest.raises(LurkerError, match="confounder_log_odds"):
        pair_targets(pairs["train"], TrainConfig(learning_rate=1e-3, adjusted=True))


@pytest.mark.parametrize(("rule", "power"), [("root", 0.5), ("pair", 1.0), ("post", 0.0)])
def test_what_a_post_weighs_grows_with_its_pairs_as_asked(
    planted: Callable[..., pl.DataFrame], rule: str, power: float
) -> None:
    frame = planted(10)
    first = frame["post_id"][0]
    _, pairs = prepare(pl.concat([frame.filter(pl.col("post_id") != first), frame.head(1)]), "scratch-10k")
    weight = pair_targets(pairs["train"], TrainConfig(learning_rate=1e-3, post_weight=rule)).weight.numpy()  # type: ignore[arg-type]
    of_post = np.bincount(pairs["train"].post, weights=weight)
    n_of_post = np.bincount(pairs["train"].post)
    assert set(n_of_post) == {1, 6}
    assert of_post[n_of_post == 6][0] / of_post[n_of_post == 1][0] == pytest.approx(6**power, rel=1e-5)
    assert weight.mean() == pytest.approx(1.0)


def test_labels_margins_and_smoothing_come_from_the_pairs_own_columns(planted: Callable[..., pl.DataFrame]) -> None:
    _, pairs = prepare(planted(10), "scratch-10k")  # confidence 0.9, scores 10 and 2
    soft = pair_targets(pairs["train"], TrainConfig(learning_rate=1e-3, labels="confidence", label_smoothing=0.1))
    assert soft.label.unique().tolist() == pytest.approx([0.82])
    led = pair_targets(pairs["train"], TrainConfig(learning_rate=1e-3, margin_per_log_gap=0.5))
    assert led.margin.unique().tolist() == pytest.approx([0.5 * np.log(9)])
    with pytest.raises(ValueError, match="needs hard labels"):
        TrainConfig(learning_rate=1e-3, margin_per_log_gap=0.5, labels="confidence")


def test_accumulation_gives_the_same_losses(planted: Callable[..., pl.DataFrame], tmp_path: Path) -> None:
    found = []
    for accumulation in (1, 3):
        model, pairs = prepare(planted(20), "scratch-10k")
        folder = tmp_path / str(accumulation)
        folder.mkdir()
        config = TrainConfig(learning_rate=1e-3, pairs_per_step=16, epochs=1, min_steps=8, accumulation=accumulation)
        train(model.scorer(64), pairs["train"], pairs["validation"], config, folder, lambda _: None)
        lines = (folder / "metrics.jsonl").read_bytes().splitlines()
        found.append([orjson.loads(line)["train_log_loss"] for line in lines])
    assert found[0] == pytest.approx(found[1], abs=1e-5)


def test_a_delay_is_written_before_the_text(planted: Callable[..., pl.DataFrame]) -> None:
    frame = with_delays(
        planted(1).head(1).with_columns(chosen_delay_s=pl.lit(7300), rejected_delay_s=pl.lit(0), chosen=pl.lit("tea"))
    )
    assert frame["chosen"][0] == "[2 hours] tea"
    assert frame["rejected"][0].startswith("[0 seconds] ")
