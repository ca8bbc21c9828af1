from espalier.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class JobState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    JOB_STATE_UNSPECIFIED: _ClassVar[JobState]
    JOB_STATE_QUEUED: _ClassVar[JobState]
    JOB_STATE_RUNNING: _ClassVar[JobState]
    JOB_STATE_DONE: _ClassVar[JobState]
    JOB_STATE_CANCELLED: _ClassVar[JobState]
    JOB_STATE_DEAD: _ClassVar[JobState]
JOB_STATE_UNSPECIFIED: JobState
JOB_STATE_QUEUED: JobState
JOB_STATE_RUNNING: JobState
JOB_STATE_DONE: JobState
JOB_STATE_CANCELLED: JobState
JOB_STATE_DEAD: JobState

class SolveRequest(_message.Message):
    __slots__ = ("problem", "settings", "deltas")
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    DELTAS_FIELD_NUMBER: _ClassVar[int]
    problem: _common_pb2.Problem
    settings: Settings
    deltas: bool
    def __init__(self, problem: _Optional[_Union[_common_pb2.Problem, _Mapping]] = ..., settings: _Optional[_Union[Settings, _Mapping]] = ..., deltas: bool = ...) -> None: ...

class Settings(_message.Message):
    __slots__ = ("policy", "k", "max_tokens", "seconds", "rounds", "seed", "temperature", "candidate_tokens", "generated_tests", "stop", "rejoins", "ways", "comparisons", "certainty")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    ROUNDS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_TOKENS_FIELD_NUMBER: _ClassVar[int]
    GENERATED_TESTS_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    REJOINS_FIELD_NUMBER: _ClassVar[int]
    WAYS_FIELD_NUMBER: _ClassVar[int]
    COMPARISONS_FIELD_NUMBER: _ClassVar[int]
    CERTAINTY_FIELD_NUMBER: _ClassVar[int]
    policy: str
    k: int
    max_tokens: int
    seconds: float
    rounds: int
    seed: int
    temperature: float
    candidate_tokens: int
    generated_tests: int
    stop: _containers.RepeatedScalarFieldContainer[str]
    rejoins: int
    ways: _containers.RepeatedScalarFieldContainer[str]
    comparisons: int
    certainty: float
    def __init__(self, policy: _Optional[str] = ..., k: _Optional[int] = ..., max_tokens: _Optional[int] = ..., seconds: _Optional[float] = ..., rounds: _Optional[int] = ..., seed: _Optional[int] = ..., temperature: _Optional[float] = ..., candidate_tokens: _Optional[int] = ..., generated_tests: _Optional[int] = ..., stop: _Optional[_Iterable[str]] = ..., rejoins: _Optional[int] = ..., ways: _Optional[_Iterable[str]] = ..., comparisons: _Optional[int] = ..., certainty: _Optional[float] = ...) -> None: ...

class BranchPath(_message.Message):
    __slots__ = ("turns",)
    class Turn(_message.Message):
        __slots__ = ("block", "step")
        BLOCK_FIELD_NUMBER: _ClassVar[int]
        STEP_FIELD_NUMBER: _ClassVar[int]
        block: int
        step: int
        def __init__(self, block: _Optional[int] = ..., step: _Optional[int] = ...) -> None: ...
    TURNS_FIELD_NUMBER: _ClassVar[int]
    turns: _containers.RepeatedCompositeFieldContainer[BranchPath.Turn]
    def __init__(self, turns: _Optional[_Iterable[_Union[BranchPath.Turn, _Mapping]]] = ...) -> None: ...

class Budget(_message.Message):
    __slots__ = ("candidates", "tokens", "seconds", "rounds", "rejoins", "comparisons")
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    ROUNDS_FIELD_NUMBER: _ClassVar[int]
    REJOINS_FIELD_NUMBER: _ClassVar[int]
    COMPARISONS_FIELD_NUMBER: _ClassVar[int]
    candidates: int
    tokens: int
    seconds: float
    rounds: int
    rejoins: int
    comparisons: int
    def __init__(self, candidates: _Optional[int] = ..., tokens: _Optional[int] = ..., seconds: _Optional[float] = ..., rounds: _Optional[int] = ..., rejoins: _Optional[int] = ..., comparisons: _Optional[int] = ...) -> None: ...

