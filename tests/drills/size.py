"""What 10,000 quotes of one line take: memory of `serve` and `worker`, and space in PostgreSQL, indexes included."""

import pathlib
import subprocess
import sys
import tempfile
import time

from fleet import NEW, QUOTE, Fleet, Service, call, eventually

BATCHES = 10


def sql(url, statement):
    done = subprocess.run(["psql", url, "-qtAX", "-v", "ON_ERROR_STOP=1", "-c", statement], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def peak_mib(process):
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def measure(server, fleet):
    fleet.run(NEW, "migrate", "up")
    fleet.start(NEW, "fee-server", "--bind", fleet.fees)
    api, (serve, worker) = fleet.start_pair(NEW)
    began = time.monotonic()
    for _ in range(BATCHES):
        status, answer, _ = call(api, "POST", "/v1/quotes:batch", {"quotes": [QUOTE] * 1000})
        if status != 201:
            sys.exit(f"{status} {answer}")
    eventually("all is delivered", lambda: sql(server.url, "SELECT count(*) FROM outbox_event WHERE status <> 'delivered'") == "0")
    print(f"{BATCHES * 1000} quotes have their fees after {time.monotonic() - began:.1f} s")
    print(f"most memory: serve {peak_mib(serve):.0f} MiB, worker {peak_mib(worker):.0f} MiB")
    sql(server.url, "VACUUM FULL")
    for table in ("quote", "outbox_event", "fee_record"):
        print(table, sql(server.url, f"SELECT pg_total_relation_size('{table}') / count(*) FROM {table}"), "bytes a row")


def main():
    server = Service("postgres")
    with tempfile.TemporaryDirectory(prefix="feebox-size.") as work:
        fleet = Fleet(server.url, pathlib.Path(work))
        try:
            measure(server, fleet)
        finally:
            fleet.kill_all()
            server.end()


main()
