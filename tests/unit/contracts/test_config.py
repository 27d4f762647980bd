"""Configuration: one line that names the variable, whatever is wrong."""

from pathlib import Path

import pytest

from foldline_contracts.config import ConfigurationError, Environment, positive_float, positive_int


def test_a_missing_variable_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"^FOLDLINE_MONGODB_URL is not set$"):
        Environment({}).required("MONGODB_URL")


def test_an_empty_variable_is_missing() -> None:
    assert Environment({"FOLDLINE_X": ""}).text("X") is None


def test_a_secret_may_come_from_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hidden\n")
    assert Environment({"FOLDLINE_X_FILE": str(secret)}).required("X") == "hidden"


def test_both_forms_at_once_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="both set"):
        Environment({"FOLDLINE_X": "a", "FOLDLINE_X_FILE": str(tmp_path)}).text("X")


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="FOLDLINE_X_FILE: cannot read"):
        Environment({"FOLDLINE_X_FILE": str(tmp_path / "absent")}).text("X")


@pytest.mark.parametrize("text", ["0", "-1", "x", "1.5"])
def test_a_bad_number_is_named(text: str) -> None:
    with pytest.raises(ConfigurationError, match="FOLDLINE_N="):
        Environment({"FOLDLINE_N": text}).get("N", positive_int, 1)


@pytest.mark.parametrize("text", ["0", "nan", "inf", "-2"])
def test_a_bad_duration_is_named(text: str) -> None:
    with pytest.raises(ConfigurationError, match="FOLDLINE_N="):
        Environment({"FOLDLINE_N": text}).get("N", positive_float, 1.0)
