# SPDX-License-Identifier: MIT
"""What changed from one image to another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from .contents import File, mode
from .facts import Facts, Package, remarks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any


class FileChange(NamedTuple):
    """A file that is new (before is None), gone (after is None) or not the same."""

    path: str
    before: File | None
    after: File | None

    @property
    def package(self) -> str:
        """The package that brings it, or brought it."""
        known = self.after or self.before
        return known.package if known else ""

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is remarkable about the file now and was not before."""
        old = remarks(self.path, self.before) if self.before else ()
        return tuple(word for word in (remarks(self.path, self.after) if self.after else ()) if word not in old)


class PackageChange(NamedTuple):
    """A package that is new, gone, or has another version, licence or content. The name "" stands for no package."""

    name: str
    before: Package | None
    after: Package | None
    files: Sequence[FileChange]

    @property
    def size(self) -> int:
        """By how many bytes its files grew."""
        if not self.name:
            return sum(
                (file.after.size if file.after else 0) - (file.before.size if file.before else 0) for file in self.files
            )
        return (self.after.size if self.after else 0) - (self.before.size if self.before else 0)


@dataclass(frozen=True)
class Changes:
    """The difference of two images. layers: name to [old, new] revision, None for one that was not there."""

    before: Facts
    after: Facts
    packages: Sequence[PackageChange]
    layers: Mapping[str, tuple[str | None, str | None]]

    @property
    def none(self) -> bool:
        """Whether the payloads are the same, byte for byte."""
        return self.before.manifest.get("sha256") == self.after.manifest.get("sha256")

    @property
    def cves(self) -> Mapping[str, tuple[str | None, str | None]]:
        """CVE id to [old, new] status, None where a report does not list it; {} unless both images have a report."""
        old, new = self.before.cves, self.after.cves
        if not old or not new:
            return {}
        return {name: (old.get(name), new.get(name)) for name in sorted({*old, *new}) if old.get(name) != new.get(name)}

    @property
    def named(self) -> list[PackageChange]:
        """The changes of packages, without what belongs to no package."""
        return [one for one in self.packages if one.name]

    @property
    def files(self) -> list[FileChange]:
        """The changes of all files."""
        return [file for one in self.packages for file in one.files]

    @property
    def remarkable(self) -> list[FileChange]:
        """The changes of files that a reviewer must see."""
        return [file for file in self.files if file.remarks]

    def document(self) -> dict[str, Any]:
        """The changes for JSON."""
        return {
            "size": self.after.size - self.before.size,
            "since": self.before.release._asdict(),
            "packages": _grouped({one.name: (_version(one.before), _version(one.after)) for one in self.named}),
            "layers": _grouped(self.layers),
            "licences": {
                one.name: [one.before.licence, one.after.licence]
                for one in self.named
                if one.before and one.after and one.before.licence != one.after.licence
            },
            "cves": _grouped(self.cves),
            "files": _grouped({file.path: (_shown(file.before), _shown(file.after)) for file in self.files}),
            "remarkable": {file.path: list(file.remarks) for file in self.remarkable},
        }


def compare(before: Facts, after: Facts) -> Changes:
    """What changed between two images. Files are compared only when those of both are known."""
    files: dict[str, list[FileChange]] = {}
    if before.files and after.files:
        for path in sorted(before.files.keys() | after.files.keys()):
            old, new = before.files.get(path), after.files.get(path)
            # a file that only moved to another package is the same
            if old is None or new is None or old[:-1] != new[:-1]:
                change = FileChange(path, old, new)
                files.setdefault(change.package, []).append(change)
    old_packages, new_packages = _packages(before), _packages(after)
    names = [
        name
        for name in old_packages.keys() | new_packages.keys()
        if name in files or _differ(old_packages.get(name), new_packages.get(name))
    ]
    changed = [
        PackageChange(name, old_packages.get(name), new_packages.get(name), files.get(name, ()))
        for name in sorted(names)
    ]
    loose = [PackageChange("", None, None, files[""])] if "" in files else []
    old_layers, new_layers = before.manifest.get("layers") or {}, after.manifest.get("layers") or {}
    layers = {
        name: (old_layers.get(name), new_layers.get(name))
        for name in sorted(old_layers.keys() | new_layers.keys())
        if old_layers.get(name) != new_layers.get(name)
    }
    return Changes(before, after, changed + loose, layers)


def _packages(facts: Facts) -> Mapping[str, Package]:
    """The packages, from the manifest where nothing else is known."""
    return facts.packages or {
        name: Package(str(version), "", "", 0) for name, version in (facts.manifest.get("packages") or {}).items()
    }


def _differ(old: Package | None, new: Package | None) -> bool:
    if old is None or new is None:
        return old is not new
    # without the archive, sizes come from elsewhere and do not compare
    return (old.version, old.licence) != (new.version, new.licence)


def _version(package: Package | None) -> str | None:
    return package.version if package else None


def _shown(file: File | None) -> dict[str, Any] | None:
    if file is None:
        return None
    return {"mode": mode(file), "size": file.size, "content": file.content, "package": file.package}


def _grouped(pairs: Mapping[str, tuple[Any, Any]]) -> dict[str, dict[str, Any]]:
    return {
        "added": {name: new for name, (old, new) in pairs.items() if old is None},
        "removed": {name: old for name, (old, new) in pairs.items() if new is None},
        "changed": {name: [old, new] for name, (old, new) in pairs.items() if old is not None and new is not None},
    }
