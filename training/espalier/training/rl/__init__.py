"""Reinforcement learning with verdicts as rewards."""
