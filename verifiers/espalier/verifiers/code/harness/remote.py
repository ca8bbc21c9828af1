"""The tests' side of a program that runs in another process: proxies of its objects, and what they may decide.

A value of the program arrives as data and is rebuilt into builtins, so the tests compare it by types of this process.
What is no data stays there and is reached by number, under two rules that keep it from judging itself:
    - an operator never carries a value of the tests to an object of the program and an answer back: compared with
      anything of this process such an object is unequal, ordering it is an error, and what arithmetic with it gives can
      be compared with other objects of the program only
    - what a call raises is a builtin error, or a class of this process that stands for one of the program's
Two objects of the program compare as their class says: the expected value is the program's own then, too.
"""

import builtins
import json
import os
import sys
import types

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from espalier.verifiers.code.values import Factory, NotDataError, decode, encode

FRAME_BYTES = 64 << 20
COMPARISONS = ("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__")
ARITHMETIC: "tuple[str, ...]" = (
    "add",
    "sub",
    "mul",
    "matmul",
    "truediv",
    "floordiv",
    "mod",
    "divmod",
    "pow",
    "lshift",
    "rshift",
)
ARITHMETIC += ("and", "xor", "or")
BINARY = tuple(f"__{prefix}{name}__" for name in ARITHMETIC for prefix in ("", "r", "i"))
READINGS: "tuple[str, ...]" = (
    "__len__",
    "__bool__",
    "__int__",
    "__float__",
    "__index__",
    "__complex__",
    "__abs__",
    "__round__",
)
READINGS += ("__trunc__", "__floor__", "__ceil__", "__bytes__", "__reversed__", "__iter__", "__next__", "__call__")
READINGS += ("__getitem__", "__setitem__", "__delitem__", "__enter__", "__fspath__", "__length_hint__", "__format__")
SIGNS = ("__neg__", "__pos__", "__invert__")
STANDARD_ERRORS = {
    ("decimal", "InvalidOperation"), ("decimal", "DivisionByZero"), ("decimal", "Overflow"), ("decimal", "Inexact"),
    ("decimal", "ConversionSyntax"), ("json.decoder", "JSONDecodeError"), ("re", "error"), ("struct", "error"),
    ("zlib", "error"), ("binascii", "Error"), ("queue", "Empty"), ("queue", "Full"), ("_csv", "Error"),
    ("asyncio.exceptions", "TimeoutError"), ("asyncio.exceptions", "CancelledError"), ("statistics", "StatisticsError"),
    ("asyncio.exceptions", "InvalidStateError"), ("concurrent.futures._base", "TimeoutError"),
    ("dataclasses", "FrozenInstanceError"), ("graphlib", "CycleError"), ("sqlite3", "OperationalError"),
    ("sqlite3", "IntegrityError"), ("configparser", "NoSectionError"), ("subprocess", "CalledProcessError"),
    ("zoneinfo._common", "ZoneInfoNotFoundError"), ("xml.etree.ElementTree", "ParseError"),
}  # fmt: skip
"""Errors of the standard library that arrive as themselves; others arrive as classes made here."""


TEST_MODULES = frozenset({"tests", "test_program"})
"""Where classes of the tests say that they come from: see `run_plain` and `run_pytest`."""
BASE_MODULES = TEST_MODULES | {"builtins", "abc", "collections", "collections.abc", "dataclasses", "enum", "typing"}
USABLE = frozenset({("random", "Random"), ("re", "Pattern"), ("re", "Match")})


class ProgramGoneError(Exception):
    """The program's process has ended, or spoke nonsense."""


class ProgramStoppedError(RuntimeError):
    """StopIteration of the program: as itself it would end a loop of the tests that waits for something else."""


