from shared.domain.runs import RunStatus
from tests.support.fake_writable_tenant import FakeTenant
from tests.support.restore_lab import ALL_DEVICES, RestoreLab, a_filter, a_policy, to_group

KIND = "deviceConfiguration"


async def test_a_preview_is_handed_nothing_that_can_write(world: RestoreLab) -> None:
    world.tenant.add(KIND, a_policy("Disk"))
    await world.preview(await world.back_up())
    assert world.connectors.handed_out
    for handed in world.connectors.handed_out:
        assert not {"create", "update", "assign"} & set(dir(handed))
    assert world.tenant.journal == []


async def test_each_action_has_its_reason(world: RestoreLab) -> None:
    tenant = world.tenant
    same = tenant.add(KIND, a_policy("Same"))
    changed = tenant.add(KIND, a_policy("Changed", description="as agreed"))
    gone = tenant.add(KIND, a_policy("Gone"))
    baseline = tenant.add(
        "securityBaselinePolicy",
        {"name": "Base", "technologies": "mdm", "settings": [], "templateReference": {"templateFamily": "baseline"}},
    )
    set_id = await world.back_up()
    tenant.objects[KIND, changed].payload["description"] = "drifted"
    tenant.objects["securityBaselinePolicy", baseline].payload["description"] = "drifted"
    del tenant.objects[KIND, gone]

    preview = await world.preview(set_id)

    items = await world.items(preview)
    assert preview.status is RunStatus.SUCCEEDED
    assert {label: row["plan"]["action"] for label, row in items.items()} == {
        "Same": "unchanged",
        "Changed": "update",
        "Gone": "create",
        "Base": "skip",
    }
    assert items["Same"]["plan"]["target_id"] == same
    assert items["Changed"]["plan"]["patch"] == [{"op": "replace", "path": "/description", "value": "as agreed"}]
    assert items["Base"]["error_code"] == "restore.preview_only"
    assert preview.preview is not None
    assert preview.preview["actions"] == {"create": 1, "update": 1, "unchanged": 1, "skip": 1, "blocked": 0}


async def test_an_object_that_lost_its_id_is_found_by_its_natural_key(world: RestoreLab) -> None:
    old = world.tenant.add(KIND, a_policy("Disk", description="a"))
    set_id = await world.back_up()
    del world.tenant.objects[KIND, old]
    new = world.tenant.add(KIND, a_policy("Disk", description="b"))
    row = (await world.items(await world.preview(set_id)))["Disk"]
    assert (row["plan"]["action"], row["plan"]["target_id"]) == ("update", new)


async def test_homonyms_in_the_tenant_block_an_item(world: RestoreLab) -> None:
    old = world.tenant.add(KIND, a_policy("Disk"))
    set_id = await world.back_up()
    del world.tenant.objects[KIND, old]
    world.tenant.add(KIND, a_policy("Disk"))
    world.tenant.add(KIND, a_policy("Disk"))
    row = (await world.items(await world.preview(set_id)))["Disk"]
    assert (row["plan"]["action"], row["error_code"]) == ("blocked", "restore.ambiguous_target")
    assert row["plan"]["candidates"] == 2


async def test_homonyms_in_the_backup_block_each_other_unless_their_ids_live(world: RestoreLab) -> None:
    kept = world.tenant.add(KIND, a_policy("Disk", description="a"))
    lost = world.tenant.add(KIND, a_policy("Disk", description="b"))
    set_id = await world.back_up()
    del world.tenant.objects[KIND, lost]
    preview = await world.preview(set_id)
    rows = await world.lab.rows("SELECT plan FROM restore_run_items WHERE run_id = :run", run=preview.id)
    plans = {row["plan"]["action"]: row["plan"]["target_id"] for row in rows}
    assert plans == {"unchanged": kept, "blocked": None}


