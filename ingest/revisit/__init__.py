"""In: ids of known posts and comments, from a file or from the workspace's tables.
Out: newer scores and deletion marks, and, on request, erased texts."""
