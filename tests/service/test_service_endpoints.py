# SPDX-License-Identifier: MIT
"""The documented endpoints answer as documented."""

from __future__ import annotations

import time
from typing import Any

import requests

from api import Api


def test_a_record_is_created_with_string_ids_and_without_a_url(api: Api) -> None:
    record = api.record(description="d", tags=["a", "b"])
    assert record["id"].isdecimal() and record["versionNumber"].isdecimal()
    assert record["url"] == "" and record["tags"] == ["a", "b"] and record["type"] == 5
    assert record["createdTimestamp"] == record["updatedTimestamp"]
    assert abs(record["createdTimestamp"] / 1000 - time.time()) < 60


def test_optional_fields_that_were_not_set_are_omitted(api: Api) -> None:
    assert {"description", "associations"} & set(api.record()) == set()


def test_version_numbers_grow(api: Api) -> None:
    first, second = api.record(), api.record(type=6)
    assert int(second["versionNumber"]) > int(first["versionNumber"])


def test_record_image_and_version_have_different_numbers(api: Api) -> None:
    image = api.image(b"content of the three numbers")
    record = api.pool_record({"type": 5, "id": str(_record_id(api, image))})
    assert len({record["id"], image["id"], image["versionNumber"]}) == 3
    assert record["versionNumber"] == image["versionNumber"]


def _record_id(api: Api, image: dict[str, Any]) -> str:
    page = api.call("GET", "P/pool/types/5", params={"size": 1000}).json()
    return str(next(item["id"] for item in page["content"] if item["versionNumber"] == image["versionNumber"]))


def test_the_same_name_and_version_twice_is_a_conflict(api: Api) -> None:
    record = api.record()
    body = {name: record[name] for name in ("name", "type", "version", "url")}
    answer = api.call("POST", "P/pool", json=body)
    assert (answer.status_code, answer.json()["error"]) == (409, "alreadyExists")


def test_exists_tells_whether_a_version_is_taken(api: Api) -> None:
    record = api.record()
    path = f"P/pool/types/5/names/{record['name']}/versions"
    assert api.call("GET", f"{path}/{record['version']}/exists").json() == {"value": True}
    assert api.call("GET", f"{path}/none/exists").json() == {"value": False}
    own = {"excludeFirmwareImageId": record["id"]}
    assert api.call("GET", f"{path}/{record['version']}/exists", params=own).json() == {"value": False}


def test_a_name_with_a_slash_is_found_when_it_is_escaped(api: Api) -> None:
    record = api.record(name="a/b ?#ü")
    path = f"P/pool/types/5/names/a%2Fb%20%3F%23%C3%BC/versions/{record['version']}/exists"
    assert api.call("GET", path).json() == {"value": True}


def test_a_put_changes_five_fields_and_nothing_else(api: Api) -> None:
    record = api.record(description="old", tags=["old"])
    path = f"P/pool/types/5/versionNumbers/{record['versionNumber']}"
    new = {
        "name": "New",
        "version": record["version"],
        "url": "http://x/y",
        "tags": ["new"],
        "id": "1",
        "versionNumber": "1",
    }
    assert api.call("PUT", path, json=new).status_code == 204
    found = api.pool_record(record)
    assert (found["name"], found["url"], found["tags"]) == ("New", "http://x/y", ["new"])
    assert found["versionNumber"] == record["versionNumber"] and "description" not in found


def test_a_page_has_its_number_and_the_totals(own_api: Api) -> None:
    for _ in range(7):
        own_api.record()
    page = own_api.call("GET", "P/pool", params={"page": 1, "size": 3}).json()
    counts = {name: page[name] for name in ("number", "size", "totalPages", "numberOfElements", "totalElements")}
    assert counts == {"number": 1, "size": 3, "totalPages": 3, "numberOfElements": 3, "totalElements": 7}
    last = own_api.call("GET", "P/pool", params={"page": 2, "size": 3}).json()
    assert last["numberOfElements"] == len(last["content"]) == 1


def test_a_page_has_fifty_elements_by_default(own_api: Api) -> None:
    for _ in range(51):
        own_api.record()
    page = own_api.call("GET", "P/pool/types/5").json()
    assert (page["size"], len(page["content"]), page["totalPages"]) == (50, 50, 2)


def test_lists_are_sorted_on_request(own_api: Api) -> None:
    for name in ("b", "c", "a"):
        own_api.record(name=name)

    def names(sort: str) -> list[str]:
        return [item["name"] for item in own_api.call("GET", "P/pool", params={"sort": sort}).json()["content"]]

    assert names("name") == ["a", "b", "c"]
    assert names("name,desc") == ["c", "b", "a"]
    assert names("versionNumber") == ["b", "c", "a"]


def test_lists_are_filtered_by_tags(own_api: Api) -> None:
    for tags in (["x"], ["y"], []):
        own_api.record(tags=tags)

    def count(tags: str) -> int:
        return int(own_api.call("GET", "P/pool", params={"tags": tags}).json()["totalElements"])

    assert (count("x"), count("x,y"), count("z")) == (1, 2, 0)
    assert own_api.call("GET", "P/tags").json() == ["x", "y"]


def test_the_pool_of_a_type_holds_that_type_only(own_api: Api) -> None:
    own_api.record(type=5)
    own_api.record(type=6)
    page = own_api.call("GET", "P/pool/types/6").json()
    assert [item["type"] for item in page["content"]] == [6]


