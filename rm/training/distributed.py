"""Several processes that train one model: each on its share of every step's pairs, with a copy of the model or a shard.

    accelerate launch --num_processes 4 -m lurker rm train NAME --model SPEC [--set is_sharded=true]
    torchrun --nproc_per_node 4 -m lurker rm train NAME --model SPEC

Any launcher that sets torch.distributed's environment will do. Losses are those of one process, whatever the number:
a step's pairs are the same, each process adds its share of the loss, and gradients are summed. Copies are kept equal by
DistributedDataParallel, shards by FSDP2's fully_shard: torch's own, which Accelerate wraps too, but for GPUs alone.
Sources: Li et al. 2020, "PyTorch distributed"; Zhao et al. 2023, "PyTorch FSDP".
"""

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from rm.models.layers import classifier_of, layers_of
from rm.pairs.tokens import Indices


@dataclass(frozen=True, slots=True)
class Team:
    """This process among those that train together; alone by default."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes and speaks for all."""
        return self.rank == 0

    def share(self, numbers: Indices) -> Indices:
        """This process's part of what all work on: neighbours stay together; empty when there is too little."""
        return np.array_split(numbers, self.size)[self.rank]

    def total(self, value: float) -> float:
        """The sum of a value over the processes."""
        return (
            float(self._reduced(torch.tensor(value, dtype=torch.float64), dist.ReduceOp.SUM))
            if self.size > 1
            else value
        )

    def most(self, number: int) -> int:
        """The largest of a number over the processes."""
        return int(self._reduced(torch.tensor(number), dist.ReduceOp.MAX)) if self.size > 1 else number

    def summed(self, values: Tensor) -> Tensor:
        """The sum of a tensor over the processes, on its own device."""
        return self._reduced(values, dist.ReduceOp.SUM) if self.size > 1 else values

    def wait(self) -> None:
        """Go on when all are here."""
        if self.size > 1:
            dist.barrier()

    def _reduced(self, values: Tensor, operation: Any) -> Tensor:
        held = values.cuda() if dist.get_backend() == "nccl" else values.cpu()
        dist.all_reduce(held, op=operation)
        return held.to(values.device)


def join_team() -> Team:
    """The team that a launcher started this process for; alone when none did."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size < 2:
        return Team()
    if not dist.is_initialized():
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    return Team(dist.get_rank(), size)


def wrapped(scorer: Any, team: Team, is_sharded: bool) -> nn.Module:
    """The scorer as the training loop calls it: itself, a synchronised copy, or sharded in place."""
    if team.size == 1:
        return scorer  # type: ignore[no-any-return]
    if not is_sharded:
        return nn.parallel.DistributedDataParallel(scorer)
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(next(scorer.parameters()).device.type, (team.size,))
    for layer in layers_of(classifier_of(scorer.model)):
        fully_shard(layer, mesh=mesh)
    fully_shard(scorer, mesh=mesh)
    scorer.n_rounds = team.most  # a shard is needed by all at once: each process runs as many packs as the busiest
    return scorer  # type: ignore[no-any-return]


def is_sharded(model: nn.Module) -> bool:
    """Whether a process holds only a part of the weights."""
    from torch.distributed.fsdp import FSDPModule

    return any(isinstance(module, FSDPModule) for module in model.modules())
