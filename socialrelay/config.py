"""
The configuration: one frozen value, made from a TOML file, the environment and twistd's options by L{socialrelay.loading}.

Every option is explained in C{etc/socialrelay.toml}, which a test holds against these classes.
"""

from __future__ import annotations

from pathlib import Path

from attrs import Factory, field, frozen

MIB = 1024 * 1024
SECRETS = frozenset({"admin.password", "bus.tokens", "postgres.dsn", "redis.url"})
"""Keys whose values are never shown."""


@frozen
class Memory:
    """
    What the process holds of what strangers, or time, bring: entries, at most. What has a table of its own is bounded there.

    @ivar names: host names with their addresses; and as many that are being looked up.
    @ivar key_refusals: authors and hosts of which a key was asked for in vain.
    @ivar key_hosts: hosts that were lately asked for keys.
    @ivar key_lookups: authors whose keys are being looked for.
    @ivar key_waiters: bodies that wait for these.
    @ivar documents: that wait for their turn to be fetched, of each kind: keys, preferences, lists of rules.
    @ivar poll_waiters: who wait for polls.
    @ivar nodes_left_alone: nodes that are not polled for a while, since what they said could not be kept.
    @ivar outcomes: hosts whose latest failures are kept.
    @ivar tls_sessions: hosts whose TLS sessions are.
    @ivar http2_hosts: hosts that are known to speak HTTP/2.
    @ivar counted_authors: whose posts of the last hour are counted, if C{policy.posts_per_author} asks for that.
    @ivar counted_hosts: likewise, for C{policy.posts_per_host}.
    @ivar contacts: authors who said whether they wish to be relayed.
    @ivar counts: different things that were counted since counts were last written.
    @ivar rejections: why something was not relayed, likewise.
    @ivar erasures: names that are still to be taken out of what the bus keeps.
    @ivar retractions: that wait until their posts are written.
    @ivar paced: posts that are being spread over time.
    @ivar statements: that wait for a connection to the database.
    @ivar cache: entries of the cache where, or while, there is no Redis; C{cache_bytes}: bytes of it.
    @ivar out_of_date: entries that changed while Redis was away, to be removed there.
    @ivar sessions: operators who are logged in.
    @ivar login_clients: clients whose wrong passwords are counted.
    @ivar events: of the log, for the operators' page.
    """

    names: int = 10_000
    key_refusals: int = 10_000
    key_hosts: int = 10_000
    key_lookups: int = 1_000
    key_waiters: int = 10_000
    documents: int = 1_000
    poll_waiters: int = 1_000
    nodes_left_alone: int = 10_000
    outcomes: int = 2_000
    tls_sessions: int = 2_000
    http2_hosts: int = 10_000
    counted_authors: int = 20_000
    counted_hosts: int = 10_000
    contacts: int = 1_000_000
    counts: int = 20_000
    rejections: int = 1_000
    erasures: int = 10_000
    retractions: int = 1_000
    paced: int = 512
    statements: int = 2_000
    cache: int = 50_000
    cache_bytes: int = 16 * MIB
    out_of_date: int = 10_000
    sessions: int = 1_000
    login_clients: int = 10_000
    events: int = 500


@frozen
class Operator:
    """
    Who runs this relay, for its pages.

    @ivar contact: a mail address or a web page.
    @ivar source: URL of the source code of what runs.
    @ivar rules: what may be relayed here: a text, or the URL of one.
    @ivar imprint: who is answerable by law: a text, or the URL of one.
    """

    name: str = ""
    contact: str = ""
    source: str = ""
    rules: str = ""
    imprint: str = ""


@frozen
class Admin:
    """
    The operators' site, which listens at C{admin_listen}.

    @ivar password: its hash, as C{socialrelay password} prints it; empty: nobody logs in with a password.
    @ivar user_header: name of the header in which a proxy that authenticates names the user; empty: no proxy does.
    @ivar session: seconds that a login holds without use.
    """

    password: str = field(default="", repr=False)
    user_header: str = ""
    session: float = 43200.0


