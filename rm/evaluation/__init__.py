"""In: a trained reward model and pairs or texts it has not seen.
Out: rewards, accuracies with intervals next to the baselines, comparisons of runs, and diagnoses of a reward."""
