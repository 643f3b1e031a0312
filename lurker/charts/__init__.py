"""Tables of audits and experiments -> Altair charts, the same in the dashboard, in notebooks and in reports.

Accuracies are shares, 0–1, where 0.5 is chance. Baselines, confounders and models look the same in every chart.
"""

from lurker.charts.arena import judges_by_group, raters_on_gold, source_ratings, votes_over_time
from lurker.charts.audit import ledger_bars, love_plot, probe_intervals
from lurker.charts.calibration import calibration_curve, reliability
from lurker.charts.ceiling import Ceiling, ceiling_intervals
from lurker.charts.community_map import community_correlations, community_map, community_plane
from lurker.charts.few_shot import few_shot_curves
from lurker.charts.findings import leaks, learned
from lurker.charts.learning import learning_accuracy, learning_losses
from lurker.charts.policy import policy_curves
from lurker.charts.recipes import recipe_accuracy, recipe_correlations, recipe_figures
from lurker.charts.scaling import Fitted, accuracy_by_data, accuracy_by_parameters
from lurker.charts.search import search_excess
from lurker.charts.transfer import transfer_heatmap, transfer_matrix

__all__ = [
    "Ceiling",
    "Fitted",
    "accuracy_by_data",
    "accuracy_by_parameters",
    "calibration_curve",
    "ceiling_intervals",
    "community_correlations",
    "community_map",
    "community_plane",
    "few_shot_curves",
    "judges_by_group",
    "leaks",
    "learned",
    "learning_accuracy",
    "learning_losses",
    "ledger_bars",
    "love_plot",
    "policy_curves",
    "probe_intervals",
    "raters_on_gold",
    "recipe_accuracy",
    "recipe_correlations",
    "recipe_figures",
    "reliability",
    "search_excess",
    "source_ratings",
    "transfer_heatmap",
    "transfer_matrix",
    "votes_over_time",
]
