# SPDX-License-Identifier: MIT
"""Real BitBake builds for tests and for the demo: kas checks out, an unprivileged user builds.

BitBake refuses to run as root, so root hands the work to a user of its own (BUILD_USER, made on first use). The project is
copied to a place that this user can read; sources are checked out once per machine and shared by all build folders.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from .folders import PROJECT, cache_folder, reference_folder

BUILD_USER = "afero-build"
COPIED = ("bitbake-setup", "kas", "meta-afero-ota", "scripts/rehearsal", "tests/bitbake")
# what a build folder is made from; tests add the class to an image by themselves, and take it away
WITHOUT_CLASS = "scripts/rehearsal/without-class.yml"
RELEASES = {
    "scarthgap": ("kas/hermetic.yml", WITHOUT_CLASS),
    "wrynose": ("kas/hermetic.yml", "kas/wrynose.yml", WITHOUT_CLASS),
}
# in kas's reference folder, or on the network, is what every release needs first
UPSTREAM = ("git.openembedded.org.openembedded-core", "https://git.openembedded.org/openembedded-core")
_TASK = re.compile(
    r"NOTE: Running (?:setscene |noexec )?task \d+ of \d+ \((?:virtual:[^:]+:)?(?:mc:[^:]*:)?\S*/([^/\s]+?)(?:_[^_/]*)?\.bb:(do_\w+)\)"
)


class Unavailable(Exception):
    """BitBake cannot be had here; the text says why."""


@dataclass
class Result:
    """The end of a command: exit status and everything it printed."""

    returncode: int
    output: str
    tasks: set[str] = field(default_factory=set)
    """`recipe:do_task` of every task that ran, setscene and empty tasks included."""

    def ran(self, recipe: str) -> set[str]:
        """The names of the tasks of one recipe that ran."""
        return {task.split(":")[1] for task in self.tasks if task.split(":")[0] == recipe}


def why_unavailable(name: str = UPSTREAM[0], url: str = UPSTREAM[1]) -> str:
    """The reason why a repository, by default OE-Core, is not here, or "" when it is: a reference clone, or upstream in reach."""
    if any((reference_folder() / spelling).exists() for spelling in (name, f"{name}.git")):
        return ""
    try:
        command = ["git", "ls-remote", "--exit-code", url, "HEAD"]
        reached = (
            subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=30).returncode == 0
        )
    except (OSError, subprocess.TimeoutExpired):
        reached = False
    return "" if reached else f"{url} cannot be reached, and {reference_folder()} holds no clone of it"


def _tools() -> str:
    """The folder of kas and of a Python with this project's modules."""
    setup = subprocess.run([PROJECT / "scripts" / "setup", "core", "build"], stdout=subprocess.PIPE, text=True)
    if setup.returncode:
        raise Unavailable("scripts/setup could not install what a build needs; its messages are above")
    return setup.stdout.strip().splitlines()[-1]


def _user() -> pwd.struct_passwd:
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid())
    try:
        return pwd.getpwnam(BUILD_USER)
    except KeyError:
        command = ["useradd", "--system", "--create-home", "--shell", "/bin/bash", BUILD_USER]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            raise Unavailable(f"{' '.join(command)} failed: {done.stdout.strip()}") from None
        return pwd.getpwnam(BUILD_USER)


