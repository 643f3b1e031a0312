"""Data-parallel training: each process works on its share of every step, with a copy of the model or a shard of it.

    accelerate launch --num_processes 4 -m lurker rm train NAME --model SPEC [--set is_sharded=true]
    torchrun --nproc_per_node 4 -m lurker rm train NAME --model SPEC

Any launcher that sets the environment variables of torch.distributed works. Losses do not depend on the number of
processes: a step reads the same examples, each process adds its share of the loss, and gradients are summed.
DistributedDataParallel keeps copies in sync; FSDP2's `fully_shard` splits the model. Both come from torch; Accelerate
wraps them too, but FSDP2 on GPUs only.
Source: Li et al. 2020, "PyTorch distributed"; Zhao et al. 2023, "PyTorch FSDP".
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
class Processes:
    """This process and the number of processes that train together."""

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and messages for all."""
        return self.rank == 0

    def share(self, indices: Indices) -> Indices:
        """This process's contiguous part of the indices; empty when there are fewer indices than processes."""
        return np.array_split(indices, self.count)[self.rank]

    def sum_value(self, value: float) -> float:
        """Sum of a number over processes, in float64."""
        if self.count == 1:
            return value
        return float(_all_reduce(torch.tensor(value, dtype=torch.float64), dist.ReduceOp.SUM))

    def max_value(self, value: int) -> int:
        """Largest value over processes."""
        return int(_all_reduce(torch.tensor(value), dist.ReduceOp.MAX)) if self.count > 1 else value

    def sum_tensor(self, values: Tensor) -> Tensor:
        """Elementwise sum of a tensor over processes, on the tensor's device."""
        return _all_reduce(values, dist.ReduceOp.SUM) if self.count > 1 else values

    def wait(self) -> None:
        """Block until every process arrives here."""
        if self.count > 1:
            dist.barrier()


def join_processes() -> Processes:
    """Join the process group that a launcher started this process for; a single process without a launcher."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count > 1 and not dist.is_initialized():
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    return current_processes()


def current_processes() -> Processes:
    """The processes joined so far, as torch.distributed knows them; a single one when none were joined."""
    return Processes(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else Processes()


def distribute(network: Any, is_sharded: bool) -> nn.Module:
    """Prepare a network for training by all processes.

    Args:
        network: Computes losses; its `model` is a transformers model.
        is_sharded: Split weights over processes instead of copying them.

    Returns:
        The network itself (alone, or sharded in place), or its synchronised copy.
    """
    processes = current_processes()
    if processes.count == 1:
        return network  # type: ignore[no-any-return]
    if not is_sharded:
        return nn.parallel.DistributedDataParallel(network)
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(next(network.parameters()).device.type, (processes.count,))
    for layer in layers_of(classifier_of(network.model)):
        fully_shard(layer, mesh=mesh)
    fully_shard(network, mesh=mesh)
    # All processes gather a shard at once, so each must run as many batches as the busiest.
    network.n_batches_to_run = processes.max_value
    return network  # type: ignore[no-any-return]


def is_sharded(model: nn.Module) -> bool:
    """Whether this process holds only a part of the weights."""
    from torch.distributed.fsdp import FSDPModule

    return any(isinstance(module, FSDPModule) for module in model.modules())


def _all_reduce(values: Tensor, operation: Any) -> Tensor:
    moved = values.cuda() if dist.get_backend() == "nccl" else values.cpu()
    dist.all_reduce(moved, op=operation)
    return moved.to(values.device)
