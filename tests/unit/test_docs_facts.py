# SPDX-License-Identifier: MIT
"""What the documentation states is compared with the code: variables, options, exit statuses, topics, jobs, faults."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import pages
from afero_ota import config, credentials, errors
from afero_ota.login import settings as login
from pages import DOCS, PROJECT
from rehearsal.ota_service import faults

CONFIGURATION, COMMAND_LINE, CONTRIBUTING = (
    DOCS / f"{name}.md" for name in ("configuration", "command-line", "contributing")
)
COMMAND_PAGES = (COMMAND_LINE, *(DOCS / f"command-line-{name}.md" for name in ("devices", "release")))
CLASSES = sorted((PROJECT / "meta-afero-ota" / "classes-recipe").glob("*.bbclass"))

# ---- BitBake ---------------------------------------------------------------------------------------------------------


def in_classes(pattern: str) -> list[tuple[str, str]]:
    return [found for path in CLASSES for found in re.findall(pattern, path.read_text(), re.MULTILINE)]


def documented_variables() -> list[list[str]]:
    text = CONFIGURATION.read_text()
    before, heading, after = text.partition("## Variables of the A/B update")
    assert heading
    return [*pages.table(before, "variable"), *pages.table(after, "variable")]


def test_every_variable_has_one_row_with_the_default_and_the_doc_of_its_class() -> None:
    defaults = dict(in_classes(r'^(AFERO_OTA_\w+) \?= "(.*)"$'))
    docs = dict(in_classes(r'^(AFERO_OTA_\w+)\[doc\] = "(.*)"$'))
    rows = documented_variables()
    assert sorted(pages.plain(row[0]) for row in rows) == sorted(defaults)
    for name, default, meaning in ([pages.plain(cell) for cell in row] for row in rows):
        literal = defaults[name]
        if literal and "${@" not in literal:
            assert (default, meaning) == (literal, docs[name])
        elif default == "not set":
            assert (literal, meaning) == ("", docs[name])
        else:
            assert docs[name] == f"{meaning} Default: {default}."


def test_variables_that_a_user_does_not_set_say_so() -> None:
    """They are assigned, not defaulted; nothing else has a description without a row in the documentation."""
    settable = dict(in_classes(r'^(AFERO_OTA_\w+) \?= "(.*)"$'))
    for name, doc in in_classes(r'^(AFERO_OTA_\w+)\[doc\] = "(.*)"$'):
        assigned = re.search(rf'^{name} = "', "".join(path.read_text() for path in CLASSES), re.MULTILINE)
        assert name in settable or assigned or doc.startswith("Set by the class"), name


def test_every_task_has_a_row() -> None:
    tasks = {name for name, _ in in_classes(r"^addtask (?:do_)?(\w+?)((?:_setscene)?)(?: .*)?$")}
    rows = {pages.plain(row[0]) for row in pages.table(CONFIGURATION.read_text(), "task")}
    assert rows == tasks | {"rootfs"}


def test_every_key_of_the_configuration_file_and_every_secret_is_documented() -> None:
    text = CONFIGURATION.read_text()
    assert {pages.plain(row[0]): pages.plain(row[1]) for row in pages.table(text, "secret")} == credentials.SECRETS
    for key in [key for key, _, _ in config.FIELDS.values()]:
        assert f'"{key}":' in text or f"`{key}`" in text, key
    rows = pages.table((DOCS / "login.md").read_text(), "key")
    assert [pages.plain(row[0]) for row in rows] == list(login.KEYS)


# ---- commands --------------------------------------------------------------------------------------------------------


@functools.cache
def help_of(*command: str) -> str:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    script = command if os.access(PROJECT / command[0], os.X_OK) else (sys.executable, *command)
    return subprocess.run(
        [*script, "--help"],
        cwd=PROJECT,
        env={**os.environ, "PATH": path, "COLUMNS": "100"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout


def options(text: str) -> dict[str, str]:
    """Every spelling of every option in a help text, with the description of the option."""
    found = {}
    for entry in re.split(r"\n(?=  -)", text)[1:]:
        # the description begins after two spaces or on the next line, and ends with the group
        spellings, _, description = entry.partition("\n\n")[0].strip().replace("\n", "  ").partition("  ")
        for spelling in re.findall(r"(?<![\w-])--?[A-Za-z][\w-]*", spellings):
            found[spelling] = " ".join(description.split())
    return found


def documented_options(text: str) -> dict[str, str]:
    """The same for a table of options in the documentation."""
    rows = pages.table(text, "option") if "| option |" in text else []
    return {spelling: row[1] for row in rows for spelling in re.findall(r"(?<![\w-])--?[A-Za-z][\w-]*", row[0])}


def commands() -> list[str]:
    return re.findall(r"^    (\w+) ", help_of("scripts/afero-ota"), re.MULTILINE)


def sections(page: Path) -> list[str]:
    """The commands that a page describes."""
    return re.findall(r"^### `(\w+)", page.read_text(), re.MULTILINE)


def test_every_command_has_a_section_on_one_of_the_pages_in_the_order_of_the_help() -> None:
    for page in COMMAND_PAGES:
        assert sections(page) == [command for command in commands() if command in sections(page)]
    assert sorted(commands()) == sorted(name for page in COMMAND_PAGES for name in sections(page))


@pytest.mark.parametrize("command", commands())
def test_the_options_of_every_command_are_documented_and_no_others(command: str) -> None:
    text = help_of("scripts/afero-ota", command)
    [page] = [page for page in COMMAND_PAGES if command in sections(page)]
    [(title, arguments)] = re.findall(rf"^### `({command}( .*)?)`$", page.read_text(), re.MULTILINE)
    documented = documented_options(pages.section(page, f"`{title}`"))
    documented.update(documented_options(pages.section(COMMAND_LINE, "Options of all commands")))
    del documented["--version"]
    network = pages.section(COMMAND_LINE, "Options of commands that use the network")
    if f"`{command}`" in network.strip().splitlines()[0]:
        documented.update(documented_options(network))
    real = options(text)
    assert set(documented) == set(real)
    usage = " ".join(text.partition("\n\n")[0].split())
    assert usage.endswith(arguments) and (
        arguments or usage.endswith("]") or "required" in "".join(documented.values())
    )
    for spelling, description in real.items():
        default = re.search(r"\(default: (\S+)\)", description)
        assert (
            not default
            or f"default `{default[1]}`" in documented[spelling]
            or documented[spelling].endswith(f"default {default[1]}")
        ), spelling


def test_the_common_options_before_the_command_are_documented() -> None:
    section = pages.section(COMMAND_LINE, "Options of all commands")
    assert set(options(help_of("scripts/afero-ota"))) == set(documented_options(section))


def test_the_exit_statuses_are_those_of_the_errors() -> None:
    rows = {int(row[0]): row[1] for row in pages.table(COMMAND_LINE.read_text(), "status")}
    assert rows == errors.exit_statuses()


def test_the_documented_exit_statuses_of_sysupgrade_are_the_real_ones() -> None:
    folder = PROJECT / "meta-afero-ota/recipes-core/afero-sysupgrade/files"
    listed = {
        int(status) for status in re.findall(r"^#   ? ?(\d+)  ", (folder / "sysupgrade").read_text(), re.MULTILINE)
    }
    used = {int(status) for path in folder.iterdir() for status in re.findall(r"\bfail (\d+)", path.read_text())}
    internals = pages.section(DOCS / "device-internals.md", "Exit statuses of sysupgrade")
    assert {int(row[0]) for row in pages.table(internals, "status")} == listed
    assert used and used <= listed


def test_the_options_of_the_local_service_are_documented() -> None:
    real = set(options(help_of("scripts/ota-service"))) - {"-h", "--help"}
    assert set(documented_options((DOCS / "local-service.md").read_text())) == real


def test_the_replacements_of_aferos_tools_have_the_documented_options() -> None:
    for line in pages.code(DOCS / "migration.md"):
        script, _, arguments = line.partition(" ")
        real = options(help_of(script))
        said = set(re.findall(r"(?<![\w-])--?[A-Za-z]\w*", arguments))
        # every option is in the line by one of its spellings
        assert said <= set(real)
        assert {real[option] for option in said} == set(real.values()) - {real["--help"]}


def test_every_command_in_the_documentation_names_a_script_and_its_options() -> None:
    for page in pages.all_pages():
        for line in pages.code(page):
            line = re.sub(r'^scripts/run "[a-z ]+" ', "", line)
            for script, arguments in re.findall(r"(?<![\w/.])scripts/([\w./-]+)((?: [^#|;&)]*)?)", line):
                path = PROJECT / "scripts" / script
                assert path.is_file(), line
                used = set(re.findall(r"(?<= )--[a-z][\w-]*", arguments.partition(" -- ")[0]))
                if not used:
                    continue
                if script == "afero-ota":
                    known = options(help_of("scripts/afero-ota", arguments.split()[0]))
                elif script in ("setup", "test"):
                    known = dict.fromkeys(re.findall(r"--[a-z][\w-]*", path.read_text()), "")
                else:
                    known = options(help_of(f"scripts/{script}"))
                assert used <= set(known), line


def test_every_module_of_the_library_is_on_the_map() -> None:
    library = PROJECT / "meta-afero-ota" / "lib" / "afero_ota"
    rooms = {path.name for path in library.iterdir() if path.suffix == ".py"} - {"__init__.py"}
    rooms |= {f"{path.parent.name}/" for path in library.glob("*/__init__.py")}
    mapped = [re.findall(r"`([\w/]+(?:\.py)?)`", row[1]) for row in pages.table(CONTRIBUTING.read_text(), "question")]
    assert sorted(name for names in mapped for name in names) == sorted(rooms)


def test_the_parts_of_the_tests_are_documented() -> None:
    usage = re.search(r"^#   scripts/test (.*)$", (PROJECT / "scripts/test").read_text(), re.MULTILINE)
    assert usage
    rows = [pages.plain(row[0]) for row in pages.table(CONTRIBUTING.read_text(), "part")]
    assert rows == re.findall(r"\[([a-z]+)\]", usage[1])


# ---- kas, pipeline, local service ------------------------------------------------------------------------------------


def test_every_kas_file_is_documented() -> None:
    page = DOCS / "kas-and-boards.md"
    here = {f"kas/{path.name}" for path in (PROJECT / "kas").glob("*.yml") if ".lock." not in path.name}
    boards = [pages.plain(row[1]) for row in pages.table(page.read_text(), "board")]
    topics = [pages.plain(row[0]) for row in pages.table(page.read_text(), "topic")]
    assert sorted(boards + topics + ["kas/base.yml", "kas/hermetic.yml"]) == sorted(here)
    offered = re.findall(r'"(kas/[\w-]+\.yml)" if BOARD_', (PROJECT / "Kconfig").read_text())
    assert sorted(offered) == sorted([*boards, "kas/hermetic.yml"])


def test_every_variable_that_kas_passes_on_is_documented() -> None:
    base = yaml.safe_load((PROJECT / "kas/base.yml").read_text())
    section = pages.section(DOCS / "kas-and-boards.md", "Environment")
    assert set(base["env"]) == set(re.findall(r"`([A-Z_]+)`", section)) - {"PATH"}


def test_every_kas_command_names_files_that_exist() -> None:
    named = {
        file
        for page in pages.all_pages()
        for line in pages.code(page)
        for file in re.findall(r"\bkas/[\w.-]+\.yml", line)
    }
    assert named and not [file for file in named if not (PROJECT / file).exists()]


def test_the_jobs_of_the_pipeline_are_documented() -> None:
    pipeline = yaml.safe_load((PROJECT / ".gitlab-ci.yml").read_text())
    jobs = {name for name, job in pipeline.items() if isinstance(job, dict) and {"script", "extends"} & set(job)}
    rows = pages.table((DOCS / "pipeline.md").read_text(), "pipeline")
    assert {job for row in rows for job in re.findall(r"`([\w-]+)`", row[1])} == {
        name for name in jobs if not name.startswith(".")
    }


def test_every_fault_and_its_options_are_documented() -> None:
    text = (DOCS / "local-service.md").read_text()
    rows = {pages.plain(row[0]): row[1] for row in pages.table(text, "do")}
    assert list(rows) == list(faults.ACTIONS)
    rows["cut_answer"] = rows["cut_request"]
    for action, known in faults.ACTIONS.items():
        assert set(known) <= set(re.findall(r"`(\w+)[:`]", rows[action])), action
    moments = [re.findall(r"\{(\w+):", row[0])[0] for row in pages.table(text, "when")]
    assert ["always", *moments] == list(faults.WHEN)
