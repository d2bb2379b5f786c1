"""The configuration: every problem at once, each with its place and its mend; secrets only by reference."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from connector import config, doctor
from connector.cli import starter
from connector.errors import ConfigError, Problem
from connector.lines import line_of
from connector.scoring_model import EngagementRule, FitRule


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SF_CLIENT_ID", "an-id")
    monkeypatch.setenv("SF_CLIENT_SECRET", "sEcReT-value")
    monkeypatch.setenv("HUBSPOT_TOKEN", "sEcReT-token")


STARTER = starter.text(["salesforce", "hubspot"], url="https://acme.my.salesforce.com", region="DE", every="5 minutes")


def write(directory: Path, text: str) -> Path:
    file = directory / "connector.toml"
    file.write_text(text, encoding="utf-8")
    return file


def problems(directory: Path, text: str) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        config.load(write(directory, text))
    return list(caught.value.problems)


def said(directory: Path, text: str) -> dict[str, str]:
    return {problem.path: f"{problem.what} | {problem.mend}" for problem in problems(directory, text)}


def test_what_init_writes_is_valid(tmp_path: Path) -> None:
    loaded = config.load(write(tmp_path, STARTER))
    assert sorted(loaded.systems) == ["hubspot", "salesforce"]
    assert loaded.region == "DE"
    assert loaded.directory == tmp_path


def test_secrets_show_in_no_form_of_the_configuration(tmp_path: Path) -> None:
    loaded = config.load(write(tmp_path, STARTER))
    assert "sEcReT" not in repr(loaded)
    assert "sEcReT" not in str(loaded.systems)


def test_all_problems_are_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = STARTER.replace('token = "env:HUBSPOT_TOKEN"', 'token = "env:NOT_THERE"')
    text = text.replace("half_life_days = 45", "half_life_days = -5").replace(
        "person.email_is_free", "person.email_is_fre"
    )
    text = text.replace('subject = "Call', 'subjekt = "Call') + "\n[shedule]\nx = 1\n"
    found = problems(tmp_path, text)
    assert [problem.path for problem in found] == [
        "systems.hubspot.token",
        "scoring.default.fit[4].when",
        "scoring.default.engagement[2].half_life_days",
        "tasks.call_hot_lead.subject",
        "tasks.call_hot_lead.subjekt",
        "shedule",
    ]
    lines = [problem.line or 0 for problem in found]
    assert lines == sorted(lines)
    assert all(problem.file == "connector.toml" for problem in found)


@pytest.mark.parametrize(
    ("before", "after", "path", "words"),
    [
        ('kind = "hubspot"', 'kind = "hubspott"', "systems.hubspot.kind", 'did you mean "hubspot"?'),
        ("[schedule]", "[scedule]", "scedule", 'did you mean "schedule"?'),
        ('due = "1 working day"', 'due = "soonish"', "tasks.call_hot_lead.due", "4 hours"),
        ('sync = "every 5 minutes"', 'sync = "whenever"', "schedule.sync", "5 minutes"),
        ('sync = "every 5 minutes"', 'sync = "99 * * * *"', "schedule.sync", "cron"),
        ('region = "DE"', 'region = "Germany"', "mapping.region", "two letters"),
        (
            "grades = { A = 60, B = 40, C = 20 }",
            "grades = { A = 10, B = 40 }",
            "scoring.default.grades",
            "best grade comes first",
        ),
        ("[schedule]", '[mart]\nmemory_limit = "lots"\n[schedule]', "mart.memory_limit", "4GB"),
        ("[schedule]", '[mart]\npath = "state.sqlite"\n[schedule]', "mart.path", "a file of its own"),
        ("rearm_below = 50", "rearm_below = 90", "tasks.call_hot_lead.rearm_below", "at most 60"),
        ("score crosses 60", "scroe crosses 60", "tasks.call_hot_lead.when", 'did you mean "score"?'),
        ("person.first_name", "person.firstname", "tasks.call_hot_lead.subject", "first_name"),
        ("account.employees between 200", "account.employees between 'x'", "scoring.default.fit[2].when", "text"),
    ],
)
def test_a_wrong_value_is_named_with_its_mend(tmp_path: Path, before: str, after: str, path: str, words: str) -> None:
    assert before in STARTER
    found = said(tmp_path, STARTER.replace(before, after, 1))
    assert list(found) == [path]
    assert words in found[path]


def test_a_stage_cycle_is_a_problem_with_an_example(tmp_path: Path) -> None:
    stages = """