async def test_an_object_that_belongs_to_another_backup_item_is_no_target(world: RestoreLab) -> None:
    first = world.tenant.add(KIND, a_policy("First"))
    second = world.tenant.add(KIND, a_policy("Second"))
    set_id = await world.back_up()
    world.tenant.objects[KIND, second].payload["displayName"] = "First"
    del world.tenant.objects[KIND, first]
    items = await world.items(await world.preview(set_id))
    assert items["First"]["error_code"] == "restore.ambiguous_target"
    assert items["Second"]["plan"]["target_id"] == second


async def test_changed_assignments_alone_make_an_update_with_only_that_step(world: RestoreLab) -> None:
    policy = world.tenant.add(KIND, a_policy("Disk"), [to_group("g1"), to_group("g2", excluded=True)])
    set_id = await world.back_up()
    world.tenant.objects[KIND, policy].assignments = [ALL_DEVICES]
    plan = (await world.items(await world.preview(set_id)))["Disk"]["plan"]
    assert (plan["action"], plan["steps"], plan["patch"]) == ("update", ["assign"], [])
    assert plan["assignments_patch"]


async def test_assignments_to_groups_of_another_tenant_are_left_out_whole(world: RestoreLab) -> None:
    elsewhere = FakeTenant(prefix="other")
    elsewhere.add(KIND, a_policy("Disk"), [ALL_DEVICES, to_group("g1", excluded=True)])
    elsewhere.add(KIND, a_policy("Net"), [ALL_DEVICES])
    items = await world.items(await world.preview(await world.back_up(elsewhere)))
    assert items["Disk"]["plan"]["steps"] == ["write"]
    assert items["Disk"]["plan"]["warnings"] == ["restore.mapping_unsafe"]
    assert items["Net"]["plan"]["steps"] == ["write", "assign"]
    assert items["Net"]["plan"]["warnings"] == []


async def test_a_scope_tag_that_cannot_be_mapped_blocks_the_item(world: RestoreLab) -> None:
    elsewhere = FakeTenant(prefix="other")
    elsewhere.add(KIND, a_policy("Disk", roleScopeTagIds=["0", "7"]))
    world.tenant.add("roleScopeTag", {"displayName": "Another tag"}, remote_id="7")
    items = await world.items(await world.preview(await world.back_up(elsewhere)))
    assert (items["Disk"]["plan"]["action"], items["Disk"]["error_code"]) == ("blocked", "restore.mapping_unsafe")


async def test_a_masked_secret_blocks_a_write_but_not_an_unchanged_item(world: RestoreLab) -> None:
    setting = {
        "@odata.type": "#microsoft.graph.omaSettingString",
        "displayName": "key",
        "omaUri": "./a",
        "value": "****",
        "isEncrypted": True,
        "secretReferenceValueId": "ref",
    }
    custom = {"@odata.type": "#microsoft.graph.windows10CustomConfiguration", "omaSettings": [setting]}
    world.tenant.add(KIND, {**custom, "displayName": "Kept"})
    gone = world.tenant.add(KIND, {**custom, "displayName": "Gone"})
    set_id = await world.back_up()
    del world.tenant.objects[KIND, gone]
    items = await world.items(await world.preview(set_id))
    assert items["Kept"]["plan"]["action"] == "unchanged"
    assert items["Gone"]["error_code"] == "restore.secret_unavailable"


async def test_a_damaged_snapshot_blocks_its_item_and_no_other(world: RestoreLab) -> None:
    world.tenant.add(KIND, a_policy("Bad"))
    world.tenant.add(KIND, a_policy("Good"))
    set_id = await world.back_up()
    await world.lab.rows(
        "UPDATE snapshots SET content = content || '\\x00' WHERE sha256 IN "
        "(SELECT snapshot_sha256 FROM backup_items WHERE display_name = 'Bad') RETURNING 1"
    )
    items = await world.items(await world.preview(set_id))
    assert items["Bad"]["error_code"] == "snapshot.corrupt"
    assert items["Good"]["plan"]["action"] == "unchanged"


