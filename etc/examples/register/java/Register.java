// Registers a service in etcd, by etcd's JSON API and nothing but the JDK.
// Copy the class Registration; main is a service that uses it.

import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.time.Duration;
import java.util.Base64;
import java.util.Collections;
import java.util.HexFormat;
import java.util.LinkedList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.regex.Pattern;

public class Register {
    /** Keeps a node registered from start() until close(). */
    static final class Registration implements AutoCloseable {
        private static final Pattern ID = Pattern.compile("\"ID\":\"(\\d+)\"");
        private static final Pattern TTL = Pattern.compile("\"TTL\":\"(\\d+)\"");

        private final HttpClient http = HttpClient.newBuilder().connectTimeout(Duration.ofSeconds(2)).build();
        private final CountDownLatch stopping = new CountDownLatch(1);
        private final Thread thread = new Thread(this::run, "registration");
        private final List<String> endpoints;
        private final int ttl;
        private final String key;
        private final String node;
        private String lease;

        Registration(List<String> endpoints, String prefix, String service, String upstream, int weight, int ttl) {
            String name = service + "." + md5(service + upstream);
            this.endpoints = new LinkedList<>(endpoints);
            this.ttl = ttl;
            this.key = prefix + "discovery/" + name;
            this.node = """
                {"key":"%s","service_name":"%s","upstream":"%s","weight":%d,"status":1,"time":%%d}"""
                .formatted(name, service, upstream, weight);
        }

        void start() {
            thread.start();
        }

        /** Returns when the node is gone, or cannot be removed now and goes with its lease. */
        @Override
        public void close() throws InterruptedException {
            stopping.countDown();
            thread.join();
        }

        private void run() {
            int failures = 0;
            long pause = 0;
            try {
                while (!stopping.await(pause, TimeUnit.MILLISECONDS)) {
                    try {
                        if (lease == null || !renew()) {
                            register();
                        }
                        failures = 0;
                        pause = ttl * 1000L / 3;
                    } catch (IOException e) {
                        System.err.println("not registered, trying again: " + e);
                        failures = Math.min(failures + 1, 10);
                        // Not all services at the same time.
                        pause = (long) (Math.min(5000, 200 << failures) * ThreadLocalRandom.current().nextDouble(0.5, 1));
                    }
                }
                if (lease != null) {
                    call("lease/revoke", "{\"ID\":\"%s\"}".formatted(lease));
                }
            } catch (IOException | InterruptedException e) {
                System.err.println("the node goes when its lease ends: " + e);
            }
        }

        private void register() throws IOException, InterruptedException {
            lease = null;
            String granted = find(ID, call("lease/grant", "{\"TTL\":\"%d\"}".formatted(ttl)));
            String value = node.formatted(System.currentTimeMillis());
            call("kv/put", "{\"key\":\"%s\",\"value\":\"%s\",\"lease\":\"%s\"}".formatted(base64(key), base64(value), granted));
            lease = granted;
            System.err.println("registered " + key);
        }

        private boolean renew() throws IOException, InterruptedException {
            String left = find(TTL, call("lease/keepalive", "{\"ID\":\"%s\"}".formatted(lease)));
            // A lease that has ended has no TTL.
            return left != null && Long.parseLong(left) > 0;
        }

        private String call(String path, String body) throws IOException, InterruptedException {
            IOException failed = null;
            for (String endpoint : List.copyOf(endpoints)) {
                HttpRequest request = HttpRequest.newBuilder(URI.create(endpoint + "/v3/" + path))
                    .timeout(Duration.ofSeconds(3))
                    .POST(HttpRequest.BodyPublishers.ofString(body))
                    .build();
                try {
                    HttpResponse<String> answer = http.send(request, HttpResponse.BodyHandlers.ofString());
                    if (answer.statusCode() == 200) {
                        return answer.body();
                    }
                    failed = new IOException(endpoint + " answered " + answer.statusCode() + ": " + answer.body());
                } catch (IOException e) {
                    failed = e;
                }
                // The next call begins with the next endpoint.
                Collections.rotate(endpoints, -1);
            }
            throw failed;
        }

        private static String find(Pattern pattern, String json) {
            var found = pattern.matcher(json.replace(" ", ""));
            return found.find() ? found.group(1) : null;
        }

        private static String base64(String text) {
            return Base64.getEncoder().encodeToString(text.getBytes(StandardCharsets.UTF_8));
        }

        private static String md5(String text) {
            try {
                byte[] digest = MessageDigest.getInstance("MD5").digest(text.getBytes(StandardCharsets.UTF_8));
                return HexFormat.of().formatHex(digest);
            } catch (NoSuchAlgorithmException e) {
                throw new IllegalStateException("every JDK has MD5", e);
            }
        }
    }

    public static void main(String[] args) throws Exception {
        String upstream = env("UPSTREAM", "127.0.0.1:8080");
        int end = upstream.lastIndexOf(':');
        // Listen first: requests come as soon as the node is registered.
        var address = new InetSocketAddress(upstream.substring(0, end), Integer.parseInt(upstream.substring(end + 1)));
        HttpServer server = HttpServer.create(address, 0);
        server.createContext("/", exchange -> {
            byte[] body = "hello from java\n".getBytes(StandardCharsets.UTF_8);
            exchange.sendResponseHeaders(200, body.length);
            try (var out = exchange.getResponseBody()) {
                out.write(body);
            }
        });
        server.start();
        var endpoints = List.of(env("ETCD", "http://127.0.0.1:2379").split(","));
        var registration = new Registration(
            endpoints, env("DATA_PREFIX", "/my/cloud/"), env("SERVICE", "demo1"), upstream, 1, Integer.parseInt(env("TTL", "10")));
        registration.start();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            try {
                registration.close();
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
            server.stop(1);
        }));
    }

    private static String env(String name, String otherwise) {
        return System.getenv().getOrDefault(name, otherwise);
    }
}
