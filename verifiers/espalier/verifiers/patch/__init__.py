"""Patches of a repository, judged by running its tests in a sandbox."""