class SolveEvent(_message.Message):
    __slots__ = ("seconds", "solve_id", "accepted", "candidate_started", "branch_opened", "delta", "branch_closed", "joined", "response_finished", "answer_judged", "candidate_finished", "round_finished", "solved", "written_tests", "compared")
    class Accepted(_message.Message):
        __slots__ = ("problem", "policy", "budget", "seed", "examples")
        PROBLEM_FIELD_NUMBER: _ClassVar[int]
        POLICY_FIELD_NUMBER: _ClassVar[int]
        BUDGET_FIELD_NUMBER: _ClassVar[int]
        SEED_FIELD_NUMBER: _ClassVar[int]
        EXAMPLES_FIELD_NUMBER: _ClassVar[int]
        problem: _common_pb2.Problem
        policy: str
        budget: Budget
        seed: int
        examples: _containers.RepeatedScalarFieldContainer[str]
        def __init__(self, problem: _Optional[_Union[_common_pb2.Problem, _Mapping]] = ..., policy: _Optional[str] = ..., budget: _Optional[_Union[Budget, _Mapping]] = ..., seed: _Optional[int] = ..., examples: _Optional[_Iterable[str]] = ...) -> None: ...
    class CandidateStarted(_message.Message):
        __slots__ = ("spec", "question", "prompt")
        SPEC_FIELD_NUMBER: _ClassVar[int]
        QUESTION_FIELD_NUMBER: _ClassVar[int]
        PROMPT_FIELD_NUMBER: _ClassVar[int]
        spec: CandidateSpec
        question: str
        prompt: _containers.RepeatedScalarFieldContainer[int]
        def __init__(self, spec: _Optional[_Union[CandidateSpec, _Mapping]] = ..., question: _Optional[str] = ..., prompt: _Optional[_Iterable[int]] = ...) -> None: ...
    class BranchOpened(_message.Message):
        __slots__ = ("candidate", "path", "plan", "plan_tokens")
        CANDIDATE_FIELD_NUMBER: _ClassVar[int]
        PATH_FIELD_NUMBER: _ClassVar[int]
        PLAN_FIELD_NUMBER: _ClassVar[int]
        PLAN_TOKENS_FIELD_NUMBER: _ClassVar[int]
        candidate: int
        path: BranchPath
        plan: str
        plan_tokens: _containers.RepeatedScalarFieldContainer[int]
        def __init__(self, candidate: _Optional[int] = ..., path: _Optional[_Union[BranchPath, _Mapping]] = ..., plan: _Optional[str] = ..., plan_tokens: _Optional[_Iterable[int]] = ...) -> None: ...
    class Delta(_message.Message):
        __slots__ = ("candidate", "path", "text", "token_ids", "forced", "logprobs", "positions")
        CANDIDATE_FIELD_NUMBER: _ClassVar[int]
        PATH_FIELD_NUMBER: _ClassVar[int]
        TEXT_FIELD_NUMBER: _ClassVar[int]
        TOKEN_IDS_FIELD_NUMBER: _ClassVar[int]
        FORCED_FIELD_NUMBER: _ClassVar[int]
        LOGPROBS_FIELD_NUMBER: _ClassVar[int]
        POSITIONS_FIELD_NUMBER: _ClassVar[int]
        candidate: int
        path: BranchPath
        text: str
        token_ids: _containers.RepeatedScalarFieldContainer[int]
        forced: _containers.RepeatedScalarFieldContainer[bool]
        logprobs: _containers.RepeatedScalarFieldContainer[float]
        positions: _containers.RepeatedScalarFieldContainer[int]
        def __init__(self, candidate: _Optional[int] = ..., path: _Optional[_Union[BranchPath, _Mapping]] = ..., text: _Optional[str] = ..., token_ids: _Optional[_Iterable[int]] = ..., forced: _Optional[_Iterable[bool]] = ..., logprobs: _Optional[_Iterable[float]] = ..., positions: _Optional[_Iterable[int]] = ...) -> None: ...
    class BranchClosed(_message.Message):
        __slots__ = ("candidate", "path", "cut")
        CANDIDATE_FIELD_NUMBER: _ClassVar[int]
        PATH_FIELD_NUMBER: _ClassVar[int]
        CUT_FIELD_NUMBER: _ClassVar[int]
        candidate: int
        path: BranchPath
        cut: bool
        def __init__(self, candidate: _Optional[int] = ..., path: _Optional[_Union[BranchPath, _Mapping]] = ..., cut: bool = ...) -> None: ...
    class Joined(_message.Message):
        __slots__ = ("candidate", "path", "block")
        CANDIDATE_FIELD_NUMBER: _ClassVar[int]
        PATH_FIELD_NUMBER: _ClassVar[int]
        BLOCK_FIELD_NUMBER: _ClassVar[int]
        candidate: int
        path: BranchPath
        block: int
        def __init__(self, candidate: _Optional[int] = ..., path: _Optional[_Union[BranchPath, _Mapping]] = ..., block: _Optional[int] = ...) -> None: ...
    class ResponseFinished(_message.Message):
        __slots__ = ("candidate", "finish_reason", "usage", "detail")
        CANDIDATE_FIELD_NUMBER: _ClassVar[int]
        FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
        USAGE_FIELD_NUMBER: _ClassVar[int]
        DETAIL_FIELD_NUMBER: _ClassVar[int]
        candidate: int
        finish_reason: str
        usage: _common_pb2.Usage
        detail: str
        def __init__(self, candidate: _Optional[int] = ..., finish_reason: _Optional[str] = ..., usage: _Optional[_Union[_common_pb2.Usage, _Mapping]] = ..., detail: _Optional[str] = ...) -> None: ...
    class AnswerJudged(_message.Message):
        __slots__ = ("candidate", "path", "answer", "verdict", "already_judged")
        CANDIDATE_FIELD_NUMBER: _ClassVar[int]
        PATH_FIELD_NUMBER: _ClassVar[int]
        ANSWER_FIELD_NUMBER: _ClassVar[int]
        VERDICT_FIELD_NUMBER: _ClassVar[int]
        ALREADY_JUDGED_FIELD_NUMBER: _ClassVar[int]
        candidate: int
        path: BranchPath
        answer: str
        verdict: _common_pb2.Verdict
        already_judged: bool
        def __init__(self, candidate: _Optional[int] = ..., path: _Optional[_Union[BranchPath, _Mapping]] = ..., answer: _Optional[str] = ..., verdict: _Optional[_Union[_common_pb2.Verdict, _Mapping]] = ..., already_judged: bool = ...) -> None: ...
    class CandidateFinished(_message.Message):
        __slots__ = ("candidate", "votes")
        class VotesEntry(_message.Message):
            __slots__ = ("key", "value")
            KEY_FIELD_NUMBER: _ClassVar[int]
            VALUE_FIELD_NUMBER: _ClassVar[int]
            key: int
            value: float
            def __init__(self, key: _Optional[int] = ..., value: _Optional[float] = ...) -> None: ...
        CANDIDATE_FIELD_NUMBER: _ClassVar[int]
        VOTES_FIELD_NUMBER: _ClassVar[int]
        candidate: Candidate
        votes: _containers.ScalarMap[int, float]
        def __init__(self, candidate: _Optional[_Union[Candidate, _Mapping]] = ..., votes: _Optional[_Mapping[int, float]] = ...) -> None: ...
    class Compared(_message.Message):
        __slots__ = ("first", "second", "score", "usage", "votes")
        class VotesEntry(_message.Message):
            __slots__ = ("key", "value")
            KEY_FIELD_NUMBER: _ClassVar[int]
            VALUE_FIELD_NUMBER: _ClassVar[int]
            key: int
            value: float
            def __init__(self, key: _Optional[int] = ..., value: _Optional[float] = ...) -> None: ...
        FIRST_FIELD_NUMBER: _ClassVar[int]
        SECOND_FIELD_NUMBER: _ClassVar[int]
        SCORE_FIELD_NUMBER: _ClassVar[int]
        USAGE_FIELD_NUMBER: _ClassVar[int]
        VOTES_FIELD_NUMBER: _ClassVar[int]
        first: int
        second: int
        score: float
        usage: _common_pb2.Usage
        votes: _containers.ScalarMap[int, float]
        def __init__(self, first: _Optional[int] = ..., second: _Optional[int] = ..., score: _Optional[float] = ..., usage: _Optional[_Union[_common_pb2.Usage, _Mapping]] = ..., votes: _Optional[_Mapping[int, float]] = ...) -> None: ...
    class WrittenTests(_message.Message):
        __slots__ = ("tests", "usage")
        class Test(_message.Message):
            __slots__ = ("source", "count")
            SOURCE_FIELD_NUMBER: _ClassVar[int]
            COUNT_FIELD_NUMBER: _ClassVar[int]
            source: str
            count: int
            def __init__(self, source: _Optional[str] = ..., count: _Optional[int] = ...) -> None: ...
        TESTS_FIELD_NUMBER: _ClassVar[int]
        USAGE_FIELD_NUMBER: _ClassVar[int]
        tests: _containers.RepeatedCompositeFieldContainer[SolveEvent.WrittenTests.Test]
        usage: _common_pb2.Usage
        def __init__(self, tests: _Optional[_Iterable[_Union[SolveEvent.WrittenTests.Test, _Mapping]]] = ..., usage: _Optional[_Union[_common_pb2.Usage, _Mapping]] = ...) -> None: ...
    class RoundFinished(_message.Message):
        __slots__ = ("round", "stopped", "tokens")
        ROUND_FIELD_NUMBER: _ClassVar[int]
        STOPPED_FIELD_NUMBER: _ClassVar[int]
        TOKENS_FIELD_NUMBER: _ClassVar[int]
        round: int
        stopped: str
        tokens: int
        def __init__(self, round: _Optional[int] = ..., stopped: _Optional[str] = ..., tokens: _Optional[int] = ...) -> None: ...
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    SOLVE_ID_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_STARTED_FIELD_NUMBER: _ClassVar[int]
    BRANCH_OPENED_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    BRANCH_CLOSED_FIELD_NUMBER: _ClassVar[int]
    JOINED_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FINISHED_FIELD_NUMBER: _ClassVar[int]
    ANSWER_JUDGED_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_FINISHED_FIELD_NUMBER: _ClassVar[int]
    ROUND_FINISHED_FIELD_NUMBER: _ClassVar[int]
    SOLVED_FIELD_NUMBER: _ClassVar[int]
    WRITTEN_TESTS_FIELD_NUMBER: _ClassVar[int]
    COMPARED_FIELD_NUMBER: _ClassVar[int]
    seconds: float
    solve_id: str
    accepted: SolveEvent.Accepted
    candidate_started: SolveEvent.CandidateStarted
    branch_opened: SolveEvent.BranchOpened
    delta: SolveEvent.Delta
    branch_closed: SolveEvent.BranchClosed
    joined: SolveEvent.Joined
    response_finished: SolveEvent.ResponseFinished
    answer_judged: SolveEvent.AnswerJudged
    candidate_finished: SolveEvent.CandidateFinished
    round_finished: SolveEvent.RoundFinished
    solved: SolveResponse
    written_tests: SolveEvent.WrittenTests
    compared: SolveEvent.Compared
    def __init__(self, seconds: _Optional[float] = ..., solve_id: _Optional[str] = ..., accepted: _Optional[_Union[SolveEvent.Accepted, _Mapping]] = ..., candidate_started: _Optional[_Union[SolveEvent.CandidateStarted, _Mapping]] = ..., branch_opened: _Optional[_Union[SolveEvent.BranchOpened, _Mapping]] = ..., delta: _Optional[_Union[SolveEvent.Delta, _Mapping]] = ..., branch_closed: _Optional[_Union[SolveEvent.BranchClosed, _Mapping]] = ..., joined: _Optional[_Union[SolveEvent.Joined, _Mapping]] = ..., response_finished: _Optional[_Union[SolveEvent.ResponseFinished, _Mapping]] = ..., answer_judged: _Optional[_Union[SolveEvent.AnswerJudged, _Mapping]] = ..., candidate_finished: _Optional[_Union[SolveEvent.CandidateFinished, _Mapping]] = ..., round_finished: _Optional[_Union[SolveEvent.RoundFinished, _Mapping]] = ..., solved: _Optional[_Union[SolveResponse, _Mapping]] = ..., written_tests: _Optional[_Union[SolveEvent.WrittenTests, _Mapping]] = ..., compared: _Optional[_Union[SolveEvent.Compared, _Mapping]] = ...) -> None: ...