async def test_a_long_patch_is_cut_and_says_so(world: RestoreLab) -> None:
    policy = world.tenant.add(KIND, a_policy("Big", **{f"key{n}": "x" * 1000 for n in range(400)}))
    set_id = await world.back_up()
    world.tenant.objects[KIND, policy].payload = {**a_policy("Big"), "id": policy}
    plan = (await world.items(await world.preview(set_id)))["Big"]["plan"]
    assert plan["patch_truncated"]
    assert plan["patch_operations"] == 400
    assert 0 < len(plan["patch"]) < 400


async def test_foundations_come_first_and_a_selection_is_kept(world: RestoreLab) -> None:
    world.tenant.add(KIND, a_policy("B"))
    world.tenant.add(KIND, a_policy("A"))
    world.tenant.add("assignmentFilter", a_filter("Z"))
    world.tenant.add("roleScopeTag", {"displayName": "Y"}, remote_id="3")
    set_id = await world.back_up()
    assert list(await world.items(await world.preview(set_id))) == ["Y", "Z", "A", "B"]
    by_type = await world.preview(set_id, selector={"policy_types": [KIND]})
    assert list(await world.items(by_type)) == ["A", "B"]
    one = (await world.items(by_type))["B"]["item_id"]
    assert list(await world.items(await world.preview(set_id, item_ids=[one]))) == ["B"]


async def test_the_same_state_gives_the_same_plan_hash_and_a_drift_another(world: RestoreLab) -> None:
    policy = world.tenant.add(KIND, a_policy("Disk", description="a"))
    set_id = await world.back_up()
    first, second = await world.preview(set_id), await world.preview(set_id)
    world.tenant.objects[KIND, policy].payload["description"] = "b"
    third = await world.preview(set_id)
    hashes = [run.preview["plan_hash"] for run in (first, second, third) if run.preview]
    assert hashes[0] == hashes[1] != hashes[2]


async def test_a_plan_says_in_words_what_would_change_and_for_whom(world: RestoreLab) -> None:
    tenant = world.tenant
    kept = tenant.add(KIND, a_policy("Kept", bitLockerEnabled=True), [ALL_DEVICES, to_group("g1", excluded=True)])
    gone = tenant.add(KIND, a_policy("Gone", bitLockerEnabled=True), [ALL_DEVICES])
    tenant.add(KIND, a_policy("Same"))
    set_id = await world.back_up()
    tenant.objects[KIND, kept].payload |= {"bitLockerEnabled": False, "wifiPassword": "hunter2"}
    tenant.objects[KIND, kept].assignments = [ALL_DEVICES]
    del tenant.objects[KIND, gone]

    items = await world.items(await world.preview(set_id))

    said = {
        label: [
            (change["kind"], change["setting"], change["before"], change["after"]) for change in row["plan"]["changes"]
        ]
        for label, row in items.items()
    }
    assert said == {
        "Kept": [
            ("changed", "BitLocker enabled", "off", "on"),
            ("removed", "Wi-Fi password", "hidden", None),
            ("added", "Excluded", None, 'group "g1"'),
        ],
        "Gone": [("added", "Device configuration", None, "with 1 setting"), ("added", "Assigned", None, "all devices")],
        "Same": [],
    }


async def test_what_is_sealed_of_a_plan_is_no_part_of_its_hash(world: RestoreLab) -> None:
    policy = world.tenant.add(KIND, a_policy("Disk", description="a"))
    set_id = await world.back_up()
    world.tenant.objects[KIND, policy].payload["description"] = "b"
    preview = await world.preview(set_id)
    await world.lab.rows(
        "UPDATE restore_run_items SET plan = plan - 'sealed' WHERE run_id = :run RETURNING 1", run=preview.id
    )
    assert (await world.execute(preview)).status is RunStatus.SUCCEEDED


async def test_a_listing_is_asked_for_once_per_slice(world: RestoreLab) -> None:
    elsewhere = FakeTenant(prefix="other")
    for number in range(20):
        elsewhere.add(KIND, a_policy(f"P{number}"))
    await world.preview(await world.back_up(elsewhere))
    assert world.tenant.lists == [KIND]
