"""The second auditor: its features, that it finds shortcuts and not noise, and that it is independent."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

from features.audits.second_features import read_sides
from features.audits.second_opinion import SecondOpinionConfig, _chance, second_opinion
from features.recipes.presets import preset
from features.sets.build import build_pairs
from features.sets.store import describe_blocks, write_pairs
from lurker.cli import run
from lurker.digest import frame_sha256
from lurker.errors import LurkerError
from lurker.files import read_json
from lurker.pair_sets import read_pairs
from lurker.workspace import Workspace, open_workspace

FAST = SecondOpinionConfig(n_cuts=1, n_parts=3, n_trees=20, max_pairs=1_500)


@pytest.fixture(scope="module")
def alpha_workspace(frozen_workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Naive pairs of alpha; read-only."""
    root = Path(shutil.copytree(frozen_workspace, tmp_path_factory.mktemp("alpha") / "workspace"))
    build_pairs(open_workspace(root), "naive", preset("naive"), ["alpha"])
    return root


@pytest.fixture
def workspace(alpha_workspace: Path, tmp_path: Path) -> Workspace:
    return open_workspace(Path(shutil.copytree(alpha_workspace, tmp_path / "copy")))


def with_random_outcomes(pairs: pl.DataFrame) -> pl.DataFrame:
    """The pairs with winner and loser swapped at random."""
    turned = pl.Series(np.random.default_rng(0).random(pairs.height) < 0.5)
    names = [c.removeprefix("chosen_") for c in pairs.columns if c.startswith("chosen_")]
    both = [("chosen", "rejected"), *((f"chosen_{c}", f"rejected_{c}") for c in names)]
    return pairs.with_columns(
        *(pl.when(turned).then(b).otherwise(a).alias(a) for a, b in both),
        *(pl.when(turned).then(a).otherwise(b).alias(b) for a, b in both),
    ).select(pairs.columns)


def test_it_shares_no_code_with_the_first_audit() -> None:
    code = (
        "import sys, features.audits.second_opinion; "
        "print(*sorted(m for m in sys.modules if m.startswith('features.')))"
    )
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert shown.split() == ["features.audits", "features.audits.second_features", "features.audits.second_opinion"]


def test_it_finds_a_shortcut_and_none_in_noise(workspace: Workspace) -> None:
    naive = read_pairs(workspace, "naive")
    found = second_opinion(workspace, "naive", FAST)
    assert read_json(workspace.root / "pairs/naive/second-opinion.json") == found
    of_models = [row for row in found["models"] if (row["split"], row["model"] == "style") == ("all", False)]
    assert len(of_models) == 5 and all(row["low"] > 0.65 for row in of_models)
    assert not found["agrees"] and found["verdict"].startswith("The second opinion finds a shortcut")
    coins = with_random_outcomes(naive)
    write_pairs(
        workspace, "coins", coins, describe_blocks([coins], frame_sha256(coins), "coins", preset("naive"), ["alpha"])
    )
    found = second_opinion(workspace, "coins", FAST)
    assert found["best_by_chance"]["p"] > 0.05 and "shortcut" not in found["verdict"]
    write_pairs(
        workspace, "coins", naive, describe_blocks([naive], frame_sha256(naive), "coins", preset("naive"), ["alpha"])
    )
    assert not (workspace.root / "pairs/coins/second-opinion.json").exists()  # it described other pairs


def test_features_of_a_thread_checked_by_hand(
    write_workspace: Callable[..., Workspace], make_post: Callable[..., dict], make_comment: Callable[..., dict]
) -> None:
    start = make_post()["created_utc"]
    old = make_comment("old", "p0", created_utc=start - 50, author_hash="ann", score=9)
    first = make_comment("a", body="One. Two!\n\n> so\nhttps://x.org", author_hash="ann", created_utc=start + 10)
    second = make_comment("b", body="* word", created_utc=start + 70, score=1)
    workspace = write_workspace([make_post(), make_post("p0")], [old, first, second])
    build_pairs(workspace, "mine", preset("naive"))
    path = workspace.root / "pairs/mine/pairs.parquet"
    pairs, (chosen, rejected) = read_sides(workspace, path, 10)
    assert pairs[["chosen_id", "post_score", "n_top_level"]].to_numpy().tolist() == [["a", 50, 2]]
    wanted = {"delay_s": 10, "rank": 0, "gap_before_s": -1, "gap_after_s": 60, "n_written": 1, "best_written": 9}
    wanted |= {"n_stops": 3, "n_quotes": 1, "n_links": 1, "n_stars": 0, "n_capitals": 2, "n_exclamation_marks": 1}
    assert chosen.loc[0, list(wanted)].to_dict() == wanted
    wanted = {"delay_s": 70, "rank": 1, "gap_before_s": 60, "gap_after_s": -1, "n_written": 0, "n_stars": 1}
    assert rejected.loc[0, list(wanted)].to_dict() == wanted


def test_features_do_not_depend_on_the_order_of_rows(workspace: Workspace, tmp_path: Path) -> None:
    path = workspace.root / "pairs/naive/pairs.parquet"
    pl.read_parquet(path).sample(fraction=1.0, shuffle=True, seed=1).write_parquet(tmp_path / "shuffled.parquet")
    (pairs, sides), (again, sides_again) = (
        read_sides(workspace, p, 500) for p in (path, tmp_path / "shuffled.parquet")
    )
    assert 0 < len(pairs) <= 500
    pd.testing.assert_frame_equal(pairs, again)
    for side, side_again in zip(sides, sides_again, strict=True):
        pd.testing.assert_frame_equal(side, side_again)


def test_the_p_value_corrects_for_many_models() -> None:
    """On noise, the best of twenty models looks good by chance; its p-value has the nominal false positive rate."""
    rng = np.random.default_rng(0)
    pairs = pd.DataFrame({"post_id": np.repeat(np.arange(100), 3), "weight": 1.0})
    config = SecondOpinionConfig(n_draws=300)

    def p(share_right: float) -> float:
        judged = {f"m{k}": (rng.random(300) < 0.5).astype(float) for k in range(20)}
        judged["m0"] = (rng.random(300) < share_right).astype(float)
        return _chance(pairs, judged | {"style": judged["m1"]}, rng, config)["p"]

    of_coins = np.array([p(0.5) for _ in range(100)])
    assert np.mean(of_coins < 0.05) <= 0.11 and 0.4 < of_coins.mean() < 0.6
    assert p(0.65) < 0.01


def test_a_wrong_call_gives_a_clear_error(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    call = ["--workspace", str(workspace.root), "pairs", "audit"]
    assert run([*call, "naive", "--cuts", "2"]) == 2
    assert "--cuts 2 only applies to the second opinion" in capsys.readouterr().err
    assert run([*call, "absent", "--second-opinion"]) == 2
    assert "no pair set 'absent'" in capsys.readouterr().err
    pairs = read_pairs(workspace, "naive")
    few = pairs.filter(post_id=pairs["post_id"][0])
    write_pairs(workspace, "few", few, describe_blocks([few], frame_sha256(few), "few", preset("naive"), ["alpha"]))
    with pytest.raises(LurkerError, match="'few' has 1 posts, too few"):
        second_opinion(workspace, "few", FAST)
