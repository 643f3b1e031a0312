"""The dashboard: reads the tables of a workspace and shows them in the browser."""
