"""Items from files of responses, JSONL and Parquet, and from a researcher's onboarding."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import features
import ingest
from dashboard.arena import ballots
from dashboard.arena.design import pool_of
from dashboard.arena.make import Source, make_arena
from dashboard.arena.simulate import simulate_raters
from features.votes.judges import machine_judges
from ingest.simulator.config import SimulationConfig
from ingest.simulator.world import simulate
from lurker.errors import CallError, LurkerError
from lurker.votes.arenas import Arena, ArenaConfig
from lurker.workspace import Workspace, open_workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return open_workspace(tmp_path / "workspace", create=True)


def make(workspace: Workspace, rows: list[dict[str, Any]], name: str = "sources", **config: Any) -> Arena:
    file = workspace.root.parent / f"{name}.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows))
    return make_arena(workspace, name, Source(responses=file), ArenaConfig(**config))


def answers(**extra: Any) -> list[dict[str, Any]]:
    return [
        {"prompt": f"p{prompt}", "response": f"r{prompt}{source}", "source": source, **extra}
        for prompt in range(3)
        for source in "xyz"
    ]


def test_responses_and_onboarding_make_items(workspace: Workspace, tmp_path: Path) -> None:
    responses, onboarding = tmp_path / "responses.jsonl", tmp_path / "onboarding.jsonl"
    responses.write_text(
        "\n".join(f'{{"prompt": "p{p}", "response": "r{p}{s}", "source": "{s}"}}' for p in range(3) for s in "xyz")
    )
    onboarding.write_text(
        '{"role": "qualify", "prompt": "p", "better": "good", "worse": "bad", "reason": "kinder"}\n'
        '{"role": "example", "prompt": "q", "better": "good", "worse": "bad", "reason": "shorter"}\n'
    )
    source = Source(responses=responses, onboarding=onboarding)
    made = make_arena(workspace, "sources", source, ArenaConfig())
    items = made.items()
    assert items["role"].value_counts().sort("role").rows() == [("main", 9), ("qualify", 1)]
    assert made.examples[0].reason == "shorter"
    main = items.filter(pl.col("role") == "main")
    assert main["reference"].is_null().all()
    assert (main["chosen_id"] < main["rejected_id"]).all()
    assert items.filter(pl.col("role") == "qualify")["chosen"].to_list() == ["good"]


def test_parquet_makes_the_same_items_as_jsonl(workspace: Workspace, tmp_path: Path) -> None:
    rows = [row | {"prompt_id": row["prompt"] * 2, "reward": float(index)} for index, row in enumerate(answers())]
    from_jsonl = make(workspace, rows, "lines").items()
    file = tmp_path / "lines.parquet"
    pl.DataFrame(rows).write_parquet(file)
    from_parquet = make_arena(workspace, "columns", Source(responses=file), ArenaConfig()).items()
    of_arena = ["item_id"]
    assert from_parquet.drop(of_arena).sort("pair_id").equals(from_jsonl.drop(of_arena).sort("pair_id"))
    assert set(from_jsonl["post_id"]) == {"p0p0", "p1p1", "p2p2"}


def test_rewards_are_a_judge(workspace: Workspace) -> None:
    rewards = {"x": 0.5, "y": -1, "z": None}
    arena = make(workspace, [row | {"reward": rewards[row["source"]]} for row in answers()])
    verdicts = machine_judges(arena, arena.items())["reward"].join(arena.items(), on="item_id")
    assert verdicts.height == 3  # z has no reward
    is_x_first = verdicts["chosen_source"] == "x"
    assert (verdicts["verdict"] == is_x_first.cast(pl.Float64)).all()
    assert "reward" not in machine_judges(arena, make(workspace, answers(), "unrewarded").items())


def test_what_is_wrong_with_a_file_is_said(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(LurkerError, match=r"Row 1 of sources\.jsonl has the reward 'high'"):
        make(workspace, answers(reward="high"))
    with pytest.raises(LurkerError, match="another prompt under the prompt_id 'one'"):
        make(workspace, answers(prompt_id="one"))
    damaged = tmp_path / "damaged.parquet"
    damaged.write_bytes(b"PAR1 and no more")
    with pytest.raises(LurkerError, match=r"damaged\.parquet"):
        make_arena(workspace, "damaged", Source(responses=damaged), ArenaConfig())
    file = tmp_path / "sources.jsonl"
    with pytest.raises(CallError, match="about a pair set"):
        make_arena(workspace, "sources", Source(responses=file, split="test"), ArenaConfig())


def test_the_sources_of_a_ballot_are_known_for_a_reveal(workspace: Workspace) -> None:
    arena = make(workspace, answers(), n_qualifying=0)
    items = arena.items()
    texts = {row["item_id"]: row for row in items.to_dicts()}
    draw = ballots.Draw(items["item_id"][0], "main", 0, 1.0, 1)
    assert len(pool_of(items).main) == 9
    row = texts[draw.item_id]
    ballot = ballots.Ballot("v", draw.item_id, "p", "a", "b", row["rejected_id"], row["chosen_id"], draw)
    assert ballots.sources(ballot, texts) == (row["rejected_source"], row["chosen_source"])
    with pytest.raises(CallError, match="no source to reveal"):
        make_arena(workspace, "pairs", Source(pairs="balanced"), ArenaConfig(reveal="source"))


def test_simulated_raters_judge_what_a_model_writes(workspace: Workspace) -> None:
    """One who repeats a word writes worse than people do: the raters find the order of the sources."""
    ingest.simulate(workspace, n_posts=40)
    posts, comments = next(simulate(SimulationConfig(n_posts=40)))
    prompts = posts.select("post", "subreddit", prompt=pl.col("title") + "\n\n" + pl.col("body"))
    told = comments.filter(~pl.col("is_sticky")).unique("post", maintain_order=True).drop("subreddit")
    rows = [
        {"prompt": row["prompt"], "topic": row["subreddit"], "response": text, "source": source}
        for row in told.join(prompts, on="post").to_dicts()
        for source, text in (("human", row["body"]), ("writer", "yes " * 40))
    ]
    arena = make(workspace, rows, n_qualifying=0, held_out_share=0.0)
    assert simulate_raters(arena, 4, 20, careful_share=1.0) == 80
    first, second = features.arena_results(workspace, "sources").report["ratings"]
    assert (first["source"], first["tier"], second["tier"]) == ("human", 1, 2)
    with pytest.raises(LurkerError, match="prompts of nowhere"):
        simulate_raters(make(workspace, [row | {"topic": "nowhere"} for row in rows], "lost"), 1, 1)
