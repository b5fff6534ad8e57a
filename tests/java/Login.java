import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.nio.ByteBuffer;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import org.apache.kafka.common.config.AbstractConfig;
import org.apache.kafka.common.config.ConfigDef;
import org.apache.kafka.common.config.internals.BrokerSecurityConfigs;
import org.apache.kafka.common.message.ApiVersionsResponseData;
import org.apache.kafka.common.metrics.Metrics;
import org.apache.kafka.common.network.ByteBufferSend;
import org.apache.kafka.common.network.ChannelBuilders;
import org.apache.kafka.common.network.ListenerName;
import org.apache.kafka.common.network.NetworkReceive;
import org.apache.kafka.common.network.NetworkSend;
import org.apache.kafka.common.network.Selector;
import org.apache.kafka.common.protocol.ApiKeys;
import org.apache.kafka.common.requests.ApiVersionsResponse;
import org.apache.kafka.common.security.auth.SecurityProtocol;
import org.apache.kafka.common.security.authenticator.CredentialCache;
import org.apache.kafka.common.security.scram.ScramCredential;
import org.apache.kafka.common.security.scram.internals.ScramFormatter;
import org.apache.kafka.common.security.scram.internals.ScramMechanism;
import org.apache.kafka.common.utils.LogContext;
import org.apache.kafka.common.utils.Time;

/**
 * Apache Kafka's own TLS and SASL, from its library, before a broker that has neither.
 *
 * <p>Arguments: the broker's port, SASL_SSL or SASL_PLAINTEXT, the mechanism, a user, the password, and a PEM file of a
 * certificate and its key. Prints the port that clients find it at. Whoever has logged in is forwarded to the broker.
 */
public class Login {
    private static final String HOST = "127.0.0.1";
    /** As many rounds as a broker demands at the least. */
    private static final int SCRAM_ITERATIONS = 4096;

    private final int brokerPort;
    private final ServerSocketChannel listener = ServerSocketChannel.open();
    private final Selector selector;
    private final Map<String, DataOutputStream> toBroker = new HashMap<>();
    /** Answers that the broker has given: filled by the readers, emptied by the loop, which alone may send. */
    private final Queue<Map.Entry<String, byte[]>> answers = new ConcurrentLinkedQueue<>();
    /** Answers behind one that is being sent: a channel sends one at a time. */
    private final Map<String, Queue<byte[]>> waiting = new HashMap<>();

    public static void main(String[] args) throws Exception {
        int brokerPort = Integer.parseInt(args[0]);
        Map<String, Object> settings = new HashMap<>(Map.of(
                BrokerSecurityConfigs.SASL_ENABLED_MECHANISMS_CONFIG, List.of(args[2]),
                "ssl.keystore.type", "PEM",
                "ssl.keystore.location", args[5]));
        String module = "org.apache.kafka.common.security.plain.PlainLoginModule required user_" + args[3] + "=\"" + args[4] + "\";";
        CredentialCache credentials = new CredentialCache();
        if (ScramMechanism.isScram(args[2])) {
            module = "org.apache.kafka.common.security.scram.ScramLoginModule required;";
            ScramMechanism mechanism = ScramMechanism.forMechanismName(args[2]);
            ScramCredential credential = new ScramFormatter(mechanism).generateCredential(args[4], SCRAM_ITERATIONS);
            credentials.createCache(args[2], ScramCredential.class).put(args[3], credential);
        }
        settings.put("listener.name.clients." + args[2].toLowerCase() + ".sasl.jaas.config", module);
        new Login(brokerPort, SecurityProtocol.forName(args[1]), settings, credentials).run();
    }

    private Login(int brokerPort, SecurityProtocol protocol, Map<String, Object> settings, CredentialCache credentials)
            throws IOException {
        this.brokerPort = brokerPort;
        ConfigDef known = new ConfigDef()
                .define(BrokerSecurityConfigs.SASL_ENABLED_MECHANISMS_CONFIG, ConfigDef.Type.LIST, ConfigDef.Importance.LOW, "")
                .define(BrokerSecurityConfigs.SSL_CLIENT_AUTH_CONFIG, ConfigDef.Type.STRING, "none", ConfigDef.Importance.LOW, "")
                .define(BrokerSecurityConfigs.SASL_SERVER_CALLBACK_HANDLER_CLASS_CONFIG, ConfigDef.Type.CLASS, null, ConfigDef.Importance.LOW, "")
                .define(BrokerSecurityConfigs.PRINCIPAL_BUILDER_CLASS_CONFIG, ConfigDef.Type.CLASS, null, ConfigDef.Importance.LOW, "")
                .define(BrokerSecurityConfigs.CONNECTIONS_MAX_REAUTH_MS_CONFIG, ConfigDef.Type.LONG, 0L, ConfigDef.Importance.LOW, "")
                .define(BrokerSecurityConfigs.SASL_SERVER_MAX_RECEIVE_SIZE_CONFIG, ConfigDef.Type.INT, 524288, ConfigDef.Importance.LOW, "")
                .withClientSslSupport()
                .withClientSaslSupport();
        ApiVersionsResponse versions = versions();
        LogContext log = new LogContext();
        selector = new Selector(600_000, new Metrics(), Time.SYSTEM, "login",
                ChannelBuilders.serverChannelBuilder(ListenerName.normalised("clients"), false, protocol,
                        new AbstractConfig(known, settings, false), credentials, null, Time.SYSTEM, log, version -> versions),
                log);
        listener.bind(new InetSocketAddress(HOST, 0)).configureBlocking(false);
    }

