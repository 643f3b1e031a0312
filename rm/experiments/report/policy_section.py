"""One policy of a report: where it came from, what it gained at what distance, and which alarms ring."""

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from lurker import charts
from lurker.charts.figure import Figure
from lurker.charts.look import largest
from lurker.charts.policy import WIN_RATES
from lurker.config import to_dict
from lurker.decimals import interval
from lurker.drift import ringing
from lurker.errors import CallError, LurkerError
from lurker.files import read_json, read_object
from lurker.report import ResultTable
from lurker.workspace import Workspace
from rm.experiments.report.section import Section, machines, pair_sets
from rm.experiments.report.words import ONE_SEED, SIMULATED, is_simulated
from rm.models.ladder import LADDER
from rm.policy.agent_api import Agents
from rm.policy.agent_config import AgentConfig
from rm.policy.agent_curve import CURVE_FILE, DRIFT_FILE
from rm.policy.agent_evaluation import HELD_OUT, PROXY, TRUTH_MEASURE
from rm.policy.agent_points import FITS_FILE
from rm.policy.best_of_n_report import BEST
from rm.policy.policy_folder import policy_folder
from rm.policy.show import ShownPolicy, show_policy
from rm.policy.writer_config import WriterConfig, writer_config

REWARDS = (PROXY, HELD_OUT, TRUTH_MEASURE)
REWARD_AXIS = "reward, standard deviations of the writer"
BY_PROMPT = "Bands: 95 % intervals, clustered by prompt."
JUDGED = (
    "Rewards are standardised: 0 is the writer's mean, 1 the standard deviation of the writer's responses to one "
    "prompt. Intervals are at 95 % and clustered by prompt. The divergence is the mean log-ratio of drawn responses to "
    "the writer, in nats per response."
)
LEARNED = (
    "Held-out losses are of well-received responses to posts that were never learned; intervals are at 95 % and "
    "clustered by post."
)
JUDGES_ARE_NO_PEOPLE = (
    "A judge is a reward model: what it prefers is what it learned from votes, not what people would say of them."
)
ALARMS = "Silence of the alarms proves nothing: read what the policy writes. No text is in this report."


def read_policy_section(workspace: Workspace, policy_id: str) -> Section:
    """The section of a policy; one that is damaged has a `problem`.

    Raises:
        CallError: there is no policy of this id.
    """
    try:
        shown = show_policy(workspace, policy_id)
        return _section(workspace, shown)
    except CallError:
        raise
    except LurkerError as error:
        return Section(policy_id, "", "", "", str(error), of="policy")
    except (KeyError, OSError, TypeError, ValueError, pl.exceptions.PolarsError) as error:
        problem = f"A file of {policy_folder(workspace, policy_id)} is damaged ({type(error).__name__}: {error})."
        return Section(policy_id, "", "", "", problem, of="policy")


def _section(workspace: Workspace, shown: ShownPolicy) -> Section:
    folder, kind = policy_folder(workspace, shown.policy_id), str(shown.config["kind"])
    n_steps = len(shown.curve.steps)
    partial = "" if shown.result else f"{shown.policy_id} is unfinished after {n_steps:,} steps: repeat its command."
    curve = pl.read_parquet(folder / CURVE_FILE) if (folder / CURVE_FILE).exists() else None
    figures = [] if curve is None else [*_of_agent(folder, shown.policy_id, curve)]
    tables = [table for table in shown.tables() if table.rows and not table.title.startswith("Samples")]
    if kind == "agent" and shown.result:
        tables.append(ResultTable("Evaluations", Agents(workspace, [shown.policy_id]).table().rows))
    if (folder / DRIFT_FILE).exists():
        tables.append(_alarms(pl.read_parquet(folder / DRIFT_FILE)))
    for judge, path in best_of_n_files(workspace, shown.policy_id).items():
        drawn, table = _best_of_n(shown.policy_id, judge, path)
        figures += drawn
        tables.append(table)
    environment = folder / "env.json"
    facts = [{"environment": read_object(environment)}] if environment.exists() else []
    background = [pair_sets(workspace, {str(shown.config["pairs"])}), machines(facts)]
    simulated = [SIMULATED] if is_simulated(workspace) else []
    limits = [ALARMS, JUDGES_ARE_NO_PEOPLE] if kind == "agent" else [JUDGES_ARE_NO_PEOPLE] if figures else []
    return Section(
        name=shown.policy_id,
        kind=kind,
        sentence=_sentence(shown),
        partial=partial,
        problem="",
        figures=figures,
        tables=tables,
        data=curve,
        method=[_origin(shown.config), JUDGED if kind == "agent" else LEARNED],
        limits=[*simulated, ONE_SEED, *limits],
        command=f"{policy_command(shown)}\nlurker policy report {shown.policy_id}",
        background=[table for table in background if table.rows],
        of="policy",
    )


def best_of_n_files(workspace: Workspace, policy_id: str) -> dict[str, Path]:
    """Judge -> BEST_OF_N of the policy's samples in the workspace's folder of samples."""
    found = sorted((workspace.root / "samples").glob(f"{policy_id}.*{BEST}.parquet"))
    return {path.name.removeprefix(f"{policy_id}.").removesuffix(f"{BEST}.parquet"): path for path in found}


def _sentence(shown: ShownPolicy) -> str:
    """What may be claimed: how an agent ended, or how well a writer predicts people beside what it is compared with."""
    if said := shown.result.get("sentence"):
        return str(said)
    rows = [row for row in shown.result.get("held_out", []) if row["unit"] == "token"]
    parts = [f"{row['predictor']} {interval(row['nats'], row['nats_low'], row['nats_high'])}" for row in rows]
    return f"Nats per token of held-out human responses: {', '.join(parts)}." if parts else ""


