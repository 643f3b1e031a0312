"""In: files of judgements between two texts, in the formats of other tools.
Out: the same judgements as PAIRS, and a count of every row that was dropped.
"""
