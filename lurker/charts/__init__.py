"""Frames -> Altair charts: pure functions with one look.

Accuracies are shares, 0–1; 0.5 is a coin. What is a baseline, a confounder or a model looks the same on every page.
"""

from lurker.charts.audit import ledger_waterfall, love_plot, probe_intervals
from lurker.charts.overview import reach
from lurker.charts.recipes import recipe_accuracy, recipe_following
from lurker.charts.scaling import accuracy_by_data, accuracy_by_parameters
from lurker.charts.summaries import recipe_figures, scaling_curve, transfer_matrix
from lurker.charts.transfer import transfer_heatmap

__all__ = [
    "accuracy_by_data",
    "accuracy_by_parameters",
    "ledger_waterfall",
    "love_plot",
    "probe_intervals",
    "reach",
    "recipe_accuracy",
    "recipe_figures",
    "recipe_following",
    "scaling_curve",
    "transfer_heatmap",
    "transfer_matrix",
]
