# SPDX-License-Identifier: MIT
"""The SBOM beside a payload: what is kept, what the manifest says of it, and what is refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from afero_ota import errors, payload, sbom

CONTENT = b"an image"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def info(name: str = "", created: str = "2011-04-05T23:00:00Z") -> dict[str, Any]:
    node = {"type": "CreationInfo", "created": created, "specVersion": "3.0.1"}
    return {**node, "@id": name} if name else node


def file(name: str, sha256: str, made_by: str) -> dict[str, Any]:
    proof = {"type": "Hash", "algorithm": "sha256", "hashValue": sha256}
    return {
        "type": "software_File",
        "spdxId": f"x/{name}",
        "name": name,
        "creationInfo": made_by,
        "verifiedUsing": [proof],
    }


def document(*nodes: dict[str, Any]) -> dict[str, Any]:
    return {"@context": "https://spdx.org/rdf/3.0.1/spdx-context.jsonld", "@graph": list(nodes)}


@pytest.fixture
def made(tmp_path: Path) -> payload.Payload:
    path = tmp_path / "deploy" / "hub_update.bin"
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    return payload.measure(str(path))


def written(tmp_path: Path, said: object) -> str:
    path = tmp_path / "image.spdx.json"
    path.write_text(said if isinstance(said, str) else json.dumps(said))
    return str(path)


def test_an_sbom_that_lists_the_payload_is_kept_and_measured(tmp_path: Path, made: payload.Payload) -> None:
    path = written(tmp_path, document(info("_:1"), file("image.tar.gz", SHA256, "_:1")))
    facts = sbom.keep({"sbom": path}, made)["sbom"]
    content = Path(made.path + ".spdx.json").read_bytes()
    assert facts == {
        "file": "hub_update.bin.spdx.json",
        "format": "SPDX-3.0.1",
        "reproducible": True,
        "sha256": hashlib.sha256(content).hexdigest(),
        "size": len(content),
    }


def test_an_sbom_that_does_not_list_the_payload_is_refused_with_its_hash(tmp_path: Path, made: payload.Payload) -> None:
    path = written(tmp_path, document(info("_:1"), file("image.tar.gz", "0" * 64, "_:1")))
    with pytest.raises(errors.OtaError, match=f"none of the files in the SBOM has the payload's SHA-256 {SHA256}"):
        sbom.keep({"sbom": path}, made)


@pytest.mark.parametrize(
    ("said", "problem"), [("{", "is not JSON"), ({"spdxVersion": "SPDX-2.3"}, "not an SPDX 3 document")]
)
def test_what_is_no_spdx_3_document_is_refused(
    tmp_path: Path, made: payload.Payload, said: object, problem: str
) -> None:
    with pytest.raises(errors.ConfigError, match=problem):
        sbom.keep({"sbom": written(tmp_path, said)}, made)


def test_the_canonical_form_depends_neither_on_the_order_nor_on_the_names_of_the_nodes() -> None:
    later = "2012-01-01T00:00:00Z"
    one = document(info("_:A"), info(), info("_:B", later), file("a", SHA256, "_:A"), file("b", SHA256, "_:B"))
    other = document(file("b", SHA256, "_:2"), info("_:1"), file("a", SHA256, "_:1"), info("_:2", later))
    assert sbom.canonical(one) == sbom.canonical(other)


def test_the_canonical_form_keeps_every_element_and_what_it_says() -> None:
    later = "2012-01-01T00:00:00Z"
    found = sbom.canonical(
        document(info("_:B", later), info("_:A"), file("b", "1" * 64, "_:B"), file("a", SHA256, "_:A"))
    )
    created = {node["@id"]: node["created"] for node in found["@graph"] if node["type"] == "CreationInfo"}
    files = [node for node in found["@graph"] if node["type"] == "software_File"]
    assert [(one["name"], created[one["creationInfo"]][:4]) for one in files] == [("a", "2011"), ("b", "2012")]
    assert sorted(sbom.file_hashes(found)) == sorted([SHA256, "1" * 64])


def test_a_changed_file_is_named_with_both_hashes_and_a_missing_one_too(tmp_path: Path, made: payload.Payload) -> None:
    path = written(tmp_path, document(info("_:1"), file("image.tar.gz", SHA256, "_:1")))
    vex = tmp_path / "image.vex.json"
    vex.write_text("{}")
    facts = sbom.keep({"sbom": path, "vex": str(vex)}, made)
    folder = Path(made.path).parent
    sbom.verify(str(folder), facts)
    (folder / "hub_update.bin.spdx.json").write_text("{}")
    (folder / "hub_update.bin.vex.json").unlink()
    with pytest.raises(errors.ConfigError) as caught:
        sbom.verify(str(folder), facts)
    said = str(caught.value)
    assert f"hub_update.bin.spdx.json: has SHA-256 {hashlib.sha256(b'{}').hexdigest()}" in said
    assert f"expected {facts['sbom']['sha256']}" in said
    assert "hub_update.bin.vex.json: cannot be read" in said
