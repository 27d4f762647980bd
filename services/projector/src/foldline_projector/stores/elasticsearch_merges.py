"""What stands in an Elasticsearch document after a write: "only if newer", section by section.

Pure functions. Each merge may be repeated and applied in any order: it answers the source that shall
stand, or None where the stored one is at least as new.
"""

from foldline_projector.stores import records
from foldline_projector.stores.elasticsearch_cas import Fields, Merge
from foldline_projector.stores.port import Document, Reference, Section


def document_merge(document: Document) -> Merge:
    """Writes the sections that are newer, or the whole document."""

    def merge(stored: Fields | None) -> Fields | None:
        if stored is None:
            return _fields(document)
        newer = {
            name: records.section_fields(section)
            for name, section in (("primary", document.primary), ("reference", document.reference))
            if section is not None and _is_newer(section, stored[name])
        }
        if "primary" in newer:
            stored = {**stored, "partition": document.partition}
        return {**stored, **newer} if newer else None

    return merge


def reference_patch(section: Section) -> Merge:
    """Writes the reference section into documents that exist."""

    def merge(stored: Fields | None) -> Fields | None:
        if stored is None or not _is_newer(section, stored["reference"]):
            return None
        return {**stored, "reference": records.section_fields(section)}

    return merge


def reference_merge(reference: Reference) -> Merge:
    """Writes a reference source that is newer; its fanned-out version only grows."""
    section = reference.section
    given = {
        "key": reference.key,
        "partition": reference.partition,
        "version": section.version,
        "event_id": section.event_id,
        "fanned_out_version": reference.fanned_out_version,
        "body": section.body,
    }

    def merge(stored: Fields | None) -> Fields | None:
        if stored is None:
            return given
        fanned_out = max(stored["fanned_out_version"], reference.fanned_out_version)
        newest = given if _is_newer(section, stored) else stored
        merged = {**newest, "fanned_out_version": fanned_out}
        return None if merged == stored else merged

    return merge


def _is_newer(section: Section, stored: Fields | None) -> bool:
    return stored is None or section.version > stored["version"]


def _fields(document: Document) -> Fields:
    return {
        "key": document.key,
        "partition": document.partition,
        "primary": records.section_fields(document.primary),
        "reference": records.section_fields(document.reference),
    }


def document_of(key: str, source: Fields) -> Document:
    """The document in a source."""
    primary, reference = source["primary"], source["reference"]
    return Document(
        key, source["partition"], records.section_of(primary), records.section_of(reference)
    )
