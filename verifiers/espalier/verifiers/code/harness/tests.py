# ruff: noqa: PTH123, S102 (pathlib would cost every case its import; this is the box)
"""Runs inside the box, as the process of the tests: test source that asserts about a program in another process.

Standard input: {"tests": source, "entry_point": name or "", "program": path, "modules": names, "server": source of
the program's process}. What becomes of the tests is written to RESULT_FD as JSON, by this process alone:
    passed, reason, detail (a traceback)    a verdict on the program
    fault                                   the tests cannot judge any program: they do not compile, or assert nothing
With "each", a list of {"tests", "entry_point"}, in place of these two: one line of passed and reason, or of fault, for
each, written as soon as it is known. The process ends early when that of the program has become useless to the tests
that are left.
This process cannot be inspected by the program's (not dumpable), and starts it only when that holds; it writes no file.
"""

import _ctypes
import ast
import builtins
import json
import linecache
import os
import signal
import sys
import traceback
import types

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from espalier.verifiers.code.harness.remote import ProgramModule, RemoteProgram

PR_SET_DUMPABLE = 4
RAN = "@ran"
"""The name under which tests count their assertions; no program and no test can have it."""
IMPORTABLE = frozenset(
    {"abc", "array", "bisect", "cmath", "collections", "copy", "dataclasses", "datetime", "decimal", "enum",
     "fractions",
     "functools", "hashlib", "heapq", "io", "itertools", "json", "math", "numbers", "numpy", "operator", "os", "queue",
     "random", "re", "statistics", "string", "sys", "textwrap", "time", "types", "typing"}
)  # fmt: skip
"""Modules that the tests may use because the program imports them: imported here anew, not taken from the program."""


def main() -> None:
    program: Any = None  # as dlopen(3) has it: this process
    prctl = _ctypes.dlsym(_ctypes.dlopen(program, 2), "prctl")
    if _ctypes.call_function(prctl, (PR_SET_DUMPABLE, 0, 0, 0, 0)) != 0:
        sys.exit("the tests cannot hide their memory")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    request = json.load(sys.stdin)
    result = int(os.environ.pop("RESULT_FD"))
    os.set_inheritable(result, False)
    if "each" in request:
        for report in judge_each(request):
            os.write(result, json.dumps(report).encode() + b"\n")
    else:
        os.write(result, json.dumps(judge(request)).encode())
    sys.stdout.flush()
    os._exit(0)


def judge(request: "dict[str, Any]") -> "dict[str, Any]":
    tests = parsed(request["tests"])
    if isinstance(tests, str):
        return {"fault": tests}
    program = RemoteProgram(request["server"], request["program"])
    if tests.for_pytest:
        import pytest  # noqa: F401 (while the program starts)
    try:
        start(program, request["modules"])
    except BaseException as error:
        return not_started(program, error)
    return report_on(tests, program, request["program"], request["entry_point"])


def judge_each(request: "dict[str, Any]") -> "Iterator[dict[str, Any]]":
    """What becomes of each of several tests on one process of the program, up to one that makes it useless."""
    program = RemoteProgram(request["server"], request["program"])
    broken = None
    try:
        start(program, request["modules"])
    except BaseException as error:
        broken = not_started(program, error)
    for one in request["each"]:
        report = broken
        if report is None:
            tests = parsed(one["tests"])
            if isinstance(tests, str) or tests.for_pytest:
                report = {"fault": tests if isinstance(tests, str) else "needs pytest, which runs tests apart"}
            else:
                report = report_on(tests, program, request["program"], one["entry_point"])
        yield report if "fault" in report else {"passed": report["passed"], "reason": report["reason"]}
        if program.fault and broken is None:
            return


