"""Importing past orders: the same rules, idempotent, resumable, a bad line only hurts itself."""

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from click.testing import CliRunner, Result

from foldline_command.orders import importer

pytestmark = pytest.mark.integration

Sql = psycopg.Connection[Any]
CDNOW = """ customer_id  date number_of_cds  dollar_value
 00001 19970101  1   11.77
 00002 19970112  1   12.00
 00002 19970112  1   12.00
 00003 19970102  5    0.00
"""
SAMPLE = "    4    1 19970101  2  29.33\n"


@pytest.fixture
def dataset(database_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("FOLDLINE_WRITE_DATABASE_URL", database_url)
    return f"d{uuid4().hex[:10]}"


def run(path: Path, dataset: str, form: str) -> Result:
    return CliRunner().invoke(importer.command, [str(path), "--dataset", dataset, "--format", form])


def file(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "past"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def events(sql: Sql, order: str) -> list[tuple[str, dict[str, Any], str]]:
    query = "SELECT type, payload FROM outbox WHERE aggregateid = %s ORDER BY version"
    decoded = [(name, json.loads(payload)) for name, payload in sql.execute(query, [order])]
    return [(name, payload["data"], payload["time"]) for name, payload in decoded]


def test_a_purchase_becomes_an_order_paid_at_midnight(
    sql: Sql, dataset: str, tmp_path: Path
) -> None:
    done = run(file(tmp_path, CDNOW), dataset, "cdnow")
    assert done.exit_code == 0, done.output
    assert "imported 4, already there 0, bad 0" in done.output
    found = events(sql, f"{dataset}-2")
    assert [name for name, _, _ in found] == [
        "OrderCreated.v1",
        "OrderSubmitted.v1",
        "PaymentReceived.v1",
        "OrderPaid.v1",
    ]
    assert {time for _, _, time in found} == {"1997-01-01T00:00:00.000000Z"}
    assert found[0][1]["customerId"] == "00001"
    assert found[1][1] == {"total": "11.77", "currency": "USD", "itemCount": 1}


def test_a_purchase_for_nothing_is_paid_at_submission(
    sql: Sql, dataset: str, tmp_path: Path
) -> None:
    run(file(tmp_path, CDNOW), dataset, "cdnow")
    names = [name for name, _, _ in events(sql, f"{dataset}-5")]
    assert names == ["OrderCreated.v1", "OrderSubmitted.v1", "OrderPaid.v1"]


def test_identical_lines_are_different_purchases(sql: Sql, dataset: str, tmp_path: Path) -> None:
    run(file(tmp_path, CDNOW), dataset, "cdnow")
    assert len(events(sql, f"{dataset}-3")) == len(events(sql, f"{dataset}-4")) == 4


def test_the_sample_has_the_customer_of_the_log_first(
    sql: Sql, dataset: str, tmp_path: Path
) -> None:
    run(file(tmp_path, SAMPLE), dataset, "cdnow")
    created = events(sql, f"{dataset}-1")[0][1]
    assert (created["customerId"], created["items"][0]["name"]) == ("4", "2 CDs")


def test_importing_again_changes_nothing(sql: Sql, dataset: str, tmp_path: Path) -> None:
    path = file(tmp_path, CDNOW)
    run(path, dataset, "cdnow")
    count = "SELECT count(*) FROM outbox WHERE aggregateid LIKE %s"
    before = sql.execute(count, [f"{dataset}-%"]).fetchone()
    assert "imported 0, already there 4" in run(path, dataset, "cdnow").output
    assert sql.execute(count, [f"{dataset}-%"]).fetchone() == before


def test_a_stopped_import_goes_on_where_it_stopped(
    sql: Sql, dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importer, "BLOCK", 2)
    path = file(tmp_path, CDNOW)
    real, calls = importer.UnitOfWork.commit, iter([True, False])

    def commit(uow: importer.UnitOfWork) -> None:
        if not next(calls):
            raise KeyboardInterrupt
        real(uow)

    monkeypatch.setattr(importer.UnitOfWork, "commit", commit)
    run(path, dataset, "cdnow")
    monkeypatch.setattr(importer.UnitOfWork, "commit", real)
    assert "imported 2, already there 2, bad 0" in run(path, dataset, "cdnow").output
    assert all(events(sql, f"{dataset}-{number}") for number in range(2, 6))


def test_bad_lines_are_named_and_the_rest_is_imported(
    sql: Sql, dataset: str, tmp_path: Path
) -> None:
    lines = [
        b" 00001 19970101  1   11.77",
        b" 00001 19971301  1   11.77",
        b" 00001 19970101  x   11.77",
        b" 00001 19970101  1   -1.00",
        b" 00001 19970101",
        b" \xff\xfe 19970101  1   11.77",
        b" 00002 19970101  1   11.77",
    ]
    done = run(file(tmp_path, b"\n".join(lines)), dataset, "cdnow")
    assert done.exit_code == 1
    assert "imported 2, already there 0, bad 5" in done.output
    for number in range(2, 7):
        assert f"line {number}: " in done.output
        assert events(sql, f"{dataset}-{number}") == []
    assert events(sql, f"{dataset}-7")


def test_ndjson_carries_whole_orders(sql: Sql, dataset: str, tmp_path: Path) -> None:
    item = {"productId": "p1", "name": "Lamp", "quantity": 2, "unitPrice": "1.50"}
    orders: list[Any] = [
        {"customerId": "c1", "createdAt": "2020-01-02T03:04:05+01:00", "items": [item] * 2},
        {"customerId": "c1", "createdAt": "2020-01-02", "items": [item]},
        {"customerId": "c1", "createdAt": "2020-01-02T03:04:05Z", "items": [], "paid": True},
        {"customerId": "c1", "createdAt": "2020-01-02T03:04:05Z", "items": [item], "x": 1},
    ]
    text = "\n".join([*map(json.dumps, orders), "{", '{"a":1,"a":1}'])
    done = run(file(tmp_path, text), dataset, "ndjson")
    assert done.exit_code == 1
    assert "imported 1, already there 0, bad 5" in done.output
    ((name, data, time),) = events(sql, f"{dataset}-1")
    assert (name, time) == ("OrderCreated.v1", "2020-01-02T02:04:05.000000Z")
    assert [line["quantity"] for line in data["items"]] == [4]


def test_csv_has_an_order_a_line(sql: Sql, dataset: str, tmp_path: Path) -> None:
    text = (
        "customerId,currency,createdAt,productId,name,quantity,unitPrice\n"
        'c1,EUR,2020-01-02T00:00:00Z,p1,"Lamp, ""big""",3,1.50\n'
        "c1,EUR,2020-01-02T00:00:00Z,p1,Lamp,many,1.50\n"
        "c1,EUR\n"
    )
    done = run(file(tmp_path, text), dataset, "csv")
    assert "imported 1, already there 0, bad 2" in done.output, done.output
    created = events(sql, f"{dataset}-2")[0][1]
    assert created["items"] == [
        {"productId": "p1", "name": 'Lamp, "big"', "quantity": 3, "unitPrice": "1.50"}
    ]


@pytest.mark.parametrize("dataset_name", ["", "a b", "x" * 60])
def test_a_dataset_that_makes_no_ids_is_refused(
    dataset: str, tmp_path: Path, dataset_name: str
) -> None:
    assert run(file(tmp_path, CDNOW), dataset_name, "cdnow").exit_code == 2
