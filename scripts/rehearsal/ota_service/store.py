# SPDX-License-Identifier: MIT
"""What the service remembers: SQLite for everything small, files for images. Survives a restart."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import sqlite3
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

SCHEMA = """
CREATE TABLE IF NOT EXISTS types (type INTEGER PRIMARY KEY, doc TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS records (
    id INTEGER PRIMARY KEY AUTOINCREMENT, number INTEGER NOT NULL UNIQUE,
    type INTEGER NOT NULL, name TEXT NOT NULL, version TEXT NOT NULL, doc TEXT NOT NULL,
    place INTEGER NOT NULL DEFAULT 0, UNIQUE (type, name, version));
CREATE TABLE IF NOT EXISTS images (
    id INTEGER PRIMARY KEY AUTOINCREMENT, device_type TEXT NOT NULL,
    type INTEGER NOT NULL, number INTEGER NOT NULL, doc TEXT NOT NULL, UNIQUE (device_type, type, number));
CREATE TABLE IF NOT EXISTS uploads (sha256 TEXT PRIMARY KEY, size INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS files (name TEXT PRIMARY KEY, sha256 TEXT NOT NULL, size INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS devices (
    id TEXT PRIMARY KEY, device_type TEXT NOT NULL, friendly_name TEXT NOT NULL, number INTEGER NOT NULL DEFAULT 0,
    updating INTEGER NOT NULL DEFAULT 0, reported INTEGER NOT NULL DEFAULT 0, available INTEGER NOT NULL DEFAULT 1,
    behaviour TEXT NOT NULL DEFAULT 'normal', reason TEXT NOT NULL DEFAULT '', reason_time INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS pushes (
    id INTEGER PRIMARY KEY AUTOINCREMENT, device TEXT NOT NULL, image INTEGER NOT NULL, time INTEGER NOT NULL,
    state TEXT NOT NULL DEFAULT 'pending', detail TEXT NOT NULL DEFAULT '', offset INTEGER NOT NULL DEFAULT 0,
    total INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS tokens (
    token TEXT PRIMARY KEY, kind TEXT NOT NULL, ends REAL NOT NULL,
    family TEXT NOT NULL DEFAULT '', used INTEGER NOT NULL DEFAULT 0);
"""
# three ranges, so that a client that mixes the ids up is found out
FIRST_RECORD, FIRST_NUMBER, FIRST_IMAGE = 11_561, 7_112, 49_867
KNOWN_TYPES = {
    1: "Bootloader",
    2: "BLE stack",
    3: "Application",
    4: "Device description",
    5: "Hub",
    6: "Wi-Fi",
    7: "Wi-Fi certificates",
    8: "WAN APN list",
}


def now() -> int:
    """Milliseconds since 1970."""
    return int(time.time() * 1000)


def _digest(token: str) -> str:
    # a copy of the data folder must not be a way in
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


class Store:
    """All state of one service, in one folder."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.uploads, self.repository = folder / "uploads", folder / "repository"
        for path in (self.uploads, self.repository):
            path.mkdir(parents=True, exist_ok=True)
        for leftover in self.uploads.glob("*.part"):
            leftover.unlink()
        self.db = sqlite3.connect(folder / "service.sqlite", isolation_level=None, check_same_thread=False)
        self.db.row_factory = sqlite3.Row
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.executescript(SCHEMA)
        self._add_columns()
        for table, first in (("records", FIRST_RECORD), ("images", FIRST_IMAGE)):
            self.db.execute(
                "INSERT INTO sqlite_sequence (name, seq) SELECT ?, ? WHERE NOT EXISTS "
                "(SELECT 1 FROM sqlite_sequence WHERE name = ?)",
                (table, first - 1, table),
            )
        for number, name in KNOWN_TYPES.items():
            if not self.type(number):
                self.add_type(number, name, None)

    def _add_columns(self) -> None:
        """Bring a data folder of an earlier version up to date."""
        text, number = "TEXT NOT NULL DEFAULT ''", "INTEGER NOT NULL DEFAULT 0"
        added = {"devices": {"reason": text, "reason_time": number}, "tokens": {"family": text, "used": number}}
        for table, columns in added.items():
            known = {row["name"] for row in self.db.execute(f"PRAGMA table_info ({table})")}
            for name in columns.keys() - known:
                self.db.execute(f"ALTER TABLE {table} ADD COLUMN {name} {columns[name]}")

    def close(self) -> None:
        self.db.close()

    def _docs(self, query: str, values: Iterable[Any] = ()) -> list[dict[str, Any]]:
        return [json.loads(row["doc"]) for row in self.db.execute(query, tuple(values))]

    # ---- tokens ------------------------------------------------------------------------------------------------------

    def add_token(self, kind: str, lifetime: float, family: str = "") -> str:
        """A new token; family: the login that it descends from, for those that can be revoked together."""
        token = secrets.token_urlsafe(24)
        self.db.execute("DELETE FROM tokens WHERE ends < ?", (time.time(),))
        query = "INSERT INTO tokens (token, kind, ends, family) VALUES (?, ?, ?, ?)"
        self.db.execute(query, (_digest(token), kind, time.time() + lifetime, family))
        return token

    def refresh_token(self, token: str) -> tuple[str, bool]:
        """The family of a refresh token, "" for one that is unknown or has expired, and whether it was used before."""
        query = "SELECT family, used FROM tokens WHERE token = ? AND kind = 'refresh' AND ends > ?"
        row = self.db.execute(query, (_digest(token), time.time())).fetchone()
        return (row["family"], bool(row["used"])) if row else ("", False)

    def spend(self, token: str) -> None:
        self.db.execute("UPDATE tokens SET used = 1 WHERE token = ?", (_digest(token),))

    def drop_family(self, family: str) -> None:
        """Revoke every token that descends from one login."""
        self.db.execute("DELETE FROM tokens WHERE family = ?", (family,))

    def token_is_good(self, token: str, kind: str) -> bool:
        query = "SELECT 1 FROM tokens WHERE token = ? AND kind = ? AND ends > ?"
        return self.db.execute(query, (_digest(token), kind, time.time())).fetchone() is not None

    def drop_tokens(self, kind: str) -> None:
        self.db.execute("DELETE FROM tokens WHERE kind = ?", (kind,))

    # ---- types -------------------------------------------------------------------------------------------------------

    def add_type(self, number: int, name: str, description: str | None) -> dict[str, Any]:
        stamp = now()
        doc = {
            "id": str(1000 + number),
            "name": name,
            "type": number,
            "createdTimestamp": stamp,
            "updatedTimestamp": stamp,
            "versionAttributeId": 2000 + number,
        }
        if description:
            doc["description"] = description
        self.db.execute("INSERT INTO types VALUES (?, ?)", (number, json.dumps(doc)))
        return doc

    def type(self, number: int) -> dict[str, Any] | None:
        return next(iter(self._docs("SELECT doc FROM types WHERE type = ?", (number,))), None)

    def types(self) -> list[dict[str, Any]]:
        return self._docs("SELECT doc FROM types ORDER BY type")

    def save_type(self, doc: dict[str, Any]) -> None:
        doc["updatedTimestamp"] = now()
        self.db.execute("UPDATE types SET doc = ? WHERE type = ?", (json.dumps(doc), doc["type"]))

    # ---- records -----------------------------------------------------------------------------------------------------

    def add_record(self, doc: dict[str, Any], place: int = 0) -> dict[str, Any] | None:
        """Number and keep a record; None when (type, name, version) is taken. A smaller place is listed earlier."""
        self.db.execute("BEGIN IMMEDIATE")
        try:
            last = self.db.execute("SELECT max(number) FROM records").fetchone()[0]
            number = max(FIRST_NUMBER, (last or 0) + 1)
            key = (number, doc["type"], doc["name"], doc["version"], place)
            cursor = self.db.execute(
                "INSERT INTO records (number, type, name, version, place, doc) VALUES (?, ?, ?, ?, ?, '')", key
            )
            stamp = now()
            doc = {**doc, "id": str(cursor.lastrowid), "versionNumber": str(number)}
            doc |= {"createdTimestamp": stamp, "updatedTimestamp": stamp}
            self.db.execute("UPDATE records SET doc = ? WHERE id = ?", (json.dumps(doc), cursor.lastrowid))
        except sqlite3.IntegrityError:
            self.db.execute("ROLLBACK")
            return None
        self.db.execute("COMMIT")
        return doc

    def records(self, number_of_type: int | None = None, lag: int = 0) -> list[dict[str, Any]]:
        """All records or those of a type; without those made in the last `lag` milliseconds."""
        query = "SELECT doc FROM records WHERE type = coalesce(?, type) ORDER BY place, id"
        limit = now() - lag
        return [doc for doc in self._docs(query, (number_of_type,)) if not lag or doc["createdTimestamp"] <= limit]

    def record(self, number_of_type: int, number: int) -> dict[str, Any] | None:
        query = "SELECT doc FROM records WHERE type = ? AND number = ?"
        return next(iter(self._docs(query, (number_of_type, number))), None)

    def save_record(self, doc: dict[str, Any]) -> bool:
        """Keep a changed record; False when its new name and version are taken."""
        doc["updatedTimestamp"] = now()
        query = "UPDATE records SET name = ?, version = ?, doc = ? WHERE id = ?"
        try:
            self.db.execute(query, (doc["name"], doc["version"], json.dumps(doc), int(doc["id"])))
        except sqlite3.IntegrityError:
            return False
        return True

    # ---- images ------------------------------------------------------------------------------------------------------

    def add_image(self, device_type: str, record: dict[str, Any]) -> dict[str, Any] | None:
        """Associate a record; None when it is associated already."""
        key = (device_type, record["type"], int(record["versionNumber"]))
        try:
            cursor = self.db.execute("INSERT INTO images (device_type, type, number, doc) VALUES (?, ?, ?, '')", key)
        except sqlite3.IntegrityError:
            return None
        doc = {**record, "id": str(cursor.lastrowid), "deviceTypeId": device_type}
        self.db.execute("UPDATE images SET doc = ? WHERE id = ?", (json.dumps(doc), cursor.lastrowid))
        return doc

    def images(self, device_type: str | None = None, number_of_type: int | None = None) -> list[dict[str, Any]]:
        query = "SELECT doc FROM images WHERE device_type = coalesce(?, device_type) AND type = coalesce(?, type) ORDER BY id"
        return self._docs(query, (device_type, number_of_type))

    def image(self, image_id: int) -> dict[str, Any] | None:
        return next(iter(self._docs("SELECT doc FROM images WHERE id = ?", (image_id,))), None)

    def drop_image(self, image_id: int) -> None:
        self.db.execute("DELETE FROM images WHERE id = ?", (image_id,))

    # ---- files -------------------------------------------------------------------------------------------------------

    def new_part(self) -> Path:
        return self.uploads / f"{secrets.token_hex(8)}.part"

    def keep_upload(self, part: Path, sha256: str, size: int) -> None:
        os.replace(part, self.uploads / sha256)
        self.db.execute("INSERT OR REPLACE INTO uploads VALUES (?, ?)", (sha256, size))

    def move(self, sha256: str) -> str | None:
        """Move an upload to the repository and return its new name; None when there is no such upload."""
        row = self.db.execute("SELECT size FROM uploads WHERE sha256 = ?", (sha256,)).fetchone()
        if row is None:
            return None
        name = secrets.token_hex(16)
        os.replace(self.uploads / sha256, self.repository / name)
        self.db.execute("INSERT INTO files VALUES (?, ?, ?)", (name, sha256, row["size"]))
        self.db.execute("DELETE FROM uploads WHERE sha256 = ?", (sha256,))
        return name

    def file(self, url: str) -> sqlite3.Row | None:
        """name, sha256 and size of the repository file behind a URL."""
        query = "SELECT * FROM files WHERE name = ?"
        row: sqlite3.Row | None = self.db.execute(query, (url.rsplit("/", 1)[-1],)).fetchone()
        return row

    # ---- devices and pushes ------------------------------------------------------------------------------------------

    def save_device(self, device: str, device_type: str, friendly_name: str, number: int) -> None:
        self.db.execute(
            "INSERT INTO devices (id, device_type, friendly_name, number) VALUES (?, ?, ?, ?) ON CONFLICT (id) DO "
            "UPDATE SET device_type = excluded.device_type, friendly_name = excluded.friendly_name, number = excluded.number",
            (device, device_type, friendly_name, number),
        )

    def device(self, device: str) -> sqlite3.Row | None:
        row: sqlite3.Row | None = self.db.execute("SELECT * FROM devices WHERE id = ?", (device,)).fetchone()
        return row

    def devices(self) -> list[sqlite3.Row]:
        return list(self.db.execute("SELECT * FROM devices ORDER BY id"))

    def change_device(self, device: str, changes: Mapping[str, Any]) -> None:
        """Set behaviour, updating, available or versionNumber."""
        columns = {
            "behaviour": "behaviour",
            "updating": "updating",
            "available": "available",
            "versionNumber": "number",
        }
        for name, value in changes.items():
            value = value if name == "behaviour" else int(value)
            self.db.execute(f"UPDATE devices SET {columns[name]} = ? WHERE id = ?", (value, device))
        if "behaviour" in changes and "available" not in changes:
            here = changes["behaviour"] != "offline"
            self.db.execute("UPDATE devices SET available = ? WHERE id = ?", (int(here), device))

    def drop_device(self, device: str) -> None:
        self.db.execute("DELETE FROM devices WHERE id = ?", (device,))

    def report(self, device: str, updating: bool, number: int | None, reason: str | None = None) -> None:
        query = "UPDATE devices SET updating = ?, number = coalesce(?, number), reported = ? WHERE id = ?"
        self.db.execute(query, (int(updating), number, now(), device))
        if reason is not None:
            self.db.execute("UPDATE devices SET reason = ?, reason_time = ? WHERE id = ?", (reason, now(), device))

    def progress(self, device: str, offset: int, total: int) -> None:
        query = "UPDATE pushes SET offset = ?, total = ? WHERE device = ? AND state = 'pending'"
        self.db.execute(query, (offset, total, device))

    def add_push(self, device: str, image: int) -> None:
        self.db.execute("INSERT INTO pushes (device, image, time) VALUES (?, ?, ?)", (device, image, now()))

    def pending(self, device: str) -> sqlite3.Row | None:
        query = "SELECT * FROM pushes WHERE device = ? AND state = 'pending' ORDER BY id DESC LIMIT 1"
        row: sqlite3.Row | None = self.db.execute(query, (device,)).fetchone()
        return row

    def end_pushes(self, device: str, state: str, detail: str) -> None:
        query = "UPDATE pushes SET state = ?, detail = ? WHERE device = ? AND state = 'pending'"
        self.db.execute(query, (state, detail, device))

    def pushes(self) -> list[dict[str, Any]]:
        return [dict(row) for row in self.db.execute("SELECT * FROM pushes ORDER BY id")]
