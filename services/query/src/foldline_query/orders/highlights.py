"""Marks in the hits of a search, in a second request over the shown hits alone.

Highlighting a fuzzy query builds its automaton again for every hit and field, which takes ten
times as long as the search. So the search itself asks for the index's words that are like the
wanted ones (the term suggester walks the same automaton once), and the marking looks for those
words as they are. The second request may see a newer version of an order; marks are no data.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from foldline_query.readers.elasticsearch import ElasticsearchStore

Json = dict[str, Any]

_BODY = "primary.body"
#: Field in the index to its name in `highlights`.
TEXTS: Mapping[str, str] = {
    f"{_BODY}.items.name": "items.name",
    "reference.body.name": "customerName",
    f"{_BODY}.note": "note",
    f"{_BODY}.reason": "reason",
    f"{_BODY}.shipping.recipient": "shipping.recipient",
    f"{_BODY}.shipping.street": "shipping.street",
    f"{_BODY}.shipping.city": "shipping.city",
    f"{_BODY}.shipping.postalCode": "shipping.postalCode",
    f"{_BODY}.shipping.country": "shipping.country",
}
_SIMILAR = 20
_BOUNDS = {
    "suggest_mode": "always",
    "prefix_length": 0,
    "min_word_length": 1,
    "size": _SIMILAR,
}


def similar(words: str) -> Json:
    """The part of a search that asks each field for words like these, as far as AUTO goes."""
    by_edits: dict[int, list[str]] = {}
    for word in words.split():
        by_edits.setdefault(_edits(word), []).append(word)
    return {
        f"{field}|{edits}": {
            "text": " ".join(some),
            "term": {"field": field, "max_edits": edits, **_BOUNDS},
        }
        for edits, some in by_edits.items()
        if edits
        for field in TEXTS
    }


def marked(
    store: ElasticsearchStore, index: str, words: str, found: Json, keys: Iterable[str]
) -> Mapping[str, Json]:
    """The highlights of these hits by key; `found` is the answer of the search."""
    values = list(keys)
    if not values:
        return {}
    terms = dict.fromkeys(TEXTS, words)
    for name, entries in found.get("suggest", {}).items():
        field = name.rpartition("|")[0]
        more = [option["text"] for entry in entries for option in entry["options"]]
        terms[field] = " ".join([terms[field], *more])
    hits = store.search(index, _body(values, terms))["hits"]["hits"]
    return {hit["_id"]: _named(hit.get("highlight", {})) for hit in hits}


def _body(keys: list[str], terms: Mapping[str, str]) -> Json:
    return {
        "query": {"ids": {"values": keys}},
        "size": len(keys),
        "_source": False,
        "track_total_hits": False,
        "highlight": {
            "encoder": "html",
            "pre_tags": ["<em>"],
            "post_tags": ["</em>"],
            "fields": {
                field: {"highlight_query": {"match": {field: text}}}
                for field, text in terms.items()
            },
        },
    }


def _named(fields: Mapping[str, Any]) -> Json:
    return {TEXTS[field]: fragments for field, fragments in fields.items()}


def _edits(word: str) -> int:
    """As many as `fuzziness: AUTO` allows."""
    return 0 if len(word) < 3 else 1 if len(word) < 6 else 2
