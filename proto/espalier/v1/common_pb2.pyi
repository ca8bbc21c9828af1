from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Comparison(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    COMPARISON_UNSPECIFIED: _ClassVar[Comparison]
    COMPARISON_EXACT: _ClassVar[Comparison]
    COMPARISON_TOKENS: _ClassVar[Comparison]
    COMPARISON_FLOAT: _ClassVar[Comparison]
    COMPARISON_UNORDERED_LINES: _ClassVar[Comparison]

class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STATUS_UNSPECIFIED: _ClassVar[Status]
    STATUS_PASS: _ClassVar[Status]
    STATUS_FAIL: _ClassVar[Status]
    STATUS_UNKNOWN: _ClassVar[Status]
    STATUS_ERROR: _ClassVar[Status]
COMPARISON_UNSPECIFIED: Comparison
COMPARISON_EXACT: Comparison
COMPARISON_TOKENS: Comparison
COMPARISON_FLOAT: Comparison
COMPARISON_UNORDERED_LINES: Comparison
STATUS_UNSPECIFIED: Status
STATUS_PASS: Status
STATUS_FAIL: Status
STATUS_UNKNOWN: Status
STATUS_ERROR: Status

class Problem(_message.Message):
    __slots__ = ("id", "text", "check", "context")
    ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    CHECK_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    id: str
    text: str
    check: Check
    context: _containers.RepeatedCompositeFieldContainer[ChatMessage]
    def __init__(self, id: _Optional[str] = ..., text: _Optional[str] = ..., check: _Optional[_Union[Check, _Mapping]] = ..., context: _Optional[_Iterable[_Union[ChatMessage, _Mapping]]] = ...) -> None: ...

class ChatMessage(_message.Message):
    __slots__ = ("role", "content")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    role: str
    content: str
    def __init__(self, role: _Optional[str] = ..., content: _Optional[str] = ...) -> None: ...

class Check(_message.Message):
    __slots__ = ("reference", "constraints", "program", "steps", "custom", "patch")
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    CONSTRAINTS_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    CUSTOM_FIELD_NUMBER: _ClassVar[int]
    PATCH_FIELD_NUMBER: _ClassVar[int]
    reference: ReferenceCheck
    constraints: ConstraintCheck
    program: ProgramCheck
    steps: StepCheck
    custom: CustomCheck
    patch: PatchCheck
    def __init__(self, reference: _Optional[_Union[ReferenceCheck, _Mapping]] = ..., constraints: _Optional[_Union[ConstraintCheck, _Mapping]] = ..., program: _Optional[_Union[ProgramCheck, _Mapping]] = ..., steps: _Optional[_Union[StepCheck, _Mapping]] = ..., custom: _Optional[_Union[CustomCheck, _Mapping]] = ..., patch: _Optional[_Union[PatchCheck, _Mapping]] = ...) -> None: ...

class ReferenceCheck(_message.Message):
    __slots__ = ("answer", "options")
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    answer: str
    options: MathOptions
    def __init__(self, answer: _Optional[str] = ..., options: _Optional[_Union[MathOptions, _Mapping]] = ...) -> None: ...

class MathOptions(_message.Message):
    __slots__ = ("percent_as_fraction", "missing_unit_ok", "interval_as_inequality", "ordered_lists", "round_to")
    PERCENT_AS_FRACTION_FIELD_NUMBER: _ClassVar[int]
    MISSING_UNIT_OK_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_AS_INEQUALITY_FIELD_NUMBER: _ClassVar[int]
    ORDERED_LISTS_FIELD_NUMBER: _ClassVar[int]
    ROUND_TO_FIELD_NUMBER: _ClassVar[int]
    percent_as_fraction: bool
    missing_unit_ok: bool
    interval_as_inequality: bool
    ordered_lists: bool
    round_to: int
    def __init__(self, percent_as_fraction: bool = ..., missing_unit_ok: bool = ..., interval_as_inequality: bool = ..., ordered_lists: bool = ..., round_to: _Optional[int] = ...) -> None: ...

class ConstraintCheck(_message.Message):
    __slots__ = ("constraints",)
    CONSTRAINTS_FIELD_NUMBER: _ClassVar[int]
    constraints: _containers.RepeatedCompositeFieldContainer[Constraint]
    def __init__(self, constraints: _Optional[_Iterable[_Union[Constraint, _Mapping]]] = ...) -> None: ...

class Constraint(_message.Message):
    __slots__ = ("number_use", "relation", "domain")
    NUMBER_USE_FIELD_NUMBER: _ClassVar[int]
    RELATION_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    number_use: NumberUse
    relation: Relation
    domain: str
    def __init__(self, number_use: _Optional[_Union[NumberUse, _Mapping]] = ..., relation: _Optional[_Union[Relation, _Mapping]] = ..., domain: _Optional[str] = ...) -> None: ...

class Relation(_message.Message):
    __slots__ = ("text", "all_solutions", "round_to")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    ALL_SOLUTIONS_FIELD_NUMBER: _ClassVar[int]
    ROUND_TO_FIELD_NUMBER: _ClassVar[int]
    text: str
    all_solutions: bool
    round_to: int
    def __init__(self, text: _Optional[str] = ..., all_solutions: bool = ..., round_to: _Optional[int] = ...) -> None: ...

class NumberUse(_message.Message):
    __slots__ = ("numbers", "target", "use_all", "operators")
    NUMBERS_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    USE_ALL_FIELD_NUMBER: _ClassVar[int]
    OPERATORS_FIELD_NUMBER: _ClassVar[int]
    numbers: _containers.RepeatedScalarFieldContainer[str]
    target: str
    use_all: bool
    operators: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, numbers: _Optional[_Iterable[str]] = ..., target: _Optional[str] = ..., use_all: bool = ..., operators: _Optional[_Iterable[str]] = ...) -> None: ...

