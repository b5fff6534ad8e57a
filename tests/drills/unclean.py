"""A broker of Apache Kafka that lacks acknowledged records becomes leader, because the topic permits that, and `feebox audit --kafka` names them.

Each partition has two replicas. While the follower is away the leader acknowledges alone; then it dies, the follower comes back without
those records and leads, and the old leader, when it is back, cuts its own log to what that has.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

from fleet import NEW, QUOTE, Fleet, Service, call, eventually, listed

COUNT = 40
TOPIC = "--replica-assignment 1:2,1:2,1:2 --config min.insync.replicas=1"


def submit(api, count):
    """Returns once Kafka has acknowledged all of them."""
    quotes = {call(api, "POST", "/v1/quotes", QUOTE)[1]["id"] for _ in range(count)}
    eventually("each quote is told", lambda: quotes <= {quote["id"] for quote in listed(api, "/v1/quotes?status=confirmed", "quotes")})
    return quotes


def audit(fleet):
    """Exit code and report of `feebox audit --kafka`."""
    done = subprocess.run([NEW, "audit", "--kafka", "--json"], env=fleet.environment, cwd=fleet.work, capture_output=True, text=True)
    return done.returncode, json.loads(done.stdout) if done.stdout.startswith("{") else sys.exit(done.stderr)


def drill(work):
    brokers = Service("kafka_cluster")
    (work / "feebox").mkdir()
    fleet = Fleet(f"sqlite://{work}/feebox.db?mode=rwc", work / "feebox")
    fleet.environment |= {"FEEBOX__KAFKA__BROKERS": brokers.url, "FEEBOX__SUBMISSION__DESTINATION": "kafka", "FEEBOX__WORKER__SCHEDULE": "* * * * * *"}
    try:
        brokers.tell(f"create feebox.quotes {TOPIC} --config unclean.leader.election.enable=true")
        brokers.tell(f"create feebox.fees {TOPIC}")
        fleet.run(NEW, "migrate", "up")
        api, pair = fleet.start_pair(NEW)
        kept = submit(api, COUNT)
        print(f"1. {COUNT} quotes are told to leader and follower")
        brokers.tell("crash 2")
        lost = submit(api, COUNT)
        print(f"2. the follower is away; {COUNT} more are told to the leader alone, and acknowledged")
        status, report = audit(fleet)
        print(f"   audit --kafka: exit {status}, {report['kafka']['checked']} records, {report['kafka']['violations']} broken promises")
        if status or report["kafka"]["checked"] != 2 * COUNT:
            sys.exit("it should find all of them")
        brokers.tell("crash 1")
        brokers.tell("start 2")
        after = submit(api, COUNT // 2)
        brokers.tell("start 1")
        print(f"3. the leader dies, the follower comes back and leads; {len(after)} more are told; the old leader comes back")
        status, report = audit(fleet)
        named = {violation["quote_id"] for violation in report["violations"]}
        print(f"   audit --kafka: exit {status}, names {len(named & lost)} of {COUNT} lost quotes, and {len(named - lost)} others")
        if status != 3 or named != lost or named & kept:
            sys.exit(json.dumps(report["violations"], indent=1))
        print(f"   for example: {report['violations'][0]['sentence']}")
        fleet.stop(*pair)
    finally:
        fleet.kill_all()
        brokers.end()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        drill(pathlib.Path(directory))
