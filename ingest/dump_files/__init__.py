"""In: dump files of submissions and comments, compressed or plain.
Out: posts, comments and observations in the workspace, with a report per file."""
