"""In: the comments and posts of a workspace.
Out: the responses that may be in a pair, each with its split, and a ledger of every other comment.
"""
