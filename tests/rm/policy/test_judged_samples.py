"""Best of n and teachers by command, on samples whose judges need no training: length and the simulator's truth."""

import json

import polars as pl
import pytest

import rm
from ingest.api import simulate
from lurker.cli import run
from lurker.errors import CallError, LurkerError
from lurker.schema import BEST_OF_N, SAMPLES, check
from lurker.workspace import open_workspace
from rm.policy import judged_samples
from rm.policy.judged_samples import read_samples

N = 8


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A simulation, and eight of its comments as samples of each of 40 prompts, with one that a person wrote."""
    workspace = open_workspace(tmp_path_factory.mktemp("judged") / "ws", create=True)
    simulate(workspace, n_posts=200, n_subreddits=1)
    texts = workspace.connect().sql("SELECT body FROM comments ORDER BY comment_id").pl()["body"].to_list()
    rows = [
        {"prompt_id": f"p{prompt}", "prompt": f"what of {prompt}", "subreddit": "SimStories"}
        | {"source": "writer" if sample < N else "human", "sample": sample % N, "response": texts[9 * prompt + sample]}
        | {"n_tokens": 9, "is_finished": True, "log_prob": None, "reference_log_prob": None}
        for prompt in range(40)
        for sample in range(N + 1)
    ]
    write = check(pl.DataFrame(rows, schema=SAMPLES.schema), SAMPLES)
    (workspace.root / "samples").mkdir()
    write.write_parquet(workspace.root / "samples" / "w.parquet")
    write.write_ndjson(workspace.root / "samples" / "w.jsonl")
    (workspace.root / "simulated" / "none.jsonl").write_text('{"text": "no sample"}', encoding="utf-8")
    return workspace.root


def call(root, capsys, *arguments):
    assert run(["--workspace", str(root), "policy", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_best_by_length_is_longer_and_no_better(root, capsys):
    """The simulator's quality does not depend on length."""
    found = call(root, capsys, "best-of-n", str(root / "samples/w.parquet"), "--judge", "length", "--truth")
    rows = pl.DataFrame(found["best_of_n"], schema=BEST_OF_N.schema)
    assert rows["n"].unique().sort().to_list() == [1, 2, 4, 8]
    last = {row["measure"]: row for row in rows.filter(n=8).iter_rows(named=True)}
    assert last["length"]["value"] > 10
    assert last["truth"]["low"] < 0 < last["truth"]["high"] or abs(last["truth"]["value"]) < 0.4
    assert last["proxy"]["win_rate"] is None
    stored = check(pl.read_parquet(root / "samples/w.length.best-of-n.parquet"), BEST_OF_N)
    assert stored.equals(rows)
    first, best = found["texts"][:2]
    assert len(best["response"].split()) >= len(first["response"].split())
    assert [fit["measure"] for fit in found["over_optimisation"]] == ["proxy", "truth"]


def test_rewards_are_added_once(root, capsys, monkeypatch):
    path = str(root / "samples/w.jsonl")
    first = call(root, capsys, "best-of-n", path, "--judge", "truth", "--n", "1,4")
    assert "reward:truth" in read_samples(root / "samples/w.jsonl").columns
    monkeypatch.setattr(judged_samples, "open_judge", None)  # a second call judges nothing
    assert call(root, capsys, "best-of-n", path, "--judge", "truth", "--n", "1,4") == first


@pytest.mark.parametrize("damaged", [float("nan"), "high", None])
def test_rewards_that_are_no_numbers_are_given_again(root, tmp_path, damaged):
    workspace, rows = open_workspace(root), read_samples(root / "samples/w.parquet").select(list(SAMPLES.columns))
    rows.with_columns(pl.lit(damaged).alias("reward:length")).write_parquet(tmp_path / "w.parquet")
    found = rm.best_of_n(workspace, tmp_path / "w.parquet", "length", sizes=[1, 4]).frame
    assert found.equals(rm.best_of_n(workspace, rm.Samples(rows), "length", sizes=[1, 4]).frame)
    assert read_samples(tmp_path / "w.parquet")["reward:length"].is_finite().all()