class SolveResponse(_message.Message):
    __slots__ = ("solve_id", "problem", "outcome", "answer", "decided_by", "reason", "verdict", "candidate", "stopped", "candidates", "spent", "seed", "confidence", "hint")
    class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        OUTCOME_UNSPECIFIED: _ClassVar[SolveResponse.Outcome]
        OUTCOME_VERIFIED: _ClassVar[SolveResponse.Outcome]
        OUTCOME_ANSWERED: _ClassVar[SolveResponse.Outcome]
        OUTCOME_UNSOLVED: _ClassVar[SolveResponse.Outcome]
    OUTCOME_UNSPECIFIED: SolveResponse.Outcome
    OUTCOME_VERIFIED: SolveResponse.Outcome
    OUTCOME_ANSWERED: SolveResponse.Outcome
    OUTCOME_UNSOLVED: SolveResponse.Outcome
    class DecidedBy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        DECIDED_BY_UNSPECIFIED: _ClassVar[SolveResponse.DecidedBy]
        DECIDED_BY_CHECK: _ClassVar[SolveResponse.DecidedBy]
        DECIDED_BY_CONSENSUS: _ClassVar[SolveResponse.DecidedBy]
        DECIDED_BY_ONLY_CANDIDATE: _ClassVar[SolveResponse.DecidedBy]
        DECIDED_BY_NONE: _ClassVar[SolveResponse.DecidedBy]
    DECIDED_BY_UNSPECIFIED: SolveResponse.DecidedBy
    DECIDED_BY_CHECK: SolveResponse.DecidedBy
    DECIDED_BY_CONSENSUS: SolveResponse.DecidedBy
    DECIDED_BY_ONLY_CANDIDATE: SolveResponse.DecidedBy
    DECIDED_BY_NONE: SolveResponse.DecidedBy
    SOLVE_ID_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    DECIDED_BY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    STOPPED_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    SPENT_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    HINT_FIELD_NUMBER: _ClassVar[int]
    solve_id: str
    problem: _common_pb2.Problem
    outcome: SolveResponse.Outcome
    answer: str
    decided_by: SolveResponse.DecidedBy
    reason: str
    verdict: _common_pb2.Verdict
    candidate: int
    stopped: str
    candidates: _containers.RepeatedCompositeFieldContainer[Candidate]
    spent: Spent
    seed: int
    confidence: float
    hint: str
    def __init__(self, solve_id: _Optional[str] = ..., problem: _Optional[_Union[_common_pb2.Problem, _Mapping]] = ..., outcome: _Optional[_Union[SolveResponse.Outcome, str]] = ..., answer: _Optional[str] = ..., decided_by: _Optional[_Union[SolveResponse.DecidedBy, str]] = ..., reason: _Optional[str] = ..., verdict: _Optional[_Union[_common_pb2.Verdict, _Mapping]] = ..., candidate: _Optional[int] = ..., stopped: _Optional[str] = ..., candidates: _Optional[_Iterable[_Union[Candidate, _Mapping]]] = ..., spent: _Optional[_Union[Spent, _Mapping]] = ..., seed: _Optional[int] = ..., confidence: _Optional[float] = ..., hint: _Optional[str] = ...) -> None: ...