def _origin(config: Mapping[str, Any]) -> str:
    """What a policy started from and learned from, in a sentence."""
    pairs = config["pairs"]
    if config["kind"] == "agent":
        held_out = f", and {config['held_out']} said when to stop" if config["held_out"] else ""
        return (
            f"{config['start'] or config['writer']} was trained by {config['train']['method']} on the training posts "
            f"of {pairs}; {config['judge']} rewarded{held_out}. Its evaluation prompts are test posts."
        )
    return f"{_model(config)} was fine-tuned on well-received responses to the training posts of {pairs}."


def _of_agent(folder: Path, name: str, curve: pl.DataFrame) -> Iterator[Figure]:
    """Rewards and win rates by distance."""
    fits = read_json(folder / FITS_FILE) if (folder / FITS_FILE).exists() else {}
    rows = curve.with_columns(label=pl.format("step {}", "step"))
    yield from _curves(name, rows, f"{int(largest(curve['n_prompts'])):,} prompts", fits)


def _best_of_n(name: str, judge: str, path: Path) -> tuple[list[Figure], ResultTable]:
    """What the best by one judge is worth: figures and a table."""
    frame = pl.read_parquet(path)
    rows = frame.with_columns(label=pl.format("best of {}", "n"))
    about = f"best of n by {judge}, {int(largest(frame['n_prompts'])):,} prompts"
    figures = list(_curves(name, rows, about, read_json(path.with_suffix(".json")), f"-best-by-{judge}"))
    shown: list[dict[str, Any]] = []
    for n in frame["n"].unique().sort():
        of_n = {row["measure"]: row for row in frame.filter(n=n).iter_rows(named=True)}
        row: dict[str, Any] = {"n": n, "KL (nats)": round(of_n[PROXY]["kl"], 2) + 0.0}  # no minus before a zero
        shown.append(row | {measure: _interval(one) for measure, one in of_n.items()})
    note = "Gains over a single sample in standard deviations of samples to one prompt; length in words."
    return figures, ResultTable(f"Best of n by {judge}", shown, note)


def _curves(name: str, rows: pl.DataFrame, about: str, fits: Mapping[str, Any], suffix: str = "") -> Iterator[Figure]:
    """Rewards, and win rates where there are any, by the distance from the writer."""
    fitted = fits.get("over_optimisation") or []
    peaks = {one["measure"]: one["peak_distance"] for one in fitted if one.get("peak_distance")}
    rewards = rows.filter(pl.col("measure").is_in(REWARDS))
    note = f"{BY_PROMPT} Dashed: the writer.{' Dotted: the fitted peak, its interval below.' if peaks else ''}"
    drawn = charts.policy_curves(rewards, REWARD_AXIS, peaks=peaks)
    yield Figure(f"rewards{suffix}", name, "Rewards by distance from the writer", about, drawn, note)
    won = rows.filter(pl.col("measure").is_in(WIN_RATES))
    if won.height:
        drawn = charts.policy_curves(won, "share of the writer's responses beaten", zero=0.5)
        note = f"{BY_PROMPT} Dashed: a coin."
        yield Figure(f"wins{suffix}", name, "Win rate by distance from the writer", about, drawn, note)


def _alarms(rows: pl.DataFrame) -> ResultTable:
    last = rows.filter(pl.col("step") == rows["step"].max())
    shown = [
        {"alarm": row["alarm"], "value": _interval(row), "people": round(row["reference"], 3)}
        | {"rings": "yes" if row["is_ringing"] else "no"}
        for row in last.iter_rows(named=True)
    ]
    said = " ".join(ringing(rows)) or "None rings."
    return ResultTable(f"Alarms at step {last['step'][0]:,}", shown, said)


def policy_command(shown: ShownPolicy) -> str:
    """The `lurker policy train-writer` or `train-agent` call that made a policy, from its config."""
    config = shown.config
    common = [word for name in config["subreddits"] for word in ("--subreddit", name)]
    common += ["--seed", str(config["train"]["seed"]), "--id", shown.policy_id]
    if config["kind"] == "agent":
        words = ["train-agent", config["start"] or config["writer"], "--judge", config["judge"]]
        words += ["--held-out", config["held_out"]] if config["held_out"] else []
        words += ["--method", config["train"]["method"], "--pairs", config["pairs"]]
        defaults = to_dict(AgentConfig(learning_rate=1.0))
        given = {name: value for name, value in config["train"].items() if name not in ("seed", "method")}
    else:
        model = _model(config)
        words = ["train-writer", config["pairs"], "--model", model]
        known = writer_config(model, 0, []) if model in LADDER else WriterConfig(learning_rate=1.0)
        defaults = to_dict(known)
        given = {name: value for name, value in config["train"].items() if name != "seed"}
    settings = [f"{name}={value}" for name, value in given.items() if value != defaults[name]]
    return shlex.join(["lurker", "policy", *words, *common, *(word for one in settings for word in ("--set", one))])


def _model(config: Mapping[str, Any]) -> str:
    """What a writer started from, as a command names it: the model of a policy or run by its id."""
    folder = Path(config["model"])
    if config.get("parents") and folder.name == "model":
        return f"{'policy' if folder.parents[1].name == 'policies' else 'run'}:{folder.parent.name}"
    return str(config["model"])


def _interval(row: Mapping[str, Any]) -> str:
    return interval(row["value"], row["low"], row["high"])
