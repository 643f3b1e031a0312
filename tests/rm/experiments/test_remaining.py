"""The time that cells still take, told on simulated schedules whose every second is known."""

import heapq
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForSequenceClassification

import rm.experiments.remaining
from lurker.learning_curves import METRICS
from rm.experiments.cell_work import (
    BASELINES,
    LOADING,
    POINTS,
    REST,
    TRAINING,
    VALIDATING,
    CellWork,
    cell_work,
    in_order,
    nominal_parameters,
)
from rm.experiments.cells import Cell, left_of
from rm.experiments.remaining import IN_ORDER, CellTime, CellTimes
from rm.training.checkpoint import CHECKPOINT
from rm.training.run_folder import RunConfig
from rm.training.trainable import train_config

Schedule = list[tuple[float, float]]
"""When each cell starts and ends, seconds."""


def cells(models: tuple[str, ...], sizes: tuple[int, ...], n_seeds: int, *settings: str, all_: int = 0) -> list[Cell]:
    return [
        Cell(f"{model}-{size}-{seed}", RunConfig(pairs="p", model=model, train=train, max_pairs=size), size, all_)
        for model in models
        for size in sizes
        for seed in range(n_seeds)
        for train in [train_config(model, seed, settings)]
    ]


GRIDS = {
    "retrained ladder": cells(("scratch-10k", "scratch-50k", "scratch-200k"), (500, 1000, 2000, 4000), 3),
    "one pass": cells(("scratch-10k", "scratch-50k", "scratch-200k"), (12_800,), 3, "epochs=1", "min_steps=0"),
    "frozen": cells(("minilm",), (200, 400, 800, 1600, 3200), 3, "trained=head", all_=6_000),
    "transfer": cells(("scratch-50k",), (2_000,), 12),
}


def true_parts(works: list[CellWork], seed: int) -> list[dict[str, float]]:
    """Seconds of every part of every cell: rates differ between kinds by chance, not as their nominal sizes do."""
    rng = np.random.default_rng(seed)
    rates = {work.kind: rng.uniform(0.5, 2) * work.size**0.5 / 1e5 for work in works}
    fixed = {part: rng.uniform(0.5, 3) for part in (BASELINES, REST)}
    slopes = {part: rng.uniform(0, 1e-3) for part in (BASELINES, REST)}
    found = []
    for work in works:
        parts = {part: amount * rates[work.kind] for part, amount in work.amounts.items() if amount}
        parts |= {part: fixed[part] + slopes[part] * work.amounts[part] for part in fixed if work.amounts[part]}
        found.append({part: seconds * rng.lognormal(0, 0.1) for part, seconds in parts.items()})
    return found


def schedule(seconds: list[float], n_slots: int) -> Schedule:
    free_at, planned = [0.0] * n_slots, []
    for one in seconds:
        begins = heapq.heappop(free_at)
        planned.append((begins, begins + one))
        heapq.heappush(free_at, begins + one)
    return planned


def report(parts: dict[str, float], elapsed: float, share_trained: float) -> str:
    """What a cell that has run for some seconds writes into its file: the bar of training covers three parts."""
    elapsed -= parts[REST]
    training = sum(parts.get(part, 0.0) for part in (TRAINING, VALIDATING, POINTS))
    for bar, seconds in [(bar, training if bar == TRAINING else parts.get(bar, 0.0)) for bar in IN_ORDER]:
        if 0 <= elapsed < seconds:
            share = elapsed / seconds * (share_trained if bar == TRAINING else 1.0)
            left_s = elapsed * (1 - share) / share if share else 0.0
            return f"{bar}: {share:.0%} of 100 steps, {left_s:,.0f} s left"
        elapsed -= seconds
    return "starting"


