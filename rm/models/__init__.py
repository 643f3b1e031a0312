"""In: a SPEC (a name on the ladder, a Hugging Face id or a folder) and token sequences.

Out: reward models, saved and loaded as transformers does, and the reward of each sequence.
"""
