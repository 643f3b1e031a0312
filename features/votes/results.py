"""What the votes of an arena say: raters, agreement, mistakes and ratings, in one report that a page can show."""

from collections.abc import Mapping
from typing import Any

from features.votes.agreement import agreement_matrix
from features.votes.alpha import alpha_interval
from features.votes.evidence import Evidence, read_evidence
from features.votes.mistakes import fit_mistakes, predict_held_out
from features.votes.raters import rater_figures, suspicious
from features.votes.ratings import rate_sources
from features.votes.report import ArenaResults, interval
from lurker.files import write_json
from lurker.votes.arenas import Arena

RESULTS_FILE = "results.json"
PROVISIONAL_BELOW = 50
"""Fewer votes than this say little, and the results say so."""


def arena_results(arena: Arena) -> ArenaResults:
    """Compute the report of an arena and write it to `votes/NAME/results.json`."""
    evidence = read_evidence(arena)
    main = evidence.main
    figures = rater_figures(evidence.votes) if evidence.votes.height else []
    doubted = suspicious(figures)
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
        "agreement": agreement_matrix(arena, evidence) if main.height else [],
        "mistakes": predict_held_out(main) if main.height else None,
        "ratings": rate_sources(main),
    }
    report["summary"] = _summary(report)
    write_json(report, arena.workspace.folder("votes", arena.name) / RESULTS_FILE)
    return ArenaResults(report)


def _with_slopes(evidence: Evidence, figures: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The raters with the slope and the bias of the mistake model."""
    if not figures:
        return []
    fitted = {row.pop("rater"): row for row in fit_mistakes(evidence.votes).raters.drop("n_votes").to_dicts()}
    return [row | fitted[row["rater"]] for row in figures]


def _summary(report: Mapping[str, Any]) -> str:
    """What may be claimed, in sentences, each by a rule."""
    n, design = report["n_votes"], report["design"]
    said = [
        f"{n:,} votes on {report['n_items']:,} items of {report['n_posts']:,} posts count, drawn by design {design}."
    ]
    if report["is_provisional"]:
        said.append(f"Provisional: fewer than {PROVISIONAL_BELOW} votes.")
    if (one := report["alpha"]) is None:
        said.append("No item has votes of two raters, so their agreement is not known.")
    else:
        said.append(f"Krippendorff's alpha is {interval(one, 'value')}.")
    if (one := report["alpha_without_suspicious"]) is not None:
        said.append(f"Without suspicious raters it is {interval(one, 'value')}.")
    pairs = {(row["first"], row["second"]): row for row in report["agreement"]}
    if (row := pairs.get(("raters", "reddit"))) is not None:
        known = "like a coin" if row["low"] <= 0.5 <= row["high"] else "more" if row["low"] > 0.5 else "less"
        known = known if known == "like a coin" else f"{known} often than a coin"
        shown = interval(row, "agreement")
        said.append(f"Raters agree with Reddit in {shown} of votes, {known}.")
    if report["mistakes"] is not None:
        said.append(report["mistakes"]["sentence"])
    return " ".join([*said, *report["alarms"]])
