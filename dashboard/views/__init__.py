"""Tables and JSON documents of a workspace -> pages, one per file, each drawn by its `render`."""
