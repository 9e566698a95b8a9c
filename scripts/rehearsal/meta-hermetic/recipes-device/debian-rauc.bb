# SPDX-License-Identifier: MIT
SUMMARY = "Debian's rauc, with the libraries it needs, under the name of meta-rauc's package"

require debian.inc

DEBIAN_PACKAGES = "rauc libbrotli1 libc6 libcurl3-gnutls libffi8 libglib2.0-0 libgmp10 libgnutls30 libgssapi-krb5-2 \
    libhogweed6 libidn2-0 libjson-glib-1.0-0 libk5crypto3 libkeyutils1 libkrb5-3 libkrb5support0 libldap-2.5-0 libmount1 libnettle8 \
    libnghttp2-14 libp11-kit0 libpcre2-8-0 libpsl5 librtmp1 libsasl2-2 libselinux1 libssh2-1 libssl3 libtasn1-6 libunistring2 \
    libzstd1"
# debian-tools has the others
LIBRARIES = "libbrotlicommon libbrotlidec libcrypto libcurl-gnutls libffi libgio-2.0 libglib-2.0 libgmodule-2.0 libgmp libgnutls \
    libgobject-2.0 libgssapi_krb5 libhogweed libidn2 libjson-glib-1.0 libk5crypto libkeyutils libkrb5 libkrb5support liblber-2.5 \
    libldap-2.5 libm libmount libnettle libnghttp2 libp11-kit libpcre2-8 libpsl libresolv librtmp libsasl2 libselinux libssh2 \
    libtasn1 libunistring libzstd"
# so has systemd
OF_SYSTEMD = "libcrypto libm libmount libpcre2-8 libselinux libzstd"
LIBRARIES:remove = "${@bb.utils.contains('DISTRO_FEATURES', 'systemd', d.getVar('OF_SYSTEMD'), '', d)}"
RPROVIDES:${PN} = "rauc"
RDEPENDS:${PN} = "debian-tools ${@bb.utils.contains('DISTRO_FEATURES', 'systemd', 'debian-systemd', '', d)}"
FILES:${PN} = "/lib /usr"

do_install() {
    install -D -m 0755 debian/usr/bin/rauc ${D}/usr/bin/rauc
    for library in ${LIBRARIES}; do
        for path in debian/lib/arm-linux-gnueabihf/$library.so.* debian/usr/lib/arm-linux-gnueabihf/$library.so.*; do
            [ -e $path ] || [ -L $path ] || continue
            install -d ${D}/$(dirname ${path#debian/})
            cp -a $path ${D}/${path#debian/}
        done
    done
    chown -R root:root ${D}
}
