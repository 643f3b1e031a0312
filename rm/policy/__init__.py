"""Policies: writers fine-tuned on well-received responses, and agents that learn from a judge."""
