# SPDX-License-Identifier: MIT
"""The plan of a rollout: which image, which devices in which waves, under which rules. A YAML file that people review.

A digest over everything in it shows whether it is still what was reviewed. Pure functions of plain values; no network.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from .errors import ConfigError, Fault

FORMAT = 1
BIGGEST = 2**63 - 1  # a versionNumber is a signed 64-bit attribute (docs/AttrRegistry.md)
HEAD = """\
# A rollout plan of afero-ota. `afero-ota deploy --plan` does what stands here and nothing else.
# The digest at the end covers every value: after a change by hand the plan is refused.
"""
_UNITS = {"d": 86_400, "h": 3600, "m": 60, "s": 1}
_DURATION = re.compile(r"(?:([0-9]+)d)?(?:([0-9]+)h)?(?:([0-9]+)m)?(?:([0-9]+(?:\.[0-9]+)?)s)?")
_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,4})?) ?%")


@dataclass(frozen=True)
class Rules:
    """How a wave is carried out. Times are seconds, shares parts of 1.

    in_flight: devices that update at the same time. start_limit, finish_limit: how long after the push a device may take to begin
    the update and to report its end. offline_limit: how long a device that cannot be pushed is waited for. abort_share: the
    rollout ends when more than this share of the wave's devices that reported failed or fell silent, once abort_minimum of
    them reported. abort_on: reasons that end it at once (`outcome.Outcome.matches`). min_success: share of the wave's devices
    that must run the image before the next wave starts. soak: how long the wave is watched before that.
    """

    in_flight: int = 10
    start_limit: float = 600.0
    finish_limit: float = 3600.0
    offline_limit: float = 86_400.0
    abort_share: float = 0.1
    abort_minimum: int = 5
    abort_on: tuple[str, ...] = ()
    min_success: float = 0.9
    soak: float = 0.0


@dataclass(frozen=True)
class Image:
    """What is pushed. id: the association's, which push takes; version_number: what devices report once they run it.

    sha256, size: empty and 0 when nobody on this machine knew them. url: where the cloud has the file.
    """

    id: str
    name: str
    version: str
    version_number: int
    sha256: str = ""
    size: int = 0
    url: str = ""


@dataclass(frozen=True)
class Target:
    """One device of the plan; running: its versionNumber when the plan was made."""

    device_id: str
    name: str = ""
    running: int | None = None


@dataclass(frozen=True)
class Wave:
    """Devices that are updated together; rules: all of them, with those of the plan filled in."""

    name: str
    devices: tuple[Target, ...]
    rules: Rules = field(default_factory=Rules)


@dataclass(frozen=True)
class Plan:
    """A whole rollout. selection and left_out say where the devices come from, for the people who review it."""

    partner_id: str
    device_type_id: str
    account_id: str
    image: Image
    waves: tuple[Wave, ...]
    rules: Rules = field(default_factory=Rules)
    selection: Mapping[str, Any] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """How many devices there are."""
        return sum(len(wave.devices) for wave in self.waves)

    @property
    def digest(self) -> str:
        """``sha256:`` and the hash of the canonical JSON of everything in the file but the digest."""
        return digest(document(self))


# ---- durations and shares ------------------------------------------------------------------------------------------------


def duration(value: object) -> float:
    """Seconds, from a number of seconds or a text such as ``1h30m``. Raises ValueError."""
    if _is_number(value):
        seconds = float(value)  # type: ignore[arg-type]
    else:
        found = _DURATION.fullmatch(value.strip()) if isinstance(value, str) and value.strip() else None
        if not found:
            raise ValueError(f"{value!r} is no duration")
        seconds = sum(float(number) * unit for number, unit in zip(found.groups(), _UNITS.values()) if number)
    if not 0 <= seconds <= 366 * 86_400:
        raise ValueError(f"{value!r} is not between 0 and a year")
    return seconds


def duration_text(seconds: float) -> str:
    """The shortest text that `duration` reads back as the same number of seconds."""
    text, rest = "", int(seconds)
    for letter, unit in _UNITS.items():
        if letter != "s" and rest >= unit:
            text, rest = f"{text}{rest // unit}{letter}", rest % unit
    left = rest + round(seconds - int(seconds), 3)
    return text + (f"{left:g}s" if left or not text else "")


def share(value: object) -> float:
    """A part of 1, from such a number or a text such as ``10%``. Raises ValueError."""
    found = _PERCENT.fullmatch(value.strip()) if isinstance(value, str) else None
    number = round(float(found[1]) / 100, 6) if found else float(value) if _is_number(value) else -1.0  # type: ignore[arg-type]
    if not 0 <= number <= 1:
        raise ValueError(f"{value!r} is no share")
    return number


# ---- the file ------------------------------------------------------------------------------------------------------------

# key in the file -> (field, what a wrong value is told)
_RULES = {
    "inFlight": ("in_flight", "write a number of devices from 1"),
    "startLimit": ("start_limit", "write a duration, such as 10m"),
    "finishLimit": ("finish_limit", "write a duration, such as 1h"),
    "offlineLimit": ("offline_limit", "write a duration, such as 1d"),
    "abortShare": ("abort_share", "write a share, such as 10%"),
    "abortMinimum": ("abort_minimum", "write a number of devices from 1"),
    "abortOn": ("abort_on", 'write a list of reasons, such as ["refused: other hardware"]'),
    "minSuccess": ("min_success", "write a share, such as 90%"),
    "soak": ("soak", "write a duration, such as 30m"),
}
_TOP = ("plan", "partnerId", "deviceTypeId", "accountId", "image", "selection", "leftOut", "rules", "waves", "digest")
_OPTIONAL = ("selection", "leftOut", "rules")
_IMAGE = ("id", "name", "version", "versionNumber", "sha256", "size", "url")
_WAVE = ("name", "rules", "devices")
_DEVICE = ("id", "name", "running")


def document(plan: Plan) -> dict[str, Any]:
    """The plan as plain values, without the digest."""
    waves = []
    for wave in plan.waves:
        own: dict[str, Any] = {"name": wave.name}
        if wave.rules != plan.rules:
            base = _rules_document(plan.rules)
            own["rules"] = {key: value for key, value in _rules_document(wave.rules).items() if value != base[key]}
        own["devices"] = [_device_document(target) for target in wave.devices]
        waves.append(own)
    image = plan.image
    return {
        "plan": FORMAT,
        "partnerId": plan.partner_id,
        "deviceTypeId": plan.device_type_id,
        "accountId": plan.account_id,
        "image": {
            "id": image.id,
            "name": image.name,
            "version": image.version,
            "versionNumber": str(image.version_number),
            "sha256": image.sha256,
            "size": image.size,
            "url": image.url,
        },
        "selection": dict(plan.selection),
        "leftOut": dict(plan.left_out),
        "rules": _rules_document(plan.rules),
        "waves": waves,
    }


def digest(data: Mapping[str, Any]) -> str:
    """The digest of a plan's plain values; a ``digest`` among them does not count."""
    plain = {key: value for key, value in data.items() if key != "digest"}
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def dump(plan: Plan) -> str:
    """The text of the plan's file: one line for each device."""
    data = document(plan)
    waves = data.pop("waves")
    text = HEAD + _yaml(data) + "waves:\n"
    for wave in waves:
        devices = wave.pop("devices")
        text += "".join(
            ("- " if not number else "  ") + line + "\n" for number, line in enumerate(_yaml(wave).splitlines())
        )
        text += "  devices:\n" + "".join(f"  - {_line(one)}\n" for one in devices)
    return text + f"digest: {plan.digest}\n"


