"""What the checks of this directory share."""

import json
import os
import pathlib
import socket
import subprocess
import sys
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
LIMIT_SECONDS = 60
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Service:
    """One of tests/servers: it lives until its stdin ends."""

    def __init__(self, name):
        command = [ROOT / "tests/servers" / name]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.url = self.read()

    def read(self):
        return self.process.stdout.readline().strip()

    def tell(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        self.read()

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def eventually(what, found):
    deadline = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < deadline:
        try:
            if result := found():
                return result
        except OSError:
            pass
        time.sleep(0.1)
    sys.exit(f"not within {LIMIT_SECONDS} s: {what}")


def free_address():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


def call(url, body=None):
    data = None if body is None else json.dumps(body).encode()
    headers = {"content-type": "application/json", "traceparent": TRACE}
    with urllib.request.urlopen(urllib.request.Request(url, data, headers)) as answer:
        text = answer.read()
        return json.loads(text) if text.startswith(b"{") else text


def feebox(*arguments, settings, wait=True, cwd="/"):
    """The binary that is checked, with these variables for settings and no others: its answer, or it running."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FEEBOX")} | settings
    command = [ROOT / "target/debug/feebox", *arguments]
    if wait:
        return subprocess.run(command, env=environment, capture_output=True, text=True, cwd=cwd)
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=cwd)