    /** What the broker can do, and logging in: a client asks before it logs in, and not again. */
    private ApiVersionsResponse versions() throws IOException {
        ApiVersionsResponseData.ApiVersionCollection all = new ApiVersionsResponseData.ApiVersionCollection();
        try (Socket socket = new Socket(HOST, brokerPort)) {
            // Version 0, with the number 0 and without a client's name.
            write(new DataOutputStream(socket.getOutputStream()), ByteBuffer.allocate(10).putShort(ApiKeys.API_VERSIONS.id)
                    .putShort((short) 0).putInt(0).putShort((short) -1).array());
            ByteBuffer answer = ByteBuffer.wrap(read(new DataInputStream(socket.getInputStream())));
            answer.position(6);
            for (int count = answer.getInt(); count > 0; count--) {
                add(all, answer.getShort(), answer.getShort(), answer.getShort());
            }
        }
        for (ApiKeys key : List.of(ApiKeys.SASL_HANDSHAKE, ApiKeys.SASL_AUTHENTICATE)) {
            add(all, key.id, key.oldestVersion(), key.latestVersion());
        }
        return new ApiVersionsResponse(new ApiVersionsResponseData().setApiKeys(all));
    }

    private static void add(ApiVersionsResponseData.ApiVersionCollection all, short key, short min, short max) {
        all.add(new ApiVersionsResponseData.ApiVersion().setApiKey(key).setMinVersion(min).setMaxVersion(max));
    }

    private void run() throws Exception {
        System.out.println(port());
        for (int accepted = 0; ; ) {
            for (SocketChannel client; (client = listener.accept()) != null; accepted++) {
                client.configureBlocking(false);
                selector.register(Integer.toString(accepted), client);
            }
            selector.poll(10);
            for (NetworkReceive request : selector.completedReceives()) {
                byte[] frame = new byte[request.payload().remaining()];
                request.payload().get(frame);
                write(broker(request.source()), frame);
            }
            selector.completedSends().forEach(sent -> sendNext(sent.destinationId()));
            for (Map.Entry<String, byte[]> answer; (answer = answers.poll()) != null; ) {
                Queue<byte[]> before = waiting.get(answer.getKey());
                if (before == null) {
                    waiting.put(answer.getKey(), new ArrayDeque<>());
                    send(answer.getKey(), answer.getValue());
                } else {
                    before.add(answer.getValue());
                }
            }
            for (String gone : selector.disconnected().keySet()) {
                waiting.remove(gone);
                DataOutputStream broker = toBroker.remove(gone);
                if (broker != null) {
                    broker.close();
                }
            }
        }
    }

    private void sendNext(String client) {
        Queue<byte[]> queue = waiting.get(client);
        if (queue == null || queue.isEmpty()) {
            waiting.remove(client);
        } else {
            send(client, queue.remove());
        }
    }

    private void send(String client, byte[] frame) {
        if (selector.channel(client) != null) {
            selector.send(new NetworkSend(client, ByteBufferSend.sizePrefixed(ByteBuffer.wrap(frame))));
        }
    }

    /** The way to the broker of a client that has logged in. */
    private DataOutputStream broker(String client) throws IOException {
        DataOutputStream known = toBroker.get(client);
        if (known != null) {
            return known;
        }
        Socket socket = new Socket(HOST, brokerPort);
        DataInputStream from = new DataInputStream(socket.getInputStream());
        Thread reader = new Thread(() -> {
            try (socket) {
                while (true) {
                    answers.add(Map.entry(client, renamed(read(from))));
                    selector.wakeup();
                }
            } catch (IOException end) {
                // Of the connection, whoever wanted it.
            }
        });
        reader.setDaemon(true);
        reader.start();
        DataOutputStream to = new DataOutputStream(socket.getOutputStream());
        toBroker.put(client, to);
        return to;
    }

    /** Where the broker calls itself by its name, the client reads ours: it goes where answers send it. */
    private byte[] renamed(byte[] frame) {
        String from = name(brokerPort), to = name(port());
        return new String(frame, StandardCharsets.ISO_8859_1).replace(from, to).getBytes(StandardCharsets.ISO_8859_1);
    }

    /** A host and, right behind it, its port in four bytes. */
    private static String name(int port) {
        return HOST + new String(ByteBuffer.allocate(4).putInt(port).array(), StandardCharsets.ISO_8859_1);
    }

    private int port() {
        return listener.socket().getLocalPort();
    }

    private static byte[] read(DataInputStream from) throws IOException {
        return from.readNBytes(from.readInt());
    }

    private static void write(DataOutputStream to, byte[] frame) throws IOException {
        to.writeInt(frame.length);
        to.write(frame);
        to.flush();
    }
}
