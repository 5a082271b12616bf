"""What can be wrong with feedback, as a tree.

    FeedbackError (ValueError)
        NotFoundError      nothing is stored under this id
        ConflictError      it was said before, and differently
        ForbiddenError     this principal may not do it
        ClaimError         the case is not, or no longer, claimed by this principal
        InvalidError       the content contradicts the suggestion, the code system or the configuration

Messages name field, value and remedy; they never repeat clinical text. Each kind has the name
under which the gateway answers it.
"""

from typing import ClassVar

__all__ = ["ClaimError", "ConflictError", "FeedbackError", "ForbiddenError", "InvalidError", "NotFoundError"]


class FeedbackError(ValueError):
    """Base of the tree."""

    kind: ClassVar[str]


class NotFoundError(FeedbackError):
    """Nothing is stored under this id."""

    kind = "unknown-id"


class ConflictError(FeedbackError):
    """It was said before, and differently."""

    kind = "conflict"


class ForbiddenError(FeedbackError):
    """This principal may not do it."""

    kind = "forbidden"


class ClaimError(FeedbackError):
    """The case is not, or no longer, claimed by this principal."""

    kind = "claim-lost"


class InvalidError(FeedbackError):
    """The content contradicts the suggestion, the code system or the configuration."""

    kind = "invalid-feedback"