def test_firmware_types_can_be_created_and_renamed(own_api: Api) -> None:
    made = own_api.call("POST", "P/types", json={"name": "Motor", "type": 150})
    assert made.status_code == 201 and made.json()["versionAttributeId"] == 2150
    assert own_api.call("PUT", "P/types/150", json={"name": "Motor 2", "description": "d"}).status_code == 204
    (found,) = own_api.call("GET", "P/types/150").json()
    assert (found["name"], found["description"]) == ("Motor 2", "d")
    assert {item["type"] for item in own_api.call("GET", "P/types").json()} >= {5, 150}
    assert own_api.call("POST", "P/types", json={"name": "Motor", "type": 150}).status_code == 409


def test_an_image_is_listed_found_and_dissociated(own_api: Api) -> None:
    image = own_api.image(b"an image")
    path = f"DT/firmwareImages/types/5/versionNumbers/{image['versionNumber']}"
    assert own_api.call("GET", path).json() == image
    assert own_api.call("GET", "DT/firmwareImages").json()["content"] == [image]
    assert own_api.call("GET", "DT/firmwareImages/types/5").json()["content"] == [image]
    associations = own_api.call("GET", f"P/pool/types/5/versionNumbers/{image['versionNumber']}/associations").json()
    assert [item["firmwareImageId"] for item in associations] == [image["id"]]
    assert own_api.call("DELETE", path).status_code == 204
    assert own_api.call("GET", path).status_code == own_api.call("DELETE", path).status_code == 404


def test_an_image_can_be_associated_only_once(api: Api) -> None:
    image = api.image(b"associated once")
    record = api.pool_record({"type": 5, "id": _record_id(api, image)})
    assert api.call("POST", "DT/firmwareImages", json=record).status_code == 409


def test_an_association_must_match_the_record_in_the_pool(api: Api) -> None:
    record = api.pool_record(api.record())
    answer = api.call("POST", "DT/firmwareImages", json={**record, "url": "http://elsewhere/x"})
    assert answer.status_code == 400
    assert [fault["field"] for fault in answer.json()["fieldErrors"]] == ["url"]


def test_unknown_fields_in_an_association_are_ignored(api: Api) -> None:
    record = api.pool_record(api.record())
    assert api.call("POST", "DT/firmwareImages", json={**record, "url2": "x"}).status_code == 201


def test_a_record_can_be_associated_when_it_is_created(own_api: Api) -> None:
    device_type = own_api.service.device_type_id
    record = own_api.record(associations={own_api.service.partner_id: [device_type]})
    path = f"DT/firmwareImages/types/5/versionNumbers/{record['versionNumber']}"
    assert own_api.call("GET", path).json()["deviceTypeId"] == device_type


def test_a_push_is_accepted_for_a_device_of_the_account(own_api: Api) -> None:
    own_api.service.sim.register("hub-1")
    answer = own_api.push(own_api.image(b"pushed"), "hub-1")
    assert (answer.status_code, answer.content) == (202, b"")
    assert own_api.service.sim.stats()["pushes"] == {"hub-1": 1}


def test_a_push_needs_the_id_of_the_image_not_that_of_the_record(own_api: Api) -> None:
    own_api.service.sim.register("hub-1")
    image = own_api.image(b"pushed by a wrong id")
    assert own_api.push({"id": _record_id(own_api, image)}, "hub-1").status_code == 404
    assert own_api.push({"id": image["versionNumber"]}, "hub-1").status_code == 404


def test_a_push_to_a_foreign_device_is_refused(api: Api) -> None:
    assert api.push(api.image(b"for nobody"), "not-ours").status_code == 404


def test_an_image_without_a_binary_cannot_be_pushed(own_api: Api) -> None:
    own_api.service.sim.register("hub-1")
    record = own_api.record(associations={own_api.service.partner_id: [own_api.service.device_type_id]})
    image = own_api.call("GET", f"DT/firmwareImages/types/5/versionNumbers/{record['versionNumber']}").json()
    assert own_api.push(image, "hub-1").status_code == 400


def test_a_device_shows_the_version_it_runs_as_little_endian_attribute_2005(own_api: Api) -> None:
    own_api.service.sim.register("hub-1", versionNumber=str(0x0102))
    devices = f"/v1/accounts/{own_api.service.account_id}/devices"
    device = own_api.call("GET", f"{devices}/hub-1?expansions=attributes").json()
    assert [(a["id"], a["data"]) for a in device["attributes"]] == [(2005, "0201000000000000"), (65019, "00")]
    assert device["updating"] is False and "deviceState" not in device
    (listed,) = own_api.call("GET", f"{devices}?expansions=state,attributes").json()
    assert listed["deviceState"]["available"] is True


def test_users_me_names_account_and_partner(api: Api) -> None:
    me = api.call("GET", "/v1/users/me").json()
    assert [access["account"]["accountId"] for access in me["accountAccess"]] == [api.service.account_id]
    assert [access["partner"]["partnerId"] for access in me["partnerAccess"]] == [api.service.partner_id]


def test_a_refresh_token_gives_a_new_access_token(api: Api) -> None:
    settings = api.service.settings
    basic = {"Authorization": f"Basic {settings['auth-string']}"}
    form = {"grant_type": "password", "username": settings["username"], "password": settings["userpw"]}
    first = requests.post(api.url("/oauth/token"), data=form, headers=basic, timeout=30).json()
    assert first["token_type"] == "bearer" and first["expires_in"] == 16086
    form = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
    second = requests.post(api.url("/oauth/token"), data=form, headers=basic, timeout=30).json()
    assert second["access_token"] not in ("", first["access_token"])
