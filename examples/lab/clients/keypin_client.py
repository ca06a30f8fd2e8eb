"""keypin.client.Client: one method pins."""

from calls import HEADERS, call_both, parse

from keypin.client import Client

arguments = parse()
client = Client(
    certificates=arguments.certificates,
    cafile=arguments.cafile,
    client_certificate=arguments.client_certificate,
    headers=HEADERS,
    follow_redirects=True,
    http2=True,
)
client.pin_trusted_certificate_public_key(["pinned.cer", "backup.cer"])
call_both(lambda url: client.get(url).raise_for_status(), arguments)
