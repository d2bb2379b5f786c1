"""Identifiers: what is normalised to what, what is refused and why, and what is nobody's."""

from __future__ import annotations

import pyarrow as pa
import pytest

from connector import identifiers


@pytest.mark.parametrize(
    ("raw", "address"),
    [
        (" Ann.Meyer@Northwind.COM ", "ann.meyer@northwind.com"),
        ("ann+crm@x.de", "ann+crm@x.de"),
        ("info@Bücher.de", "info@xn--bcher-kva.de"),
        ("no address", None),
        ("a@b", None),
        ("two@@x.com", None),
        ("n/a", None),
        ("", None),
    ],
)
def test_an_email_is_stripped_lower_case_with_an_ascii_domain(raw: str, address: str | None) -> None:
    assert identifiers.email(raw) == address


def test_an_email_of_ten_thousand_characters_is_refused_by_name() -> None:
    value, reason = identifiers.parse("email", "a" * 10_000 + "@x.com")
    assert (value, reason) == (None, "longer than 254 characters")


@pytest.mark.parametrize(
    ("address", "base"),
    [
        ("ann+crm@x.de", "ann@x.de"),
        ("ann@x.de", "ann@x.de"),
        ("a.n.n+b@gmail.com", "ann@gmail.com"),
        ("ann@googlemail.com", "ann@gmail.com"),
        ("a.nn@x.de", "a.nn@x.de"),
        ("+tag@x.de", "+tag@x.de"),
        ("not an address", None),
    ],
)
def test_the_base_of_an_address_has_no_plus_tag_and_no_dots_that_its_provider_ignores(
    address: str, base: str | None
) -> None:
    assert identifiers.email_base(address) == base


@pytest.mark.parametrize(
    ("raw", "region", "number"),
    [
        ("+49 30 5550100", "", "+49305550100"),
        ("030 / 555 01 00", "DE", "+49305550100"),
        ("+49 (0)30 5550100", "US", "+49305550100"),
        ("0049 30 5550100", "DE", "+49305550100"),
        ("(202) 555-0142", "US", "+12025550142"),
        ("1-202-555-0142 ext. 7", "US", "+12025550142"),
        ("+39 06 12345678", "DE", "+390612345678"),
        ("030 5550100", "", None),
        ("call me", "DE", None),
        ("123", "DE", None),
        ("unknown", "DE", None),
    ],
)
def test_a_phone_number_in_any_notation_is_e164(raw: str, region: str, number: str | None) -> None:
    assert identifiers.phone(raw, region) == number


def test_a_national_number_without_a_region_says_what_is_missing() -> None:
    assert identifiers.parse("phone", "030 5550100", "")[1] == "a national number, and no default region is set"


@pytest.mark.parametrize(
    ("raw", "network", "handle"),
    [
        ("https://www.linkedin.com/in/Ann-Meyer/?trk=x", "linkedin", "linkedin:ann-meyer"),
        ("de.linkedin.com/in/ann-meyer", "linkedin", "linkedin:ann-meyer"),
        ("https://www.linkedin.com/in/J%C3%BCrgen-M/", "linkedin", "linkedin:jürgen-m"),
        ("linkedin.com/in/Ju\u0308rgen-m", "linkedin", "linkedin:jürgen-m"),
        ("j%c3%9crgen-m", "linkedin", "linkedin:jürgen-m"),
        ("linkedin.com/in/j%FC-m", "linkedin", "linkedin:j%fc-m"),
        ("linkedin.com/in/a%00b", "linkedin", "linkedin:a%00b"),
        ("https://x.com/AnnM", "twitter", "twitter:annm"),
        ("@AnnM", "twitter", "twitter:annm"),
        ("https://twitter.com/annm", "", "twitter:annm"),
        ("https://www.xing.com/profile/Ann_Meyer", "xing", "xing:ann_meyer"),
        ("https://www.linkedin.com/company/northwind", "linkedin", None),
        ("https://twitter.com/annm", "linkedin", None),
        ("https://notlinkedin.com/in/ann", "linkedin", None),
        ("Ann Meyer", "linkedin", None),
    ],
)
def test_a_profile_url_or_handle_is_network_and_handle(raw: str, network: str, handle: str | None) -> None:
    assert identifiers.social(raw, network) == handle


@pytest.mark.parametrize(
    ("raw", "domain"),
    [
        ("https://www.Northwind.com/about?x=1", "northwind.com"),
        ("northwind.com", "northwind.com"),
        ("sales@northwind.co.uk", "northwind.co.uk"),
        ("http://bücher.de:8080", "xn--bcher-kva.de"),
        ("localhost", None),
        ("http://[::1", None),
        ("-", None),
    ],
)
def test_a_domain_is_the_bare_host_of_a_url(raw: str, domain: str | None) -> None:
    assert identifiers.domain(raw) == domain


def test_ids_of_zeros_only_are_refused_and_others_lower_case() -> None:
    assert identifiers.device("00000000-0000-0000-0000-000000000000") is None
    assert identifiers.cookie(" AB12 ") == "ab12"
    assert identifiers.parse("device", "0000")[1] == "all zeros"


def test_a_crm_id_is_the_key_of_the_record_that_it_names() -> None:
    assert identifiers.crm_id("hubspot", "contacts", " 51412 ") == "hubspot|contacts|51412"
    assert identifiers.crm_id("hubspot", "contacts", "null") is None


def test_company_names_meet_without_their_legal_form() -> None:
    names = ["Northwind GmbH", "NORTHWIND, Inc.", "northwind", "Northwind GmbH & Co. KG"]
    assert {identifiers.parse("account_name", name)[0] for name in names} == {"northwind"}


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("email", "test@test.com"),
        ("email", "none@none.de"),
        ("email", "ann@mailinator.com"),
        ("email_base", "test@test.com"),
        ("phone", "+490000000000"),
        ("phone", "+15555555555"),
        ("phone", "+1202123456789"),
        ("domain", "gmail.com"),
        ("cookie", "xxxxxxxx"),
        ("customer_number", "unknown"),
        ("social_handle", "linkedin:x"),
    ],
)
def test_values_that_are_nobodys_are_blocked(kind: str, value: str) -> None:
    assert identifiers.is_blocked(kind, value)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("email", "ann@northwind.com"),
        ("email", "info@northwind.com"),
        ("email", "ann@gmail.com"),
        ("phone", "+49305550100"),
        ("domain", "northwind.com"),
        ("cookie", "ab12cd34"),
        ("crm_id", "hubspot|contacts|1"),
        ("user_id", "1001"),
    ],
)
def test_values_that_are_somebodys_are_not_blocked(kind: str, value: str) -> None:
    assert not identifiers.is_blocked(kind, value)


def test_a_column_is_blocked_as_each_of_its_values_is() -> None:
    column = pa.array(["test@test.com", None, "ann@northwind.com", "test@test.com"])
    assert identifiers.blocked("email", column).to_pylist() == [True, None, False, True]


def test_role_mailboxes_and_free_and_disposable_domains_are_known() -> None:
    assert identifiers.is_role_mailbox("info@northwind.com")
    assert identifiers.is_role_mailbox("sales+eu@northwind.com")
    assert not identifiers.is_role_mailbox("ann@northwind.com")
    assert identifiers.is_free_domain("gmx.de")
    assert not identifiers.is_free_domain("northwind.com")
    assert identifiers.is_disposable_domain("yopmail.com")