@frozen
class Dashboard:
    """
    The public pages.

    @ivar node_names: the names of subscribed nodes are shown.
    @ivar streams: live streams of both sites, at most, and ten more that only operators get; whoever comes then asks now and again instead.
    @ivar streams_per_address: likewise, of one client address.
    """

    node_names: bool = False
    streams: int = 50
    streams_per_address: int = 4


@frozen
class Postgres:
    """
    @ivar dsn: libpq connection string; empty for the embedded server.
    @ivar connections: size of the pool.
    """

    dsn: str = field(default="", repr=False)
    connections: int = 4


@frozen
class Redis:
    """
    @ivar url: C{redis://…}, C{unix://…}; empty for the embedded Valkey, C{off} for none.
    """

    url: str = field(default="", repr=False)


@frozen
class Embedded:
    """
    The servers that the daemon brings along.

    @ivar postgres_bin: folder of C{postgres} and C{initdb}; empty: the installed wheel's, else those on PATH.
    @ivar valkey_server: path of C{valkey-server}; empty likewise.
    @ivar user: whom they run as when the daemon is root; empty: C{socialrelay} if there is such a user, else C{nobody}.
    """

    postgres_bin: str = ""
    valkey_server: str = ""
    user: str = ""


@frozen
class Identity:
    """
    @ivar username: the handle is C{username@host}.
    @ivar key_file: private key, PEM; empty: C{identity.pem} in the state directory.
    """

    username: str = "relay"
    key_file: str = ""


@frozen
class Receive:
    """
    Bounds of what strangers may send.

    @ivar max_body: bytes.
    @ivar deadline: seconds for a whole request, from the first byte of the connection.
    @ivar bytes_in_hand: of all bodies that arrive, are judged or wait to be written.
    @ivar waiting_rows_per_host: unverified bodies per host of the sender's handle.
    @ivar waiting_rows_per_address: unverified bodies per client address.
    @ivar waiting_rows: unverified bodies in all.
    """

    max_body: int = MIB
    deadline: float = 30.0
    connections: int = 1000
    connections_per_address: int = 100
    bytes_in_hand: int = 64 * MIB
    waiting_rows_per_host: int = 200
    waiting_bytes_per_host: int = 16 * MIB
    waiting_rows_per_address: int = 1000
    waiting_bytes_per_address: int = 64 * MIB
    waiting_rows: int = 100_000
    waiting_bytes: int = 256 * MIB
    commit_queue: int = 5000
    trusted_proxies: tuple[str, ...] = ()


@frozen
class Policy:
    """
    @ivar uninvited: relay authors who never made the relay their contact.
    @ivar allow_list: relay only authors and hosts with an C{allow} rule.
    @ivar max_tags: do not relay posts with more tags; 0 for no limit.
    @ivar posts_per_author: of one author in an hour; more are acknowledged, counted and dropped; 0 for no limit.
    @ivar posts_per_host: likewise, of all authors of one host.
    """

    uninvited: bool = True
    allow_list: bool = False
    max_tags: int = 0
    reshares: bool = False
    posts_per_author: int = 0
    posts_per_host: int = 0


@frozen
class RuleList:
    """
    A list of rules that somebody else keeps.

    @ivar name: under which its rules are shown, exported and removed, all together.
    @ivar url: https, or the path of a local file: Mastodon's CSV, or one host a line.
    @ivar action: C{block} or C{limit}: of entries that do not say it.
    """

    name: str
    url: str
    action: str = "block"


@frozen
class Moderation:
    """
    @ivar lists: taken over at start, on SIGHUP, and every C{interval} seconds.
    """

    lists: tuple[RuleList, ...] = ()
    interval: float = 86400.0


