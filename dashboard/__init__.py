"""Tables, pair sets and experiments of a workspace -> pages in the browser that show and explain them."""
