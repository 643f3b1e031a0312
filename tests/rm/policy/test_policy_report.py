"""The report of policies: curves, alarms, best of n and commands in one page that holds no text of a response."""

import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import rm
from lurker.cli import run
from lurker.errors import CallError
from lurker.pair_sets import read_pair_set
from lurker.workspace import Workspace, open_workspace
from rm.policy.agent import AgentRun, run_agent
from tests.rm.policy.planted_policies import PolicyWorld
from tests.rm.policy.test_agent import BASE


@pytest.fixture(scope="module")
def reported(policy_world: PolicyWorld, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """An agent, and a writer whose samples two judges have read."""
    root = Path(shutil.copytree(policy_world.workspace.root, tmp_path_factory.mktemp("report") / "ws"))
    workspace = open_workspace(root)
    train = replace(BASE, steps=8, evaluate_every=4, evaluation_prompts=30)
    config = AgentRun(writer=str(policy_world.writer), judge="length", held_out="truth", pairs="planted", train=train)
    run_agent(workspace, "agent", config, resume=False)
    pairs = read_pair_set(workspace, "planted")
    settings = {"min_steps": 4, "epochs": 1, "max_response_tokens": 24, "n_memorisation_prompts": 3}
    writer = rm.train_writer(pairs, "scratch-10k", policy_id="writer", vocabulary_size=400, **settings)
    drawn = rm.sample(writer, pairs, n=4, n_prompts=12, out=root / "samples" / "writer.parquet")
    for judge in ("length", "truth"):
        rm.best_of_n(workspace, drawn, judge)
    return workspace


def test_a_page_has_curves_alarms_and_the_command_and_no_text(
    reported: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["policy", "report", "agent", "writer", "--out", str(tmp_path / "out"), "--json"]
    assert run(["--workspace", str(reported.root), *arguments]) == 0, capsys.readouterr().out
    page = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert "2 policies" in page and page.count("<svg") == 4
    assert "Alarms at step" in page and "Best of n by length" in page
    assert "Training stopped after step 8 of 8" in page
    assert "lurker policy train-agent" in page and "--held-out truth" in page
    texts = read_pair_set(reported, "planted").frame["chosen"].to_list()
    assert not any(text in page for text in texts)
    names = {path.name for path in (tmp_path / "out/figures").iterdir()}
    assert run(["--workspace", str(reported.root), "policy", "show", "agent"]) == 0
    assert "held_out" in capsys.readouterr().out
    assert {f"agent-{what}-agent-6.8in.pdf" for what in ("rewards", "wins")} <= names
    assert "writer-rewards-best-by-truth-writer-3.3in.svg" in names


def test_the_command_of_a_report_makes_the_policy_again(reported: Workspace, tmp_path: Path) -> None:
    page = rm.report(reported, rm.load_policy(reported, "writer"), tmp_path / "page.html").page
    command = page.read_text(encoding="utf-8").partition("<pre>")[2].partition("\n")[0]
    again = shlex.split(command)[1:]
    again[again.index("--id") + 1] = "again"
    assert run(["--workspace", str(reported.root), *again]) == 0
    first, second = (rm.load_policy(reported, name).result for name in ("writer", "again"))
    assert first["held_out"] == second["held_out"]


def test_what_cannot_be_reported_is_said(reported: Workspace, tmp_path: Path) -> None:
    with pytest.raises(CallError, match="There is no policy 'none'"):
        rm.report(reported, "policy:none", tmp_path / "out")
    copied = open_workspace(Path(shutil.copytree(reported.root, tmp_path / "ws")))
    copied.folder("policies", "agent").joinpath("curve.parquet").write_bytes(b"PAR1 cut")
    written = rm.report(copied, ["policy:agent", "policy:writer"], tmp_path / "page.html")
    assert len(written.problems) == 1 and "is damaged" in written.problems[0]
