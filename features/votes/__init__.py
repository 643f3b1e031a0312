"""Votes of arenas as evidence: how raters agree, how they err, how sources rank, and votes as pairs."""
