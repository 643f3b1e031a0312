"""What a notebook and the command line call to train agents."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from lurker.arguments import as_list
from lurker.config import fingerprint, to_dict
from lurker.decimals import decimal
from lurker.errors import CallError
from lurker.files import read_json
from lurker.report import Displayed, ResultTable
from lurker.workspace import AnyWorkspace, Workspace, as_workspace
from rm.models.ladder import slug
from rm.policy.agent import AgentRun, run_agent
from rm.policy.agent_config import Method, agent_config
from rm.policy.agent_curve import CURVE_FILE
from rm.policy.causal import load_policy
from rm.policy.judges import judge_name
from rm.policy.policy_folder import CONFIG, POLICIES, RESULT, model_of_policy, policy_folder
from rm.policy.rounds import train_rounds
from rm.training.identity import model_digest
from rm.training.run_folder import RUN_PREFIX, finished_run
from rm.training.settings import as_settings

MEASURES = ("proxy", "held-out", "truth", "win rate", "win rate at equal length", "length")


@dataclass(frozen=True, slots=True, repr=False)
class Agents(Displayed):
    """Trained agents: one, or one per round."""

    workspace: Workspace
    policy_ids: list[str]

    @property
    def results(self) -> list[dict[str, Any]]:
        """The content of each result.json."""
        return [read_json(policy_folder(self.workspace, one) / RESULT) for one in self.policy_ids]

    @property
    def curve(self) -> pl.DataFrame:
        """CURVE of all agents, with a column policy_id."""
        frames = [
            pl.read_parquet(policy_folder(self.workspace, one) / CURVE_FILE).with_columns(policy_id=pl.lit(one))
            for one in self.policy_ids
        ]
        return pl.concat(frames)

    def table(self) -> ResultTable:
        """Every evaluation: divergence, and what each judge says in the writer's standard deviations."""
        rows = []
        for (policy_id, step), part in self.curve.group_by("policy_id", "step", maintain_order=True):
            known = {row["measure"]: row for row in part.iter_rows(named=True)}
            row: dict[str, Any] = {"policy": policy_id, "step": step, "KL (nats)": decimal(part["kl"][0], 2)}
            for measure in MEASURES:
                if measure in known:
                    value, low, high = (decimal(known[measure][end], 2) for end in ("value", "low", "high"))
                    row[measure] = f"{value} [{low}, {high}]"
            rows.append(row)
        return ResultTable("Agents: " + " ".join(one["sentence"] for one in self.results), rows)


def train_agent(
    workspace: AnyWorkspace,
    writer: str,
    judge: Sequence[str] | str,
    *,
    method: Method = "grpo-pairwise",
    held_out: str | None = None,
    pairs: str | None = None,
    rounds: int | None = None,
    seed: int = 0,
    subreddits: Sequence[str] | str = (),
    policy_id: str | None = None,
    resume: bool = True,
    **agent_fields: Any,
) -> Agents:
    """Train an agent from a writer by a judge's rewards.

    The same call again resumes an agent that was interrupted and returns one that is finished.

    Args:
        workspace: where policies, runs and pair sets are.
        writer: SPEC of the policy to start from: "policy:ID", a Hugging Face id or a local folder.
        judge: "run:ID" or its ID, "truth" (a simulated Reddit) or "length"; with rounds also one for each round.
        method: "grpo-pairwise", "rloo", "online-dpo" or "dpo".
        held_out: judge that selects the weights and stops training.
        pairs: pair set whose posts are the prompts; that of the judge's run, or of the writer, when absent.
        rounds: number of agents, each from the one before.
        seed: of the prompts' order and of all samples.
        subreddits: communities; all of the pair set by default.
        policy_id: folder of the policy; made from the arguments by default.
        resume: False refuses a policy that exists.
        **agent_fields: fields of `rm.policy.agent_config.AgentConfig`, such as kl_weight=0.1.

    Raises:
        CallError: an argument is not possible, or the policy exists with other content.
        LurkerError: a judge knows the evaluation prompts or gives no signal, or training diverges.
    """
    opened = as_workspace(workspace)
    judges = [judge_name(one) for one in as_list(judge, "judge")]
    if len(judges) > 1 and len(judges) != rounds:
        asked = "without rounds" if rounds is None else f"for {rounds:,} rounds"
        raise CallError(
            f"{len(judges)} judges are named {asked}.",
            f"Name one, or one for each round: `--rounds {len(judges)}`.",
        )
    train = agent_config(load_policy(opened, writer).n_parameters, as_settings(agent_fields), method, seed)
    config = AgentRun(
        writer=writer,
        judge=judges[0],
        held_out=None if held_out is None else judge_name(held_out),
        pairs=pairs or _pairs_of(opened, judges[0], writer),
        train=train,
        subreddits=tuple(as_list(subreddits, "subreddits")),
    )
    policy_id = policy_id or _agent_id(opened, config, judges)
    if rounds is None:
        run_agent(opened, policy_id, config, resume=resume)
        return Agents(opened, [policy_id])
    of_rounds = judges if len(judges) > 1 else judges * rounds
    done = train_rounds(opened, policy_id, config, of_rounds, resume=resume)
    return Agents(opened, [f"{policy_id}-round{number}" for number in range(1, len(done) + 1)])


def _pairs_of(workspace: Workspace, judge: str, writer: str) -> str:
    """The pair set that the judge, or else the writer, was trained on.

    Raises:
        CallError: neither was.
    """
    if judge.startswith(RUN_PREFIX):
        return str(read_json(finished_run(workspace, judge.removeprefix(RUN_PREFIX).strip()) / CONFIG)["pairs"])
    folder = Path(model_of_policy(workspace, writer)).parent
    if folder.parent != workspace.root / POLICIES or not (folder / CONFIG).exists():
        raise CallError("No pair set is named whose posts could be prompts.", "Name one: `--pairs NAME`.")
    return str(read_json(folder / CONFIG)["pairs"])


def _agent_id(workspace: Workspace, config: AgentRun, judges: Sequence[str]) -> str:
    """The default id: method, judge, and a digest of all that determines the agent."""
    digest = fingerprint(to_dict(config), judges, model_digest(str(workspace.root / "policies" / config.writer)))[:8]
    return f"agent-{config.train.method}-{slug(judges[0].removeprefix(RUN_PREFIX))}-{digest}"
