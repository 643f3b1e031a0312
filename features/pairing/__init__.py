"""In: eligible responses in blocks of complete posts.
Out: the pairs of a recipe without their texts (matched, capped, deconfounded), and a ledger of every candidate.
"""
