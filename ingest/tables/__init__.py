"""In: lines of JSON, one post or comment per line, from any source.
Out: rows of posts, comments and observations, staged as sorted runs and merged into the workspace."""