@frozen
class Delivery:
    """
    @ivar window: deliveries in flight to one host, at most.
    @ivar in_flight: in all; the descriptor limit may lower it.
    @ivar probes: of it, for hosts that are deferred or dead.
    @ivar catch_up_share: which part of it may be taken by posts that were missed.
    @ivar catch_up_order: C{oldest} first, or what is new and then the C{newest} of what was missed.
    @ivar bodies_in_flight: bytes of the different bodies that are in flight.
    @ivar origin_spread: seconds over which one post goes out; 0: as fast as possible.
    @ivar timeout: seconds for a whole delivery, at most.
    @ivar http2: spoken with nodes that do.
    @ivar queue_lifetime: seconds; an older post is expired.
    @ivar log_each: a log line for each delivery.
    """

    window: int = 5
    in_flight: int = 1024
    probes: int = 64
    catch_up_share: float = 0.25
    catch_up_order: str = "oldest"
    bodies_in_flight: int = 64 * MIB
    origin_spread: float = 30.0
    connect_timeout: float = 5.0
    timeout: float = 15.0
    http2: bool = False
    kept_connections: int = 256
    max_answer: int = 65536
    queue_lifetime: float = 7 * 86400.0
    body_cache: int = 16 * MIB
    log_each: bool = False


@frozen
class Retention:
    """Days, unless it says otherwise."""

    bodies: float = 7
    bodies_max_bytes: int = 2048 * MIB
    posts: float = 30
    identities: float = 90
    rejections: float = 7
    keys: float = 90
    statistics: float = 400


@frozen
class Discovery:
    """
    @ivar ports: ports that a handle may name.
    @ivar concurrency: documents fetched at a time.
    """

    ports: tuple[int, ...] = (443, 8443)
    concurrency: int = 32
    timeout: float = 10.0
    keys_in_memory: int = 50000
    key_lifetime: float = 30 * 86400.0


@frozen
class Dns:
    """
    @ivar threads: for names that resolved before.
    @ivar suspect_threads: for names that are new or failed.
    """

    threads: int = 16
    suspect_threads: int = 16
    timeout: float = 5.0


@frozen
class NodeList:
    """
    A source of candidates.

    @ivar url: https, or the path of a local file with one host per line.
    @ivar query: GraphQL query; with it the source is asked by POST.
    """

    name: str
    url: str
    query: str = ""


@frozen
class Polling:
    """Intervals in seconds. C{lists} of its own replaces the defaults; an empty list switches them off."""

    lists: tuple[NodeList, ...] | None = None
    list_interval: float = 86400.0
    interval: float = 3600.0
    candidate_interval: float = 86400.0
    concurrency: int = 20
    timeout: float = 10.0
    grace: float = 7 * 86400.0
    max_nodes: int = 50000
    max_tags_per_node: int = 2000
    max_tags: int = 1_000_000


@frozen
class Federation:
    """
    @ivar enabled: posts are relayed; without it the daemon is a bridge of the bus alone.
    """

    enabled: bool = True


@frozen
class BusToken:
    """
    Who may use the bus by HTTP.

    @ivar name: for the log.
    @ivar token: what is said after C{Authorization: Bearer}.
    @ivar publish: what the topics begin with that may be published, prefix and environment included; C{["*"]}: all but the relay's own.
    @ivar read: the messages that are kept may be read.
    """

    name: str
    token: str = field(repr=False)
    publish: tuple[str, ...] = ("*",)
    read: bool = True


