from pathlib import Path

import pytest

from lurker.errors import LurkerError
from lurker.files import write_json
from lurker.hard_tests import require_one_hard_test
from lurker.workspace import Workspace, open_workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return open_workspace(tmp_path / "workspace", create=True)


def save(workspace: Workspace, name: str, **hard_test: str) -> None:
    content = {"recipe": {"name": "matched"}, "hard_test": hard_test}
    write_json(content, workspace.folder("pairs", name) / "manifest.json")


def test_sets_built_with_another_hard_test_are_named(workspace: Workspace) -> None:
    with pytest.raises(LurkerError, match="no pair set 'hard-test'"):
        require_one_hard_test(workspace, [])
    save(workspace, "hard-test", alpha="a" * 64, beta="b" * 64)
    save(workspace, "mine", alpha="a" * 64)
    require_one_hard_test(workspace, ["mine", "hard-test"])
    save(workspace, "old", alpha="c" * 64)
    with pytest.raises(LurkerError, match=r"old was built with another hard test of r/alpha \(cccccccccccc\)") as error:
        require_one_hard_test(workspace, ["mine", "old"])
    assert error.value.next_step == "Build it again: `lurker pairs build old --recipe matched`."
    save(workspace, "elsewhere", gamma="d" * 64)
    with pytest.raises(LurkerError, match=r"r/gamma .* than the frozen one \(none\)"):
        require_one_hard_test(workspace, ["elsewhere"])
