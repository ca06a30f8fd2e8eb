"""requests-toolbelt's FingerprintAdapter: the SHA-256 of the whole certificate."""

import hashlib
from pathlib import Path

import requests
from calls import HEADERS, TIMEOUT, call_both, parse
from requests_toolbelt.adapters.fingerprint import FingerprintAdapter

arguments = parse()
fingerprint = hashlib.sha256(Path(arguments.certificate).read_bytes()).hexdigest()
session = requests.Session()
session.verify = arguments.cafile
session.cert = arguments.client_certificate
session.headers.update(HEADERS)
session.mount("https://", FingerprintAdapter(fingerprint))
call_both(lambda url: session.get(url, timeout=TIMEOUT).raise_for_status(), arguments)
