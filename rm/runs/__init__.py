"""In: a `RunConfig` and the pair sets it names.

Out: a run folder with model, metrics, predictions, evaluations and result.json; averages and exports of runs.
"""
