"""Samples: the same whatever is sampled with them, resumed exactly, odd ones counted, bad input in one sentence."""

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import polars as pl
import pytest

from lurker.cli import run
from lurker.errors import CallError
from lurker.locks import locked
from lurker.pair_sets import read_pair_set
from lurker.schema import SAMPLES, check
from lurker.workspace import Workspace, open_workspace
from rm.policy import api, sample_file
from rm.policy.api import load_policy as open_policy
from rm.policy.api import sample
from rm.policy.causal import load_policy
from rm.policy.judged_samples import judged
from rm.policy.sampling import SamplingConfig, sample_with_vllm


@pytest.fixture
def workspace(first_writer: tuple[Path, dict[str, object]]) -> Workspace:
    """The workspace with the policy `first`; read-only."""
    return open_workspace(first_writer[0])


def call(workspace: Workspace, *arguments: str) -> int:
    return run(["--workspace", str(workspace.root), "policy", *arguments])


def test_samples_of_a_prompt_do_not_depend_on_the_others(workspace: Workspace) -> None:
    policy, pairs = open_policy(workspace, "first"), read_pair_set(workspace, "planted")
    many = check(sample(policy, pairs, n=5, reference="policy:first").frame, SAMPLES)
    assert many.height == 5 * pairs.frame.filter(split="test")["post_id"].n_unique()
    few = sample(policy, pairs, n=5, n_prompts=3).frame
    names = ["prompt_id", "sample", "response", "n_tokens", "is_finished"]
    assert few.select(names).equals(many.head(15).select(names))
    assert many["reference_log_prob"].to_numpy() == pytest.approx(many["log_prob"].to_numpy(), abs=1e-3)
    assert few["reference_log_prob"].null_count() == 15
    assert many["response"].n_unique() > many.height / 2
    other = sample(policy, pairs, n=5, n_prompts=3, seed=1).frame
    assert not other["response"].equals(few["response"])
    greedy = sample(policy, pairs, n=2, n_prompts=3, temperature=0.0).frame
    assert greedy.filter(sample=0)["response"].equals(greedy.filter(sample=1)["response"])


def test_an_interrupted_command_goes_on_with_the_same_samples(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sample_file, "SAMPLES_PER_PART", 12)
    command = ["sample", "first", "--pairs", "planted", "--n", "4", "--human", "--json", "--out"]
    assert call(workspace, *command, str(tmp_path / "whole.parquet")) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [one["source"] for one in printed["sources"]] == ["first", "human"]
    whole = check(pl.read_parquet(tmp_path / "whole.parquet"), SAMPLES)
    assert (whole["log_prob"].null_count(), whole.filter(source="human").height) == (24 * 4, 24 * 4)

    written = sample_file.write_parquet
    names: list[str] = []

    def stop_at_third(frame: pl.DataFrame, path: Path) -> None:
        names.append(path.name)
        if len(names) == 3:
            raise KeyboardInterrupt
        written(frame, path)

    monkeypatch.setattr(sample_file, "write_parquet", stop_at_third)
    assert call(workspace, *command, str(tmp_path / "parts.jsonl")) == 130
    parts = sorted((tmp_path / ".parts.jsonl.parts").glob("*.parquet"))
    assert len(parts) == 2
    parts[0].write_bytes(b"PAR1 cut")
    assert call(workspace, *command, str(tmp_path / "parts.jsonl")) == 0
    assert len(names) == len({*names}) + 2  # only the parts that were lost or cut are drawn again
    again = pl.read_ndjson(tmp_path / "parts.jsonl", schema=SAMPLES.schema)
    assert again.drop("log_prob").equals(whole.drop("log_prob"))
    assert not list(tmp_path.glob(".*"))


def test_a_file_has_one_writer(workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["sample", "first", "--pairs", "planted", "--prompts", "2", "--out", str(tmp_path / "a.parquet")]
    with locked(tmp_path / ".a.parquet.lock", waits=False):
        assert call(workspace, *command) == 1
    assert "is being written by another process" in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.iterdir())
    assert call(workspace, *command) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet"]