def load(text: str, origin: str, partner_id: str = "") -> Plan:
    """The plan in a file's text. origin: the file's name, for messages. partner_id: whose plan it must be, if that is known.

    Raises ConfigError with every fault: a change by hand, another partner's plan, a device named twice, unknown keys, wrong values.
    """
    import yaml

    try:
        data = yaml.load(text, Loader=_loader())  # noqa: S506 a safe loader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(
            [Fault(origin, f"is no YAML: {' '.join(str(error).split())}", _AGAIN)], where="the plan"
        ) from None
    reader = _Reader(origin)
    plan = reader.plan(data, partner_id)
    if reader.faults or plan is None:
        raise ConfigError(reader.faults, where="the plan")
    return plan


def rules(data: Any, origin: str) -> tuple[Rules, Mapping[str, Rules]]:
    """The rules of a plan, and those of waves by name, from plain values: the keys of the plan's `rules`, and `waves`.

    Raises ConfigError with every fault.
    """
    reader = _Reader(origin)
    if not isinstance(data, Mapping):
        reader.fault("", "holds no mapping of rules", 'write such lines as "inFlight: 20"')
        data = {}
    base = reader.rules("rules", {key: value for key, value in data.items() if key != "waves"}, Rules())
    waves = data.get("waves") or {}
    if not isinstance(waves, Mapping):
        reader.fault("waves", "is no mapping of names to rules", 'write "waves: {canary: {soak: 1h}}"')
        waves = {}
    own = {str(name): reader.rules(f"waves.{name}", one, base) for name, one in waves.items()}
    if reader.faults:
        raise ConfigError(reader.faults, where="the rules")
    return base, own


