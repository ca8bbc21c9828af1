"""Queue problems, wait for them, and print their answers. The same key again finds the same jobs.

redis-server --appendonly yes
espalier serve --redis redis://127.0.0.1:6379/0
espalier worker --redis redis://127.0.0.1:6379/0
python examples/batch_client.py [HOST:PORT]
"""

import sys

import grpc

from espalier.v1 import common_pb2, solver_pb2, solver_pb2_grpc

address = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051"
problems = [
    common_pb2.Problem(
        id=f"{a}x{b}",
        text=f"What is {a} times {b}?",
        check=common_pb2.Check(reference=common_pb2.ReferenceCheck(answer=str(a * b))),
    )
    for a, b in ((6, 7), (12, 12), (19, 3))
]

with grpc.insecure_channel(address) as channel:
    solver = solver_pb2_grpc.SolverStub(channel)
    request = solver_pb2.SubmitJobRequest(problems=problems, key="examples/batch_client.py")
    for problem, job in zip(problems, solver.SubmitJob(request).job_ids, strict=True):
        for _ in solver.WatchJob(solver_pb2.WatchJobRequest(job_id=job)):
            pass  # ends when the job does
        reply = solver.GetJob(solver_pb2.GetJobRequest(job_id=job))
        print(f"{problem.id}: {reply.result.answer or 'UNSOLVED'} ({solver_pb2.JobState.Name(reply.status.state)})")
