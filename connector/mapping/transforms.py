"""Transforms of text columns: each gives values and, where a text cannot be read, the reason.

The common shape of a value is decided by Arrow kernels; the rest goes through Python once per distinct text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa

from connector import identifiers
from connector.mapping import places, titles
from connector.mapping.columns import Column, nulls, pc
from connector.tables import BOOL, DATE, INSTANT, INT, MONEY, TEXT

#: Region of phone numbers: one for all, or one per row.
Region = str | Column
#: (column of text, region) -> (values, reasons; None for a transform that reads everything)
Transform = Callable[[Column, Region], tuple[Column, Column | None]]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_YES = ("true", "1", "yes", "y", "on", "t", "ja", "oui", "si")
_NO = ("false", "0", "no", "n", "off", "f", "nein", "non")


def _no_reasons(column: Column) -> Column:
    return nulls(len(column))


def _trim(column: Column, _: Region) -> tuple[Column, None]:
    trimmed = pc.utf8_trim_whitespace(column)
    return pc.if_else(pc.equal(trimmed, ""), None, trimmed), None


def _lower(column: Column, region: Region) -> tuple[Column, None]:
    return pc.utf8_lower(_trim(column, region)[0]), None


def _upper(column: Column, region: Region) -> tuple[Column, None]:
    return pc.utf8_upper(_trim(column, region)[0]), None


def _identifier(kind: str, network: str = "") -> Transform:
    return lambda column, region: identifiers.normalise(kind, column, region, network)


def _read(
    column: Column,
    kind: pa.DataType,
    reason: str,
    parse: Callable[[str], Any],
    *,
    common: Callable[[Column], Column] | None = None,
    shape: str = "",
) -> tuple[Column, Column]:
    """Texts of the usual shape by `common` (a kernel, that one bad value makes raise), the distinct rest by `parse`."""
    text: Any = pc.utf8_trim_whitespace(column)
    text = pc.if_else(pc.equal(text, ""), None, text)
    values: Column = nulls(len(text), kind)
    is_rest: Any = pc.is_valid(text)
    if common is not None:
        is_common = pc.match_substring_regex(text, shape)
        with suppress(
            pa.ArrowInvalid
        ):  # one of the usual shape that is no value (a 31st of June): all of them are the rest
            values = common(pc.if_else(is_common, text, None))
            is_rest = pc.and_(is_rest, pc.is_null(values))
    if not pc.any(is_rest).as_py():
        return values, _no_reasons(text)
    found = identifiers.over_distinct(text.filter(is_rest), parse, kind)
    values = pc.replace_with_mask(values, is_rest, found)
    reasons: Column = pc.if_else(pc.and_(is_rest, pc.is_null(values)), reason, pa.scalar(None, TEXT))
    return values, reasons


def _cast(kind: pa.DataType) -> Callable[[Column], Column]:
    return lambda text: text.cast(kind)


# ------------------------------------------------------------------------------------------------------------- instants

_DATE = r"^\d{4}-\d{2}-\d{2}$"
_DATETIME = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(?:\.\d{1,6})?(?:Z|[+-]\d{2}:?\d{2})$"
_MILLISECONDS = re.compile(r"-?\d{9,14}")


def _instant(text: str) -> datetime | None:
    try:
        if _MILLISECONDS.fullmatch(text):
            return _EPOCH + timedelta(milliseconds=int(text))
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _day(text: str) -> date | None:
    found = _instant(text)
    return found.date() if found else None


def _datetime(column: Column, _: Region) -> tuple[Column, Column]:
    return _read(column, INSTANT, "not a date and time", _instant, common=_cast(INSTANT), shape=_DATETIME)


def _date(column: Column, _: Region) -> tuple[Column, Column]:
    return _read(column, DATE, "not a date", _day, common=_cast(DATE), shape=_DATE)


# ------------------------------------------------------------------------------------------------------ numbers, yes/no

_PLAIN_NUMBER = r"^-?\d{1,15}(?:\.\d{1,6})?$"
#: sign, currency, sign, number, currency
_WRITTEN = re.compile(r"([+−-]?)(\D*?)([+−-]?)([.,]?\d(?:.*\d)?)(\D*)")
_BESIDE = identifiers.words("currencies") | {""}
#: How people write a number, the first form that fits -> what parts its groups. A mark that is left is the decimal mark.
_FORMS = (
    (re.compile(r"(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d{1,3})?"), ""),  # 1200.50, 1.2e3
    (re.compile(r"[1-9]\d{0,2}(?:,\d{2,3})*,\d{3}(?:\.\d+)?"), ","),  # 1,200.50 and, in India, 1,20,000
    (re.compile(r"[1-9]\d{0,2}(?:\.\d{3})+(?:,\d+)?"), "."),  # 1.200,50
    (re.compile(r"[1-9]\d{0,2}(?:['’\s]\d{3})+(?:[.,]\d+)?"), r"'’\s"),  # 1'200.50, 1 200,50
    (re.compile(r"\d*,\d+"), ""),  # 1200,50
)
#: With a currency beside it these are thousands (1.200 €), but for currencies with three decimals (ISO 4217).
_THOUSANDS = re.compile(r"[1-9]\d{0,2}\.\d{3}")
_WITH_MILLS = {"bhd", "iqd", "jod", "kwd", "lyd", "omr", "tnd"}


def _decimal(text: str) -> Decimal | None:
    """A number as people write it, also with a currency; nothing that says more than that (`10k`, `<50`, `3/4`)."""
    written = _WRITTEN.fullmatch(text)
    if written is None:
        return None
    sign, before, inner, number, after = written.groups()
    beside = {_bare(before), _bare(after)}
    if (sign and inner) or not beside <= _BESIDE:
        return None
    if beside != {""} and beside.isdisjoint(_WITH_MILLS) and _THOUSANDS.fullmatch(number):
        number = number.replace(".", "")
    for form, marks in _FORMS:
        if form.fullmatch(number):
            plain = (re.sub(f"[{marks}]", "", number) if marks else number).replace(",", ".")
            return Decimal(plain if (sign or inner) in ("", "+") else f"-{plain}")
    return None


def _bare(beside: str) -> str:
    return beside.strip(" .\u00a0").lower()


def _amount(text: str) -> Decimal | None:
    found = _decimal(text)
    return None if found is None or abs(found) >= 10**16 else found.quantize(Decimal("0.01"))


def _count(text: str) -> int | None:
    found = _decimal(text)
    return None if found is None or abs(found) >= 10**15 or found != found.to_integral_value() else int(found)


def _money(column: Column, _: Region) -> tuple[Column, Column]:
    def common(text: Column) -> Column:
        exact = text.cast(pa.decimal128(24, 6))
        return pc.round(exact, 2, round_mode="half_to_even").cast(MONEY)

    return _read(column, MONEY, "not an amount", _amount, common=common, shape=_PLAIN_NUMBER)


def _integer(column: Column, _: Region) -> tuple[Column, Column]:
    return _read(column, INT, "not a whole number", _count, common=_cast(INT), shape=r"^-?\d{1,15}$")


def _bool(column: Column, region: Region) -> tuple[Column, Column]:
    text = _lower(column, region)[0]
    is_yes, is_no = pc.is_in(text, value_set=pa.array(_YES)), pc.is_in(text, value_set=pa.array(_NO))
    values = pc.if_else(is_yes, True, pc.if_else(is_no, False, pa.scalar(None, BOOL)))
    is_odd = pc.and_(pc.is_valid(text), pc.is_null(values))
    return values, pc.if_else(is_odd, "neither yes nor no", pa.scalar(None, TEXT))


def _is_set(column: Column, region: Region) -> tuple[Column, None]:
    text = _lower(column, region)[0]
    return pc.and_not(pc.is_valid(text), pc.is_in(text, value_set=pa.array(_NO))), None


# ------------------------------------------------------------------------------------------------------- places, titles


def _country(column: Column, _: Region) -> tuple[Column, Column]:
    return _read(column, TEXT, "not a country", places.country)


def _region(column: Column, region: Region) -> tuple[Column, None]:
    text = _trim(column, region)[0]
    return pc.if_else(pc.less_equal(pc.utf8_length(text), 3), pc.utf8_upper(text), text), None


def _seniority(column: Column, _: Region) -> tuple[Column, None]:
    return identifiers.over_distinct(column, titles.seniority, TEXT), None


def _function(column: Column, _: Region) -> tuple[Column, None]:
    return identifiers.over_distinct(column, titles.function, TEXT), None


TRANSFORMS: Mapping[str, Transform] = {
    "trim": _trim,
    "lower": _lower,
    "upper": _upper,
    "email": _identifier("email"),
    "phone": _identifier("phone"),
    "domain": _identifier("domain"),
    "social": _identifier("social_handle"),
    "country": _country,
    "region": _region,
    "date": _date,
    "datetime": _datetime,
    "money": _money,
    "integer": _integer,
    "bool": _bool,
    "is_set": _is_set,
    "seniority": _seniority,
    "function": _function,
}

_BY_FIELD = {
    "email": "email", "phone": "phone", "mobile": "phone", "domain": "domain", "country": "country", "region": "region",
    "seniority": "seniority", "function": "function", "language": "lower", "currency": "upper",
}  # fmt: skip
_BY_TYPE = {BOOL: "bool", DATE: "date", INSTANT: "datetime", INT: "integer", MONEY: "money"}


def usual(field: str, kind: pa.DataType) -> str:
    """The transform of a canonical field that names none."""
    return _BY_FIELD.get(field) or _BY_TYPE.get(kind, "trim")