class CandidateSpec(_message.Message):
    __slots__ = ("index", "round", "seed", "temperature", "max_tokens", "hint", "repair", "rejoin", "way")
    class Repair(_message.Message):
        __slots__ = ("candidate", "answer", "feedback")
        CANDIDATE_FIELD_NUMBER: _ClassVar[int]
        ANSWER_FIELD_NUMBER: _ClassVar[int]
        FEEDBACK_FIELD_NUMBER: _ClassVar[int]
        candidate: int
        answer: str
        feedback: str
        def __init__(self, candidate: _Optional[int] = ..., answer: _Optional[str] = ..., feedback: _Optional[str] = ...) -> None: ...
    INDEX_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    HINT_FIELD_NUMBER: _ClassVar[int]
    REPAIR_FIELD_NUMBER: _ClassVar[int]
    REJOIN_FIELD_NUMBER: _ClassVar[int]
    WAY_FIELD_NUMBER: _ClassVar[int]
    index: int
    round: int
    seed: int
    temperature: float
    max_tokens: int
    hint: str
    repair: CandidateSpec.Repair
    rejoin: int
    way: str
    def __init__(self, index: _Optional[int] = ..., round: _Optional[int] = ..., seed: _Optional[int] = ..., temperature: _Optional[float] = ..., max_tokens: _Optional[int] = ..., hint: _Optional[str] = ..., repair: _Optional[_Union[CandidateSpec.Repair, _Mapping]] = ..., rejoin: _Optional[int] = ..., way: _Optional[str] = ...) -> None: ...

