# SPDX-License-Identifier: MIT
"""`inherit afero-ota`, in real builds against the local OTA service over real sockets."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from outline import Outline
from rehearsal.build import Build, Result, Workspace
from rehearsal.service import RunningService

IMAGE = "core-image-minimal"
OURS = {"do_create_ota_record", "do_package_ota", "do_upload_ota", "do_deploy_ota"}
INHERIT = f'IMAGE_CLASSES:append:pn-{IMAGE} = " afero-ota"\nIMAGE_CLASSES:append:pn-other-image = " afero-ota"\n'
SECRETS = {"userpw": "canary-pw-9f2c", "auth-string": "Y2FuYXJ5LWNsaWVudDpjYW5hcnktc2VjcmV0"}


@pytest.fixture(scope="module")
def service() -> Iterator[RunningService]:
    with RunningService(conf=SECRETS) as running:
        running.share()
        yield running


def cloud(service: RunningService, number: int, more: str = "") -> str:
    return INHERIT + f'AFERO_OTA_CONF = "{service.conf}"\nAFERO_OTA_BUILD_NUMBER = "{number}"\n{more}\n'


@pytest.fixture(scope="module")
def build(scarthgap: Workspace, folder: Path, service: RunningService) -> Build:
    """One build folder whose image was built once, with build number 1 and a record of the cloud."""
    build = scarthgap.build(folder / "main", cloud(service, 1))
    done = build.bitbake(IMAGE)
    assert done.returncode == 0, done.output
    return build


@pytest.fixture
def ready(build: Build, service: RunningService) -> Build:
    """The shared build folder, back at build number 1."""
    build.local_conf = cloud(service, 1)
    done = build.bitbake(IMAGE)
    assert done.returncode == 0, done.output
    return build


def payload(build: Build, image: str = IMAGE) -> Path:
    return build.deploy / f"{image}-ota" / "hub_update.bin"


def record_in(path: Path) -> bytes:
    with tarfile.open(path) as archive:
        member = archive.getmember("./etc/full-ota-record.json")
        assert (member.uid, member.gid, member.mode) == (0, 0, 0o644)
        assert archive.getmember("./etc/full_ota_record.json").linkname == "full-ota-record.json"
        stream = archive.extractfile(member)
        assert stream
        return stream.read()


def cloud_records(service: RunningService) -> dict[str, dict[str, Any]]:
    url = f"{service.url}/v1/ota/partners/{service.partner_id}/pool/types/5?size=500"
    answer = requests.get(url, headers={"Authorization": f"Bearer {service.token()}"}, timeout=30)
    return {record["version"]: record for record in answer.json()["content"]}


def fails(build: Build, *arguments: str, env: dict[str, str] | None = None) -> Result:
    """Run bitbake, expect a refusal without a traceback, return what it said."""
    done = build.bitbake(*arguments, env=env)
    assert done.returncode != 0, done.output
    assert "Traceback" not in done.output, done.output
    return done


def test_an_image_that_somebody_else_wrote_gets_the_record_of_the_cloud(ready: Build, service: RunningService) -> None:
    inside = json.loads(record_in(payload(ready)))
    there = cloud_records(service)["1.0.1"]
    assert {key: inside[key] for key in ("id", "name", "version", "versionNumber")} == {
        key: there[key] for key in ("id", "name", "version", "versionNumber")
    }


def test_the_manifest_describes_the_payload(ready: Build) -> None:
    manifest = json.loads((payload(ready).parent / "hub_update.bin.manifest.json").read_text())
    content = payload(ready).read_bytes()
    assert (manifest["sha256"], manifest["size"]) == (hashlib.sha256(content).hexdigest(), len(content))
    facts = (manifest["image"], manifest["machine"], manifest["version"], manifest["record"]["version"])
    assert facts == (IMAGE, "qemuarm", "1.0.1", "1.0.1")
    assert manifest["distro"].startswith("poky ")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", manifest["buildTime"])
    assert re.fullmatch(r"\S+:[0-9a-f]{40}", manifest["layers"]["meta"])
    assert "hello-data" in manifest["packages"]


def test_the_report_describes_the_payload_for_people(ready: Build) -> None:
    report = (payload(ready).parent / "hub_update.bin.report.md").read_text()
    assert report.startswith("# Gateway 1.0.1\n")
    assert re.search(r"^\| hello-data \| \S+ \| 6 bytes \| MIT \|$", report, re.M)
    # nothing here inherits create-spdx
    assert "| SBOM | no SBOM |" in report


def test_the_page_of_the_next_build_shows_what_changed_and_how_the_size_grew(
    ready: Build, service: RunningService
) -> None:
    earlier = ready.folder / "earlier.report.json"
    earlier.write_bytes((payload(ready).parent / "hub_update.bin.report.json").read_bytes())
    earlier.chmod(0o644)
    more = 'HELLO:pn-hello-data = "hello there"\nAFERO_OTA_REPORT_SINCE = "earlier.report.json later.report.json"'
    ready.local_conf = cloud(service, 3, more)
    done = ready.bitbake(IMAGE)
    assert done.returncode == 0, done.output
    page = Outline((payload(ready).parent / "hub_update.bin.report.html").read_text()).text
    assert "1 package changed since Gateway 1.0.1" in page and "/etc/hello 6 → 12 bytes" in page
    report = json.loads((payload(ready).parent / "hub_update.bin.report.json").read_text())
    assert [one[0] for one in report["history"]] == ["1.0.1"]
    assert report["packages"] == {"hello-data": ["1.0-r0", "hello-data", "MIT", 12]}
    markdown = (payload(ready).parent / "hub_update.bin.report.md").read_text()
    assert "| /etc/hello | 6 → 12 bytes | hello-data |" in markdown


def test_a_payload_over_the_limit_fails_the_build_with_both_numbers(ready: Build, service: RunningService) -> None:
    size = payload(ready).stat().st_size
    ready.local_conf = cloud(service, 1, 'AFERO_OTA_SIZE_LIMIT = "100"')
    said = fails(ready, IMAGE).output
    assert f"AFERO_OTA_SIZE_LIMIT: the payload has {size} bytes, {size - 100} more than the 100 allowed" in said
    ready.local_conf = cloud(service, 1, 'AFERO_OTA_SIZE_LIMIT = "1K"')
    assert ready.bitbake(IMAGE).returncode == 0


def test_a_second_build_does_not_run_the_tasks_of_the_class(ready: Build) -> None:
    again = ready.bitbake(IMAGE)
    assert again.returncode == 0
    assert again.ran(IMAGE) & (OURS | {"do_rootfs"}) == set()


def test_upload_puts_the_payload_into_the_cloud_and_a_second_upload_finds_nothing_to_do(
    ready: Build, service: RunningService
) -> None:
    first = ready.bitbake("-c", "upload_ota", IMAGE)
    assert first.returncode == 0, first.output
    assert str(payload(ready)) in first.output
    there = requests.get(cloud_records(service)["1.0.1"]["url"], timeout=30).content
    assert there == payload(ready).read_bytes()
    again = ready.bitbake("-c", "upload_ota", IMAGE)
    assert again.returncode == 0
    assert "nothing to do" in again.output
    assert service.sim.stats()["associations"] == 1


def test_a_build_does_not_upload_or_deploy(ready: Build) -> None:
    graph = ready.bitbake("-n", "-f", "-C", "rootfs", IMAGE)
    assert graph.ran(IMAGE) & OURS >= {"do_package_ota"}
    assert graph.ran(IMAGE) & {"do_upload_ota", "do_deploy_ota"} == set()


def test_a_new_build_number_reruns_record_rootfs_and_payload_and_nothing_of_other_recipes(
    ready: Build, service: RunningService
) -> None:
    before = payload(ready).read_bytes()
    ready.local_conf = cloud(service, 2)
    done = ready.bitbake(IMAGE)
    assert done.returncode == 0, done.output
    assert done.ran(IMAGE) >= {"do_create_ota_record", "do_rootfs", "do_package_ota"}
    assert {task for task in done.tasks if not task.startswith(f"{IMAGE}:")} == set()
    assert payload(ready).read_bytes() != before
    assert json.loads(record_in(payload(ready)))["version"] == "1.0.2"


def test_a_changed_password_rebuilds_nothing(ready: Build, service: RunningService) -> None:
    other = service.folder / "other-conf.json"
    other.write_text(json.dumps({**json.loads(service.conf.read_text()), "userpw": "changed"}))
    ready.local_conf = cloud(service, 1).replace(str(service.conf), str(other))
    done = ready.bitbake(IMAGE)
    assert done.returncode == 0
    assert done.ran(IMAGE) & (OURS | {"do_rootfs"}) == set()


def test_a_record_that_was_lost_locally_is_found_again_and_gives_the_same_payload(
    ready: Build, service: RunningService
) -> None:
    before, records = payload(ready).read_bytes(), len(cloud_records(service))
    assert ready.bitbake("-c", "cleansstate", IMAGE).returncode == 0
    done = ready.bitbake(IMAGE)
    assert done.returncode == 0, done.output
    assert "do_create_ota_record" in done.ran(IMAGE)
    assert payload(ready).read_bytes() == before
    assert len(cloud_records(service)) == records


def test_a_build_from_a_shared_state_mirror_takes_the_payload_from_there(
    ready: Build, scarthgap: Workspace, folder: Path, service: RunningService
) -> None:
    mirror = f'SSTATE_MIRRORS = "file://.* file://{ready.sstate_dir}/PATH;downloadfilename=PATH"\n'
    second = scarthgap.build(folder / "second", cloud(service, 1, mirror))
    done = second.bitbake(IMAGE)
    assert done.returncode == 0, done.output
    assert "do_package_ota_setscene" in done.ran(IMAGE)
    assert "do_package_ota" not in done.ran(IMAGE)
    assert payload(second).read_bytes() == payload(ready).read_bytes()


def test_the_same_sources_give_the_same_report_in_another_folder(
    ready: Build, scarthgap: Workspace, folder: Path, service: RunningService
) -> None:
    other = scarthgap.build(folder / "elsewhere" / "far", cloud(service, 1))
    assert other.bitbake(IMAGE).returncode == 0
    for face in ("json", "html", "md"):
        one, two = (payload(build).parent / f"hub_update.bin.report.{face}" for build in (ready, other))
        assert one.read_bytes() == two.read_bytes(), face
        assert str(scarthgap.folder.parent).encode() not in one.read_bytes(), face


def test_deploy_pushes_to_the_named_devices_and_never_twice(ready: Build, service: RunningService) -> None:
    service.sim.register("device-1")
    devices = service.folder / "devices.txt"
    devices.write_text("device-1  # the first hub\n")
    ready.local_conf = cloud(service, 1, f'AFERO_OTA_DEVICES = "@{devices}"')
    for _ in range(2):
        done = ready.bitbake("-c", "deploy_ota", IMAGE)
        assert done.returncode == 0, done.output
    assert service.sim.stats()["pushes"] == {"device-1": 1}
    offered = service.sim.update("device-1")
    assert offered
    assert offered["versionNumber"] == json.loads(record_in(payload(ready)))["versionNumber"]
    assert offered["sha256"] == hashlib.sha256(payload(ready).read_bytes()).hexdigest()


def test_deploy_carries_out_a_plan_and_says_how_it_ended(ready: Build, service: RunningService, tmp_path: Path) -> None:
    assert ready.bitbake("-c", "upload_ota", IMAGE).returncode == 0
    service.sim.register("device-of-the-plan")
    plan = ready.folder / "plan.yml"
    command = [
        Path(__file__).parents[2] / "scripts" / "afero-ota",
        "plan",
        "--latest",
        "-d",
        "device-of-the-plan",
        "--start-limit",
        "2",
    ]
    subprocess.run([*map(str, command), "-c", str(service.conf), "-o", str(plan)], cwd=tmp_path, check=True)
    plan.chmod(0o644)
    ready.local_conf = cloud(service, 1, 'AFERO_OTA_PLAN = "plan.yml"')
    for _ in range(2):
        # nobody plays the device, so it stays silent
        said = fails(ready, "-c", "deploy_ota", IMAGE).output
        assert "1 silent" in said and "some devices do not run the image" in said
    assert service.sim.stats()["pushes"]["device-of-the-plan"] == 1
    assert "<html" in plan.with_suffix(".html").read_text()
    ready.local_conf = cloud(service, 1, 'AFERO_OTA_PLAN = "plan.yml"\nAFERO_OTA_DEVICES = "device-1"')
    assert "exclude each other" in fails(ready, "-c", "deploy_ota", IMAGE).output


def test_deploy_without_devices_uploads_and_says_so(ready: Build) -> None:
    done = ready.bitbake("-c", "deploy_ota", IMAGE)
    assert done.returncode == 0, done.output
    assert "AFERO_OTA_DEVICES names no device" in done.output


def test_a_changed_image_under_an_uploaded_version_is_refused(ready: Build, service: RunningService) -> None:
    assert ready.bitbake("-c", "upload_ota", IMAGE).returncode == 0
    ready.local_conf = cloud(service, 1, 'HELLO:pn-hello-data = "changed"')
    said = fails(ready, "-c", "upload_ota", IMAGE).output
    assert "uploaded already with another content" in said
    assert "AFERO_OTA_BUILD_NUMBER" in said


def test_no_secret_is_in_any_file_or_output_of_a_build(ready: Build, service: RunningService) -> None:
    secrets = {"AFERO_OTA_USERNAME": "dev@example.com", "AFERO_OTA_USERPW": SECRETS["userpw"]}
    env = {**secrets, "AFERO_OTA_AUTH_STRING": SECRETS["auth-string"]}
    outputs = [
        ready.bitbake("-c", "upload_ota", IMAGE, env=env).output,
        ready.bitbake("-e", IMAGE, env=env).output,
        ready.bitbake("-D", "-f", "-c", "create_ota_record", IMAGE, env=env).output,
    ]
    for canary in ("canary-pw", SECRETS["auth-string"]):
        assert all(canary not in output for output in outputs)
        found = subprocess.run(["grep", "-rlaF", canary, str(ready.folder)], stdout=subprocess.PIPE, text=True)
        assert found.stdout == ""
    # sstate archives and signature files are compressed
    for file in [*ready.sstate_dir.rglob("*.zst"), *ready.tmpdir.rglob("*.sig*")]:
        content = subprocess.run(["zstdcat", "-f", str(file)], stdout=subprocess.PIPE).stdout
        assert b"canary-pw" not in content and SECRETS["auth-string"].encode() not in content


def test_only_the_secrets_are_overwritten_in_the_log_of_the_server(ready: Build) -> None:
    """In every spelling in which BitBake writes its caller's environment; other text that looks like a secret stays."""
    secrets = {
        "AFERO_OTA_USERNAME": "dev",
        "AFERO_OTA_USERPW": 'it\'s \\ "geheim" für dev',
        "AFERO_OTA_AUTH_STRING": SECRETS["auth-string"],
    }
    others = {"HOMEPAGE": "/home/dev", "NOT_AFERO_OTA_USERNAME": "dev", "QUOTED": "'AFERO_OTA_USERNAME': dev"}
    log = ready.folder / "bitbake-cookerdaemon.log"
    log.unlink()
    assert ready.bitbake("-n", IMAGE, env={**secrets, **others}).returncode == 0
    text = log.read_text()
    for name, value in others.items():
        assert f"{name!r}: {value!r}" in text
    for name, value in secrets.items():
        assert f"{name!r}: {value!r}" not in text
        stars = "*" * len(repr(value)[1:-1].encode())
        assert re.search(rf"""'{name}': (['"]){re.escape(stars)}\1""", text), name


