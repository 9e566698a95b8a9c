# SPDX-License-Identifier: MIT
"""The commands a person types, against the local OTA service: outputs and exit statuses."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

import images
from afero_ota import errors
from api import Api
from rehearsal.service import RunningService

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
Done = subprocess.CompletedProcess[str]


class Run(Protocol):
    def __call__(
        self, script: str, *arguments: str, env: dict[str, str] | None = None, stdin: str | None = None
    ) -> Done: ...


@pytest.fixture(scope="module")
def service() -> Iterator[RunningService]:
    with RunningService() as running:
        yield running


@pytest.fixture
def cloud(service: RunningService) -> Api:
    """What is in the service, and a way to put something there."""
    return Api(service)


@pytest.fixture
def run(service: RunningService, tmp_path: Path) -> Run:
    """Runs a script of this project in an empty folder, with the service's configuration."""

    def run(script: str, *arguments: str, env: dict[str, str] | None = None, stdin: str | None = None) -> Done:
        environment = {**os.environ, "AFERO_OTA_CONF": str(service.conf), **(env or {})}
        command = [str(SCRIPTS / script), *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, input=stdin)
        assert "Traceback" not in done.stderr
        assert service.settings["userpw"] not in done.stdout + done.stderr
        return done

    return run


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.tar.gz"
    path.write_bytes(os.urandom(100_000))
    return path


def test_record_package_upload_list_and_deploy_take_an_image_to_a_device(
    service: RunningService, run: Run, image: Path
) -> None:
    service.sim.register("hub-1")
    assert "record created: Gateway 1.0.1" in run("afero-ota", "record", "-n", "1").stdout
    assert run("afero-ota", "package", "image.tar.gz").returncode == 0
    uploaded = json.loads(run("afero-ota", "upload", "--json").stdout)
    assert uploaded["changed"] is True
    listed = json.loads(run("afero-ota", "list", "--json").stdout)
    assert uploaded["imageId"] in [item["id"] for item in listed]
    deployed = run("afero-ota", "deploy", "-i", uploaded["imageId"], "-d", "hub-1")
    assert (deployed.returncode, service.sim.stats()["pushes"]["hub-1"]) == (0, 1)
    steps = [entry["step"] for entry in json.loads(run("afero-ota", "status", "--json").stdout)]
    assert [step for step in steps if step in ("create record", "upload", "associate", "push")][::2] == [
        "create record",
        "upload",
        "associate",
        "push",
    ]


def test_a_second_upload_has_nothing_to_do_and_other_content_is_a_conflict(
    run: Run, image: Path, tmp_path: Path
) -> None:
    run("afero-ota", "record", "-n", "2")
    run("afero-ota", "package", "image.tar.gz")
    assert run("afero-ota", "upload").returncode == 0
    assert "nothing to do" in run("afero-ota", "upload").stdout
    (tmp_path / "other.bin").write_bytes(b"other")
    refused = run("afero-ota", "upload", "other.bin", "-n", "2")
    assert refused.returncode == 5
    assert "another content" in refused.stderr


def test_report_shows_what_is_in_a_payload_and_what_changed(run: Run, image: Path, tmp_path: Path) -> None:
    run("afero-ota", "package", "image.tar.gz", "-o", "old.bin")
    (tmp_path / "image.tar.gz").write_bytes(b"smaller")
    run("afero-ota", "package", "image.tar.gz")
    shown = run("afero-ota", "report", "--since", "old.bin")
    assert shown.returncode == 0
    assert "The payload is 99,993 bytes smaller." in shown.stdout
    assert json.loads(run("afero-ota", "report", "old.bin", "--json").stdout)["size"] == 100_000
    assert "manifest cannot be read" in run("afero-ota", "report", "nowhere.bin").stderr


