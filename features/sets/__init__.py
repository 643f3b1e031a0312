"""In: a workspace and a recipe.
Out: a pair set on disk, the frozen hard test, exports with a dataset card, and sets rebuilt from exported ids.
"""
