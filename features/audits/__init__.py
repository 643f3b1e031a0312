"""In: a pair set.
Out: how well confounders alone name the winner, by two independent auditors, and comparisons of several sets.
"""
