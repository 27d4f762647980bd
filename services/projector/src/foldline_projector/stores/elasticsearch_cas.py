"""Compare-and-set on Elasticsearch documents: the one way in which its store changes anything shared.

Reads are realtime and by id, so they see every acknowledged write without a refresh. A write is
conditional on the sequence number that was read, or on absence. `merge` repeats read, merge and
write for whatever met a conflict, a bounded number of times; a merge must be "only if newer", so
that repetition and order do not matter. An answer that can pass with time is `RetryLater`; any other
refusal crashes, because skipping a document would lose it.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

from elasticsearch import ApiError, ConnectionError, ConnectionTimeout, Elasticsearch  # noqa: A004
from elasticsearch.helpers import streaming_bulk

from foldline_projector.stores.port import RetryLater

Fields = dict[str, Any]
#: The stored source, or None, to the source that shall stand; None leaves it as it is.
Merge = Callable[[Fields | None], Fields | None]

ATTEMPTS = 20
AWAY_SECONDS = 1.0
CONFLICT_SECONDS = 0.2
PATIENCE = frozenset({429, 502, 503, 504})
UNKNOWN_INDEX = "index_not_found_exception"
CONFLICT = 409
READ_AT_ONCE = 200
WRITE_AT_ONCE = 500
WRITE_BYTES = 5 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Stored:
    """A document as it was read."""

    source: Fields
    seq_no: int
    primary_term: int


class Refused(Exception):
    """Elasticsearch rejects what we wrote; trying again cannot help."""


class CompareAndSet:
    """Conditional reads and writes through one client.

    `require_alias`: what is written to is an alias, and goes with its index. Else a write that comes after
    the index was deleted would make a new one of that name, with mappings that nobody wants.
    """

    def __init__(self, client: Elasticsearch, *, require_alias: bool = False) -> None:
        self._client = client
        self._require_alias = require_alias

    def read(self, index: str, ids: Collection[str]) -> dict[str, Stored]:
        """The documents that exist among `ids`, as last acknowledged."""
        found: dict[str, Stored] = {}
        for some in _batches(ids, READ_AT_ONCE):
            answer = self._client.mget(index=index, ids=some, realtime=True)
            found.update({hit["_id"]: _stored(hit) for hit in answer["docs"] if _exists(hit)})
        return found

    def merge(self, index: str, merges: Mapping[str, Merge]) -> None:
        """Brings every document to what its merge makes of it, against concurrent writers."""
        waiting = dict(merges)
        for _ in range(ATTEMPTS):
            stored = self.read(index, waiting)
            wanted = {key: merge(_source(stored.get(key))) for key, merge in waiting.items()}
            changed = {key: source for key, source in wanted.items() if source is not None}
            conflicts = self.write(index, changed, stored)
            if not conflicts:
                return
            waiting = {key: waiting[key] for key in conflicts}
        raise RetryLater(CONFLICT_SECONDS, f"Elasticsearch: {len(waiting)} documents are contended")

    def create(self, index: str, merges: Mapping[str, Merge]) -> None:
        """What `merge` does, fast where most documents are new: only those that are not are read."""
        sources = {key: merge(None) for key, merge in merges.items()}
        new = {key: source for key, source in sources.items() if source is not None}
        conflicts = self.write(index, new, {})
        self.merge(index, {key: merges[key] for key in conflicts})

    def write(
        self, index: str, sources: Mapping[str, Fields], read: Mapping[str, Stored]
    ) -> list[str]:
        """Writes each source unless its document has changed since it was read; answers the ids
        of those that had.
        """
        actions = (
            {"_index": index, "_id": key, "_source": source, **_condition(read.get(key))}
            for key, source in sources.items()
        )
        return self.bulk(actions)

    def bulk(self, actions: Iterable[Fields], *, refresh: bool = False) -> list[str]:
        """Sends the actions in bounded requests; answers the ids that met a conflict."""
        answers = streaming_bulk(
            self._client,
            actions,
            chunk_size=WRITE_AT_ONCE,
            max_chunk_bytes=WRITE_BYTES,
            raise_on_error=False,
            refresh=refresh,
            require_alias=self._require_alias,
        )
        return [key for done, answer in answers for key in _conflict(done, answer)]


@contextmanager
def verdicts() -> Iterator[None]:
    """Client errors stop here: what can pass with time is RetryLater, the rest crashes."""
    try:
        yield
    except (ConnectionError, ConnectionTimeout) as error:
        raise RetryLater(AWAY_SECONDS, f"Elasticsearch: {error}") from error
    except ApiError as error:
        if error.status_code in PATIENCE:
            raise RetryLater(AWAY_SECONDS, f"Elasticsearch: {error}") from error
        raise


def _batches(ids: Collection[str], size: int) -> Iterator[list[str]]:
    rest = iter(ids)
    while some := list(islice(rest, size)):
        yield some


def _exists(hit: Mapping[str, Any]) -> bool:
    """Whether it is there; a shard that does not answer is no answer."""
    error = hit.get("error")
    if error is None:
        return bool(hit["found"])
    if error["type"] == UNKNOWN_INDEX:
        raise Refused(f"{hit['_id']}: {error}")
    raise RetryLater(AWAY_SECONDS, f"Elasticsearch: {hit['_id']}: {error}")


def _stored(hit: Mapping[str, Any]) -> Stored:
    return Stored(hit["_source"], hit["_seq_no"], hit["_primary_term"])


def _source(stored: Stored | None) -> Fields | None:
    return None if stored is None else stored.source


def _condition(stored: Stored | None) -> Fields:
    if stored is None:
        return {"_op_type": "create"}
    return {"if_seq_no": stored.seq_no, "if_primary_term": stored.primary_term}


def _conflict(done: bool, answer: Mapping[str, Any]) -> list[str]:
    """The id in a list when the item met a conflict. A deletion of what is not there is done."""
    operation, item = next(iter(answer.items()))
    status = item["status"]
    if done or (operation == "delete" and status == 404):
        return []
    if status == CONFLICT:
        return [item["_id"]]
    if status in PATIENCE:
        raise RetryLater(AWAY_SECONDS, f"Elasticsearch: {item.get('error')}")
    raise Refused(f"{item['_id']}: {item.get('error')}")
