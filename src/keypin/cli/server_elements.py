"""What Java servers' configuration says of a PKCS #12 store, to paste; without its passphrase."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from xml.sax.saxutils import quoteattr

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["SERVERS", "ServerElement"]

VARIABLE = "KEYSTORE_PASSWORD"
PROPERTY = "keystore.password"


class ServerElement(NamedTuple):
    """Text for one server."""

    server: str
    where: str
    """in which file it belongs"""
    lines: tuple[str, ...]
    passphrase: str
    """where that goes"""


def tomcat(location: str, alias: str) -> ServerElement:
    """A connector of Tomcat 8.5 or later (its Configuration Reference, "SSL Support")."""
    return ServerElement(
        "Tomcat",
        "in conf/server.xml, inside <Service>",
        (
            '<Connector port="8443" protocol="org.apache.coyote.http11.Http11NioProtocol"',
            '           SSLEnabled="true" scheme="https" secure="true">',
            '  <SSLHostConfig protocols="TLSv1.2+TLSv1.3">',
            f"    <Certificate certificateKeystoreFile={quoteattr(location)}",
            f'                 certificateKeystoreType="PKCS12" certificateKeyAlias="{alias}"',
            f'                 certificateKeystorePassword="${{{PROPERTY}}}"/>',
            "  </SSLHostConfig>",
            "</Connector>",
        ),
        f"{PROPERTY}=PASSPHRASE in conf/catalina.properties, readable by Tomcat only;"
        " there each backslash is written twice",
    )


def liberty(location: str, alias: str) -> ServerElement:
    """A key store of Liberty, and the endpoint that uses it (its feature transportSecurity)."""
    return ServerElement(
        "Liberty",
        "in server.xml, inside <server> (from its documentation, not tried)",
        (
            "<featureManager>",
            "  <feature>transportSecurity-1.0</feature>",
            "</featureManager>",
            f'<keyStore id="defaultKeyStore" location={quoteattr(location)} type="PKCS12"',
            f'          readOnly="true" password="${{env.{VARIABLE}}}"/>',
            f'<ssl id="defaultSSLConfig" keyStoreRef="defaultKeyStore" serverKeyAlias="{alias}"/>',
            '<httpEndpoint id="defaultHttpEndpoint" host="*" httpPort="-1" httpsPort="9443">',
            '  <sslOptions sslRef="defaultSSLConfig"/>',
            "</httpEndpoint>",
        ),
        f"{VARIABLE}=PASSPHRASE in the server's server.env, readable by Liberty only",
    )


def websphere(location: str, alias: str) -> ServerElement:
    """Commands for wsadmin of traditional WebSphere, in Jython (its KeyStoreCommands)."""
    return ServerElement(
        "WebSphere (traditional)",
        "a script for wsadmin -lang jython -f, with your CELL and NODE (from its documentation, not"
        " tried)",
        (
            "from java.lang import System",
            f"passphrase = System.getenv('{VARIABLE}')",
            "scope = '(cell):CELL:(node):NODE'",
            "AdminTask.createKeyStore(['-keyStoreName', 'pinnedKeyStore', '-scopeName', scope,",
            f"    '-keyStoreLocation', {location!r},",
            "    '-keyStoreType', 'PKCS12', '-keyStoreReadOnly', 'true',",
            "    '-keyStoreInitAtStartup', 'true', '-keyStorePassword', passphrase,",
            "    '-keyStorePasswordVerify', passphrase])",
            "AdminTask.modifySSLConfig(['-alias', 'NodeDefaultSSLSettings', '-scopeName', scope,",
            "    '-keyStoreName', 'pinnedKeyStore', '-keyStoreScopeName', scope,",
            f"    '-serverKeyAlias', '{alias}'])",
            "AdminConfig.save()",
        ),
        f"{VARIABLE} in the environment of wsadmin",
    )


SERVERS: tuple[Callable[[str, str], ServerElement], ...] = (tomcat, liberty, websphere)