_AGAIN = "make the plan again: afero-ota plan"


@functools.cache
def _loader() -> Any:
    """A loader that is safe, and strict about a key that stands there twice: YAML itself would take the last one without a word."""
    import yaml

    safe: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where libyaml is there

    class Loader(safe):  # type: ignore[misc]
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            keys = [self.construct_object(key, deep=True) for key, _ in getattr(node, "value", ())]
            for key in keys:
                if keys.count(key) > 1:
                    raise ValueError(f"the key {key} stands there twice, line {node.start_mark.line + 1}")
            return super().construct_mapping(node, deep)

    return Loader


class _Reader:
    """Turns plain values into a plan, and collects what is wrong with them."""

    def __init__(self, origin: str):
        self.origin, self.faults = origin, list[Fault]()

    def fault(self, where: str, problem: str, remedy: str = _AGAIN) -> None:
        self.faults.append(Fault(f"{self.origin}: {where}" if where else self.origin, problem, remedy))

    def plan(self, data: Any, partner_id: str) -> Plan | None:
        if not self.mapping("", data, _TOP, _OPTIONAL):
            return None
        if data.get("plan") != FORMAT:
            self.fault("plan", f"the format is {data.get('plan')!r}, and this version knows {FORMAT}")
        if partner_id and data.get("partnerId") != partner_id:
            problem = f"is {data.get('partnerId')!r}, and the configuration's is {partner_id}"
            self.fault("partnerId", problem, "use the plan's own configuration")
        partner, device_type, account = (
            self.text(key, data.get(key)) for key in ("partnerId", "deviceTypeId", "accountId")
        )
        image = self.image(data.get("image"))
        rules = self.rules("rules", data.get("rules") or {}, Rules())
        waves = self.waves(data.get("waves"), rules)
        selection, left_out = (self.note(key, data.get(key)) for key in ("selection", "leftOut"))
        if not self.faults and data["digest"] != digest(data):
            self.fault("digest", "does not fit the plan: something was changed after it was made")
        if self.faults or image is None:
            return None
        return Plan(partner, device_type, account, image, waves, rules, selection, left_out)

    def note(self, where: str, value: Any) -> Mapping[str, Any]:
        """What the plan says for people only: any mapping of plain values."""
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            value = ()
        if value is not None and not isinstance(value, Mapping):
            self.fault(where, "is no mapping of texts and numbers")
            return {}
        return value or {}

    def mapping(self, where: str, data: Any, keys: Iterable[str], optional: Iterable[str] = ()) -> bool:
        """Whether data is a mapping; unknown and missing keys are faults."""
        if not isinstance(data, Mapping):
            self.fault(where, "is no mapping" if where else "holds no plan")
            return False
        for key in data:
            if key not in keys:
                self.fault(where, f"has the unknown key {str(key)[:80]!r}", f"there are {', '.join(keys)}")
        missing = [key for key in keys if data.get(key) is None and key not in optional]
        if missing:
            self.fault(where, f"lacks {', '.join(missing)}")
        return True

    def text(self, where: str, value: Any) -> str:
        if isinstance(value, str) and value.strip():
            return value
        if value is not None:
            self.fault(where, f"{value!r} is no text", "put it in quotation marks")
        return ""

    def number(self, where: str, value: Any, least: int = 0) -> int:
        """An integer or a text of digits; versions are written as text, since JSON's numbers end at 2^53 in some programs."""
        if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 20:
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= BIGGEST:
            self.fault(where, f"{value!r} is not a number from {least} to {BIGGEST}", "write a whole number")
            return least
        return value

    def image(self, data: Any) -> Image | None:
        if not self.mapping("image", data, _IMAGE, ("sha256", "size", "url")):
            return None
        sha256 = data.get("sha256") or ""
        if not isinstance(sha256, str) or not re.fullmatch("(?:[0-9a-f]{64})?", sha256):
            self.fault("image.sha256", f"{sha256!r} is no SHA-256", "write 64 hexadecimal digits")
        return Image(
            self.text("image.id", data.get("id")),
            self.text("image.name", data.get("name")),
            self.text("image.version", data.get("version")),
            self.number("image.versionNumber", data.get("versionNumber"), 1),
            sha256,
            self.number("image.size", data.get("size", 0)),
            str(data.get("url") or ""),
        )

    def rules(self, where: str, data: Any, base: Rules) -> Rules:
        if not self.mapping(where, data, _RULES, _RULES):
            return base
        given: dict[str, Any] = {}
        for key, value in data.items():
            if key not in _RULES:
                continue
            name, remedy = _RULES[key]
            try:
                given[name] = _rule(name, value)
            except ValueError as error:
                self.fault(f"{where}.{key}", str(error), remedy)
        return replace(base, **given)

    def waves(self, data: Any, rules: Rules) -> tuple[Wave, ...]:
        if not isinstance(data, list) or not data:
            self.fault("waves", "there is none")
            return ()
        waves, seen = [], dict[str, str]()
        for number, one in enumerate(data, 1):
            where = f"wave {number}"
            if not self.mapping(where, one, _WAVE, ("rules",)):
                continue
            name = self.text(f"{where}: name", one.get("name"))
            own = self.rules(f"{where}: rules", one.get("rules") or {}, rules)
            waves.append(Wave(name, self.devices(where, one.get("devices"), seen), own))
        return tuple(waves)

    def devices(self, where: str, data: Any, seen: dict[str, str]) -> tuple[Target, ...]:
        if not isinstance(data, list) or not data:
            self.fault(where, "has no devices")
            return ()
        targets = []
        for number, one in enumerate(data, 1):
            place = f"{where}, device {number}"
            if not self.mapping(place, one, _DEVICE, ("name", "running")):
                continue
            target = self.device(place, one)
            if target.device_id in seen:
                self.fault(place, f"{target.device_id} is also {seen[target.device_id]}", "name each device once")
            elif target.device_id:
                seen[target.device_id] = place
                targets.append(target)
        return tuple(targets)

    def device(self, where: str, data: Mapping[str, Any]) -> Target:
        name, running = data.get("name") or "", data.get("running")
        if not isinstance(name, str):
            self.fault(f"{where}: name", f"{name!r} is no text", "put it in quotation marks")
        number = None if running is None else self.number(f"{where}: running", running)
        return Target(self.text(f"{where}: id", data.get("id")), str(name), number)


