import jakarta.servlet.http.HttpServlet;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import java.io.IOException;
import java.nio.charset.StandardCharsets;

/** Answers with what it was asked, as JSON. */
public class PeopleServlet extends HttpServlet {
    @Override
    protected void service(HttpServletRequest request, HttpServletResponse response)
        throws IOException {
        String body =
            new String(request.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        response.setContentType("application/json");
        response.setCharacterEncoding("UTF-8");
        response
            .getWriter()
            .printf(
                "{\"people\": [\"Ada\", \"Grace\"], \"method\": %s, \"query\": %s, \"header\": %s,"
                    + " \"body\": %s}",
                quoted(request.getMethod()),
                quoted(request.getQueryString()),
                quoted(request.getHeader("X-A")),
                quoted(body));
    }

    private static String quoted(String text) {
        if (text == null) {
            return "null";
        }
        StringBuilder quoted = new StringBuilder("\"");
        for (char character : text.toCharArray()) {
            boolean plain = character >= ' ' && character != '"' && character != '\\';
            quoted.append(plain ? character : String.format("\\u%04x", (int) character));
        }
        return quoted.append('"').toString();
    }
}
