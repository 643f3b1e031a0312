"""Votes of people in arenas: what is asked, the store of votes and raters, and simulated raters."""
