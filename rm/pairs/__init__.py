"""In: PAIRS with their texts, and a tokenizer.

Out: each distinct response as tokens once, pairs as indices into them, and the pairs of each training step.
"""