def told_and_came(
    folder: Path, grid: list[Cell], seed: int, monkeypatch: pytest.MonkeyPatch, shares_trained: tuple[float, float]
) -> Iterator[tuple[float, float, float]]:
    """The share that is done, the seconds that are told to be left, and those that come.

    Args:
        shares_trained: bounds of the share of its steps after which a cell stops.
    """
    waiting = in_order(grid)
    works = cell_work(waiting)
    parts = true_parts(works, seed)
    stops = np.random.default_rng(seed).uniform(*shares_trained, size=len(waiting)).tolist()
    plan = schedule([sum(one.values()) for one in parts], n_slots=2)
    whole = max(end for _, end in plan)
    files = [folder / f"{seed}-{cell.run_id}" for cell in waiting]
    clock = 0.0
    monkeypatch.setattr(rm.experiments.remaining.time, "monotonic", lambda: clock)
    times = CellTimes(works, files)
    for clock in np.linspace(0, whole, 40, endpoint=False).tolist():
        for index, (begins, ends) in enumerate(plan):
            if begins <= clock < ends:
                files[index].write_text(report(parts[index], clock - begins, stops[index]))
            elif ends <= clock and index not in times.seconds:
                files[index].unlink(missing_ok=True)
                bars = {part: seconds for part, seconds in parts[index].items() if part != REST}
                times.finish(index, CellTime(sum(parts[index].values()), bars, stops[index]))
        if (left := times.left_s()) is not None:
            assert 0 <= times.share() <= 1
            yield clock / whole, left, whole - clock


