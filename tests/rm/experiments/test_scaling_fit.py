from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.special import ndtri

from lurker.charts import Fitted, accuracy_by_data
from lurker.errors import LurkerError
from lurker.files import write_parquet
from lurker.fits import ERROR
from lurker.schema import PREDICTIONS, SCALING, check
from lurker.seeds import mean_over_seeds
from lurker.workspace import Workspace
from rm.experiments.curve_findings import Finding, unknown
from rm.experiments.scaling_claims import Gains, claims
from rm.experiments.scaling_fit import LOG_LOSS, comparable_models, fit_scaling, read_points, with_amount
from rm.training.run_folder import predictions_file

SIZES = (250, 500, 1000, 2000, 4000)
TEST = pl.DataFrame(
    {"pair_id": [f"p{number}" for number in range(600)], "post_id": [f"post{number // 3}" for number in range(600)]}
)


def write_runs(
    workspace: Workspace, models: dict[str, int], sizes: tuple[int, ...] = SIZES, grows: bool = True
) -> pl.DataFrame:
    """SCALING of runs whose errors are a power law of the data, and their predictions."""
    rng = np.random.default_rng(0)
    hardness = rng.normal(0, 1, TEST.height)
    rows = []
    for model, n_parameters in models.items():
        for size in sizes:
            for seed in (0, 1):
                run_id = f"{model}-{size}-{seed}"
                error = 0.1 + 0.9 * size**-0.25 if grows else 0.3
                taught = -ndtri(error) + rng.normal(0, 0.03)  # a run's own share of luck
                margin = taught + hardness + rng.normal(0, 0.1, TEST.height)
                columns = {"pair_id": TEST["pair_id"], "margin": margin, "is_correct": (margin > 0).astype(float)}
                predictions = check(pl.DataFrame(columns), PREDICTIONS)
                write_parquet(predictions, predictions_file(workspace.folder("runs", run_id), "hard-test", "test"))
                accuracy = float((margin > 0).mean())
                rows.append(
                    {"pairs": "planted", "test_pairs": "hard-test", "predictor": model, "is_baseline": False}
                    | {"n_parameters": n_parameters, "n_train_pairs": size, "seed": seed, "run_id": run_id}
                    | {
                        "train_time_s": size / 50,
                        "n_tokens": 100 * size,
                        "n_test_pairs": 600,
                        "n_test_posts": 200,
                        "accuracy": accuracy,
                    }
                    | {"accuracy_low": accuracy - 0.03, "accuracy_high": accuracy + 0.03}
                    | {"log_loss": float(np.logaddexp(0, -margin).mean())}
                )
    return check(pl.DataFrame(rows, schema=SCALING.schema), SCALING)


