"""How the imitated org says no: error codes and texts as the REST API words them."""

from __future__ import annotations

from typing import Any

STATUS_BY_CODE = {
    "NOT_FOUND": 404,
    "ENTITY_IS_DELETED": 404,
    "INVALID_SESSION_ID": 401,
    "REQUEST_LIMIT_EXCEEDED": 403,
    "INSUFFICIENT_ACCESS": 403,
    "INSUFFICIENT_ACCESS_OR_READONLY": 403,
    "METHOD_NOT_ALLOWED": 405,
    "UNSUPPORTED_MEDIA_TYPE": 415,
    "UNSUPPORTED_API_VERSION": 410,
    "VERSION_CONFLICT": 409,
    "PRECONDITION_FAILED": 412,
}

NOT_FOUND_TEXT = "The requested resource does not exist"


class RefusedError(Exception):
    """A request or a record that the org refuses; `status` follows from the code (400 where nothing else is known)."""

    def __init__(self, code: str, message: str, fields: tuple[str, ...] = ()) -> None:
        super().__init__(f"{code} : {message}")
        self.code = code
        self.message = message
        self.fields = fields

    @property
    def status(self) -> int:
        """HTTP status of a single-record request that fails like this."""
        return STATUS_BY_CODE.get(self.code, 400)

    def as_rest(self) -> dict[str, Any]:
        """The item of a REST error array."""
        item: dict[str, Any] = {"message": self.message, "errorCode": self.code}
        if self.fields:
            item["fields"] = list(self.fields)
        return item

    def as_record_error(self) -> dict[str, Any]:
        """The item of `errors` in the result of one record of a collection."""
        return {"statusCode": self.code, "message": self.message, "fields": list(self.fields)}


def not_found() -> RefusedError:
    """404: no such resource."""
    return RefusedError("NOT_FOUND", NOT_FOUND_TEXT)


def no_such_object(name: str) -> RefusedError:
    """400 INVALID_TYPE for an sObject that does not exist or is hidden."""
    return RefusedError(
        "INVALID_TYPE",
        f"sObject type '{name}' is not supported. If you are attempting to use a custom object, be sure to append the "
        "'__c' after the entity name. Please reference your WSDL or the describe call for the appropriate names.",
    )


def no_such_column(column: str, object_name: str) -> str:
    """The text of INVALID_FIELD for a column that is not there, or that field-level security hides."""
    return (
        f"No such column '{column}' on entity '{object_name}'. If you are attempting to use a custom field, be sure to "
        "append the '__c' after the custom field name. Please reference your WSDL or the describe call for the "
        "appropriate names."
    )


def no_such_relationship(name: str) -> str:
    """The text of INVALID_FIELD for a relationship that is not there."""
    return (
        f"Didn't understand relationship '{name}' in field path. If you are attempting to use a custom relationship, "
        "be sure to append the '__r' after the custom relationship name. Please reference your WSDL or the describe call "
        "for the appropriate names."
    )