@pytest.fixture(scope="module")
def offline(scarthgap: Workspace, folder: Path) -> Build:
    """A build folder without an account."""
    build = scarthgap.build(folder / "offline", INHERIT)
    done = build.bitbake(IMAGE)
    assert done.returncode == 0, done.output
    return build


@pytest.fixture
def plain(offline: Build) -> Build:
    offline.local_conf = INHERIT
    return offline


def test_without_an_account_the_record_is_offline_and_no_task_asks_the_cloud(plain: Build) -> None:
    assert plain.bitbake(IMAGE).returncode == 0
    record = json.loads(record_in(payload(plain)))
    assert (record["id"], record["versionNumber"], record["name"]) == ("", "0", IMAGE)
    assert "do_create_ota_record" not in plain.bitbake("-n", "-C", "rootfs", IMAGE).ran(IMAGE)


def test_an_image_with_an_offline_record_is_not_uploaded(plain: Build, service: RunningService) -> None:
    plain.local_conf = INHERIT + f'AFERO_OTA_CONF = "{service.conf}"\nAFERO_OTA_RECORD = "offline"\n'
    said = fails(plain, "-c", "upload_ota", IMAGE).output
    assert "offline record" in said
    assert 'AFERO_OTA_RECORD = "cloud"' in said


def test_upload_without_an_account_names_the_missing_line(plain: Build) -> None:
    assert 'write: AFERO_OTA_CONF = "' in fails(plain, "-c", "upload_ota", IMAGE).output


