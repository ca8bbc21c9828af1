#!/usr/bin/env python
"""Fuzz the sandbox with mutants of the hostile programs, and find out whether one got out: by what changed outside.

    python benchmarks/fuzz_hostile.py --minutes 5 --examples 60

A mutant that prints BREACH may have lost its own check. So each ends with a probe that no mutation touches and that
uses whatever the mutant has gained: it reads and writes a file of the host, connects to servers of the host and signals
a process of it. What the host sees of that is a finding. The text alone is counted (`claims`, and apart those of
mutants that ended before their probe), and `--show-claims` prints it. `ESPALIER_SANDBOX_KIND` chooses the sandbox.
Exit status: 0 nothing found, 1 something found.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fuzz_rounds import rounds_parser, run_rounds

from espalier.verifiers.code.run import ProgramRunner
from espalier.verifiers.code.settings import SandboxSettings

PROGRAMS = Path(__file__).resolve().parents[1] / "tests" / "verifiers" / "hostile" / "programs"
SECONDS = 0.5
"""Processor time of one mutant."""
TOGETHER = 6
"""Mutants that run at the same time; an effect is of one of them."""
SYSTEM = ("/planted", "/etc/planted", "/usr/planted", "/root/planted", "/var/planted", "/run/planted", "/opt/planted")
SETTINGS = ("/proc/sys/kernel/core_pattern", "/proc/sys/kernel/hostname", "/proc/sys/kernel/sysrq")

# Runs at the end of a mutant, however it ends short of os._exit. Its names and modules are its own.
PROBE = """
def _probe(os=__import__("os"), socket=__import__("socket"), kill=__import__("os").kill, open=open, E=BaseException):
    os.write(2, b"probed")
    for root in ("", "/proc/1/root", "/proc/self/root", "/host", "/mnt", "/tmp/target", "/tmp/root"):
        try:
            os.write(2, open(root + {path!r}, "rb").read())
        except E:
            pass
        try:
            with open(root + {path!r} + ".written", "wb") as file:
                file.write(b"out")
        except E:
            pass
    for family, address in (
        (socket.AF_INET, ("127.0.0.1", {port})), (socket.AF_UNIX, {name!r}), (socket.AF_UNIX, {path!r} + ".sock")
    ):
        try:
            with socket.socket(family, socket.SOCK_STREAM) as there:
                there.settimeout(0.2)
                there.connect(address)
        except E:
            pass
    try:
        kill({pid}, 9)
    except E:
        pass