[lifecycle]
stages = [
  { name = "Low", enter = "", exit = "" },
  { name = "High", enter = "score >= 40", exit = "score < 50" },
]
"""
    found = said(tmp_path, STARTER + stages)
    assert "stage cycle" in found["lifecycle.stages[1].exit"]


def test_a_secret_that_stands_in_the_file_is_refused_without_repeating_it(tmp_path: Path) -> None:
    found = said(tmp_path, STARTER.replace("env:HUBSPOT_TOKEN", "pat-na1-sEcReT"))
    assert list(found) == ["systems.hubspot.token"]
    assert "sEcReT" not in str(found)


def test_a_secret_may_stand_in_a_file_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from-a-file\n")
    loaded = config.load(write(tmp_path, STARTER.replace("env:HUBSPOT_TOKEN", "file:token")))
    assert loaded.systems["hubspot"].token.get_secret_value() == "from-a-file"  # type: ignore[attr-defined]
    assert (
        "file nothing cannot be read"
        in said(tmp_path, STARTER.replace("env:HUBSPOT_TOKEN", "file:nothing"))["systems.hubspot.token"]
    )


def test_an_unknown_stream_or_system_in_the_mapping_is_named(tmp_path: Path) -> None:
    found = said(tmp_path, STARTER + '\n[mapping.hubspot.contactz.fields]\ntitle = "jobtitle"\n[mapping.pipedrive.x]\n')
    assert 'did you mean "contacts"?' in found["mapping.hubspot.contactz"]
    assert "unknown" in found["mapping.pipedrive"]


def test_a_model_that_is_written_must_exist(tmp_path: Path) -> None:
    assert "default" in said(tmp_path, STARTER + '\n[writeback]\nmodel = "defautl"\n')["writeback.model"]


@pytest.mark.parametrize("text", ["[systems\n", "a = = 1", "x = {", "\x00", "a = " + "[" * 100_000])
def test_what_is_no_toml_is_named_with_its_line(tmp_path: Path, text: str) -> None:
    found = problems(tmp_path, text)
    assert "not valid TOML" in found[0].what


@pytest.mark.parametrize(
    ("text", "line", "usual"),
    [
        ("[log]\nlevel = info\n", 2, "a text stands in quotes"),
        ('[log]\nlevel = "info\n', 2, "a quote is not closed"),
        ("[log]\n[mart]\n[log]\n", 3, "a table stands there twice"),
        ("[log]\nlevel 3\n", 2, "each line is name = value"),
        ("a = 1\na = 2\n", 2, "a name stands there twice"),
        ("a = [1, 2\n", 2, "a list is not closed"),
    ],
)
def test_what_is_no_toml_is_told_as_a_person_would(tmp_path: Path, text: str, line: int, usual: str) -> None:
    (found,) = problems(tmp_path, text)
    assert found.what.startswith(f"is not valid TOML: {usual}")
    assert found.line == line


def test_a_secret_in_a_file_that_others_may_read_is_told(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("abc")
    file = write(tmp_path, STARTER.replace("env:HUBSPOT_TOKEN", "file:token"))
    for mode, told in (
        (0o600, {}),
        (0o640, {"systems.hubspot.token": "token"}),
        (0o644, {"systems.hubspot.token": "token"}),
    ):
        secret.chmod(mode)
        loaded = config.load(file)
        assert loaded.open_secrets == told
    (checked,) = doctor.open_secrets(loaded.open_secrets)
    (finding,) = checked.findings
    assert (finding.level, finding.mend) == ("warning", "chmod 600 token")
    assert doctor.open_secrets({}) == []
    (tmp_path / "handed").symlink_to(secret)  # as a secret that is mounted is
    file.write_text(file.read_text().replace("file:token", "file:handed"))
    assert config.load(file).open_secrets == {}


def test_a_file_that_is_not_there_or_cannot_be_read_is_a_problem_and_not_a_crash(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not there"):
        config.load(tmp_path / "nowhere.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        config.load(tmp_path)
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        config.load(binary)


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path: Path) -> None:
    file = tmp_path / "connector.toml"
    file.write_bytes(b"\xef\xbb\xbf" + STARTER.replace("\n", "\r\n").encode())
    assert config.load(file).region == "DE"


def test_stages_whose_names_differ_by_case_alone_are_one_too_many(tmp_path: Path) -> None:
    stages = '[lifecycle]\nstages = [{ name = "Hot" }, { name = "hot", enter = "score > 5", exit = "score < 2" }]\n'
    assert "two stages" in str(said(tmp_path, STARTER + stages))


def test_an_empty_file_says_what_is_needed(tmp_path: Path) -> None:
    assert "there is no system" in said(tmp_path, "")["systems"]


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("a", 1),
        ("a.b", 2),
        ("a.b.c", 4),
        ("a.list[1]", 7),
        ("a.list[1].x", 7),
        ("a.nothing", 1),
        ("z", None),
        ("top", 1),
        ("d.e.f", 10),
    ],
)
def test_an_option_is_found_by_its_line(path: str, line: int | None) -> None:
    text = "[a]\nb = 1\n[a.b]\nc = 2\n[a]\nlist = [\n".replace("[a]\nlist", "[a]\nlist")
    text = (
        "\n".join(["[a]", "b = 1", "[a.b]", "c = 2", "[d.e]", "g = 1", "", "", "", "f = 1"])
        if path.startswith("d")
        else text
    )
    text = "\n".join(["[a]", "q = 1", "list = [", "", "", "{ x = 1 },", "{ x = 2 },", "]"]) if "list" in path else text
    text = "\n".join(["[a]", "b = 1"]) if path in ("a", "a.b", "a.nothing", "z") else text
    text = 'top = "x"\n' + text if path == "top" else text
    assert line_of(text, path) == line


def test_what_an_entry_of_a_list_lacks_stands_at_that_entry() -> None:
    text = "[a]\nlist = [\n  { y = 1 },\n  { x = 1 },\n]\nx = 2\n"
    assert [line_of(text, f"a.list[{at}].x") for at in (0, 1)] == [3, 4]


def test_entries_of_a_list_are_counted_by_their_brackets_and_not_by_lines_or_texts() -> None:
    text = '[a]\nlist = [{ x = 1 }, { x = "[{" },  # {\n  { y = [{ z = 1 }, { z = 2 }],\n    x = 3 },\n  { x = 4 }]\n'
    assert [line_of(text, f"a.list[{at}].x") for at in range(4)] == [2, 2, 4, 5]
    assert [line_of(text, f"a.list[2].y[{at}].z") for at in (0, 1)] == [3, 3]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('points = "20"', "must be a number, is a text"),
        ("points = true", "must be a number, is true or false"),
    ],
)
def test_a_value_of_another_type_is_an_error_and_not_converted(line: str, said: str) -> None:
    name, value = line.split(" = ")
    with pytest.raises(ValidationError, match=said):
        FitRule.model_validate({"when": "person.title = 'CEO'", name: json.loads(value)})


def test_a_half_life_that_no_event_outlives_is_refused() -> None:
    with pytest.raises(ValidationError):
        EngagementRule.model_validate({"on": "email_clicked", "points": 3, "half_life_days": 1e-300})


def test_a_misspelled_name_in_writeback_is_told_with_the_nearest_valid_one(tmp_path: Path) -> None:
    text = (
        STARTER
        + """
