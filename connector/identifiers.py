"""Identifiers: e-mail, phone, handle, domain and other ids, normalised; and which of them are nobody's.

Every identifier type has a parser of one value (`parse`) and a twin over an Arrow column (`normalise`). The twin
decides the common shapes (a plain ASCII address, a number whose E.164 form is certain) with Arrow kernels and gives the
distinct rest to the parser; a property test holds the two equal. Nothing here looks anything up: syntax by
email-validator (without DNS), numbers by phonenumbers.

What is weak stays an identifier of its own and never rewrites the strong one: `email_base` is the address without its
plus tag (and without dots where the provider ignores them). It is given for *every* address, also where it is the same,
since two addresses meet on it only if both have it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache, lru_cache
from importlib import resources
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import idna
import pyarrow as pa
import pyarrow.compute as pc
from email_validator import EmailNotValidError, validate_email

from connector import numbering, socials, tables

if TYPE_CHECKING:
    Column = pa.Array[Any]

PERSON_TYPES = (
    "email", "email_base", "phone", "social_id", "social_handle", "device", "cookie", "crm_id", "customer_number",
    "user_id",
)  # fmt: skip
ACCOUNT_TYPES = ("domain", "crm_id", "account_number", "account_name", "phone")
TYPES = tuple(dict.fromkeys(PERSON_TYPES + ACCOUNT_TYPES))

EMAIL_LENGTH = 254  # RFC 5321, section 4.5.3.1.3, less the two angle brackets
ID_LENGTH = 255
_MEMO = 20_000  # remembered values per parser: what a few groups of pages have in common

Parsed = tuple[str | None, str | None]
"""A normalised value or a reason why there is none; both None when the text says nothing (`n/a`)."""


@cache
def words(name: str) -> frozenset[str]:
    """The lines of a packaged list (`free_domains`, `role_mailboxes`, …), without comments."""
    lines = (resources.files("connector") / "data" / f"{name}.txt").read_text("utf-8").splitlines()
    return frozenset(line.strip() for line in lines if line.strip() and not line.startswith("#"))


# ------------------------------------------------------------------------------------------------------------ one value


def email(raw: str) -> str | None:
    """The address stripped, lower case, its domain in ASCII; None when it is no address."""
    return _email(raw)[0]


def email_base(address: str) -> str | None:
    """A normalised address without its plus tag, and without dots at providers that ignore them; None if it is none.

    Gmail ignores dots and treats googlemail.com as gmail.com (Google Account Help, "Dots don't matter in Gmail
    addresses").
    """
    local, at, host = address.rpartition("@")
    if not at:
        return None
    local = local.partition("+")[0] or local
    if host in ("gmail.com", "googlemail.com"):
        local, host = local.replace(".", ""), "gmail.com"
    return f"{local}@{host}"


def phone(raw: str, region: str) -> str | None:
    """The number in E.164. `region` (ISO 3166 alpha-2, "" for none) reads national notations; an extension is dropped.

    A number counts if its length is possible in its country: stricter tests age with each new number range.
    """
    value = _empty_or(raw)
    return numbering.parse(value, region)[0] if value else None


def social(raw: str, network: str = "") -> str | None:
    """`network:handle` of a profile URL or a handle; without `network` only of a URL of a known one."""
    return _social(raw, network)[0]


def domain(raw: str) -> str | None:
    """The host of a URL, an address or a bare domain, lower case, in ASCII, without `www.`."""
    return _domain(raw)[0]


def device(raw: str) -> str | None:
    """A device, push or advertising id: lower case; None when it is all zeros."""
    return _opaque(raw)[0]


def cookie(raw: str) -> str | None:
    """A cookie's value: lower case; None when it is all zeros."""
    return _opaque(raw)[0]


def crm_id(system: str, object_type: str, raw: str) -> str | None:
    """The record key of a record that another record names by its native id."""
    value = _empty_or(raw)
    return tables.record_key(system, object_type, value) if value else None


def parse(kind: str, raw: str, region: str = "", network: str = "") -> Parsed:  # noqa: PLR0911
    """One value of an identifier type: (normalised, None), (None, reason), or (None, None) when it says nothing."""
    match kind:
        case "email":
            return _email(raw)
        case "email_base":
            address, reason = _email(raw)
            return (email_base(address) if address else None), reason
        case "phone":
            value = _empty_or(raw)
            return numbering.parse(value, region) if value else (None, None)
        case "social_handle":
            return _social(raw, network)
        case "social_id":
            native_id, reason = _opaque(raw)
            return (f"{network}:{native_id}" if native_id else None), reason
        case "domain":
            return _domain(raw)
        case "account_name":
            return _account_name(raw)
        case _:
            return _opaque(raw)


def _empty_or(raw: str) -> str | None:
    """The stripped text, None when it is a word for nothing."""
    value = raw.strip()
    return None if not value or value.lower() in words("null_words") else value


@lru_cache(maxsize=_MEMO)
def _email(raw: str) -> Parsed:
    if len(raw) > 4 * EMAIL_LENGTH:
        return None, f"longer than {EMAIL_LENGTH} characters"
    value = _empty_or(raw)
    if value is None:
        return None, None
    if len(value) > EMAIL_LENGTH:
        return None, f"longer than {EMAIL_LENGTH} characters"
    try:
        found = validate_email(value.lower(), check_deliverability=False, test_environment=True)
    except EmailNotValidError:
        return None, "not an e-mail address"
    address = f"{found.local_part}@{found.ascii_domain}"
    return (address, None) if len(address) <= EMAIL_LENGTH else (None, f"longer than {EMAIL_LENGTH} characters")


def _social(raw: str, network: str) -> Parsed:
    value = _empty_or(raw)
    return socials.parse(value, network) if value is not None else (None, None)


@lru_cache(maxsize=_MEMO)
def _domain(raw: str) -> Parsed:
    value = _empty_or(raw)
    if value is None:
        return None, None
    if len(value) > 2048:
        return None, "longer than 2048 characters"
    value = value.lower().rpartition("@")[2] if "/" not in value else value.lower()
    try:
        host = urlsplit(value if "//" in value else f"//{value}").hostname or ""
        host = host.removeprefix("www.").rstrip(".")
        host = host if host.isascii() else idna.encode(host, uts46=True).decode()
    except ValueError:  # idna.IDNAError is one
        return None, "not a domain"
    return (host, None) if len(host) <= 253 and _DOMAIN.fullmatch(host) else (None, "not a domain")


_DOMAIN = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+(?:[a-z]{2,63}|xn--[a-z0-9-]{2,59})")
_LEGAL_FORMS = re.compile(
    r"\b(?:gmbh(?: (?:&|und) co\.? ?kg)?|ag|kg|ohg|ug|se|inc|incorporated|corp|corporation|co|company|llc|llp|ltd"
    r"|limited|plc|sa|sas|sarl|srl|spa|bv|nv|ab|as|oy|aps|pty)\b\.?"
)


def _account_name(raw: str) -> Parsed:
    value = _empty_or(raw)
    if value is None:
        return None, None
    plain = re.sub(r"[^\w&. ]", " ", value.lower())
    name = " ".join(re.sub(r"[^\w ]", " ", _LEGAL_FORMS.sub(" ", plain)).split())
    return (name[:ID_LENGTH], None) if name else (None, None)


def _opaque(raw: str) -> Parsed:
    value = _empty_or(raw)
    if value is None:
        return None, None
    if len(value) > ID_LENGTH:
        return None, f"longer than {ID_LENGTH} characters"
    return (value.lower(), None) if value.strip("0-:{}. ") else (None, "all zeros")


# ------------------------------------------------------------------------------------------------------ nobody's values


def is_free_domain(value: str) -> bool:
    """The domain belongs to a mail provider where anybody can have an address."""
    return value in words("free_domains")


def is_disposable_domain(value: str) -> bool:
    """The domain is one of throw-away mailboxes."""
    return value in words("disposable_domains")


def is_role_mailbox(address: str) -> bool:
    """The address belongs to a role (info@, sales@), not to a person: weak evidence, not refused."""
    return address.rpartition("@")[0].partition("+")[0] in words("role_mailboxes")


_SAME_DIGITS = re.compile(r"(\d)\1{6,}$")
_ONE_CHARACTER = re.compile(r"(?:.*:)?(.)\1*")


def is_blocked(kind: str, value: str) -> bool:
    """A normalised value that is nobody's: typed to get past a form, a default, or everybody's."""
    if value.lower() in words("null_words"):
        return True
    if kind in ("email", "email_base"):
        local, _, host = value.rpartition("@")
        nobody = words("blocked_emails")
        return value in nobody or (local in nobody and host.partition(".")[0] == local) or is_disposable_domain(host)
    if kind == "phone":
        return bool(_SAME_DIGITS.search(value)) or value.endswith(("1234567", "12345678", "123456789", "1234567890"))
    if kind == "domain":
        return is_free_domain(value) or is_disposable_domain(value)
    if kind in ("crm_id", "account_name"):
        return False
    return not value.strip("0-:{}. ") or bool(_ONE_CHARACTER.fullmatch(value))


def blocked(kind: str, values: Column) -> Column:
    """`is_blocked` over a column; null stays null."""
    return over_distinct(values, lambda value: is_blocked(kind, value), pa.bool_())


# ------------------------------------------------------------------------------------------------------------ the twins

#: So few texts are parsed one by one in less time than the patterns for a column take to be compiled, which each call does.
FEW = 32


def normalise(kind: str, column: Column, region: str | Column = "", network: str = "") -> tuple[Column, Column]:
    """`parse` over a column of text: values, and reasons where a text cannot be read (both null if it says nothing).

    `region` may be a column too: the region of each phone number, "" for none.
    """
    nothing = pa.nulls(len(column), pa.string())
    common = _COMMON.get(kind) if len(column) - column.null_count > FEW else None
    values = nothing if common is None else common(column, region, network)
    is_rest = pc.and_(pc.is_valid(column), pc.is_null(values))
    if not pc.any(is_rest).as_py():
        return values, nothing
    rest = column.filter(is_rest)
    if kind == "phone" and not isinstance(region, str):
        regions: Any = region.filter(is_rest)
    else:
        regions = pa.repeat(region if isinstance(region, str) else "", len(rest))
    found = reasons = pa.nulls(len(rest), pa.string())
    for each in regions.unique().to_pylist():
        is_here = pc.equal(regions, each)
        coded: Any = rest.filter(is_here).dictionary_encode()
        parsed = [parse(kind, raw, each, network) for raw in coded.dictionary.to_pylist()]
        found = pc.replace_with_mask(found, is_here, _taken([value for value, _ in parsed], coded.indices))
        reasons = pc.replace_with_mask(reasons, is_here, _taken([reason for _, reason in parsed], coded.indices))
    return pc.replace_with_mask(values, is_rest, found), pc.replace_with_mask(nothing, is_rest, reasons)


def _taken(texts: list[str | None], at: Column) -> Column:
    taken: Column = pa.array(texts, pa.string()).take(at)
    return taken


def email_bases(addresses: Column) -> Column:
    """`email_base` over a column of normalised addresses."""
    is_special = pc.match_substring_regex(addresses, r"@(?:gmail|googlemail)\.com$")
    special = over_distinct(pc.if_else(is_special, addresses, None), email_base, pa.string())
    plain = pc.replace_substring_regex(addresses, r"^([^+@]+)\+[^@]*@", r"\1@")
    bases: Column = pc.if_else(is_special, special, plain)
    return bases


def over_distinct(column: Column, function: Callable[[str], object], kind: pa.DataType) -> Column:
    """A function of one text over a column, called once per distinct text; null stays null."""
    coded: Any = column.dictionary_encode()
    values: Column = pa.array([function(value) for value in coded.dictionary.to_pylist()], kind).take(coded.indices)
    return values


_PLAIN_EMAIL = (
    r"^[a-z0-9_+-]{1,40}(?:\.[a-z0-9_+-]{1,20})?"
    r"@(?:[a-z0-9](?:[a-z0-9]|-[a-z0-9]){0,28}\.){1,4}[a-z]{2,20}$"
)


def _common_email(column: Column) -> Column:
    text = pc.ascii_lower(pc.ascii_trim_whitespace(column))
    is_plain = pc.match_substring_regex(text, _PLAIN_EMAIL)
    is_special = pc.match_substring_regex(text, r"\.(?:arpa|invalid|local|localhost|onion|test)$")
    values: Column = pc.if_else(pc.and_not(is_plain, is_special), text, None)
    return values


def _plain(column: Column) -> Column:
    """The texts stripped and in lower case, without the words for nothing."""
    text = pc.ascii_lower(pc.ascii_trim_whitespace(column))
    is_word = pc.is_in(text, value_set=pa.array(sorted(words("null_words")), pa.string()))
    plain: Column = pc.if_else(is_word, None, text)
    return plain


def _common_opaque(column: Column) -> Column:
    text = _plain(column)
    is_plain = pc.match_substring_regex(text, r"^[a-z0-9](?:[a-z0-9._:|-]{0,200}[a-z0-9])?$")
    has_substance = pc.match_substring_regex(text, r"[a-z1-9]")
    values: Column = pc.if_else(pc.and_(is_plain, has_substance), text, None)
    return values


#: identifier type -> (column, region, network) -> the values that are certain at first sight, null for all others
_COMMON: dict[str, Callable[[Column, str | Column, str], Column]] = {
    "email": lambda column, _, __: _common_email(column),
    "phone": lambda column, region, _: numbering.common(column, region),
    "social_handle": lambda column, _, network: socials.common(_plain(column), network),
    "social_id": lambda column, _, network: socials.named(_common_opaque(column), network),
} | {kind: lambda column, _, __: _common_opaque(column) for kind in (
    "device", "cookie", "customer_number", "user_id", "account_number", "crm_id"
)}  # fmt: skip
