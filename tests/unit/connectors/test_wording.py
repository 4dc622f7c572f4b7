"""Changes in words, on the shapes that Graph gives."""

import base64
import hashlib
from typing import Any

import pytest

from shared.connectors.normalise import normalised, normalised_assignments
from shared.connectors.port import Json
from shared.connectors.wording import changes_in_words
from shared.connectors.wording.definitions import chain_of
from shared.connectors.wording.model import LONGEST_TEXT, MOST_LINES
from shared.connectors.wording.spelling import in_words

CATALOG, CLASSIC, COMPLIANCE = "settingsCatalogPolicy", "deviceConfiguration", "deviceCompliancePolicy"
BITLOCKER = "device_vendor_msft_bitlocker_requiredeviceencryption"
RECOVERY = "device_vendor_msft_bitlocker_systemdrivesrecoveryoptions"
EXCEL = "user_vendor_msft_policy_config_excel16v2~policy~l_microsoftofficeexcel~l_exceloptions"
FIREWALL = "vendor_msft_firewall_mdmstore_firewallrules_{firewallrulename}"


def said(policy_type: str, live: Json | None, backup: Json | None, **more: Any) -> list[str]:
    """Return the lines as a person sees them."""
    return [shown(line) for line in changes_in_words(policy_type, live, backup, **more).lines]


def shown(line: Json) -> str:
    match line["kind"]:
        case "added":
            return f"+ {line['setting']}: {line['after']}"
        case "removed":
            return f"- {line['setting']}: {line['before']}"
        case _:
            return (
                f"{'~' if line['kind'] == 'changed' else 'order'} {line['setting']}: {line['before']} → {line['after']}"
            )


def a_choice(definition: str, suffix: str, *children: Json) -> Json:
    value = {"value": f"{definition}_{suffix}", "children": list(children)}
    return {"settingDefinitionId": definition, "choiceSettingValue": value}


def a_text(definition: str, value: object) -> Json:
    return {"settingDefinitionId": definition, "simpleSettingValue": {"value": value}}


def groups(definition: str, *several: list[Json]) -> Json:
    return {"settingDefinitionId": definition, "groupSettingCollectionValue": [{"children": one} for one in several]}


def a_policy(*instances: Json, **more: Any) -> Json:
    settings = [{"id": str(place), "settingInstance": one} for place, one in enumerate(instances)]
    return normalised(CATALOG, {"name": "Desks", "technologies": "mdm", "settings": settings, **more})


def an_oma(name: str, uri: str, value: object) -> Json:
    return {
        "@odata.type": "#microsoft.graph.omaSettingString",
        "displayName": name,
        "omaUri": uri,
        "value": value,
    }


def to(kind: str, **more: Any) -> Json:
    return {"target": {"@odata.type": f"#microsoft.graph.{kind}", **more}}


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("bitLockerEnabled", "BitLocker enabled"),
        ("osMinimumVersion", "OS minimum version"),
        ("macOSUpdate", "macOS update"),
        ("iOSVersion", "iOS version"),
        ("wiFiName", "Wi-Fi name"),
        ("PINRequired", "PIN required"),
        ("allowUSBConnection", "Allow USB connection"),
        ("omaUri", "OMA URI"),
        ("mam_enrollment", "MAM enrollment"),
        ("runAs32Bit", "Run as 32 bit"),
        ("tpmRequired", "TPM required"),
    ],
)
def test_keys_are_read_as_words_and_acronyms_stay(key: str, words: str) -> None:
    assert in_words(key) == words


@pytest.mark.parametrize(
    ("definition", "chain"),
    [
        (BITLOCKER, ("BitLocker", "Require device encryption")),
        (
            "device_vendor_msft_policy_config_defender_attacksurfacereductionrules_blockadobereaderfromcreatingchildprocesses",
            ("Defender", "Attack surface reduction rules", "Block Adobe reader from creating child processes"),
        ),
        (
            f"{EXCEL}~l_security~l_trustcenter_l_vbawarningspolicy",
            ("Excel", "Trust center", "VBA warnings policy"),
        ),
        (
            "device_vendor_msft_policy_config_microsoft_edgev88~policy~microsoft_edge~smartscreen_smartscreenenabled",
            ("Microsoft Edge", "SmartScreen", "SmartScreen enabled"),
        ),
        ("com.apple.mcx.filevault2_recoverykeyrotationinmonths", ("FileVault 2", "Recovery key rotation in months")),
        ("qzxv_jjkqw", ("Qzxv", "Jjkqw")),
        ("", ("",)),
    ],
)
def test_definition_ids_are_read_as_area_and_setting(definition: str, chain: tuple[str, ...]) -> None:
    assert chain_of(definition) == chain


