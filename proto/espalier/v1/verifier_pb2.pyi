from espalier.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class VerifyRequest(_message.Message):
    __slots__ = ("claim", "check")
    CLAIM_FIELD_NUMBER: _ClassVar[int]
    CHECK_FIELD_NUMBER: _ClassVar[int]
    claim: _common_pb2.Claim
    check: _common_pb2.Check
    def __init__(self, claim: _Optional[_Union[_common_pb2.Claim, _Mapping]] = ..., check: _Optional[_Union[_common_pb2.Check, _Mapping]] = ...) -> None: ...

class VerifyResponse(_message.Message):
    __slots__ = ("verdict",)
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    verdict: _common_pb2.Verdict
    def __init__(self, verdict: _Optional[_Union[_common_pb2.Verdict, _Mapping]] = ...) -> None: ...

class ValidateCheckRequest(_message.Message):
    __slots__ = ("check",)
    CHECK_FIELD_NUMBER: _ClassVar[int]
    check: _common_pb2.Check
    def __init__(self, check: _Optional[_Union[_common_pb2.Check, _Mapping]] = ...) -> None: ...

class ValidateCheckResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DescribeRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DescribeResponse(_message.Message):
    __slots__ = ("verifiers",)
    VERIFIERS_FIELD_NUMBER: _ClassVar[int]
    verifiers: _containers.RepeatedCompositeFieldContainer[VerifierInfo]
    def __init__(self, verifiers: _Optional[_Iterable[_Union[VerifierInfo, _Mapping]]] = ...) -> None: ...

class VerifierInfo(_message.Message):
    __slots__ = ("name", "version", "kinds", "limits", "healthy", "reason")
    class LimitsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    KINDS_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    HEALTHY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    kinds: _containers.RepeatedScalarFieldContainer[str]
    limits: _containers.ScalarMap[str, str]
    healthy: bool
    reason: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., kinds: _Optional[_Iterable[str]] = ..., limits: _Optional[_Mapping[str, str]] = ..., healthy: bool = ..., reason: _Optional[str] = ...) -> None: ...

class EquivalentRequest(_message.Message):
    __slots__ = ("a", "b", "options")
    A_FIELD_NUMBER: _ClassVar[int]
    B_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    a: str
    b: str
    options: _common_pb2.MathOptions
    def __init__(self, a: _Optional[str] = ..., b: _Optional[str] = ..., options: _Optional[_Union[_common_pb2.MathOptions, _Mapping]] = ...) -> None: ...

class EquivalentResponse(_message.Message):
    __slots__ = ("verdict",)
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    verdict: _common_pb2.Verdict
    def __init__(self, verdict: _Optional[_Union[_common_pb2.Verdict, _Mapping]] = ...) -> None: ...

class ClassesRequest(_message.Message):
    __slots__ = ("claims", "weights", "options")
    CLAIMS_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    claims: _containers.RepeatedCompositeFieldContainer[_common_pb2.Claim]
    weights: _containers.RepeatedScalarFieldContainer[float]
    options: _common_pb2.MathOptions
    def __init__(self, claims: _Optional[_Iterable[_Union[_common_pb2.Claim, _Mapping]]] = ..., weights: _Optional[_Iterable[float]] = ..., options: _Optional[_Union[_common_pb2.MathOptions, _Mapping]] = ...) -> None: ...

class ClassesResponse(_message.Message):
    __slots__ = ("classes",)
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    classes: _containers.RepeatedCompositeFieldContainer[EquivalenceClass]
    def __init__(self, classes: _Optional[_Iterable[_Union[EquivalenceClass, _Mapping]]] = ...) -> None: ...

class EquivalenceClass(_message.Message):
    __slots__ = ("members", "representative", "weight", "verdict")
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    REPRESENTATIVE_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    members: _containers.RepeatedScalarFieldContainer[int]
    representative: str
    weight: float
    verdict: _common_pb2.Verdict
    def __init__(self, members: _Optional[_Iterable[int]] = ..., representative: _Optional[str] = ..., weight: _Optional[float] = ..., verdict: _Optional[_Union[_common_pb2.Verdict, _Mapping]] = ...) -> None: ...
