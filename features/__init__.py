"""Tables to preference pairs: recipes, matching, the frozen hard test and the audit."""
