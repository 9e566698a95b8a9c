# SPDX-License-Identifier: MIT
""".gitlab-ci.yml: valid, with exactly the jobs that docs/pipeline.md describes; gitlab-ci-local runs some of them."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import yaml

from afero_ota import credentials, manifest, payload
from afero_ota.release import collecting
from fleets import fleet
from rehearsal import build as builds
from rehearsal.folders import cache_folder, reference_folder
from rehearsal.service import wait_until

PROJECT = Path(__file__).resolve().parents[2]
TOOLS = Path(sys.executable).parent
PIPELINE = yaml.safe_load((PROJECT / ".gitlab-ci.yml").read_text())
BOARDS = ["sama5d2-xplained-emmc", "beaglebone-green-wireless"]
ALWAYS = ["lint", "test", "hermetic: [scarthgap]", "hermetic: [wrynose]"]
RELEASE = [f"{job}: [{board}]" for job in ("build", "upload", "canary", "fleet") for board in BOARDS]


@pytest.fixture(scope="module")
def clone() -> Iterator[Path]:
    """A clone of the project that includes uncommitted changes."""
    # reachable by the build user
    folder = cache_folder() / "work" / "tests" / "pipeline" / "clone"
    shutil.rmtree(folder, ignore_errors=True)
    listed = subprocess.run(
        ["git", "-C", str(PROJECT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (PROJECT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / name, folder / name)
    git = ["git", "-C", str(folder), "-c", "user.name=x", "-c", "user.email=x@y"]
    for command in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "copy"]):
        subprocess.run([*git, *command], check=True)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def local(*arguments: str, **variables: str) -> list[str]:
    """The command line of gitlab-ci-local, for the current folder, with these pipeline variables."""
    said = [part for name, value in variables.items() for part in ("--variable", f"{name}={value}")]
    ignore = ["--ignore-predefined-vars", ",".join(variables)] if variables else []
    return [str(TOOLS / "gitlab-ci-local"), *arguments, *said, *ignore]


def jobs(clone: Path, **variables: str) -> dict[str, dict[str, str]]:
    """The jobs of the pipeline for these variables, by name, as gitlab-ci-local lists them."""
    command = local("--list-csv", **variables)
    if "CI_COMMIT_TAG" in variables:
        command += ["--unset-variable", "CI_COMMIT_BRANCH"]
    done = subprocess.run(command, cwd=clone, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    table = done.stdout[done.stdout.index("name;") :]
    return {row["name"]: row for row in csv.DictReader(io.StringIO(table), delimiter=";")}


def test_it_is_valid_by_gitlabs_schema() -> None:
    command = [str(TOOLS / "check-jsonschema"), "--builtin-schema", "vendor.gitlab-ci", str(PROJECT / ".gitlab-ci.yml")]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout


def test_a_merge_request_gets_lint_tests_and_a_dry_run_of_both_boards(clone: Path) -> None:
    found = jobs(clone, CI_PIPELINE_SOURCE="merge_request_event")
    assert list(found) == [*ALWAYS, *(f"dry-run: [{board}]" for board in BOARDS)]
    assert {row["when"] for row in found.values()} == {"on_success"}


@pytest.mark.parametrize(
    "variables",
    [{"CI_COMMIT_TAG": "v1.0"}, {"CI_COMMIT_BRANCH": "main", "CI_DEFAULT_BRANCH": "main"}],
    ids=["tag", "default branch"],
)
def test_a_release_builds_and_uploads_both_boards_and_deploys_them_manually(
    clone: Path, variables: dict[str, str]
) -> None:
    found = jobs(clone, CI_PIPELINE_SOURCE="push", **variables)
    uploaded = RELEASE.index("canary: [sama5d2-xplained-emmc]")
    named = ["release"] if "CI_COMMIT_TAG" in variables else []
    assert list(found) == [*ALWAYS, *RELEASE[:uploaded], *named, *RELEASE[uploaded:]]
    manual = {name for name, row in found.items() if row["when"] == "manual"}
    assert manual == {name for name in found if name.startswith(("canary", "fleet"))}
    assert {row["stage"] for name, row in found.items() if name in manual} == {"deploy"}


def test_a_merge_request_from_the_default_branch_releases_nothing(clone: Path) -> None:
    variables = {"CI_COMMIT_BRANCH": "main", "CI_DEFAULT_BRANCH": "main"}
    found = jobs(clone, CI_PIPELINE_SOURCE="merge_request_event", **variables)
    assert not set(found) & set(RELEASE)


def test_other_branches_get_no_pipeline() -> None:
    conditions = [rule["if"] for rule in PIPELINE["workflow"]["rules"]]
    request, tag, branch = '$CI_PIPELINE_SOURCE == "merge_request_event"', "$CI_COMMIT_TAG", "$CI_COMMIT_BRANCH"
    assert conditions == [request, tag, f"{branch} == $CI_DEFAULT_BRANCH"]


@pytest.fixture(scope="module")
def expanded(clone: Path) -> dict[str, Any]:
    """Every job with what it inherits."""
    done = subprocess.run(
        local("--preview", CI_COMMIT_TAG="v1.0"), cwd=clone, stdout=subprocess.PIPE, text=True, check=True
    )
    preview = yaml.safe_load(done.stdout)
    return {name: job for name, job in preview.items() if isinstance(job, dict) and "script" in job}


def test_a_job_is_retried_only_after_a_fault_of_the_runner(expanded: dict[str, Any]) -> None:
    faults = {"runner_system_failure", "scheduler_failure", "api_failure", "data_integrity_failure", "stale_schedule"}
    assert set(PIPELINE["default"]["retry"]["when"]) == faults
    assert not any("retry" in job for job in PIPELINE.values() if isinstance(job, dict) and "script" in job)


def test_jobs_that_change_the_cloud_are_not_interruptible_and_run_one_at_a_time(expanded: dict[str, Any]) -> None:
    assert PIPELINE["default"]["interruptible"] is True and "timeout" in PIPELINE["default"]
    lasting = {name for name, job in expanded.items() if job.get("interruptible") is False}
    assert lasting == {"upload", "canary", "fleet"}
    assert all("$BOARD" in expanded[name]["resource_group"] for name in lasting)


def test_it_contains_no_secret_and_no_place_for_one(expanded: dict[str, Any]) -> None:
    """The account is a variable of GitLab, of type file; merge requests do not even ask for one."""
    text = (PROJECT / ".gitlab-ci.yml").read_text()
    assert not any(name in text for name in credentials.SECRETS.values())
    declared = {name for job in expanded.values() for name in job.get("variables", {})}
    assert "AFERO_OTA_CONF" not in declared | set(PIPELINE["variables"])
    for job in expanded.values():
        script = "\n".join([*job.get("before_script", []), *job["script"]])
        assert "AFERO_OTA_CONF" not in script and "set -x" not in script and "env\n" not in script + "\n"
    assert "kas/offline.yml" in expanded["dry-run"]["script"][0]
    assert not {"SSTATE_DIR", "DL_DIR", "KAS_REPO_REF_DIR"} & set(expanded["dry-run"]["variables"])


def test_a_build_is_kept_for_three_months_and_what_is_released_until_somebody_deletes_it(
    expanded: dict[str, Any],
) -> None:
    kept = {name: expanded[name]["artifacts"] for name in ("build", "upload", "canary", "fleet")}
    assert {name: one["expire_in"] for name, one in kept.items()} == {
        "build": "3 months",
        **dict.fromkeys(("upload", "canary", "fleet"), "never"),
    }
    more = ["report/index.html", "build/attestation/"]
    assert kept["build"]["paths"] == ["build/tmp/deploy/images/*/*-ota/", "build/tmp/log/afero-ota/", *more]
    assert kept["upload"]["paths"] == ["build/releases/", "build/tmp/log/afero-ota/", "report/index.html"]
    assert kept["canary"]["paths"] == kept["fleet"]["paths"] == ["build/releases/", "rollout/"]
    assert {one["when"] for one in kept.values()} == {"always"}


def test_reports_are_linked_on_the_merge_request_and_on_the_release(expanded: dict[str, Any]) -> None:
    shown = expanded["hermetic"]["artifacts"]
    assert shown["expose_as"] and len(shown["paths"]) == 1
    assert shown["paths"][0].endswith(".report.html") and not set(shown["paths"][0]) & set("*$")
    links = PIPELINE["release"]["release"]["assets"]["links"]
    assert [unquote(link["url"]).partition("/report/index.html?job=")[2] for link in links] == [
        f"upload: [{board}]" for board in BOARDS
    ]
    for job in ("build", "upload"):
        assert "report/index.html" in expanded[job]["artifacts"]["paths"]


def test_a_rollout_job_makes_its_plan_once_and_continues_after_it_was_killed(
    expanded: dict[str, Any], tmp_path: Path
) -> None:
    """The job's own script, in a folder like a runner's, against the local service."""
    with fleet(tmp_path / "service", 30) as one:
        (tmp_path / "scripts").symlink_to(PROJECT / "scripts")
        (tmp_path / "hub_update.bin").write_bytes(b"-")
        made = payload.measure(str(tmp_path / "hub_update.bin"))
        manifest.write(made, {"record": one.image})
        release = Path(collecting.collect(str(tmp_path / "build/releases"), made.path).path)
        rules = "--in-flight 3 --start-limit 20 --finish-limit 40"
        environment = {
            **os.environ,
            "ROLLOUT": str(tmp_path / "rollout-folder"),
            "AFERO_OTA_CONF": str(one.service.conf),
            "AFERO_OTA_PLAN_OPTIONS": f"--canary 2 --wave 50% {rules}",
        }
        script = "\n".join(["set -euo pipefail", *expanded["canary"]["script"]])
        journal = tmp_path / "rollout-folder" / "plan.yml.journal.jsonl"

        def job() -> subprocess.Popen[str]:
            command = ["bash", "-c", script]
            return subprocess.Popen(command, cwd=tmp_path, env=environment, text=True, start_new_session=True)

        first = job()
        wait_until(lambda: journal.exists() and journal.read_text().count('"accepted"') >= 2, seconds=60)
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
        plan = (tmp_path / "rollout-folder" / "plan.yml").read_bytes()
        assert job().wait() == 0
        assert (tmp_path / "rollout-folder" / "plan.yml").read_bytes() == plan
        assert sorted(one.pushes().values()) == [1] * 30
        assert "<html" in (tmp_path / "rollout-folder" / "plan.html").read_text()
        after = "\n".join(["set -euo pipefail", *expanded["canary"]["after_script"]])
        subprocess.run(["bash", "-c", after], cwd=tmp_path, env=environment, check=True)
        [kept] = (release / "journals").iterdir()
        assert {path.name for path in kept.iterdir()} == {"index.json", "plan.html", "plan.yml", journal.name}
        del environment["AFERO_OTA_PLAN_OPTIONS"]
        assert job().wait() != 0, "without the group's devices nothing is pushed"


# ---- jobs that run -------------------------------------------------------------------------------------------------

runs_jobs = pytest.mark.skipif("CI_JOB_NAME" in os.environ, reason="inside a pipeline, which runs these jobs itself")


@runs_jobs
def test_the_lint_job_passes(clone: Path) -> None:
    done = subprocess.run(
        local("lint", "--force-shell-executor"), cwd=clone, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, done.stdout
    assert "PASS" in done.stdout and "== lint" in done.stdout


@runs_jobs
@pytest.mark.parametrize("release", sorted(builds.RELEASES))
def test_the_hermetic_job_builds_a_payload(clone: Path, release: str) -> None:
    """As the build user, since BitBake refuses root, with kas's reference clones where there are some."""
    try:
        workspace = builds.shared_workspace(release)
    except builds.Unavailable as reason:
        pytest.skip(f"NO BITBAKE HERE, the hermetic job does not run: {reason}")
    try:
        folder = clone.parent / release
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(clone, folder, symlinks=True)
        cache = cache_folder() / "work" / "tests" / "pipeline" / "cache"
        cache.mkdir(exist_ok=True)
        for path in (cache, folder, *folder.rglob("*")):
            os.chown(path, workspace.user.pw_uid, workspace.user.pw_gid, follow_symlinks=False)
        variables = {"XDG_CACHE_HOME": str(cache), "GITCONFIG_FILE": str(workspace.folder / "gitconfig")}
        if reference_folder().exists():
            variables["KAS_REPO_REF_DIR"] = str(reference_folder())
        command = local(f"hermetic: [{release}]", "--force-shell-executor", **variables)
        done = workspace.run(command, folder, {"KAS_WORK_DIR": str(folder), "NO_COLOR": "1"})
        assert done.returncode == 0, done.output
        assert "core-image-minimal:do_package_ota" in done.tasks
        ota = folder / "build" / "tmp" / "deploy" / "images" / "qemuarm" / "core-image-minimal-ota"
        manifest = json.loads((ota / "hub_update.bin.manifest.json").read_text())
        assert (ota / "hub_update.bin").stat().st_size == manifest["size"]
        assert manifest["record"]["versionNumber"] == "0", "an offline record"
        [page] = PIPELINE["hermetic"]["artifacts"]["paths"]
        assert "<!DOCTYPE html>" in (folder / page).read_text()
        assert (folder / "reports" / "hub_update.bin.report.json").exists()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
