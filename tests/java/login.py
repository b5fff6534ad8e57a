"""Logs in by each of SASL's mechanisms to Apache Kafka's own authenticators (Login.java), and fails to with a wrong password:
nothing is blamed on the quote, what is wrong is told, and with the right one the quote goes on."""

import json
import pathlib
import subprocess
import sys
import tempfile

from support import Service, call, eventually, feebox, free_address

HERE = pathlib.Path(__file__).resolve().parent
USER, PASSWORD = "feebox", "a secret, and a long one"
WAYS = [
    ("sasl_ssl", "PLAIN"),
    ("sasl_ssl", "SCRAM-SHA-256"),
    ("sasl_ssl", "SCRAM-SHA-512"),
    ("sasl_plaintext", "SCRAM-SHA-512"),
]


class Login:
    """Before the broker at an address: lets in who knows the password."""

    def __init__(self, broker, protocol, mechanism, certificate):
        port = broker.split(":")[1]
        arguments = [port, protocol.upper(), mechanism, USER, PASSWORD, certificate]
        command = ["java", "-cp", sys.argv[1], HERE / "Login.java", *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.address = f"127.0.0.1:{self.process.stdout.readline().strip()}"

    def end(self):
        self.process.kill()
        self.process.wait()


def certificate(directory):
    """For 127.0.0.1, by itself: the file that is to be trusted, and the one with the key."""
    trusted, key, both = (str(directory / name) for name in ("trusted.pem", "key.pem", "both.pem"))
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        + ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", trusted],
        check=True,
        capture_output=True,
    )
    pathlib.Path(both).write_text(pathlib.Path(trusted).read_text() + pathlib.Path(key).read_text())
    return trusted, both


class Running:
    """Feebox whose quotes go to Kafka, on a database of its own."""

    def __init__(self, directory, settings):
        self.base, worker = f"http://{free_address()}", free_address()
        own = {
            "FEEBOX__DATABASE__URL": f"sqlite://{directory}/feebox.db?mode=rwc",
            "FEEBOX__SERVER__BIND": self.base.removeprefix("http://"),
            "FEEBOX__WORKER__BIND": worker,
            "FEEBOX__SUBMISSION__DESTINATION": "kafka",
            "FEEBOX__CIRCUIT__COOL_DOWN": "1s",
        }
        dev = ["dev", "--fee-server-bind", free_address()]
        self.process = feebox(*dev, settings=own | settings, wait=False, cwd=directory)
        eventually("it is ready", lambda: call(f"{self.base}/readyz"))

    def end(self):
        self.process.terminate()
        self.process.wait()


def check(broker, protocol, mechanism, trusted, both, directory):
    login = Login(broker, protocol, mechanism, both)
    settings = {
        "FEEBOX__KAFKA__BROKERS": login.address,
        "FEEBOX__KAFKA__SECURITY_PROTOCOL": protocol,
        "FEEBOX__KAFKA__SASL_MECHANISM": mechanism,
        "FEEBOX__KAFKA__SASL_USERNAME": USER,
    }
    if protocol == "sasl_ssl":
        settings["FEEBOX__KAFKA__SSL_CA_LOCATION"] = trusted
    running = Running(directory, settings | {"FEEBOX__KAFKA__SASL_PASSWORD": "a guess"})
    try:
        line = {"description": "a thing", "quantity": 1, "unit_price_minor": 100}
        quote = call(f"{running.base}/v1/quotes", {"customer_id": "c", "currency": "EUR", "lines": [line]})["id"]
        event = call(f"{running.base}/v1/outbox?quote_id={quote}")["events"][0]["id"]
        refused = eventually(
            "the circuit opens", lambda: explained(call(f"{running.base}/v1/outbox/{event}/explain"), "circuit")
        )
        told = json.dumps(refused)
        assert "uthentication" in told and PASSWORD not in told and "a guess" not in told, told
        waiting = call(f"{running.base}/v1/outbox/{event}")
        assert (waiting["status"], waiting["attempts"]) == ("pending", 0), waiting
        assert records_of(broker, quote) == []

        running.end()
        running = Running(directory, settings | {"FEEBOX__KAFKA__SASL_PASSWORD": PASSWORD})
        assert call(f"{running.base}/v1/quotes/{quote}?wait=30")["status"] == "confirmed"
        assert records_of(broker, quote) == ["quote.submitted"]
    finally:
        running.end()
        login.end()
    print(f"{protocol} {mechanism}: refused with a wrong password, and let in with the right one")


def explained(explanation, word):
    return explanation if word in explanation["sentence"] else None


def records_of(broker, quote):
    """The types of its records, as kcat reads them at the broker itself."""
    command = ["kcat", "-C", "-b", broker, "-t", "feebox.quotes", "-o", "beginning", "-e", "-q", "-f", "%k\t%h\n"]
    lines = subprocess.run(command, capture_output=True, text=True).stdout.splitlines()
    headers = [line.split("\t")[1] for line in lines if line.startswith(quote)]
    return [dict(header.split("=", 1) for header in of_one.split(","))["ce_type"] for of_one in headers]


def main():
    broker = Service("kafka")
    try:
        for protocol, mechanism in WAYS:
            with tempfile.TemporaryDirectory() as directory:
                trusted, both = certificate(pathlib.Path(directory))
                check(broker.url, protocol, mechanism, trusted, both, directory)
    finally:
        broker.end()


main()
