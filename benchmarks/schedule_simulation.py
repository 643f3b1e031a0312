"""A discrete-event simulation of stages of tasks on machines that may be slow, die and be replaced."""

import heapq
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

HOUR_S = 3600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Cluster:
    """Machines. Assumptions."""

    n_nodes: int
    cores: int = 16
    task_cores: int = 4
    """cores of one task: as many as one file can feed"""
    node_gb_s: float = 1.0
    """shared storage, read and written by one machine"""
    storage_gb_s: float = 40.0
    """shared storage, all machines together"""
    slow_share: float = 0.03
    """machines that take `slow_factor` times as long"""
    slow_factor: float = 2.0
    spread: float = 0.2
    """standard deviation of the logarithm of a task's time"""
    mean_hours_to_death: float = 1_000.0
    """of one machine"""
    repair_s: float = 600.0
    """until a machine that died is replaced"""
    dollars_per_hour: float = 0.7
    """of one machine"""


@dataclass(frozen=True, slots=True)
class Task:
    """Work that one machine does."""

    stage: str
    core_s: float
    """on one core of a machine that is not slow"""
    cores: int
    gigabytes: float = 0.0
    """read from and written to shared storage"""
    saved_every_s: float = 0.0
    """seconds between checkpoints, from which it continues elsewhere; 0: it starts from nothing"""


@dataclass(slots=True)
class Node:
    """A machine while the simulation runs."""

    slow: float
    free: int
    generation: int = 0
    """deaths so far: events of an earlier one do not count"""
    running: dict[int, tuple[float, float]] = field(default_factory=dict)
    """task -> when it started, and what the complete task takes here, seconds"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a simulated schedule took."""

    ends_s: dict[str, float]
    """when each stage was finished"""
    finished: list[tuple[str, int]]
    """stage and number of each task, in the order in which they were finished"""
    used_core_s: float
    """cores times time that finished tasks took, without what was lost"""
    lost_core_s: float
    """cores times time since the last checkpoint or the start, of tasks whose machine died"""
    n_deaths: int
    n_again: int
    """attempts that had to start again"""

    @property
    def total_s(self) -> float:
        """From the first start to the last end."""
        return max(self.ends_s.values())


def simulate(stages: Sequence[Sequence[Task]], cluster: Cluster, seed: int) -> Outcome:
    """Run the stages, one after the other, on machines that are slow or die.

    Raises:
        ValueError: a task needs more cores than a machine has.
    """
    rng = np.random.default_rng(seed)
    simulation = Simulation(cluster, rng)
    ends_s = {}
    for tasks in stages:
        storage_s = sum(task.gigabytes for task in tasks) / cluster.storage_gb_s
        earliest_s = simulation.now_s + storage_s
        simulation.now_s = ends_s[tasks[0].stage] = max(simulation.run(tasks), earliest_s)
    return Outcome(
        ends_s=ends_s,
        finished=simulation.finished,
        used_core_s=simulation.used_core_s,
        lost_core_s=simulation.lost_core_s,
        n_deaths=simulation.n_deaths,
        n_again=simulation.n_again,
    )


class Simulation:
    """Machines and a clock; `run` moves the clock to the end of a stage."""

    def __init__(self, cluster: Cluster, rng: np.random.Generator) -> None:
        self.cluster = cluster
        self.rng = rng
        self.now_s = 0.0
        self.used_core_s = self.lost_core_s = 0.0
        self.n_deaths = self.n_again = 0
        self.finished: list[tuple[str, int]] = []
        self.share_left: list[float] = []
        """of each task of the stage, what no checkpoint holds"""
        self.events: list[tuple[float, int, str, int, int, int]] = []
        """time, order of ties, kind, machine, its generation, task"""
        self.ties = itertools.count()
        is_slow = rng.random(cluster.n_nodes) < cluster.slow_share
        self.nodes = [Node(cluster.slow_factor if slow else 1.0, cluster.cores) for slow in is_slow.tolist()]
        for number in range(cluster.n_nodes):
            self._schedule_death(number)

    def run(self, tasks: Sequence[Task]) -> float:
        """Do all tasks, the largest first; the time when the last one is finished."""
        if most := [task for task in tasks if task.cores > self.cluster.cores]:
            raise ValueError(f"a task needs {most[0].cores} cores, and a machine has {self.cluster.cores}")
        left = len(tasks)
        self.share_left = [1.0] * left
        waiting = [(-task.core_s, index) for index, task in enumerate(tasks)]
        heapq.heapify(waiting)
        free = list(range(len(self.nodes)))
        """machines that may have cores left"""
        while left:
            while waiting and free:
                number = free[-1]
                index = waiting[0][1]
                if self.nodes[number].free < tasks[index].cores:
                    free.pop()
                    continue
                heapq.heappop(waiting)
                self._start(number, index, tasks[index])
            time_s, _, kind, number, generation, index = heapq.heappop(self.events)
            self.now_s = max(self.now_s, time_s)  # shared storage may have held a stage's end back
            node = self.nodes[number]
            if kind == "repair":
                node.free = self.cluster.cores
                free.append(number)
                self._schedule_death(number)
            elif generation != node.generation:
                continue  # of a machine that died meanwhile
            elif kind == "death":
                for again in self._kill(number, tasks):
                    heapq.heappush(waiting, (-tasks[again].core_s, again))
            else:
                started_s, _ = node.running.pop(index)
                node.free += tasks[index].cores
                free.append(number)
                self.used_core_s += tasks[index].cores * (self.now_s - started_s)
                self.finished.append((tasks[index].stage, index))
                left -= 1
        return self.now_s

    def _start(self, number: int, index: int, task: Task) -> None:
        """Reserve the cores and schedule the end."""
        node = self.nodes[number]
        node.free -= task.cores
        luck = float(np.exp(self.cluster.spread * self.rng.standard_normal()))
        shared_gb_s = self.cluster.node_gb_s * task.cores / self.cluster.cores
        whole_s = max(luck * node.slow * task.core_s / task.cores, task.gigabytes / shared_gb_s)
        node.running[index] = (self.now_s, whole_s)
        self._push(whole_s * self.share_left[index], "end", number, node.generation, index)

    def _kill(self, number: int, tasks: Sequence[Task]) -> list[int]:
        """A machine dies: the tasks that it ran, which start again from their last checkpoint."""
        node = self.nodes[number]
        lost = list(node.running)
        for index, (started_s, whole_s) in node.running.items():
            ran_s, task = self.now_s - started_s, tasks[index]
            kept_s = ran_s - ran_s % task.saved_every_s if task.saved_every_s else 0.0
            self.share_left[index] -= kept_s / whole_s
            self.used_core_s += task.cores * kept_s
            self.lost_core_s += task.cores * (ran_s - kept_s)
        self.n_deaths += 1
        self.n_again += len(lost)
        node.generation += 1
        node.running.clear()
        node.free = 0
        self._push(self.cluster.repair_s, "repair", number, node.generation, -1)
        return lost

    def _schedule_death(self, number: int) -> None:
        delay_s = self.rng.exponential(self.cluster.mean_hours_to_death * HOUR_S)
        self._push(float(delay_s), "death", number, self.nodes[number].generation, -1)

    def _push(self, delay_s: float, kind: str, number: int, generation: int, index: int) -> None:
        heapq.heappush(self.events, (self.now_s + delay_s, next(self.ties), kind, number, generation, index))
