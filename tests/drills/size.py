"""What 10,000 quotes of one line take: memory of `serve` and `worker`, and in PostgreSQL space, by table and index, and
write-ahead log. With a number, so many thousands of them."""

import pathlib
import subprocess
import sys
import tempfile
import time

from fleet import NEW, QUOTE, Fleet, Service, call, eventually

BATCHES = int(sys.argv[1]) if len(sys.argv) > 1 else 10


def sql(url, statement):
    done = subprocess.run(["psql", url, "-qtAX", "-v", "ON_ERROR_STOP=1", "-c", statement], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def peak_mib(process):
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def log_bytes(url):
    return int(float(sql(url, "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn")))


def tell_sizes(url, when):
    """Bytes a row of each table, without its indexes, and of each index; those that hold nothing stay small."""
    for table in ("quote", "outbox_event", "fee_record"):
        rows = f"(SELECT greatest(count(*), 1) FROM {table})"
        own = sql(url, f"SELECT round(pg_table_size('{table}')::numeric / {rows})")
        indexes = sql(url, f"SELECT string_agg(indexrelname || ' ' || round(pg_relation_size(indexrelid)::numeric / {rows}), ', ' "
                           f"ORDER BY indexrelname) FROM pg_stat_user_indexes WHERE relname = '{table}'")
        total = sql(url, f"SELECT pg_total_relation_size('{table}') / {rows}")
        print(f"{when}: {table}: {total} bytes a row, {own} without indexes; {indexes}")


def measure(server, fleet):
    fleet.run(NEW, "migrate", "up")
    fleet.start(NEW, "fee-server", "--bind", fleet.fees)
    api, (serve, worker) = fleet.start_pair(NEW)
    call(api, "POST", "/v1/destinations/fee-server/pause", {"reason": "drill"})
    sql(server.url, "CHECKPOINT")
    began, log = time.monotonic(), log_bytes(server.url)
    for _ in range(BATCHES):
        status, answer, _ = call(api, "POST", "/v1/quotes:batch", {"quotes": [QUOTE] * 1000})
        if status != 201:
            sys.exit(f"{status} {answer}")
    quotes = BATCHES * 1000
    print(f"submission: {(log_bytes(server.url) - log) / quotes:.0f} bytes of write-ahead log a quote, in batches of 1,000")
    log = log_bytes(server.url)
    call(api, "POST", "/v1/destinations/fee-server/resume", {"reason": "drill"})
    eventually("all is delivered", lambda: sql(server.url, "SELECT count(*) FROM outbox_event WHERE status <> 'delivered'") == "0")
    print(f"delivery: {(log_bytes(server.url) - log) / quotes:.0f} bytes of write-ahead log a quote")
    print(f"{quotes} quotes have their fees after {time.monotonic() - began:.1f} s")
    print(f"most memory: serve {peak_mib(serve):.0f} MiB, worker {peak_mib(worker):.0f} MiB")
    tell_sizes(server.url, "as it grew")
    sql(server.url, "VACUUM FULL")
    tell_sizes(server.url, "after VACUUM FULL")


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