class RemoteProgram:
    """The process of the program.

    Attributes:
        fault: Why no test can pass any more, once there is a reason; a test that catches the error changes nothing.
        asked: How often the tests have called something of it.
    """

    def __init__(self, server: str, path: str) -> None:
        theirs_in, self._requests = os.pipe()
        self._replies, theirs_out = os.pipe()
        for fd in (theirs_in, theirs_out):
            os.set_inheritable(fd, True)
        interpreter = [sys.executable, "-P", "-s", "-B", "-X", "utf8", "-X", "int_max_str_digits=0"]
        os.posix_spawn(
            sys.executable,
            [*interpreter, "-c", server, path, str(theirs_in), str(theirs_out)],
            os.environ,
            file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)],
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self.fault = ""
        self.asked = 0
        self.mine: list[Any] = []
        self._proxies: dict[int, Any] = {}
        self._classes: dict[int, Any] = {}
        self._replies_file = os.fdopen(self._replies, "rb")
        self.names: list[str] = []

    def start(self) -> None:
        """Wait until the program's module has run; raises what it raised."""
        reply = self._receive()
        self._show(reply)
        if "error" in reply:
            raise self._error(reply["error"])
        self.names = [str(name) for name in reply["value"]]

    def ask(self, do: str, on: "int | None", *args: "Any", **kwargs: "Any") -> "Any":
        """Have the program do something; gives the value, raises the error."""
        self.asked += do in ("call", "operate", "send", "finish", "finish_next")
        try:
            return self._ask({"do": do, "on": on, "args": encode([list(args), kwargs], self._item)}, args, kwargs)
        except NotDataError as error:
            raise TypeError(f"this cannot be handed to the program or back: {error}") from None

    def _ask(self, request: "dict[str, Any]", args: "tuple[Any, ...]", kwargs: "dict[str, Any]") -> "Any":
        self._send(request)
        while True:
            reply = self._receive()
            if "callback" in reply:
                self._send(self._call_back(reply))
                continue
            self._show(reply)
            if "error" in reply:
                raise self._error(reply["error"])
            try:
                value = decode(reply["value"], self._proxy)
                if "args" in reply:
                    update([list(args), kwargs], decode(reply["args"], self._proxy))
            except (NotDataError, KeyError, TypeError) as error:
                raise self._gone(f"the program's process spoke nonsense: {error}") from None
            same = reply.get("same")
            return args[same] if isinstance(same, int) and 0 <= same < len(args) and args[same] == value else value

    def _call_back(self, request: "dict[str, Any]") -> "dict[str, Any]":
        """Do what the program asks of an object that the tests have handed to it, and nothing else."""
        try:
            target = self.mine[request["callback"]]
            args, kwargs = decode(request["args"], self._proxy)
            name = request["name"]
            if name == "__call__":
                value = target(*args, **kwargs)
            elif name == "__next__":
                value = next(target)
            elif name == "getattr":
                value = getattr(target, public(target, args[0]))
            elif name == "setattr":
                value = None
                setattr(target, public(target, args[0]), args[1])
            elif name in OPERATIONS and hasattr(type(target), name):
                value = getattr(type(target), name)(target, *args)
            else:
                raise TypeError(f"{name} is not for programs to use")
            return {"value": encode(value, self._item)}
        except BaseException as error:
            if isinstance(error, AssertionError) or not isinstance(error, Exception):
                self.fault = self.fault or f"an assertion failed while the program ran: {error}"
            return {"error": {"class": builtin_error(type(error)).__name__, "text": str(error)}}

    def _send(self, message: "dict[str, Any]") -> None:
        body = json.dumps(message, separators=(",", ":")).encode()
        view = memoryview(len(body).to_bytes(4, "big") + body)
        try:
            while view:
                view = view[os.write(self._requests, view) :]
        except OSError:
            raise self._gone("the program ended before the assertions did") from None

    def _receive(self) -> "dict[str, Any]":
        header = self._replies_file.read(4)
        size = int.from_bytes(header, "big")
        if size > FRAME_BYTES:
            raise self._gone(f"the program sent a value of {size} bytes")
        body = self._replies_file.read(size)
        if len(header) < 4 or len(body) < size:
            raise self._gone("the program ended before the assertions did")
        try:
            message = json.loads(body)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            raise self._gone("the program's process spoke nonsense")
        return message

    def _gone(self, why: str) -> ProgramGoneError:
        self.fault = self.fault or why
        return ProgramGoneError(why)

    def _show(self, reply: "dict[str, Any]") -> None:
        printed = reply.get("out")
        if isinstance(printed, str) and printed:
            sys.stdout.write(printed)

    # From items to objects and back.

    def _item(self, value: "Any") -> "list[Any]":
        if isinstance(value, Factory):
            return self._item(value.function)
        kind = type(value)
        if isinstance(value, (Remote, RemoteFunction)):
            return ["mine", number_of(value)]
        if isinstance(value, RemoteClass):
            return ["mine", type.__getattribute__(value, "_remote_number")]
        if is_standard(value):
            return ["import", value.__module__, value.__qualname__]
        if isinstance(value, BaseException):
            return ["error", builtin_error(kind).__name__, str(value)]
        if kind.__module__ == "numpy":
            return ["numpy", value.dtype.str, list(value.shape), value.tobytes().hex()]
        if isinstance(value, types.ModuleType):
            raise NotDataError("a module of the tests is not for programs")
        number = len(self.mine)
        self.mine.append(value)
        if hasattr(kind, "__next__"):
            return ["iterator", number]
        if isinstance(value, (types.FunctionType, types.MethodType, types.BuiltinFunctionType, type)):
            return ["callback", number, getattr(value, "__name__", "function")]
        if kind.__module__ in ("unittest.mock", "functools", "operator"):  # a mock could be told what to accept
            return ["callback", number, kind.__name__]
        return ["exported", number, [name for name in OPERATIONS if hasattr(kind, name)]]

    def _proxy(self, item: "list[Any]") -> "Any":
        """What an item of the program stands for among the tests."""
        match item:
            case ["notimplemented"]:
                return NotImplemented
            case ["type", str(name)]:
                value = getattr(builtins, name, None)
                if isinstance(value, type):
                    return value
            case ["yours", int(number)] if 0 <= number < len(self.mine):
                return self.mine[number]
            case ["numpy", str(dtype), list(shape), str(data)]:
                import numpy

                array = numpy.frombuffer(bytes.fromhex(data), dtype)
                if array.dtype.kind in "biufc":
                    return array.reshape(shape).copy() if shape else array[0]
            case ["function", int(number), str(name)]:
                return self._known(number, lambda: RemoteFunction(self, number, name))
            case ["generator", int(number)]:
                return self._known(number, lambda: generator(self, number))
            case ["coroutine", int(number)]:
                return coroutine(self, number)
            case ["async_generator", int(number)]:
                return async_generator(self, number)
            case ["class", int(number), information]:
                return self._class(number, information)
            case ["object", int(number), int(class_number), information]:
                kind = self._class(class_number, information)
                return self._known(number, lambda: new_object(kind, self, number))
        raise NotDataError(f"unknown item {item[:1]!r}")

    def _known(self, number: int, make: "Callable[[], Any]") -> "Any":
        if number not in self._proxies:
            self._proxies[number] = make()
        return self._proxies[number]

    def _class(self, number: int, information: "Any") -> "Any":
        known = self._classes.get(number)
        if known is None:
            known = self._classes[number] = make_class(self, number, information)
        return known

    def _error(self, told: "dict[str, Any]") -> "Any":
        """An error of the program, rebuilt; nothing that would end a loop or a test of ours instead of failing it."""
        text, kind = str(told.get("text", "")), told.get("class")
        try:
            args = decode(told["args"])
        except (NotDataError, KeyError):
            args = []
        match kind:
            case ["builtins", str(name)]:
                found = getattr(builtins, name, None)
            case [str(module), str(name)] if (module, name) in STANDARD_ERRORS:
                found = getattr(__import__(module, fromlist=["_"]), name, None)
            case ["class", int(number), information]:
                found = self._class(number, information)
            case _:
                found = None
        if found in (StopIteration, StopAsyncIteration):
            found = ProgramStoppedError
        elif not isinstance(found, type) or not (issubclass(found, Exception) or found is SystemExit):
            found, args = RuntimeError, [f"{kind}: {args}"]
        error: Any
        try:
            error = found(*args)
        except Exception:
            error = found.__new__(found)
            error.args = tuple(args)
        try:
            attributes = decode(told["attributes"])
            if isinstance(found, RemoteClass):
                error._said = str(told["said"])
            for name, value in attributes.items():
                setattr(error, name, value)
        except (NotDataError, KeyError, AttributeError, TypeError):
            pass  # an error without its attributes is still that error
        error.__cause__ = ProgramTraceback(text)
        return error