class BranchAnswer(_message.Message):
    __slots__ = ("path", "answer", "answer_class")
    PATH_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    ANSWER_CLASS_FIELD_NUMBER: _ClassVar[int]
    path: BranchPath
    answer: str
    answer_class: int
    def __init__(self, path: _Optional[_Union[BranchPath, _Mapping]] = ..., answer: _Optional[str] = ..., answer_class: _Optional[int] = ...) -> None: ...

class Candidate(_message.Message):
    __slots__ = ("spec", "text", "answer", "branch_answers", "finish_reason", "detail", "usage", "verdict", "well_formed", "forked", "seconds", "answer_class", "branches", "examples")
    SPEC_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    BRANCH_ANSWERS_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    WELL_FORMED_FIELD_NUMBER: _ClassVar[int]
    FORKED_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    ANSWER_CLASS_FIELD_NUMBER: _ClassVar[int]
    BRANCHES_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    spec: CandidateSpec
    text: str
    answer: str
    branch_answers: _containers.RepeatedCompositeFieldContainer[BranchAnswer]
    finish_reason: str
    detail: str
    usage: _common_pb2.Usage
    verdict: _common_pb2.Verdict
    well_formed: bool
    forked: bool
    seconds: float
    answer_class: int
    branches: _containers.RepeatedScalarFieldContainer[int]
    examples: float
    def __init__(self, spec: _Optional[_Union[CandidateSpec, _Mapping]] = ..., text: _Optional[str] = ..., answer: _Optional[str] = ..., branch_answers: _Optional[_Iterable[_Union[BranchAnswer, _Mapping]]] = ..., finish_reason: _Optional[str] = ..., detail: _Optional[str] = ..., usage: _Optional[_Union[_common_pb2.Usage, _Mapping]] = ..., verdict: _Optional[_Union[_common_pb2.Verdict, _Mapping]] = ..., well_formed: bool = ..., forked: bool = ..., seconds: _Optional[float] = ..., answer_class: _Optional[int] = ..., branches: _Optional[_Iterable[int]] = ..., examples: _Optional[float] = ...) -> None: ...

