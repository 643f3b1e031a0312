"""The parts of the page Compare: recipes, transfer, and any two runs."""
