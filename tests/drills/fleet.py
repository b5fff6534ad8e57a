"""What the drills share: a fleet of real processes, and calls to it."""

import hashlib
import http.client
import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/java"))
from support import Service, eventually, free_address  # noqa: E402, F401

NEW = str(pathlib.Path(os.environ["FEEBOX"]).resolve())
OLD = str(pathlib.Path(os.environ.get("FEEBOX_OLD", NEW)).resolve())
QUOTE = {"customer_id": "ada", "currency": "EUR", "lines": [{"description": "Consulting", "quantity": 3, "unit_price_minor": 95000}]}


# Who calls, and by which token.
TOKENS = {"submitter": "the partner's token", "operator": "the operator's token"}


class Fleet:
    """The processes of both versions, and what they have in common."""

    def __init__(self, url, work):
        self.fees = free_address()
        self.work = work
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("FEEBOX")} | {
            "DATABASE_URL": url,
            "FEEBOX__FEE_SERVER__BASE_URL": f"http://{self.fees}",
            "FEEBOX__FEE_SERVER__TIMEOUT": "2s",
            "FEEBOX__WORKER__LEASE": "6s",
            "FEEBOX__RETRY__MAX_INTERVAL": "5s",
            "FEEBOX__LOG__FORMAT": "json",
            "FEEBOX__ACCESS__TOKENS": "[" + ", ".join(f"{{name = '{role}', sha256 = '{hashlib.sha256(token.encode()).hexdigest()}', role = '{role}'}}" for role, token in TOKENS.items()) + "]",
        }
        self.running = {}

    def run(self, binary, *arguments):
        done = subprocess.run([binary, *arguments], env=self.environment, cwd=self.work, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{' '.join(arguments)} by {name_of(binary)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def start(self, binary, *arguments):
        log = open(self.work / f"{name_of(binary)}-{arguments[0]}.log", "a", encoding="utf-8")
        process = subprocess.Popen([binary, *arguments], env=self.environment, cwd=self.work, stdout=log, stderr=log)
        self.running[process] = arguments
        return process

    def start_pair(self, binary):
        """`serve` and `worker` of a version; where `serve` listens, and both processes."""
        api, health = free_address(), free_address()
        pair = [self.start(binary, "serve", "--bind", api), self.start(binary, "worker", "--bind", health)]
        for address in (api, health):
            eventually(f"{name_of(binary)} at {address} is ready", lambda: call(address, "GET", "/readyz")[0] == 200)
        return api, pair

    def stop(self, *processes):
        for process in processes:
            process.terminate()
        for process in processes:
            status = process.wait(60)
            if status:
                sys.exit(f"{self.running[process]} ended with {status}")
            del self.running[process]

    def kill_all(self):
        for process in self.running:
            process.kill()
            process.wait()


def name_of(binary):
    return "old" if binary == OLD else "new"


def call(address, method, path, body=None, headers=None, role="operator"):
    connection = http.client.HTTPConnection(address, timeout=30)
    try:
        data = None if body is None else json.dumps(body)
        connection.request(method, path, data, {"Content-Type": "application/json", "Authorization": f"Bearer {TOKENS[role]}"} | (headers or {}))
        answer = connection.getresponse()
        text = answer.read()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, json.loads(text) if text.startswith(b"{") else text.decode(), found
    except http.client.HTTPException as error:
        raise OSError(repr(error)) from error
    finally:
        connection.close()


def listed(address, path, name):
    rows, cursor = [], ""
    while True:
        status, page, _ = call(address, "GET", f"{path}&limit=200{cursor}")
        if status != 200:
            sys.exit(f"{path}: {status} {page}")
        rows += page[name]
        if not page["next"]:
            return rows
        cursor = f"&cursor={page['next']}"
