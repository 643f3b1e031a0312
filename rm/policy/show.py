"""A policy as `lurker policy show` prints it: what it learned from, how well it predicts people, what it copies."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from lurker.decimals import decimal
from lurker.errors import CallError, LurkerError, nearest
from lurker.files import read_json
from lurker.learning_curves import LearningCurve, read_learning_curve
from lurker.pair_sets import read_pair_set
from lurker.report import ResultTable
from lurker.schema import PAIRS
from lurker.workspace import Workspace
from rm.policy.policy_folder import CONFIG, POLICIES, RESULT, policy_folder
from rm.policy.writer import SAMPLES_FILE

N_NEIGHBOURS = 3
"""Samples shown beside the training response that they resemble most."""
MAX_CHARS = 240
"""Characters of a text that are shown."""
NOT_FACTS = ("policy_id", "counts", "traits", "memorisation", "subreddits")
"""Fields of a result that have tables of their own, or need none."""


@dataclass(frozen=True, slots=True)
class ShownPolicy:
    """What is known of a policy."""

    policy_id: str
    config: dict[str, Any]
    result: dict[str, Any]
    """empty until it is finished"""
    curve: LearningCurve
    neighbours: list[dict[str, Any]]
    """samples that copy most, each with the training response most like it"""

    def tables(self) -> Sequence[ResultTable]:
        """What it was trained on, its held-out losses and what it copies; or that it is unfinished."""
        if not self.result:
            title = f"Policy {self.policy_id}: unfinished after {len(self.curve.steps):,} steps"
            return [ResultTable(title, [], "Finish it: repeat its command.")]
        facts = {name: value for name, value in self.result.items() if name not in NOT_FACTS}
        scalars = [
            {"field": name, "value": decimal(value) if isinstance(value, float) else str(value)}
            for name, value in facts.items()
            if isinstance(value, str | int | float)
        ]
        tables = [ResultTable(f"Policy {self.policy_id}", scalars)]
        if self.result.get("traits"):
            tables.append(self._chosen())
        if isinstance(self.result.get("held_out"), list):  # an agent's names a judge
            tables.append(self._held_out())
        if self.result.get("memorisation"):
            tables.append(self._novelty())
        if self.neighbours:
            tables.append(ResultTable("Samples that copy the longest run of words", self.neighbours))
        return tables

    def _chosen(self) -> ResultTable:
        rows = [{"responses": name, **values} for name, values in self.result["traits"].items()]
        counts = ", ".join(f"{n:,} {name}" for name, n in self.result["counts"].items())
        return ResultTable("Responses to training posts, and those chosen: means", rows, f"Counts: {counts}.")

    def _held_out(self) -> ResultTable:
        rows = [
            {
                "predictor": row["predictor"],
                "per": row["unit"],
                "nats": f"{row['nats']:.3f} [{row['nats_low']:.3f}, {row['nats_high']:.3f}]",
                "perplexity": round(row["perplexity"], 2),
                "bits": round(row["nats"] / 0.6931471805599453, 3),
            }
            for row in self.result["held_out"]
        ]
        first = self.result["held_out"][0]
        note = (
            f"{first['n_responses']:,} well-received responses to {first['n_posts']:,} test posts; intervals by post."
        )
        return ResultTable("Held-out human responses", rows, note)

    def _novelty(self) -> ResultTable:
        found = self.result["memorisation"]
        writer, human = found["writer"], found["human"]
        rows = [
            {"n": n + 1, "writer": share, "people": human["novelty"][n]} for n, share in enumerate(writer["novelty"])
        ]
        note = (
            f"Longest copied run: {writer['longest_copied_words']} words by the writer, "
            f"{human['longest_copied_words']} by people, in {found['n_samples']:,} responses each."
        )
        return ResultTable("Share of n-grams of words that no training response has", rows, note)

    def report(self) -> dict[str, Any]:
        """The JSON object that the command prints."""
        state = "finished" if self.result else "unfinished"
        return {
            "policy_id": self.policy_id,
            "state": state,
            "config": self.config,
            "result": self.result,
            "neighbours": self.neighbours,
        }


def show_policy(workspace: Workspace, policy_id: str) -> ShownPolicy:
    """What is known of a policy, finished or in training.

    Raises:
        CallError: there is no such policy; the message lists those that exist.
    """
    folder = policy_folder(workspace, policy_id)
    if not (folder / CONFIG).exists():
        existing = nearest(policy_id, workspace.names(POLICIES, CONFIG))
        raise CallError(
            f"There is no policy {policy_id!r} in {workspace.root} (policies: {existing}).", "See `lurker policy list`."
        )
    config = read_json(folder / CONFIG)
    result = read_json(folder / RESULT) if (folder / RESULT).exists() else {}
    neighbours = _neighbours(workspace, config, policy_id) if (folder / SAMPLES_FILE).exists() and result else []
    return ShownPolicy(policy_id, config, result, read_learning_curve(folder), neighbours)


def _neighbours(workspace: Workspace, config: dict[str, Any], policy_id: str) -> list[dict[str, Any]]:
    """The samples that copy most, with the training response most like each, as far as the pair set still has it."""
    samples = pl.read_parquet(policy_folder(workspace, policy_id) / SAMPLES_FILE)
    top = samples.sort("longest_copied_words", "similarity", descending=True, maintain_order=True).head(N_NEIGHBOURS)
    try:
        frame = read_pair_set(workspace, str(config["pairs"])).frame
    except LurkerError:  # the pair set is gone: the samples still tell
        frame = PAIRS.empty()
    rows = []
    for row in top.to_dicts():
        found = "no longer in the workspace" if row["nearest_id"] else "none"
        for side in ("chosen", "rejected") if row["nearest_id"] else ():
            match = frame.filter(pl.col(f"{side}_id") == row["nearest_id"])
            if match.height:
                found = match[side][0]
        rows.append(
            {
                "sample": _short(row["response"]),
                "copied": _short(row["copied"]),
                "words": row["longest_copied_words"],
                "nearest training response": _short(found),
                "similarity": round(row["similarity"], 2),
            }
        )
    return rows


def _short(text: str) -> str:
    return text if len(text) <= MAX_CHARS else f"{text[:MAX_CHARS]}…"
