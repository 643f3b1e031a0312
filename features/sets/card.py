"""The dataset card of an export: how its pairs were made, what an audit says of them, whom they do not represent."""

from collections.abc import Sequence
from typing import Any

from lurker.report import cell

_USE = {
    "trl": "`prompt`, `chosen`, `rejected`, `margin` (difference of log(1 + score)), as TRL reads them.",
    "trl-conversational": "`prompt`, `chosen`, `rejected` as lists of messages, and `margin`, as TRL reads chats.",
    "shp": "The columns of Stanford Human Preferences; `labels` is 1 where A was preferred. They have no place for "
    "weights, offsets and label confidence: take another format to train with those.",
    "datasets": "Every column of the table of pairs, texts, scores, delays and lengths.",
    "ids": "Ids and labels without text; `lurker pairs rehydrate DIR --name NAME --fetch reddit` brings texts back.",
}

_TRAINING = """\
## Columns for training

`label_confidence` is P(chosen is truly liked more | both scores): a soft label or a filter. `weight` is its weight
in a mean: of balanced pairs the confounders say nothing only where it is heeded. `confounder_log_odds` is what the
confounders alone give chosen over rejected, 0 where it was not estimated: add it to the difference of the two rewards
in training, and leave it out at test.
"""

_TERMS = """\
## Terms

The texts belong to the people who wrote them; Reddit's user agreement and API terms govern their use, and no licence is
given here. Author names were never stored. People delete what they wrote: before you publish or train, look again
(`lurker ingest refresh --purge`) and export anew, or share the format `ids`, which holds no text.

## Whom it represents

Those who vote in these communities, and within a thread those who came while it was read. In the United States
Reddit's users are younger and more often male than adults at large (Pew Research Center, "Social Media Use in 2021");
other countries and languages are few. A vote is approval of a text in its place and moment: humour, agreement,
belonging and being first count as much as being right. Moderators, spam filters and the ranking of comments chose what
there was to vote on.

## Limits

- A score is a noisy count that Reddit blurs on purpose; `label_confidence` says how sure each label is if both
  responses had the same readers, and its mean is an upper bound on any model's accuracy.
- Responses that more people saw had more votes to win. The audit above says how well confounders alone name the winner;
  of those it did not see it cannot speak.
- Texts may be offensive, wrong, or about real people.
"""


def dataset_card(
    name: str,
    format_name: str,
    splits: Sequence[str],
    manifest: dict[str, Any],
    audit: dict[str, Any] | None,
    second_opinion: dict[str, Any] | None,
) -> str:
    """The card as Markdown with the front matter that `datasets.load_dataset` reads.

    Source: https://huggingface.co/docs/hub/datasets-cards, "Manual configuration".
    """
    return "\n".join(
        [
            *_front_matter(name, splits),
            f"# {name}: preference pairs from Reddit votes",
            "",
            f"{manifest['n_pairs']:,} pairs of responses to {manifest['n_posts']:,} posts of "
            f"{', '.join('r/' + subreddit for subreddit in manifest['subreddits'])}, chosen over rejected by score. "
            f"{_USE[format_name]} Splits are by post, by a hash of its id, so they stay as the data grows.",
            "",
            "## Audit: what a reader of no word knows",
            "",
            *_audit_lines(name, audit),
            "",
            *_second_opinion_lines(name, second_opinion),
            "",
            "## Recipe",
            "",
            f"`{manifest['recipe']['name']}`, with every rule as it was set:",
            "",
            *_table(("rule", "value"), [(rule, value) for rule, value in manifest["recipe"].items() if rule != "name"]),
            "",
            "## Ledger: what each rule dropped",
            "",
            *_ledger_lines(manifest["ledger"]),
            "",
            *([] if format_name == "shp" else [_TRAINING]),
            _TERMS,
        ]
    )


def _front_matter(name: str, splits: Sequence[str]) -> list[str]:
    files = [line for split in splits for line in (f"  - split: {split}", f"    path: data/{split}.parquet")]
    return [
        "---",
        f"pretty_name: {name}",
        "license: other",
        "license_name: reddit-user-agreement",
        "language: [en]",
        "tags: [reward-modeling, preference-pairs, reddit, lurker]",
        "configs:",
        "- config_name: default",
        "  data_files:",
        *files,
        "---",
        "",
    ]


def _audit_lines(name: str, audit: dict[str, Any] | None) -> list[str]:
    if audit is None:
        return [f"Not audited. `lurker pairs audit {name}`, then export again."]
    header = ("community", "split", "seen", "probe", "pairs", "accuracy", "95 % from", "to", "AUC")
    keys = ("subreddit", "split", "confounders", "probe", "n_pairs", "accuracy", "accuracy_low", "accuracy_high", "auc")
    # Of a single community what all confounders say together; its parts stand in audit.json.
    told = [row for row in audit["probes"] if row["subreddit"] == "all" or row["confounders"] == "joint"]
    probes = [tuple(cell(row[key]) for key in keys) for row in told]
    before = {row["confounder"]: row["smd"] for row in audit.get("differences_before", [])}
    differences = [
        (row["confounder"], cell(before.get(row["confounder"])), cell(row["smd"])) for row in audit["differences"]
    ]
    return [
        *(audit["verdict"], "", *_table(header, probes), ""),
        *(
            "Chosen minus rejected, in standard deviations, before balancing where there was any and in these pairs:",
            "",
        ),
        *_table(("confounder", "before", "here"), differences),
    ]


def _second_opinion_lines(name: str, found: dict[str, Any] | None) -> list[str]:
    if found is None:
        return [f"No second auditor was asked: `lurker pairs audit {name} --second-opinion`, then export again."]
    rows = [
        (
            row["split"],
            row["model"],
            cell(round(row["n_pairs"])),
            *(cell(row[key]) for key in ("accuracy", "low", "high")),
        )
        for row in found["models"]
    ]
    return [
        "A second auditor, which shares no code with the first, judged them "
        f"(cuts: {found['n_cuts']}). {found['verdict']}",
        "",
        *_table(("split", "model", "pairs", "accuracy", "95 % from", "to"), rows),
        "",
        "`style` sees how words are written (capitals, digits, ?, !), which may be taste: no part of the verdict.",
    ]


def _ledger_lines(ledger: dict[str, Any]) -> list[str]:
    rows = [
        (stage, reason, f"{n:,}")
        for stage, counts in ledger.items()
        for reason, n in [
            ("input", counts["input"]),
            *((line["reason"], line["n"]) for line in counts["dropped"]),
            ("kept", counts["kept"]),
        ]
    ]
    return _table(("stage", "reason", "rows"), rows)


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(str(value).replace("|", "\\|") for value in line) + " |" for line in lines]
