"""Names of the groups of confounders, the same in tables, charts, dataset cards and pages."""

CONFOUNDER_NAMES = {
    "time": "time",
    "order": "order",
    "length": "length",
    "form": "formatting",
    "calendar": "hour and weekday",
    "author": "author's past",
    "joint": "all confounders",
    "text": "text (TF-IDF)",
}
"""Key in audit.json -> name for people. `joint` adds properties of the post; `text` is the baseline that reads it."""
