"""The arena: which item a rater sees next and on which side, the rater's page, and its server."""
