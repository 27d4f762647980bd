"""Jars from Maven Central, exactly those that the committed lock names.

Resolving a dependency tree is done once, by `foldline_local lock`, and its outcome is committed as one line per jar with
its checksum. Installing only downloads those lines: nothing is resolved on a user's machine, so every machine runs the
same bytes. A jar that was cut off by a crash fails its checksum and is fetched again.
"""

import hashlib
import logging
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import requests
from jgo import MavenContext, build

from foldline_local.errors import LocalError

ATTEMPTS = 3
CONNECTIONS = 8
TIMEOUT_SECONDS = 60


@dataclass(frozen=True)
class Bundle:
    """A set of jars that belong on one class path.

    `provided` names the groups that the host process brings: a Connect plug-in must not carry its own copy of them.
    """

    name: str
    coordinates: tuple[str, ...]
    provided: tuple[str, ...] = ()

    @property
    def version(self) -> str:
        """The version of what the bundle is named after."""
        return self.coordinates[0].rsplit(":", 1)[1]


@dataclass(frozen=True)
class LockedJar:
    """One line of a lock."""

    group: str
    artifact: str
    version: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.group}:{self.artifact}:{self.version} {self.sha256}"


KAFKA = Bundle(
    "kafka",
    (
        "org.apache.kafka:kafka_2.13:4.3.1",
        "org.apache.kafka:kafka-tools:4.3.1",
        "org.apache.kafka:connect-runtime:4.3.1",
        "org.apache.kafka:connect-json:4.3.1",
        "org.apache.kafka:kafka-clients:4.3.1",
        # The mark keeps this project's own managed versions, which name older Kafka jars, out of the bundle.
        "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4!",
    ),
)
DEBEZIUM = Bundle(
    "debezium",
    ("io.debezium:debezium-connector-postgres:3.7.0.Final",),
    provided=(
        "org.apache.kafka",
        "org.slf4j",
        "at.yawk.lz4",
        "org.xerial.snappy",
        "com.github.luben",
        "jakarta.ws.rs",
    ),
)
ELASTICSEARCH = Bundle(
    "elasticsearch",
    ("org.elasticsearch:elasticsearch:9.5.3", "org.elasticsearch.plugin:transport-netty4:9.5.3"),
)
COMPILER = Bundle("ecj", ("org.eclipse.jdt:ecj:3.43.0",))
BUNDLES = (KAFKA, DEBEZIUM, ELASTICSEARCH, COMPILER)


def lock_text(bundle: Bundle) -> str:
    """The committed lock, one line a jar."""
    return (files("foldline_local") / "locks" / f"{bundle.name}.lock").read_text()


def lock_digest(bundle: Bundle) -> str:
    """Names the cache folder, so that a changed lock installs beside the old one."""
    return hashlib.sha256(lock_text(bundle).encode()).hexdigest()[:8]


def read_lock(text: str) -> list[LockedJar]:
    """The jars of a lock's text."""
    jars = []
    for line in text.splitlines():
        coordinate, sha256 = line.split()
        group, artifact, version = coordinate.split(":")
        jars.append(LockedJar(group, artifact, version, sha256))
    return jars


def fetch(bundle: Bundle, repository: Path, target: Path) -> None:
    """Put the bundle's jars into `target`, taking what an earlier, broken-off run left in `repository`.

    Bundles are fetched at the same time and share some jars, so each has a part of the repository for itself.
    """
    target.mkdir(parents=True, exist_ok=True)
    context = MavenContext(repo_cache=repository / bundle.name, timeout=TIMEOUT_SECONDS)
    jars = read_lock(lock_text(bundle))
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        for path in pool.map(lambda jar: _fetch_one(context, jar), jars):
            os.link(path, target / path.name)


def _fetch_one(context: MavenContext, jar: LockedJar) -> Path:
    reason = "no answer"
    for _ in range(ATTEMPTS):
        try:
            artifact = context.project(jar.group, jar.artifact).at_version(jar.version).artifact()
            path: Path = artifact.resolve()
        except (requests.RequestException, RuntimeError, AssertionError) as error:
            reason = str(error) or type(error).__name__
            _discard(context, jar)
            continue
        if hashlib.sha256(path.read_bytes()).hexdigest() == jar.sha256:
            return path
        reason = "its checksum is not the locked one"
        path.unlink()
    raise LocalError(f"cannot download {jar.artifact}-{jar.version}.jar: {reason}")


def _discard(context: MavenContext, jar: LockedJar) -> None:
    """Remove what a broken download left, so that the next attempt does not take it for whole."""
    folder = context.repo_cache / jar.group.replace(".", "/") / jar.artifact / jar.version
    (folder / f"{jar.artifact}-{jar.version}.jar").unlink(missing_ok=True)


def resolve(bundle: Bundle, work: Path) -> str:
    """Resolve the bundle afresh and return the text of its lock. For maintainers, after changing a version."""
    logging.getLogger("jgo").setLevel(logging.ERROR)
    environment = build("+".join(bundle.coordinates), cache_dir=work, update=True)
    if environment.lockfile is None:
        raise LocalError(f"resolving {bundle.name} gave no lock")
    return _render(bundle, environment.lockfile.dependencies)


def _render(bundle: Bundle, dependencies: Iterable[object]) -> str:
    jars = [
        LockedJar(
            *(
                str(getattr(dependency, name))
                for name in ("groupId", "artifactId", "version", "sha256")
            )
        )
        for dependency in dependencies
    ]
    return "".join(
        f"{line}\n" for line in sorted(str(jar) for jar in jars if jar.group not in bundle.provided)
    )
