"""Solving one problem: policies, the loop, selection, and how well a model solves many."""
