"""The CSV of Bulk API 2.0: what the org writes (all values quoted) and what it reads.

Bulk API 2.0 Developer Guide, "Prepare CSV Files": field names in the first row, an empty value is left alone, `#N/A` is null,
relationships as `Account.Number__c`, polymorphic ones as `Contact:Who.Number__c`; "Valid CSV Record Rows"; delimiters and line
endings of "Create a Job".
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from typing import Any

from connector.sandbox.salesforce.refusal import RefusedError
from connector.sandbox.salesforce.schema import NUMBER_TYPES, Field, SObject

DELIMITERS = {"COMMA": ",", "TAB": "\t", "SEMICOLON": ";", "PIPE": "|", "CARET": "^", "BACKQUOTE": "`"}
LINE_ENDINGS = {"LF": "\n", "CRLF": "\r\n"}
NULL = "#N/A"
MAX_FIELD_CHARACTERS = 32_000
MAX_RECORD_CHARACTERS = 400_000
MAX_FIELDS = 5_000

_BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}

csv.field_size_limit(2**31 - 1)


class UnreadableError(Exception):
    """The content as a whole cannot be read: the job fails with this message."""


def quoted_line(values: Sequence[str], delimiter: str, ending: str) -> str:
    """One row as the org writes it."""
    return delimiter.join('"' + value.replace('"', '""') + '"' for value in values) + ending


def sql_line(columns: Sequence[tuple[str, Field]], delimiter: str, ending: str) -> str:
    """The SQL expression of a row as the org writes it: (expression, field) of each column. Built by the database, since
    a result may have a million rows."""
    pattern = delimiter.join('"%w"' for _ in columns) + ending
    return f"format('{pattern}', {', '.join(_sql_text(sql, field) for sql, field in columns)})"


def _sql_text(sql: str, field: Field) -> str:
    if field.type == "boolean":
        return f"CASE {sql} WHEN 1 THEN 'true' WHEN 0 THEN 'false' ELSE '' END"
    if field.type == "datetime":
        return f"CASE WHEN {sql} IS NULL THEN '' ELSE substr({sql}, 1, 23) || 'Z' END"
    return f"coalesce({sql}, '')"


class Content:
    """Uploaded CSV: `header`, then its rows one by one. Raises UnreadableError where it cannot be read."""

    def __init__(self, body: bytes, delimiter: str, line_ending: str) -> None:
        try:
            text = body.decode("utf-8")
        except UnicodeDecodeError:
            raise UnreadableError("ClientInputError : Failed to read query. Exceeded UTF-8 decoding") from None
        self._check_ending(text, line_ending)
        self._reader = csv.reader(io.StringIO(text, newline=""), delimiter=DELIMITERS[delimiter], strict=True)
        try:
            self.header = next(self._reader, [])
        except csv.Error:
            raise UnreadableError("InvalidBatch : The header row is not valid CSV") from None
        if not any(self.header):
            raise UnreadableError("InvalidBatch : The batch has no header row")
        if len(self.header) > MAX_FIELDS:
            raise UnreadableError(f"InvalidBatch : A record can't have more than {MAX_FIELDS} fields")
        if len({name.lower() for name in self.header}) < len(self.header):
            raise UnreadableError("InvalidBatch : Duplicate column names in the header row")

    @staticmethod
    def _check_ending(text: str, line_ending: str) -> None:
        end = text.find("\n")
        if end < 0:
            return
        has_return = text[end - 1 : end] == "\r"
        if has_return != (line_ending == "CRLF"):
            raise UnreadableError(
                f"ClientInputError : LineEnding is invalid on user data. Current LineEnding setting is {line_ending}"
            )

    def rows(self) -> Iterator[list[str]]:
        """The rows; empty lines are passed over."""
        try:
            for row in self._reader:
                if not row:
                    continue
                if len(row) != len(self.header):
                    raise UnreadableError(
                        f"InvalidBatch : The number of columns in row {self._reader.line_num} does not match the header"
                    )
                yield row
        except csv.Error as error:
            raise UnreadableError(f"InvalidBatch : {error}") from None


def check_header(one: SObject, header: Sequence[str], visible: frozenset[str]) -> None:
    """Refuse columns that the object does not have, or that the user may not see; raises UnreadableError."""
    for name in header:
        kind, relationship, rest = _path(name)
        if rest:
            reference = one.relationships.get(relationship.lower())
            if reference is None or reference.name not in visible:
                raise UnreadableError(f"InvalidBatch : Unable to find relationship: {relationship}")
            if bool(kind) != (len(reference.to) > 1):
                text = f"{'not ' if kind else ''}needed for {'non ' if kind else ''}polymorphic foreign key references"
                raise UnreadableError(f"InvalidBatch : type is {text}: {relationship}")
            continue
        field = one.find(name)
        if field is None or field.name not in visible:
            raise UnreadableError(f"InvalidBatch : Field name not found : {name}")


def _path(name: str) -> tuple[str, str, str]:
    """Object type (or nothing), relationship and field of a column `Contact:Who.Number__c`; no field if it is none."""
    first, _, rest = name.partition(".")
    kind, _, relationship = first.rpartition(":")
    return kind, relationship, rest


class Columns:
    """The columns of a job's content, resolved once; `values` makes of each row what a JSON body would hold."""

    def __init__(self, one: SObject, header: Sequence[str]) -> None:
        self._fields: list[tuple[int, Field]] = []
        self._references: list[tuple[int, str, str, dict[str, Any]]] = []
        for index, name in enumerate(header):
            kind, relationship, rest = _path(name)
            field = one.find(name)
            if field is not None:
                self._fields.append((index, field))
            else:
                attributes = {"attributes": {"type": kind}} if kind else {}
                reference = one.relationships[relationship.lower()]
                self._references.append((index, str(reference.relationship), rest, attributes))

    def values(self, row: Sequence[str]) -> dict[str, Any]:
        """Field name -> value, without the empty ones; raises RefusedError for a value that cannot be read."""
        if sum(map(len, row)) > MAX_RECORD_CHARACTERS:
            raise RefusedError("LIMIT_EXCEEDED", f"A record can't exceed {MAX_RECORD_CHARACTERS} characters")
        found: dict[str, Any] = {}
        for index, field in self._fields:
            text = row[index]
            if text != "":
                found[field.name] = None if text == NULL else typed(field, text)
        for index, name, rest, attributes in self._references:
            if row[index] not in ("", NULL):
                found[name] = {rest: row[index], **attributes}
        return found


def typed(field: Field, text: str) -> Any:
    """The value behind a text, as a JSON body would hold it; raises RefusedError."""
    if field.type == "boolean":
        found = _BOOLEANS.get(text.strip().lower())
        if found is None:
            raise _wrong(field, text)
        return found
    if field.type in NUMBER_TYPES:
        try:
            number = float(text)
        except ValueError:
            raise _wrong(field, text) from None
        if not math.isfinite(number):
            raise _wrong(field, text)
        return int(number) if field.type == "int" and number.is_integer() else number
    if len(text) > MAX_FIELD_CHARACTERS:
        raise RefusedError(
            "STRING_TOO_LONG", f"{field.label}: data value too large: (max length={field.length})", (field.name,)
        )
    return text


def _wrong(field: Field, text: str) -> RefusedError:
    return RefusedError(
        "INVALID_TYPE_ON_FIELD_IN_RECORD", f"{field.label}: value not of required type: {text[:80]}", (field.name,)
    )


def error_text(error: RefusedError) -> str:
    """`sf__Error` of a failed row: `CODE:message:fields --`."""
    fields = " ".join([*[", ".join(error.fields)][: bool(error.fields)], "--"])
    return f"{error.code}:{error.message}:{fields}"
