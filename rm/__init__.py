"""Preference pairs into reward models and experiments: reads `pairs`, writes `runs` and `experiments`."""