@pytest.mark.parametrize("spelling", ["full-ota-record.json", "full_ota_record.json"])
def test_a_record_made_earlier_is_taken_from_its_classic_place_under_either_name(plain: Build, spelling: str) -> None:
    record = {
        "id": "11561",
        "name": "Gateway",
        "type": 5,
        "version": "1.0.7",
        "versionNumber": "7112",
        "url": "",
        "tags": [],
    }
    path = plain.tmpdir / spelling
    path.write_text(json.dumps(record))
    try:
        plain.local_conf = INHERIT + 'AFERO_OTA_RECORD = "${TMPDIR}/full-ota-record.json"\n'
        done = plain.bitbake(IMAGE)
        assert done.returncode == 0, done.output
        assert json.loads(record_in(payload(plain)))["versionNumber"] == "7112"
        path.write_text(json.dumps({**record, "versionNumber": "7113"}))
        changed = plain.bitbake(IMAGE)
        assert "do_rootfs" in changed.ran(IMAGE)
        assert json.loads(record_in(payload(plain)))["versionNumber"] == "7113"
    finally:
        path.unlink()


def test_two_images_in_one_build_folder_keep_their_own_payloads(plain: Build) -> None:
    done = plain.bitbake(IMAGE, "other-image")
    assert done.returncode == 0, done.output
    names = [json.loads(record_in(payload(plain, image)))["name"] for image in (IMAGE, "other-image")]
    assert names == [IMAGE, "other-image"]


