# SPDX-License-Identifier: MIT
"""The boards: kas checks out what the lock files say, images parse, and builds of other boards do not change."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from rehearsal.build import Build, Workspace, why_unavailable
from rehearsal.folders import PROJECT, cache_folder, reference_folder

# upstream's downloads are not needed to parse, so the sanity check need not look for a network
OFFLINE = 'BB_NO_NETWORK = "1"\n'
SAMA5D2 = ("kas/sama5d2-xplained-emmc.yml",)
BEAGLEBONE = ("kas/beaglebone-green-wireless.yml",)
BOARDS = {
    "sama5d2-xplained-emmc": SAMA5D2,
    "beaglebone-green-wireless": BEAGLEBONE,
    "beaglebone-green-wireless-wrynose": (*BEAGLEBONE, "kas/wrynose.yml"),
}
KERNEL = """
MACHINE = "beaglebone-yocto"
PREFERRED_PROVIDER_virtual/kernel = "linux-yocto"
# only the kernel is parsed, and what it needs is taken as given
BBMASK = "/meta/recipes-(?!kernel/linux/) /meta-poky/recipes- /meta-yocto-bsp/recipes-(?!kernel/linux/) /yoctobsp/recipes-bsp/"
ASSUME_PROVIDED += "virtual/arm-poky-linux-gnueabi-gcc virtual/arm-poky-linux-gnueabi-binutils virtual/cross-cc gcc-cross-arm make-mod-scripts"
ASSUME_PROVIDED += "bc-native bison-native cpio-native elfutils-native flex-native gmp-native kern-tools-native libmpc-native"
ASSUME_PROVIDED += "lz4-native lzop-native openssl-native perl-native pkgconf-native pkgconfig-native python3-native"
ASSUME_PROVIDED += "coreutils-native gzip-native ncurses-native rsync-native util-linux-native bzip2-native virtual/cross-binutils"
"""


def read(name: str) -> Any:
    return yaml.safe_load((PROJECT / name).read_text())


def locked(files: Sequence[str]) -> dict[str, tuple[str, str]]:
    """URL and commit of every repository of these kas files; the file named last takes precedence, as with kas."""
    repos: dict[str, str] = {}
    commits: dict[str, str] = {}
    for file in ("kas/base.yml", *files):
        repos.update({name: repo["url"] for name, repo in read(file)["repos"].items() if "url" in (repo or {})})
        lock = PROJECT / file.replace(".yml", ".lock.yml")
        if lock.exists():
            commits.update(
                {name: repo["commit"] for name, repo in yaml.safe_load(lock.read_text())["overrides"]["repos"].items()}
            )
    return {name: (url, commits[name]) for name, url in repos.items()}


def open_board(files: tuple[str, ...], folder_name: str) -> Workspace:
    """A workspace for a board. Skips the test, with the reason, where a repository is not available."""
    for url, _ in locked(files).values():
        reason = why_unavailable(url.split("://")[1].replace("/", "."), url)
        if reason:
            pytest.skip(f"NO SOURCES FOR THIS BOARD HERE, it is not parsed: {reason}")
    # the sources are available, so what fails from here on is a fault
    return Workspace("scarthgap", cache_folder() / "work" / folder_name, files)


@pytest.fixture(params=sorted(BOARDS))
def board(request: pytest.FixtureRequest) -> Iterator[tuple[str, Build]]:
    """The name and a build folder of one board. It is kept between runs, since parsing all of OE-Core takes a minute."""
    workspace = open_board(BOARDS[request.param], f"boards/{request.param}")
    try:
        yield request.param, workspace.build(workspace.folder / "build", OFFLINE, {"BUILD_PROFILE": "test"})
    finally:
        workspace.close()


@pytest.fixture
def environment(board: tuple[str, Build]) -> dict[str, str]:
    """`bitbake -e core-image-minimal`, as a dictionary of plain variables."""
    done = board[1].bitbake("-e", "core-image-minimal", timeout=1800)
    assert done.returncode == 0, done.output[-3000:]
    return dict(re.findall(r'^([A-Z_a-z0-9]+)="(.*)"$', done.output, re.MULTILINE))


def test_a_board_parses_at_the_locked_commits_and_its_image_gets_the_class(
    board: tuple[str, Build], environment: dict[str, str]
) -> None:
    name, workspace = board[0], board[1].workspace
    for repository, (_, commit) in locked(BOARDS[name]).items():
        head = workspace.run(["git", "rev-parse", "HEAD"], workspace.folder / repository).output.strip()
        assert (repository, head) == (repository, commit)
    assert environment["AFERO_OTA_PAYLOAD"].endswith("/core-image-minimal-ota/hub_update.bin")
    assert "tar.gz" in environment["IMAGE_FSTYPES"].split()
    assert environment["DISTRO"] == "poky"
    if name.startswith("sama5d2"):
        assert environment["MACHINE"] == "sama5d2-xplained-emmc"
        assert environment["KERNEL_DEVICETREE"] == "microchip/at91-sama5d2_xplained.dtb"
    else:
        assert environment["MACHINE"] == "beaglebone-yocto"
        assert "ti/omap/am335x-bonegreen-wireless.dtb" in environment["KERNEL_DEVICETREE"].split()
        assert "am335x-bonegreen-wireless.dtb" in environment["IMAGE_BOOT_FILES"].split()
        radio = {"linux-firmware-wl18xx", "wireless-regdb-static", "iw", "wpa-supplicant", "bluez5", "kernel-modules"}
        assert radio <= set(environment["IMAGE_INSTALL"].split())


def test_a_dry_run_of_the_image_of_a_board_succeeds(board: tuple[str, Build], request: pytest.FixtureRequest) -> None:
    """Every package and every task can be resolved. Takes several minutes for each board."""
    if not request.config.getoption("--dry-run"):
        pytest.skip("several minutes each, only when asked for: scripts/test bitbake -- --dry-run")
    done = board[1].bitbake("-n", "core-image-minimal", timeout=3600)
    assert done.returncode == 0, done.output[-3000:]
    assert "core-image-minimal:do_package_ota" in done.tasks


@pytest.fixture
def kernel(any_release: Workspace, folder: Path) -> Kernel:
    return Kernel(any_release, folder)


class Kernel:
    """linux-yocto for the machine beaglebone-yocto, in a build folder of its own."""

    def __init__(self, workspace: Workspace, folder: Path):
        self.build = workspace.build(folder / f"kernel-{workspace.release}", files=("tests/bitbake/yoctobsp.yml",))

    def signatures(self, more: str = "") -> set[str]:
        """The signatures of all tasks, with more lines in the configuration."""
        self.build.local_conf = KERNEL + more
        shutil.rmtree(self.build.tmpdir / "stamps", ignore_errors=True)
        done = self.build.bitbake("-S", "none", "linux-yocto")
        assert done.returncode == 0, done.output
        return {path.name for path in self.build.tmpdir.glob("stamps/*/linux-yocto/*.sigdata.*")}


def test_only_a_build_that_asks_for_the_board_gets_another_kernel(kernel: Kernel) -> None:
    ours = "/meta-afero-ota/meta-afero-ota/dynamic-layers"
    with_layer = kernel.signatures()
    without = kernel.signatures(f'BBMASK .= " {ours}"\n')
    assert len(with_layer) > 10
    assert with_layer == without
    asked = kernel.signatures("require conf/fragments/beaglebone-green-wireless.conf\n")
    changed = {name.split(".do_")[1].split(".")[0] for name in asked - with_layer}
    assert {"unpack", "kernel_metadata", "configure"} <= changed
    assert kernel.build.value("SRC_URI", "linux-yocto").split()[-1] == "file://wl1835.cfg"
    searched = kernel.build.value("FILESPATH", "linux-yocto").split(":")
    assert any((Path(path) / "wl1835.cfg").is_file() for path in searched)


def test_kas_takes_the_commit_from_the_lock_file_not_the_newest_of_the_branch(scarthgap: Workspace) -> None:
    """With another commit in the lock file kas checks out that one; without a lock file, the newest of the branch."""
    workspace = scarthgap
    reference = reference_folder() / "git.yoctoproject.org.meta-yocto"
    if not reference.exists():
        pytest.skip(f"{reference_folder()} holds no clone of meta-yocto to compare with")
    git = ["git", "-c", "safe.directory=*", "-C", str(reference), "rev-parse"]
    older, newest = (
        subprocess.run([*git, name], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
        for name in ("scarthgap~3", "scarthgap")
    )
    lock = workspace.project / "kas" / "base.lock.yml"
    text = lock.read_text()
    assert older not in text
    head = ["git", "rev-parse", "HEAD"]
    seen = []
    try:
        for content in (re.sub(r"(meta-yocto:\s+commit: )\w+", rf"\g<1>{older}", text), ""):
            lock.write_text(content) if content else lock.unlink()
            done = workspace.kas("checkout", workspace.configuration())
            assert done.returncode == 0, done.output
            seen.append(workspace.run(head, workspace.folder / "meta-yocto").output.strip())
    finally:
        lock.write_text(text)
        assert workspace.kas("checkout", workspace.configuration()).returncode == 0
    assert seen == [older, newest]