def test_other_samples_are_replaced_only_if_asked(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a.parquet"
    command = ["sample", "first", "--pairs", "planted", "--prompts", "2", "--out", str(out)]
    assert call(workspace, *command) == 0
    judged(workspace, out, ["length"])
    rewarded = out.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(api, "sample_prompts", None)  # the same command draws nothing
        assert call(workspace, *command) == call(workspace, *command, "--replace") == 0
    assert "is already finished" in capsys.readouterr().err
    assert call(workspace, *command, "--seed", "3", "--prompts", "1") == 2
    error = " ".join(capsys.readouterr().err.split())
    assert "seed was 0 and is 3 now; other prompts" in error and "--replace" in error
    assert out.read_bytes() == rewarded
    assert call(workspace, *command, "--seed", "3", "--replace") == 0
    assert "reward:length" not in pl.read_parquet(out).columns
    pl.read_parquet(out).write_parquet(out)  # as a program that knows no metadata
    assert call(workspace, *command) == 2
    assert "how they were drawn is not recorded" in " ".join(capsys.readouterr().err.split())


def test_prompts_from_a_file_are_cut_and_counted(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "the road"}\n{"prompt": "%s"}\n{"prompt": ""}\n' % ("was long " * 9000))
    out = tmp_path / "out.parquet"
    command = ["sample", "first", str(path), "--out", str(out), "--max-new-tokens", "3"]
    assert call(workspace, *command, "--max-prompt-tokens", "9999") == 0
    captured = capsys.readouterr()
    assert "1 of 3 prompts are cut to their first" in captured.err  # to what the context leaves
    assert "were cut at max_new_tokens" in captured.err
    frame = pl.read_parquet(out)
    assert frame["prompt_id"].to_list() == ["0", "1", "2"] and frame["n_tokens"].max() == 3
    assert frame["subreddit"].null_count() == 3


def test_empty_samples_are_counted() -> None:
    frame = SAMPLES.empty().vstack(
        pl.DataFrame(
            [["p", "q", None, "w", n, text, 1, n == 0, -1.0, None] for n, text in enumerate(("", "tea"))],
            schema=SAMPLES.schema,
            orient="row",
        )
    )
    assert list(sample_file.describe_samples(frame)) == [
        "1 of 2 samples are empty.",
        "1 of 2 samples were cut at max_new_tokens before their end.",
    ]
    row = sample_file.Samples(frame).table().rows[0]
    assert (row["empty"], row["unfinished"], row["distinct"]) == (1, 1, 2)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("first", "got neither"),
        ("first prompts.jsonl --pairs planted", "got both"),
        ("none --pairs planted", "'none' is no policy in"),
        ("none --pairs planted", "policy list`"),
        ("first --pairs planted --reference none", "'none' is no policy in"),
        ("policy:none --pairs planted", "finished policies: first"),
        ("scratch-10k --pairs planted", "random weights"),
        ("first --pairs planted --split dev", "train, validation, test, all, got 'dev'"),
        ("first --pairs planted --out a.csv", ".parquet or .jsonl"),
        ("first --pairs planted --top-p 0", "top_p must be above 0"),
        ("first --pairs planted --max-new-tokens 5000", "reads at most 4,096 tokens"),
        ("first missing.jsonl", "Cannot read prompts"),
        ("first cut.jsonl", """line 2 is no JSON object: '{"prompt": "b'."""),
        ("first empty.jsonl", "it is empty"),
        ("first good.jsonl --out ./good.jsonl", "would be overwritten"),
        ("first bad.jsonl", "no text in the column prompt"),
        ("first twice.jsonl", "names a prompt twice"),
        ("first good.jsonl --human", "for the posts of a pair set only"),
        ("first --pairs planted --engine vllm", "vLLM is not installed"),
    ],
)
def test_wrong_arguments_give_one_sentence(
    workspace: Workspace,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: str,
    complaint: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.jsonl").write_text('{"text": "a"}\n')
    (tmp_path / "cut.jsonl").write_text('{"prompt": "a"}\n{"prompt": "b')
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "good.jsonl").write_text('{"prompt": "a"}\n')
    (tmp_path / "twice.jsonl").write_text('{"prompt": "a", "prompt_id": 1}\n{"prompt": "b", "prompt_id": 1}\n')
    assert call(workspace, "sample", *arguments.split()) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert complaint in error and "Traceback" not in error
    assert (tmp_path / "good.jsonl").read_text() == '{"prompt": "a"}\n'


def test_vllm_is_asked_for_the_same_prompts(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_policy(workspace, "policy:first")
    end = model.tokenizer.eos_token_id
    asked = {}

    class Engine:
        def __init__(self, **settings: object) -> None:
            asked["settings"] = settings

        def generate(self, prompts: list[dict[str, list[int]]], settings: list[object], use_tqdm: bool) -> list[object]:
            asked["prompts"], asked["sampling"] = prompts, settings
            stopped = SimpleNamespace(token_ids=[7, 8], cumulative_logprob=-2.0, finish_reason="stop")
            cut = SimpleNamespace(token_ids=[7, 8, 9], cumulative_logprob=-3.0, finish_reason="length")
            return [SimpleNamespace(outputs=[stopped, cut]) for _ in prompts]

    module = ModuleType("vllm")
    module.LLM, module.SamplingParams = Engine, SimpleNamespace  # type: ignore[attr-defined]
    module.__spec__ = SimpleNamespace(name="vllm", origin=None)  # type: ignore[assignment]
    monkeypatch.setitem(sys.modules, "vllm", module)
    prompts = pl.DataFrame({"prompt_id": ["a", "b"], "prompt": ["tea", "rain"], "subreddit": ["x", "y"]})
    frame = sample_with_vllm("folder", model, prompts, SamplingConfig(n=2, max_new_tokens=3), "first")
    assert frame["prompt_id"].to_list() == ["a", "a", "b", "b"]
    assert frame["is_finished"].to_list() == [True, False] * 2
    assert frame["n_tokens"].to_list() == [3, 3] * 2 and frame["log_prob"].to_list() == [-2.0, -3.0] * 2
    sampling = asked["sampling"]
    assert sampling[0].seed != sampling[1].seed and sampling[0].stop_token_ids == [end]
    monkeypatch.delitem(sys.modules, "vllm")
    with pytest.raises(CallError, match="vLLM is not installed"):
        sample_with_vllm("folder", model, prompts, SamplingConfig(), "first")
