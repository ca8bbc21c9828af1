"""Runs inside the box, as the program's process beside the process of its tests (tests.py): does what they ask.

Arguments: the program's path, the descriptor of requests, the descriptor of replies. Frames in both directions: four
bytes of length, big-endian, then JSON.
    request   do: what to do (see DO); on: the number of the object to do it with; args: items of [list, dict]
    reply     value: items, or error: see `describe_error`; out: what was printed meanwhile; args: the arguments again,
              where the call has changed one
While it does something, it may send a request of its own: {"callback": number, "name", "args"}.
The program owns this process, so all of this may lie: it is the tests' process that judges.
"""

import io
import json
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from espalier.verifiers.code.harness.load import find, finish, load
    from espalier.verifiers.code.values import Factory, NotDataError, decode, encode

PRINTED_BYTES = 1 << 18
"""What a call may print before it is written through, unseen by the tests."""
MUTABLE = ("list", "dict", "Counter", "OrderedDict", "defaultdict", "set", "deque", "bytearray", "ndarray")


def main(path: str, requests: int, replies: int) -> None:
    pipe = Pipe(requests, replies)
    objects = Objects(pipe)
    printed = sys.stdout = objects.printed
    try:
        objects.module = load(path)
        names = sorted(name for name in vars(objects.module) if not name.startswith("__"))
        pipe.send({"value": names, "out": printed.take()})
    except BaseException as error:
        pipe.send({"error": describe_error(error, objects), "out": printed.take()})
        return
    while (request := pipe.receive()) is not None:
        pipe.send(serve(request, objects, printed))


def serve(request: "dict[str, Any]", objects: "Objects", printed: "Printed") -> "dict[str, Any]":
    try:
        given = request["args"]
        args, kwargs = decode(given, objects.own)
        do: Any = DO[request["do"]]
        value = do(objects, request["on"], *args, **kwargs)
        reply: dict[str, Any] = {"value": encode(value, objects.item), "out": printed.take()}
        for index, arg in enumerate(args):
            if value is arg and isinstance(value, (list, dict, set)):
                reply["same"] = index
        if any(mutable(item) for item in given[:-1]):
            changed = encode([args, kwargs], objects.item)
            if changed != given:
                reply["args"] = changed
        return reply
    except BaseException as error:
        return {"error": describe_error(error, objects), "out": printed.take()}


def mutable(item: "Any") -> bool:
    return isinstance(item, list) and (item[0] in MUTABLE or (item[0] == "items" and item[1] in MUTABLE))


class Pipe:
    def __init__(self, requests: int, replies: int) -> None:
        self.requests = os.fdopen(requests, "rb")
        self.replies = replies

    def receive(self) -> "Any":
        header = self.requests.read(4)
        return json.loads(self.requests.read(int.from_bytes(header, "big"))) if len(header) == 4 else None

    def send(self, message: "Any") -> None:
        body = json.dumps(message, separators=(",", ":")).encode()
        view = memoryview(len(body).to_bytes(4, "big") + body)
        while view:
            view = view[os.write(self.replies, view) :]


class Printed(io.TextIOBase):
    """Standard output during a call: goes to the tests with the reply, so that they may capture it."""

    def __init__(self, behind: "Any") -> None:
        self.behind = behind
        self.parts: list[str] = []
        self.size = 0
        self.buffer = behind.buffer

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return int(self.behind.fileno())

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        if self.size + len(text) > PRINTED_BYTES:
            self.behind.write(text)
        else:
            self.parts.append(text)
            self.size += len(text)
        return len(text)

    def take(self) -> str:
        text = "".join(self.parts)
        self.parts, self.size = [], 0
        return text


