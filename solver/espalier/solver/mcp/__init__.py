"""Verifiers and solver as tools of the Model Context Protocol, for agents."""
