"""The set-based twin gives, for every text, what the parser of one value gives."""

from __future__ import annotations

import phonenumbers
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from connector import identifiers

REGIONS = (
    "",
    "DE",
    "US",
    "GB",
    "FR",
    "IT",
    "NO",
    "CH",
    "JP",
    "BR",
    "AU",
    "IN",
    "AR",
    "MX",
    "RU",
    "KR",
    "CN",
    "TR",
    "SG",
    "HU",
    "FI",
)

local_parts = st.text("abzABZ019._+-'!#é ", min_size=1, max_size=12) | st.sampled_from(
    ["ann", "Ann.Meyer", "a+b", "x" * 64]
)
labels = st.text("abzABZ09-_é", min_size=1, max_size=10) | st.sampled_from(
    ["acme", "gmail", "a-b", "a--b", "xn--bcher-kva"]
)
endings = st.sampled_from(
    ["com", "de", "co.uk", "test", "local", "onion", "arpa", "c", "c0m", "info", "", "xn--p1ai", "technology"]
)
spaces = st.sampled_from(["", " ", "\t", "\u00a0", "\n"])
emails = st.builds(
    lambda before, local, hosts, end, after: f"{before}{local}@{'.'.join([*hosts, end])}{after}",
    spaces, local_parts, st.lists(labels, min_size=1, max_size=3), endings, spaces,
)  # fmt: skip
loose_phones = st.text("0123456789+()-. /x", min_size=1, max_size=20)


def _pieces(region: str) -> list[str]:
    """What numbers of a region are made of: codes, prefixes, numbers, and parts of numbers."""
    metadata = phonenumbers.PhoneMetadata.metadata_for_region(region)
    kinds = (phonenumbers.PhoneNumberType.FIXED_LINE, phonenumbers.PhoneNumberType.MOBILE)
    examples = [phonenumbers.example_number_for_type(region, kind) for kind in kinds]
    numbers = [phonenumbers.national_significant_number(example) for example in examples if example is not None]
    code = str(metadata.country_code)
    return [
        "+", f"+{code}", f"+{code}", code, "00", metadata.international_prefix[:3], "(0)", "0", "1", "8", "9", "15", "180020", "1831",
        *numbers, *numbers, *(number[-6:] for number in numbers), *(number[:-4] for number in numbers), "77", "555",
    ]  # fmt: skip


PIECES = {region: _pieces(region) for region in REGIONS if region}


@st.composite
def phones(draw: st.DrawFn, region: str = "") -> str:
    """Digits of some country, in sense and nonsense, in the notations that people use."""
    region = region or draw(st.sampled_from(sorted(PIECES)))
    pieces = draw(st.lists(st.sampled_from(PIECES[region]), min_size=1, max_size=4))
    return draw(st.sampled_from(["", "", " ", "-", ".", "/", ") ", " - "])).join(pieces)


@st.composite
def phones_at_home(draw: st.DrawFn) -> tuple[str, list[str | None]]:
    """A region, and numbers as they are dialled there."""
    region = draw(st.sampled_from(sorted(PIECES)))
    return region, draw(st.lists(phones(region) | st.none(), max_size=8))


#: So often even a single text is too many to be parsed one by one.
MANY = identifiers.FEW + 1


def assert_twin(kind: str, texts: list[str | None], region: str = "", network: str = "") -> None:
    expected = [(None, None) if text is None else identifiers.parse(kind, text, region, network) for text in texts]
    for times in (1, MANY):
        values, reasons = identifiers.normalise(kind, pa.array(texts * times, pa.string()), region, network)
        assert list(zip(values.to_pylist(), reasons.to_pylist(), strict=True)) == expected * times


@settings(max_examples=150, deadline=None)
@given(st.lists(emails | st.none(), max_size=8))
def test_a_column_of_emails_is_read_as_each_of_them_alone(texts: list[str | None]) -> None:
    assert_twin("email", texts)


@settings(max_examples=250, deadline=None)
@given(phones_at_home())
def test_a_column_of_phones_is_read_as_each_of_them_alone(at_home: tuple[str, list[str | None]]) -> None:
    region, texts = at_home
    assert_twin("phone", texts, region)


