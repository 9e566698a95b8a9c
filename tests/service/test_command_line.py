# SPDX-License-Identifier: MIT
"""The commands a person types, against the local OTA service: outputs and exit statuses."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from rehearsal.service import RunningService

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture(scope="module")
def service():
    with RunningService() as running:
        yield running


@pytest.fixture
def run(service, tmp_path):
    """Runs a script of this project in an empty folder, with the service's configuration."""

    def run(script, *arguments, env=None, stdin=None):
        environment = {**os.environ, "AFERO_OTA_CONF": str(service.conf), **(env or {})}
        command = [str(SCRIPTS / script), *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, input=stdin)
        assert "Traceback" not in done.stderr
        assert service.settings["userpw"] not in done.stdout + done.stderr
        return done

    return run


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "image.tar.gz"
    path.write_bytes(os.urandom(100_000))
    return path


def test_record_package_upload_list_deploy_is_the_whole_way(service, run, image):
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


def test_uploading_again_has_nothing_to_do_and_other_content_is_a_conflict(run, image, tmp_path):
    run("afero-ota", "record", "-n", "2")
    run("afero-ota", "package", "image.tar.gz")
    assert run("afero-ota", "upload").returncode == 0
    assert "nothing to do" in run("afero-ota", "upload").stdout
    (tmp_path / "other.bin").write_bytes(b"other")
    refused = run("afero-ota", "upload", "other.bin", "-n", "2")
    assert refused.returncode == 5
    assert "another content" in refused.stderr


def test_report_tells_what_is_in_a_payload_and_what_changed(run, image, tmp_path):
    run("afero-ota", "package", "image.tar.gz", "-o", "old.bin")
    (tmp_path / "image.tar.gz").write_bytes(b"smaller")
    run("afero-ota", "package", "image.tar.gz")
    told = run("afero-ota", "report", "--since", "old.bin")
    assert told.returncode == 0
    assert "The payload is 99,993 bytes smaller." in told.stdout
    assert json.loads(run("afero-ota", "report", "old.bin", "--json").stdout)["size"] == 100_000
    assert "manifest cannot be read" in run("afero-ota", "report", "nowhere.bin").stderr


def test_upload_without_a_record_in_the_cloud_is_refused(run, image):
    refused = run("afero-ota", "upload", "image.tar.gz", "-n", "999")
    assert refused.returncode == 4
    assert "record -n 999" in refused.stderr


def test_check_tells_what_is_there_and_the_first_thing_that_is_wrong(service, run):
    good = run("afero-ota", "check")
    assert good.returncode == 0
    assert service.account_id in good.stdout
    bad = run("afero-ota", "check", env={"AFERO_OTA_USERPW": "wrong"})
    assert bad.returncode == 3
    assert "userpw" in bad.stdout


def test_a_service_that_is_not_there_is_a_network_error(run):
    gone = run("afero-ota", "list", "--service-url", "http://127.0.0.1:9", "--attempts", "2")
    assert gone.returncode == 6
    assert "gave up after 2 attempts" in gone.stderr


def test_errors_are_json_too_when_json_is_asked_for(run):
    said = json.loads(run("afero-ota", "upload", "nowhere.bin", "--json").stdout)
    assert said["status"] == 2
    assert "nowhere.bin" in said["message"]


def test_common_options_may_stand_before_or_behind_the_command(run):
    before, behind = run("afero-ota", "--json", "list", "--pool"), run("afero-ota", "list", "--pool", "--json")
    assert before.returncode == behind.returncode == 0
    assert json.loads(before.stdout) == json.loads(behind.stdout)


def test_without_a_configuration_file_the_one_fault_is_that(run):
    said = run("afero-ota", "check", env={"AFERO_OTA_CONF": ""})
    assert said.returncode == 2
    assert "one fault" in said.stderr and "afero-ota init" in said.stderr
    assert "not set" not in said.stderr


def test_init_writes_a_file_that_only_its_owner_can_read(run, tmp_path):
    answers = "Hub\n\n1.0\npartner\ntype\nme@example.com\nsecret\nYTpi\n"
    done = run("afero-ota", "init", "--conf", "new.json", stdin=answers)
    assert done.returncode == 0
    written = json.loads((tmp_path / "new.json").read_text())
    assert (written["name"], written["auth-string"]) == ("Hub", "YTpi")
    assert (tmp_path / "new.json").stat().st_mode & 0o777 == 0o600
    assert run("afero-ota", "init", "--conf", "new.json", stdin=answers).returncode == 2


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_is_a_script_of_the_shell(run, shell):
    done = run("afero-ota", "completion", shell)
    assert done.returncode == 0
    assert "deploy" in done.stdout


def uploader(run, service, *arguments):
    return run("partner-ota-hub-uploader.py", "-c", str(service.conf), "-s", *arguments)


def test_the_old_uploaders_two_stages_work_and_may_be_repeated(service, run, tmp_path):
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


def test_the_documented_spelling_of_debug_makes_a_debug_version(service, run, tmp_path):
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
def test_the_old_uploaders_statuses_tell_the_truth(service, run, arguments, status):
    assert uploader(run, service, *arguments).returncode == status


def test_the_old_uploader_asks_bitbake_for_tmpdir(service, run, tmp_path):
    done = run(
        "partner-ota-hub-uploader.py",
        "-c",
        str(service.conf),
        "--createOTARecord",
        "-n",
        "35",
        env={"PATH": "/nowhere"},
    )
    assert done.returncode == 245
    assert "-s" in done.stdout


def test_the_old_deploy_tool_lists_all_images_and_pushes_one(service, run, tmp_path):
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


def test_the_demo_goes_the_whole_way_without_bitbake_too(run):
    done = run("demo", env={"KAS_REPO_REF_DIR": "/nonexistent", "GIT_ALLOW_PROTOCOL": "none"})
    assert done.returncode == 0, done.stderr
    assert "No BitBake here" in done.stderr
    assert re.search(r"runs Gateway 1\.0\.1 .* reports 7112", done.stdout)
