"""vsftpd and slapd."""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from real_servers.programs import Ports, find, free_port, home, only, running

if TYPE_CHECKING:
    from keypin.lab import Credential

vsftpd = find("vsftpd")
slapd = find("slapd")

VSFTPD = """
listen=YES
background=NO
listen_address=127.0.0.1
listen_port={port}
run_as_launching_user={rootless}
secure_chroot_dir={folder}/empty
anonymous_enable=YES
anon_root={folder}/empty
ftp_username={user}
nopriv_user={user}
ssl_enable=YES
ssl_tlsv1=YES
allow_anon_ssl=YES
force_anon_logins_ssl=YES
force_anon_data_ssl=YES
require_ssl_reuse=YES
implicit_ssl={implicit}
rsa_cert_file={folder}/chain.pem
rsa_private_key_file={folder}/key.pem
ssl_ciphers=HIGH
seccomp_sandbox=NO
"""
SLAPD = """
include /etc/ldap/schema/core.schema
modulepath /usr/lib/ldap
moduleload back_null
TLSCertificateFile {folder}/chain.pem
TLSCertificateKeyFile {folder}/key.pem
TLSCipherSuite NORMAL:-VERS-ALL:+VERS-TLS{version}
database null
suffix ""
bind on
"""


@contextmanager
def running_vsftpd(credential: Credential, version: str) -> Iterator[Ports]:
    """Two servers, whose data connections must resume the control connection's session."""
    ports = {"ftp": free_port(), "ftps": free_port()}
    root = os.geteuid() == 0
    with home(credential) as folder, ExitStack() as stack:
        (folder / "empty").mkdir(mode=0o555)
        for protocol, implicit in (("ftp", "NO"), ("ftps", "YES")):
            configuration = folder / f"{protocol}.conf"
            configuration.write_text(
                VSFTPD.format(
                    folder=folder,
                    port=ports[protocol],
                    implicit=implicit,
                    rootless="NO" if root else "YES",
                    user="ftp" if root else getpass.getuser(),
                ).lstrip()
            )
            port = {protocol: ports[protocol]}
            stack.enter_context(
                running([vsftpd, configuration], port, environment=only(version, folder))
            )
        yield ports


@contextmanager
def running_slapd(credential: Credential, version: str) -> Iterator[Ports]:
    """A directory of nothing, which lets everybody in; its TLS is that of GnuTLS."""
    ports = {"ldap": free_port(), "ldaps": free_port()}
    with home(credential) as folder:
        configuration = folder / "slapd.conf"
        configuration.write_text(SLAPD.format(folder=folder, version=version))
        urls = " ".join(f"{protocol}://127.0.0.1:{port}" for protocol, port in ports.items())
        with running([slapd, "-d", "0", "-f", configuration, "-h", urls], ports):
            yield ports
