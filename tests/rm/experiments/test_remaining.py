"""The time that cells still take, learned from the finished ones."""

from pathlib import Path

import pytest

import rm.experiments.remaining
from rm.experiments.remaining import CellTimes

COSTS = (8.0, 8.0, 4.0, 4.0, 2.0, 2.0, 1.0, 1.0)


def seconds(cost: float) -> float:
    """The truth: 30 s for baselines and evaluation, 10 s for a unit of work."""
    return 30 + 10 * cost


def test_the_time_left_is_within_a_third_from_the_second_size_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = 0.0
    monkeypatch.setattr(rm.experiments.remaining.time, "monotonic", lambda: clock)
    reports = [tmp_path / str(number) for number in range(len(COSTS))]
    times = CellTimes(COSTS, reports)
    assert times.left_s() is None and times.share() == 0
    total = sum(map(seconds, COSTS))
    for number, cost in enumerate(COSTS):
        reports[number].touch()
        for part in (0.0, 0.5):
            clock = sum(map(seconds, COSTS[:number])) + part * seconds(cost)
            left = times.left_s()
            if number >= 3:
                assert left == pytest.approx(total - clock, rel=1 / 3)
                assert times.share() == pytest.approx(clock / total, abs=0.1)
        clock = sum(map(seconds, COSTS[: number + 1]))
        reports[number].unlink()
        times.finish(number, seconds(cost) if number % 2 else None)
    assert times.left_s() == 0 and times.share() == 1
