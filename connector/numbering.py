"""Phone numbers to E.164: by the library, and where the answer is certain by patterns made of its numbering plans.

A number counts if its length is possible in its country (E.164 numbering plans, as shipped with phonenumbers): stricter
tests age with each new number range. The patterns leave to the library whatever it would look at twice: prefixes to
drop, carrier codes, local numbers.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import phonenumbers
import pyarrow as pa
import pyarrow.compute as pc
from phonenumbers import NumberParseException, PhoneMetadata, PhoneNumberFormat, ValidationResult

if TYPE_CHECKING:
    Column = pa.Array[Any]

LENGTH = 60  # characters of a text that may still be a number, with words for an extension

_PLAIN = r"^\+?\(?[0-9](?:[ .()-]{0,2}[0-9]){5,16}$"


@lru_cache(maxsize=20_000)
def parse(raw: str, region: str) -> tuple[str | None, str | None]:
    """(number in E.164, None) or (None, reason). `region` (ISO 3166 alpha-2, "" for none) reads national notations."""
    if len(raw) > LENGTH:
        return None, f"longer than {LENGTH} characters"
    try:
        number = phonenumbers.parse(raw, region or None)
    except NumberParseException as error:
        is_national = error.error_type == NumberParseException.INVALID_COUNTRY_CODE and "+" not in raw and not region
        return None, "a national number, and no default region is set" if is_national else "not a phone number"
    if phonenumbers.is_possible_number_with_reason(number) != ValidationResult.IS_POSSIBLE:
        return None, "not a possible length for a phone number of its country"
    international = phonenumbers.format_number(number, PhoneNumberFormat.E164)
    if (
        number.italian_leading_zero
        and phonenumbers.format_number(phonenumbers.parse(international), PhoneNumberFormat.E164) != international
    ):
        return (
            None,
            "not a phone number",
        )  # zeros where no number of its country has any: read again it would be another one
    return international, None


def common(column: Column, region: str | Column) -> Column:
    """The numbers of a column whose E.164 form is certain from their shape; null for all others.

    `region` reads national notations: one for all, or one per row ("" for none).
    """
    text = pc.ascii_trim_whitespace(column)
    text = pc.if_else(pc.match_substring_regex(text, _PLAIN), text, None)
    digits = _without(text, b" .()-")
    shape, prefixed = _international()
    is_certain = pc.and_not(pc.match_substring_regex(digits, shape), pc.match_substring_regex(digits, prefixed))
    values: Column = pc.if_else(is_certain, digits, None)
    if isinstance(region, str):
        return _with_national(values, digits, region)
    is_rest = pc.and_(pc.is_valid(digits), pc.is_null(values))
    distinct: Any = region.filter(is_rest).unique()
    for each in distinct.to_pylist():
        is_here = pc.and_(is_rest, pc.equal(region, each))
        here = digits.filter(is_here)
        values = pc.replace_with_mask(values, is_here, _with_national(pa.nulls(len(here), pa.string()), here, each))
    return values


def _without(texts: Column, letters: bytes) -> Column:
    """Texts without some ASCII letters: on all their bytes at once, a fifth of what a pattern takes."""
    texts = pa.concat_arrays([texts])  # begins at its buffers' beginning
    validity, places, data = texts.buffers()
    if places is None or data is None:
        return texts
    ends = np.frombuffer(memoryview(places), np.int32)[: len(texts) + 1]
    content = np.frombuffer(memoryview(data), np.uint8)[: ends[-1]]
    is_kept = np.ones(256, bool)
    is_kept[list(letters)] = False
    kept = is_kept[content]
    counts = np.zeros(len(content) + 1, np.int32)
    np.cumsum(kept, out=counts[1:])
    bytes_of: Any = pa.py_buffer
    without: Column = pa.Array.from_buffers(
        pa.string(), len(texts), [validity, bytes_of(counts[ends]), bytes_of(content[kept])]
    )
    return without


def _with_national(values: Column, digits: Column, region: str) -> Column:
    """The values, and the numbers of a region that are written as people dial them there."""
    national = _national(region)
    if national is None:
        return values
    code, pattern, has_trunk_zero, ambiguous = national
    is_clear = pc.invert(pc.match_substring_regex(digits, ambiguous))
    if has_trunk_zero:
        is_prefixed = pc.and_(is_clear, pc.match_substring_regex(digits, f"^0{pattern}$"))
        values = pc.if_else(is_prefixed, pc.replace_substring_regex(digits, "^0", f"+{code}"), values)
    is_bare = pc.and_(is_clear, pc.match_substring_regex(digits, f"^{pattern}$"))
    international: Any = pc.binary_join_element_wise(pa.scalar(f"+{code}"), digits, "")  # type: ignore[call-overload]
    with_bare: Column = pc.if_else(is_bare, international, values)
    return with_bare


@lru_cache(maxsize=1)
def _international() -> tuple[str, str]:
    """Patterns of `+` and digits: lengths possible in the country; and what the library would look for a prefix in."""
    shapes, prefixes = [], []
    for code, regions in phonenumbers.COUNTRY_CODE_TO_REGION_CODE.items():
        metadata = PhoneMetadata.metadata_for_region_or_calling_code(code, regions[0])
        plan = metadata.general_desc if metadata else None
        if metadata is None or plan is None:
            continue
        lengths = sorted(set(plan.possible_length) - set(plan.possible_length_local_only))
        shapes.append(f"{code}(?:{'|'.join(f'[1-9][0-9]{{{length - 1}}}' for length in lengths if length > 2)})")
        if metadata.national_prefix_for_parsing:
            prefixes.append(f"{code}(?:{metadata.national_prefix_for_parsing})")
    return rf"^\+(?:{'|'.join(shapes)})$", rf"^\+(?:{'|'.join(prefixes)})"


@lru_cache(maxsize=300)
def _national(region: str) -> tuple[int, str, bool, str] | None:
    """Of a region: country code, pattern of its national numbers, has a trunk 0, pattern of ambiguous digits."""
    metadata = PhoneMetadata.metadata_for_region(region) if region else None
    plan = metadata.general_desc if metadata else None
    if metadata is None or metadata.country_code is None or plan is None or not plan.national_number_pattern:
        return None
    prefix = metadata.national_prefix_for_parsing or ""
    has_trunk_zero = prefix == "0" or prefix.startswith("0|")
    other_prefixes = prefix.removeprefix("0").removeprefix("|") if has_trunk_zero else prefix
    ambiguous = [str(metadata.country_code), "00" if has_trunk_zero else "0", r"\+"]
    ambiguous += [f"(?:{part})" for part in (metadata.international_prefix, other_prefixes) if part]
    ambiguous += [f"0?[0-9]{{{length}}}$" for length in plan.possible_length_local_only]
    return metadata.country_code, f"(?:{plan.national_number_pattern})", has_trunk_zero, f"^(?:{'|'.join(ambiguous)})"
