// Node's https with checkServerIdentity, as its documentation pins a public key:
// node node_pinned.js URL SECOND_URL CAFILE CURL_PINS [CLIENT_CERTIFICATE]
'use strict';
const crypto = require('node:crypto');
const fs = require('node:fs');
const https = require('node:https');
const tls = require('node:tls');

const [url, secondUrl, cafile, curlPins, clientCertificate] = process.argv.slice(2);
const pins = curlPins.split(';').map((pin) => pin.replace('sha256//', ''));
const options = {
  ca: fs.readFileSync(cafile),
  timeout: 4000,
  headers: { Authorization: 'Bearer what only the pinned server may learn' },
  checkServerIdentity(host, certificate) {
    const error = tls.checkServerIdentity(host, certificate);
    if (error) return error;
    // Its documentation hashes certificate.pubkey, which is the SPKI of RSA keys only.
    const key = new crypto.X509Certificate(certificate.raw).publicKey;
    const spki = key.export({ type: 'spki', format: 'der' });
    const pin = crypto.createHash('sha256').update(spki).digest('base64');
    return pins.includes(pin) ? undefined : new Error('the public key is not pinned');
  },
};
if (clientCertificate) {
  options.cert = options.key = fs.readFileSync(clientCertificate);
}

function call(address) {
  return new Promise((resolve, reject) => {
    const request = https.get(address, { ...options, agent: false }, (response) => {
      response.resume();
      response.on('end', () => (response.statusCode < 400 ? resolve() : reject(new Error(response.statusCode))));
      response.on('error', reject);
    });
    request.on('timeout', () => request.destroy(new Error('timeout')));
    request.on('error', reject);
  });
}

(async () => {
  for (const address of [url, secondUrl]) {
    try {
      await call(address);
    } catch (error) {
      console.error(String(error));
      process.exitCode = 1;
    }
  }
})();
