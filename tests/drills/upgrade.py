"""An upgrade of a running fleet and its rollback: old and new versions share a database, under load.

The steps are those of docs/deploy.md. Clients submit, repeat calls at the other version, and cancel, all the time. At the end
each answer of 201 must be stored and settled, with one fee or none if it was cancelled, and no call may have been refused.
"""

import collections
import pathlib
import random
import sys
import tempfile
import threading
import time
import uuid

from fleet import NEW, OLD, QUOTE, Fleet, Service, call, listed

CLIENTS = 4
PAUSE_SECONDS = 0.02  # between two calls of a client
SETTLED_LIMIT_SECONDS = 150


class Load:
    """Clients that submit to the addresses that are in use."""

    def __init__(self):
        self.apis, self.of_old = [], set()
        self.stored, self.keyed, self.cancelled, self.refused = {}, set(), set(), []
        self.counts = collections.Counter()
        self.over = threading.Event()
        self.idle = threading.Condition()
        self.calling = collections.Counter()
        self.threads = [threading.Thread(target=self.submit, args=(random.Random(n),)) for n in range(CLIENTS)]

    def begin(self, *apis):
        self.apis, self.of_old = list(apis), set(apis)
        for thread in self.threads:
            thread.start()

    def leave(self, api):
        """As a load balancer does before a process stops: no more calls, and those that run are waited for."""
        with self.idle:
            self.apis.remove(api)
            self.idle.wait_for(lambda: self.calling[api] == 0, 60)

    def end(self):
        self.over.set()
        for thread in self.threads:
            thread.join()

    def at_any(self, random_number, method, path, body=None, headers=None):
        with self.idle:
            api = random_number.choice(self.apis)
            self.calling[api] += 1
        try:
            status, answer, found = call(api, method, path, body, headers, "submitter")
            return status, answer, found | {"api": api}
        except OSError as error:
            return 0, repr(error), {"api": api}
        finally:
            with self.idle:
                self.calling[api] -= 1
                self.idle.notify_all()

    def note(self, what, status, answer, by, at):
        """A call that failed. v0.1.0 does not write who submitted a quote, so the new version shows it to operators alone."""
        if status == 404 and by["api"] in self.of_old and at["api"] not in self.of_old:
            self.counts[f"{what}: not found by its submitter at the new version, as the old one stored it"] += 1
        else:
            self.refused.append((what, status, answer))

    def submit(self, number):
        while not self.over.is_set():
            # Some without a key: these cannot be repeated.
            key = {"Idempotency-Key": str(uuid.UUID(int=number.getrandbits(128)))} if number.random() < 0.8 else {}
            status, answer, by = self.at_any(number, "POST", "/v1/quotes", QUOTE, key)
            if status != 201:
                self.refused.append(("submit", status, answer))
                continue
            quote_id = answer["id"]
            self.stored[quote_id] = answer
            self.counts["stored"] += 1
            if key:
                self.keyed.add(quote_id)
            dice = number.random()
            if dice < 0.2 and key:  # the same call again, whichever version it reaches
                status, again, headers = self.at_any(number, "POST", "/v1/quotes", QUOTE, key)
                self.counts["repeated"] += 1
                if status != 201 or again["id"] != quote_id or headers.get("idempotency-replayed") != "true":
                    self.refused.append(("repeat", status, again))
            elif 0.2 <= dice < 0.4:
                status, again, at = self.at_any(number, "POST", f"/v1/quotes/{quote_id}/cancel", {})
                if status == 200:
                    self.counts["cancelled"] += 1
                    self.cancelled.add(quote_id)
                else:
                    self.note("cancel", status, again, by, at)
            elif 0.4 <= dice < 0.6:
                status, again, at = self.at_any(number, "GET", f"/v1/quotes/{quote_id}")
                if status != 200:
                    self.note("show", status, again, by, at)
            time.sleep(PAUSE_SECONDS)


def settle(api):
    """Until no event waits any more; returns those that still do after the limit, and why."""
    deadline = time.monotonic() + SETTLED_LIMIT_SECONDS
    while True:
        waiting = [event for status in ("pending", "leased") for event in listed(api, f"/v1/outbox?status={status}", "events")]
        if not waiting or time.monotonic() > deadline:
            return waiting
        time.sleep(0.5)


