# SPDX-License-Identifier: MIT
"""The kas files: pinned, free of secrets, for one version of kas, and all reachable from `kas menu`."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kconfiglib
import pytest
import yaml

from afero_ota import credentials

PROJECT = Path(__file__).resolve().parents[2]
FILES = sorted(path.name for path in (PROJECT / "kas").glob("*.yml") if not path.name.endswith(".lock.yml"))
BOARDS = {
    "BOARD_SAMA5D2_XPLAINED_EMMC": "kas/sama5d2-xplained-emmc.yml",
    "BOARD_BEAGLEBONE_GREEN_WIRELESS": "kas/beaglebone-green-wireless.yml",
    "BOARD_HERMETIC": "kas/hermetic.yml",
}


def read(name: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((PROJECT / "kas" / name).read_text())
    return document


@pytest.mark.parametrize("name", FILES)
def test_every_repository_of_a_file_is_pinned_in_its_lock_file(name: str) -> None:
    branches = {repo for repo, said in (read(name).get("repos") or {}).items() if "branch" in (said or {})}
    lock = PROJECT / "kas" / name.replace(".yml", ".lock.yml")
    locked = yaml.safe_load(lock.read_text())["overrides"]["repos"] if lock.exists() else {}
    assert branches == set(locked)
    assert all(re.fullmatch("[0-9a-f]{40}", repo["commit"]) for repo in locked.values())


@pytest.mark.parametrize("name", FILES)
def test_no_file_turns_a_secret_into_a_variable(name: str) -> None:
    """kas passes every name under env: to BitBake as a variable."""
    assert not set(read(name).get("env") or {}) & set(credentials.SECRETS.values())


def test_all_files_have_the_same_format_and_the_base_sets_the_distribution() -> None:
    assert {read(name)["header"]["version"] for name in FILES} == {20}
    assert read("base.yml")["distro"] == "poky"


def test_the_pipeline_uses_the_kas_that_the_tests_use() -> None:
    pipeline = yaml.safe_load((PROJECT / ".gitlab-ci.yml").read_text())
    version = re.search(r"^kas\[tui\]==(\S+)$", (PROJECT / "scripts/requirements/build.txt").read_text(), re.MULTILINE)
    assert version
    assert pipeline["variables"]["KAS_IMAGE"].rpartition(":")[2] == version[1]


def menu(**choices: str) -> list[str]:
    """The kas files that `kas menu` would build with, in their order."""
    for name in ("AFERO_OTA_CONF", "AFERO_OTA_BUILD_NUMBER", "SSTATE_MIRROR_URL", "HASHSERV_URL"):
        os.environ.pop(name, None)
    kconf = kconfiglib.Kconfig(str(PROJECT / "Kconfig"), warn_to_stderr=False)
    for name, value in choices.items():
        assert name in kconf.syms
        kconf.syms[name].set_value(value)
    assert kconf.warnings == []
    return [
        symbol.str_value
        for name, symbol in kconf.syms.items()
        if name.startswith("KAS_INCLUDE_") and symbol.str_value and kconfiglib.expr_value(symbol.direct_dep)
    ]


@pytest.mark.parametrize("board", sorted(BOARDS))
def test_the_menu_offers_every_board(board: str) -> None:
    assert menu(**{board: "y"}) == [BOARDS[board], "kas/offline.yml"]


def test_the_menu_combines_release_build_type_and_cache() -> None:
    choices = {"RELEASE_WRYNOSE": "y", "TYPE_DEBUG": "y", "AB": "y", "OFFLINE": "n", "CACHE": "y"}
    chosen = menu(BOARD_BEAGLEBONE_GREEN_WIRELESS="y", **choices)
    topics = ["kas/wrynose.yml", "kas/debug.yml", "kas/ab.yml", "kas/cache.yml"]
    assert chosen == ["kas/beaglebone-green-wireless.yml", *topics]
    assert all((PROJECT / file).is_file() for file in chosen)


def test_the_menu_does_not_combine_a_release_build_with_an_offline_record() -> None:
    assert menu(BOARD_HERMETIC="y", TYPE_RELEASE="y", OFFLINE="y") == ["kas/hermetic.yml", "kas/release.yml"]


def test_the_menu_keeps_the_sama5d2_on_the_release_that_its_vendor_supports() -> None:
    assert "kas/wrynose.yml" not in menu(BOARD_SAMA5D2_XPLAINED_EMMC="y", RELEASE_WRYNOSE="y")


def test_kas_menu_opens_on_a_terminal_and_saves_the_choice(tmp_path: Path) -> None:
    """The keys that a person presses: down to the second board, space, and Save & Exit."""
    process, terminal = pty.fork()
    if process == 0:
        os.environ.update(TERM="xterm", LINES="40", COLUMNS="120", KAS_WORK_DIR=str(tmp_path))
        os.chdir(PROJECT)
        kas = str(Path(sys.executable).parent / "kas")
        os.execv(kas, [kas, "menu"])
    screen, ended = b"", False

    def see(until: Callable[[], bool], deadline: float = 30.0) -> None:
        """Read the screen until `until()` is true."""
        nonlocal screen, ended
        end = time.monotonic() + deadline
        while not until():
            assert time.monotonic() < end, screen.decode(errors="replace")
            if select.select([terminal], [], [], 0.2)[0]:
                try:
                    block = os.read(terminal, 65536)
                except OSError:
                    block = b""  # how a terminal reports that its last user is gone
                screen, ended = screen + block, not block

    def quiet() -> None:
        """Read the screen until nothing has been drawn for a while."""
        while not ended and select.select([terminal], [], [], 0.3)[0]:
            more(len(screen))

    def more(before: int) -> None:
        """Read the screen until it has more than `before` bytes."""
        see(lambda: ended or len(screen) > before)

    try:
        see(lambda: b"BeagleBone Green Wireless" in screen and b"Save & Exit" in screen)
        for key in (b"\x1b[B", b"\x1b[B", b" ", b"\t", b"\t", b"\r"):
            # one by one: the screen library takes keys that arrive together for one escape sequence
            quiet()
            before = len(screen)
            os.write(terminal, key)
            more(before)
        # closing the terminal earlier would end kas with it
        see(lambda: ended)
    finally:
        os.close(terminal)
        _, status = os.waitpid(process, 0)
    assert status == 0, screen.decode(errors="replace")
    saved = yaml.safe_load((tmp_path / ".config.yaml").read_text())
    assert saved["header"]["includes"][0] == "kas/beaglebone-green-wireless.yml"
    assert (
        subprocess.run(
            ["git", "-C", str(PROJECT), "status", "--porcelain", ".config.yaml"], stdout=subprocess.PIPE
        ).stdout
        == b""
    )
