# SPDX-License-Identifier: MIT
"""The faults file: which calls go wrong, when, and how. Its format is described in docs/local-service.md."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import yaml

from .web import DEVICE_TYPE, PARTNER, ROUTES

METHODS = ("*", "GET", "POST", "PUT", "DELETE")
_SHORT = {"DT": DEVICE_TYPE, "P": PARTNER}


class PlanError(Exception):
    """The faults file is wrong; the message says where and what is expected."""


@dataclass(frozen=True)
class Option:
    """One parameter of an action: what values it takes; `default` None means that it must be given."""

    kind: tuple[type, ...]
    default: Any = None
    choices: tuple[Any, ...] = ()
    low: float = 0
    high: float = float("inf")
    optional: bool = False

    def describe(self) -> str:
        if self.choices:
            return "one of " + ", ".join(map(str, self.choices))
        names = {int: "a whole number", float: "a number", str: "a text", dict: "a mapping", list: "a list of texts"}
        text = names[self.kind[0]]
        if self.kind[0] in (int, float):
            text += f" from {self.low:g}" + (f" to {self.high:g}" if self.high < float("inf") else "")
        return text

    def accepts(self, value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, self.kind):
            return False
        if self.choices:
            return value in self.choices
        if isinstance(value, (int, float)):
            return self.low <= value <= self.high
        return not isinstance(value, list) or all(isinstance(item, str) for item in value)


_SECONDS = Option((float, int), low=0)
_HOW = Option((str,), "close", ("close", "reset", "stall"))
_AT = Option((str,), "before", ("before", "after"))
_HANG = Option((float, int), 3600.0)
ACTIONS: dict[str, dict[str, Option]] = {
    "refuse": {},
    "reset": {"at": _AT},
    "stall": {"seconds": _SECONDS, "at": _AT},
    "cut_request": {"byte": Option((int,)), "how": _HOW, "seconds": _HANG},
    "cut_answer": {"byte": Option((int,)), "how": _HOW, "seconds": _HANG},
    "drip": {"bytes": Option((int,), 1, low=1), "pause": Option((float, int), 0.05)},
    "slow_upload": {"rate": Option((int,), low=1)},
    "status": {
        "status": Option((int,), low=200, high=599),
        "body": Option((str, dict), optional=True),
        "headers": Option((dict,), optional=True),
        "at": _AT,
    },
    "hash": {"value": Option((str,), choices=("wrong", "upper", "missing"))},
    "not_json": {},
    "fields": {"drop": Option((list,), optional=True), "add": Option((dict,), optional=True)},
    "expire_tokens": {"at": _AT},
    "lag": {"seconds": _SECONDS},
    "insert_record": {
        "place": Option((str,), "front", ("front", "back")),
        "name": Option((str,), "inserted"),
        "version": Option((str,), optional=True),
    },
}
WHEN = ("always", "nth", "every", "first", "after", "probability")


@dataclass
class Rule:
    """One line of the plan."""

    number: int
    text: str
    method: str
    pattern: re.Pattern[str]
    when: str
    value: float
    action: str
    options: dict[str, Any]
    calls: int = 0
    played: int = 0

    def matches(self, method: str, path: str) -> bool:
        return self.method in ("*", method) and self.pattern.fullmatch(path) is not None

    def due(self, chance: random.Random) -> bool:
        """Count a matching call and say whether this is one of those that go wrong."""
        self.calls += 1
        conditions: dict[str, Callable[[], bool]] = {
            "always": lambda: True,
            "nth": lambda: self.calls == self.value,
            "every": lambda: self.calls % int(self.value) == 0,
            "first": lambda: self.calls <= self.value,
            "after": lambda: self.calls > self.value,
            "probability": lambda: chance.random() < self.value,
        }
        return conditions[self.when]()


@dataclass
class Plan:
    """All rules in force."""

    rules: list[Rule] = field(default_factory=list)
    chance: random.Random = field(default_factory=random.Random)

    def pick(self, method: str, path: str) -> Rule | None:
        """The rule to play for a call: the first that is due. Every rule that matches counts the call."""
        due = [rule for rule in self.rules if rule.matches(method, path) and rule.due(self.chance)]
        if not due:
            return None
        due[0].played += 1
        return due[0]

    def played(self) -> dict[str, int]:
        return {f"{rule.number}: {rule.text} {rule.action}": rule.played for rule in self.rules}

    def replace(self, other: Plan) -> None:
        self.rules, self.chance = other.rules, other.chance

    @classmethod
    def load(cls, path: str | None) -> Plan:
        """The plan in a file; without a file, one without faults."""
        if path is None:
            return cls()
        try:
            return cls.parse(Path(path).read_text(encoding="utf-8"), path)
        except (OSError, UnicodeDecodeError) as error:
            raise PlanError(f"the faults file {path} cannot be read: {error}") from None

    @classmethod
    def parse(cls, text: str, source: str) -> Plan:
        """The plan in a YAML text. Raises PlanError."""
        try:
            document = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise PlanError(f"{source} is not YAML: {error}") from None
        document = {} if document is None else document
        if not isinstance(document, dict) or not isinstance(document.get("rules", []), list):
            raise PlanError(f"{source}: expected a mapping with `rules`, a list, and if wanted `seed`, a number")
        _known(document, ("seed", "rules"), source)
        seed = document.get("seed", 0)
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise PlanError(f"{source}: seed is {seed!r}; expected a whole number")
        rules = document.get("rules") or []
        parsed = [_rule(rule, number, f"{source}, rule {number}") for number, rule in enumerate(rules, 1)]
        return cls(parsed, random.Random(seed))


def _known(given: dict[Any, Any], names: tuple[str, ...], where: str) -> None:
    unknown = [str(name) for name in given if name not in names]
    if unknown:
        raise PlanError(f"{where}: {', '.join(unknown)} is not known here; known: {', '.join(names) or 'nothing'}")


def _rule(rule: Any, number: int, where: str) -> Rule:
    if not isinstance(rule, dict):
        raise PlanError(f"{where}: expected a mapping with `match` and `do`, found {rule!r}")
    action = rule.get("do")
    if not isinstance(action, str) or action not in ACTIONS:
        raise PlanError(f"{where}: `do` is {action!r}; expected one of {', '.join(ACTIONS)}")
    _known(rule, ("match", "when", "do", *ACTIONS[action]), where)
    options = {name: _option(rule, name, option, where) for name, option in ACTIONS[action].items()}
    method, pattern = _match(rule.get("match"), where)
    when, value = _when(rule.get("when", "always"), where)
    return Rule(number, str(rule["match"]), method, pattern, when, value, action, options)


def _option(rule: dict[str, Any], name: str, option: Option, where: str) -> Any:
    if name not in rule:
        if option.default is None and not option.optional:
            raise PlanError(f"{where}: `{name}` is missing; expected {option.describe()}")
        return option.default
    if not option.accepts(rule[name]):
        raise PlanError(f"{where}: `{name}` is {rule[name]!r}; expected {option.describe()}")
    return rule[name]


def _match(text: Any, where: str) -> tuple[str, re.Pattern[str]]:
    """`METHOD path`: the path with * for one segment and ** for any; {names} as *; P and DT as in the API's table; or ~regex."""
    words = text.split(None, 1) if isinstance(text, str) else []
    if len(words) != 2 or words[0].upper() not in METHODS:
        raise PlanError(
            f"{where}: `match` is {text!r}; expected a method ({', '.join(METHODS)}) and a path such as `POST P/pool`"
        )
    method, path = words[0].upper(), words[1].strip()
    if path.startswith("~"):
        try:
            return method, re.compile(path[1:])
        except re.error as error:
            raise PlanError(f"{where}: `match` has a wrong regular expression ({error})") from None
    first, slash, rest = path.partition("/")
    path = _SHORT.get(first, first) + slash + rest
    if path != "**" and not path.startswith(("/", "*")):
        raise PlanError(f"{where}: the path {path!r} must start with /, P, DT, * or ~")
    pieces = re.split(r"(\*\*|\*|\{\w+\})", path)
    regex = "".join(
        ".*" if piece == "**" else "[^/]*" if piece == "*" or piece.startswith("{") else re.escape(piece)
        for piece in pieces
    )
    pattern = re.compile(regex)
    # a path with {names} is one of the API's; without them it may be anything
    sample = re.sub(r"\{\w+\}", "x", path).split("/")
    if "{" in rest and "*" not in path and not any(found.match(sample) is not None for found in ROUTES):
        raise PlanError(f"{where}: `{text}` is no call of this service")
    return method, pattern


def _when(when: Any, where: str) -> tuple[str, float]:
    if when == "always":
        return "always", 0
    if isinstance(when, dict) and len(when) == 1:
        name, value = next(iter(when.items()))
        good = not isinstance(value, bool) and isinstance(value, (int, float))
        if name == "probability" and good and 0 <= value <= 1:
            return name, float(value)
        if name in WHEN[1:5] and good and value == int(value) and value >= (0 if name == "after" else 1):
            return name, int(value)
    raise PlanError(
        f"{where}: `when` is {when!r}; expected always, or one of nth: N, every: N, first: N, after: N, probability: 0 to 1"
    )


def plain_path(raw: bytes) -> str:
    """The path that rules are compared with: decoded, except that an escaped slash stays escaped."""
    return "/".join(unquote(part).replace("/", "%2F") for part in raw.decode("ascii", "replace").split("/"))
