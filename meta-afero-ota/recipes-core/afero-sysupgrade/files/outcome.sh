#!/bin/sh
# SPDX-License-Identifier: MIT
# What became of an update, for the cloud and for people. Sourced after slots.sh, not run.
#
# The cloud gets one line: attrd sends /afero_nv/reboot_reason as attribute 65019. It puts "<ctime>:<line>" into 100 bytes and sends
# as many as that would have taken, so a line may have 74 bytes; with more, attrd sends what lies behind its buffer. The forms are
# also those of lib/afero_ota/outcome.py:
#
#     ota 7112 ok                              ota 7112 rolled back, health hubby
#     ota 7112 refused 7 does not fit          ota 7112 restarted, not confirmed
#     ota 7112 failed 21 contents differ       the number is a ? when it is not known
#
# People find the last outcomes in /data/afero-ota/history, and in failed-boot.log the end of the log of the last boot that failed.
# Nothing here may stop an update or a confirmation: whatever cannot be written is left out.
REASON_FILE=/afero_nv/reboot_reason
HISTORY_LINES=20
FAILED_BOOT_BYTES=16384

# status_words STATUS: the same few words for every exit status, so that a fleet's failures can be grouped by them
status_words() {
    case $1 in
    2) echo "no image file" ;;
    3) echo "another update at work" ;;
    4) echo "device not ready" ;;
    5) echo "not a valid image" ;;
    6) echo "other hardware" ;;
    7) echo "does not fit" ;;
    8) echo "older than running" ;;
    9) echo "rolled back before" ;;
    10) echo "not signed" ;;
    11) echo "signer not trusted" ;;
    20) echo "slot not written" ;;
    21) echo "contents differ" ;;
    22) echo "environment not written" ;;
    *) echo "unexpected end" ;;
    esac
}

# outcome VERSION TEXT [DETAIL]: write the line, and add it to the history, there with the detail
outcome() {
    case $1 in
    '' | *[!0-9]* | ????????????????????*) line="ota ? $2" ;;
    *) line="ota $1 $2" ;;
    esac
    line=$(printf '%s' "$line" | tr -c ' -~' '?' | cut -c 1-74)
    if [ -d "${REASON_FILE%/*}/" ]; then
        # in place if need be: a full disk has room for what replaces otamgr's own line
        { printf '%s' "$line" >"$REASON_FILE.new" && mv -f "$REASON_FILE.new" "$REASON_FILE"; } 2>/dev/null ||
            printf '%s' "$line" 2>/dev/null >"$REASON_FILE"
    fi
    if mkdir -p "$STATE_DIR" 2>/dev/null; then
        {
            tail -n $((HISTORY_LINES - 1)) "$STATE_DIR/history"
            printf '%s %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$line${3:+ ($(printf '%s' "$3" | tr -c ' -~' '?' | cut -c 1-300))}"
        } 2>/dev/null >"$STATE_DIR/history.new" && mv -f "$STATE_DIR/history.new" "$STATE_DIR/history"
    fi
    rm -f "$REASON_FILE.new" "$STATE_DIR/history.new" 2>/dev/null
    sync
    say "$line"
}

# keep_failed_boot WHY: the end of what this boot logged, since the next one starts with an empty log
keep_failed_boot() {
    mkdir -p "$STATE_DIR" 2>/dev/null || return 0
    {
        printf '%s slot %s: %s\n%s' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$SLOT" "$1" "$SAID"
        dmesg | tail -n 60
        if command -v journalctl >/dev/null; then
            journalctl -b -n 150 --no-pager
        elif [ -r /var/log/messages ]; then
            tail -n 150 /var/log/messages
        else
            logread | tail -n 150
        fi
    } 2>/dev/null | tail -c "$FAILED_BOOT_BYTES" >"$STATE_DIR/failed-boot.log.new" &&
        mv -f "$STATE_DIR/failed-boot.log.new" "$STATE_DIR/failed-boot.log"
} 2>/dev/null
