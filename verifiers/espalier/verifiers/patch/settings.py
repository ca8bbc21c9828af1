"""Where a verifier finds repositories and packages."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from espalier.common.cache import cache_directory


class PatchSettings(BaseSettings):
    """Read from the environment (`ESPALIER_PATCH_REPOSITORIES=/srv/repositories`, …)."""

    model_config = SettingsConfigDict(env_prefix="ESPALIER_PATCH_", extra="forbid")

    repositories: Path = Field(default_factory=lambda: cache_directory("repositories"))
    """The store: archives of repositories, each named by its SHA-256."""
    environments: Path = Field(default_factory=lambda: cache_directory("environments"))
    """Directories of packages that tests may import, by name; all users must be able to read them."""