class Spent(_message.Message):
    __slots__ = ("accepted", "failed", "aborted", "critical_path_tokens", "seconds", "verification", "rejoin_tokens")
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    ABORTED_FIELD_NUMBER: _ClassVar[int]
    CRITICAL_PATH_TOKENS_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    VERIFICATION_FIELD_NUMBER: _ClassVar[int]
    REJOIN_TOKENS_FIELD_NUMBER: _ClassVar[int]
    accepted: _common_pb2.Usage
    failed: _common_pb2.Usage
    aborted: _common_pb2.Usage
    critical_path_tokens: int
    seconds: float
    verification: _common_pb2.Usage
    rejoin_tokens: int
    def __init__(self, accepted: _Optional[_Union[_common_pb2.Usage, _Mapping]] = ..., failed: _Optional[_Union[_common_pb2.Usage, _Mapping]] = ..., aborted: _Optional[_Union[_common_pb2.Usage, _Mapping]] = ..., critical_path_tokens: _Optional[int] = ..., seconds: _Optional[float] = ..., verification: _Optional[_Union[_common_pb2.Usage, _Mapping]] = ..., rejoin_tokens: _Optional[int] = ...) -> None: ...

class Job(_message.Message):
    __slots__ = ("id", "problem", "settings", "submitted", "traceparent", "caller")
    ID_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    SUBMITTED_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    CALLER_FIELD_NUMBER: _ClassVar[int]
    id: str
    problem: _common_pb2.Problem
    settings: Settings
    submitted: float
    traceparent: str
    caller: str
    def __init__(self, id: _Optional[str] = ..., problem: _Optional[_Union[_common_pb2.Problem, _Mapping]] = ..., settings: _Optional[_Union[Settings, _Mapping]] = ..., submitted: _Optional[float] = ..., traceparent: _Optional[str] = ..., caller: _Optional[str] = ...) -> None: ...