@pytest.mark.parametrize(
    ("live", "backup", "line"),
    [
        ({"a": False}, {"a": True}, "~ A: off → on"),
        ({}, {"pinRequired": True}, "+ PIN required: on"),
        ({"a": 1}, {"a": True}, "~ A: 1 → on"),
        ({"deferralInDays": 30}, {"deferralInDays": 1}, "~ Deferral: 30 days → 1 day"),
        ({"wait": "PT15M"}, {"wait": "P30DT1H"}, "~ Wait: 15 minutes → 30 days 1 hour"),
        ({"start": "08:00:00.0000000"}, {"start": "17:30:05"}, "~ Start: 08:00 → 17:30:05"),
        ({"a": "2026-03-01T00:00Z"}, {"a": "2026-03-02T10:20:30"}, "~ A: 2026-03-01 00:00 UTC → 2026-03-02 10:20:30"),
        ({"mode": "notConfigured"}, {"mode": "autoInstallAtNight"}, "~ Mode: not configured → auto install at night"),
        ({"platforms": "windows10,macOS"}, {"platforms": "iOS"}, "~ Platforms: Windows 10, macOS → iOS"),
        ({"description": "notConfigured"}, {"description": ""}, "~ Description: notConfigured → empty"),
        ({"a": "on "}, {"a": "on"}, '~ A: "on " → "on"'),
        ({"a": None}, {"a": "on"}, "~ A: not set → on"),
        ({"a": {"b": {"c": 1}}}, {"a": {"b": {"c": 2}}}, "~ A › B › C: 1 → 2"),
    ],
)  # fmt: skip
def test_plain_values_are_said_as_people_say_them(live: Json, backup: Json, line: str) -> None:
    assert said(CLASSIC, live, backup) == [line]


def test_lists_tell_their_entries_and_never_positions() -> None:
    live, backup = {"locations": ["oneDriveForBusiness", "box"]}, {"locations": ["box", "sharePoint"]}
    assert said(CLASSIC, live, backup) == ["- Locations: OneDrive for business", "+ Locations: SharePoint"]


def test_an_order_that_means_something_is_one_line() -> None:
    assert said(CLASSIC, {"order": ["a", "b", "c"]}, {"order": ["c", "a", "b"]}) == ["order Order: a, b, c → c, a, b"]


def test_settings_of_the_catalog_are_matched_by_their_ids() -> None:
    live = a_policy(a_choice(BITLOCKER, "0"), a_text("device_vendor_msft_laps_policies_passwordlength", 21))
    backup = a_policy(a_text("device_vendor_msft_laps_policies_passwordlength", 14), a_choice(BITLOCKER, "1"))
    lines = changes_in_words(CATALOG, live, backup).lines
    assert [shown(line) for line in lines] == [
        "~ BitLocker › Require device encryption: off → on",
        "~ LAPS › Policies › Password length: 21 → 14",
    ]
    assert lines[0]["path"] == f"/settings/{BITLOCKER}"


@pytest.mark.parametrize(
    ("definition", "before", "after", "texts"),
    [
        (BITLOCKER, "0", "1", "off → on"),
        (BITLOCKER, "1", "2", "1 → 2"),  # no switch
        ("device_x_osencryptiontype", "0", "1", "0 → 1"),  # a type is none either
        (BITLOCKER, "false", "true", "off → on"),
        (BITLOCKER, "audit", "notconfigured", "audit → not configured"),
    ],
)
def test_a_choice_is_read_as_a_switch_only_where_it_is_known_to_be_one(
    definition: str, before: str, after: str, texts: str
) -> None:
    live, backup = a_policy(a_choice(definition, before)), a_policy(a_choice(definition, after))
    assert [line.rpartition(": ")[2] for line in said(CATALOG, live, backup)] == [texts]


def test_settings_inside_others_have_a_line_each() -> None:
    child = f"{RECOVERY}_osrecoverypasswordusage"
    live = a_policy(a_choice(RECOVERY, "1", a_choice(child, "0"), a_choice(f"{RECOVERY}_oshiderecoverypage", "1")))
    assert said(CATALOG, live, a_policy(a_choice(RECOVERY, "1", a_choice(child, "1")))) == [
        "- BitLocker › System drives recovery options › OS hide recovery page: 1",
        "~ BitLocker › System drives recovery options › OS recovery password usage: 0 → 1",
    ]
    assert len(said(CATALOG, live, a_policy())) == 3


