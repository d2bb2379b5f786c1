"""One problem of the configuration hides no other, and none is told that comes only from another."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.test_config import STARTER, _secrets, problems, said  # noqa: F401, a fixture of every test


def test_only_the_documented_name_of_an_option_may_be_written_and_a_hint_names_it(tmp_path: Path) -> None:
    text = (
        STARTER
        + """
[mapping.salesforce.leads.fields]
title = { form = "Title" }
name = { from_ = "Name" }
[mapping.salesforce.leads.identifiers]
phone = [{ from_ = "Phone" }]
[mapping.salesforce.opportunities.roles]
from_ = "Contacts"
record = "Contact"
[[mapping.salesforce.tasks.activity.links]]
from_ = "WhoId"
"""
    )
    found = said(tmp_path, text)
    place = "mapping.salesforce"
    misnamed = (
        "leads.fields.title.form", "leads.fields.name.from_", "leads.identifiers.phone[0].from_",
        "opportunities.roles.from_", "tasks.activity.links[0].from_",
    )  # fmt: skip
    assert {found[f"{place}.{each}"] for each in misnamed} == {'unknown option | did you mean "from"?'}


def test_a_user_without_a_password_and_a_password_without_a_user_are_problems_beside_others(tmp_path: Path) -> None:
    lone = STARTER + '[alerts]\nemail_to = ["ops@acme.com"]\n'
    found = {problem.what for problem in problems(tmp_path, lone + 'smtp_user = "u"\n')}
    assert found == {"email_to needs email_from and smtp_host, too", "smtp_user needs smtp_password, too"}
    (found_alone,) = problems(tmp_path, STARTER + '[alerts]\nsmtp_password = "env:HUBSPOT_TOKEN"\n')
    assert found_alone.what == "smtp_password needs smtp_user, too"
    (found_alone,) = problems(tmp_path, STARTER + '[alerts]\nsmtp_user = "u"\nsmtp_password = "env:NOT_THERE"\n')
    assert found_alone.what == "environment variable NOT_THERE is not set"


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        (
            STARTER.replace("rearm_below = 50", "rearm_below = 70").replace('system = "salesforce"', 'system = "sf"')
            .replace("subject =", "subjekt ="),
            {"rearm_below", "system", "subject", "subjekt"},
        ),
        (
            STARTER.replace('system = "salesforce"', 'system = "sf"').replace("score crosses", "scroe crosses"),
            {"when", "system"},
        ),
    ],
)  # fmt: skip
def test_a_task_that_is_wrong_in_itself_still_tells_what_does_not_go_together(
    tmp_path: Path, text: str, paths: set[str]
) -> None:
    assert said(tmp_path, text).keys() == {f"tasks.call_hot_lead.{path}" for path in paths}


def test_a_wrong_value_in_a_table_or_list_hides_no_other_in_it_or_beside_it(tmp_path: Path) -> None:
    text = """
[identity]
priority = ["phone", "emial", "fone"]
limits = { phone = "x", emial = 2, email = -1 }
blocked = ["fone:3", "emial:x"]
[survivorship]
person = { email = ["newest"], nmae = ["longest"] }
[mapping.salesforce.leads]
fields = { title = { form = "Title", transform = ["lowre", "x"] }, titel = "T" }
identifiers = { cookei = "X", phone = { form = "Phone" } }
traces = { email_open = "A", email_clickd = "B" }
"""
    leads = "mapping.salesforce.leads"
    assert said(tmp_path, STARTER + text).keys() == {
        "identity.priority[1]", "identity.priority[2]", "identity.limits.phone", "identity.limits.emial", "identity.limits.email",
        "identity.blocked[0]", "identity.blocked[1]", "survivorship.person.email[0]", "survivorship.person",
        f"{leads}.fields.title.form", f"{leads}.fields.title.transform[0]", f"{leads}.fields.title.transform[1]",
        f"{leads}.fields.titel", f"{leads}.identifiers.cookei", f"{leads}.identifiers.phone.form",
        f"{leads}.identifiers.phone.from", f"{leads}.traces.email_open", f"{leads}.traces.email_clickd",
    }  # fmt: skip


def test_a_stage_that_is_wrong_in_itself_hides_nothing_of_the_others_and_nothing_is_concluded_from_it(
    tmp_path: Path,
) -> None:
    stages = """
[lifecycle]
stages = [
  { name = "Low", color = "red" },
  { name = "low", enter = "score > 5", exit = "score < 2" },
  { name = "Turning", enter = "score > 7", exit = "score < 9" },
  { name = "Gateless" },
  { name = "Fine", enter = "score >= 40", exit = "score < 30" },
  { name = "Odd", enter = "score >= 35", exit = "skore < 50" },
]
"""
    at = "lifecycle.stages"
    told = {f"{at}[0].color", f"{at}[1].name", f"{at}[2].exit", f"{at}[3].enter", f"{at}[5].exit"}
    assert said(tmp_path, STARTER + stages).keys() == told


def test_nothing_is_told_that_comes_only_from_an_option_that_is_wrong(tmp_path: Path) -> None:
    text = STARTER.replace(
        'on = "form_submitted", where = "form.name like', 'on = "form_submitted", where = "frm.name like'
    )
    text = text.replace("score crosses 60", "stage becomes 'Warm'").replace("rearm_below = 50\n", "")
    text = text.replace("grades = { A = 60, B = 40, C = 20 }", 'lowest_grade = "E"\ngrades = 5')
    text += """
[systems.hubspot.quota]
task = 0.3
score = "x"
[lifecycle]
stages = [{ name = 5 }, { name = "Buy", enter = "grade = 'F'" }]
"""
    assert said(tmp_path, text).keys() == {
        "scoring.default.engagement[0].where", "scoring.default.grades", "systems.hubspot.quota.score", "lifecycle.stages[0].name",
    }  # fmt: skip


def test_a_check_between_options_is_made_though_another_option_is_wrong(tmp_path: Path) -> None:
    text = '[systems.hubspot.quota]\nshare = 2\ntask = 0.3\n[identity]\npriority = ["email", "email"]\nweak = 5\n'
    assert said(tmp_path, STARTER + text).keys() == {
        "systems.hubspot.quota.share", "systems.hubspot.quota", "identity.priority", "identity.weak",
    }  # fmt: skip


def test_a_condition_may_name_only_grades_and_stages_that_there_are(tmp_path: Path) -> None:
    text = STARTER.replace("score crosses 60", "grade in ('A', 'a') and stage <> 'Bye'").replace(
        "rearm_below = 50\n", ""
    )
    text += """
[lifecycle]
stages = [{ name = "Low" }, { name = "Buy", enter = "grade = 'Q'", exit = "grade <> 'A'" }]
"""
    found = problems(tmp_path, text)
    assert [(each.path, each.what, each.mend) for each in found] == [
        ("tasks.call_hot_lead.when", 'there is no grade "a"', "there are A, B, C, D"),
        ("tasks.call_hot_lead.when", 'there is no stage "Bye"', 'did you mean "Buy"?'),
        ("lifecycle.stages[1].enter", 'there is no grade "Q"', "there are A, B, C, D"),
    ]