def test_two_machines_in_one_build_folder_keep_their_own_payloads(plain: Build) -> None:
    before = payload(plain).stat().st_mtime_ns
    plain.local_conf += 'MACHINE = "other-hub"\n'
    done = plain.bitbake(IMAGE)
    assert done.returncode == 0, done.output
    other = plain.deploy.parent / "other-hub" / payload(plain).relative_to(plain.deploy)
    manifests = [path.with_name("hub_update.bin.manifest.json") for path in (payload(plain), other)]
    assert [json.loads(path.read_text())["machine"] for path in manifests] == ["qemuarm", "other-hub"]
    assert payload(plain).stat().st_mtime_ns == before


@pytest.mark.parametrize("fstype", ["tar.xz", "tar.zst", "ext4.gz", "squashfs"])
def test_the_payload_is_the_image_of_the_chosen_type(plain: Build, fstype: str) -> None:
    plain.local_conf = INHERIT + f'AFERO_OTA_IMAGE_FSTYPE = "{fstype}"\n'
    done = plain.bitbake(IMAGE)
    assert done.returncode == 0, done.output
    [image] = [path for path in plain.deploy.glob(f"{IMAGE}-*.{fstype}") if not path.is_symlink()]
    assert payload(plain).read_bytes() == image.read_bytes()