def test_groups_of_settings_are_told_apart_by_what_names_them() -> None:
    def rule(name: str, port: str) -> list[Json]:
        return [a_text(f"{FIREWALL}_name", name), a_text(f"{FIREWALL}_localports", port)]

    live = a_policy(groups(FIREWALL, rule("Web", "80"), rule("Mail", "25")))
    backup = a_policy(groups(FIREWALL, rule("Web", "443"), rule("Files", "445")))
    assert said(CATALOG, live, backup) == [
        "+ Firewall › Firewall rules › Files: Local ports 445, Name Files",
        "- Firewall › Firewall rules › Mail: Local ports 25, Name Mail",
        "~ Firewall › Firewall rules › Web › Local ports: 80 → 443",
    ]  # fmt: skip


def test_lists_inside_the_catalog_tell_their_entries() -> None:
    def listed(*values: str) -> Json:
        entries = [{"value": value} for value in values]
        return {
            "settingDefinitionId": "device_vendor_msft_policy_config_userrights_localshutdown",
            "simpleSettingCollectionValue": entries,
        }

    assert said(CATALOG, a_policy(listed("*S-1", "*S-2")), a_policy(listed("*S-2", "*S-3"))) == [
        "- User rights › Local shutdown: *S-1",
        "+ User rights › Local shutdown: *S-3",
    ]


def test_given_names_of_definitions_and_choices_are_used() -> None:
    names = {BITLOCKER: "Require Device Encryption", f"{BITLOCKER}_1": "Enabled"}
    live, backup = a_policy(a_choice(BITLOCKER, "0")), a_policy(a_choice(BITLOCKER, "1"))
    assert said(CATALOG, live, backup, names=names) == ["~ Require Device Encryption: off → Enabled"]


def test_oma_settings_are_matched_by_their_uri_and_called_by_their_name() -> None:
    live = {"omaSettings": [an_oma("Allow Cortana", "./a", 1), an_oma("Ports", "./b", 80)]}
    backup = {"omaSettings": [an_oma("Ports", "./b", 443), an_oma("New", "./c", "x")]}
    lines = changes_in_words(CLASSIC, live, backup).lines
    assert [shown(line) for line in lines] == [
        '- OMA settings › "Allow Cortana": OMA URI ./a; Value 1',
        '~ OMA settings › "Ports" › Value: 80 → 443',
        '+ OMA settings › "New": OMA URI ./c; Value x',
    ]
    assert lines[1]["path"] == "/omaSettings/.~1b/value"


def test_scheduled_actions_are_matched_as_their_type_declares() -> None:
    def actions(*several: tuple[str, int]) -> Json:
        entries = [{"actionType": kind, "gracePeriodHours": hours} for kind, hours in several]
        return {"scheduledActionsForRule": [{"scheduledActionConfigurations": entries}]}

    live, backup = actions(("block", 12), ("notification", 1)), actions(("notification", 1), ("block", 24))
    assert said(COMPLIANCE, live, backup) == [
        "~ Scheduled actions for rule › Scheduled action configurations › block › Grace period: 12 hours → 24 hours"
    ]


def test_messages_are_matched_by_their_language_and_long_ones_shown_where_they_differ() -> None:
    def template(end: str) -> Json:
        return {
            "localizedNotificationMessages": [{"locale": "en-us", "messageTemplate": "Please encrypt. " * 20 + end}]
        }

    (line,) = said("notificationMessageTemplate", template("Thanks"), template("Now!"))
    assert line.startswith("~ Localized notification messages › en-us › Message template: …")
    assert "Thanks → …" in line
    assert line.endswith("Now!")


def test_a_script_is_named_by_its_size_and_hash_and_never_shown() -> None:
    old, new = b"Write-Host old\n", b"Write-Host new\n" * 200
    live, backup = ({"scriptContent": base64.b64encode(text).decode()} for text in (old, new))
    (line,) = said("deviceManagementScript", live, backup)
    digests = [hashlib.sha256(text).hexdigest()[:12] for text in (old, new)]
    assert line == f"~ Script content: script, 15 B, sha256 {digests[0]}… → script, 2.9 KB, sha256 {digests[1]}…"


