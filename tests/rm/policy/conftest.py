"""Worlds with a planted taste that the tests of policies share."""

from tests.rm.policy.planted_policies import policy_world

__all__ = ["policy_world"]
