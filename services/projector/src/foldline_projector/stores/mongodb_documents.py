"""Documents and reference sources in MongoDB: rows, and updates that merge them only if newer.

A merge is a pipeline update filtered by `_id` alone, atomic for its document: sections are compared
with what is stored at that moment, so order and concurrency of writers do not matter. No I/O.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pymongo.operations import UpdateOne

from foldline_projector.stores import records
from foldline_projector.stores.port import Document, Reference, Section
from foldline_projector.stores.records import Fields

Written = TypeVar("Written", Document, Reference)

#: What `versions` of a form needs of a stored row.
VERSIONS = ("primary.version", "reference.version", "version", "fanned_out_version")


@dataclass(frozen=True, slots=True)
class Form(Generic[Written]):
    """How one kind of object is written."""

    #: As it is stored where there is none yet.
    row: Callable[[Written], Fields]
    #: A merge into what is stored.
    update: Callable[[Written], UpdateOne]
    #: Versions in a row; where none is greater than the stored one, a merge changes nothing.
    versions: Callable[[Fields], tuple[int, ...]]


def document_row(document: Document) -> Fields:
    """A document as it is stored where there is none yet."""
    return {
        "_id": document.key,
        "partition": document.partition,
        "primary": records.section_fields(document.primary),
        "reference": records.section_fields(document.reference),
    }


def document_of(row: Fields) -> Document:
    """The document in a stored row."""
    return Document(
        row["_id"],
        row["partition"],
        records.section_of(row["primary"]),
        records.section_of(row["reference"]),
    )


def document_update(document: Document) -> UpdateOne:
    """Merges a document into the stored one, each section only if newer, or inserts it."""
    partition: Any = {"$ifNull": ["$partition", document.partition]}
    if document.primary is not None:
        stored = {"$ifNull": ["$partition", document.partition]}
        newer = _is_newer("primary.version", document.primary.version)
        partition = {"$cond": [newer, document.partition, stored]}
    merge = {
        "partition": partition,
        "primary": newest("primary", document.primary),
        "reference": newest("reference", document.reference),
    }
    return UpdateOne({"_id": document.key}, [{"$set": merge}], upsert=True)


def newest(name: str, section: Section | None) -> Fields:
    """An expression: the stored section, or `section` when that is newer."""
    stored = {"$ifNull": [f"${name}", None]}
    if section is None:
        return stored
    fields = {"$literal": records.section_fields(section)}
    return {"$cond": [_is_newer(f"{name}.version", section.version), fields, stored]}


def _is_newer(path: str, version: int) -> Fields:
    return {"$lt": [{"$ifNull": [f"${path}", 0]}, version]}


def reference_row(reference: Reference) -> Fields:
    """A reference source as it is stored where there is none yet."""
    return {
        "_id": reference.key,
        **_source_fields(reference),
        "fanned_out_version": reference.fanned_out_version,
    }


def _source_fields(reference: Reference) -> Fields:
    section = reference.section
    return {
        "partition": reference.partition,
        "event_id": section.event_id,
        "body": section.body,
        "version": section.version,
    }


def reference_update(reference: Reference) -> UpdateOne:
    """Merges a reference source, only if newer; its fanned out version only grows."""
    newer = _is_newer("version", reference.section.version)
    merge: Fields = {
        name: {"$cond": [newer, {"$literal": value}, f"${name}"]}
        for name, value in _source_fields(reference).items()
    }
    merge["fanned_out_version"] = {"$max": ["$fanned_out_version", reference.fanned_out_version]}
    return UpdateOne({"_id": reference.key}, [{"$set": merge}], upsert=True)


def _section_versions(row: Fields) -> tuple[int, ...]:
    sections = (row.get("primary"), row.get("reference"))
    return tuple(section["version"] if section else 0 for section in sections)


DOCUMENTS = Form(document_row, document_update, _section_versions)
REFERENCES = Form(
    reference_row, reference_update, lambda row: (row["version"], row["fanned_out_version"])
)
