"""A trained reward model with its run: what evaluation, diagnosis and scoring start from."""

from dataclasses import dataclass
from pathlib import Path

from lurker.files import read_json
from lurker.workspace import CACHE, Workspace
from rm.models.ladder import RewardModel, load
from rm.models.scorer import move_to_device
from rm.training.run_folder import CONFIG, RunConfig, finished_run, run_config


@dataclass(frozen=True, slots=True)
class TrainedRun:
    """A reward model on its device, and the run it belongs to."""

    workspace: Workspace
    run_id: str
    config: RunConfig
    reward_model: RewardModel

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.workspace.folder("runs", self.run_id)

    @property
    def cache(self) -> Path:
        """Folder of what later runs can reuse, such as embeddings."""
        return self.workspace.root / CACHE


def load_trained(workspace: Workspace, run_id: str) -> TrainedRun:
    """Load the model of a finished run onto this machine's device.

    Raises:
        CallError: there is no such finished run.
    """
    folder = finished_run(workspace, run_id)
    reward_model = load(folder / "model")
    move_to_device(reward_model.model, reward_model.n_parameters)
    return TrainedRun(workspace, run_id, run_config(read_json(folder / CONFIG)), reward_model)
