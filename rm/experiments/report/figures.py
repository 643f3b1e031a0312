"""The figures of an experiment, by kind, from its table alone."""

from collections.abc import Callable
from typing import Any

import polars as pl

from lurker import charts
from lurker.charts.figure import Figure
from lurker.charts.look import largest
from lurker.decimals import counted
from lurker.errors import LurkerError
from lurker.files import read_object
from lurker.pair_sets import AUDIT_FILE
from lurker.seeds import mean_over_seeds, seeds_in_words
from lurker.workspace import Workspace
from rm.experiments.ceiling import CeilingResult
from rm.experiments.few_shot import FewShot
from rm.experiments.recipe_comparison import Recipes
from rm.experiments.results import ExperimentResult
from rm.experiments.scaling import Scaling
from rm.experiments.search import Search
from rm.experiments.transfer import Transfer

BY_POST = "Bars: 95 % intervals, clustered by post."
OF_BOTH = "Bands: 95 % intervals of test posts and, with two seeds or more, of seeds."
TRUTH = "truth"
ROW_PX, LINE_PX, CELL_PX = 24, 14, 42
"""Height of a row, of one of several marks in a row, and of a cell of a heatmap."""
N_ALONE = 2
"""Rows of a comparison of recipes besides its pair sets: length alone and time alone."""


def figures(result: ExperimentResult) -> list[Figure]:
    """The figures of a result, the most important first; none of an experiment without a row to draw."""
    return [] if result.frame.is_empty() else _FIGURES[type(result)](result)


