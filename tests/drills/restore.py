"""PostgreSQL is restored to an earlier point in time, and Feebox goes on from there.

Before that point some quotes were settled, and others still waited. What waited was delivered after it, and more quotes were stored
and delivered. The restore forgets all that, and the fee server does not.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

from fleet import NEW, QUOTE, Fleet, Service, call, eventually, free_address, listed

COUNT = 40


def program(name):
    found = shutil.which(name) or next((str(path) for path in sorted(pathlib.Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)), None)
    return found or sys.exit(f"{name} is not installed")


def as_postgres(directory, *command):
    """PostgreSQL does not run as root."""
    if os.geteuid():
        return command
    return ("setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "env", f"HOME={directory}", *command)


def sql(url, statement):
    return subprocess.run([program("psql"), url, "-qtAX", "-v", "ON_ERROR_STOP=1", "-c", statement], check=True, capture_output=True, text=True).stdout.strip()


def submit(api, count):
    return [call(api, "POST", "/v1/quotes", QUOTE)[1]["id"] for _ in range(count)]


def fees_of(api, quotes):
    """Once each of them has its fee."""

    def all_confirmed():
        found = {quote["id"]: quote for quote in listed(api, "/v1/quotes?status=confirmed", "quotes")}
        return {id: found[id]["fee"]["fee_id"] for id in quotes} if set(quotes) <= found.keys() else None

    return eventually("each quote has its fee", all_confirmed)


def missing_at_home(fleet):
    """The fees whose quotes are not stored, by `feebox audit --remote`, and its exit code."""
    done = subprocess.run([NEW, "audit", "--remote", "--json"], env=fleet.environment, cwd=fleet.work, capture_output=True, text=True)
    return done.returncode, done.stdout


def drill(work):
    server = Service("postgres")
    fleet = Fleet(server.url, work / "feebox")
    restored = None
    try:
        for folder in ("feebox", "wal", "backup"):
            (work / folder).mkdir()
        if not os.geteuid():
            work.chmod(0o755)
            for folder in ("wal", "backup"):
                shutil.chown(work / folder, "postgres", "postgres")
        (work / "backup").chmod(0o700)

        print("1. WAL is archived")
        for setting in ("archive_mode = on", f"archive_command = 'cp %p {work}/wal/%f'"):
            sql(server.url, f"ALTER SYSTEM SET {setting}")
        server.tell("stop")
        server.tell("start")
        fleet.run(NEW, "migrate", "up")
        fleet.start(NEW, "fee-server", "--bind", fleet.fees, "--latency", "20ms")
        api, (serve, worker) = fleet.start_pair(NEW)
        settled = submit(api, COUNT)
        fees_of(api, settled)

        began = time.monotonic()
        subprocess.run(as_postgres(work, program("pg_basebackup"), "-d", server.url, "-D", str(work / "backup"), "-X", "none", "--checkpoint=fast", "--no-sync"), check=True)
        print(f"2. pg_basebackup took {time.monotonic() - began:.1f} s; {COUNT} more quotes settle, and {COUNT} wait")
        settled += submit(api, COUNT)
        fees = fees_of(api, settled)
        fleet.stop(worker)
        waiting = submit(api, COUNT)
        sql(server.url, "SELECT pg_create_restore_point('before')")

        print(f"3. after the restore point the {COUNT} are delivered, and {COUNT} more are stored and delivered")
        worker = fleet.start(NEW, "worker", "--bind", free_address())
        forgotten = submit(api, COUNT)
        fees |= fees_of(api, waiting + forgotten)
        sql(server.url, "SELECT pg_switch_wal()")
        last = sql(server.url, "SELECT pg_walfile_name(pg_current_wal_lsn() - 1)")
        eventually("the WAL is archived", lambda: sql(server.url, "SELECT count(*) FROM pg_stat_archiver WHERE last_archived_wal >= '" + last + "'") == "1" or (work / "wal" / last).exists())
        fleet.stop(serve, worker)
        server.tell("crash")
        before = call(fleet.fees, "GET", "/stats")[1]

        began = time.monotonic()
        port = free_address().rsplit(":", 1)[1]
        with open(work / "backup/postgresql.auto.conf", "a", encoding="utf-8") as settings:
            settings.write(f"archive_mode = off\nrestore_command = 'cp {work}/wal/%f %p'\nrecovery_target_name = 'before'\nrecovery_target_action = promote\n")
        signal = work / "backup/recovery.signal"
        signal.touch()
        if not os.geteuid():
            shutil.chown(signal, "postgres", "postgres")
        log = open(work / "restored.log", "w", encoding="utf-8")
        command = as_postgres(work, program("postgres"), "-D", str(work / "backup"), "-p", port, "-c", "listen_addresses=127.0.0.1", "-c", "max_connections=200", "-c", f"unix_socket_directories={work}/wal")
        restored = subprocess.Popen(command, stdout=log, stderr=log)
        url = f"postgres://postgres@127.0.0.1:{port}/postgres"
        fleet.environment["DATABASE_URL"] = url

        def is_primary():
            try:
                return sql(url, "SELECT NOT pg_is_in_recovery()") == "t"
            except subprocess.CalledProcessError:
                return False

        eventually("the restored server is a primary", is_primary)
        print(f"4. restored to the point after {time.monotonic() - began:.1f} s")
        fleet.run(NEW, "audit")
        status, said = missing_at_home(fleet)
        named = [id for id in waiting + forgotten if id in said]
        print(f"   audit: fine; audit --remote: exit {status}, names {len(set(named) & set(forgotten))} of {COUNT} forgotten quotes' fees, and {len(set(named) & set(waiting))} others")
        if status != 3 or set(named) != set(forgotten) or any(id in said for id in settled):
            sys.exit(f"it should name the forgotten ones alone: {said}")

        print("5. Feebox runs again: what waited at the point is delivered again, with the same keys")
        api, pair = fleet.start_pair(NEW)
        again = fees_of(api, settled + waiting)
        if changed := [id for id, fee in again.items() if fees[id] != fee]:
            sys.exit(f"another fee than before: {changed}")
        if any(call(api, "GET", f"/v1/quotes/{id}")[0] != 404 for id in forgotten):
            sys.exit("a forgotten quote is found")
        after = call(fleet.fees, "GET", "/stats")[1]
        print(f"   the same fees as before; at the fee server: {json.dumps(after)}")
        if after["double_fees"] or after["fees"] != before["fees"]:
            sys.exit(f"it made fees: {before}")
        fleet.run(NEW, "audit")
        status, said = missing_at_home(fleet)
        if status != 3 or not all(id in said for id in forgotten):
            sys.exit(f"{status} {said}")
        fleet.stop(*pair)
    except SystemExit:
        if restored:
            print((work / "restored.log").read_text(), file=sys.stderr)
        raise
    finally:
        fleet.kill_all()
        if restored:
            restored.terminate()
            restored.wait()
        server.end()


def main():
    print("== restore to a point in time: PostgreSQL")
    with tempfile.TemporaryDirectory(prefix="feebox-restore.") as directory:
        drill(pathlib.Path(directory))
    print("== restored: nothing that was delivered meanwhile was made twice")


main()