def test_the_payload_may_have_another_name(plain: Build) -> None:
    plain.local_conf = INHERIT + 'AFERO_OTA_IMAGE_FILE = "gateway.img"\n'
    assert plain.bitbake(IMAGE).returncode == 0
    beside = ["", ".manifest.json", ".report.html", ".report.json", ".report.md"]
    assert sorted(os.listdir(payload(plain).parent)) == [f"gateway.img{name}" for name in beside]


def test_packaging_does_not_copy_the_image(plain: Build) -> None:
    assert plain.bitbake("-c", "cleansstate", IMAGE).returncode == 0
    assert plain.bitbake(IMAGE).returncode == 0
    [image] = [path for path in plain.deploy.glob(f"{IMAGE}-*.tar.gz") if not path.is_symlink()]
    assert payload(plain).stat().st_ino == image.stat().st_ino


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('AFERO_OTA_NAME = "%s"' % ("x" * 36), ["AFERO_OTA_NAME: 36 characters, at most 35"]),
        ('AFERO_OTA_TAGS = "%s"' % ("x" * 36), ["AFERO_OTA_TAGS: 36 characters"]),
        ('AFERO_OTA_DESCRIPTION = "%s"' % ("x" * 501), ["AFERO_OTA_DESCRIPTION: 501 characters"]),
        ('AFERO_OTA_SERVICE_URL = "http://api.afero.io"', ["https is required"]),
        ('AFERO_OTA_SIZE_LIMIT = "64MB"', ['AFERO_OTA_SIZE_LIMIT: is "64MB"', 'write: AFERO_OTA_SIZE_LIMIT = "64M"']),
        ('AFERO_OTA_BUILDNUMBER = "3"', ["AFERO_OTA_BUILDNUMBER", "did you mean 'AFERO_OTA_BUILD_NUMBER'?"]),
        ('AFERO_OTA_USERPW = "x"', ["AFERO_OTA_USERPW: a secret is the value of a BitBake variable"]),
        ('AFERO_OTA_CONF = "/nowhere.json"', ["/nowhere.json: cannot be read"]),
        ('AFERO_OTA_RECORD = "/nowhere.json"', ["/nowhere.json: the record cannot be read"]),
        (
            'AFERO_OTA_RECORD = "cloud"\nAFERO_OTA_DEBUG_BUILD = "maybe"',
            [
                "AFERO_OTA_CONF: not set",
                'write: AFERO_OTA_CONF = "/path/to/partner-ota-conf.json"',
                'write: AFERO_OTA_NAME = "Gateway"',
                'write: AFERO_OTA_BUILD_NUMBER = "42"',
                "AFERO_OTA_PARTNER_ID: not set",
                "AFERO_OTA_DEVICE_TYPE_ID: not set",
                "userpw: not set",
                "AFERO_OTA_DEBUG_BUILD: 'maybe' is neither yes nor no",
            ],
        ),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else "",
)
def test_faults_of_the_configuration_are_reported_together_before_the_first_task(
    plain: Build, lines: str, said: list[str]
) -> None:
    plain.local_conf = INHERIT + lines + "\n"
    done = fails(plain, IMAGE)
    assert done.tasks == set()
    for text in said:
        assert text in done.output


