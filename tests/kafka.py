"""A real Apache Kafka broker for tests: KRaft, one node, one JVM, on loopback, from the jars of Maven Central."""

import base64
import contextlib
import fcntl
import hashlib
import re
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.stack import broker as embedded
from cluster.stack.process import Recorded, accepts, free_port, spawn, wait_ready
from engine.errors import StreamError
from engine.streams import topics
from engine.streams.client import admin_client
from engine.streams.reader import KafkaReader
from tests.conftest import ROOT
from tests.waiting import wait_for

POM = ROOT / ".ci" / "kafka.xml"
JARS = ROOT / ".kafka" / "libs"
_FETCH_SECONDS = 300
_START_SECONDS = 60.0
_STOP_SECONDS = 30.0
_JAVA = 17
_MESSAGE_BYTES = 32 << 20


class KafkaBroker:
    """One broker with its log in `folder`. Keeps its port, cluster and log over `stop` and `start`."""

    def __init__(self, folder: Path, jars: Path) -> None:
        self._folder = folder
        self._classpath = f"{jars}/*"
        self._port, self._controller = free_port(), free_port()
        self._log = folder / "kafka.log"
        self._running: Recorded | None = None
        self.bootstrap = f"127.0.0.1:{self._port}"
        self.start_seconds = 0.0
        folder.mkdir(parents=True, exist_ok=True)
        self._properties = folder / "server.properties"
        self._properties.write_text(self._settings())
        drawn = uuid.uuid4().bytes
        drawn = bytes([drawn[0] & 127]) + drawn[1:]  # an id that begins with - is taken for an option
        cluster = base64.urlsafe_b64encode(drawn).decode().rstrip("=")
        command = self._java("kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(self._properties))
        subprocess.run(command, check=True, capture_output=True, timeout=60)

    def start(self) -> None:
        """Starts the broker and waits until it answers."""
        begun = time.monotonic()
        child = spawn(self._java("kafka.Kafka", str(self._properties)), self._log)
        self._running = Recorded.of("kafka", child.pid, self._log)
        wait_ready("Kafka", child, self._log, self._answers, _START_SECONDS)
        self.start_seconds = time.monotonic() - begun

    def stop(self, first: signal.Signals = signal.SIGTERM) -> None:
        """Ends the broker; SIGKILL ends it without a clean shutdown. Its log stays."""
        if self._running is not None:
            self._running.end(first, _STOP_SECONDS)
            self._running = None

    def _answers(self) -> bool:
        with contextlib.suppress(StreamError):
            if accepts(self._port):
                with admin_client(self.bootstrap) as admin:
                    return bool(admin.describe_cluster()["brokers"])
        return False

    def _java(self, *words: str) -> list[str]:
        java = ["java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        return [*java, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", self._classpath, *words]

    def _settings(self) -> str:
        listeners = f"PLAINTEXT://{self.bootstrap},CONTROLLER://127.0.0.1:{self._controller}"
        settings = {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.voters": f"1@127.0.0.1:{self._controller}",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "listeners": listeners,
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap}",
            "log.dirs": self._folder / "log",
            "auto.create.topics.enable": "false",
            "default.replication.factor": 1,
            "offsets.topic.replication.factor": 1,
            "offsets.topic.num.partitions": 1,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "message.max.bytes": _MESSAGE_BYTES,
            "replica.fetch.max.bytes": _MESSAGE_BYTES,
            "log.cleaner.enable": "false",
        }
        return "".join(f"{name}={value}\n" for name, value in settings.items())


def missing() -> str:
    """What this machine lacks for a real broker; empty where nothing."""
    if shutil.which("java") is None:
        return "a real Kafka broker needs Java 17 (java is not on the PATH)"
    told = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', told)
    if version is None or int(version[1]) < _JAVA:
        return f"a real Kafka broker needs Java 17 or later; java says {told.splitlines()[:1]}"
    if not _fetched() and shutil.which("mvn") is None:
        return "the jars of a real Kafka broker are fetched by Maven (mvn is not on the PATH)"
    return ""


def _fetched() -> bool:
    mark = JARS / ".pom"
    return mark.is_file() and mark.read_text() == hashlib.sha256(POM.read_bytes()).hexdigest()


def fetch_jars() -> Path:
    """The folder with the broker's jars, fetched from Maven Central the first time, by one process."""
    JARS.parent.mkdir(exist_ok=True)
    with (JARS.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _fetched():
            shutil.rmtree(JARS, ignore_errors=True)
            command = ["mvn", "-q", "-B", "-f", str(POM), "dependency:copy-dependencies", f"-DoutputDirectory={JARS}"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=_FETCH_SECONDS, check=False)
            if done.returncode != 0:
                pytest.skip(f"Maven could not fetch the jars of Kafka: {done.stdout[-500:]}")
            (JARS / ".pom").write_text(hashlib.sha256(POM.read_bytes()).hexdigest())
    return JARS


def fresh_topics(bootstrap: str) -> None:
    """All topics empty, of a new identity, and led: a broker leads new partitions only a while after it made them."""
    ours = {*topics.INPUT_TOPICS, *topics.OUTPUT_TOPICS}
    with admin_client(bootstrap) as admin:
        present = ours & set(admin.list_topics())
        if present:
            admin.delete_topics(sorted(present))
            wait_for(lambda: not ours & set(admin.list_topics()), "the broker to delete its topics")
    topics.ensure_topics(bootstrap)
    places = [(topic, partition) for topic in ours for partition in range(topics.PARTITIONS)]
    reader = KafkaReader(bootstrap, "fresh-topics")
    try:

        def led() -> bool:
            with contextlib.suppress(StreamError):
                return len(reader.end_offsets(places)) == len(places)
            return False

        wait_for(led, "the broker to lead its new partitions")
    finally:
        reader.close()


@pytest.fixture(scope="session")
def kafka_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    lacking = missing()
    if lacking:
        pytest.skip(lacking)
    broker = KafkaBroker(tmp_path_factory.mktemp("kafka"), fetch_jars())
    try:
        broker.start()
        yield broker
    finally:
        broker.stop()


@pytest.fixture
def kafka_bootstrap(kafka_broker: KafkaBroker) -> str:
    """Address of the real broker, its topics empty."""
    fresh_topics(kafka_broker.bootstrap)
    return kafka_broker.bootstrap


@pytest.fixture
def embedded_bootstrap(tmp_path: Path) -> Iterator[str]:
    """Address of an embedded broker of the test's own, with empty topics."""
    server, bootstrap = embedded.start(tmp_path / "broker")
    try:
        topics.ensure_topics(bootstrap)
        yield bootstrap
    finally:
        embedded.stop(server)


@pytest.fixture
def any_bootstrap(request: pytest.FixtureRequest) -> str:
    """The real broker where this machine can run one, else the embedded one."""
    return str(request.getfixturevalue("embedded_bootstrap" if missing() else "kafka_bootstrap"))
