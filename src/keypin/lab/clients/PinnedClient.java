// Java's HttpClient with a trust manager that checks the pin after the chain:
// java -cp ... PinnedClient URL SECOND_URL CAFILE CURL_PINS
import java.io.FileInputStream;
import java.net.InetSocketAddress;
import java.net.ProxySelector;
import java.net.Socket;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.security.KeyStore;
import java.security.MessageDigest;
import java.security.cert.Certificate;
import java.security.cert.CertificateException;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.time.Duration;
import java.util.Base64;
import java.util.HashSet;
import java.util.Set;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLEngine;
import javax.net.ssl.TrustManager;
import javax.net.ssl.TrustManagerFactory;
import javax.net.ssl.X509ExtendedTrustManager;

public class PinnedClient {
    public static void main(String[] arguments) throws Exception {
        Set<String> pins = new HashSet<>();
        for (String pin : arguments[3].split(";")) {
            pins.add(pin.replace("sha256//", ""));
        }
        TrustManagerFactory trust = TrustManagerFactory.getInstance("PKIX");
        trust.init(authorities(arguments[2]));
        X509ExtendedTrustManager verifying = (X509ExtendedTrustManager) trust.getTrustManagers()[0];
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, new TrustManager[] {new Pinned(verifying, pins)}, null);
        HttpClient.Builder builder = HttpClient.newBuilder()
                .sslContext(context)
                .followRedirects(HttpClient.Redirect.NORMAL)
                .connectTimeout(Duration.ofSeconds(4));
        String proxy = System.getenv("HTTPS_PROXY");
        if (proxy != null && !proxy.isEmpty()) {
            URI found = URI.create(proxy);
            builder.proxy(ProxySelector.of(new InetSocketAddress(found.getHost(), found.getPort())));
        }
        HttpClient client = builder.build();
        int exitCode = 0;
        for (int i = 0; i < 2; i++) {
            try {
                HttpRequest request = HttpRequest.newBuilder(URI.create(arguments[i]))
                        .header("Authorization", "Bearer what only the pinned server may learn")
                        .timeout(Duration.ofSeconds(4))
                        .build();
                int status = client.send(request, HttpResponse.BodyHandlers.discarding()).statusCode();
                if (status >= 400) {
                    throw new java.io.IOException("status " + status);
                }
            } catch (java.io.IOException | IllegalArgumentException error) {
                System.err.println(error);
                exitCode = 1;
            }
        }
        System.exit(exitCode);
    }

    private static KeyStore authorities(String cafile) throws Exception {
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null);
        int number = 0;
        try (FileInputStream file = new FileInputStream(cafile)) {
            for (Certificate certificate : CertificateFactory.getInstance("X.509").generateCertificates(file)) {
                store.setCertificateEntry("authority " + number++, certificate);
            }
        }
        return store;
    }

    private static final class Pinned extends X509ExtendedTrustManager {
        private final X509ExtendedTrustManager verifying;
        private final Set<String> pins;

        Pinned(X509ExtendedTrustManager verifying, Set<String> pins) {
            this.verifying = verifying;
            this.pins = pins;
        }

        private void check(X509Certificate[] chain) throws CertificateException {
            try {
                byte[] digest = MessageDigest.getInstance("SHA-256").digest(chain[0].getPublicKey().getEncoded());
                if (!pins.contains(Base64.getEncoder().encodeToString(digest))) {
                    throw new CertificateException("the public key is not pinned");
                }
            } catch (java.security.NoSuchAlgorithmException error) {
                throw new CertificateException(error);
            }
        }

        @Override
        public void checkServerTrusted(X509Certificate[] chain, String type, SSLEngine engine) throws CertificateException {
            verifying.checkServerTrusted(chain, type, engine);
            check(chain);
        }

        @Override
        public void checkServerTrusted(X509Certificate[] chain, String type, Socket socket) throws CertificateException {
            verifying.checkServerTrusted(chain, type, socket);
            check(chain);
        }

        @Override
        public void checkServerTrusted(X509Certificate[] chain, String type) throws CertificateException {
            throw new CertificateException("without the connection the name cannot be checked");
        }

        @Override
        public void checkClientTrusted(X509Certificate[] chain, String type, SSLEngine engine) throws CertificateException {
            throw new CertificateException("no server");
        }

        @Override
        public void checkClientTrusted(X509Certificate[] chain, String type, Socket socket) throws CertificateException {
            throw new CertificateException("no server");
        }

        @Override
        public void checkClientTrusted(X509Certificate[] chain, String type) throws CertificateException {
            throw new CertificateException("no server");
        }

        @Override
        public X509Certificate[] getAcceptedIssuers() {
            return verifying.getAcceptedIssuers();
        }
    }
}