def test_a_column_of_another_type_is_named(root, tmp_path):
    rows = read_samples(root / "samples/w.parquet").with_columns(sample=pl.lit("first"))
    rows.write_parquet(tmp_path / "w.parquet")
    with pytest.raises(CallError, match="column sample holds String, and Int64 is needed"):
        read_samples(tmp_path / "w.parquet")
    with pytest.raises(CallError, match="it is a folder"):
        read_samples(tmp_path)


def test_responses_do_not_replace_the_samples(root):
    path = root / "samples/w.parquet"
    before = path.read_bytes()
    with pytest.raises(CallError, match="would be overwritten"):
        rm.responses(open_workspace(root), path, out=path)
    assert path.read_bytes() == before


def test_drawn_samples_are_judged_without_a_file_and_two_judges_have_a_file_each(root):
    workspace, rows = open_workspace(root), read_samples(root / "samples/w.parquet").select(list(SAMPLES.columns))
    before = set((root / "samples").iterdir())
    drawn = rm.best_of_n(workspace, rm.Samples(rows), "length", with_truth=True, sizes=[1, 4])
    assert drawn.files == [] and "reward:length" not in rows.columns
    assert set((root / "samples").iterdir()) == before
    assert "Best of n" in str(drawn)
    assert rm.teachers(workspace, rm.Samples(rows), "length", n=4).rows[0].judge == "length"
    rows.write_parquet(root / "samples/both.parquet")
    for judge in ("length", "truth"):
        found = rm.best_of_n(workspace, root / "samples/both.parquet", judge, sizes=[1, 4])
        assert [path.name for path in found.files] == [f"both.{judge}.best-of-n.{end}" for end in ("parquet", "json")]
        if judge == "length":
            assert found.frame.equals(drawn.frame.filter(pl.col("measure") != "truth"))


def test_length_teaches_length_and_no_quality(root, capsys):
    path = root / "samples" / "taught.parquet"
    pl.read_parquet(root / "samples/w.parquet").select(list(SAMPLES.columns)).write_parquet(path)
    found = call(root, capsys, "teachers", str(path), "--judge", "length", "--n", "4")
    (length,) = found["teachers"]
    assert abs(length["gain"]) < 0.5
    assert length["length_correlation"] == pytest.approx(1, abs=0.02)
    assert length["accuracy"] is None
    assert found["outcome"] == "truth"
    assert (root / "samples" / "taught.teachers.json").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["best-of-n", "samples/w.parquet", "--judge", "nobody"], "nobody"),
        (["best-of-n", "samples/none.parquet", "--judge", "length"], "Cannot read samples from"),
        (["best-of-n", "lurker.json", "--judge", "length"], "lurker.json: line 1 is no JSON object"),
        (["best-of-n", "simulated/none.jsonl", "--judge", "length"], "has no column prompt_id"),
        (
            ["best-of-n", "samples/w.parquet", "--judge", "length", "--n", "1,x"],
            "--n takes whole numbers from 1, got 'x'",
        ),
        (["best-of-n", "samples/w.parquet", "--judge", "length", "--n", "99"], "best of 99 cannot be told from 8"),
        (["best-of-n", "samples/w.parquet", "--judge", "length", "--held-out", "length"], "cannot be held out"),
        (["teachers", "samples/w.parquet", "--judge", "truth"], "Judges and outcome must differ"),
        (["teachers", "samples/w.parquet", "--judge", "length", "--judge", "length"], "Judges and outcome must differ"),
    ],
)
def test_what_cannot_be_judged_is_named(root, capsys, arguments, said):
    paths = [str(root / one) if "/" in one or one.endswith(".json") else one for one in arguments]
    assert run(["--workspace", str(root), "policy", *paths]) == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_samples_of_two_policies_are_refused(root, capsys):
    rows = pl.read_parquet(root / "samples/w.parquet")
    other = rows.filter(pl.col("source") != "human").with_columns(source=pl.lit("other"))
    pl.concat([rows, other]).write_parquet(root / "samples/two.parquet")
    assert run(
        ["--workspace", str(root), "policy", "best-of-n", str(root / "samples/two.parquet"), "--judge", "length"]
    )
    assert "has those of other, writer" in " ".join(capsys.readouterr().err.split())