@settings(max_examples=100, deadline=None)
@given(st.lists(phones() | loose_phones | st.none(), max_size=8), st.sampled_from(REGIONS))
def test_a_column_of_foreign_phones_is_read_as_each_of_them_alone(texts: list[str | None], region: str) -> None:
    assert_twin("phone", texts, region)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.text("0aA-_.:|{} n/z9é", max_size=12) | st.sampled_from(["undefined", "not available", "00000000-0000"]),
        max_size=8,
    ),
    st.sampled_from(["cookie", "device", "customer_number", "user_id", "account_number", "crm_id", "social_id"]),
)
def test_a_column_of_ids_is_read_as_each_of_them_alone(texts: list[str | None], kind: str) -> None:
    assert_twin(kind, texts, network="linkedin")


NETWORKS = ["", "linkedin", "twitter", "facebook", "instagram", "xing", "github", "other"]
handles = st.text("annANN09._-@é/?# ", max_size=20) | st.sampled_from(["none", "profile.php?id=7", "a" * 16, "n/a"])
profiles = st.builds(
    lambda scheme, host, path, handle, rest: f"{scheme}{host}{path}{handle}{rest}",
    st.sampled_from(["", "//", "https://", "HTTP://", "ftp://", " https://www.", "https://de.", "https://not"]),
    st.sampled_from(["linkedin.com", "twitter.com", "x.com", "facebook.com", "fb.com", "instagram.com", "xing.com", "github.com", "a.b"]),
    st.sampled_from(["/", "/in/", "/pub/", "/profile/", "/@", "", "//", "/company/"]),
    handles,
    st.sampled_from(["", "/", "/?trk=x", "#top", "\n", " "]),
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.lists(profiles | handles | st.none(), max_size=8), st.sampled_from(NETWORKS))
def test_a_column_of_profiles_is_read_as_each_of_them_alone(texts: list[str | None], network: str) -> None:
    assert_twin("social_handle", texts, network=network)


@settings(max_examples=200, deadline=None)
@given(st.lists(emails, max_size=8))
def test_the_base_of_a_column_of_addresses_is_the_base_of_each(texts: list[str]) -> None:
    addresses = [address for text in texts if (address := identifiers.email(text))]
    found = identifiers.email_bases(pa.array(addresses, pa.string())).to_pylist()
    assert found == [identifiers.email_base(address) for address in addresses]


@example("phone", "000000", "DE")
@example("phone", "0001234567", "JP")
@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["email", "phone", "domain", "social_handle", "cookie"]),
    emails | phones() | loose_phones,
    st.sampled_from(REGIONS),
)
def test_what_is_normalised_stays_as_it_is_when_it_is_normalised_again(kind: str, text: str, region: str) -> None:
    value, _ = identifiers.parse(kind, text, region, "linkedin")
    if value is not None and kind != "social_handle":
        assert identifiers.parse(kind, value, region, "linkedin") == (value, None)


@pytest.mark.parametrize("region", [region for region in REGIONS if region])
def test_every_number_in_e164_means_the_same_in_every_region(region: str) -> None:
    example = phonenumbers.example_number(region)
    assert example is not None
    number = phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164)
    assert {identifiers.phone(number, other) for other in REGIONS} == {number}


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(phones() | loose_phones | st.none(), st.sampled_from(REGIONS)), max_size=8))
def test_each_phone_of_a_column_is_read_in_its_own_region(pairs: list[tuple[str | None, str]]) -> None:
    expected = [(None, None) if text is None else identifiers.parse("phone", text, region) for text, region in pairs]
    for times in (1, MANY):
        texts = pa.array([text for text, _ in pairs] * times, pa.string())
        values, reasons = identifiers.normalise("phone", texts, pa.array([region for _, region in pairs] * times))
        assert list(zip(values.to_pylist(), reasons.to_pylist(), strict=True)) == expected * times


@pytest.mark.parametrize(
    ("text", "region"),
    [
        ("+559047542126", ""),  # a carrier code of Brazil
        ("+61183112113657", ""),  # a dialling prefix of Australia
        ("+86118048769440", ""),
        ("+35215064505610", ""),
        ("+3758803205", ""),
        ("310 1234", "US"),  # local only
        ("010 1 202 555 0142", "JP"),  # 010 is the international prefix
        ("0101234567", "JP"),
    ],
)
def test_what_the_library_looks_at_twice_is_left_to_it(text: str, region: str) -> None:
    assert_twin("phone", [text], region)