def test_report_reads_archives_compares_several_and_writes_a_page(run: Run, image: Path, tmp_path: Path) -> None:
    for number, content in enumerate((b"one", b"two", b"and three")):
        images.write_archive(tmp_path / "image.tar.gz", {"./etc/hello": content})
        run("afero-ota", "package", "image.tar.gz", "-o", f"{number}.bin")
    since = ("--since", "0.bin", "--since", "1.bin.manifest.json")
    shown = run("afero-ota", "report", "2.bin", *since, "--page", "report.html", "--compressions", "--json")
    assert shown.returncode == 0, shown.stderr
    report = json.loads(shown.stdout)
    assert list(report["changes"]["files"]["changed"]) == ["/etc/hello"]
    assert [one["version"] for one in report["history"]] == ["0.bin", "1.bin"]
    assert report["contents"]["unpacked"] == 9 and set(report["compressed"]) >= {"gzip -9", "xz -9"}
    assert "/etc/hello" in (tmp_path / "report.html").read_text()
    (tmp_path / "2.bin").write_bytes((tmp_path / "2.bin").read_bytes()[:60])
    damaged = run("afero-ota", "report", "2.bin")
    assert damaged.returncode == 2 and "2.bin: cannot be read" in damaged.stderr


def test_the_record_of_an_upload_names_the_sbom_and_a_changed_sbom_is_not_uploaded(
    run: Run, image: Path, tmp_path: Path
) -> None:
    run("afero-ota", "record", "-n", "12")
    run("afero-ota", "package", "image.tar.gz")
    described = tmp_path / "hub_update.bin.spdx.json"
    described.write_text("{}")
    right = hashlib.sha256(b"{}").hexdigest()
    written = tmp_path / "hub_update.bin.manifest.json"
    said = {**json.loads(written.read_text()), "sbom": {"file": described.name, "sha256": right}}
    written.write_text(json.dumps(said))
    described.write_text("{ }")
    refused = run("afero-ota", "upload")
    assert refused.returncode == errors.ConfigError.exit_status
    assert f"has SHA-256 {hashlib.sha256(b'{ }').hexdigest()}, expected {right}" in refused.stderr
    described.write_text("{}")
    uploaded = json.loads(run("afero-ota", "upload", "--json").stdout)
    assert f"sbom:{right[:30]}" in uploaded["record"]["tags"]
    # a record found later goes into an image without it, as on creation
    run("afero-ota", "record", "-n", "12")
    assert json.loads((tmp_path / "full-ota-record.json").read_text())["tags"] == []


def test_upload_without_a_record_in_the_cloud_is_refused(run: Run, image: Path) -> None:
    refused = run("afero-ota", "upload", "image.tar.gz", "-n", "999")
    assert refused.returncode == 4
    assert "record -n 999" in refused.stderr


def test_check_shows_what_is_there_and_ends_with_the_status_of_the_first_fault(
    service: RunningService, run: Run
) -> None:
    good = run("afero-ota", "check")
    assert good.returncode == 0
    assert service.account_id in good.stdout
    bad = run("afero-ota", "check", env={"AFERO_OTA_USERPW": "wrong"})
    assert bad.returncode == 3
    assert "userpw" in bad.stdout


def test_a_service_that_cannot_be_reached_is_a_network_error(run: Run) -> None:
    gone = run("afero-ota", "list", "--service-url", "http://127.0.0.1:9", "--attempts", "2")
    assert gone.returncode == 6
    assert "gave up after 2 attempts" in gone.stderr


def test_with_json_errors_are_json_too(run: Run) -> None:
    said = json.loads(run("afero-ota", "upload", "nowhere.bin", "--json").stdout)
    assert said["status"] == 2
    assert "nowhere.bin" in said["message"]


def test_common_options_may_come_before_or_after_the_command(run: Run) -> None:
    before, after = run("afero-ota", "--json", "list", "--pool"), run("afero-ota", "list", "--pool", "--json")
    assert before.returncode == after.returncode == 0
    assert json.loads(before.stdout) == json.loads(after.stdout)


def test_without_a_configuration_one_fault_says_how_to_make_one(run: Run) -> None:
    said = run("afero-ota", "check", env={"AFERO_OTA_CONF": ""})
    assert said.returncode == 2
    assert "one fault in" in said.stderr
    assert "afero-ota init" in said.stderr
    wrong = run("afero-ota", "check", "--service-url", "ftp://x", env={"AFERO_OTA_CONF": ""})
    assert "https is required" in wrong.stderr


def test_a_misspelt_key_is_named_although_another_fault_ends_the_command(
    run: Run, service: RunningService, tmp_path: Path
) -> None:
    settings = {**service.settings, "serviceUrl": service.url, "partnerID": "x"}
    del settings["partnerId"]
    (tmp_path / "misspelt.json").write_text(json.dumps(settings))
    said = run("afero-ota", "list", "--conf", "misspelt.json")
    assert said.returncode == 2
    assert "did you mean 'partnerId'?" in said.stderr
    assert said.stderr.count("did you mean") == 1


