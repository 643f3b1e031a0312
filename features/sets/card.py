"""The dataset card of an export: how the pairs were made, what the audits found, whom they represent."""

from collections.abc import Sequence
from typing import Any

from lurker.confounders import CONFOUNDER_NAMES
from lurker.report import cell

_USE = {
    "trl": "`prompt`, `chosen`, `rejected`, `margin` (difference of log(1 + score)), as TRL reads them.",
    "trl-conversational": "`prompt`, `chosen`, `rejected` as lists of messages, and `margin`, as TRL reads chats.",
    "shp": "The columns of Stanford Human Preferences; `labels` is 1 if A was preferred. They do not include "
    "weights, offsets and label confidence: use another format to train with those.",
    "datasets": "Every column of the table of pairs: texts, scores, delays and lengths.",
    "ids": "Ids and labels without text; `lurker pairs rehydrate DIR --name NAME --fetch reddit` restores the texts.",
}

_TRAINING = """\
## Columns for training

`label_confidence` is P(chosen is truly liked more | both scores): a soft label or a filter. `weight` is the pair's
weight in a mean; balanced pairs are only balanced if it is used. `confounder_log_odds` is the log-odds of chosen over
rejected given the confounders alone, 0 if not estimated: add it to the difference of the two rewards in training, and
leave it out at test.
"""

_TERMS = """\
## Terms

The texts belong to the people who wrote them; Reddit's user agreement and API terms govern their use, and no licence is
given here. Author names were never stored. People delete what they wrote: before you publish or train, check again
(`lurker ingest refresh --purge`) and export again, or share the format `ids`, which has no texts.

## Whom it represents

People who vote in these communities, and in each thread those who came while it was active. In the United States
Reddit's users are younger and more often male than adults in general (Pew Research Center, "Social Media Use in 2021");
other countries and languages are rare. A vote is approval of a text in its context: humour, agreement, belonging and
being first count as much as being right. Moderators, spam filters and the ranking of comments decided what could be
voted on.

## Limits

- A score is a noisy count that Reddit perturbs on purpose; `label_confidence` is the confidence in each label if both
  responses had the same readers, and its mean is an upper bound on any model's accuracy.
- Responses that more people saw could win more votes. The audit above measures how well the confounders it knows name
  the winner; it cannot measure others.
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
    """The card as Markdown, with the front matter that `datasets.load_dataset` reads.

    Source: https://huggingface.co/docs/hub/datasets-cards, "Manual configuration".
    """
    return "\n".join(
        [
            *_front_matter(name, splits),
            f"# {name}: preference pairs from Reddit votes",
            "",
            f"{manifest['n_pairs']:,} pairs of responses to {manifest['n_posts']:,} posts of "
            f"{', '.join('r/' + subreddit for subreddit in manifest['subreddits'])}, chosen over rejected by score. "
            f"{_USE[format_name]} Posts are split by a hash of their id, so splits do not change as the data grows.",
            "",
            "## Audit: what can be predicted without reading the text",
            "",
            *_audit_lines(name, audit),
            "",
            *_second_opinion_lines(name, second_opinion),
            "",
            "## Recipe",
            "",
            f"`{manifest['recipe']['name']}`, with all its fields:",
            "",
            *_table(
                ("field", "value"), [(field, value) for field, value in manifest["recipe"].items() if field != "name"]
            ),
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
        return [f"Not audited. Run `lurker pairs audit {name}`, then export again."]
    header = ("community", "split", "confounders", "probe", "pairs", "accuracy", "95 % from", "to", "AUC")
    keys = ("subreddit", "split", "confounders", "probe", "n_pairs", "accuracy", "accuracy_low", "accuracy_high", "auc")
    # Of a single community only all confounders together; audit.json has the rest.
    rows = [row for row in audit["probes"] if row["subreddit"] == "all" or row["confounders"] == "joint"]
    named = [row | {"confounders": CONFOUNDER_NAMES.get(row["confounders"], row["confounders"])} for row in rows]
    probes = [tuple(cell(row[key]) for key in keys) for row in named]
    before = {row["confounder"]: row["smd"] for row in audit.get("differences_before", [])}
    differences = [
        (row["confounder"], cell(before.get(row["confounder"])), cell(row["smd"])) for row in audit["differences"]
    ]
    return [
        *(audit["verdict"], "", *_table(header, probes), ""),
        *(
            "Chosen minus rejected, in standard deviations, before balancing (if any) and in these pairs:",
            "",
        ),
        *_table(("confounder", "before", "in these pairs"), differences),
    ]


def _second_opinion_lines(name: str, opinion: dict[str, Any] | None) -> list[str]:
    if opinion is None:
        return [
            f"Not checked by the second auditor. Run `lurker pairs audit {name} --second-opinion`, then export again."
        ]
    rows = [
        (
            row["split"],
            row["model"],
            cell(round(row["n_pairs"])),
            *(cell(row[key]) for key in ("accuracy", "low", "high")),
        )
        for row in opinion["models"]
    ]
    return [
        "A second auditor, which shares no code with the first, checked the pairs "
        f"(random re-splits: {opinion['n_cuts']}). {opinion['verdict']}",
        "",
        *_table(("split", "model", "pairs", "accuracy", "95 % from", "to"), rows),
        "",
        "`style` sees how words are written (capitals, digits, ?, !), which may be taste; it is not in the verdict.",
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