@pytest.mark.parametrize(
    ("name", "shares_trained"),
    [*((name, (1.0, 1.0)) for name in GRIDS), *((name, (0.4, 0.7)) for name in GRIDS if name != "one pass")],
)
def test_the_time_left_is_right_within_a_third(
    name: str, shares_trained: tuple[float, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five draws of true seconds: most of the time before a quarter is done, and nearly always after.

    Before a cell has ended, nothing tells that training stops early.
    """
    early: list[float] = []
    later: list[float] = []
    for seed in range(5):
        for share, told, came in told_and_came(tmp_path, GRIDS[name], seed, monkeypatch, shares_trained):
            if share < 0.9:
                (early if share < 0.25 else later).append(abs(np.log(told / came)))
    assert early and (shares_trained[0] < 1 or np.median(early) < np.log(4 / 3))
    assert np.quantile(later, 0.9) < np.log(4 / 3)


def test_nothing_is_told_before_a_cell_has_finished_nor_learned_from_one_that_failed(tmp_path: Path) -> None:
    waiting = in_order(GRIDS["transfer"])
    times = CellTimes(cell_work(waiting), [tmp_path / cell.run_id for cell in waiting])
    assert times.left_s() is None and times.share() == 0
    times.finish(0, None)
    assert times.left_s() is None
    times.finish(1, CellTime(10.0, {"Training": 6.0, "Baselines": 2.0}))
    assert times.left_s() == pytest.approx(10 * (len(waiting) - 2), rel=0.05)
    for index in range(2, len(waiting)):
        times.finish(index, CellTime(10.0, {"Training": 6.0, "Baselines": 2.0}))
    assert times.left_s() == 0 and times.share() == 1


def test_what_only_the_first_cell_of_a_worker_does_is_not_expected_of_the_others(tmp_path: Path) -> None:
    waiting = in_order(GRIDS["transfer"])
    times = CellTimes(cell_work(waiting), [tmp_path / cell.run_id for cell in waiting])
    times.finish(0, CellTime(13.0, {LOADING: 3.0, "Training": 6.0, "Baselines": 2.0}))
    assert times.left_s() == pytest.approx(10 * (len(waiting) - 1), rel=0.01)


def test_long_first_cells_tell_before_they_end(tmp_path: Path) -> None:
    """Reading the tests takes most of the first cell: its bar and the other cell's are enough for an answer."""
    waiting = in_order(GRIDS["frozen"])
    files = [tmp_path / cell.run_id for cell in waiting]
    times = CellTimes(cell_work(waiting), files)
    files[1].write_text("Embedding: 50% of 9 tokens, 40 s left")
    assert times.left_s() is None  # the tests are not known yet
    files[0].write_text("Evaluating: 50% of 9 tokens, 30 s left")
    times.told = (-10.0, 0.0, None)
    read = [work.amounts["frozen pass"] for work in times.works]
    expected = (30 + 40 + 80 * sum(read[2:]) / read[1]) / 2  # two places; plus fits and the rest, as guessed
    assert expected < (times.left_s() or 0) < expected + 2.5 * len(waiting)


def test_tests_on_the_way_come_early_in_training(tmp_path: Path) -> None:
    work = CellWork("m", 1.0, {TRAINING: 1_000.0, VALIDATING: 0.0, POINTS: 2.0}, (100, 200))
    times = CellTimes([work, work, work], [tmp_path / str(n) for n in range(3)])
    times.finish(0, CellTime(20.0, {TRAINING: 10.0, POINTS: 10.0}))
    (tmp_path / "1").write_text("Training: 50% of 9 steps, 15 s left")  # both tests are over: 5 s are left
    assert times.left_s() == pytest.approx(5 + 20)


def test_shared_work_counts_for_the_first_cell_that_does_it() -> None:
    works = cell_work(GRIDS["frozen"])  # in the order of sizes, then seeds
    read = [work.amounts["frozen pass"] for work in works]
    assert read[0] == 200 + 2_000 and read[3] == 200 * (1 - 200 / 6_000) ** 2  # validation once; nested sizes
    assert sum(read) - 2_000 == pytest.approx(6_000 * (1 - (1 - 3_200 / 6_000) ** 3))  # expected union of three seeds
    assert [work.amounts["Evaluating"] for work in works] == [1.0] + [0.0] * 14
    ladder = cell_work(in_order(GRIDS["retrained ladder"]))
    assert sum(work.amounts["Baselines"] > 0 for work in ladder) == 12  # a model's are every model's


def test_the_cheapest_cell_of_each_kind_runs_first() -> None:
    order = [cell.run_id for cell in in_order(GRIDS["retrained ladder"])]
    assert order[:4] == ["scratch-10k-500-0", "scratch-50k-500-0", "scratch-200k-500-0", "scratch-200k-4000-2"]
    assert sorted(order) == sorted(cell.run_id for cell in GRIDS["retrained ladder"])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("shard", ["50GB", "20KB"])
def test_a_model_from_a_folder_counts_its_own_parameters(dtype: str, shard: str, tmp_path: Path) -> None:
    """A run continues in the time of its model, not in that of a large pretrained one, whatever its config tells."""
    config = LlamaConfig(
        vocab_size=300, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2, num_labels=1
    )
    model = LlamaForSequenceClassification(config).to(getattr(torch, dtype))
    model.save_pretrained(tmp_path, max_shard_size=shard)
    (tmp_path / "config.json").write_text('{"text_config": {"vocab_size": 300}}')  # nested, as that of an image model
    assert (len(list(tmp_path.glob("model-*.safetensors"))) > 1) == (shard == "20KB")
    n_parameters = sum(one.numel() for one in model.parameters()) - 300 * 32
    assert nominal_parameters(str(tmp_path)) == n_parameters


def test_a_model_whose_files_do_not_tell_is_guessed(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"torn")
    specs = ("an/unknown-model", str(tmp_path / "nowhere"), str(tmp_path))
    assert {nominal_parameters(spec) for spec in specs} == {1e8}


def test_a_cell_that_resumes_tells_and_teaches_only_what_it_trains_itself(tmp_path: Path) -> None:
    """An earlier start trained four fifths of two cells; a cell from the start takes 50 s."""
    whole = CellWork("m", 1.0, {TRAINING: 1_000.0, VALIDATING: 0.0})
    works = [replace(whole, begun=0.8), replace(whole, begun=0.8), whole, whole]
    times = CellTimes(works, [tmp_path / str(n) for n in range(4)])
    times.finish(0, CellTime(10.0, {TRAINING: 10.0}, share_before=0.8))
    assert times.left_s() == pytest.approx(10 + 50 + 50)
    (tmp_path / "1").write_text("Training: 90% of 100 steps, 5 s left")
    times.told = (-10.0, 0.0, None)
    assert times.left_s() == pytest.approx(5 + 50 + 50)


def test_a_run_with_a_result_is_not_trained_again_for_its_baselines() -> None:
    left = cell_work(GRIDS["retrained ladder"])[0].without_training()
    assert set(left.amounts) == {BASELINES, REST}


def test_no_share_is_trained_without_a_plan(tmp_path: Path) -> None:
    steps = [{"step": step, "train_log_loss": 0.7} for step in range(1, 31)]
    metrics, (work, *_) = tmp_path / METRICS, cell_work(GRIDS["transfer"])
    for planned, share in ((None, 0.0), (60, 0.5), (10, 1.0), (-60, 0.0)):
        last = {} if planned is None else {"planned_steps": planned}
        metrics.write_text("".join(json.dumps(one) + "\n" for one in [*steps[:-1], steps[-1] | last]))
        assert left_of(work, tmp_path).begun == 0  # no checkpoint to resume from
        (tmp_path / CHECKPOINT).touch()
        assert left_of(work, tmp_path).begun == share
        (tmp_path / CHECKPOINT).unlink()
