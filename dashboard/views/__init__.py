"""The pages; each file is one page and draws it in `render`."""
