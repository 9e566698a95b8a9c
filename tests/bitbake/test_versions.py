# SPDX-License-Identifier: MIT
"""Our comparison of versions, and BitBake's, over thousands of pairs."""

from __future__ import annotations

import json
import random
import subprocess
import sys

from afero_ota.release import versions
from rehearsal.build import Workspace

PARTS = ["0", "1", "01", "9", "10", "99", "a", "b", "rc", "alpha", "Z", ".", "+", "_", "~", "git", "^"]
ORACLE = """
import json, sys
import bb.utils
print(json.dumps([bb.utils.vercmp_string(*pair) for pair in json.load(sys.stdin)]))
"""


def some_version(chance: random.Random) -> str:
    number = "".join(chance.choices(PARTS, k=chance.randint(1, 6)))
    epoch = chance.choice(["", "", "", "0:", "1:", "10:"])
    return f"{epoch}{number}{chance.choice(['', '-r0', '-r1', '-r10', '-r1.2'])}"


def test_versions_compare_as_with_bitbake(any_release: Workspace) -> None:
    chance = random.Random(1)
    pairs = [(some_version(chance), some_version(chance)) for _ in range(20_000)]
    # often almost equal
    pairs += [(one, one + more) for one, _ in pairs for more in ("~1", ".0")]
    environment = {"PYTHONPATH": str(any_release.folder / "bitbake" / "lib")}
    command = [sys.executable, "-c", ORACLE]
    done = subprocess.run(
        command, env=environment, input=json.dumps(pairs), stdout=subprocess.PIPE, text=True, check=True
    )
    said = [(number > 0) - (number < 0) for number in json.loads(done.stdout)]
    ours = [versions.compare(*pair) for pair in pairs]
    differ = [(pair, one, other) for pair, one, other in zip(pairs, ours, said) if one != other]
    assert len(said) == 60_000 and not differ, differ[:5]