def check(fleet, load, api, binary):
    """Nothing is lost, doubled or refused."""
    began = time.monotonic()
    waiting, faults = settle(api), []
    print(f"   settled after {time.monotonic() - began:.1f} s; {len(waiting)} events still wait")
    for event in waiting[:5]:
        explained = call(api, "GET", f"/v1/outbox/{event['id']}/explain")[1]
        faults.append(f"waits: {event['event_type']} of {event.get('quote_id') or event.get('aggregate_id')}: {explained.get('sentence')}")
    refused = collections.Counter((what, status) for what, status, _ in load.refused)
    faults += [f"refused: {what}: {status}, {count} times" for (what, status), count in refused.items()]
    faults += [f"for example: {refusal}" for refusal in load.refused[:3]]
    found = {quote["id"]: quote["status"] for quote in listed(api, "/v1/quotes?", "quotes")}
    for quote_id in load.stored:
        wanted = "cancelled" if quote_id in load.cancelled else "confirmed"
        if found.get(quote_id) != wanted:
            faults.append(f"{quote_id} is {found.get(quote_id)}, and should be {wanted}")
    if foreign := found.keys() - load.stored.keys():
        faults.append(f"{len(foreign)} quotes are stored that nobody was told of")
    status, fees, _ = call(fleet.fees, "GET", "/stats")
    if status != 200 or fees["double_fees"]:
        faults.append(f"the fee server: {fees}")
    fleet.run(binary, "audit")
    fleet.run(NEW, "audit", "--remote")
    if faults:
        sys.exit("\n".join(faults))
    print(f"   {len(load.stored)} quotes, each stored and settled once; {dict(load.counts)}; refused: none; audit: fine; fees: {fees}")


def check_owners(fleet, load, api):
    """Each quote that was submitted with a key is its submitter's again, whichever version stored it."""
    print(f"   {fleet.run(NEW, 'migrate', 'owners').strip()}")
    missing = [quote_id for quote_id in load.keyed if call(api, "GET", f"/v1/quotes/{quote_id}", role="submitter")[0] != 200]
    if missing:
        sys.exit(f"{len(missing)} of {len(load.keyed)} quotes are hidden from who submitted them with a key, for example {missing[0]}")
    print(f"   {len(load.keyed)} quotes with a key are shown to their submitter")


def upgrade(url, seconds):
    with tempfile.TemporaryDirectory(prefix="feebox-upgrade.") as work:
        fleet, load = Fleet(url, pathlib.Path(work)), Load()
        try:
            steps(fleet, load, seconds)
        except SystemExit:
            for log in sorted(fleet.work.glob("*.log")):
                lines = [line for line in log.read_text().splitlines() if '"ERROR"' in line or '"WARN"' in line]
                print(f"-- {log.name}:", *lines[-8:], sep="\n", file=sys.stderr)
            raise
        finally:
            if load.threads[0].is_alive():
                load.end()
            fleet.kill_all()


def steps(fleet, load, seconds):
    fleet.start(NEW, "fee-server", "--bind", fleet.fees, "--latency", "50ms", "--jitter", "40ms", "--fail-rate", "0.03", "--commit-fail-rate", "0.03", "--commit-reset-rate", "0.03")
    print("1. the old version alone")
    fleet.run(OLD, "migrate", "up")
    old_api, old = fleet.start_pair(OLD)
    load.begin(old_api)
    time.sleep(seconds / 4)
    print(f"2. the schema is migrated under load ({load.counts['stored']} quotes so far)")
    began = time.monotonic()
    fleet.run(NEW, "migrate", "up")
    print(f"   after {time.monotonic() - began:.1f} s")
    time.sleep(seconds / 8)
    print(f"3. both versions, for {seconds:.0f} s ({load.counts['stored']} quotes so far)")
    new_api, new = fleet.start_pair(NEW)
    load.apis.append(new_api)
    time.sleep(seconds)
    print(f"4. the new version alone ({load.counts['stored']} quotes so far)")
    load.leave(old_api)
    fleet.stop(*old)
    time.sleep(seconds / 8)
    print(f"5. rolled back: the old version again, on the new schema ({load.counts['stored']} quotes so far)")
    old_api, old = fleet.start_pair(OLD)
    load.of_old.add(old_api)
    load.apis.append(old_api)
    load.leave(new_api)
    fleet.stop(*new)
    time.sleep(seconds / 4)
    load.end()
    check(fleet, load, old_api, OLD)
    print("6. the new version once more")
    fleet.stop(*old)
    new_api, new = fleet.start_pair(NEW)
    check(fleet, load, new_api, NEW)
    check_owners(fleet, load, new_api)
    fleet.stop(*new)


def main():
    database, seconds = sys.argv[1], float(sys.argv[2])
    print(f"== upgrade and rollback: {database}")
    if database == "sqlite":
        with tempfile.TemporaryDirectory(prefix="feebox-upgrade-db.") as directory:
            upgrade(f"sqlite://{directory}/feebox.db?mode=rwc", seconds)
        return
    server = Service(database)
    try:
        upgrade(server.url, seconds)
    finally:
        server.end()


main()
