"""Rounds of agents: each starts where the last one stopped, and all measure their divergence from one writer.

Source: iterated training against a judge, as in Stiennon et al. 2020 and Bai et al. 2022; a round whose judge learned
from new votes on the last one's responses closes the loop.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lurker.progress import say
from lurker.workspace import Workspace
from rm.policy.agent import AgentRun, run_agent
from rm.policy.policy_folder import POLICY_PREFIX


def train_rounds(
    workspace: Workspace, policy_id: str, config: AgentRun, judges: Sequence[str], *, resume: bool
) -> list[dict[str, Any]]:
    """Train one agent per round, each from the one before; finished rounds are not trained again.

    A round that gained nothing is the last one: the next would start from the same weights.

    Args:
        workspace: where policies, runs and pair sets are.
        policy_id: the rounds are `ID-round1`, `ID-round2`, ...
        config: of the first round.
        judges: of each round.
        resume: continue what was interrupted.

    Returns:
        The content of each round's result.json.
    """
    results: list[dict[str, Any]] = []
    for number, judge in enumerate(judges, 1):
        start = config.start if number == 1 else f"{POLICY_PREFIX}{policy_id}-round{number - 1}"
        train = replace(config.train, seed=config.train.seed + number - 1)
        of_round = replace(config, start=start, judge=judge, train=train)
        results.append(run_agent(workspace, f"{policy_id}-round{number}", of_round, resume=resume))
        say(f"Round {number} of {len(judges)}: {results[-1].get('sentence', '')}")
        if results[-1] and results[-1]["best_step"] == 0 and number < len(judges):
            say(f"Round {number} gained nothing, so the rounds end here.")
            break
    return results
