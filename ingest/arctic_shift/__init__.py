"""In: the name of a subreddit and a span of time, read from the Arctic Shift archive.
Out: posts, comments and observations in the workspace, with a report of gaps and unsettled scores."""
