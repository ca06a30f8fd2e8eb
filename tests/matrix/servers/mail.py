"""Dovecot, and aiosmtpd in this process."""

from __future__ import annotations

import getpass
import grp
import pwd
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from real_servers.programs import Ports, find, free_port, home, only, running, unprivileged_user

if TYPE_CHECKING:
    from keypin.lab import Credential

dovecot = find("dovecot")

# All of it as one user, who need not be root
DOVECOT = """
base_dir = {folder}/run
state_dir = {folder}/state
log_path = /dev/stderr
import_environment = $import_environment OPENSSL_CONF
protocols = imap pop3
listen = 127.0.0.1
ssl = required
ssl_cert = <{folder}/chain.pem
ssl_key = <{folder}/key.pem
ssl_min_protocol = TLSv1.2
default_internal_user = {user}
default_internal_group = {group}
default_login_user = {user}
mail_location = maildir:{folder}/mail
passdb {{
  driver = static
  args = password=secret
}}
userdb {{
  driver = static
  args = uid={user} gid={group} home={folder}
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = {imaps}
  }}
}}
service pop3-login {{
  chroot =
  inet_listener pop3 {{
    port = {pop3}
  }}
  inet_listener pop3s {{
    port = {pop3s}
  }}
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
"""


@contextmanager
def running_dovecot(credential: Credential, version: str) -> Iterator[Ports]:
    """A server that knows everybody by one password; mailboxes are empty."""
    ports = {protocol: free_port() for protocol in ("imap", "imaps", "pop3", "pop3s")}
    user = unprivileged_user()
    person = pwd.getpwnam(user or getpass.getuser())
    group = grp.getgrgid(person.pw_gid).gr_name
    with home(credential, user) as folder:
        configuration = folder / "dovecot.conf"
        configuration.write_text(
            DOVECOT.format(folder=folder, user=person.pw_name, group=group, **ports)
        )
        command = [dovecot, "-F", "-c", configuration]
        with running(command, ports, user=user, environment=only(version, folder)):
            yield ports


@contextmanager
def running_aiosmtpd(credential: Credential, version: str) -> Iterator[Ports]:
    """Two servers that take every message and forget it."""
    from aiosmtpd.controller import Controller
    from aiosmtpd.handlers import Sink

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = VERSIONS[version]
    with home(credential) as folder, ExitStack() as stack:
        context.load_cert_chain(folder / "chain.pem", folder / "key.pem")
        ports = {"smtps": free_port(), "smtp": free_port()}
        for protocol, settings in (
            ("smtps", {"ssl_context": context}),
            ("smtp", {"tls_context": context, "require_starttls": True}),
        ):
            controller = Controller(Sink(), "127.0.0.1", ports[protocol], **settings)
            controller.start()
            stack.callback(controller.stop)
        yield ports


VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
