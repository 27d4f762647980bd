"""Search over orders in Elasticsearch.

Every word must be found in some field, or of more than two words three in four: one word may be
mistyped (fuzziness grows with its length) and accents do not matter, because the index and the
query fold them alike. Words found as they were typed score higher. Pages follow score and key,
or creation and key without words; like all keyset pages they hold no state in the store, so a
score that changes between two pages can move an order across their border.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from foldline_contracts import money
from foldline_query import pagination
from foldline_query.orders import highlights
from foldline_query.orders.highlights import TEXTS
from foldline_query.orders.parameters import SearchParameters
from foldline_query.problems import bad_parameter
from foldline_query.readers.elasticsearch import ElasticsearchStore

Json = dict[str, Any]

_BODY = "primary.body"
FACETS: Mapping[str, str] = {
    "status": f"{_BODY}.status",
    "customerId": f"{_BODY}.customerId",
    "productId": f"{_BODY}.items.productId",
}
FACET_SIZE = 50
#: Words of the index, nearest first, that one mistyped word may stand for in one field.
MAX_EXPANSIONS = 50
_SHOWN = ("customerId", "status", "total", "currency", "itemCount", "createdAt", "updatedAt")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A checked search."""

    words: str | None
    filters: tuple[Json, ...]
    limit: int
    behind: list[Any] | None
    binding: Json


def wanted(given: SearchParameters) -> Wanted:
    """The search that these parameters ask for. Raises Problem 400 for a bad cursor."""
    filters = _filters(given)
    binding = {"list": "search", "q": given.q, "filters": filters}
    behind = None if given.cursor is None else _behind(given.cursor, given.q, binding)
    return Wanted(given.q, tuple(filters), given.limit, behind, binding)


def page(store: ElasticsearchStore, index: str, wanted: Wanted) -> Json:
    """The page with its facets and highlights; `total` is exact."""
    found = store.search(index, query(wanted))
    hits = found["hits"]["hits"]
    shown = hits[: wanted.limit]
    more = len(hits) > wanted.limit
    marks = _marks(store, index, wanted, found, shown)
    facets = found["aggregations"]
    return {
        "items": [item(hit, marks.get(hit["_id"], {})) for hit in shown],
        "nextCursor": pagination.encode(shown[-1]["sort"], wanted.binding) if more else None,
        "facets": {name: _facet(facets[name]) for name in FACETS},
        "total": found["hits"]["total"]["value"],
    }


def query(wanted: Wanted) -> Json:
    """The search body."""
    body: Json = {
        "query": {"bool": {"filter": list(wanted.filters), **_matching(wanted.words)}},
        "sort": _sort(wanted.words),
        "size": wanted.limit + 1,
        "track_total_hits": True,
        "aggs": {
            name: {"terms": {"field": field, "size": FACET_SIZE}} for name, field in FACETS.items()
        },
    }
    if wanted.words is not None:
        body["suggest"] = highlights.similar(wanted.words)
    return body if wanted.behind is None else {**body, "search_after": wanted.behind}


def item(hit: Json, marks: Json) -> Json:
    """A hit as the API shows it."""
    source = hit["_source"]
    body = source["primary"]["body"]
    customer = (source.get("reference") or {}).get("body") or {}
    return {
        "orderId": source["key"],
        "score": hit.get("_score"),
        "highlights": marks,
        "customerName": customer.get("name"),
        **{name: body.get(name) for name in _SHOWN},
        "version": source["primary"]["version"],
    }


def _marks(
    store: ElasticsearchStore, index: str, wanted: Wanted, found: Json, shown: list[Json]
) -> Mapping[str, Json]:
    if wanted.words is None:
        return {}
    keys = [hit["_id"] for hit in shown]
    return highlights.marked(store, index, wanted.words, found, keys)


def _matching(words: str | None) -> Json:
    """Per word, because fuzziness works within a field and words may stand in different ones."""
    if words is None:
        return {}
    each = [
        {"multi_match": _match(word, fuzziness="AUTO", max_expansions=MAX_EXPANSIONS)}
        for word in words.split()
    ]
    if not each:
        return {"must": {"match_none": {}}}
    return {
        "must": {"bool": {"should": each, "minimum_should_match": "2<75%"}},
        "should": {"multi_match": _match(words, type="most_fields")},
    }


def _match(words: str, **options: str | int) -> Json:
    return {"query": words, "fields": list(TEXTS), "operator": "or", **options}


def _sort(words: str | None) -> list[Json]:
    first: Json = {f"{_BODY}.createdAt": "desc"} if words is None else {"_score": "desc"}
    return [first, {"key": "asc"}]


def _filters(given: SearchParameters) -> list[Json]:
    terms = {FACETS["status"]: given.status, FACETS["customerId"]: given.customer_id}
    found: list[Json] = [{"term": {name: value}} for name, value in terms.items() if value]
    bounds = {"gte": given.min_total, "lte": given.max_total}
    limits = {way: money.to_text(limit) for way, limit in bounds.items() if limit is not None}
    return [*found, {"range": {f"{_BODY}.total.number": limits}}] if limits else found


def _facet(found: Json) -> list[Json]:
    return [{"value": each["key"], "count": each["doc_count"]} for each in found["buckets"]]


def _behind(cursor: str, words: str | None, binding: Json) -> list[Any]:
    try:
        first, key = pagination.decode(cursor, binding, 2)
    except ValueError as error:
        raise bad_parameter("cursor", str(error)) from error
    number = float if words is not None else int
    if not isinstance(first, number | int) or isinstance(first, bool) or not isinstance(key, str):
        raise bad_parameter("cursor", "is not a cursor of this service")
    return [first, key]
