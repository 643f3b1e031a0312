"""In: pair sets, and a grid of models, sizes, communities, recipes or settings.
Out: one run per cell, each trained once, and a table of accuracies with intervals for the experiment."""
