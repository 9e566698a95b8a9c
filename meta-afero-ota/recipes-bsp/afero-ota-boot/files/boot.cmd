# SPDX-License-Identifier: MIT
# Choose the slot to start: RAUC's variables BOOT_ORDER, BOOT_A_LEFT, BOOT_B_LEFT. One script for all boards: the board's part
# comes before it and sets mmc, slots, boot, kernel, fdt, initramfs, args and, where U-Boot has no *_addr_r, kaddr, faddr, raddr.
#
# BOOT_ORDER holds complete slots only, since sysupgrade takes out the one it writes. Should the environment be lost, a slot
# without /etc/afero-ota/complete, which is written last, is still never started.
#
# AFERO_OTA_CONFIRMED names the slot whose system was confirmed. Its starts are not counted, so that power cuts can never take it
# away, and an ordinary start writes nothing. Every other start is counted: a new system's, and each one with a lost environment.
#
# Everything else is a hush local: saveenv would store whatever setenv makes.
test -n "${kaddr}" || kaddr=${kernel_addr_r}
test -n "${faddr}" || faddr=${fdt_addr_r}
test -n "${raddr}" || raddr=${ramdisk_addr_r}
test -n "${BOOT_ORDER}" || setenv BOOT_ORDER "A B"
test -n "${BOOT_A_LEFT}" || setenv BOOT_A_LEFT 3
test -n "${BOOT_B_LEFT}" || setenv BOOT_B_LEFT 3
echo "afero-ota: order ${BOOT_ORDER}, tries left A ${BOOT_A_LEFT} B ${BOOT_B_LEFT}"

slot=none
first=none
for s in ${BOOT_ORDER}; do
  if test "${first}" = "none"; then
    first=${s}
  fi
  if test "${slot}" = "none"; then
    if test "${s}" = "A"; then
      if itest 0x${BOOT_A_LEFT} > 0; then
        if test -e mmc ${mmc}:2 /etc/afero-ota/complete; then
          slot=A
          part=2
        fi
      fi
    fi
    if test "${s}" = "B"; then
      if itest 0x${BOOT_B_LEFT} > 0; then
        if test -e mmc ${mmc}:3 /etc/afero-ota/complete; then
          slot=B
          part=3
        fi
      fi
    fi
  fi
done

if test "${slot}" = "none"; then
  # the last resort is any complete slot: a device must not restart for ever because the order names nothing but a dead one
  echo "afero-ota: no slot of ${BOOT_ORDER} has a try left, every complete slot gets three"
  if test "${BOOT_ORDER}" = "B" || test "${BOOT_ORDER}" = "B A"; then
    setenv BOOT_ORDER "B A"
  else
    setenv BOOT_ORDER "A B"
  fi
  setenv BOOT_A_LEFT 3
  setenv BOOT_B_LEFT 3
  saveenv
  sleep 1
  reset
fi

trial=
if test "${slot}" != "${AFERO_OTA_CONFIRMED}"; then
  if test "${slot}" = "A"; then
    setexpr BOOT_A_LEFT ${BOOT_A_LEFT} - 1
  else
    setexpr BOOT_B_LEFT ${BOOT_B_LEFT} - 1
  fi
  # The try is counted before it is made. A new system that cannot use the environment must know that restarting leads back to the
  # old one: where the count could not be saved, restarting would lead nowhere.
  if saveenv; then
    if test -n "${AFERO_OTA_TRYING}" && test "${slot}" = "${first}"; then
      trial=" afero_ota.trial=1"
    fi
  fi
fi
# with a read-only root, systemd would make a new one at each start
id=
if test -n "${AFERO_OTA_MACHINE_ID}"; then
  id=" systemd.machine_id=${AFERO_OTA_MACHINE_ID}"
fi
echo "afero-ota: starting slot ${slot}"
setenv bootargs "${args} root=${slots}${part} rauc.slot=${slot}${trial}${id} panic=2"
ready=no
if load mmc ${mmc}:${part} ${kaddr} ${kernel}; then
  ready=yes
fi
if test -n "${fdt}"; then
  if load mmc ${mmc}:${part} ${faddr} ${fdt}; then
    tree=${faddr}
  else
    ready=no
  fi
else
  tree=${fdtcontroladdr}
fi
ramdisk=-
if test -n "${initramfs}"; then
  if load mmc ${mmc}:${part} ${raddr} ${initramfs}; then
    ramdisk=${raddr}:${filesize}
  else
    ready=no
  fi
fi
if test "${ready}" = "yes"; then
  ${boot} ${kaddr} ${ramdisk} ${tree}
fi
echo "afero-ota: slot ${slot} could not be started"
if test "${slot}" = "${AFERO_OTA_CONFIRMED}"; then
  # no power cut does that: from now on its starts are counted, and the other slot is next
  setenv AFERO_OTA_CONFIRMED
  saveenv
fi
sleep 1
reset
