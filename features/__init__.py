"""Preference pairs from Reddit's tables: recipes, matching, the frozen hard test and audits.

import lurker, features

ws = lurker.open("workspace")
pairs = features.build(ws, "balanced", name="balanced-gap5", min_score_gap=5)
features.audit(pairs)
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from features.api import arena_results as arena_results
    from features.api import audit as audit
    from features.api import build as build
    from features.api import compare as compare
    from features.api import describe as describe
    from features.api import export as export
    from features.api import import_judgements as import_judgements
    from features.api import load as load
    from features.api import natural_experiments as natural_experiments
    from features.api import presets as presets
    from features.api import rehydrate as rehydrate
    from features.api import second_opinion as second_opinion
    from features.api import two_looks as two_looks
    from features.api import votes_to_pairs as votes_to_pairs
    from features.recipes.recipe import Recipe as Recipe

__all__ = [
    "Recipe",
    "arena_results",
    "audit",
    "build",
    "compare",
    "describe",
    "export",
    "import_judgements",
    "load",
    "natural_experiments",
    "presets",
    "rehydrate",
    "second_opinion",
    "two_looks",
    "votes_to_pairs",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from features import api

        return getattr(api, name)
    raise AttributeError(f"module 'features' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
