"""The commit of one batch: in which order its parts reach the store.

Without references and new documents everything is one save. Otherwise (GUARANTEES 9):

1. documents and reference sources are saved, positions are not;
2. the references of new documents are looked up: whatever was committed before step 1 is found
   here, and whatever is committed later finds the documents by its own step 3;
3. each changed reference is written into the documents that name it, until none is left;
4. looked-up sections, fanned-out versions, parked records and positions are saved.

A crash in between repeats the batch from its positions: documents then say "duplicate", and the
batch's outcome asks for the same look-ups and fan-outs again. No state is kept here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from foldline_projector.engine.batch import Outcome
from foldline_projector.engine.crash import reach
from foldline_projector.stores.port import (
    Batch,
    Document,
    DocumentStore,
    Move,
    Reference,
    TopicPartition,
)

#: Documents patched by one call of a fan-out; bounds locks and the time between two heartbeats.
PATCH_LIMIT = 5_000


@dataclass(frozen=True, slots=True)
class Committed:
    """What the store holds now, for the cache."""

    documents: Mapping[str, Document]
    references: Mapping[str, Reference]


def commit(
    store: DocumentStore,
    outcome: Outcome,
    moves: Mapping[TopicPartition, Move],
    link: str | None,
    patch_limit: int = PATCH_LIMIT,
) -> Committed:
    """Stores an outcome with its moves. Raises Fenced or RetryLater; then nothing may be cached."""
    if not outcome.lookups and not outcome.fan_outs:
        return _commit_at_once(store, outcome, moves)
    reach("before_save")
    store.save(
        Batch(
            documents=list(outcome.documents.values()), references=list(outcome.references.values())
        )
    )
    reach("after_documents")
    found = _look_up(store, outcome, link)
    fanned_out = [_fan_out(store, each, patch_limit) for each in outcome.fan_outs.values()]
    reach("after_references")
    patches = [Document(key, 0, None, each.section) for key, each in found.items()]
    last = _last_batch(outcome, moves)
    reach("before_moves")
    store.save(replace(last, documents=patches, references=fanned_out))
    reach("after_save")
    documents = {
        key: replace(document, reference=found[key].section) if key in found else document
        for key, document in (outcome.lookups | outcome.documents).items()
    }
    return Committed(documents, {each.key: each for each in fanned_out})


def _commit_at_once(
    store: DocumentStore, outcome: Outcome, moves: Mapping[TopicPartition, Move]
) -> Committed:
    batch = _last_batch(outcome, moves)
    reach("before_save")
    store.save(
        replace(
            batch,
            documents=list(outcome.documents.values()),
            references=list(outcome.references.values()),
        )
    )
    reach("after_save")
    return Committed(outcome.documents, outcome.references)


def _last_batch(outcome: Outcome, moves: Mapping[TopicPartition, Move]) -> Batch:
    return Batch(
        parked=[entry.record for entry in outcome.parked],
        released=[(record.at, record.offset) for record in outcome.released],
        moves=moves,
    )


def _look_up(store: DocumentStore, outcome: Outcome, link: str | None) -> dict[str, Reference]:
    """The reference that each looked-up document names, where it is known."""
    links = {
        key: document.primary.body[link]
        for key, document in outcome.lookups.items()
        if document.primary is not None and link is not None
    }
    if not links:
        return {}
    references = store.load_references(set(links.values()))
    return {key: references[name] for key, name in links.items() if name in references}


def _fan_out(store: DocumentStore, reference: Reference, limit: int) -> Reference:
    while store.patch_references(reference, limit):
        pass
    return replace(reference, fanned_out_version=reference.section.version)