class StepCheck(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ProgramCheck(_message.Message):
    __slots__ = ("language", "cases", "comparison", "tolerance", "stop_at_first_failure", "limits", "files", "together")
    class FilesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    LANGUAGE_FIELD_NUMBER: _ClassVar[int]
    CASES_FIELD_NUMBER: _ClassVar[int]
    COMPARISON_FIELD_NUMBER: _ClassVar[int]
    TOLERANCE_FIELD_NUMBER: _ClassVar[int]
    STOP_AT_FIRST_FAILURE_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    TOGETHER_FIELD_NUMBER: _ClassVar[int]
    language: str
    cases: _containers.RepeatedCompositeFieldContainer[ProgramCase]
    comparison: Comparison
    tolerance: float
    stop_at_first_failure: bool
    limits: ProgramLimits
    files: _containers.ScalarMap[str, str]
    together: bool
    def __init__(self, language: _Optional[str] = ..., cases: _Optional[_Iterable[_Union[ProgramCase, _Mapping]]] = ..., comparison: _Optional[_Union[Comparison, str]] = ..., tolerance: _Optional[float] = ..., stop_at_first_failure: bool = ..., limits: _Optional[_Union[ProgramLimits, _Mapping]] = ..., files: _Optional[_Mapping[str, str]] = ..., together: bool = ...) -> None: ...

class ProgramCase(_message.Message):
    __slots__ = ("stdio", "call", "asserts", "checker", "run", "hidden")
    STDIO_FIELD_NUMBER: _ClassVar[int]
    CALL_FIELD_NUMBER: _ClassVar[int]
    ASSERTS_FIELD_NUMBER: _ClassVar[int]
    CHECKER_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    HIDDEN_FIELD_NUMBER: _ClassVar[int]
    stdio: StdioCase
    call: CallCase
    asserts: AssertCase
    checker: CheckerCase
    run: RunCase
    hidden: bool
    def __init__(self, stdio: _Optional[_Union[StdioCase, _Mapping]] = ..., call: _Optional[_Union[CallCase, _Mapping]] = ..., asserts: _Optional[_Union[AssertCase, _Mapping]] = ..., checker: _Optional[_Union[CheckerCase, _Mapping]] = ..., run: _Optional[_Union[RunCase, _Mapping]] = ..., hidden: bool = ...) -> None: ...

class RunCase(_message.Message):
    __slots__ = ("stdin",)
    STDIN_FIELD_NUMBER: _ClassVar[int]
    stdin: str
    def __init__(self, stdin: _Optional[str] = ...) -> None: ...

class StdioCase(_message.Message):
    __slots__ = ("stdin", "expected")
    STDIN_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    stdin: str
    expected: str
    def __init__(self, stdin: _Optional[str] = ..., expected: _Optional[str] = ...) -> None: ...

class CallCase(_message.Message):
    __slots__ = ("function", "arguments_json", "expected_json")
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_JSON_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_JSON_FIELD_NUMBER: _ClassVar[int]
    function: str
    arguments_json: str
    expected_json: str
    def __init__(self, function: _Optional[str] = ..., arguments_json: _Optional[str] = ..., expected_json: _Optional[str] = ...) -> None: ...

class AssertCase(_message.Message):
    __slots__ = ("source", "entry_point")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    ENTRY_POINT_FIELD_NUMBER: _ClassVar[int]
    source: str
    entry_point: str
    def __init__(self, source: _Optional[str] = ..., entry_point: _Optional[str] = ...) -> None: ...

class CheckerCase(_message.Message):
    __slots__ = ("stdin", "expected", "source")
    STDIN_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    stdin: str
    expected: str
    source: str
    def __init__(self, stdin: _Optional[str] = ..., expected: _Optional[str] = ..., source: _Optional[str] = ...) -> None: ...

class PatchCheck(_message.Message):
    __slots__ = ("repository", "command", "must_pass", "must_not_break", "protected_paths", "files", "hidden_files", "image", "environment", "limits")
    class FilesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class HiddenFilesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    REPOSITORY_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    MUST_PASS_FIELD_NUMBER: _ClassVar[int]
    MUST_NOT_BREAK_FIELD_NUMBER: _ClassVar[int]
    PROTECTED_PATHS_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    HIDDEN_FILES_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    repository: str
    command: _containers.RepeatedScalarFieldContainer[str]
    must_pass: _containers.RepeatedScalarFieldContainer[str]
    must_not_break: _containers.RepeatedScalarFieldContainer[str]
    protected_paths: _containers.RepeatedScalarFieldContainer[str]
    files: _containers.ScalarMap[str, str]
    hidden_files: _containers.ScalarMap[str, str]
    image: str
    environment: str
    limits: PatchLimits
    def __init__(self, repository: _Optional[str] = ..., command: _Optional[_Iterable[str]] = ..., must_pass: _Optional[_Iterable[str]] = ..., must_not_break: _Optional[_Iterable[str]] = ..., protected_paths: _Optional[_Iterable[str]] = ..., files: _Optional[_Mapping[str, str]] = ..., hidden_files: _Optional[_Mapping[str, str]] = ..., image: _Optional[str] = ..., environment: _Optional[str] = ..., limits: _Optional[_Union[PatchLimits, _Mapping]] = ...) -> None: ...

class PatchLimits(_message.Message):
    __slots__ = ("seconds", "memory_mib")
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_MIB_FIELD_NUMBER: _ClassVar[int]
    seconds: float
    memory_mib: int
    def __init__(self, seconds: _Optional[float] = ..., memory_mib: _Optional[int] = ...) -> None: ...

class CustomCheck(_message.Message):
    __slots__ = ("verifier", "parameters_json")
    VERIFIER_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_JSON_FIELD_NUMBER: _ClassVar[int]
    verifier: str
    parameters_json: str
    def __init__(self, verifier: _Optional[str] = ..., parameters_json: _Optional[str] = ...) -> None: ...

class ProgramLimits(_message.Message):
    __slots__ = ("case_seconds", "total_seconds", "memory_mib", "output_bytes")
    CASE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_MIB_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_BYTES_FIELD_NUMBER: _ClassVar[int]
    case_seconds: float
    total_seconds: float
    memory_mib: int
    output_bytes: int
    def __init__(self, case_seconds: _Optional[float] = ..., total_seconds: _Optional[float] = ..., memory_mib: _Optional[int] = ..., output_bytes: _Optional[int] = ...) -> None: ...

class Claim(_message.Message):
    __slots__ = ("text", "bare", "problem")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    BARE_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    text: str
    bare: bool
    problem: str
    def __init__(self, text: _Optional[str] = ..., bare: bool = ..., problem: _Optional[str] = ...) -> None: ...

class Verdict(_message.Message):
    __slots__ = ("status", "score", "decided_by", "evidence", "feedback")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    DECIDED_BY_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    FEEDBACK_FIELD_NUMBER: _ClassVar[int]
    status: Status
    score: float
    decided_by: str
    evidence: _containers.RepeatedCompositeFieldContainer[Evidence]
    feedback: str
    def __init__(self, status: _Optional[_Union[Status, str]] = ..., score: _Optional[float] = ..., decided_by: _Optional[str] = ..., evidence: _Optional[_Iterable[_Union[Evidence, _Mapping]]] = ..., feedback: _Optional[str] = ...) -> None: ...

class Evidence(_message.Message):
    __slots__ = ("rule", "detail")
    RULE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    rule: str
    detail: str
    def __init__(self, rule: _Optional[str] = ..., detail: _Optional[str] = ...) -> None: ...

class Usage(_message.Message):
    __slots__ = ("prompt_tokens", "sampled_tokens", "forced_tokens", "critical_path_tokens")
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    SAMPLED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    FORCED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CRITICAL_PATH_TOKENS_FIELD_NUMBER: _ClassVar[int]
    prompt_tokens: int
    sampled_tokens: int
    forced_tokens: int
    critical_path_tokens: int
    def __init__(self, prompt_tokens: _Optional[int] = ..., sampled_tokens: _Optional[int] = ..., forced_tokens: _Optional[int] = ..., critical_path_tokens: _Optional[int] = ...) -> None: ...