@pytest.fixture
def empty(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def test_points_are_the_losses_of_the_runs_by_post(empty: Workspace) -> None:
    cells = write_runs(empty, {"scratch-10k": 7000})
    points = read_points(empty, with_amount(cells, "pairs"), TEST, LOG_LOSS)
    np.testing.assert_allclose(points.loss, cells["log_loss"].to_numpy(), rtol=1e-12)
    assert points.post_losses is not None and points.post_losses.shape == (10, 200)
    errors = read_points(empty, with_amount(cells, "pairs"), TEST, ERROR)
    np.testing.assert_allclose(errors.loss, 1 - cells["accuracy"].to_numpy(), rtol=1e-12)
    widths = np.sqrt(errors.variance * 600)  # of one pair: the posts of this test are no harder than chance
    assert np.all(np.abs(widths / np.sqrt(errors.loss * (1 - errors.loss)) - 1) < 0.2)


def test_runs_of_different_tests_are_refused(empty: Workspace) -> None:
    cells = write_runs(empty, {"scratch-10k": 7000})
    file = predictions_file(empty.folder("runs", cells["run_id"][1]), "hard-test", "test")
    write_parquet(pl.read_parquet(file).head(30), file)
    with pytest.raises(LurkerError, match=r"tested on different pairs: scratch-10k-250-0 on 200 posts, .* on 10"):
        fit_scaling(empty, cells, TEST)


def test_a_gain_is_named_tabulated_and_drawn(empty: Workspace) -> None:
    cells = write_runs(empty, {"scratch-10k": 7000})
    fit = fit_scaling(empty, cells, TEST)
    assert fit.sentence.startswith("Doubling the data from 4,000 pairs adds ") and not fit.reason
    figures = {(row["measure"], row["figure"]): row for row in fit.figures}
    gain = figures[LOG_LOSS, "gain of twice the data"]
    assert 0 < gain["low"] < gain["value"] < gain["high"]
    assert "cannot tell: 1 model size" in figures[ERROR, "gain of twice the parameters"]["note"]
    held_out = figures[LOG_LOSS, "largest data size, predicted from the others"]
    assert held_out["note"].endswith("within") and held_out["low"] < held_out["value"] < held_out["high"]
    assert fit.sentence in str(fit.table())
    assert fit.to_json()["curve"] == fit.curve.to_dicts()
    ends = fit.curve["n_train_pairs"][0], fit.curve["n_train_pairs"][-1]
    assert ends == pytest.approx((250, 4000))
    spec = accuracy_by_data(mean_over_seeds(cells), fit=Fitted.of(fit.curve, fit.figures)).to_dict()
    (predicted,) = [layer for layer in spec["layer"] if layer["mark"].get("shape") == "diamond"]
    (row,) = spec["datasets"][predicted["data"]["name"]]
    of_size = figures[ERROR, "largest data size, predicted from the others"]
    assert row["accuracy"] == pytest.approx(1 - of_size["value"]) and row["n_train_pairs"] == 4000
    assert row["low"] < row["accuracy"] < row["high"]
    dashed = [layer for layer in spec["layer"] if layer["mark"].get("strokeDash") == [5, 4]]
    assert len(dashed) == 1 and len(spec["datasets"][dashed[0]["data"]["name"]]) == fit.curve.height


def test_no_growth_is_not_named(empty: Workspace) -> None:
    fit = fit_scaling(empty, write_runs(empty, {"scratch-10k": 7000}, grows=False), TEST)
    assert fit.sentence.startswith("No gain in accuracy from doubling the data from 4,000 pairs is shown (at most ")


def test_three_sizes_cannot_tell_and_say_so(empty: Workspace) -> None:
    fit = fit_scaling(empty, write_runs(empty, {"scratch-10k": 7000}, SIZES[:3]), TEST)
    assert fit.sentence.startswith("No curve is fitted: 3 data sizes, and 4 are needed. scratch-10k gains ")
    assert " from 250 to 1,000 pairs; the interval covers the test posts" in fit.sentence
    flat = fit_scaling(empty, write_runs(empty, {"scratch-10k": 7000}, SIZES[:3], grows=False), TEST)
    assert "No gain in accuracy of scratch-10k from 250 to 1,000 pairs is shown (at most " in flat.sentence
    assert not fit.figures and fit.curve.is_empty() and fit.sentence in str(fit.table())
    two = fit_scaling(empty, write_runs(empty, {"scratch-10k": 7000, "scratch-50k": 49_000}, SIZES[:3]), TEST)
    assert "scratch-50k gains" in two.sentence and "Not in the fit" not in str(two.table())


def test_models_of_another_family_and_too_few_sizes_are_left_out(empty: Workspace) -> None:
    ladder = {"scratch-10k": 7000, "scratch-50k": 49_000, "scratch-200k": 210_000}
    kept, left_out = comparable_models(write_runs(empty, {**ladder, "minilm": 21_000_000}, (250, 500)))
    assert set(kept["predictor"]) == set(ladder)
    assert left_out == "Not in the fit: minilm: of another family than scratch-10k."
    two = {name: ladder[name] for name in ("scratch-10k", "scratch-50k")}
    kept, left_out = comparable_models(write_runs(empty, two, (250, 500)))
    assert set(kept["predictor"]) == {"scratch-50k"} and "scratch-10k: a comparison needs 3" in left_out
    kept, left_out = comparable_models(write_runs(empty, ladder, (250, 500)))
    assert set(kept["predictor"]) == set(ladder) and not left_out


def test_only_intervals_that_exclude_zero_become_claims() -> None:
    sure, unsure, worse = Finding(0.02, 0.01, 0.03), Finding(0.004, 0.0, 0.009), Finding(-0.02, -0.03, -0.01)
    few = unknown("1 model size in the fit, and 3 are needed")

    def said(loss: Gains, error: Gains) -> str:
        return claims(loss, error, "the data from 4,000 pairs", "scratch-1m")

    assert not Finding(0.0003, 0.0001, 0.004).is_named  # its lower end is shown as 0.000
    both = said(Gains(sure, sure, worse), Gains(sure, sure, worse))
    assert both == (
        "Doubling the data from 4,000 pairs adds 0.020 [0.010, 0.030] of accuracy; doubling the parameters of "
        "scratch-1m adds 0.020 [0.010, 0.030] of accuracy; the next hour is better spent on parameters."
    )
    assert said(Gains(sure, few, few), Gains(unsure, few, few)) == (
        "Doubling the data from 4,000 pairs lowers the log loss by 0.020 [0.010, 0.030] nats, but no gain in accuracy "
        "is shown (at most +0.009)."
    )
    nothing = said(Gains(unsure, unsure, unsure), Gains(unsure, unsure, unsure))
    assert "adds" not in nothing and nothing.endswith("data or parameters cannot be told.")
    assert said(Gains(sure, sure, sure), Gains(sure, sure, unsure)).endswith("better spent on data, by log loss.")


def test_tokens_and_time_are_axes_of_fit_and_chart(empty: Workspace) -> None:
    cells = write_runs(empty, {"scratch-10k": 7000})
    over_pairs = fit_scaling(empty, cells, TEST)
    over_tokens = fit_scaling(empty, cells, TEST, "tokens")  # 100 a pair
    assert over_tokens.sentence == over_pairs.sentence.replace("4,000 pairs", "400,000 tokens")
    over_time = fit_scaling(empty, cells, TEST, "time")
    assert over_time.sentence.startswith("Doubling the training time from 80 seconds adds ")
    assert any(row["note"] == "cannot tell: the curve is over time itself" for row in over_time.figures)
    spec = accuracy_by_data(
        mean_over_seeds(cells), fit=Fitted.of(over_time.curve, over_time.figures), x="train_time_s"
    ).to_dict()
    assert "seconds of training" in str(spec) and "training pairs (log" not in str(spec)
    with pytest.raises(LurkerError, match="tokens of 10 of 10 runs are not known"):
        fit_scaling(empty, cells.with_columns(n_tokens=pl.lit(None, pl.Int64)), TEST, "tokens")


def test_a_model_is_said_to_gain_only_over_data_that_it_had(empty: Workspace) -> None:
    """A grid has gaps where cells failed, or where a model came later with other sizes."""
    ladder = {"scratch-10k": 7000, "scratch-50k": 49_000, "scratch-200k": 210_000}
    cells = write_runs(empty, ladder, SIZES[:3])
    is_largest = pl.col("predictor") == "scratch-200k"
    without_first = fit_scaling(empty, cells.filter(~is_largest | (pl.col("n_train_pairs") > 250)), TEST)
    assert "scratch-200k" in without_first.sentence and " from 500 to 1,000 pairs" in without_first.sentence
    one_size = fit_scaling(empty, cells.filter(~is_largest | (pl.col("n_train_pairs") == 500)), TEST)
    assert one_size.sentence == "No curve is fitted: 3 data sizes, and 4 are needed."


@pytest.mark.parametrize("size", [SIZES[0], SIZES[-1]])
def test_a_largest_model_with_one_data_size_is_no_end_of_the_fit(empty: Workspace, size: int) -> None:
    cells = write_runs(empty, {"scratch-10k": 7000, "scratch-50k": 49_000, "scratch-200k": 210_000})
    kept = (pl.col("predictor") != "scratch-200k") | (pl.col("n_train_pairs") == size)
    fit = fit_scaling(empty, cells.filter(kept), TEST)
    (measured,) = (row for row in fit.figures if row["measure"] == ERROR and "measured" in row["figure"])
    assert measured["value"] is None and "two data sizes" in measured["note"]
