#!/bin/sh
# SPDX-License-Identifier: MIT
# One sysupgrade at a time. Sourced by sysupgrade after slots.sh, not run.
LOCK=$WORK_DIR/lock

# born PID: when the process started, in ticks since the kernel did; together with its number that belongs to no other process
born() {
    sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d ' ' -f 20
}

# the lock is a link whose target names the owner's process: made and marked in one system call
take_lock() {
    me=$$:$(born $$)
    ln -sn "$me" "$LOCK" 2>/dev/null && return 0
    # only one at a time may judge a lock that was left behind
    mkdir "$LOCK.check" 2>/dev/null || return 1
    owner=$(readlink "$LOCK")
    taken=1
    if [ "$owner" != "${owner%%:*}:$(born "${owner%%:*}")" ]; then
        rm -f "$LOCK"
        ln -sn "$me" "$LOCK" 2>/dev/null
        taken=$?
    fi
    rmdir "$LOCK.check"
    return $taken
}
