"""Training rewards: targets of pairs, confounders, pairwise models, and a planted taste that is learned."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from lurker.errors import CallError, LurkerError
from rm.evaluation.metrics import is_correct, model_margins
from rm.evaluation.score import score_texts, text_scorer
from rm.models.ladder import build, learning_rate
from rm.models.scorer import TOKENS_PER_BATCH
from rm.pairs.subsets import texts
from rm.pairs.tokenised import tokenise
from rm.training.config import TrainConfig
from rm.training.reward_step import pair_targets, train_rewards
from tests.rm.conftest import Prepared, build_and_tokenise


@pytest.mark.parametrize("spec", ["scratch-10k", "scratch-50k"])
def test_training_learns_a_planted_taste(planted: Callable[..., pl.DataFrame], tmp_path: Path, spec: str) -> None:
    model, pairs = build_and_tokenise(planted(100), spec)
    config = TrainConfig(learning_rate=learning_rate(spec), pairs_per_step=32)
    scorer = model.scorer(64)
    trained = train_rewards(scorer, pairs["train"], pairs["validation"], config, tmp_path)
    margins = model_margins(scorer, pairs["test"], TOKENS_PER_BATCH)
    assert is_correct(margins).mean() > 0.8
    assert trained.best_validation_loss < 0.5
    assert trained.best_step <= trained.n_steps


def confounded_pairs(planted: Callable[..., pl.DataFrame], share: float = 1.0) -> Prepared:
    """Pairs of one word each: the early one wins nine times in ten, and says `soon` with probability `share`."""
    rng = np.random.default_rng(0)
    base = pl.concat([planted(200).filter(pl.col("split") == split) for split in ("train", "validation")])
    is_early = rng.random(base.height) < 0.9
    is_soon = is_early == (rng.random(base.height) < share)
    words = [np.where(is_soon, one, other) for one, other in (("soon", "later"), ("later", "soon"))]
    frame = base.with_columns(
        chosen=pl.Series(words[0]),
        rejected=pl.Series(words[1]),
        confounder_log_odds=pl.Series(np.where(is_early, np.log(9), -np.log(9))),
    )
    model = build("scratch-10k", texts(frame), 400, seed=0)
    splits = {split: frame.filter(pl.col("split") == split) for split in ("train", "validation")}
    return model, {split: tokenise(part, model.tokenizer, max_tokens=64) for split, part in splits.items()}


def test_adjusted_training_does_not_learn_what_confounders_explain(
    planted: Callable[..., pl.DataFrame], tmp_path: Path
) -> None:
    leads = {}
    for is_adjusted in (False, True):
        model, pairs = confounded_pairs(planted)
        config = TrainConfig(learning_rate=2e-3, epochs=2, adjusted=is_adjusted, post_weight="pair")
        folder = tmp_path / str(is_adjusted)
        folder.mkdir()
        train_rewards(model.scorer(64), pairs["train"], pairs["validation"], config, folder)
        rewards = score_texts(text_scorer(model, config), ["tea", "tea"], ["soon", "later"])
        leads[is_adjusted] = rewards[0] - rewards[1]
    assert leads[False] > 1.5  # log 9 is 2.2
    assert abs(leads[True]) < 0.3


def test_a_nuisance_head_absorbs_what_confounders_explain_and_is_discarded(
    planted: Callable[..., pl.DataFrame], tmp_path: Path
) -> None:
    leads = {}
    for has_head in (False, True):
        model, pairs = confounded_pairs(planted, share=0.8)
        config = TrainConfig(
            learning_rate=2e-3, epochs=6, has_nuisance_head=has_head, nuisance_rate=0.1, post_weight="pair"
        )
        folder = tmp_path / str(has_head)
        folder.mkdir()
        train_rewards(model.scorer(64), pairs["train"], pairs["validation"], config, folder)
        rewards = score_texts(text_scorer(model, config), ["tea", "tea"], ["soon", "later"])
        leads[has_head] = rewards[0] - rewards[1]
    kept = torch.load(tmp_path / "True" / "checkpoint.pt", weights_only=True)
    assert float(kept["nuisance"]["weight"][0, 0]) > 0.5  # the true coefficient of the log-odds is 1
    assert not any("nuisance" in name for name in kept["model"])
    assert leads[False] > 0.8
    assert abs(leads[True]) < 0.4
    with pytest.raises(ValueError, match="set only one of them"):
        TrainConfig(learning_rate=1e-3, adjusted=True, has_nuisance_head=True)


def test_a_pairwise_model_reads_both_responses_and_is_antisymmetric(
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
    train_rewards(scorer, pairs["train"], pairs["validation"], config, tmp_path)
    margins = model_margins(scorer, pairs["test"], TOKENS_PER_BATCH)
    assert is_correct(margins).mean() > 0.75
    swapped = splits["test"].rename({"chosen": "rejected", "rejected": "chosen"})
    swapped_margins = model_margins(scorer, tokenise(swapped, model.tokenizer, 64, reads="both"), TOKENS_PER_BATCH)
    assert swapped_margins == pytest.approx(-margins, abs=1e-5)
    with pytest.raises(CallError, match="reads=both"):
        text_scorer(model, config)


def test_adjusted_training_needs_confounder_log_odds(planted: Callable[..., pl.DataFrame]) -> None:
    _, pairs = build_and_tokenise(planted(10), "scratch-10k")
    with pytest.raises(LurkerError, match="confounder_log_odds"):
        pair_targets(pairs["train"], TrainConfig(learning_rate=1e-3, adjusted=True))


@pytest.mark.parametrize(("rule", "power"), [("root", 0.5), ("pair", 1.0), ("post", 0.0)])
def test_the_weight_of_a_post_grows_with_its_pairs_as_configured(
    planted: Callable[..., pl.DataFrame], rule: str, power: float
) -> None:
    frame = planted(10)
    first = frame["post_id"][0]
    _, pairs = build_and_tokenise(pl.concat([frame.filter(pl.col("post_id") != first), frame.head(1)]), "scratch-10k")
    weight = pair_targets(pairs["train"], TrainConfig(learning_rate=1e-3, post_weight=rule)).weight.numpy()  # type: ignore[arg-type]
    of_post = np.bincount(pairs["train"].post, weights=weight)
    n_of_post = np.bincount(pairs["train"].post)
    assert set(n_of_post) == {1, 6}
    assert of_post[n_of_post == 6][0] / of_post[n_of_post == 1][0] == pytest.approx(6**power, rel=1e-5)
    assert weight.mean() == pytest.approx(1.0)


def test_labels_margins_and_smoothing_follow_the_pairs_columns(planted: Callable[..., pl.DataFrame]) -> None:
    _, pairs = build_and_tokenise(planted(10), "scratch-10k")  # confidence 0.9, scores 10 and 2
    soft = pair_targets(pairs["train"], TrainConfig(learning_rate=1e-3, labels="confidence", label_smoothing=0.1))
    assert soft.label.unique().tolist() == pytest.approx([0.82])
    with_margin = pair_targets(pairs["train"], TrainConfig(learning_rate=1e-3, margin_per_log_gap=0.5))
    assert with_margin.margin.unique().tolist() == pytest.approx([0.5 * np.log(9)])
    with pytest.raises(ValueError, match="needs labels=hard"):
        TrainConfig(learning_rate=1e-3, margin_per_log_gap=0.5, labels="confidence")
