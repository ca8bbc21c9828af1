"""Compiles a Java program in the box, whatever its classes are called.

The compiler wants a public class in a file of its name, and the virtual machine wants to be told which class to start:
both are read out of the source. What follows this text on the command line is the command of the compiler.
"""

# ruff: noqa: PTH103, PTH123 (pathlib would cost every program its import)

import os
import re
import sys

JOB = "/tmp/job"  # noqa: S108 (inside the box)
MAIN = f"{JOB}/main"
"""What the virtual machine reads the name of the class out of."""

NO_CODE = re.compile(r'"""(?:\\.|[^\\])*?"""|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'|//[^\n]*|/\*.*?\*/', re.DOTALL)
TOKEN = re.compile(
    r"(?P<open>\{)|(?P<close>\})|\bpackage\s+(?P<package>[\w.]+)\s*;"
    r"|(?P<public>\bpublic\s+)?(?:\b(?:final|abstract|sealed|strictfp)\s{1,40}){0,8}\b(?:class|interface|enum|record)\s+(?P<name>\w+)"
    r"|(?P<main>\bstatic\s[^;{}()]{0,200}\bvoid\s+main\s*\()"
)


def names(source: str) -> "tuple[str, str]":
    """The name of the file that the source belongs into, and the class that has its `main` method."""
    package, file, first, current, started = "", "", "", "", ""
    depth = 0
    for token in TOKEN.finditer(NO_CODE.sub(" ", source)):
        if token["open"]:
            depth += 1
        elif token["close"]:
            depth -= 1
        elif token["package"] and depth == 0:
            package = f"{token['package']}."
        elif token["name"] and depth == 0:
            current = token["name"]
            first = first or current
            file = current if token["public"] else file
        elif token["main"] and depth == 1:
            started = started or current
    return file or started or first or "Main", f"{package}{started or file or first or 'Main'}"


def prepare() -> str:
    """Put the source where the compiler wants it, and say what to start; gives the path of the source."""
    with open(f"{JOB}/program.java", encoding="utf-8") as file:
        source = file.read()
    name, start = names(source)
    os.makedirs(f"{JOB}/source", exist_ok=True)
    path = f"{JOB}/source/{name}.java"
    with open(path, "w", encoding="utf-8") as file:
        file.write(source)
    with open(MAIN, "w", encoding="utf-8") as file:
        file.write(start)
    return path


if __name__ == "__main__":
    command = [*sys.argv[1:], prepare()]
    os.execv(command[0], command)  # noqa: S606 (in the box)