@pytest.mark.parametrize(
    ("live", "backup"),
    [
        ({"wifiPassword": "hunter1"}, {"wifiPassword": "hunter2"}),
        ({"presharedKey": "hunter1"}, {"presharedKey": "hunter2"}),
        ({"proxy": {"credentials": ["hunter1"]}}, {"proxy": {"credentials": ["hunter2"]}}),
        ({"pin": 4711}, {"pin": 4712}),
        ({"note": "pwd=hunter1"}, {"note": "pwd=hunter2"}),
        ({"url": "https://me:hunter1@example.test"}, {"url": "https://me:hunter2@example.test"}),
        ({"omaSettings": [an_oma("PSK", "./a", "hunter1")]}, {"omaSettings": [an_oma("PSK", "./a", "hunter2")]}),
        (
            {"omaSettings": [{**an_oma("x", "./a", "hunter1"), "isEncrypted": True}]},
            {"omaSettings": [an_oma("x", "./a", "********")]},
        ),
        (
            a_policy(a_text("device_vendor_msft_wifi_sharedsecret", "hunter1")),
            a_policy(a_text("device_vendor_msft_wifi_sharedsecret", "hunter2")),
        ),
    ],
)  # fmt: skip
def test_a_secret_is_hidden_and_its_change_is_said(live: Json, backup: Json) -> None:
    lines = changes_in_words(CATALOG if "settings" in live else CLASSIC, live, backup).lines
    assert lines
    assert not any(word in str(lines) for word in ("hunter", "4711", "4712"))
    assert "hidden" in str(lines)


def test_rules_about_secrets_are_no_secrets() -> None:
    live = {"passwordRequired": False, "passwordMinimumLength": 4, "passwordRequiredType": "numeric"}
    backup = {"passwordRequired": True, "passwordMinimumLength": 8, "passwordRequiredType": "alphanumeric"}
    assert said(COMPLIANCE, live, backup) == [
        "~ Password minimum length: 4 → 8",
        "~ Password required: off → on",
        "~ Password required type: numeric → alphanumeric",
    ]


def test_assignments_are_told_with_names_filters_and_exclusions() -> None:
    live = normalised_assignments([to("allDevicesAssignmentTarget"), to("groupAssignmentTarget", groupId="g1")])
    filtered = {
        "deviceAndAppManagementAssignmentFilterId": "f1",
        "deviceAndAppManagementAssignmentFilterType": "include",
    }
    backup = normalised_assignments(
        [
            to("groupAssignmentTarget", groupId="g1", **filtered),
            to("exclusionGroupAssignmentTarget", groupId="g2"),
            {**to("groupAssignmentTarget", groupId="new:g3"), "intent": "required"},
        ]
    )
    names = {"g1": "Pilot", "f1": "Laptops"}
    assert said(CLASSIC, {}, {}, live_assignments=live, backup_assignments=backup, names=names) == [
        "- Assigned: all devices",
        "+ Excluded: group g2",
        '~ Assigned: group "Pilot" → group "Pilot", filter "Laptops" (include)',
        "+ Assigned: group g3 (to be created), intent required",
    ]


def test_a_new_object_is_told_in_one_line_and_whom_it_reaches() -> None:
    form = a_policy(a_choice(RECOVERY, "1", a_choice(f"{RECOVERY}_osrecoverypasswordusage", "0")))
    everybody = [to("allLicensedUsersAssignmentTarget")]
    assert said(CATALOG, None, form, backup_assignments=everybody) == [
        "+ Settings catalog policy: with 2 settings",
        "+ Assigned: all users",
    ]


def test_lines_and_texts_are_bounded_and_what_is_left_out_is_counted() -> None:
    wording = changes_in_words(CLASSIC, {}, {f"key{n}": "word " * 100 for n in range(MOST_LINES + 30)})
    assert (len(wording.lines), wording.left_out) == (MOST_LINES, 30)
    assert all(len(text) <= LONGEST_TEXT for line in wording.lines for text in line.values() if text)


def test_nothing_can_move_the_cursor_or_turn_the_line_around() -> None:
    evil = "a\x1b[2J\u202eb\nc\u2066\x07"
    live: Json = {"omaSettings": [an_oma(evil, evil, evil)], evil: {"name": evil}}
    lines = str(changes_in_words(CLASSIC, live, {"displayName": evil}, names={evil: evil}).lines)
    assert not any(letter in lines for letter in ("\x1b", "\u202e", "\n", "\u2066", "\x07", "\\x1b", "\\u202e"))


def test_a_form_that_is_too_deep_is_still_a_change() -> None:
    def nested(end: int) -> Json:
        form: Json = {"a": end}
        for _ in range(120):
            form = {"a": form}
        return form

    assert len(said(CLASSIC, nested(1), nested(2))) == 1


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    "text", ["password" * 50_000, "a" + "A" * 120 + "!", "A" + " " * 100_000 + "!", "aB" * 60 + "-", "://" * 50_000]
)
def test_a_hostile_text_costs_no_more_than_its_length(text: str) -> None:
    backup = {"mode": text, text: 1, "omaSettings": [an_oma(text, text, text)]}
    assert said(CLASSIC, {"mode": "x"}, backup)
