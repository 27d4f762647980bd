"""What a command may end in besides success, as the domain says it and HTTP renders it.

A broken rule is a value with a problem type of its own, so that a client can tell them apart and
the list at `/problems` is complete by construction: `problem_types` collects every rule declared.
"""

from typing import ClassVar

from foldline_contracts.problems import ProblemType


class Refused(Exception):
    """Base of every refusal: the command changed nothing, but for one, and may be corrected or repeated.

    Refused
    ├── (rules of a domain)  409, 404 or 422, declared beside the aggregate
    ├── VersionMismatch      412, `If-Match` named another version
    ├── Contended            503, other writers kept winning
    ├── OutcomeUnknown       503, the one that may have changed something
    └── IdempotencyRefused   400, 409 or 422 (`foldline_command.idempotency`)
    """

    problem: ClassVar[ProblemType]

    def __init__(self, detail: str, **extensions: object) -> None:
        super().__init__(detail)
        self.detail = detail
        #: More members of the problem document.
        self.extensions = extensions


class VersionMismatch(Refused):
    """The aggregate is not at the version that `If-Match` states."""

    problem = ProblemType(
        "version-mismatch",
        412,
        "Version mismatch",
        "`If-Match` names a version that the aggregate is not at.",
    )


class Contended(Refused):
    """Other writers changed the aggregate each time this command tried."""

    problem = ProblemType(
        "contended",
        503,
        "Contended",
        "Other writers kept changing the aggregate; try again after `Retry-After`.",
    )


class OutcomeUnknown(Refused):
    """The connection was lost, or given up, while the database was committing the command."""

    problem = ProblemType(
        "outcome-unknown",
        503,
        "Outcome unknown",
        "The database did not say whether the command was carried out; repeat it with the same "
        "`Idempotency-Key` to learn it, or to have it carried out now.",
    )


def problem_types(base: type[Refused] = Refused) -> list[ProblemType]:
    """The problem types of every declared refusal."""
    found = []
    for kind in base.__subclasses__():
        if "problem" in vars(kind):
            found.append(kind.problem)
        found += problem_types(kind)
    return found