def test_a_fault_in_one_image_does_not_stop_another(plain: Build) -> None:
    plain.local_conf = INHERIT + f'AFERO_OTA_SERVICE_URL:pn-{IMAGE} = "nonsense"\n'
    assert plain.bitbake("other-image").returncode == 0


def test_the_class_costs_little_time(scarthgap: Workspace, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seconds = {}
    for name, conf in (("without", ""), ("with", INHERIT)):
        build = scarthgap.build(folder / f"time-{name}", conf)
        start = time.monotonic()
        assert build.bitbake(IMAGE).returncode == 0
        seconds[name] = time.monotonic() - start
    with capsys.disabled():
        print(f"\nhermetic build, cold: {seconds['without']:.1f} s without the class, {seconds['with']:.1f} s with it")
    assert seconds["with"] < 60
    # the class adds one small task and one line of a rootfs; the rest of the allowance is the machine's noise
    assert seconds["with"] < seconds["without"] + 10


def test_the_journey_works_on_both_releases(any_release: Workspace, folder: Path) -> None:
    with RunningService() as running:
        running.share()
        build = any_release.build(folder / f"journey-{any_release.release}", cloud(running, 5))
        done = build.bitbake("-c", "upload_ota", IMAGE)
        assert done.returncode == 0, done.output
        assert requests.get(cloud_records(running)["1.0.5"]["url"], timeout=30).content == payload(build).read_bytes()