[writeback]
systems = ["salesfroce"]
fields = { hubspot = { contact = { score = "x" }, contacts = { scoer = "x" } } }
ownership = { stge = "defer", "salesforce.grad" = "fill", "hubspott.stage" = "own", "salesforce.Contct.stage" = "own" }
"""
    )
    told = said(tmp_path, text)
    assert told["writeback.systems[0]"].endswith('did you mean "salesforce"?')
    assert "contacts" in told["writeback.fields.hubspot.contact"]
    assert told["writeback.fields.hubspot.contacts.scoer"].endswith('did you mean "score"?')
    assert told["writeback.ownership.stge"].endswith('did you mean "stage"?')
    assert told["writeback.ownership.salesforce.grad"].endswith('did you mean "grade"?')
    assert told["writeback.ownership.hubspott.stage"].endswith('did you mean "hubspot"?')
    assert told["writeback.ownership.salesforce.Contct.stage"].endswith('did you mean "Contact"?')
    right = 'ownership = { stage = "defer", "salesforce.grade" = "fill", "hubspot.contacts.score" = "alert" }'
    config.load(write(tmp_path, STARTER + "\n[writeback]\n" + right + "\n"))


@pytest.mark.parametrize(
    ("fields", "place", "told"),
    [
        ('hubspot = { contacts = { reasons = "connector_person_id" } }', "hubspot.contacts.reasons", "person_id"),
        ('salesforce = { Lead = { score = "Score__c", grade = "score__c" } }', "salesforce.Lead.grade", "score"),
        ('salesforce = { Lead = { grade = "Mine__c", stage = "Mine__c" } }', "salesforce.Lead.stage", "grade"),
        ('hubspot = { contacts = { score = "email" } }', "hubspot.contacts.score", "who somebody is"),
    ],
)
def test_a_native_field_that_two_outputs_or_an_identifier_need_is_a_problem(
    tmp_path: Path, fields: str, place: str, told: str
) -> None:
    (found,) = problems(tmp_path, f"{STARTER}\n[writeback]\nfields = {{ {fields} }}\n")
    assert found.path == f"writeback.fields.{place}"
    assert told in found.what
    assert found.line
    right = 'salesforce = { Lead = { score = "Grade__c", grade = "Score__c", stage = "", reasons = "Stage__c" } }'
    config.load(write(tmp_path, f"{STARTER}\n[writeback]\nfields = {{ {right} }}\n"))


def test_systems_streams_and_countries_that_are_not_there_are_told_with_the_nearest_and_with_all_else(
    tmp_path: Path,
) -> None:
    wrong = STARTER.replace('region = "DE"', 'region = "XX"').replace('system = "salesforce"', 'system = "salesfroce"')
    wrong += """
