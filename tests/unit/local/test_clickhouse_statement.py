from foldline_local.clickhouse_engine import quoted, statement


def test_a_query_in_the_url_makes_the_body_its_data():
    request = statement({"query": "INSERT INTO t FORMAT CSV"}, b"1,2\n", "TabSeparated")
    assert (request.text, request.data) == (b"INSERT INTO t FORMAT CSV", b"1,2\n")


def test_without_one_the_body_is_the_query():
    request = statement({"database": "d"}, b"SELECT 1", "TabSeparated")
    assert (request.text, request.data, request.database) == (b"SELECT 1", b"", "d")


def test_parameters_settings_and_transport_are_told_apart():
    query = {"param_day": "2026-01-01", "max_threads": "2", "query_id": "q", "compress": "1"}
    request = statement({**query, "default_format": "JSON"}, b"SELECT 1", "TabSeparated")
    assert request.parameters == {"day": "2026-01-01"}
    assert request.settings == {"max_threads": "2"}
    assert request.default_format == "JSON"


def test_a_literal_cannot_be_left():
    assert quoted("a'b\\") == "'a\\'b\\\\'"