class Objects:
    """What is no data, by number: objects of the program for the tests, and objects of the tests for the program."""

    def __init__(self, pipe: Pipe) -> None:
        self.pipe = pipe
        self.module: Any = None
        self.printed = Printed(sys.stdout)
        self.by_number: list[Any] = []
        self.numbers: dict[int, int] = {}
        self.described: dict[int, dict[str, Any]] = {}

    def number(self, value: object) -> int:
        known = self.numbers.get(id(value))
        if known is None:
            known = self.numbers[id(value)] = len(self.by_number)
            self.by_number.append(value)  # kept alive, so that its id stays its own
        return known

    def item(self, value: "Any") -> "list[Any]":
        """How an object that is no data is told of."""
        if isinstance(value, Factory):
            return self.item(value.function)
        kind = type(value)
        if isinstance(value, (Callback, Exported, CallbackIterator)):
            return ["yours", value.number]
        if kind.__module__ == "numpy" and hasattr(value, "tolist"):
            if kind.__name__ != "ndarray":
                return ["numpy", value.dtype.str, [], value.tobytes().hex()]
            if value.dtype.kind in "biufc":
                return ["numpy", value.dtype.str, list(value.shape), value.tobytes().hex()]
        if value is NotImplemented:
            return ["notimplemented"]
        if isinstance(value, type):
            if value.__module__ == "builtins":
                return ["type", value.__name__]
            return ["class", self.number(value), self.describe(value)]
        if kind.__name__ in ("function", "builtin_function_or_method", "method"):
            return ["function", self.number(value), getattr(value, "__name__", "function")]
        if kind.__name__ in ("generator", "coroutine", "async_generator"):
            return [kind.__name__, self.number(value)]
        return ["object", self.number(value), self.number(kind), self.describe(kind)]

    def describe(self, kind: type) -> "dict[str, Any]":
        """A class, with the operations that it brings beyond those of `object`."""
        number = self.number(kind)
        if number not in self.described:
            operations = [name for name in dir(kind) if name.startswith("__") and name.endswith("__")]
            self.described[number] = {
                "name": kind.__name__,
                "operations": [
                    name for name in operations if getattr(kind, name, None) not in (None, getattr(object, name, None))
                ],
                "bases": [
                    base.__name__ if base.__module__ == "builtins" else [self.number(base), self.describe(base)]
                    for base in kind.__bases__
                    if base.__module__ != "builtins" or issubclass(base, BaseException)
                ],
            }
        return self.described[number]

    def own(self, item: "list[Any]") -> "Any":
        """What an item of the tests stands for."""
        match item:
            case ["mine", number]:
                return self.by_number[number]
            case ["callback", number, name]:
                return Callback(self, number, name)
            case ["iterator", number]:
                return CallbackIterator(self, number)
            case ["exported", number, operations]:
                return exported_class(tuple(operations))(self, number)
            case ["import", module, name]:
                value = __import__(module, fromlist=["_"])
                for part in name.split("."):
                    value = getattr(value, part)
                return value
            case ["error", name, text]:
                return getattr(__import__("builtins"), name)(text)
            case ["numpy", dtype, shape, data]:
                import numpy

                array = numpy.frombuffer(bytes.fromhex(data), dtype)
                return array.reshape(shape).copy() if shape else array[0]
        raise NotDataError(f"unknown item {item[0]!r}")

    def ask(self, number: int, name: str, args: "Any", kwargs: "Any") -> "Any":
        """Have the tests do something with an object of theirs."""
        self.pipe.send({"callback": number, "name": name, "args": encode([list(args), kwargs], self.item)})
        while True:
            message = self.pipe.receive()
            if message is None:
                os._exit(1)
            if "do" in message:
                self.pipe.send(serve(message, self, self.printed))
            elif "error" in message:
                raise_error(message["error"], self)
            else:
                return decode(message["value"], self.own)


class Callback:
    """A function of the tests."""

    def __init__(self, objects: Objects, number: int, name: str) -> None:
        self.objects, self.number, self.__name__ = objects, number, name

    def __call__(self, *args: "Any", **kwargs: "Any") -> "Any":
        return self.objects.ask(self.number, "__call__", args, kwargs)


class CallbackIterator:
    """An iterator of the tests."""

    def __init__(self, objects: Objects, number: int) -> None:
        self.objects, self.number = objects, number

    def __iter__(self) -> "CallbackIterator":
        return self

    def __next__(self) -> "Any":
        return self.objects.ask(self.number, "__next__", (), {})


