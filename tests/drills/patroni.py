"""Patroni and etcd: the machine of the leader dies under load and comes back, then the same the other way round. Nothing that was accepted
is lost, and no fee is made twice. Tells when the standby leads, when the first submission is accepted then, and the longest gap."""

import http.client
import pathlib
import tempfile
import threading
import time
import uuid

from fleet import NEW, QUOTE, Fleet, Service, call, eventually, listed

CLIENTS = 8
QUOTES = 200


class Load:
    """Clients that submit all the time, and repeat what is not answered with its key."""

    def __init__(self, api):
        self.api, self.accepted, self.is_over = api, [], False
        self.clients = [threading.Thread(target=self.submit_all) for _ in range(CLIENTS)]
        for client in self.clients:
            client.start()

    def submit_all(self):
        while not self.is_over:
            key = str(uuid.uuid4())
            while (quote := self.submit(key)) is None:
                time.sleep(0.05)
            self.accepted.append((time.monotonic(), quote))

    def submit(self, key):
        try:
            status, answer, _ = call(self.api, "POST", "/v1/quotes", QUOTE, {"Idempotency-Key": key}, role="submitter")
        except (OSError, http.client.HTTPException):
            return None
        return answer["id"] if status == 201 else None

    def accepts(self, count):
        wanted = len(self.accepted) + count
        eventually(f"{count} submissions are accepted", lambda: len(self.accepted) >= wanted)

    def end(self):
        self.is_over = True
        for client in self.clients:
            client.join()
        return sorted(self.accepted)


def fail_over(server, api, old, new):
    load = Load(api)
    load.accepts(QUOTES)
    server.tell(f"crash {old}")
    crashed = time.monotonic()
    server.tell(f"lead {new}")
    leads = time.monotonic()
    load.accepts(QUOTES)
    accepted = load.end()
    times = [at for at, _ in accepted]
    first = next(at for at in times if at > leads) - leads
    gap = max(later - earlier for earlier, later in zip(times, times[1:]))
    print(f"{old} dies: {new} leads after {leads - crashed:.1f} s, first 201 {first:.1f} s later; longest gap {gap:.1f} s; {len(times)} accepted", flush=True)
    server.tell(f"join {old}")
    print(f"{old} is the standby {time.monotonic() - leads:.1f} s after", flush=True)
    return [quote for _, quote in accepted]


def check(fleet, api, accepted):
    def is_drained():
        stats = call(api, "GET", "/v1/stats")[1]
        return all(it["events"]["pending"] + it["events"]["leased"] == 0 for it in stats["destinations"])

    eventually("all is delivered", is_drained)
    confirmed = {quote["id"] for quote in listed(api, "/v1/quotes?status=confirmed", "quotes")}
    _, fees, _ = call(fleet.fees, "GET", "/stats")
    lost = set(accepted) - confirmed
    print(f"{len(accepted)} accepted, {len(lost)} lost, {fees['double_fees']} doubled")
    assert not lost and fees["double_fees"] == 0, (lost, fees)
    assert len(set(accepted)) == len(accepted) == len(confirmed) == fees["fees"], fees
    print(fleet.run(NEW, "audit", "--remote"), end="")


def main():
    server = Service("patroni")
    with tempfile.TemporaryDirectory(prefix="feebox-patroni.") as work:
        fleet = Fleet(server.url, pathlib.Path(work))
        try:
            fleet.run(NEW, "migrate", "up")
            fleet.start(NEW, "fee-server", "--bind", fleet.fees)
            api, _ = fleet.start_pair(NEW)
            accepted = fail_over(server, api, 1, 2) + fail_over(server, api, 2, 1)
            check(fleet, api, accepted)
        finally:
            fleet.kill_all()
            server.end()


main()