class ProgramTraceback(Exception):
    """What the program's interpreter says of an error."""

    def __str__(self) -> str:
        return "\n" + str(self.args[0])


class RemoteFunction:
    """A function of the program."""

    def __init__(self, program: RemoteProgram, number: int, name: str) -> None:
        self._program, self._number = program, number
        self.__name__ = self.__qualname__ = name

    def __call__(self, *args: "Any", **kwargs: "Any") -> "Any":
        return self._program.ask("call", self._number, *args, **kwargs)

    def __getattr__(self, name: str) -> "Any":
        if name.startswith("__"):
            raise AttributeError(name)  # asked for by copy, inspect and pytest
        return self._program.ask("getattr", self._number, name)

    def __get__(self, instance: "Any", owner: "Any" = None) -> "Any":
        """A function of the program kept as an attribute of a class of the tests is called like a method."""
        return self if instance is None else types.MethodType(self, instance)

    def __repr__(self) -> str:
        return f"<function {self.__name__} of the program>"


class RemoteClass(type):
    """A class of the program; calling it makes an object there."""

    def __new__(mcs, name: str, bases: "tuple[type, ...]", space: "dict[str, Any]") -> "RemoteClass":
        if "_remote_number" not in space:
            raise TypeError("tests cannot derive classes from those of the program")
        return super().__new__(mcs, name, bases, space)

    def __call__(cls, *args: "Any", **kwargs: "Any") -> "Any":
        return cls._remote_program.ask("call", cls._remote_number, *args, **kwargs)

    def __getattr__(cls, name: str) -> "Any":
        if name.startswith(("_remote", "__array")):
            raise AttributeError(name)
        return cls._remote_program.ask("getattr", cls._remote_number, name)

    def __iter__(cls) -> "Iterator[Any]":
        return iter(cls._remote_program.ask("operate", cls._remote_number, "__iter__"))

    def __getitem__(cls, key: "Any") -> "Any":
        return cls._remote_program.ask("operate", cls._remote_number, "__getitem__", key)

    def __len__(cls) -> int:
        return int(cls._remote_program.ask("operate", cls._remote_number, "__len__"))

    def __bool__(cls) -> bool:
        return True


