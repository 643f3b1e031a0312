"""Independent tasks, each with the CPUs, GPUs and memory it needs -> results as they finish, or in order.

They run in processes of this machine (`local`) or on a Ray cluster (`ray`).
"""

from lurker.engine.outcome import Outcome
from lurker.engine.ray import running
from lurker.engine.resources import THREAD_VARIABLES, Resources
from lurker.engine.tasks import Engine, gpus_available, map_in_order, require_engine, run_tasks, write_behind

__all__ = [
    "THREAD_VARIABLES",
    "Engine",
    "Outcome",
    "Resources",
    "gpus_available",
    "map_in_order",
    "require_engine",
    "run_tasks",
    "running",
    "write_behind",
]
