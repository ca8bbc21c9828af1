"""Solve a problem over gRPC and watch how.

espalier serve
python examples/grpc_client.py [HOST:PORT]
"""

import sys

import grpc

from espalier.v1 import common_pb2, solver_pb2, solver_pb2_grpc

address = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051"
request = solver_pb2.SolveRequest(
    problem=common_pb2.Problem(text="Using the numbers 19, 36, 55 and 7, each exactly once, make 65."),
    settings=solver_pb2.Settings(policy="adaptive", k=8),
)

with grpc.insecure_channel(address) as channel:
    # The deadline travels along: the server comes back in time with what it has by then.
    for event in solver_pb2_grpc.SolverStub(channel).Solve(request, timeout=60):
        match event.WhichOneof("kind"):
            case "branch_opened":
                print(f"candidate {event.branch_opened.candidate} thinks about {event.branch_opened.plan!r}")
            case "answer_judged":
                status = common_pb2.Status.Name(event.answer_judged.verdict.status)
                print(f"candidate {event.answer_judged.candidate} answers {event.answer_judged.answer!r}: {status}")
            case "solved":
                result = event.solved
                outcome = solver_pb2.SolveResponse.Outcome.Name(result.outcome)
                print(f"{outcome}: {result.answer or '-'} ({len(result.candidates)} candidates)")
