"""In: responses or pairs, and what is known of their threads and authors.
Out: confounders as numbers, and the probability that they alone decide which response wins.
"""