class RemoteErrorClass(RemoteClass):
    """A class of errors of the program: calling it makes an error here, as the tests may raise it."""

    def __call__(cls, *args: "Any", **kwargs: "Any") -> "Any":
        return type.__call__(cls, *args, **kwargs)


class Remote:
    """An object of the program. Attributes and operations are asked for there."""

    _remote_mixed = False

    def __getattr__(self, name: str) -> "Any":
        if name.startswith(("_remote", "__")):
            raise AttributeError(name)  # numpy would take an address from `__array_interface__`
        unmixed(self, name)
        return self._remote_program.ask("getattr", self._remote_own, name)

    def __setattr__(self, name: str, value: "Any") -> None:
        self._remote_program.ask("setattr", self._remote_own, name, value)

    def __delattr__(self, name: str) -> None:
        self._remote_program.ask("delattr", self._remote_own, name)

    def __repr__(self) -> str:
        unmixed(self, "__repr__")
        return str(self._remote_program.ask("operate", self._remote_own, "__repr__"))

    def __str__(self) -> str:
        unmixed(self, "__str__")
        return str(self._remote_program.ask("operate", self._remote_own, "__str__"))

    def __hash__(self) -> int:
        unmixed(self, "__hash__")
        return hash(self._remote_program.ask("operate", self._remote_own, "__hash__"))

    def __copy__(self) -> "Any":
        unmixed(self, "__copy__")
        return self._remote_program.ask("copy", self._remote_own)

    def __deepcopy__(self, memo: object) -> "Any":
        unmixed(self, "__deepcopy__")
        return self._remote_program.ask("deepcopy", self._remote_own)

    def __eq__(self, other: object) -> bool:
        return self is other or compare(self, "__eq__", other) is True

    def __ne__(self, other: object) -> bool:
        return not self == other


def number_of(value: "Any") -> int:
    return int(object.__getattribute__(value, "_number" if isinstance(value, RemoteFunction) else "_remote_own"))


def new_object(kind: "Any", program: RemoteProgram, number: int, *, mixed: bool = False) -> "Any":
    if not issubclass(kind, Remote):
        raise NotDataError("an error of the program is no value")
    made = object.__new__(kind)
    object.__setattr__(made, "_remote_program", program)
    object.__setattr__(made, "_remote_own", number)
    object.__setattr__(made, "_remote_mixed", mixed)
    return made


