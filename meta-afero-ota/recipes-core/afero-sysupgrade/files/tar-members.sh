#!/bin/sh
# SPDX-License-Identifier: MIT
# Which members a tar archive may have, and that its listing and manifest describe them. Sourced by engine-tar.sh, not run.
# shellcheck disable=SC2034 # used by engine-tar.sh
SLOT_FILES="./etc/afero-ota/compatible ./etc/afero-ota/manifest ./etc/afero-ota/listing ./etc/full-ota-record.json"
SLOT_FILE_LIMIT=8388608 # bytes; no image has a list as long as that

# check_members: list the archive, and with that read it to its end; refuse what no image has. Writes `members` (names; links with
# their target) and `sizes` (the slot files' sizes and names, in the order of the archive), sets SIZE (KiB), ENTRIES, SLOT_FILE_BYTES
# and BEHIND: folders of the archive that come after the last slot file.
# awk holds each line of the list once; the line END tells a whole list from one that a full /run cut off.
check_members() {
    literal=
    # GNU tar would write a backslash twice
    ! tar --version 2>/dev/null | grep -q GNU || literal=--quoting-style=literal
    # shellcheck disable=SC2086 # nothing, or one option
    unpacked $literal -tvf - >"$WORK/list" || fail 5 "the image is not an intact $FORMAT tar archive: $(unpack_error)"
    echo END >>"$WORK/list"
    required=$SLOT_FILES
    [ ! -r "$OTA_DIR/boot-files" ] || required="$required $(sed 's/^/./' "$OTA_DIR/boot-files" | tr '\n' ' ')"
    awk -v required="$required" -v slot_files="$SLOT_FILES" -v limit=$SLOT_FILE_LIMIT -v out="$WORK/members" -v sizes="$WORK/sizes" '
        function refuse(text) { print text; failed = 1; exit 1 }
        function climbs(path, target,   parts, count, depth, i) {
            depth = 0
            if (target !~ /^\//) depth = split(path, parts, "/") - 2
            count = split(target, parts, "/")
            for (i = 1; i <= count; i++) {
                if (parts[i] == "..") depth--
                else if (parts[i] != "" && parts[i] != ".") depth++
                if (depth < 0) return 1
            }
            return 0
        }
        BEGIN { count = split(slot_files, names, " "); for (i = 1; i <= count; i++) is_slot_file[names[i]] = 1 }
        $0 == "END" { whole = 1; next }
        {
            # later versions of busybox list such bytes so
            gsub(/[^ -~]/, "?")
            type = substr($0, 1, 1)
            if (!match($0, /^[^ ]+ +[^ ]+ +[^ ]+ +[0-9]+-[0-9]+-[0-9]+ +[0-9:]+ /)) refuse("a member with an unreadable name")
            name = substr($0, RLENGTH + 1)
            size = $3
            target = ""
            at = index(name, " -> ")
            if (type == "h") { at = index(name, " link to "); width = 9 } else width = 4
            if (at) {
                target = substr(name, at + width)
                name = substr(name, 1, at - 1)
                if (type == "-") type = "h"
                if (index(target, " -> ")) refuse("a name with an arrow in it: " name)
            }
            sub(/\/$/, "", name)
            if (name != "." && name !~ /^\.\//) refuse("a name that does not start with ./: " name)
            if (name ~ /\/\.\.?(\/|$)/ || name ~ /\/\//) refuse("a name that leads elsewhere: " name)
            if (type != "-" && type != "d" && type != "l" && type != "h") refuse("a device node or other special file: " name)
            # two files whose names differ in masked bytes only are told apart by the listing, once they are written
            if (name in seen && !(index(name, "?") && type == "-" && seen[name] == "-")) refuse("the same name twice: " name)
            parent = name
            # as a string, since awks differ in what \/ means in brackets
            sub("/[^/]*$", "", parent)
            if (name != "." && seen[parent] != "d") refuse("a name below something that is no directory: " name)
            if (type == "h" && seen[target] != "-") refuse("a hard link to something that is no file of the image: " name)
            if (type == "l" && climbs(name, target)) refuse("a link that leads out of the image: " name " -> " target)
            if (name == "./etc/afero-ota/complete" || name ~ /^\.\/etc\/afero-ota\/hdr(\/|$)/ || name ~ "^[.]/etc/ota_type_[^/]*[.]hdr$")
                refuse("its own " substr(name, 2) ", which only sysupgrade may write")
            if (name in is_slot_file) {
                if (size + 0 > limit) refuse("a slot file that is too long: " name)
                print size, name > sizes
                bytes += size
                behind = ""
            } else if (type == "d" && name ~ "^[.]/[a-z0-9]+$") behind = behind " " name
            seen[name] = type
            entries++
            if (type == "-") blocks += int((size + 4095) / 4096)
            if (type == "d") blocks++
            print (type == "l" ? name " -> " target : name) > out
        }
        END {
            if (failed) exit 1
            if (!whole) { print "a list of its members that does not fit into /run"; exit 1 }
            count = split(required, names, " ")
            for (i = 1; i <= count; i++)
                if (!(names[i] in seen)) { print "no " substr(names[i], 2); exit 1 }
            if (!("./sbin/init" in seen) && !("./usr/sbin/init" in seen)) { print "no /sbin/init"; exit 1 }
            for (name in is_slot_file)
                if (seen[name] != "-") { print "a " substr(name, 2) " that is no ordinary file"; exit 1 }
            print "END" > out
            if (close(out) || close(sizes)) { print "a list of its members that does not fit into /run"; exit 1 }
            print blocks * 4, entries, bytes, behind
        }' "$WORK/list" >"$WORK/result" || fail 5 "the image has $(sed -n '1p' "$WORK/result")"
    rm -f "$WORK/list"
    read -r SIZE ENTRIES SLOT_FILE_BYTES BEHIND <"$WORK/result" || fail 4 "$WORK_DIR is full"
}

# read_slot_files: into `new`. The image is decompressed no further than to the last of them. tar gives nothing a name, so that no
# member, whatever it is, can lead it elsewhere.
read_slot_files() {
    (
        # BEHIND is asked for as well, but there is no room left for it: that ends tar, and with it the decompression
        trap '' XFSZ
        ulimit -f $((SLOT_FILE_BYTES / 512 + 1)) || exit 1
        # shellcheck disable=SC2086 # lists of names
        unpack | tar -xOf - $SLOT_FILES $BEHIND >"$WORK/rest"
    ) 2>/dev/null
    while read -r size name; do
        dd if="$WORK/rest" of="$WORK/new/${name##*/}" bs="$size" count=1 2>/dev/null || return 1
        [ "$(wc -c <"$WORK/new/${name##*/}")" -eq "$size" ] || return 1
        tail -c +$((size + 1)) "$WORK/rest" >"$WORK/rest.new" && mv -f "$WORK/rest.new" "$WORK/rest" || return 1
    done <"$WORK/sizes"
    rm -f "$WORK/rest"
}

# check_lists: listing and members name the same things, listing and manifest the same files. Writes `listing`, ended by END.
check_lists() {
    { cat "$WORK/new/listing" && echo END; } >"$WORK/listing"
    sed 's/^[^ ]* [^ ]* [^ ]* //' "$WORK/listing" | tr -c '\n -~' '?' >"$WORK/expected"
    same "$WORK/expected" "$WORK/members" || fail 5 "the listing in the image does not describe its members: $(cat "$WORK/difference")"
    sed -n -e 's/^8[0-9a-f]* [^ ]* [^ ]* //p' -e '/^END$/p' "$WORK/listing" | sed '/^\.\/etc\/afero-ota\/manifest$/d' >"$WORK/expected"
    { sed 's/^[0-9a-f]\{64\}  //' "$WORK/new/manifest" && echo END; } >"$WORK/members"
    same "$WORK/expected" "$WORK/members" || fail 5 "the manifest in the image does not name its files: $(cat "$WORK/difference")"
}

# same EXPECTED FOUND: both lists are whole and have the same lines, in any order; writes the first difference to `difference`
same() {
    awk -v expected="$1" '
        FILENAME == expected { if ($0 == "END") whole++; else want[$0]++; next }
        $0 == "END" { whole++; next }
        want[$0] > 0 { want[$0]--; next }
        { print "found: " $0; differs = 1; exit 1 }
        END {
            if (differs) exit 1
            if (whole != 2) { print "a list is cut off: is /run full?"; exit 1 }
            for (line in want) if (want[line] > 0) { print "missing: " line; exit 1 }
        }' "$1" "$2" >"$WORK/difference"
}