__import__("atexit").register(_probe)
"""


@dataclass(frozen=True, slots=True)
class Canaries:
    """What stands outside of the sandbox, for everyone on the host to read, write, reach and end.

    Attributes:
        directory: Holds a file with the secret, and a socket.
        secret: What the file holds.
        servers: Listening sockets by their names.
        process: One that does nothing.
        settings: What SETTINGS were.
    """

    directory: Path
    secret: str
    servers: dict[str, socket.socket]
    process: subprocess.Popen[bytes]
    settings: dict[str, str]

    def probe(self) -> str:
        """The source of what tries them all."""
        names = {
            "path": str(self.directory / "secret"),
            "port": self.servers["network"].getsockname()[1],
            "name": self.servers["abstract socket"].getsockname().decode(),
            "pid": self.process.pid,
        }
        return PROBE.format(**names)

    def effects(self, output: str) -> list[str]:
        """What a mutant that wrote this has done outside; takes note of it once."""
        found = ["a file of the host was read"] if self.secret in output else []
        if (self.directory / "secret").read_text() != self.secret or (self.directory / "secret.written").exists():
            found.append("a file of the host was written")
        for name, server in self.servers.items():
            with contextlib.suppress(BlockingIOError):
                server.accept()[0].close()
                found.append(f"the host was reached: {name}")
        if self.process.poll() is not None:
            found.append("a process of the host was ended")
        found += [f"{path} is on the host" for path in SYSTEM if Path(path).exists()]
        found += [f"{path} was changed" for path, value in self.settings.items() if Path(path).read_text() != value]
        return found


@contextmanager
def canaries() -> Iterator[Canaries]:
    """Canaries that are there inside the block."""
    if planted := [path for path in SYSTEM if Path(path).exists()]:
        raise SystemExit(f"{planted[0]} is there already")
    directory = Path(tempfile.mkdtemp(prefix="espalier-canary-"))
    directory.chmod(0o777)
    secret = secrets.token_hex(16)
    (directory / "secret").write_text(secret)
    (directory / "secret").chmod(0o666)
    os.environ["ESPALIER_CANARY"] = secret  # nor may the environment of the host be read
    servers = {
        "network": socket.create_server(("127.0.0.1", 0)),
        "abstract socket": socket.socket(socket.AF_UNIX),
        "socket in a directory": socket.socket(socket.AF_UNIX),
    }
    servers["abstract socket"].bind(f"\0espalier-canary-{secret}")
    servers["socket in a directory"].bind(str(directory / "secret.sock"))
    (directory / "secret.sock").chmod(0o777)
    for server in servers.values():
        server.listen()
        server.setblocking(False)
    process = subprocess.Popen(["/bin/sleep", "infinity"])
    try:
        yield Canaries(
            directory,
            secret,
            servers,
            process,
            {path: Path(path).read_text() for path in SETTINGS if Path(path).exists()},
        )
    finally:
        process.kill()
        process.wait()
        for server in servers.values():
            server.close()
        shutil.rmtree(directory)
        del os.environ["ESPALIER_CANARY"]


def mutant(programs: list[str], chance: random.Random) -> str:
    """A program with one to four mutations that Python can read."""
    while True:
        lines = chance.choice(programs).splitlines()
        for _ in range(chance.randint(1, 4)):
            _mutate(lines, programs, chance)
        source = "\n".join(lines) + "\n"
        with contextlib.suppress(SyntaxError, ValueError, RecursionError, MemoryError):
            ast.parse(source)
            return source


def _mutate(lines: list[str], programs: list[str], chance: random.Random) -> None:
    at = chance.randrange(len(lines))
    match chance.randrange(6):
        case 0:
            del lines[at]
            lines.append("pass")
        case 1:
            lines.insert(at, lines[at])
        case 2:
            other = chance.randrange(len(lines))
            lines[at], lines[other] = lines[other], lines[at]
        case 3:
            words = lines[at].split(" ")
            numbers = [place for place, word in enumerate(words) if word.strip("(),:").isdigit()]
            if numbers:
                place = chance.choice(numbers)
                number = words[place].strip("(),:")
                words[place] = words[place].replace(number, str(chance.choice([0, 1, 2, int(number) + 1, 1 << 31])), 1)
                lines[at] = " ".join(words)
        case 4:
            signs = (
                ("==", "!="),
                (" not in ", " in "),
                (">=", "<"),
                (" or ", " and "),
                ("except OSError", "except Exception"),
            )
            old, new = chance.choice(signs)
            lines[at] = lines[at].replace(old, new) if old in lines[at] else lines[at].replace(new, old)
        case _:
            lines[at:at] = [line for line in chance.choice(programs).splitlines() if "expect:" not in line]


async def round_of(number: int, examples: int, seen: Counter[str], *, show_claims: bool) -> list[str]:
    """Run mutants of a seed; what they did outside, with their sources."""
    programs = [path.read_text("utf-8") for path in sorted(PROGRAMS.glob("*.py"))]
    chance = random.Random(number)
    found: list[str] = []
    with canaries() as outside:
        async with ProgramRunner(SandboxSettings(warm=TOGETHER, concurrency=TOGETHER)) as runner:
            for _ in range(max(1, examples // TOGETHER)):
                sources = [mutant(programs, chance) for _ in range(TOGETHER)]
                asked = (runner.run(outside.probe() + source, seconds=SECONDS) for source in sources)
                said = ""
                for source, ran in zip(sources, await asyncio.gather(*asked, return_exceptions=True), strict=True):
                    if isinstance(ran, BaseException):
                        found.append(f"{type(ran).__name__}: {ran}\n{source}")
                        continue
                    said += ran.stdout + ran.stderr
                    seen["mutants"] += 1
                    if "BREACH" in ran.stdout:
                        seen["claims" if "probed" in ran.stderr else "claims without a probe"] += 1
                        if show_claims:
                            print(f"claim: {ran.stdout[ran.stdout.index('BREACH') :][:200].strip()}", flush=True)
                if effects := outside.effects(said):
                    found.append("; ".join(effects) + ", by one of these:\n" + "\n-----\n".join(sources))
                    break  # the canaries are no longer fresh
    return found


def main() -> int:
    """Run rounds until the time is over."""
    parser = rounds_parser((__doc__ or "").splitlines()[0], minutes=5.0, examples=60)
    parser.add_argument("--show-claims", action="store_true", help="print what mutants say that had no effect")
    arguments = parser.parse_args()

    def fuzz(_target: str, examples: int, number: int, seen: Counter[str]) -> None:
        found = asyncio.run(round_of(number, examples, seen, show_claims=arguments.show_claims))
        if found:
            raise AssertionError("\n\n".join(found))

    return run_rounds(arguments, ["hostile programs"], fuzz)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
