import pathlib

for file in pathlib.Path("/tmp/repository/tests").glob("*.py"):
    file.write_text("def test_the_same_item_again():\n    pass\n")
