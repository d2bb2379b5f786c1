"""What the HubSpot API says when it refuses: the shapes of its error bodies.

Source: https://developers.hubspot.com/docs/api-reference/error-handling (status codes and the error body) and recorded
traffic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

VALIDATION = "VALIDATION_ERROR"
CONFLICT = "CONFLICT"
NOT_FOUND = "OBJECT_NOT_FOUND"


@dataclass(frozen=True, slots=True)
class ValueProblem:
    """One property value that the portal does not accept; `code` is HubSpot's."""

    name: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class RowProblem:
    """Why one row of a batch was not written: an entry of `errors` in the 207 envelope, or the whole request's refusal."""

    status: int
    category: str
    message: str
    context: Mapping[str, list[str]]
    values: tuple[ValueProblem, ...] = ()


class Refused(Exception):
    """The request is answered with this status and HubSpot's error body."""

    def __init__(
        self,
        status: int,
        message: str,
        category: str | None = VALIDATION,
        *,
        sub_category: str = "",
        context: Mapping[str, Sequence[str]] | None = None,
        errors: Sequence[Mapping[str, Any]] = (),
        fields: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})
        self._body: dict[str, Any] = {"status": "error", "message": message}
        if category:
            self._body["category"] = category
        if sub_category:
            self._body["subCategory"] = sub_category
        if context:
            self._body["context"] = {key: list(value) for key, value in context.items()}
        if errors:
            self._body["errors"] = [dict(error) for error in errors]
        self._body.update(fields or {})

    def body(self, correlation_id: str) -> dict[str, Any]:
        """The error body, with the correlation id that the header carries too."""
        return {**self._body, "correlationId": correlation_id}


def values_not_valid(problems: Sequence[ValueProblem]) -> Refused:
    """400: the values of at least one record are wrong; the message carries a JSON array, `errors` mirrors it."""
    listed = [{"isValid": False, "message": p.message, "error": p.code, "name": p.name} for p in problems]
    return Refused(
        400,
        f"Property values were not valid: {orjson.dumps(listed).decode()}",
        errors=[{"message": p.message, "code": p.code, "context": {"propertyName": [p.name]}} for p in problems],
    )


def row_refused(problem: RowProblem) -> Refused:
    """The refusal of a whole request for the sake of one row."""
    if problem.values:
        return values_not_valid(problem.values)
    return Refused(problem.status, problem.message, problem.category, context=problem.context)


def not_found() -> Refused:
    """404 of a record, property, pipeline or form that does not exist."""
    return Refused(404, "resource not found", NOT_FOUND)


def unknown_type(name: str) -> Refused:
    """400 of an object type that nobody knows; this body has no category."""
    return Refused(400, f"Unable to infer object type from: {name}", None)


def row_error(problem: RowProblem) -> dict[str, Any]:
    """The entry of `errors` in a 207 envelope."""
    error: dict[str, Any] = {
        "status": "error",
        "category": problem.category,
        "message": values_not_valid(problem.values).args[0] if problem.values else problem.message,
        "context": {key: list(value) for key, value in problem.context.items()},
    }
    if problem.values:
        error["errors"] = [
            {"message": p.message, "code": p.code, "context": {"propertyName": [p.name]}} for p in problem.values
        ]
    return error
