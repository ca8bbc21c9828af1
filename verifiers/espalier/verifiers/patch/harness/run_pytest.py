"""Runs inside the box, as the process of the tests: pytest on a repository, and what becomes of each test.

The argument is the descriptor of the channel to the collector (collect.py), from which the request comes. Code of the
patch runs in this process. What is kept of pytest from before that, what it does to pytest is compared with.

A test has passed if pytest says so of every phase and none of them raised, so far as this process can tell.
"""

import builtins
import json
import os
import socket
import sys
import types

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

WATCHED = frozenset({"pytest", "_pytest", "pluggy", "unittest", "builtins"})
"""Packages whose functions no code under test has a reason to replace."""
UNSTEADY = frozenset({"_", "__spec__", "__loader__"})
"""Names of builtins that interpreters and translators change."""
HOOKS = ("pytest_pyfunc_call", "pytest_runtest_protocol", "pytest_runtest_setup", "pytest_runtest_call",
         "pytest_runtest_teardown", "pytest_runtest_makereport", "pytest_collection_modifyitems")  # fmt: skip
"""Hooks by which a plugin can decide what becomes of a test."""
OPTIONS = ("-p", "no:cacheprovider", "--continue-on-collection-errors", "--tb=short")
MAX_DETAIL = 4000
MAX_DETAILS = 256_000


def main() -> None:
    channel = socket.socket(fileno=int(sys.argv[1]))
    channel.set_inheritable(False)
    replies = channel.makefile("rb")
    request = json.loads(replies.readline())
    packages = request["packages"]
    if packages:
        at = next((i for i, path in enumerate(sys.path) if path.endswith("dist-packages")), len(sys.path))
        sys.path.insert(at, packages)
        import site

        site.addsitedir(packages)  # for its .pth files
    import pytest

    sys.modules["__main__"] = types.ModuleType("__main__")  # this module is out of the way of what the tests import
    reporter = reporter_class()(channel, replies, request)
    sys.argv = ["pytest", *request["arguments"]]
    status = pytest.main([*OPTIONS, f"--rootdir={request['root']}", *request["arguments"]], plugins=[reporter])
    reporter.end()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(int(status))


def kept_of(modules: "dict[str, types.ModuleType]") -> "list[tuple[str, Any, str, Any, Any, Any]]":
    """What the watched packages hold: name, namespace, name in it, value, the function behind it and its make.

    Of their modules that is what is defined or imported there, of their classes methods and numbers.
    """
    kept: list[tuple[str, Any, str, Any, Any, Any]] = []
    for name, module in modules.items():
        if name.partition(".")[0] not in WATCHED:
            continue
        kept.append((name, sys.modules, name, module, None, None))
        for key, value in list(vars(module).items()):
            if name == "builtins" and key not in UNSTEADY:
                kept.append((f"{name}.{key}", vars(module), key, value, None, None))
            elif getattr(value, "__module__", None) == name and isinstance(value, (types.FunctionType, type)):
                kept.append((f"{name}.{key}", vars(module), key, value, *made_of(value)))
                for attribute, method in list(vars(value).items()) if isinstance(value, type) else ():
                    function = getattr(method, "__func__", getattr(method, "fget", method))
                    if isinstance(function, types.FunctionType) or hasattr(method, "__float__"):
                        kept.append((f"{name}.{key}.{attribute}", vars(value), attribute, method, *made_of(function)))
            elif isinstance(value, (types.FunctionType, types.BuiltinFunctionType, types.ModuleType, type)):
                kept.append((f"{name}.{key}", vars(module), key, value, None, None))
    return kept


def made_of(value: "Any") -> "tuple[Any, Any]":
    """A function, and what it runs and takes for arguments that are not given; None for what is no function."""
    if not isinstance(value, types.FunctionType):
        return None, None
    return value, (value.__code__, value.__defaults__, *(value.__kwdefaults__ or {}).values())


def is_changed(function: "Any", made: "Any") -> bool:
    """Whether a function is made of something else; nothing that it is made of is asked."""
    if function.__code__ is not made[0] or function.__defaults__ is not made[1]:
        return True
    keywords = function.__kwdefaults__
    return len(made) != 2 + len(keywords or ()) or bool(
        keywords and any(now is not before for now, before in zip(keywords.values(), made[2:], strict=True))
    )


def hidden_builtins(modules: "dict[str, types.ModuleType]") -> "set[str]":
    """Names of builtins for which watched modules have something else."""
    watched = (name for name in modules if name.partition(".")[0] in WATCHED - {"builtins"})
    every = vars(builtins).keys()
    return {f"{name}.{key}" for name in watched for key in every & vars(modules[name]).keys() if key[0] != "_"}