def test_samples_that_stand_twice_count_once_and_different_ones_of_one_number_are_refused(root, capsys, tmp_path):
    rows = pl.read_parquet(root / "samples/w.parquet").select(list(SAMPLES.columns))
    rows.write_parquet(tmp_path / "once.parquet")
    pl.concat([rows, rows]).write_parquet(tmp_path / "twice.parquet")
    found = []
    for name in ("once", "twice"):
        path = str(tmp_path / f"{name}.parquet")
        assert run(["--workspace", str(root), "policy", "best-of-n", path, "--judge", "length", "--json"]) == 0
        printed = capsys.readouterr()
        found.append(json.loads(printed.out)["best_of_n"])
    assert found[0] == found[1]
    assert f"{rows.height} rows are left out: their samples are there already" in " ".join(printed.err.split())
    twice = rm.Samples(pl.concat([rows, rows]))
    assert judged_samples.judged(open_workspace(root), twice, ["length"])[0].height == rows.height

    other = rows.filter(prompt_id="p3", sample=2, source="writer").with_columns(response=pl.lit("another"))
    pl.concat([rows, other]).write_ndjson(tmp_path / "differ.jsonl")
    with pytest.raises(CallError, match="different responses as sample 2 of writer to prompt 'p3'"):
        read_samples(tmp_path / "differ.jsonl")


def test_responses_of_all_sources_stand_side_by_side(root, capsys, tmp_path):
    rows = read_samples(root / "samples/w.parquet").select(list(SAMPLES.columns))
    rows = rows.with_columns(response=pl.when(prompt_id="p0", sample=0).then(pl.lit("")).otherwise("response"))
    rows.write_parquet(tmp_path / "w.parquet")
    other = rows.filter(pl.col("source") != "human").with_columns(source=pl.lit("agent"))
    other.write_parquet(tmp_path / "a.parquet")
    files = [str(tmp_path / name) for name in ("w.parquet", "a.parquet")]
    out = str(tmp_path / "all.jsonl")
    found = call(
        root, capsys, "responses", *files, "--judge", "length", "--best-of", "4", "--prompts", "9", "--out", out
    )
    names = ["writer", "human", "writer, best of 4", "agent", "agent, best of 4"]
    assert sorted(row["source"] for row in found["sources"]) == sorted(names)
    both = pl.read_ndjson(out)
    assert both.columns == ["prompt_id", "prompt", "topic", "source", "response", "reward"]
    assert both["prompt_id"].n_unique() == 9 and both.select("prompt_id", "source").is_unique().all()
    assert (both["response"] != "").all()
    of_writer = {row["source"]: row for row in both.filter(prompt_id="p1").iter_rows(named=True)}
    first_four = rows.filter(pl.col("sample") < 4, prompt_id="p1", source="writer")["response"].to_list()
    assert of_writer["writer"]["response"] == first_four[0]
    assert of_writer["writer, best of 4"]["response"] == max(first_four, key=lambda text: len(text.split()))
    assert run(["--workspace", str(root), "arena", "serve", "sides", "--responses", out, "--dry-run"]) == 0


def test_responses_that_cannot_be_compared_are_refused(root):
    workspace, samples = open_workspace(root), root / "samples/w.parquet"
    with pytest.raises(CallError, match="needs a judge"):
        rm.responses(workspace, samples, best_of=4)
    with pytest.raises(CallError, match=f"best of {2 * N} needs as many samples, got {N}"):
        rm.responses(workspace, samples, judge="length", best_of=2 * N)
    alone = rm.Samples(read_samples(samples).filter(pl.col("source") != "human"))
    with pytest.raises(LurkerError, match="No prompt is answered by two sources"):
        rm.responses(workspace, alone)