def test_init_writes_a_file_that_only_its_owner_can_read(run: Run, tmp_path: Path) -> None:
    answers = "Hub\n\n1.0\npartner\ntype\nme@example.com\nsecret\nYTpi\n"
    done = run("afero-ota", "init", "--conf", "new.json", stdin=answers)
    assert done.returncode == 0
    written = json.loads((tmp_path / "new.json").read_text())
    assert (written["name"], written["auth-string"]) == ("Hub", "YTpi")
    assert (tmp_path / "new.json").stat().st_mode & 0o777 == 0o600
    assert run("afero-ota", "init", "--conf", "new.json", stdin=answers).returncode == 2


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_prints_a_script_for_the_shell(run: Run, shell: str) -> None:
    done = run("afero-ota", "completion", shell)
    assert done.returncode == 0
    assert "deploy" in done.stdout


def test_help_names_every_exit_status(run: Run) -> None:
    shown = run("afero-ota", "--help").stdout
    for status, meaning in errors.exit_statuses().items():
        assert f"\n  {status}  {meaning}\n" in shown


def test_help_does_not_load_the_http_client(run: Run) -> None:
    code = "import sys\nfrom afero_ota import cli\ntry:\n    cli.main(['--help'])\nfinally:\n    print(*sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS.parent / "meta-afero-ota" / "lib")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    loaded = done.stdout.splitlines()[-1].split()
    assert "afero_ota.cli.publishing" in loaded
    assert not {"requests", "urllib3", "rich", "yaml", "shtab"} & set(loaded)


# what a name or a description may hold that a terminal obeys: clear the screen, an old-style control, right to left, a new line
HOSTILE = "x\x1b[2J\x9b1m\u202ey\nz"
SHOWN = r"x\x1b[2J\x9b1m\u202ey\nz"


def harmless(done: Done) -> bool:
    return all(line.isprintable() for line in (done.stdout + done.stderr).split("\n"))


def test_control_characters_in_names_from_the_cloud_do_not_reach_the_terminal(
    run: Run, cloud: Api, service: RunningService
) -> None:
    cloud.image(b"content", name=HOSTILE, description=HOSTILE, tags=[HOSTILE])
    service.sim.register(HOSTILE)
    for arguments in (("list",), ("list", "--pool"), ("list", "--json")):
        done = run("afero-ota", *arguments)
        assert done.returncode == 0
        assert harmless(done), arguments
    assert SHOWN in run("afero-ota", "list").stdout
    assert HOSTILE in [item["name"] for item in json.loads(run("afero-ota", "list", "--json").stdout)]
    old = run("partner-ota-hub-deploy.py", "-c", str(service.conf), "--list")
    assert SHOWN in old.stdout and harmless(old)


def test_names_from_the_cloud_are_harmless_in_messages_errors_and_the_journal(
    run: Run, cloud: Api, service: RunningService, tmp_path: Path
) -> None:
    record = cloud.record(name=HOSTILE, description=HOSTILE)
    (tmp_path / "full-ota-record.json").write_text(json.dumps(record))
    (tmp_path / "image").write_bytes(b"content")
    service.sim.register(f"hub{HOSTILE}".replace("\n", ""))
    run("afero-ota", "package", "image")
    uploaded = run("afero-ota", "upload", "--verbose")
    assert uploaded.returncode == 0 and SHOWN in uploaded.stdout
    [image] = [
        item
        for item in cloud.call("GET", "DT/firmwareImages", params={"size": 1000}).json()["content"]
        if item["versionNumber"] == record["versionNumber"]
    ]
    commands = [
        ("upload", "--verbose"),
        ("upload", "--record", "full-ota-record.json", "other"),
        ("report",),
        ("deploy", "-i", image["id"], "-d", f"hub{HOSTILE}", "--verbose"),
        ("deploy", "-i", HOSTILE, "-d", "hub"),
        ("status",),
        ("status", "--json"),
    ]
    (tmp_path / "other").write_bytes(b"other")
    for command in commands:
        done = run("afero-ota", *command)
        assert harmless(done), command
    assert harmless(run("partner-ota-hub-deploy.py", "-c", str(service.conf), "-i", HOSTILE, "-d", HOSTILE))
    assert all(line.isprintable() for line in (tmp_path / "afero-ota.jsonl").read_text().splitlines())


