"""A fake of SGLang's server process, for what a real one does only on bad days. FAKE says how it behaves."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import yaml

FAKE = os.environ.get("FAKE", "")


class Handler(BaseHTTPRequestHandler):
    key: ClassVar[str | None] = None
    known: ClassVar[dict[str, object]] = {}

    def do_GET(self) -> None:
        self._answer(self.known)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer({"meta_info": {} if FAKE == "no-plugin" else {"npr": [{}]}})

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, content: object) -> None:
        allowed = self.key is None or self.headers["Authorization"] == f"Bearer {self.key}"
        body = json.dumps(content).encode()
        self.send_response(200 if allowed else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("--model-path", "--host", "--port", "--config", "--device"):
        parser.add_argument(name)
    parser.add_argument("--incremental-streaming-output", action="store_true")
    arguments = parser.parse_args()
    print("loading weights", flush=True)
    if FAKE in ("dies-alone", "ends-alone"):  # its children live on, with its standard output
        talks_on = "while sleep 1; do echo still here; done"  # until nobody listens
        subprocess.Popen(["/bin/sh", "-c", talks_on], start_new_session=FAKE == "dies-alone")
    if FAKE.startswith("dies"):
        sys.exit("CUDA out of memory")
    if arguments.config:
        Handler.key = yaml.safe_load(Path(arguments.config).read_text())["api-key"]
    server = {"version": "0.5.21", "max_total_num_tokens": 100, "tp_size": 1, "pp_size": 1}
    model = {"model_path": arguments.model_path, "tokenizer_path": arguments.model_path}
    Handler.known = {**server, **model, "data": [{"max_model_len": 10}]}
    time.sleep(0.2)
    if FAKE == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    http = ThreadingHTTPServer((arguments.host, int(arguments.port)), Handler)
    if FAKE.startswith("ends"):
        threading.Timer(1.0, http.shutdown).start()
    http.serve_forever()
    sys.exit(9)


if __name__ == "__main__":
    main()
