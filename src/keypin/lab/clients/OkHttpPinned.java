// OkHttp's CertificatePinner:
// java -cp ... OkHttpPinned URL SECOND_URL CAFILE CURL_PINS
import java.io.FileInputStream;
import java.net.InetSocketAddress;
import java.net.Proxy;
import java.net.URI;
import java.security.KeyStore;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.util.concurrent.TimeUnit;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;
import javax.net.ssl.X509TrustManager;
import okhttp3.CertificatePinner;
import okhttp3.OkHttpClient;
import okhttp3.Request;
import okhttp3.Response;

public class OkHttpPinned {
    public static void main(String[] arguments) throws Exception {
        TrustManagerFactory trust = TrustManagerFactory.getInstance("PKIX");
        trust.init(authorities(arguments[2]));
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, trust.getTrustManagers(), null);
        String host = URI.create(arguments[0]).getHost();
        CertificatePinner.Builder pinner = new CertificatePinner.Builder();
        for (String pin : arguments[3].split(";")) {
            pinner.add(host, pin.replace("sha256//", "sha256/"));
        }
        OkHttpClient.Builder builder = new OkHttpClient.Builder()
                .sslSocketFactory(context.getSocketFactory(), (X509TrustManager) trust.getTrustManagers()[0])
                .certificatePinner(pinner.build())
                .callTimeout(4, TimeUnit.SECONDS);
        String proxy = System.getenv("HTTPS_PROXY");
        if (proxy != null && !proxy.isEmpty()) {
            URI found = URI.create(proxy);
            builder.proxy(new Proxy(Proxy.Type.HTTP, new InetSocketAddress(found.getHost(), found.getPort())));
        }
        OkHttpClient client = builder.build();
        int exitCode = 0;
        for (int i = 0; i < 2; i++) {
            Request request = new Request.Builder()
                    .url(arguments[i])
                    .header("Authorization", "Bearer what only the pinned server may learn")
                    .build();
            try (Response response = client.newCall(request).execute()) {
                response.body().bytes();
                if (!response.isSuccessful()) {
                    throw new java.io.IOException("status " + response.code());
                }
            } catch (java.io.IOException error) {
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
}