def parsed(source: str) -> "Tests | str":
    """The tests, or why they cannot judge any program."""
    try:
        tree = ast.parse(source, "<tests>")
        if not would_assert(tree):
            return "asserts nothing: it has no assert statement that would run"
        return Tests(tree, source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return f"does not compile: {error}"


def start(program: RemoteProgram, modules: "list[str]") -> None:
    """Let the program's module run; raises what it raises."""
    program.start()
    for name in ("solution", *modules):
        sys.modules[name] = ProgramModule(program, name)


def not_started(program: RemoteProgram, error: BaseException) -> "dict[str, Any]":
    if isinstance(error, SystemExit):
        return {"passed": False, "reason": "the program ended before the assertions did", "detail": repr(error)}
    return {"passed": False, "reason": program.fault or last_line(error), "detail": told(error)}


def report_on(tests: "Tests", program: RemoteProgram, path: str, entry_point: str) -> "dict[str, Any]":
    """What becomes of tests of a program that has started."""
    try:
        space = namespace(program, tests, path, entry_point)
        asked = program.asked
        failed = run_pytest(tests, space) if tests.for_pytest else run_plain(tests, space, program, entry_point)
    except BaseException as error:
        return not_started(program, error)
    if failed is not None:
        return {"passed": False, "reason": program.fault or failed[0], "detail": failed[1]}
    if program.fault:
        return {"passed": False, "reason": program.fault, "detail": ""}
    if not tests.ran:
        if program.asked == asked:
            return {"fault": "asserts nothing: no assertion ran, and the program was not asked for anything"}
        return {"passed": False, "reason": "no assertion ran on what the program gave", "detail": ""}
    return {"passed": True, "reason": "", "detail": ""}


class Tests:
    """The source of the tests, made to count the assertions that it reaches.

    Attributes:
        names: Names that it uses.
        for_pytest: It has functions or classes that pytest would collect.
        ran: How many assertions have been reached.
        defined: Names that it defines or imports itself.
    """

    def __init__(self, tree: ast.Module, source: str) -> None:
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        tree.body = [node for node in tree.body if not starts_runner(node)]
        self.source = source
        self.names = names
        self.calls_check = calls_check(tree)
        self.for_pytest = any(is_test(node) for node in tree.body)
        self.defined = defined(tree)
        count_assertions(tree)
        self.tree = ast.fix_missing_locations(tree)
        self.ran = 0
        linecache.cache["<tests>"] = (len(source), None, source.splitlines(keepends=True), "<tests>")
        compile(self.tree, "<tests>", "exec")

    def count(self) -> None:
        self.ran += 1


def count_assertions(node: ast.AST) -> None:
    """Put a count in front of every statement that asserts."""
    for _, block in ast.iter_fields(node):
        if isinstance(block, list) and block and isinstance(block[0], ast.stmt):
            counted: list[ast.stmt] = []
            for statement in block:
                if asserts(statement):
                    call = ast.Expr(ast.Call(ast.Name(RAN, ast.Load()), [], []))
                    counted.append(ast.copy_location(call, statement))
                counted.append(statement)
            block[:] = counted
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.stmt, ast.ExceptHandler, ast.match_case)):
            count_assertions(child)


def asserts(node: ast.AST) -> bool:
    """Whether reaching this statement puts something to the test: an assert, a call of an assert method, a raise that
    a condition or a handler avoids. Blocks count by what is in them, functions and classes do not.
    """
    if isinstance(node, ast.Assert):
        return True
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.For, ast.While, ast.AsyncFor)):
        return False
    if isinstance(node, ast.If):
        return any(isinstance(inner, ast.Raise) for inner in node.body)
    if isinstance(node, ast.Try):
        return any(asserts(inner) or isinstance(inner, ast.Raise) for inner in (*node.body, *node.orelse))
    if isinstance(node, (ast.With, ast.AsyncWith)):
        return any(is_assertion_call(item.context_expr) for item in node.items)
    return any(is_assertion_call(inner) for inner in ast.walk(node))


