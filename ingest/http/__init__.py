"""In: calls to Reddit's API or to Arctic Shift.
Out: answers within a deadline, paced by the server's rate limit; failures in plain words."""