class JobStatus(_message.Message):
    __slots__ = ("id", "state", "submitted", "started", "finished", "attempts", "candidates", "reason")
    ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SUBMITTED_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    id: str
    state: JobState
    submitted: float
    started: float
    finished: float
    attempts: int
    candidates: int
    reason: str
    def __init__(self, id: _Optional[str] = ..., state: _Optional[_Union[JobState, str]] = ..., submitted: _Optional[float] = ..., started: _Optional[float] = ..., finished: _Optional[float] = ..., attempts: _Optional[int] = ..., candidates: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class SubmitJobRequest(_message.Message):
    __slots__ = ("problems", "settings", "key", "webhook", "priority")
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    WEBHOOK_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    problems: _containers.RepeatedCompositeFieldContainer[_common_pb2.Problem]
    settings: Settings
    key: str
    webhook: str
    priority: int
    def __init__(self, problems: _Optional[_Iterable[_Union[_common_pb2.Problem, _Mapping]]] = ..., settings: _Optional[_Union[Settings, _Mapping]] = ..., key: _Optional[str] = ..., webhook: _Optional[str] = ..., priority: _Optional[int] = ...) -> None: ...

class SubmitJobResponse(_message.Message):
    __slots__ = ("job_ids", "repeated_key", "batch_id")
    JOB_IDS_FIELD_NUMBER: _ClassVar[int]
    REPEATED_KEY_FIELD_NUMBER: _ClassVar[int]
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    job_ids: _containers.RepeatedScalarFieldContainer[str]
    repeated_key: bool
    batch_id: str
    def __init__(self, job_ids: _Optional[_Iterable[str]] = ..., repeated_key: bool = ..., batch_id: _Optional[str] = ...) -> None: ...

class GetJobRequest(_message.Message):
    __slots__ = ("job_id",)
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    def __init__(self, job_id: _Optional[str] = ...) -> None: ...

class GetJobResponse(_message.Message):
    __slots__ = ("status", "result")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    status: JobStatus
    result: SolveResponse
    def __init__(self, status: _Optional[_Union[JobStatus, _Mapping]] = ..., result: _Optional[_Union[SolveResponse, _Mapping]] = ...) -> None: ...

class WatchJobRequest(_message.Message):
    __slots__ = ("job_id", "from_event_id")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    FROM_EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    from_event_id: str
    def __init__(self, job_id: _Optional[str] = ..., from_event_id: _Optional[str] = ...) -> None: ...

class JobEvent(_message.Message):
    __slots__ = ("event_id", "job_id", "status", "solve")
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    SOLVE_FIELD_NUMBER: _ClassVar[int]
    event_id: str
    job_id: str
    status: JobStatus
    solve: SolveEvent
    def __init__(self, event_id: _Optional[str] = ..., job_id: _Optional[str] = ..., status: _Optional[_Union[JobStatus, _Mapping]] = ..., solve: _Optional[_Union[SolveEvent, _Mapping]] = ...) -> None: ...

class CancelJobRequest(_message.Message):
    __slots__ = ("job_id",)
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    def __init__(self, job_id: _Optional[str] = ...) -> None: ...

class CancelJobResponse(_message.Message):
    __slots__ = ("status",)
    STATUS_FIELD_NUMBER: _ClassVar[int]
    status: JobStatus
    def __init__(self, status: _Optional[_Union[JobStatus, _Mapping]] = ...) -> None: ...

class ListJobsRequest(_message.Message):
    __slots__ = ("states", "page_size", "page_token")
    STATES_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    states: _containers.RepeatedScalarFieldContainer[JobState]
    page_size: int
    page_token: str
    def __init__(self, states: _Optional[_Iterable[_Union[JobState, str]]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListJobsResponse(_message.Message):
    __slots__ = ("jobs", "next_page_token")
    JOBS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[JobStatus]
    next_page_token: str
    def __init__(self, jobs: _Optional[_Iterable[_Union[JobStatus, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetBatchRequest(_message.Message):
    __slots__ = ("batch",)
    BATCH_FIELD_NUMBER: _ClassVar[int]
    batch: str
    def __init__(self, batch: _Optional[str] = ...) -> None: ...

class BatchStatus(_message.Message):
    __slots__ = ("id", "key", "jobs", "queued", "running", "done", "cancelled", "dead", "gone", "submitted", "finished", "caller", "webhook", "priority")
    ID_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    JOBS_FIELD_NUMBER: _ClassVar[int]
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    CANCELLED_FIELD_NUMBER: _ClassVar[int]
    DEAD_FIELD_NUMBER: _ClassVar[int]
    GONE_FIELD_NUMBER: _ClassVar[int]
    SUBMITTED_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    CALLER_FIELD_NUMBER: _ClassVar[int]
    WEBHOOK_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    id: str
    key: str
    jobs: int
    queued: int
    running: int
    done: int
    cancelled: int
    dead: int
    gone: int
    submitted: float
    finished: float
    caller: str
    webhook: str
    priority: int
    def __init__(self, id: _Optional[str] = ..., key: _Optional[str] = ..., jobs: _Optional[int] = ..., queued: _Optional[int] = ..., running: _Optional[int] = ..., done: _Optional[int] = ..., cancelled: _Optional[int] = ..., dead: _Optional[int] = ..., gone: _Optional[int] = ..., submitted: _Optional[float] = ..., finished: _Optional[float] = ..., caller: _Optional[str] = ..., webhook: _Optional[str] = ..., priority: _Optional[int] = ...) -> None: ...

class ListBatchesRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListBatchesResponse(_message.Message):
    __slots__ = ("batches", "next_page_token")
    BATCHES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    batches: _containers.RepeatedCompositeFieldContainer[BatchStatus]
    next_page_token: str
    def __init__(self, batches: _Optional[_Iterable[_Union[BatchStatus, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class CancelBatchRequest(_message.Message):
    __slots__ = ("batch",)
    BATCH_FIELD_NUMBER: _ClassVar[int]
    batch: str
    def __init__(self, batch: _Optional[str] = ...) -> None: ...

class BatchResult(_message.Message):
    __slots__ = ("job_id", "problem_id", "status", "result")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    problem_id: str
    status: JobStatus
    result: SolveResponse
    def __init__(self, job_id: _Optional[str] = ..., problem_id: _Optional[str] = ..., status: _Optional[_Union[JobStatus, _Mapping]] = ..., result: _Optional[_Union[SolveResponse, _Mapping]] = ...) -> None: ...
