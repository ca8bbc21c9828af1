from tests.verifiers.conftest import sandbox

__all__ = ["sandbox"]