def is_assertion_call(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return name.lower().startswith("assert") or name in ("raises", "warns", "fail", "deprecated_call")


def would_assert(tree: ast.Module) -> bool:
    """Whether running the tests would reach an assertion, as far as their text tells."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    asserting = {
        node.name for node in ast.walk(tree) if isinstance(node, functions) and any(map(asserts, ast.walk(node)))
    }
    if any(is_test(node) and getattr(node, "name", "") in asserting for node in tree.body) or "check" in asserting:
        return True
    todo: list[ast.AST] = [node for node in tree.body if not isinstance(node, functions)]
    while todo:
        node = todo.pop()
        if asserts(node) or (isinstance(node, ast.Name) and node.id in asserting):
            return True
        todo += ast.iter_child_nodes(node)
    return bool(asserting) and any(is_test(node) for node in tree.body)


def is_test(node: ast.stmt) -> bool:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return node.name.startswith("test")
    if isinstance(node, ast.ClassDef):
        bases = [base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "") for base in node.bases]
        return node.name.startswith("Test") or any(base.endswith("TestCase") for base in bases)
    return False


def starts_runner(node: ast.stmt) -> bool:
    """Whether a statement would start a runner of its own: `unittest.main()`, also behind a main guard."""
    if isinstance(node, ast.If) and "__main__" in ast.unparse(node.test):
        return all(starts_runner(inner) for inner in node.body)
    text = ast.unparse(node) if isinstance(node, ast.Expr) else ""
    return text.startswith(("unittest.main(", "pytest.main(", "sys.exit(pytest.main(", "exit(pytest.main("))


def calls_check(tree: ast.Module) -> bool:
    """Whether `check(candidate)`, as HumanEval has it, is defined and left for us to call."""
    has = any(isinstance(node, ast.FunctionDef) and node.name == "check" for node in tree.body)
    return has and not any(
        isinstance(node, ast.Call) and getattr(node.func, "id", "") == "check"
        for statement in tree.body
        if not isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef))
        for node in ast.walk(statement)
    )


def defined(tree: ast.Module) -> "set[str]":
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    return names


def namespace(program: RemoteProgram, tests: Tests, path: str, entry_point: str) -> "dict[str, Any]":
    """The names that the tests find: modules that the program imports, then what the program defines.

    A name of the program hides a builtin only where it is the entry point, or nothing else of the program is asked for:
    else `all` or `abs` would be the program's word.
    """
    names, own = tests.names, tests.defined
    space: dict[str, Any] = {}
    for statement in imported(path, names):
        try:
            exec(compile(ast.Module([statement], []), "<imports>", "exec"), space)
        except Exception:  # noqa: S112 (what cannot be imported here is not there)
            continue
    space = {name: value for name, value in space.items() if name in names and not hasattr(builtins, name)}
    wanted = [name for name in program.names if name in names and name not in own and name not in space]
    plain = [name for name in wanted if not hasattr(builtins, name)]
    chosen = plain or wanted
    if entry_point and entry_point in program.names and entry_point not in chosen and entry_point in names:
        chosen = [*chosen, entry_point]
    found = program.ask("names", None, chosen) if chosen else {}
    return {**space, **{name: found[name] for name in chosen if name in found}}


def imported(path: str, names: "set[str]") -> "list[ast.stmt]":
    """The import statements at the top of the program that bring names which the tests use, from known modules.

    Under their own names only: `from math import trunc as abs` would be the program's word again.
    """
    with open(path, encoding="utf-8", errors="surrogatepass") as file:
        try:
            tree = ast.parse(file.read())
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return []
    found: list[ast.stmt] = []
    for node in tree.body:
        if isinstance(node, ast.Import):
            node.names = [a for a in node.names if a.name.split(".")[0] in IMPORTABLE and known_alias(a)]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in IMPORTABLE and not node.level:
            node.names = [a for a in node.names if a.name == "*" or (a.name in names and a.asname in (None, a.name))]
        else:
            continue
        if node.names:
            found.append(node)
    return found


def known_alias(alias: ast.alias) -> bool:
    return alias.asname in (None, alias.name) or (alias.name, alias.asname) == ("numpy", "np")


def run_plain(
    tests: Tests, space: "dict[str, Any]", program: RemoteProgram, entry_point: str
) -> "tuple[str, str] | None":
    """Run the tests from top to bottom; gives what failed."""
    module = sys.modules["tests"] = types.ModuleType("tests")  # dataclasses look their module up
    module.__dict__.update(space | {RAN: tests.count})
    try:
        exec(compile(tests.tree, "<tests>", "exec", dont_inherit=True), module.__dict__)
        if tests.calls_check:
            module.__dict__["check"](program.ask("candidate", None, entry_point))
    except BaseException as error:
        return last_line(error), told(error)
    return None


def run_pytest(tests: Tests, space: "dict[str, Any]") -> "tuple[str, str] | None":
    """Run the tests under pytest, out of memory: the file that it collects is empty."""
    import pytest
    from _pytest.assertion.rewrite import rewrite_asserts

    class Module(pytest.Module):
        def _getobj(self) -> types.ModuleType:
            module = types.ModuleType("test_program")
            sys.modules["test_program"] = module
            module.__dict__.update(space)
            module.__dict__.update({"__file__": "<tests>", RAN: tests.count})
            rewrite_asserts(tests.tree, tests.source.encode("utf-8", "replace"), "<tests>", self.config)
            exec(compile(tests.tree, "<tests>", "exec", dont_inherit=True), module.__dict__)
            return module

    class Plugin:
        def __init__(self) -> None:
            self.failures: list[tuple[str, str]] = []

        @pytest.hookimpl
        def pytest_pycollect_makemodule(self, module_path: "Any", parent: "Any") -> Module:
            return Module.from_parent(parent, path=module_path)

        @pytest.hookimpl
        def pytest_runtest_logreport(self, report: "Any") -> None:
            self.note(report)

        @pytest.hookimpl
        def pytest_collectreport(self, report: "Any") -> None:
            self.note(report)

        def note(self, report: "Any") -> None:
            if report.failed:
                crash = getattr(report.longrepr, "reprcrash", None)
                said = crash.message if crash is not None else str(report.longrepr)
                self.failures.append((f"{report.nodeid.rpartition('::')[2]}: {first_line(said)}", str(report.longrepr)))

    with open("test_program.py", "w"):
        pass
    plugin = Plugin()
    options = ["-q", "-x", "--no-header", "--tb=short", "-p", "no:cacheprovider", "--noconftest", "--rootdir=."]
    code = pytest.main([*options, "-c", os.devnull, "test_program.py"], plugins=[plugin])
    if plugin.failures:
        return plugin.failures[0]
    return (
        None
        if code in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
        else (f"pytest ended with {code!r}", "")
    )


def last_line(error: BaseException) -> str:
    return first_line("".join(traceback.format_exception_only(type(error), error)).strip())


def first_line(text: str) -> str:
    return text.strip().split("\n")[0][:300]


def told(error: BaseException) -> str:
    """The traceback without the frames of this file, and the program's own."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_globals is globals():
        frames = frames.tb_next
    lines = traceback.format_exception(type(error), error, frames)
    kept = [line for line in lines if '"<string>"' not in line]
    return "".join(kept)[-6000:]


main()
