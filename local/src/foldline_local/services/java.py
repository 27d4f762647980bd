"""Command lines of the three JVMs, kept small and quick to start.

Each JVM writes an archive of its loaded classes when it ends and maps it at the next start, which about halves the time
until it serves. The archive belongs to the class path it was made from; a stale one is ignored and replaced.
"""

from foldline_local.artifacts import Layout

_COMMON = (
    "-XX:+AutoCreateSharedArchive",
    "-Xlog:cds=off",
    "-Xlog:cds+dynamic=off",
    "-Xshare:auto",
    "-Djava.awt.headless=true",
    "--enable-native-access=ALL-UNNAMED",
    "--sun-misc-unsafe-memory-access=allow",
    "-XX:+ExitOnOutOfMemoryError",
)


def command(layout: Layout, name: str, heap: str, *options: str) -> tuple[str, ...]:
    """The JVM and its options; class path, main class and arguments follow."""
    archive = layout.class_data / f"{name}.jsa"
    return (str(layout.java), f"-Xmx{heap}", *_COMMON, f"-XX:SharedArchiveFile={archive}", *options)


def class_path(*folders: object) -> tuple[str, str]:
    """The option that names what a JVM loads its classes from."""
    return "-cp", ":".join(str(folder) for folder in folders)