def make_class(program: RemoteProgram, number: int, information: "Any") -> "Any":
    if not isinstance(information, dict):
        raise NotDataError("an object of an unknown class")
    name = str(information.get("name"))
    bases: list[type] = []
    for base in information.get("bases", []):
        if isinstance(base, str):
            found = getattr(builtins, base, None)
            if isinstance(found, type) and issubclass(found, Exception):
                bases.append(found if found not in (StopIteration, StopAsyncIteration) else RuntimeError)
        else:
            bases.append(program._class(int(base[0]), base[1]))
    operations = information.get("operations", [])
    own = {"_remote_program": program, "_remote_number": number, "__module__": "solution"}
    own |= {operation: forwarded(operation) for operation in operations if operation in FORWARDED}
    if "__exit__" in operations:
        own["__exit__"] = leave
    if "__contains__" in operations or "__iter__" in operations:
        own["__contains__"] = contains
    try:
        if any(issubclass(base, BaseException) for base in bases):
            own = {"_remote_program": program, "_remote_number": number, "__module__": "solution", "__str__": said}
            return RemoteErrorClass(name, tuple(bases), own)
        return RemoteClass(name, tuple(bases) or (Remote,), own)
    except TypeError as error:
        raise NotDataError(f"a class that cannot be made: {error}") from None


def said(error: "Any") -> str:
    return str(vars(error).get("_said", Exception.__str__(error)))


def forwarded(operation: str) -> "Callable[..., Any]":
    """The method of a proxy for an operator."""

    def ask(self: "Any", *args: "Any", **kwargs: "Any") -> "Any":
        do = "call" if operation == "__call__" else "operate"
        names = () if operation == "__call__" else (operation,)
        return self._remote_program.ask(do, self._remote_own, *names, *args, **kwargs)

    if operation in COMPARISONS:

        def order(self: "Any", other: object) -> "Any":
            answer = compare(self, operation, other)
            if answer is None:
                raise TypeError(f"{type(self).__name__} is a class of the program: compare what its attributes hold")
            return answer is True

        return order
    if operation in BINARY or operation in SIGNS:

        def combine(self: "Any", *others: object) -> "Any":
            value = ask(self, *others)
            if value is NotImplemented:
                return value
            mixed = self._remote_mixed or any(not isinstance(other, Remote) or other._remote_mixed for other in others)
            if not mixed:
                return value
            if not isinstance(value, Remote):
                raise TypeError(f"{type(self).__name__} is a class of the program: it may not answer for a number")
            return new_object(type(value), self._remote_program, value._remote_own, mixed=True)

        return combine

    def read(self: "Any", *args: "Any", **kwargs: "Any") -> "Any":
        unmixed(self, operation)
        try:
            return ask(self, *args, **kwargs)
        except ProgramStoppedError:
            if operation == "__next__":
                raise StopIteration from None
            raise

    return read


def unmixed(value: Remote, operation: str) -> None:
    if value._remote_mixed:
        raise TypeError(
            f"{operation} of a {type(value).__name__} that was reckoned with values of the tests: "
            "objects of the program may not answer for them"
        )


def compare(one: Remote, operation: str, other: object) -> "bool | None":
    """What the program says of two objects of its own; None where one of them is not."""
    if not isinstance(other, Remote):
        return None
    answer = one._remote_program.ask("operate", one._remote_own, operation, other)
    return answer if isinstance(answer, bool) else None


def contains(self: "Any", item: object) -> bool:
    return any(item is found or item == found for found in self)


def leave(self: "Any", kind: "Any", error: "Any", trace: "Any") -> bool:
    """The end of a with statement: the program may swallow an error of its own, never a failed assertion."""
    answer = self._remote_program.ask(
        "operate", self._remote_own, "__exit__", kind and builtin_error(kind), error, None
    )
    return bool(answer) and isinstance(error, Exception) and not isinstance(error, (AssertionError, ProgramGoneError))


