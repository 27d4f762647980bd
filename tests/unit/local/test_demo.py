"""How the demo waits and what it says, with a pipeline that answers from a list."""

import itertools
import json
from functools import partial
from pathlib import Path

import httpx
import pytest

from foldline_local import demo as demo_module
from foldline_local.config import load
from foldline_local.demo import Demo
from foldline_local.errors import LocalError
from foldline_local.patience import Patience


class Clock:
    """Time passes only while somebody sleeps."""

    now = 0.0

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(demo_module, "Patience", partial(Patience, clock=lambda: made.now))
    monkeypatch.setattr(demo_module.time, "sleep", lambda _: made.sleep(1.0))
    return made


def demo(answers):
    transport = httpx.MockTransport(lambda _: next(answers))
    return Demo(load({}, directory=Path("/srv/foldline")), transport)


def answer(status, second, **members):
    fresh = {"asOf": f"2026-01-02T03:04:{second:02}Z", "lagSeconds": 7.0, "stale": True}
    body = {"freshness": fresh, "items": [], **members}
    return response(status, body)


def response(status, body):
    """Unread, as it comes from a network."""
    stream = httpx.ByteStream(json.dumps(body).encode())
    return httpx.Response(status, stream=stream, headers={"Foldline-Generation": "1"})


def early(second):
    return answer(504, second, reason="timeout", detail="has version 1, not 2")


def test_without_a_stack_one_line_says_what_to_do():
    def refuse(request):
        raise httpx.ConnectError("[Errno 111] Connection refused", request=request)

    with pytest.raises(LocalError) as raised:
        Demo(load({}, directory=Path("/srv/foldline")), httpx.MockTransport(refuse)).run()
    assert str(raised.value) == "nothing answers on http://127.0.0.1:8081; run `make up`"


def test_an_answer_is_waited_for_as_long_as_events_arrive(clock, capsys):
    answers = itertools.chain(map(early, (*range(0, 50), *range(0, 50))), [answer(200, 59)])
    demo(answers)._get("MongoDB", "/orders/o-1", "orders/o-1@2")
    assert clock.now == 100
    said = capsys.readouterr().out
    assert "events still arriving, lag 7 s" in said
    assert "MongoDB       GET /orders/o-1" in said


def test_a_pipeline_that_stands_still_is_given_up(clock):
    with pytest.raises(LocalError, match="is not caught up after 61 s: lag 7 s"):
        demo(map(early, itertools.repeat(0)))._get("MongoDB", "/orders/o-1", "orders/o-1@2")


def test_a_store_that_is_away_for_a_moment_is_asked_again(clock):
    away = [response(503, {"detail": "order-search cannot be read now"}) for _ in range(2)]
    demo(iter([*away, answer(200, 0)]))._get("Elasticsearch", "/search?q=x", "orders/o-1@2")
    assert clock.now == 2


@pytest.mark.parametrize(
    "refusal",
    [answer(504, 0, reason="parked", detail="parked"), response(400, {"detail": "no"})],
    ids=["parked", "bad request"],
)
def test_an_answer_that_waiting_does_not_change_ends_the_demo(clock, refusal):
    with pytest.raises(LocalError, match="answered"):
        demo(iter([refusal]))._get("MongoDB", "/orders/o-1", "orders/o-1@2")
    assert clock.now == 0
