"""In: texts as written on Reddit.
Out: the text a model reads, counts of its formatting, whether it is in another language, and groups of near-duplicates.
"""
