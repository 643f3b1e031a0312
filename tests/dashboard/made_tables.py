"""Tables and documents of a small workspace, with the real schema and known figures."""

from typing import Any

import numpy as np
import polars as pl

from lurker.digest import frame_sha256
from lurker.schema import PAIRS, RECIPE_DIFFERENCES, RECIPES, SCALING, TRANSFER, check

COMMUNITIES = ("advice", "cooking", "gardening")
HOSTILE = (
    '<script>window.hacked = 1</script><img src="x" onerror="window.hacked = 1">'
    "![pixel](https://tracker.example/p.png) [click](javascript:window.hacked=1) # heading $x^2$ :smile: "
    "nul\x00 rtl\u202eflip **bold** </div></div><h1>escaped?</h1>"
)
HUGE_CHARS = 300_000


def make_pairs(recipe: str, rng: np.random.Generator, n: int = 60) -> pl.DataFrame:
    """Pairs: the first is hostile, the second huge and the third Arabic."""
    rows = []
    for index in range(n):
        chosen_chars, rejected_chars = (int(chars) for chars in rng.integers(80, 600, 2))
        rows.append(
            {
                "pair_id": f"c{index:03d}-r{index:03d}",
                "post_id": f"p{index // 3:03d}",
                "subreddit": COMMUNITIES[index % 3],
                "split": ("train", "train", "validation", "test")[index // 3 % 4],
                "prompt": f"How do I thank someone who helped me move, question {index}?\n\nThey refuse any money.",
                "chosen": f"Cook for them, number {index}. "
                + "A warm meal says more than a card. " * (chosen_chars // 35),
                "rejected": f"Just pay them, number {index}. " + "Everyone takes money. " * (rejected_chars // 22),
                "chosen_id": f"c{index:03d}",
                "rejected_id": f"r{index:03d}",
                "chosen_score": 12 + index,
                "rejected_score": 2,
                "chosen_delay_s": 75 * index - 30,
                "rejected_delay_s": 5000 * index + 50,
                "chosen_chars": chosen_chars,
                "rejected_chars": rejected_chars,
                "label_confidence": 0.9,
                "weight": 1.0,
                "recipe": recipe,
            }
        )
    rows[0] |= {"prompt": HOSTILE, "chosen": HOSTILE, "rejected": HOSTILE}
    rows[1] |= {"chosen": "longword" * (HUGE_CHARS // 8), "chosen_chars": HUGE_CHARS}
    rows[2] |= {"prompt": "كيف أشكر صديقي؟", "chosen": "اطبخ له عشاءً.", "rejected": ""}
    return check(pl.DataFrame(rows, schema=PAIRS.schema), PAIRS)


def make_scaling(rng: np.random.Generator, lift: float, pairs: str) -> pl.DataFrame:
    """Three models and four baselines on four data sizes and two seeds; accuracy grows with both sizes."""
    rows = []
    sizes = (500, 1000, 2000, 4000)
    predictors = {"scratch-50k": 50_000, "scratch-200k": 200_000, "scratch-1m": 1_000_000}
    for size in sizes:
        grown = np.log2(size / 500)
        for rank, (name, n_parameters) in enumerate(predictors.items()):
            for seed in (0, 1):
                accuracy = 0.56 + 0.02 * grown + 0.012 * rank * grown + lift + rng.normal(0, 0.004)
                rows.append(
                    _cell(name, size, seed, accuracy)
                    | {"n_parameters": n_parameters, "run_id": f"{name}-{size}-{seed}"}
                )
        for name, accuracy in (("length", 0.505), ("time", 0.497), ("both", 0.509), ("tfidf", 0.545 + 0.01 * grown)):
            rows.append(_cell(name, size, 0, accuracy) | {"is_baseline": True, "train_time_s": None})
    frame = pl.DataFrame(rows, schema_overrides=SCALING.schema)
    return check(frame.with_columns(pairs=pl.lit(pairs), test_pairs=pl.lit("hard-test")), SCALING)


def make_transfer(rng: np.random.Generator) -> pl.DataFrame:
    """A model and TF-IDF on three communities: 0.66 and 0.58 in-domain, 0.06 less elsewhere."""
    rows = []
    for predictor, home in (("scratch-200k", 0.66), ("tfidf", 0.58)):
        for source in COMMUNITIES:
            for target in COMMUNITIES:
                accuracy = home - 0.06 * (source != target) + rng.normal(0, 0.005)
                row = _cell(predictor, 2000, 0, accuracy) | {"is_baseline": predictor == "tfidf"}
                rows.append(row | {"source": source, "target": target})
    frame = pl.DataFrame(rows, schema_overrides={k: v for k, v in TRANSFER.schema.items() if k in rows[0]})
    return check(frame.with_columns(pairs=pl.lit("matched"), test_pairs=pl.lit("hard-test")), TRANSFER)


def make_recipes() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Two recipes, a model with two seeds and two sizes, and baselines; naive is worse."""
    figures = [("accuracy", "hard-test", "all"), ("accuracy", "hard-test", "gap >= 5"), ("accuracy", "truth", "all")]
    figures += [(name, "truth", "all") for name in ("quality", "length", "delay")]
    rows = [
        {
            "pairs": pairs,
            "recipe": pairs,
            "predictor": predictor,
            "is_baseline": predictor != "tfidf",
            "max_pairs": size,
        }
        | {"n_train_pairs": size or 9000, "seed": seed, "measure": measure, "measured_on": test, "part": part}
        | {"value": value, "low": value - 0.02, "high": value + 0.02, "standard_error": 0.01, "n": 900, "n_posts": 300}
        | {"run_id": None}
        for pairs in ("naive", "matched")
        for predictor, sizes in (("tfidf", (None, 4000)), ("length", (None,)), ("time", (None,)))
        for size in sizes
        for seed in ((0, 1) if size else (0,))
        for measure, test, part in figures
        for value in [(0.7 if predictor == "tfidf" else 0.5) - 0.1 * (pairs == "naive") + 0.02 * seed]
    ]
    lead = {
        "reference": "matched",
        "pairs": "naive",
        "predictor": "tfidf",
        "low": 0.05,
        "high": 0.15,
        "difference": 0.1,
    }
    leads = [
        lead | {"max_pairs": size, "measure": measure, "measured_on": test, "part": part, "mcnemar_p": None}
        for size in (None, 4000)
        for measure, test, part in figures
    ]
    return (
        check(pl.DataFrame(rows, schema=RECIPES.schema), RECIPES),
        check(pl.DataFrame(leads, schema=RECIPE_DIFFERENCES.schema), RECIPE_DIFFERENCES),
    )


def make_audit(recipe: str, joint: float) -> dict[str, Any]:
    """An audit whose time probe is almost as accurate as the joint one."""
    reach = {"time": joint - 0.008, "length": 0.5 + (joint - 0.5) * 0.12, "joint": joint, "text": 0.53}
    probes = [
        {
            "split": split,
            "subreddit": subreddit,
            "confounders": confounders,
            "probe": probe,
            "n_pairs": n_pairs,
            "n_posts": n_pairs // 4,
            "accuracy": accuracy - 0.01 * (probe == "logistic"),
            "accuracy_low": accuracy - half - 0.01 * (probe == "logistic"),
            "accuracy_high": accuracy + half - 0.01 * (probe == "logistic"),
            "auc": accuracy + 0.02,
        }
        for split, n_pairs, half in (("train", 8000, 0.011), ("test", 900, 0.03))
        for subreddit in ("all", *COMMUNITIES)
        for confounders, accuracy in reach.items()
        for probe in (("tfidf",) if confounders == "text" else ("logistic", "boosting"))
    ]
    smds = {"log_delay": -2.2, "order": -1.7, "log_length": 0.35, "links": 0.06, "paragraphs": 0.2}
    is_clean = recipe == "hard-test"
    verdict = "shortcuts predict nothing" if is_clean else f"not clean: the joint probe reaches {joint:.3f}"
    return {
        "pairs": recipe,
        "recipe": recipe,
        "probes": probes,
        "differences": [{"confounder": name, "smd": smd * (joint - 0.5)} for name, smd in smds.items()],
        "earlier_wins": {"value": joint, "low": joint - 0.01, "high": joint + 0.01},
        "longer_wins": {"value": 0.52, "low": 0.51, "high": 0.53},
        "label_confidence_mean": 0.87,
        "truth": {"accuracy": 0.84, "accuracy_low": 0.82, "accuracy_high": 0.86},
        "verdict": verdict,
        "is_clean": is_clean,
    }


def make_manifest(recipe: str, pairs: pl.DataFrame) -> dict[str, Any]:
    """A manifest with a ledger that adds up."""
    responses = {"deleted": 4100, "by the post's author": 3300, "score hidden": 120, "too short": 8000}
    dropped_pairs = {"scores equal": 21_000, "delay apart": 30_000, "over the cap of the post": 9_000}
    return {
        "name": recipe,
        "recipe": {"name": recipe, "min_score_gap": 1, "max_length_ratio": 1.25, "max_pairs_per_post": 10},
        "subreddits": list(COMMUNITIES),
        "n_pairs": pairs.height,
        "n_posts": pairs["post_id"].n_unique(),
        "pairs_sha256": frame_sha256(pairs),
        "pairs_by_split": {},
        "ledger": {"responses": _ledger(42_000, responses), "pairs": _ledger(84_000, dropped_pairs)},
    }


def _ledger(came_in: int, dropped: dict[str, int]) -> dict[str, Any]:
    return {
        "input": came_in,
        "dropped": [{"reason": reason, "n": n} for reason, n in dropped.items()],
        "kept": came_in - sum(dropped.values()),
    }


def _cell(predictor: str, n_train_pairs: int, seed: int, accuracy: float) -> dict[str, Any]:
    return {
        "predictor": predictor,
        "is_baseline": False,
        "n_parameters": None,
        "n_train_pairs": n_train_pairs,
        "seed": seed,
        "run_id": None,
        "train_time_s": n_train_pairs / 60,
        "n_test_pairs": 900,
        "n_test_posts": 300,
        "accuracy": accuracy,
        "accuracy_low": accuracy - 0.025,
        "accuracy_high": accuracy + 0.025,
        "log_loss": 0.66,
    }