class Workspace:
    """Sources of one release, checked out, and a copy of this project; the build folders share it."""

    def __init__(self, release: str = "scarthgap", folder: Path | None = None, files: tuple[str, ...] = ()):
        reason = why_unavailable()
        if reason:
            raise Unavailable(reason)
        self.release, self.tools, self.user = release, _tools(), _user()
        self.folder = folder or cache_folder() / "work" / release
        self.folder.mkdir(parents=True, exist_ok=True)
        os.chown(self.folder, self.user.pw_uid, self.user.pw_gid)
        self._lock = open(self.folder / ".lock", "w")  # noqa: SIM115 held as long as this workspace is in use
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print(f"waiting for another build that uses {self.folder}", file=sys.stderr, flush=True)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.project = self.folder / "meta-afero-ota"
        self.files = files or RELEASES[release]
        self._copy_project()
        self._checkout()

    def close(self) -> None:
        """Let another process use the folder."""
        self._lock.close()

    def configuration(self, *more: str) -> str:
        """The argument for kas: this workspace's files, and more of the project."""
        return ":".join(str(self.project / file) for file in (*self.files, *more))

    def kas(self, *arguments: str, env: dict[str, str] | None = None, timeout: float = 900) -> Result:
        """Run kas."""
        # the reference clones may be root's, which git refuses to read for anybody else
        config = self.folder / "gitconfig"
        config.write_text("[safe]\n\tdirectory = *\n")
        command = [f"{self.tools}/kas", *arguments]
        return self.run(command, self.folder, {"GITCONFIG_FILE": str(config), **(env or {})}, timeout)

    def _checkout(self) -> None:
        done = self.kas("checkout", self.configuration())
        if done.returncode:
            raise Unavailable(f"kas checkout failed:\n{done.output[-2000:]}")

    def _copy_project(self) -> None:
        """A fresh copy with one commit in a repository of its own: kas and the manifest ask git for its revision."""
        shutil.rmtree(self.project, ignore_errors=True)
        ignore = shutil.ignore_patterns("__pycache__", "*.pyc", ".*cache")
        for name in COPIED:
            if (PROJECT / name).exists():
                shutil.copytree(PROJECT / name, self.project / name, ignore=ignore, symlinks=True)
        for path in (self.project, *self.project.rglob("*")):
            os.chown(path, self.user.pw_uid, self.user.pw_gid, follow_symlinks=False)
        script = "git init -q && git add -A && git -c user.name=x -c user.email=x@y commit -q -m copy"
        fixed = {"GIT_AUTHOR_DATE": "2020-01-01T00:00:00Z", "GIT_COMMITTER_DATE": "2020-01-01T00:00:00Z"}
        done = self.run(["bash", "-c", script], cwd=self.project, env=fixed)
        if done.returncode:
            raise RuntimeError(done.output)

    def environment(self) -> dict[str, str]:
        """A small, known environment: nothing of the caller's leaks into a build."""
        return {
            "HOME": self.user.pw_dir,
            "USER": self.user.pw_name,
            "LOGNAME": self.user.pw_name,
            "SHELL": "/bin/bash",
            "LANG": "en_US.UTF-8",
            "LC_ALL": "en_US.UTF-8",
            "PATH": f"{self.tools}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "KAS_WORK_DIR": str(self.folder),
            "KAS_REPO_REF_DIR": str(reference_folder()),
            "BB_SERVER_TIMEOUT": "0",
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def run(self, command: list[str], cwd: Path, env: dict[str, str] | None = None, timeout: float = 900) -> Result:
        """Run as the build user. When the time is up, the whole process group is killed."""
        as_root = os.geteuid() == 0
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**self.environment(), **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
            umask=0o022,
            user=self.user.pw_uid if as_root else None,
            group=self.user.pw_gid if as_root else None,
            extra_groups=[] if as_root else None,
        )
        try:
            output, _ = process.communicate(timeout=timeout)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise
        tasks = {f"{recipe}:{task}" for recipe, task in _TASK.findall(output)}
        return Result(process.returncode, output, tasks)

    def build(
        self, folder: Path, local_conf: str = "", env: dict[str, str] | None = None, files: tuple[str, ...] = ()
    ) -> Build:
        """A build folder of its own, with a configuration written by kas (with more `files`) and `local_conf` appended."""
        return Build(self, folder, local_conf, env or {}, files)


_shared: dict[str, Workspace] = {}


def shared_workspace(release: str = "scarthgap") -> Workspace:
    """The workspace of a release that everything in this process uses; a second one would wait for the first for ever."""
    if release not in _shared:
        _shared[release] = Workspace(release)
    return _shared[release]


class Build:
    """One build folder. `local_conf` may be changed between two calls of bitbake."""

    def __init__(
        self, workspace: Workspace, folder: Path, local_conf: str, env: dict[str, str], files: tuple[str, ...] = ()
    ):
        self.workspace, self.folder, self.local_conf, self.env = workspace, folder, local_conf, env
        self.tmpdir, self.sstate_dir = folder / "tmp", folder / "sstate-cache"
        self.deploy = self.tmpdir / "deploy" / "images" / "qemuarm"
        folder.mkdir(parents=True, exist_ok=True)
        os.chown(folder, workspace.user.pw_uid, workspace.user.pw_gid)
        shell = ("shell", workspace.configuration(*files), "-c", "true")
        done = workspace.kas(*shell, env={"KAS_BUILD_DIR": str(folder), **env})
        if done.returncode:
            raise RuntimeError(done.output)
        self._generated = (folder / "conf" / "local.conf").read_text()
        self._bitbake = str(workspace.folder / "bitbake" / "bin")

    def bitbake(self, *arguments: str, env: dict[str, str] | None = None, timeout: float = 900) -> Result:
        """Run bitbake with these arguments in the build folder."""
        return self.tool("bitbake", *arguments, env=env, timeout=timeout)

    def tool(self, name: str, *arguments: str, env: dict[str, str] | None = None, timeout: float = 900) -> Result:
        """Run one of BitBake's programs in the build folder."""
        (self.folder / "conf" / "local.conf").write_text(self._generated + "\n" + self.local_conf + "\n")
        environment = {
            "BBPATH": str(self.folder),
            "PATH": f"{self._bitbake}:{self.workspace.environment()['PATH']}",
            **self.env,
            **(env or {}),
        }
        return self.workspace.run([name, *arguments], self.folder, environment, timeout)

    def value(self, variable: str, recipe: str = "core-image-minimal") -> str:
        """The value of a variable of a recipe."""
        done = self.tool("bitbake-getvar", "-q", "--value", "-r", recipe, variable)
        assert done.returncode == 0, done.output
        return done.output.strip().splitlines()[-1]


if __name__ == "__main__":
    # `python build.py RELEASE FOLDER ARGUMENT...`: a build by hand
    workspace = Workspace(sys.argv[1])
    result = workspace.build(Path(sys.argv[2])).bitbake(*sys.argv[3:])
    print(result.output)
    sys.exit(result.returncode)
