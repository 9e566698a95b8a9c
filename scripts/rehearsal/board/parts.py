# SPDX-License-Identifier: MIT
"""What the emulated board takes from Debian: armhf packages, and U-Boot built from the source package.

Debian's own apt fetches them, with its state in a folder of ours: the host's architectures and sources stay as they are. The
results are kept in the cache folder, under names that change with what they were made from.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ..build import Unavailable
from ..folders import cache_folder

HERE = Path(__file__).resolve().parent
# the first is the one that the layer ships for real boards
FRAGMENTS = (
    HERE.parents[2] / "meta-afero-ota" / "recipes-bsp" / "afero-ota-boot" / "files" / "u-boot-ab.cfg",
    HERE / "u-boot" / "qemu.cfg",
)
PACKAGES = (
    "busybox-static",
    "e2fsprogs",
    "fdisk",
    "libacl1",
    "libapparmor1",
    "libaudit1",
    "libblkid1",
    "libc6",
    "libcap-ng0",
    "libcap2",
    "libcom-err2",
    "libcrypt1",
    "libext2fs2",
    "libfdisk1",
    "libgcc-s1",
    "libgcrypt20",
    "libgpg-error0",
    "libip4tc2",
    "libkmod2",
    "liblz4-1",
    "liblzma5",
    "libmount1",
    "libpam0g",
    "libpcre2-8-0",
    "libreadline8",
    "libseccomp2",
    "libselinux1",
    "libsmartcols1",
    "libss2",
    "libssl3",
    "libsystemd-shared",
    "libtinfo6",
    "libubootenv-tool",
    "libubootenv0.1",
    "libuuid1",
    "libyaml-0-2",
    "libzstd1",
    "mount",
    "systemd",
    "udev",
    "util-linux",
    "zlib1g",
    "zstd",
    # of rauc alone
    "rauc",
    "libbrotli1",
    "libcurl3-gnutls",
    "libffi8",
    "libglib2.0-0",
    "libgmp10",
    "libgnutls30",
    "libgssapi-krb5-2",
    "libhogweed6",
    "libidn2-0",
    "libjson-glib-1.0-0",
    "libk5crypto3",
    "libkeyutils1",
    "libkrb5-3",
    "libkrb5support0",
    "libldap-2.5-0",
    "libnettle8",
    "libnghttp2-14",
    "libp11-kit0",
    "libpsl5",
    "librtmp1",
    "libsasl2-2",
    "libssh2-1",
    "libtasn1-6",
    "libunistring2",
)
# of the board's packages and U-Boot, whatever runs here: a bench of the same versions everywhere
RELEASE = "bookworm"
KERNEL = "linux-image-armmp"  # names the package of the current kernel
_FOLDER = "device"
_PATH = "/usr/bin:/bin:/usr/sbin:/sbin"  # the caller's may lead to wrappers of the tools


def debian_packages() -> Path:
    """The folder with `<package>.deb` for every package; the kernel's is linux-image.deb. Raises Unavailable."""
    return _once("packages", _digest([*PACKAGES, KERNEL, RELEASE]), _fetch_packages)


def u_boot() -> Path:
    """u-boot.bin for QEMU's virt machine. Raises Unavailable."""
    texts = [path.read_text() for path in FRAGMENTS]
    return _once("u-boot", _digest([*texts, Path(__file__).read_text()]), _build_u_boot) / "u-boot.bin"


def _digest(texts: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:12]


def _once(name: str, key: str, make: Callable[[Path], None]) -> Path:
    """The folder that `make` fills, on first use; it appears only when it is complete."""
    folder = cache_folder() / _FOLDER / f"{name}-{key}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            scratch = folder.with_name(f"{folder.name}.new")
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir()
            make(scratch)
            os.replace(scratch, folder)
    return folder


def _run(
    command: Sequence[str | Path], cwd: Path, environment: dict[str, str] | None = None, log: Path | None = None
) -> str:
    """Run a command, with these variables added to the environment. Returns its output; raises Unavailable with the end of it."""
    env = {**os.environ, "LC_ALL": "C.UTF-8", "PATH": _PATH, **(environment or {})}
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    except OSError as error:
        raise Unavailable(f"{command[0]}: {error.strerror}") from None
    if log:
        log.write_text(done.stdout)
    if done.returncode:
        raise Unavailable(f"{' '.join(map(str, command))} failed:\n{done.stdout[-2000:]}")
    return done.stdout


