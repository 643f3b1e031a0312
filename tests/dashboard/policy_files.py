"""A policy and its samples as the commands write them, for the Policy page."""

from pathlib import Path

import numpy as np
import polars as pl

from lurker.files import write_json, write_parquet
from lurker.schema import BEST_OF_N, DRIFT, check
from lurker.workspace import Workspace


def write_policies(workspace: Workspace, hostile: str) -> None:
    """An agent whose truth peaks, a writer without a curve, and judged samples whose first text is hostile."""
    agent, writer = (workspace.folder("policies", name) for name in ("agent", "writer"))
    write_json({"kind": "writer"}, writer / "config.json")
    write_json({"kind": "writer"}, writer / "result.json")
    write_json({"kind": "agent"}, agent / "config.json")
    write_parquet(make_curve(), agent / "curve.parquet")
    write_parquet(make_drift(), agent / "drift.parquet")
    peak = {"measure": "truth", "peak_distance": [1.5, 1.2, 1.9], "sentence": "Truth is highest at √KL 1.50."}
    write_json({"over_optimisation": [peak]}, agent / "over_optimisation.json")
    write_json({"sentence": "Training stopped after step 64 of 64, as planned."}, agent / "result.json")
    samples = workspace.root / "samples" / "writer.parquet"
    write_parquet(make_samples(hostile), samples)
    write_parquet(make_best_of_n(), samples.with_name("writer.naive.best-of-n.parquet"))
    fits = [{"measure": "truth", "peak_distance": None, "sentence": "Truth still rises at the largest distance."}]
    judges = {"proxy": "naive-rm", "held-out": "balanced-rm"}
    write_json(
        {"judges": judges, "over_optimisation": fits, "texts": []}, samples.with_name("writer.naive.best-of-n.json")
    )
    teachers = [
        {"judge": "run:naive-rm", "accuracy": 0.6, "gain": 0.3},
        {"judge": "length", "accuracy": None, "gain": 0.1},
    ]
    report = {"teachers": teachers, "sentence": "run:naive-rm teaches best.", "outcome": "truth", "n": 16}
    write_json(report, samples.with_name("writer.teachers.json"))


def make_curve() -> pl.DataFrame:
    """Proxy and win rate rise, truth peaks at √KL 1.5."""
    steps = np.array([0, 2, 4, 8, 16, 32, 64])
    distance = np.linspace(0, 3, len(steps))
    measures = {
        "proxy": distance,
        "held-out": distance * (0.9 - 0.15 * distance),
        "truth": distance * (0.6 - 0.2 * distance),
        "win rate": 0.5 + 0.1 * distance,
        "win rate at equal length": 0.5 + 0.05 * distance,
        "length": 20 + 5 * distance,
    }
    rows = [
        {"step": int(step), "kl": d**2, "kl_low": d**2, "kl_high": d**2, "measure": name, "value": float(value)}
        | {"low": float(value) - 0.05, "high": float(value) + 0.05, "n_prompts": 40}
        for name, values in measures.items()
        for step, d, value in zip(steps, distance, values, strict=True)
    ]
    return pl.DataFrame(rows)


def make_drift() -> pl.DataFrame:
    """Length rings from step 16, the rest never."""
    row = {"low": 0.0, "high": 1.0, "reference": 20.0, "threshold": 24.0}
    rows = [
        row | {"step": step, "alarm": alarm, "value": 30.0, "is_ringing": alarm == "length" and step >= 16}
        | {"sentence": f"Responses have another {alarm}."}
        for step in (0, 4, 16, 64)
        for alarm in ("length", "repetition")
    ]  # fmt: skip
    return check(pl.DataFrame(rows, schema=DRIFT.schema), DRIFT)


def make_samples(hostile: str) -> pl.DataFrame:
    """Two prompts, four samples and one human response each."""
    rows = [
        {"prompt_id": f"p{prompt}", "prompt": hostile if prompt == 0 else "How do I move?", "subreddit": "advice"}
        | {"source": "human" if sample == 4 else "writer", "sample": sample % 4, "n_tokens": 9, "is_finished": True}
        | {"response": hostile if prompt + sample == 0 else f"Ask {sample} friends.", "log_prob": -9.0}
        | {"reference_log_prob": None, "reward:naive-rm": float(sample), "reward:balanced-rm": -float(sample)}
        for prompt in range(2)
        for sample in range(5)
    ]
    return pl.DataFrame(rows, schema_overrides={"reference_log_prob": pl.Float64})


def make_best_of_n() -> pl.DataFrame:
    """Best of 1 to 4, which the held-out judge likes less and less."""
    rows = [
        {"n": n, "measure": name, "value": slope * np.log(n), "low": slope * np.log(n) - 0.1}
        | {"high": slope * np.log(n) + 0.1, "win_rate": None if n == 4 else 0.5 + 0.1 * slope * np.log(n)}
        | {"win_rate_low": None if n == 4 else 0.4, "win_rate_high": None if n == 4 else 0.7}
        | {
            f"win_rate_at_equal_length{end}": None if n == 4 or name != "held-out" else value
            for end, value in (("", 0.45), ("_low", 0.4), ("_high", 0.5))
        }
        | {
            "kl_bound": np.log(n) - 1 + 1 / n,
            "kl": np.log(n) - 1 + 1 / n,
            "kl_low": 0.0,
            "kl_high": 2.0,
            "n_prompts": 2,
        }
        for n in (1, 2, 4)
        for name, slope in (("proxy", 0.8), ("held-out", -0.3), ("length", 2.0))
    ]
    return check(pl.DataFrame(rows, schema=BEST_OF_N.schema), BEST_OF_N)


def damage(root: Path) -> None:
    """Cut the curve and the best of n; the rest of the page is still drawn."""
    (root / "policies/agent/curve.parquet").write_bytes(b"PAR1 cut")
    (root / "samples/writer.naive.best-of-n.parquet").write_bytes(b"PAR1 cut")
    (root / "samples/writer.teachers.json").write_text("{", encoding="utf-8")