streams = { "hubspot.form_submission" = "5 minutes" }

[survivorship]
systems = ["hubspt"]

[mapping.salesforce.leads.fields]
first_nam = "FirstName"

[mapping.hubspot.contacts.fields]
last_nam = "lastname"
"""
    found = {each.path: each for each in problems(tmp_path, wrong)}
    assert found.keys() == {
        "mapping.region",
        "tasks.call_hot_lead.system",
        "schedule.streams.hubspot.form_submission",
        "survivorship.systems[0]",
        "mapping.salesforce.leads.fields.first_nam",
        "mapping.hubspot.contacts.fields.last_nam",
    }
    assert "salesforce" in found["tasks.call_hot_lead.system"].mend
    assert "hubspot.form_submissions" in found["schedule.streams.hubspot.form_submission"].mend
    assert "hubspot" in found["survivorship.systems[0]"].mend
    assert "last_name" in found["mapping.hubspot.contacts.fields.last_nam"].mend
    assert all(each.line for each in found.values() if "schedule" not in each.path), found


def test_a_system_of_no_kind_hides_no_other_wrong_name(tmp_path: Path) -> None:
    text = (
        STARTER.replace('system = "salesforce"', 'system = "pipedrive"') + 'streams = { "zoho.leads" = "5 minutes" }\n'
    )
    found = said(tmp_path, text + '[systems.zoho]\nkind = "zoho"\n')
    assert found.keys() == {"systems.zoho.kind", "tasks.call_hot_lead.system"}


@pytest.mark.parametrize(
    ("when", "words"),
    [
        ("score crosses sixty", "a number and nothing else, and is given `sixty`"),
        ("stage becomes Buy", "a text in quotes, and is given `Buy`"),
    ],
)
def test_a_trigger_that_is_nearly_one_is_told_how_it_is_written(tmp_path: Path, when: str, words: str) -> None:
    found = said(tmp_path, STARTER.replace('"score crosses 60"', f'"{when}"').replace("rearm_below = 50\n", ""))
    assert words in found["tasks.call_hot_lead.when"]


def test_what_is_wrong_in_a_broken_section_is_told_with_what_breaks_it(tmp_path: Path) -> None:
    text = STARTER.replace('points = 20, text = "VP or above"', 'text = "VP or above"')
    text = text.replace("person.seniority = 'director'", "person.senority = 'director'")
    text = text.replace('on = "meeting_held", points = 20', 'on = "meeting_hold", points = "20"')
    text = text.replace("score crosses 60", "scroe crosses 60").replace("person.first_name", "person.firstname")
    text = (
        text.replace("C = 20", 'C = "x"')
        + 'streams = 3\n[lifecycle]\nstages = ["x", { name = "B", enter = "skore > 1" }]\n'
    )
    found = said(tmp_path, text)
    assert set(found) == {
        "scoring.default.fit[0].points", "scoring.default.fit[1].when", "scoring.default.engagement[2].on",
        "scoring.default.engagement[2].points", "scoring.default.grades.C", "tasks.call_hot_lead.when",
        "tasks.call_hot_lead.subject", "schedule.streams", "lifecycle.stages[0]", "lifecycle.stages[1].enter",
    }  # fmt: skip
    assert found["scoring.default.grades.C"].startswith("must be a number, is a text")
    assert found["schedule.streams"].startswith("must be a table, is a number")
    assert found["lifecycle.stages[0]"].startswith("must be a table, is a text")


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        ("systems = 5\n[mapping.hubspot.contacts]\nx = 1\n", "systems", "must be a table"),
        ('[systems]\nhubspot = "x"\n[mapping.hubspot.contacts]\n', "systems.hubspot", "must be a table"),
        ('[systems.hubspot]\nkind = ["hubspot"]\n', "systems.hubspot.kind", "must be one of"),
        (STARTER.replace('region = "DE"', 'region = ["DE"]'), "mapping.region", "two letters"),
        (STARTER.replace('region = "DE"', "hubspot = 5"), "mapping.hubspot", "must be a table"),
    ],
)
def test_a_table_of_another_shape_is_a_problem_and_not_a_crash(
    tmp_path: Path, text: str, path: str, words: str
) -> None:
    assert words in said(tmp_path, text)[path]


def test_a_misspelled_kind_hides_nothing_of_its_system(tmp_path: Path) -> None:
    text = STARTER.replace('kind = "hubspot"', 'kind = "hubspott"\ntoken_ = 1')
    text = text.replace("HUBSPOT_TOKEN", "NOT_THERE") + '[writeback]\nsystems = ["hubspt"]\n'
    assert set(said(tmp_path, text)) == {
        "systems.hubspot.kind", "systems.hubspot.token_", "systems.hubspot.token", "writeback.systems[0]"
    }  # fmt: skip


def test_a_reference_that_leads_nowhere_is_one_problem(tmp_path: Path) -> None:
    text = STARTER.replace('"https://acme.my.salesforce.com"', '"env:NOT_THERE"')
    (found,) = problems(tmp_path, text)
    assert (found.path, found.what) == ("systems.salesforce.url", "environment variable NOT_THERE is not set")


def test_who_needs_no_secrets_goes_without_them_and_is_told_all_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SF_CLIENT_ID", "SF_CLIENT_SECRET", "HUBSPOT_TOKEN"):
        monkeypatch.delenv(name)
    text = STARTER + '[alerts]\nwebhook = "file:nowhere"\n[state]\nurl = "env:STATE_URL"\n'
    monkeypatch.setenv("STATE_URL", "sqlite:///elsewhere")
    loaded = config.load(write(tmp_path, text), needs_secrets=False)
    assert loaded.region == "DE"
    assert loaded.state.url.get_secret_value() == "sqlite:///elsewhere", "nobody does without the state"
    monkeypatch.delenv("STATE_URL")
    broken = text.replace("score crosses 60", "scroe crosses 60").replace(
        "https://acme.my.salesforce.com", "env:NOT_THERE"
    )
    with pytest.raises(ConfigError) as caught:
        config.load(write(tmp_path, broken), needs_secrets=False)
    paths = ["systems.salesforce.url", "tasks.call_hot_lead.when", "state.url"]
    assert [each.path for each in caught.value.problems] == paths


@pytest.mark.parametrize("kept", ["sEcReT\nother", "sEcReT tail", "s\u00ebcret", "\ufeff\ufeffsEcReT"])
def test_a_token_that_fits_no_header_is_refused_without_repeating_it(tmp_path: Path, kept: str) -> None:
    (tmp_path / "token").write_text(kept, encoding="utf-8")
    (found,) = problems(tmp_path, STARTER.replace("env:HUBSPOT_TOKEN", "file:token"))
    assert found.path == "systems.hubspot.token"
    assert "cret" not in found.what.lower()


def test_what_editors_leave_around_a_secret_is_no_part_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUBSPOT_TOKEN", "sEcReT-token\n")
    assert config.load(write(tmp_path, STARTER)).systems["hubspot"].token.get_secret_value() == "sEcReT-token"
    (tmp_path / "token").write_text("\ufeffsEcReT-file\r\n", encoding="utf-8")
    loaded = config.load(write(tmp_path, STARTER.replace("env:HUBSPOT_TOKEN", "file:token")))
    assert loaded.systems["hubspot"].token.get_secret_value() == "sEcReT-file"


def test_a_secret_that_is_empty_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text("\n", encoding="utf-8")
    text = STARTER.replace("env:HUBSPOT_TOKEN", "file:token")
    assert said(tmp_path, text)["systems.hubspot.token"].startswith("file token is empty")
    monkeypatch.setenv("HUBSPOT_TOKEN", " ")
    assert "is empty" in said(tmp_path, STARTER)["systems.hubspot.token"]


@pytest.mark.parametrize(
    ("line", "path", "words"),
    [
        ("[identity]\nhard_holders = 99999999999999999999", "identity.hard_holders", "too large"),
        ("[writeback]\ndefer_for = 1e20", "writeback.defer_for", "at most 100 years"),
        ("[writeback]\ndefer_for = inf", "writeback.defer_for", "at most 100 years"),
        ('[writeback]\ndefer_for = "900000 weeks"', "writeback.defer_for", "at most 100 years"),
        ("[writeback]\ndefer_for = -5", "writeback.defer_for", "must be a duration"),
        ('[state]\npath = "a\\u0000b"', "state.path", "without NUL"),
        (
            '[mapping.hubspot.email_events.activity.scanner]\nuser_agents = ["(open"]',
            "mapping.hubspot.email_events.activity.scanner.user_agents[0]",
            "no regular expression",
        ),
        (
            '[lifecycle]\nstages = [{ name = "" }, { name = "B", enter = "score > 3" }]',
            "lifecycle.stages[0].name",
            "must not be empty",
        ),
    ],
)
def test_a_value_beyond_all_bounds_is_a_problem_and_not_a_crash(
    tmp_path: Path, line: str, path: str, words: str
) -> None:
    assert words in said(tmp_path, f"{STARTER}{line}\n")[path]


def test_a_store_is_a_file_and_its_folder_is_there_or_below_the_configuration(tmp_path: Path) -> None:
    away = tmp_path / "away" / "gone"
    (tmp_path / "house").mkdir()
    for path, told in {
        "": "must not be empty | ",
        ".": ". is a folder | name a file in it",
        "connector.toml": "connector.toml is the configuration itself | name another file",
        f"{away}/x": f"the folder {away} is not there | make it, or name another",
        "../away/gone/x": f"the folder {away} is not there | make it, or name another",
    }.items():
        for store in ("state", "mart"):
            assert said(tmp_path / "house", f'{STARTER}[{store}]\npath = "{path}"\n') == {f"{store}.path": told}
    assert not away.parent.exists()
    fine = f'{STARTER}[state]\npath = "stores/state.sqlite"\n[mart]\npath = "{tmp_path}/mart.duckdb"\n'
    assert config.load(write(tmp_path / "house", fine)).state.path == "stores/state.sqlite"
