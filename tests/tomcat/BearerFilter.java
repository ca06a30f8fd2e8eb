import jakarta.servlet.FilterChain;
import jakarta.servlet.ServletException;
import jakarta.servlet.http.HttpFilter;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import java.io.IOException;
import java.io.InputStream;
import java.io.StringReader;
import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;
import org.apache.tomcat.util.json.JSONParser;
import org.apache.tomcat.util.json.ParseException;

/**
 * Lets requests through that bear a token (RFC 6750) with the scope that their path needs; the
 * authorization server is asked about every token (RFC 7662), so that a revoked one is noticed.
 * For "/quiet" it does not say which scope that is.
 *
 * <p>Its parameters: "realm"; "introspection", the endpoint; "authority", a PEM file with the
 * certificate that the endpoint is verified against; "token", a file with the token that the
 * endpoint wants from us.
 */
public class BearerFilter extends HttpFilter {
    private static final Map<String, String> SCOPES =
        Map.of(
            "/people", "people.read",
            "/people/new", "people.read people.write",
            "/quiet", "people.write");

    private HttpClient client;
    private HttpRequest.Builder introspection;
    private String realm;

    @Override
    public void init() throws ServletException {
        realm = getInitParameter("realm");
        if (getInitParameter("introspection").isEmpty()) {
            return; // nobody to ask: no token is valid
        }
        try {
            String token = Files.readString(Path.of(getInitParameter("token"))).strip();
            client = HttpClient.newBuilder().sslContext(trusting()).build();
            introspection =
                HttpRequest.newBuilder(URI.create(getInitParameter("introspection")))
                    .header("Authorization", "Bearer " + token)
                    .header("Content-Type", "application/x-www-form-urlencoded");
        } catch (IOException | GeneralSecurityException error) {
            throw new ServletException(error);
        }
    }

    @Override
    protected void doFilter(
        HttpServletRequest request, HttpServletResponse response, FilterChain chain)
        throws IOException, ServletException {
        String needed = SCOPES.get(request.getServletPath());
        String scope =
            request.getServletPath().equals("/quiet") ? "" : ", scope=\"" + needed + "\"";
        String token = token(request);
        if (token == null) {
            refuse(response, 401, scope);
            return;
        }
        List<String> granted = granted(token);
        if (granted == null) {
            refuse(
                response, 401,
                ", error=\"invalid_token\", error_description=\"unknown, expired, or revoked\"");
            return;
        }
        if (!granted.containsAll(List.of(needed.split(" ")))) {
            refuse(response, 403, ", error=\"insufficient_scope\"" + scope);
            return;
        }
        chain.doFilter(request, response);
    }

    private static String token(HttpServletRequest request) {
        String credentials = request.getHeader("Authorization");
        if (credentials == null || !credentials.regionMatches(true, 0, "Bearer ", 0, 7)) {
            return null;
        }
        return credentials.substring(7).strip();
    }

    /** The scopes of a token; null if it is not valid. */
    private List<String> granted(String token) throws IOException, ServletException {
        if (introspection == null) {
            return null;
        }
        String form = "token=" + URLEncoder.encode(token, StandardCharsets.UTF_8);
        HttpRequest request =
            introspection.copy().POST(HttpRequest.BodyPublishers.ofString(form)).build();
        try {
            HttpResponse<String> answer =
                client.send(request, HttpResponse.BodyHandlers.ofString());
            if (answer.statusCode() != 200) {
                throw new ServletException("introspection: status " + answer.statusCode());
            }
            Map<String, Object> said =
                new JSONParser(new StringReader(answer.body())).parseObject();
            if (!Boolean.TRUE.equals(said.get("active"))) {
                return null;
            }
            return Arrays.asList(String.valueOf(said.get("scope")).split(" "));
        } catch (ParseException error) {
            throw new ServletException(error);
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
            throw new ServletException(error);
        }
    }

    private void refuse(HttpServletResponse response, int status, String more) {
        response.setStatus(status);
        response.setHeader("WWW-Authenticate", "Bearer realm=\"" + realm + "\"" + more);
    }

    /** TLS that trusts the one authority. */
    private SSLContext trusting() throws IOException, GeneralSecurityException {
        KeyStore store = KeyStore.getInstance("PKCS12");
        store.load(null, null);
        try (InputStream file = Files.newInputStream(Path.of(getInitParameter("authority")))) {
            store.setCertificateEntry(
                "authority", CertificateFactory.getInstance("X.509").generateCertificate(file));
        }
        TrustManagerFactory factory =
            TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        factory.init(store);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, factory.getTrustManagers(), null);
        return context;
    }
}