def test_the_list_is_aligned_and_says_which_records_have_no_image(run: Run, cloud: Api) -> None:
    cloud.record(name="网关", version="9.1")
    cloud.image(b"content", name="Gateway", version="9.2")
    listed = run("afero-ota", "list", "--pool")
    header, *rows = listed.stdout.splitlines()
    assert header.split() == ["record", "id", "number", "version", "name", "created", "state", "description"]
    assert any("9.1" in row and "no image yet" in row for row in rows)
    assert any("9.2" in row and "uploaded" in row for row in rows)
    numbers = [int(row.split()[1]) for row in rows]
    assert numbers == sorted(numbers)
    # two columns for each of the two wide characters
    [wide] = [row for row in rows if "网关" in row]
    assert wide.index("no image yet") == header.index("state") - 2


def test_a_network_failure_ends_deploy_with_the_status_of_the_network(
    run: Run, cloud: Api, service: RunningService
) -> None:
    image = cloud.image(b"content")
    for device in ("reached", "not-reached"):
        service.sim.register(device)
    service.sim.set_faults({"rules": [{"match": "GET /v1/accounts/*/devices/not-reached", "do": "refuse"}]})
    try:
        deploy = ("deploy", "-i", str(image["id"]), "--attempts", "1", "-d")
        done = run("afero-ota", *deploy, "reached", "not-reached")
        assert (done.returncode, service.sim.stats()["pushes"].get("reached")) == (6, 1)
        assert run("afero-ota", *deploy, "not-reached", "no-such-device").returncode == 4
    finally:
        service.sim.set_faults({})
    assert run("afero-ota", *deploy, "reached", "not-reached").returncode == 0


def test_a_device_that_is_updating_to_something_else_is_not_a_success(
    run: Run, cloud: Api, service: RunningService
) -> None:
    image = cloud.image(b"content")
    service.sim.register("busy")
    service.sim.change("busy", updating=True)
    done = run("afero-ota", "deploy", "-i", str(image["id"]), "-d", "busy")
    assert done.returncode == 7
    assert "not pushed, updating" in done.stdout
    assert (
        run("partner-ota-hub-deploy.py", "-c", str(service.conf), "-i", str(image["id"]), "-d", "busy").returncode
        == 253
    )
    assert "busy" not in service.sim.stats()["pushes"]
    service.sim.change("busy", updating=False)
    assert run("afero-ota", "deploy", "-i", str(image["id"]), "-d", "busy").returncode == 0
    service.sim.change("busy", updating=True)
    again = run("afero-ota", "deploy", "-i", str(image["id"]), "-d", "busy", "--json")
    assert (again.returncode, json.loads(again.stdout)[0]["result"]) == (0, "updating")


def test_a_file_of_devices_may_have_a_space_in_its_name(
    run: Run, cloud: Api, service: RunningService, tmp_path: Path
) -> None:
    image = cloud.image(b"content")
    service.sim.register("listed")
    (tmp_path / "my devices.txt").write_text("listed\n")
    done = run("afero-ota", "deploy", "-i", str(image["id"]), "-d", "@my devices.txt")
    assert (done.returncode, service.sim.stats()["pushes"]["listed"]) == (0, 1)


def test_no_tool_pushes_an_image_without_a_file(run: Run, cloud: Api, service: RunningService) -> None:
    answer = cloud.call("POST", "DT/firmwareImages", json=cloud.pool_record(cloud.record()))
    image = str(answer.json()["id"])
    service.sim.register("spared")
    assert run("afero-ota", "deploy", "-i", image, "-d", "spared").returncode == 4
    old = run("partner-ota-hub-deploy.py", "-c", str(service.conf), "-i", image, "-d", "spared")
    assert (old.returncode, "has no file in the cloud" in old.stdout) == (253, True)
    assert "spared" not in service.sim.stats()["pushes"]


def uploader(run: Run, service: RunningService, *arguments: str) -> Done:
    return run("partner-ota-hub-uploader.py", "-c", str(service.conf), "-s", *arguments)