@contextlib.contextmanager
def _apt(folder: Path) -> Iterator[str]:
    """APT_CONFIG for armhf and source packages; everything that apt writes is below `folder`."""
    root = folder / "apt"
    for part in ("sources", "state/lists/partial", "cache/archives/partial"):
        (root / part).mkdir(parents=True)
    (root / "status").touch()
    for number, text in enumerate(_sources()):
        (root / "sources" / f"{number}.sources").write_text(text)
    config = root / "apt.conf"
    config.write_text(
        f"""
Dir::State "{root}/state";
Dir::State::status "{root}/status";
Dir::Cache "{root}/cache";
Dir::Etc::SourceList "/dev/null";
Dir::Etc::SourceParts "{root}/sources";
APT::Architecture "armhf";
APT::Architectures {{ "armhf"; }};
APT::Sandbox::User "";
Acquire::Languages "none";
"""
    )
    # one broken index of a mirror does not matter as long as the packages can be downloaded
    complaint = ""
    try:
        _run(["apt-get", "update", "-qq"], folder, {"APT_CONFIG": str(config)})
    except Unavailable as error:
        complaint = str(error)
    try:
        yield str(config)
    except Unavailable as error:
        raise Unavailable(f"{error}\n{complaint}".strip()) from None
    shutil.rmtree(root)


def _sources(etc: Path = Path("/etc/apt"), system: Path = Path("/etc/os-release")) -> Iterator[str]:
    """The machine's own apt sources, for RELEASE instead of its own release and with source packages enabled."""
    codename = re.search(r"(?m)^VERSION_CODENAME=(\S+)$", system.read_text())
    own = re.compile(rf"(?:{re.escape(codename.group(1))}|stable)\b" if codename else "stable\\b")
    for path in sorted((etc / "sources.list.d").glob("*.sources")):
        for stanza in re.split(r"\n\s*\n", path.read_text()):
            lines = [line for line in stanza.splitlines() if not line.startswith("#")]
            fields = {key.lower(): value.split() for key, _, value in (line.partition(":") for line in lines)}
            suites = [own.sub(RELEASE, suite) for suite in fields.get("suites", []) if own.match(suite)]
            if "main" in fields.get("components", []) and suites:
                kept = [line for line in lines if not re.match(r"(?i)(types|architectures|enabled|suites):", line)]
                yield "\n".join(["Types: deb deb-src", f"Suites: {' '.join(suites)}", *kept]) + "\n"
    for path in (etc / "sources.list", *sorted((etc / "sources.list.d").glob("*.list"))):
        for line in path.read_text().splitlines() if path.exists() else ():
            found = re.match(r"deb\s+(?:\[(.*?)\]\s*)?(\S+)\s+(\S+)\s+(.*\bmain\b.*)", line)
            if found and own.match(found.group(3)):
                signed = re.search(r"signed-by=(\S+)", found.group(1) or "")
                suite = own.sub(RELEASE, found.group(3))
                stanza = f"Types: deb deb-src\nURIs: {found.group(2)}\nSuites: {suite}\nComponents: main\n"
                yield stanza + (f"Signed-By: {signed.group(1)}\n" if signed else "")


def _fetch_packages(folder: Path) -> None:
    with _apt(folder) as config:
        depends = _run(["apt-cache", "show", "--no-all-versions", KERNEL], folder, {"APT_CONFIG": config})
        found = re.search(r"(?m)^Depends: (linux-image-\S+)", depends)
        if not found:
            raise Unavailable(f"Debian's package {KERNEL} names no kernel")
        _run(["apt-get", "download", "-qq", *PACKAGES, found.group(1)], folder, {"APT_CONFIG": config})
    versions = sorted(path.name for path in folder.glob("*.deb"))
    for name in versions:
        package = name.partition("_")[0]
        (folder / name).rename(folder / f"{'linux-image' if package == found.group(1) else package}.deb")
    (folder / "versions").write_text("\n".join(versions) + "\n")


def _build_u_boot(folder: Path) -> None:
    with _apt(folder) as config:
        _run(["apt-get", "source", "-qq", "--download-only", "u-boot"], folder, {"APT_CONFIG": config})
    (description,) = folder.glob("*.dsc")
    _run(["dpkg-source", "--no-check", "-x", description.name, "source"], folder)
    source = folder / "source"
    build = {"ARCH": "arm", "CROSS_COMPILE": "arm-linux-gnueabihf-"}
    _run(["make", "-s", "qemu_arm_defconfig"], source, build)
    _run(["./scripts/kconfig/merge_config.sh", "-m", ".config", *FRAGMENTS], source, build, folder / "config.log")
    _run(["make", "-s", "olddefconfig"], source, build)
    # U-Boot reads the environment before it enumerates PCI, which the SD card is behind
    flags = "KCFLAGS=-DCONFIG_SYS_EARLY_PCI_INIT"
    jobs = f"-j{os.cpu_count() or 1}"
    _run(["make", jobs, flags, "u-boot.bin"], source, build, folder / "build.log")
    shutil.copy(source / "u-boot.bin", folder)
    shutil.copy(source / ".config", folder / "config")
    shutil.rmtree(source)
    for archive in folder.glob("u-boot_*"):
        archive.unlink()


if __name__ == "__main__":
    print(debian_packages())
    print(u_boot())
