"""The last steps of a rebuild: verify, activate, rollback, drop; and verifying what is live.

Each may be called again, and by several at once. An activation or a rollback is one flip behind the
barrier (see `switch`), refused unless the generation was proven equal and nothing that was left open
differs when both stand still. Dropping waits until no request can read the generation any more.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from time import sleep

import msgspec

from foldline_projector.engine.crash import reach
from foldline_projector.engine.generations import Pointer
from foldline_projector.rebuild.comparison import Comparison, explain
from foldline_projector.rebuild.context import UNFINISHED, Context, Refused, operation_in
from foldline_projector.rebuild.operation import Difference, Operation, Step, Verification
from foldline_projector.rebuild.refold import against_kafka
from foldline_projector.rebuild.switch import Flip, NotFlipped, Side, flip, point_at_once
from foldline_projector.rebuild.verify import (
    MOST_UNSETTLED,
    Tell,
    against_generation,
    still_moving,
)

#: A request that has read the pointer may still read the generation that it named then.
REQUEST_SECONDS = 35.0
#: A projector looks this often whether its generation was dropped.
PROJECTOR_SECONDS = 3.0


def verify(context: Context, number: int, seconds: float, tell: Tell) -> Verification:
    """Compares a new generation with the live one, and remembers what came of it.

    Where the fold declares other keys than before, it is compared with Kafka's events instead.
    """
    new, old = context.side(number), context.side(context.pointer().active)
    if new.generation.state != "following":
        raise Refused(f"generation {number} is not loaded yet")
    changes = context.projection.changes_since(old.generation.fold_version)
    if changes.keys or old.number == number:
        found = verify_live(context, new, seconds, tell)
    else:
        found = against_generation(
            context.projection,
            old.store,
            new.store,
            old.generation.fold_version,
            seconds,
            tell,
        )
    remember(context, number, found)
    return found


def verify_live(context: Context, side: Side, seconds: float, tell: Tell) -> Verification:
    """Compares every document of a generation with a fold of all of Kafka's events."""
    return against_kafka(
        context.projection, side.generation, side.store, context.kafka, seconds, tell
    )


def remember(context: Context, number: int, verification: Verification) -> None:
    """Writes a verification into the record; one that failed takes back an earlier success."""
    step: Step = "verified" if verification.passed else "loaded"

    def change(operation: Operation) -> Operation:
        reached = step if operation.step in UNFINISHED else operation.step
        return msgspec.structs.replace(operation, verification=verification, step=reached)

    context.update(number, change)


def with_reads(
    verification: Verification, agreed: int, different: list[Difference]
) -> Verification:
    """A verification with what became of the shadow reads."""
    return msgspec.structs.replace(
        verification,
        shadow_reads=agreed,
        different=verification.different + len(different),
        differences=(*verification.differences, *different),
    )


def activate(context: Context, number: int, max_pause: float, *, force: bool = False) -> Flip:
    """Points readers to a generation that was verified. Raises NotFlipped or Refused.

    `force` asks for no verification and no barrier: readers may see older versions than before.
    """
    pointer = context.pointer()
    new = context.side(number)
    if pointer.active == number:
        return _arrived(context, pointer, number)
    if new.generation.state != "following":
        raise Refused(f"generation {number} is {new.generation.state}: it cannot be activated")
    operation = operation_in(new.generation)
    if force:
        point_at_once(context.registry, pointer.active, number, previous=pointer.active)
        return _arrived(context, context.pointer(), number)
    unsettled = _refuse_unverified(operation.verification, operation.step, number)
    return _flip(context, pointer, new, max_pause, unsettled)


def _refuse_unverified(
    verification: Verification | None, step: str, number: int
) -> tuple[str, ...]:
    if verification is None or step not in ("verified", "active", "rolledBack"):
        raise Refused(f"generation {number} is not verified: verify it first")
    if not verification.passed:
        keys = ", ".join(each.key for each in verification.differences[:5])
        raise Refused(f"generation {number} differs in {verification.different} documents: {keys}")
    if len(verification.unsettled) >= MOST_UNSETTLED:
        raise Refused(f"too many documents of generation {number} were left open: verify it again")
    return verification.unsettled


def _flip(
    context: Context, pointer: Pointer, new: Side, max_pause: float, unsettled: tuple[str, ...]
) -> Flip:
    old = context.side(pointer.active)

    def judge() -> None:
        _refuse_different(context, old, new, unsettled)

    try:
        done = flip(context.registry, old, new, max_pause, previous=old.number, judge=judge)
    except NotFlipped:
        # An answer that was lost, or another process that was faster.
        if context.pointer().active != new.number:
            raise
        return _arrived(context, context.pointer(), new.number)
    context.advance(new.number, "active")
    return done


def _refuse_different(context: Context, old: Side, new: Side, keys: tuple[str, ...]) -> None:
    """Both generations stand still: what was left open must agree now."""
    if not keys:
        return
    changes = context.projection.changes_since(old.generation.fold_version)
    comparison = Comparison("the live generation", changes, context.projection.sums)
    left = still_moving(comparison, list(keys), old.store.load, new.store.load)
    for key in left:
        ours, theirs = old.store.load([key]), new.store.load([key])
        comparison.differ(key, explain(ours.get(key), theirs.get(key)))
    found = comparison.result()
    if not found.passed:
        remember(context, new.number, found)
        shown = "; ".join(f"{each.key}: {', '.join(each.fields)}" for each in found.differences[:5])
        raise Refused(f"generation {new.number} differs: {shown}")


def _arrived(context: Context, pointer: Pointer, number: int) -> Flip:
    if context.registry.generation(number).rebuild is not None:
        context.advance(number, "active")
    return Flip(number, pointer.previous or number, 0.0)


def rollback(
    context: Context, max_pause: float, *, number: int | None = None, force: bool = False
) -> Flip:
    """Points readers back to the generation before. Raises NotFlipped or Refused.

    `number`: the generation to leave, so that a second call finds it left and does nothing.
    """
    pointer = context.pointer()
    if number is not None and pointer.active != number:
        return Flip(pointer.active, number, 0.0)
    if pointer.previous is None:
        raise Refused(f"{context.name} has no generation to go back to")
    left, back = context.side(pointer.active), context.side(pointer.previous)
    if back.generation.state != "following":
        raise Refused(f"generation {back.number} is {back.generation.state}: there is no way back")
    if force:
        point_at_once(context.registry, left.number, back.number, previous=None)
        done = Flip(back.number, left.number, 0.0)
    else:
        done = flip(context.registry, left, back, max_pause, previous=None)
    if left.generation.rebuild is not None:
        context.advance(left.number, "rolledBack")
    return done


def drop(
    context: Context, number: int, *, window: float = 0.0, wait: Callable[[float], None] = sleep
) -> None:
    """Frees the space of a generation that nobody reads, for good. Refused for the live one, and for
    the one before it until `window` seconds after the flip.
    """
    pointer = context.pointer()
    since = _seconds_since_flip(pointer)
    if pointer.active == number:
        raise Refused(f"generation {number} is the one that readers read")
    if pointer.previous == number and since < window:
        raise Refused(
            f"generation {number} is the way back for another {window - since:.0f} s of its window"
        )
    store = context.side(number).store
    context.registry.change(number, lambda each: replace(each, state="dropped"))
    wait(max(REQUEST_SECONDS - since, PROJECTOR_SECONDS))
    store.drop()
    reach("after_drop")


def _seconds_since_flip(pointer: Pointer) -> float:
    if pointer.flipped_at is None:
        return REQUEST_SECONDS
    return (datetime.now(UTC) - pointer.flipped_at).total_seconds()