def test_the_old_uploaders_two_stages_work_and_may_be_repeated(
    service: RunningService, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "hub_update.bin").write_bytes(os.urandom(1000))
    first = uploader(run, service, "--createOTARecord", "-n", "31")
    assert (first.returncode, "OTA Record output to: full_ota_record.json" in first.stdout) == (0, True)
    assert uploader(run, service, "--createOTARecord", "--buildNum", "31").returncode == 0
    assert (tmp_path / "full-ota-record.json").read_text() == (tmp_path / "full_ota_record.json").read_text()
    done = uploader(run, service, "--uploadOTAImage", "-n", "31")
    assert done.returncode == 0
    steps = ["Upload the OTA", "Update OTA Record with the storage URL", "Associate the Image", "Image Id: ", "Done!"]
    said = [line for line in done.stdout.splitlines() if line.startswith(tuple(steps))]
    assert [line.startswith(step) for line, step in zip(said, steps)] == [True] * 5
    again = uploader(run, service, "--uploadOTAImage", "-n", "31")
    assert (again.returncode, "already uploaded:5, 1.0.31" in again.stdout) == (0, True)


def test_a_record_file_that_cannot_be_written_is_an_error_not_a_traceback(
    service: RunningService, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "full_ota_record.json").mkdir()
    done = uploader(run, service, "--createOTARecord", "-n", "37")
    assert (done.returncode, "full_ota_record.json: Is a directory" in done.stdout) == (245, True)


def test_the_documented_spelling_of_debug_makes_a_debug_version(
    service: RunningService, run: Run, tmp_path: Path
) -> None:
    assert uploader(run, service, "--createOTARecord", "-n", "32", "--d").returncode == 0
    assert json.loads((tmp_path / "full_ota_record.json").read_text())["version"] == "1.0.32d"


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["-n", "33"], 246),
        (["--createOTARecord"], 246),
        (["--createOTARecord", "-n", "x"], 246),
        (["--uploadOTAImage", "-n", "34"], 245),
        (["-h"], 0),
    ],
)
def test_the_exit_status_of_the_old_uploader_tells_what_happened(
    service: RunningService, run: Run, arguments: list[str], status: int
) -> None:
    assert uploader(run, service, *arguments).returncode == status


def test_the_old_uploader_asks_bitbake_for_tmpdir(service: RunningService, run: Run, tmp_path: Path) -> None:
    done = run(
        "partner-ota-hub-uploader.py",
        "-c",
        str(service.conf),
        "--createOTARecord",
        "-n",
        "35",
        env={"PATH": "/usr/bin:/bin"},  # without bitbake
    )
    assert done.returncode == 245
    assert "-s" in done.stdout


def test_the_old_deploy_tool_lists_all_images_and_pushes_one(service: RunningService, run: Run, tmp_path: Path) -> None:
    (tmp_path / "hub_update.bin").write_bytes(os.urandom(1000))
    uploader(run, service, "--createOTARecord", "-n", "36")
    uploader(run, service, "--uploadOTAImage", "-n", "36")
    listed = run("partner-ota-hub-deploy.py", "-c", str(service.conf), "-l")
    [image] = re.findall(r"^(\d+)\s+1\.0\.36 ", listed.stdout, re.M)
    service.sim.register("hub-36")
    for option in ("-i", "--imageId", "--image"):
        done = run("partner-ota-hub-deploy.py", "-c", str(service.conf), option, image, "--d", "hub-36")
        assert done.returncode == 0, done.stdout
    assert service.sim.stats()["pushes"]["hub-36"] >= 1
    assert run("partner-ota-hub-deploy.py", "-c", str(service.conf), "-d", "hub-36").returncode == 246
    assert run("partner-ota-hub-deploy.py", "-c", str(service.conf), "-d", "nobody", "-i", image).returncode == 253


def test_the_demo_works_without_bitbake_too(run: Run) -> None:
    done = run("demo", env={"KAS_REPO_REF_DIR": "/nonexistent", "GIT_ALLOW_PROTOCOL": "none"})
    assert done.returncode == 0, done.stderr
    assert "No BitBake here" in done.stderr
    assert re.search(r"record .* Gateway 1\.0\.1", done.stdout)
    assert re.search(r"device .* attribute 2005: 0 -> 7112", done.stdout)
