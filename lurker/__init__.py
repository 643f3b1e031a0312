"""Lurker: internet votes into preference pairs without shortcuts, and reward models judged honestly."""

__version__ = "0.2.0"