class Exported:
    """An object of a class of the tests: its public attributes, and the operations that its class has."""

    def __init__(self, objects: Objects, number: int) -> None:
        object.__setattr__(self, "objects", objects)
        object.__setattr__(self, "number", number)

    def __getattr__(self, name: str) -> "Any":
        if name.startswith("_"):
            raise AttributeError(name)
        return self.objects.ask(self.number, "getattr", (name,), {})

    def __setattr__(self, name: str, value: "Any") -> None:
        self.objects.ask(self.number, "setattr", (name, value), {})


def exported_class(operations: "tuple[str, ...]") -> type:
    def forward(name: str) -> "Any":
        return lambda self, *args: self.objects.ask(self.number, name, args, {})

    return _exported.setdefault(operations, type("Exported", (Exported,), {name: forward(name) for name in operations}))


_exported: "dict[tuple[str, ...], type]" = {}


def describe_error(error: BaseException, objects: Objects) -> "dict[str, Any]":
    import traceback

    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_globals is globals():
        frames = frames.tb_next  # ours say nothing
    kind = type(error)
    try:
        args = encode(list(error.args))
    except Exception:
        args = encode([str(error)])
    standard = kind.__module__.split(".")[0] in sys.stdlib_module_names or kind.__module__ == "builtins"
    return {
        "class": [kind.__module__, kind.__name__] if standard else objects.item(kind),
        "args": args,
        "attributes": encode({name: value for name, value in vars(error).items() if is_data(value)}),
        "said": str(error),
        "text": "".join(traceback.format_exception(kind, error, frames))[-4000:],
    }


def is_data(value: object) -> bool:
    try:
        encode(value)
    except Exception:
        return False
    return True


def raise_error(error: "dict[str, Any]", objects: Objects) -> None:
    """Raise what a callback has raised among the tests."""
    kind: Any = getattr(__import__("builtins"), error["class"], RuntimeError)
    raise (kind if isinstance(kind, type) and issubclass(kind, BaseException) else RuntimeError)(error["text"])


def values_of(objects: Objects, _: object, wanted: "list[str]") -> "dict[str, Any]":
    """The values of names that the module has; what cannot be told of is left out."""
    found = {}
    for name in wanted:
        try:
            encode(vars(objects.module)[name], objects.item)
            found[name] = vars(objects.module)[name]
        except Exception:  # noqa: S112 (the tests will say that the name is missing)
            continue
    return found


def operate(objects: Objects, on: int, name: str, *args: "Any") -> "Any":
    """An operation as Python looks it up: on the class."""
    value = objects.by_number[on]
    return getattr(type(value), name)(value, *args)


def module_of(objects: Objects, name: str) -> "Any":
    return objects.module if name == "solution" else __import__(name)


def duplicate(objects: Objects, on: int, function: str) -> "Any":
    import copy

    return getattr(copy, function)(objects.by_number[on])


def candidate(objects: Objects, _: object, entry_point: str) -> "Any":
    """The function that tests call their candidate: the entry point, or the last function that the module defines."""
    if entry_point:
        return find(objects.module, entry_point)
    own = [value for value in vars(objects.module).values() if getattr(value, "__module__", "") == "solution"]
    functions = [value for value in own if callable(value) and not getattr(value, "__name__", "_").startswith("_")]
    if not functions:
        raise NameError("the program defines no function")
    return functions[-1]


DO = {
    "candidate": candidate,
    "attribute": lambda objects, _, module, name: getattr(module_of(objects, module), name),
    "listed": lambda objects, _, module: list(vars(module_of(objects, module))),
    "copy": lambda objects, on: duplicate(objects, on, "copy"),
    "deepcopy": lambda objects, on: duplicate(objects, on, "deepcopy"),
    "names": values_of,
    "find": lambda objects, _, name: find(objects.module, name),
    "call": lambda objects, on, *args, **kwargs: objects.by_number[on](*args, **kwargs),
    "operate": operate,
    "getattr": lambda objects, on, name: getattr(objects.by_number[on], name),
    "setattr": lambda objects, on, name, value: setattr(objects.by_number[on], name, value),
    "delattr": lambda objects, on, name: delattr(objects.by_number[on], name),
    "send": lambda objects, on, value: objects.by_number[on].send(value),
    "close": lambda objects, on: objects.by_number[on].close(),
    "finish": lambda objects, on: finish(objects.by_number[on]),
    "finish_next": lambda objects, on: finish(objects.by_number[on].__anext__()),
}

main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
