"""Is a service healthy? For HEALTHCHECK in images that have neither curl nor a probe of gRPC.

    python healthy.py 127.0.0.1:50051                   gRPC: its health service says SERVING
    python healthy.py localhost:50051 ca.pem            the same over TLS, with the root of the server's certificate
    python healthy.py http://127.0.0.1:9090/metrics     HTTP: it answers with 200

Exit status: 0 it is, 1 it is not.
"""

from __future__ import annotations

import sys
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

SECONDS = 4.0


def healthy(target: str, authority: str | None = None) -> bool:
    """Whether the service at an address or a URL is; with the file of an authority the address is asked over TLS."""
    if target.startswith("http://"):
        try:
            with urlopen(target, timeout=SECONDS) as answer:  # noqa: S310 (http only)
                return bool(answer.status == 200)
        except (URLError, HTTPException, OSError):
            return False
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    if authority is None:
        opened = grpc.insecure_channel(target)
    else:
        opened = grpc.secure_channel(target, grpc.ssl_channel_credentials(Path(authority).read_bytes()))
    with opened as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=SECONDS)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


if __name__ == "__main__":
    sys.exit(0 if healthy(*sys.argv[1:]) else 1)