@frozen
class Bus:
    """
    The message bus.

    @ivar relay_inbound: where publishers of fedmsg connect.
    @ivar relay_outbound: where listeners connect; all of them are bound.
    @ivar relay_ingest: where messages are acknowledged.
    @ivar topic_prefix: as in fedmsg's configuration; so is C{environment}.
    @ivar store_legacy: what came in without acknowledgement is kept, too, before it is published.
    @ivar lenient_inbound: what is no envelope is wrapped, as fedmsg-relay does, instead of dropped.
    @ivar high_water_mark: messages that wait for one listener, at most; and that wait to be taken in.
    @ivar max_message: bytes of a body.
    @ivar queue_bytes: of all that waits to be kept.
    @ivar unacknowledged: messages whose senders wait for an answer, at most.
    @ivar waiting_readers: readers who wait for what comes next, at most.
    @ivar announcements: of the relay's own that wait to be written, at most.
    @ivar remembered: messages that are known again without the database, at least; twice as many at most.
    @ivar heartbeat: seconds.
    @ivar delivery_events: each delivery is announced, not only what went wrong.
    @ivar keep_days: messages are kept for so long.
    @ivar keep_bytes: of bodies, at most; the relay's own take a quarter.
    """

    enabled: bool = False
    relay_inbound: tuple[str, ...] = ("tcp://127.0.0.1:2003",)
    relay_outbound: tuple[str, ...] = ("tcp://127.0.0.1:4001",)
    relay_ingest: tuple[str, ...] = ("tcp://127.0.0.1:2004",)
    topic_prefix: str = "com.example"
    environment: str = "dev"
    store_legacy: bool = True
    lenient_inbound: bool = False
    high_water_mark: int = 100_000
    linger: float = 1.0
    max_message: int = MIB
    queue_bytes: int = 128 * MIB
    unacknowledged: int = 10_000
    waiting_readers: int = 100
    announcements: int = 10_000
    remembered: int = 50_000
    heartbeat: float = 10.0
    delivery_events: bool = False
    keep_days: float = 7
    keep_bytes: int = 1024 * MIB
    tokens: tuple[BusToken, ...] = ()


@frozen
class Network:
    """
    For tests, demo and benchmarks: how to reach fake nodes. Empty by default; each entry is named in the log at start.

    @ivar connect_to: C{"pod-a.example:443" = "127.0.0.1:8443"}; C{"*.bench.example:443"} for all below a name.
    @ivar ca_file: PEM; trusted besides the system's.
    @ivar allow_addresses: CIDRs that may be connected to although they are not public.
    @ivar author_keys: a folder of C{handle.pem}: public keys that are not discovered.
    """

    connect_to: dict[str, str] = Factory(dict)
    ca_file: str = ""
    allow_addresses: tuple[str, ...] = ()
    author_keys: str = ""


@frozen
class Config:
    """
    @ivar host: the relay's public name; without it the relay runs in development mode.
    @ivar listen: Twisted endpoint descriptions of the public site.
    @ivar admin_listen: of the operators' site; empty: C{admin.sock} beside the control socket, and in development the port after the
        public one.
    @ivar log_format: C{text} or C{json}.
    @ivar log_level: the least that is logged: C{debug}, C{info}, C{warn}, C{error}.
    @ivar stop_timeout: seconds for everything that ends.
    """

    state_dir: Path
    host: str = ""
    listen: tuple[str, ...] = ("tcp:8080:interface=127.0.0.1",)
    admin_listen: tuple[str, ...] = ()
    log_format: str = "text"
    log_level: str = "info"
    stop_timeout: float = 20.0
    operator: Operator = Operator()
    admin: Admin = Admin()
    dashboard: Dashboard = Dashboard()
    postgres: Postgres = Postgres()
    redis: Redis = Redis()
    embedded: Embedded = Embedded()
    identity: Identity = Identity()
    receive: Receive = Receive()
    policy: Policy = Policy()
    moderation: Moderation = Moderation()
    delivery: Delivery = Delivery()
    retention: Retention = Retention()
    discovery: Discovery = Discovery()
    dns: Dns = Dns()
    polling: Polling = Polling()
    federation: Federation = Federation()
    bus: Bus = Bus()
    memory: Memory = Memory()
    network: Network = Network()

    @property
    def production(self) -> bool:
        """It has a public name: lists are fetched, nodes polled, the identity is bound."""
        return bool(self.host)
