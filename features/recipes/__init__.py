"""In: the name of a recipe, or its fields.
Out: a `Recipe`, that is the validated rules by which responses become pairs.
"""
