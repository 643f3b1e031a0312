"""A writer trained by the command on the planted pairs, shared by the tests of this folder."""

import json
import shutil
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from lurker.cli import run
from lurker.workspace import Workspace, open_workspace
from tests.rm.conftest import planted_workspace
from tests.rm.policy.planted_policies import policy_world

__all__ = ["policy_world"]

QUICK = [
    *("--set", "epochs=1", "--set", "min_steps=12", "--set", "vocabulary_size=400"),
    *("--set", "max_response_tokens=24", "--set", "n_memorisation_prompts=12", "--set", "learning_rate=0.0133"),
]
"""A writer in a second, with a rate at which twelve steps teach something."""


@pytest.fixture(scope="session")
def first_writer(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    """The root of a workspace with the policy `first`, and what the command printed; read-only."""
    root = planted_workspace(tmp_path_factory.mktemp("writer") / "workspace").root
    arguments = ["policy", "train-writer", "planted", "--model", "scratch-10k", "--id", "first", "--json", *QUICK]
    with redirect_stdout(StringIO()) as printed:
        assert run(["--workspace", str(root), *arguments]) == 0
    return root, json.loads(printed.getvalue())


@pytest.fixture
def writer_workspace(first_writer: tuple[Path, dict[str, object]], tmp_path: Path) -> Workspace:
    """A copy of the workspace with the policy `first`."""
    return open_workspace(Path(shutil.copytree(first_writer[0], tmp_path / "writer-workspace")))
