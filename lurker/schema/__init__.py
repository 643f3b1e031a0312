"""Every table of a workspace: its columns with types, units and meanings.

Packages exchange data only through these tables, and check what they read and write with `check`. Times are seconds
since 1970 in UTC (`*_utc`) or durations in seconds (`*_s`). Ids are Reddit's base-36 ids without the `t1_`/`t3_`
prefix. Author names are in no table, only hashes salted per workspace.
"""

from lurker.schema.columns import (
    READABLE_VERSIONS,
    SCHEMA_VERSION,
    Column,
    Table,
    check,
    column_faults,
    with_newer_columns,
)
from lurker.schema.drift import BEST_OF_N, DRIFT
from lurker.schema.pairs import PAIRS
from lurker.schema.policies import CURVE, SAMPLES
from lurker.schema.reddit import COMMENTS, OBSERVATIONS, POSTS, TASTES, TRUTH, WORKSPACE_TABLES
from lurker.schema.results import (
    CEILING,
    EVALUATIONS,
    FEW_SHOT,
    FEW_SHOT_DIFFERENCES,
    PREDICTIONS,
    RECIPE_DIFFERENCES,
    RECIPES,
    SCALING,
    SEARCH,
    TRANSFER,
    TRANSFER_DIFFERENCES,
)
from lurker.schema.votes import ITEMS, RATERS, REMARKS, VOTES

__all__ = [
    "BEST_OF_N",
    "CEILING",
    "COMMENTS",
    "CURVE",
    "DRIFT",
    "EVALUATIONS",
    "FEW_SHOT",
    "FEW_SHOT_DIFFERENCES",
    "ITEMS",
    "OBSERVATIONS",
    "PAIRS",
    "POSTS",
    "PREDICTIONS",
    "RATERS",
    "READABLE_VERSIONS",
    "RECIPES",
    "RECIPE_DIFFERENCES",
    "REMARKS",
    "SAMPLES",
    "SCALING",
    "SCHEMA_VERSION",
    "SEARCH",
    "TASTES",
    "TRANSFER",
    "TRANSFER_DIFFERENCES",
    "TRUTH",
    "VOTES",
    "WORKSPACE_TABLES",
    "Column",
    "Table",
    "check",
    "column_faults",
    "with_newer_columns",
]
