"""What the votes of an arena say: raters, agreement, mistakes and ratings, in one report that a page can show."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from features.votes.agreement import agreement_matrix, difference_of_runs
from features.votes.alpha import alpha_interval
from features.votes.evidence import Evidence, read_evidence
from features.votes.held_out import by_rater_group, sentence
from features.votes.judges import machine_judges
from features.votes.mistakes import fit_mistakes, predict_held_out, vote_confidence
from features.votes.raters import rater_figures, suspicious
from features.votes.ratings import rate_sources
from features.votes.report import ArenaResults, interval
from lurker.files import write_json, write_parquet
from lurker.votes.arenas import JUDGED_FILE, RESULTS_FILE, Arena
from lurker.votes.store import read_votes

HOUR_S = 3_600
PROVISIONAL_BELOW = 50
"""Fewer votes than this say little, and the results say so."""


def arena_results(arena: Arena) -> ArenaResults:
    """Compute the report of an arena and write it to `votes/NAME/results.json`.

    `judged.parquet` beside it has the votes that count, each with the probability that it is right.
    """
    evidence = read_evidence(arena)
    main = evidence.main
    figures = rater_figures(evidence.votes) if evidence.votes.height else []
    doubted = suspicious(figures)
    judges = machine_judges(arena, evidence.items) if main.height else {}
    report = {
        "arena": arena.name,
        "mode": arena.config.mode,
        "design": arena.design,
        "n_votes": main.height,
        "n_items": main["item_id"].n_unique(),
        "n_posts": main["post_id"].n_unique(),
        "is_provisional": main.height < PROVISIONAL_BELOW,
        "ledger": evidence.ledger.to_dict(),
        "alarms": evidence.alarms,
        "raters": _with_slopes(evidence, figures),
        "alpha": alpha_interval(main) if main.height else None,
        "alpha_without_suspicious": alpha_interval(main, doubted) if doubted and main.height else None,
        "agreement": agreement_matrix(evidence, judges) if main.height else [],
        "rater_groups": by_rater_group(evidence, judges),
        "difference_of_runs": difference_of_runs(evidence, judges, arena.runs),
        "mistakes": predict_held_out(main) if main.height else None,
        "ratings": rate_sources(main),
        "timeline": _timeline(read_votes(arena.workspace, arena.name)),
        "reveal": arena.config.reveal,
    }
    report["headline"] = _headline(report)
    report["summary"] = _summary(report)
    if evidence.votes.height:
        judged = vote_confidence(evidence.votes, fit_mistakes(evidence.votes))
        write_parquet(judged, arena.workspace.folder("votes", arena.name) / JUDGED_FILE)
    write_json(report, arena.workspace.folder("votes", arena.name) / RESULTS_FILE)
    return ArenaResults(report)


def _timeline(votes: pl.DataFrame) -> list[dict[str, Any]]:
    """Votes that raters did not take back, by hour: start of the hour (seconds since 1970), votes and raters."""
    standing = votes.filter(pl.col("undone_utc").is_null())
    hours = standing.group_by(start_utc=pl.col("voted_utc") // HOUR_S * HOUR_S)
    return hours.agg(votes=pl.len(), raters=pl.col("rater").n_unique()).sort("start_utc").to_dicts()


def _with_slopes(evidence: Evidence, figures: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The raters with the slope and the bias of the mistake model."""
    if not figures:
        return []
    fitted = {row.pop("rater"): row for row in fit_mistakes(evidence.votes).raters.drop("n_votes").to_dicts()}
    return [row | fitted[row["rater"]] for row in figures]


def _headline(report: Mapping[str, Any]) -> str:
    """The first thing that may be claimed: an order of sources only where tiers differ, agreement beside a coin."""
    if report["ratings"]:
        leaders = [row["source"] for row in report["ratings"] if row["tier"] == 1]
        said = (
            f"{leaders[0]} is rated best" if len(leaders) == 1 else f"{', '.join(leaders)}: not told apart at the top"
        )
    elif (row := _with_reddit(report)) is not None:
        if row["low"] <= 0.5 <= row["high"]:
            said = "Cannot tell whether raters agree with Reddit more often than a coin does"
        else:
            said = f"Raters agree with Reddit {'more' if row['low'] > 0.5 else 'less'} often than a coin does"
    else:
        said = f"{report['n_votes']:,} votes count"
    return f"Provisional: {said}" if report["is_provisional"] else said


def _with_reddit(report: Mapping[str, Any]) -> dict[str, Any] | None:
    """The row of raters against Reddit."""
    rows = (row for row in report["agreement"] if (row["first"], row["second"]) == ("raters", "reddit"))
    return next(rows, None)


def _summary(report: Mapping[str, Any]) -> str:
    """What may be claimed, in sentences, each by a rule."""
    n, design = report["n_votes"], report["design"]
    said = [
        f"{n:,} votes on {report['n_items']:,} items of {report['n_posts']:,} posts count, drawn by design {design}.",
    ]
    if report["is_provisional"]:
        said.append(f"Fewer than {PROVISIONAL_BELOW} votes are provisional.")
    if (one := report["alpha"]) is None:
        said.append("No item has votes of two raters, so their agreement is not known.")
    else:
        said.append(f"Krippendorff's alpha is {interval(one, 'value')}.")
    if (one := report["alpha_without_suspicious"]) is not None:
        said.append(f"Without suspicious raters it is {interval(one, 'value')}.")
    if (row := _with_reddit(report)) is not None:
        said.append(f"Raters agree with Reddit in {interval(row, 'agreement')} of votes; 0.5 is a coin.")
    said += [one["sentence"] for one in (report["difference_of_runs"], report["mistakes"]) if one is not None]
    if said_of_groups := sentence(report["rater_groups"]):
        said.append(said_of_groups)
    if report["reveal"] == "source":
        said.append("Raters learned after each vote what wrote the responses, which may have swayed later votes.")
    return " ".join([*said, *report["alarms"]])