def reporter_class() -> "Any":
    import pytest

    class Reporter:
        """A plugin of pytest: selects the tests and tells the collector of each."""

        def __init__(self, channel: "Any", replies: "Any", request: "dict[str, Any]") -> None:
            self.channel, self.replies, self.request = channel, replies, request
            self.process = os.getpid()
            self.skipped = pytest.skip.Exception
            self.room = MAX_DETAILS
            self.changed: set[str] = set()
            self.plugins: set[str] = set()
            self.raised: list[BaseException] = []
            self.reports: list[Any] = []

        @pytest.hookimpl(tryfirst=True)
        def pytest_load_initial_conftests(self, early_config: "Any") -> None:
            """Nothing of the repository has been imported yet, and all of pytest has."""
            self.config = early_config
            self.modules = dict(sys.modules)
            self.kept = kept_of(self.modules)
            self.hidden = hidden_builtins(self.modules)
            self.hooks = {hook: self.implementations(hook) for hook in HOOKS}
            everything = (value for module in self.modules.values() for value in list(vars(module).values()))
            self.classes = {id(value) for value in everything if isinstance(value, type)}
            root = self.request["root"]
            paths = [root, *filter(os.path.isdir, [f"{root}/src"])]
            sys.path[:0] = paths
            os.environ["PYTHONPATH"] = ":".join([*paths, self.request["packages"]]).rstrip(":")

        @pytest.hookimpl(trylast=True)
        def pytest_collection_modifyitems(self, config: "Any", items: "list[Any]") -> None:
            select = self.request["select"]
            if select is not None:
                chosen = [item for item in items if any(names(entry, item.nodeid) for entry in select)]
                config.hook.pytest_deselected(items=[item for item in items if item not in set(chosen)])
                items[:] = chosen

        def pytest_collectreport(self, report: "Any") -> None:
            if report.failed:
                self.send({"kind": "unread", "path": report.nodeid, "detail": self.shortened(report.longreprtext)})

        def pytest_collection_finish(self, session: "Any") -> None:
            self.compare()
            self.send({"kind": "collected", "tests": [item.nodeid for item in session.items]})

        @pytest.hookimpl(hookwrapper=True, tryfirst=True)
        def pytest_runtest_protocol(self, item: "Any") -> "Iterator[None]":
            self.raised, self.reports = [], []
            self.send({"kind": "start", "test": item.nodeid})
            token = self.replies.readline().decode().strip()
            yield
            self.compare()
            outcome, detail = self.outcome()
            self.send({"kind": "outcome", "token": token, "outcome": outcome, "detail": self.shortened(detail)})

        @pytest.hookimpl(hookwrapper=True, tryfirst=True)
        def pytest_runtest_setup(self) -> "Iterator[None]":
            yield from self.phase()

        @pytest.hookimpl(hookwrapper=True, tryfirst=True)
        def pytest_runtest_call(self) -> "Iterator[None]":
            yield from self.phase()

        @pytest.hookimpl(hookwrapper=True, tryfirst=True)
        def pytest_runtest_teardown(self) -> "Iterator[None]":
            yield from self.phase()

        def phase(self) -> "Iterator[None]":
            done: Any = yield
            if done.excinfo is not None:
                self.raised.append(done.excinfo[1])

        @pytest.hookimpl(tryfirst=True)
        def pytest_runtest_logreport(self, report: "Any") -> None:
            self.reports.append(report)

        def outcome(self) -> "tuple[str, str]":
            """What became of the test that just ran, and what pytest says of it."""
            detail = "\n".join(report.longreprtext for report in self.reports if report.failed)
            if any(isinstance(error, self.skipped) for error in self.raised):
                return "skipped", ""
            phases = [report.when for report in self.reports if report.outcome == "passed"]
            if phases == ["setup", "call", "teardown"] and not self.raised:
                return "passed", ""
            skipped = any(report.outcome == "skipped" for report in self.reports)
            return ("skipped" if skipped and not detail else "failed"), detail

        def compare(self) -> None:
            """Note what is no longer as it was before the repository was imported."""
            self.changed.update(
                name
                for name, namespace, key, value, function, made in self.kept
                if namespace.get(key) is not value or (function is not None and is_changed(function, made))
            )
            self.changed |= hidden_builtins(self.modules) - self.hidden
            for hook, before in self.hooks.items():
                now = self.implementations(hook)
                there = {(id(one), id(function)) for one, function in now}
                if any((id(one), id(function)) not in there for one, function in before):
                    self.changed.add(f"config.hook.{hook}")
                self.plugins.update(self.name_of(one) for one, _ in now if not self.is_known(one))

        def implementations(self, hook: str) -> "list[tuple[Any, Any]]":
            """The implementations of a hook, and the function of each."""
            return [(one, one.function) for one in getattr(self.config.hook, hook).get_hookimpls()]

        def is_known(self, implementation: "Any") -> bool:
            """Whether a plugin was there before the repository was imported, or is a conftest.py."""
            plugin, code = implementation.plugin, getattr(implementation.function, "__code__", None)
            if os.path.basename(getattr(code, "co_filename", "")) == "conftest.py":  # noqa: PTH119
                return True
            if isinstance(plugin, types.ModuleType):
                return self.modules.get(plugin.__name__) is plugin
            return id(type(plugin)) in self.classes

        def name_of(self, implementation: "Any") -> str:
            plugin = implementation.plugin
            return str(plugin.__name__ if isinstance(plugin, types.ModuleType) else type(plugin).__module__)

        def end(self) -> None:
            self.compare()
            self.send({"kind": "end", "changed": sorted(self.changed)[:20], "plugins": sorted(self.plugins)[:20]})

        def send(self, message: "dict[str, Any]") -> None:
            if os.getpid() != self.process:
                os._exit(1)  # a copy of the process of the tests tells nothing
            self.channel.sendall(json.dumps(message).encode() + b"\n")

        def shortened(self, text: str) -> str:
            if len(text) > MAX_DETAIL:
                text = f"{text[: MAX_DETAIL // 2]}\n…\n{text[-MAX_DETAIL // 2 :]}"
            text = text[: self.room]
            self.room -= len(text)
            return text

    return Reporter


def names(entry: str, test: str) -> bool:
    """As espalier.verifiers.paths.names."""
    entry = entry.rstrip("/")
    return test == entry or (test.startswith(entry) and test[len(entry)] in ":/[")


if __name__ == "__main__":
    main()
