from espalier.v1 import solver_pb2 as _solver_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StoredCandidate(_message.Message):
    __slots__ = ("candidate", "spec", "branch_answers", "answer_class")
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    BRANCH_ANSWERS_FIELD_NUMBER: _ClassVar[int]
    ANSWER_CLASS_FIELD_NUMBER: _ClassVar[int]
    candidate: _solver_pb2.Candidate
    spec: CandidateSpec
    branch_answers: _containers.RepeatedCompositeFieldContainer[BranchAnswer]
    answer_class: int
    def __init__(self, candidate: _Optional[_Union[_solver_pb2.Candidate, _Mapping]] = ..., spec: _Optional[_Union[CandidateSpec, _Mapping]] = ..., branch_answers: _Optional[_Iterable[_Union[BranchAnswer, _Mapping]]] = ..., answer_class: _Optional[int] = ...) -> None: ...

class CandidateSpec(_message.Message):
    __slots__ = ("seed", "temperature", "max_tokens", "hint", "repair")
    class Repair(_message.Message):
        __slots__ = ("candidate", "answer", "feedback")
        CANDIDATE_FIELD_NUMBER: _ClassVar[int]
        ANSWER_FIELD_NUMBER: _ClassVar[int]
        FEEDBACK_FIELD_NUMBER: _ClassVar[int]
        candidate: int
        answer: str
        feedback: str
        def __init__(self, candidate: _Optional[int] = ..., answer: _Optional[str] = ..., feedback: _Optional[str] = ...) -> None: ...
    SEED_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    HINT_FIELD_NUMBER: _ClassVar[int]
    REPAIR_FIELD_NUMBER: _ClassVar[int]
    seed: int
    temperature: float
    max_tokens: int
    hint: str
    repair: CandidateSpec.Repair
    def __init__(self, seed: _Optional[int] = ..., temperature: _Optional[float] = ..., max_tokens: _Optional[int] = ..., hint: _Optional[str] = ..., repair: _Optional[_Union[CandidateSpec.Repair, _Mapping]] = ...) -> None: ...

class BranchAnswer(_message.Message):
    __slots__ = ("path", "answer")
    PATH_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    path: _solver_pb2.BranchPath
    answer: str
    def __init__(self, path: _Optional[_Union[_solver_pb2.BranchPath, _Mapping]] = ..., answer: _Optional[str] = ...) -> None: ...
