"""In: tokenised pairs, a model and a `TrainConfig`.

Out: the model with its best weights, metrics.jsonl, and a checkpoint that resumes with identical losses.
"""