def _scaling(result: Scaling) -> list[Figure]:
    curve = mean_over_seeds(result.frame)
    models = curve.filter(~pl.col("is_baseline"))
    if models.is_empty():
        return []
    test = str(result.frame["test_pairs"][0])
    truth = _truth(result.experiment.workspace, test)
    trained = f"Trained on {result.frame['pairs'][0]}, tested on {_tested(result.frame)}"
    fit = charts.Fitted.of(result.fit.curve, result.fit.figures) if result.fit.x == "pairs" else None
    by_data = charts.accuracy_by_data(curve, truth, fit)
    seeds = f"; {seeds_in_words(models['n_seeds'])}"
    dashed = "" if fit is None or fit.curve.is_empty() else f" {fit.note}"
    drawn = [
        Figure(
            "accuracy-by-data",
            test,
            "Accuracy against training pairs",
            f"{trained}{seeds}",
            by_data,
            f"{OF_BOTH} Grey lines are baselines.{dashed}",
        )
    ]
    if models["n_parameters"].n_unique() > 1:
        sizes = models["n_train_pairs"].unique().sort().to_list()
        shown = {sizes[0], sizes[len(sizes) // 2], sizes[-1]}  # more bands than three hide each other
        by_size = charts.accuracy_by_parameters(models.filter(pl.col("n_train_pairs").is_in(list(shown))))
        title = "Accuracy against model size"
        drawn.append(Figure("accuracy-by-size", test, title, f"{trained}{seeds}", by_size, OF_BOTH))
    return drawn


def _transfer(result: Transfer) -> list[Figure]:
    matrix = charts.transfer_matrix(result.frame, result.differences).filter(pl.col("predictor") == result.model)
    test, n_pairs = str(result.frame["test_pairs"][0]), _most(matrix["n_train_pairs"])
    on = f"{result.model} trained on {n_pairs:,} pairs of each community, tested on {_by_target(matrix, test)}"
    heatmap, narrow = (charts.transfer_heatmap(matrix, is_narrow=is_narrow) for is_narrow in (False, True))
    note = "Below each figure, where there is room: its 95 % interval."
    n_others = len(set(matrix["source"]) - set(matrix["target"]))  # then in-domain is one row
    height_px = CELL_PX * (1 + n_others if n_others else matrix["source"].n_unique())
    drawn = [Figure("transfer", test, "Accuracy across communities", on, heatmap, note, narrow, height_px)]
    if matrix["difference"].null_count() < matrix.height:
        title = "Accuracy gained or lost by training elsewhere"
        note = "Accuracy minus that of the same model trained on the community tested on, the same pairs, "
        note += "and the 95 % interval of that."
        both = (charts.transfer_heatmap(matrix, difference=True, is_narrow=is_narrow) for is_narrow in (False, True))
        difference, narrow = both
        drawn.append(Figure("transfer-difference", test, title, on, difference, note, narrow, height_px))
    if found := result.findings["map"]:
        title = "How alike the models rank the same pairs"
        note = "Spearman's correlation of margins, whoever won; alike communities stand next to each other."
        chart, narrow = (charts.community_correlations(found, is_narrow=is_narrow) for is_narrow in (False, True))
        drawn.append(Figure("community-map", test, title, on, chart, note, narrow, height_px))
    return drawn


def _few_shot(result: FewShot) -> list[Figure]:
    test, target = str(result.frame["test_pairs"][0]), result.frame["target"][0]
    on = f"Tuned on {target}, tested on {_tested(result.frame)}; {seeds_in_words(result.differences['n_seeds'])}"
    note = "Bars: 95 % intervals of posts and seeds. Pairs that chose the best step are counted."
    return [Figure("few-shot", test, f"What pairs of {target} buy", on, result.plot(), note)]


def _recipes(result: Recipes) -> list[Figure]:
    rows = charts.recipe_figures(result.frame)
    models = rows.filter(~pl.col("is_baseline"))
    drawn = []
    for predictor, size in models.select("predictor", "max_pairs").unique(maintain_order=True).iter_rows():
        is_shown = (pl.col("predictor") == predictor) & pl.col("max_pairs").eq_missing(size)
        shown = rows.filter(is_shown | pl.col("is_baseline"))
        name = predictor if size is None else f"{predictor}-{size}"
        trained = f"{predictor} trained on {'all' if size is None else f'at most {size:,}'} pairs of each set"
        for test in shown.filter(is_shown & (pl.col("measure") == "accuracy"))["measured_on"].unique(
            maintain_order=True
        ):
            is_told = (pl.col("part") == "all") | ~pl.col("is_baseline")  # length knows where shorter is better
            on_test = shown if test != TRUTH else shown.filter(is_told)
            n, n_posts = shown.filter(pl.col("measured_on") == test).select(pl.col("n", "n_posts").max()).row(0)
            where = "pairs ordered by true quality" if test == TRUTH else test
            on = f"{trained}; tested on up to {counted(n, 'pair')} of {counted(n_posts, 'post')}"
            title, chart = f"Accuracy on {where}", charts.recipe_accuracy(on_test, test)
            height_px = _forest_px(on_test.filter(pl.col("measured_on") == test), "part", N_ALONE)
            drawn.append(Figure(f"accuracy-{name}", test, title, on, chart, BY_POST, height_px=height_px))
        if (shown.filter(is_shown)["measure"] != "accuracy").any():
            title = "What the reward follows within posts"
            note = "Spearman correlation with 95 % intervals; a good reward follows quality alone."
            correlated = shown.filter(is_shown & (pl.col("measure") != "accuracy"))
            chart, height_px = charts.recipe_correlations(correlated), _forest_px(correlated, "measure", 0)
            drawn.append(Figure(f"correlations-{name}", TRUTH, title, trained, chart, note, height_px=height_px))
    return drawn


def _search(result: Search) -> list[Figure]:
    n, pairs = _most(result.frame["n_validation_pairs"]), result.config.pairs
    on = f"{result.config.model} judged on {n:,} validation pairs of {pairs}; no test is read"
    note = "Log loss above that of the candidate kept in the stage, on the same pairs; 95 % intervals, by post."
    chart, height_px = charts.search_excess(result.frame), ROW_PX * result.frame.height
    return [Figure("candidates", pairs, "Validation log loss of candidates", on, chart, note, height_px=height_px)]


def _ceiling(result: CeilingResult) -> list[Figure]:
    try:
        chart = result.plot()
    except LurkerError:  # nothing could be estimated, and the table says why
        return []
    n, n_posts = result.frame.select(pl.col("n_pairs", "n_posts").max()).row(0)
    on = f"Labels of {result.pairs} ({result.split}): {counted(n, 'pair')} of {counted(n_posts, 'post')}"
    note = "Points with 95 % intervals, clustered by post; bars are brackets, in which the ceiling lies."
    title, height_px = "What accuracy no predictor can exceed", ROW_PX * result.frame.height
    return [Figure("ceilings", result.pairs, title, on, chart, note, height_px=height_px)]


_FIGURES: dict[type[ExperimentResult], Callable[[Any], list[Figure]]] = {
    Scaling: _scaling,
    Transfer: _transfer,
    FewShot: _few_shot,
    Recipes: _recipes,
    Search: _search,
    CeilingResult: _ceiling,
}


def _forest_px(shown: pl.DataFrame, series: str, n_more_rows: int) -> float:
    """Height of a chart with a row per pair set and one mark per value of `series` in it."""
    n_rows = shown["pairs"].n_unique() + n_more_rows
    return n_rows * (LINE_PX * shown[series].n_unique() + LINE_PX)


def _most(counts: pl.Series) -> int:
    return int(largest(counts))


def _tested(frame: pl.DataFrame) -> str:
    """The test with its pairs and posts."""
    n, n_posts = frame.select(pl.col("n_test_pairs", "n_test_posts").max()).row(0)
    return f"{frame['test_pairs'][0]} ({counted(n, 'pair')} of {counted(n_posts, 'post')})"


def _by_target(matrix: pl.DataFrame, test: str) -> str:
    fewest, most = matrix.select(low=pl.col("n_test_pairs").min(), high=pl.col("n_test_pairs").max()).row(0)
    counts = f"{fewest:,}" if fewest == most else f"{fewest:,} to {most:,}"
    return f"{test} ({counts} pairs a target)"


def _truth(workspace: Workspace, test: str) -> charts.Ceiling | None:
    """Accuracy of the simulator's truth on a pair set, if its audit has it."""
    file = workspace.folder("pairs", test) / AUDIT_FILE
    truth = read_object(file).get("truth") if file.exists() else None
    ends = (float(truth[name]) for name in ("accuracy", "accuracy_low", "accuracy_high")) if truth else None
    return None if ends is None else charts.Ceiling("the truth", *ends)
