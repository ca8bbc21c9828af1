"""Programs judged by running them, in a sandbox or not at all."""

from espalier.verifiers.code.sandbox import Sandbox, SandboxError
from espalier.verifiers.code.settings import SandboxSettings, open_sandbox
from espalier.verifiers.code.verifier import CodeVerifier

__all__ = ["CodeVerifier", "Sandbox", "SandboxError", "SandboxSettings", "open_sandbox"]
