"""The index of order-search: what orders are found, filtered, counted and sorted by.

Laid over the layout that the Elasticsearch store gives every document. Text is split into words,
lower-cased and freed of accents, when it is indexed and when it is searched, so `Zoë` and `zoe` are
one word; tolerance for typing errors is the query's (fuzziness). Nothing here needs scripts, synonyms
or types of the licensed modules.

Money stays exact as text; its `number` is a double, for ranges and order. Doubles keep the order
of decimals, and tell any two amounts apart that have at most 15 digits.
"""

from collections.abc import Mapping
from typing import Any

Fields = dict[str, Any]

ANALYZER = "folded"
_TEXT: Fields = {"type": "text", "analyzer": ANALYZER}
_KEYWORD: Fields = {"type": "keyword"}
_TIME: Fields = {"type": "date", "ignore_malformed": True}
_MONEY: Fields = {
    "type": "keyword",
    "fields": {"number": {"type": "double", "ignore_malformed": True}},
}
_ADDRESS = ("recipient", "street", "city", "postalCode", "country")

_ORDER: Fields = {
    "customerId": _KEYWORD,
    "status": _KEYWORD,
    "currency": _KEYWORD,
    "total": _MONEY,
    "itemCount": {"type": "integer"},
    "createdAt": _TIME,
    "updatedAt": _TIME,
    "note": _TEXT,
    "reason": _TEXT,
    "items": {"properties": {"productId": _KEYWORD, "name": _TEXT}},
    "shipping": {"properties": dict.fromkeys(_ADDRESS, _TEXT)},
}

#: Settings and mappings of the document index.
INDEX: Mapping[str, object] = {
    "settings": {
        "analysis": {
            "analyzer": {
                ANALYZER: {
                    "type": "custom",
                    "tokenizer": "standard",
                    "filter": ["lowercase", "asciifolding"],
                }
            }
        }
    },
    "mappings": {
        "properties": {
            "primary": {"properties": {"body": {"properties": _ORDER}}},
            "reference": {"properties": {"body": {"properties": {"name": _TEXT}}}},
        }
    },
}
