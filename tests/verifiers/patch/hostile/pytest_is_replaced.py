import sys, types

fake = types.ModuleType("pytest")
fake.fixture = fake.raises = lambda *a, **k: None
sys.modules["pytest"] = fake
