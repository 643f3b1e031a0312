"""Preference pairs -> reward models, their evaluation, experiments over many of them, and policies that write.

import lurker, rm
ws = lurker.open("workspace")
run = rm.train(pairs, model="scratch-200k", epochs=1)
run.evaluations, run.score(prompts, responses)
rm.scaling(pairs, models=["scratch-50k", "scratch-200k"], sizes=[1000, 4000]).plot()
rm.best_of_n(ws, rm.sample(rm.train_writer(pairs, "scratch-1m"), pairs, n=64), judge=run)
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rm.api import average as average
    from rm.api import ceiling as ceiling
    from rm.api import compare as compare
    from rm.api import diagnose as diagnose
    from rm.api import evaluate as evaluate
    from rm.api import export as export
    from rm.api import few_shot as few_shot
    from rm.api import load as load
    from rm.api import load_experiment as load_experiment
    from rm.api import recipes as recipes
    from rm.api import report as report
    from rm.api import scaling as scaling
    from rm.api import search as search
    from rm.api import train as train
    from rm.api import transfer as transfer
    from rm.policy.agent_api import Agents as Agents
    from rm.policy.agent_api import train_agent as train_agent
    from rm.policy.api import Policy as Policy
    from rm.policy.api import load_policy as load_policy
    from rm.policy.api import sample as sample
    from rm.policy.api import train_writer as train_writer
    from rm.policy.best_of_n_report import best_of_n as best_of_n
    from rm.policy.responses import responses as responses
    from rm.policy.sample_file import Samples as Samples
    from rm.policy.teacher import teachers as teachers
    from rm.runs.run import Run as Run

__all__ = [
    "Agents",
    "Policy",
    "Run",
    "Samples",
    "average",
    "best_of_n",
    "ceiling",
    "compare",
    "diagnose",
    "evaluate",
    "export",
    "few_shot",
    "load",
    "load_experiment",
    "load_policy",
    "recipes",
    "report",
    "responses",
    "sample",
    "scaling",
    "search",
    "teachers",
    "train",
    "train_agent",
    "train_writer",
    "transfer",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from rm import api

        return getattr(api, name)
    raise AttributeError(f"module 'rm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
