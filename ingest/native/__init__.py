"""In: bytes of JSON lines, and columns of rows in memory.
Out: the same as Arrow columns, read by optional compiled code."""
