# SPDX-License-Identifier: MIT
"""Images on their way to devices.

direct.py pushes to named devices and does not wait for them. A rollout follows a plan (plan.py) and waits for every device:

    selection.py   which devices, in what order, in which waves
    planning.py    a plan from what the cloud has, and whether the cloud still fits a plan
    decision.py    what to do next: a pure function of the plan, of what is known, and of the time
    acting.py      does it: polls, pushes, waits
    looking.py     the devices as the cloud lists them
    campaign.py    a plan from beginning to end: checks, journal, page, exit status
    ledger.py      the journal of a rollout, from which it goes on
    control.py     pause, resume and abort from elsewhere
    telling.py     what a rollout says while it goes on
    images.py      which image is meant
    story.py       a rollout as plain data, for reports
"""

from .direct import (
    SETTLE,
    Image,
    Outcome,
    Result,
    exit_status,
    find_image,
    push,
    read_devices,
    split_ids,
)

__all__ = [
    "SETTLE",
    "Image",
    "Outcome",
    "Result",
    "exit_status",
    "find_image",
    "push",
    "read_devices",
    "split_ids",
]
