"""In: pair sets or the comments of a community, and reward models as judges.

Out: policies, which write responses to a prompt; their samples; and what they learn when a judge rewards them.
"""
