# SPDX-License-Identifier: MIT
"""A person at the login page of the local OTA service (`--login keycloak`), with a browser that follows redirects or does not."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import requests

from rehearsal.ota_service.keycloak import OPENID
from rehearsal.service import RunningService

CLIENT_ID = "local-client"


def conf(service: RunningService, folder: Path, **keys: Any) -> Path:
    """A configuration file for that door, without any secret."""
    public = {key: service.settings[key] for key in ("name", "version", "partnerId", "deviceTypeId")}
    login = {"serviceUrl": service.url, "tokenUrl": f"{service.url}{OPENID}/token", "clientId": CLIENT_ID}
    path = folder / "conf.json"
    path.write_text(json.dumps({**public, **login, **keys}))
    path.chmod(0o600)
    return path


def log_in(service: RunningService, url: str) -> str:
    """Fill in both forms; returns the address that the page leads to, without going there."""
    form = {"username": service.settings["username"], "password": service.settings["userpw"]}
    page = _submit(requests.get(url, timeout=30), form)
    done = _submit(page, {"emailCode": service.sim.call("GET", "/mail")["code"]})
    assert done.status_code == 302, done.text
    return str(done.headers["Location"])


def _submit(page: requests.Response, form: dict[str, str]) -> requests.Response:
    page.raise_for_status()
    action = re.search(r'action="([^"]*)"', page.text)
    assert action, page.text
    where = urljoin(page.url, html.unescape(action[1]))
    return requests.post(where, data={**form, "action": "submit"}, allow_redirects=False, timeout=30)