def _rule(name: str, value: Any) -> Any:
    """A rule's value as `Rules` has it. Raises ValueError."""
    if name in ("in_flight", "abort_minimum"):
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1_000_000:
            raise ValueError(f"{value!r} is no number of devices")
        return value
    if name in ("abort_share", "min_success"):
        return share(value)
    if name == "abort_on":
        if not isinstance(value, list) or not all(isinstance(reason, str) and reason.strip() for reason in value):
            raise ValueError(f"{value!r} is no list of reasons")
        return tuple(value)
    return duration(value)


def _rules_document(rules: Rules) -> dict[str, Any]:
    values: dict[str, Any] = {one.name: getattr(rules, one.name) for one in fields(rules)}
    for name, value in values.items():
        if name.endswith("_limit") or name == "soak":
            values[name] = duration_text(value)
        elif name in ("abort_share", "min_success"):
            values[name] = f"{value * 100:.6g}%"
        elif name == "abort_on":
            values[name] = list(value)
    return {key: values[name] for key, (name, _) in _RULES.items()}


def _device_document(target: Target) -> dict[str, Any]:
    return {
        "id": target.device_id,
        **({"name": target.name} if target.name else {}),
        **({"running": str(target.running)} if target.running is not None else {}),
    }


def _line(device: Mapping[str, str]) -> str:
    # all values are quoted, or YAML would take some ids for numbers
    return "{" + ", ".join(f'{key}: "{_escaped(value)}"' for key, value in device.items()) + "}"


def _escaped(text: str) -> str:
    return "".join(c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in text)


def _yaml(data: Any) -> str:
    import yaml

    return str(yaml.safe_dump(data, sort_keys=False, allow_unicode=False, width=120))


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == value