FORWARDED = frozenset({*COMPARISONS[2:], *BINARY, *SIGNS, *READINGS})
OPERATIONS = frozenset({"__len__", "__iter__", "__getitem__", "__setitem__", "__call__", "__contains__", "__enter__",
                        "__exit__", "__bool__", "__next__", "__fspath__",
                        "__hash__", "__str__", "__repr__", "__float__", "__int__",
                        *COMPARISONS, *BINARY})  # fmt: skip
"""What a program may do with an object of the tests that was handed to it."""


def generator(program: RemoteProgram, number: int) -> "Iterator[Any]":
    sent = None
    while True:
        try:
            item = program.ask("send", number, sent)
        except ProgramStoppedError:
            return
        try:
            sent = yield item
        except GeneratorExit:
            program.ask("close", number)
            raise


async def coroutine(program: RemoteProgram, number: int) -> "Any":
    return program.ask("finish", number)


async def async_generator(program: RemoteProgram, number: int) -> "Any":
    while True:
        try:
            yield program.ask("finish_next", number)
        except ProgramStoppedError:
            return


def is_standard(value: "Any") -> bool:
    """Whether it is a class or a function of the standard library, which the program may import for itself."""
    if not isinstance(value, (type, types.BuiltinFunctionType)):
        return False
    known = str(value.__module__).split(".")[0] in sys.stdlib_module_names
    return known and getattr(value, "__self__", None) in (None, sys.modules.get(value.__module__))


def public(target: object, name: object) -> str:
    """The name of an attribute that a program may use: of an object whose class the tests have written, or of one of
    the few kinds of the standard library that are handed over to be used. Whatever else an object leads to, frames of
    the tests, mocks that could be told what to accept, paths that open files in this process, stays out of reach.
    """
    kind = type(target)
    own = kind.__module__ in TEST_MODULES and all(base.__module__ in BASE_MODULES for base in kind.__mro__)
    if not own and (kind.__module__, kind.__name__) not in USABLE:
        raise AttributeError(f"attributes of a {kind.__name__} are not for programs to use")
    if not isinstance(name, str) or name.startswith("_"):
        raise AttributeError(f"{name} is not for programs to use")
    return name


def builtin_error(kind: type) -> type:
    """The nearest class of errors that every interpreter has."""
    return next(base for base in kind.__mro__ if base.__module__ == "builtins" and issubclass(base, BaseException))


def update(old: "Any", new: "Any") -> None:
    """Make containers what the program has made of their copies, in place, so that all who hold them see it."""
    todo = [(old, new)]
    while todo:
        mine, theirs = todo.pop()
        if type(mine) is not type(theirs):
            continue
        if isinstance(mine, list):
            pairs = list(zip(mine, theirs, strict=False))
            todo += pairs
            mine[:] = [kept(*pair) for pair in pairs] + theirs[len(pairs) :]
        elif isinstance(mine, dict):
            todo += [(mine[key], theirs[key]) for key in mine if key in theirs]
            merged = {key: kept(mine[key], value) if key in mine else value for key, value in theirs.items()}
            mine.clear()
            mine.update(merged)
        elif isinstance(mine, tuple):
            todo += zip(mine, theirs, strict=False)
        elif isinstance(mine, set):
            mine.clear()
            mine.update(theirs)
        elif isinstance(mine, bytearray):
            mine[:] = theirs
        elif type(mine).__name__ in ("deque", "ndarray"):
            if type(mine).__name__ == "deque":
                mine.clear()
                mine.extend(theirs)
            elif mine.shape == theirs.shape:
                mine[...] = theirs


def kept(mine: "Any", theirs: "Any") -> "Any":
    """The container that is there already, if only its contents change."""
    mutable = isinstance(mine, (list, dict, set, bytearray)) or type(mine).__name__ in ("deque", "ndarray")
    return mine if mutable and type(mine) is type(theirs) else theirs


class ProgramModule(types.ModuleType):
    """A module of the program, for `import solution` among the tests."""

    def __init__(self, program: RemoteProgram, name: str) -> None:
        super().__init__(name)
        self._program = program

    def __getattr__(self, name: str) -> "Any":
        if name.startswith("__") and name != "__all__":
            raise AttributeError(name)
        if name == "__all__":
            return [name for name in self._program.ask("listed", None, self.__name__) if not name.startswith("_")]
        return self._program.ask("attribute", None, self.__name__, name)
