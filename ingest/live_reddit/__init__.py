"""In: names of subreddits, and Reddit's API with credentials.
Out: posts with all their comments in the workspace, with a report of what could not be read."""
