"""Finished experiments -> one HTML file that stands alone, and its figures and tables for a paper."""
