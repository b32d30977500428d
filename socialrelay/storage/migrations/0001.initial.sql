-- The relay's first schema.  Times are timestamptz; every hash is a raw SHA-256.

CREATE TABLE relay_identity (
    id          boolean PRIMARY KEY DEFAULT true CHECK (id),
    host        text NOT NULL,
    username    text NOT NULL,
    guid        text NOT NULL,
    key_hash    bytea NOT NULL,
    created_at  timestamptz NOT NULL
);
COMMENT ON TABLE relay_identity IS 'Who this relay is, bound at its first production start: nodes store these on first contact and never refresh them';
COMMENT ON COLUMN relay_identity.id IS 'Always true: there is one row';
COMMENT ON COLUMN relay_identity.host IS 'Public host name';
COMMENT ON COLUMN relay_identity.username IS 'The part of the handle before the @';
COMMENT ON COLUMN relay_identity.guid IS 'GUID in hcard and receive URL';
COMMENT ON COLUMN relay_identity.key_hash IS 'SHA-256 of the public key (SubjectPublicKeyInfo, DER), so that a lost or exchanged key file is noticed';
COMMENT ON COLUMN relay_identity.created_at IS 'When it was bound';

CREATE TABLE incoming (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    received_at    timestamptz NOT NULL,
    protocol       text NOT NULL,
    private        boolean NOT NULL,
    sender         text NOT NULL,
    sender_host    text NOT NULL,
    body           bytea NOT NULL,
    body_hash      bytea NOT NULL UNIQUE,
    attempts       integer NOT NULL DEFAULT 0,
    next_attempt   timestamptz NOT NULL,
    hopeless       boolean NOT NULL DEFAULT false
);
CREATE INDEX incoming_next_attempt ON incoming (next_attempt, id);
CREATE INDEX incoming_hopeless ON incoming (sender_host, id) WHERE hopeless;
COMMENT ON TABLE incoming IS 'Acknowledged and not yet judged: bounded in rows and bytes, per sender''s host and in all';
COMMENT ON COLUMN incoming.id IS 'In the order of arrival';
COMMENT ON COLUMN incoming.received_at IS 'When it was acknowledged';
COMMENT ON COLUMN incoming.protocol IS 'Which federation protocol opens it';
COMMENT ON COLUMN incoming.private IS 'It came to the relay itself, encrypted';
COMMENT ON COLUMN incoming.sender IS 'The handle that it claims to be signed by; empty for a private message, which says it only inside';
COMMENT ON COLUMN incoming.sender_host IS 'Whose share of the room it takes: the host of that handle, or for a private message one of a few places';
COMMENT ON COLUMN incoming.body IS 'The bytes as received';
COMMENT ON COLUMN incoming.body_hash IS 'SHA-256 of body: the same bytes wait once';
COMMENT ON COLUMN incoming.attempts IS 'How often judging it was begun; written before each try, so that a body that kills the process is counted';
COMMENT ON COLUMN incoming.next_attempt IS 'Not to be judged before';
COMMENT ON COLUMN incoming.hopeless IS 'Its sender''s node answered that there is no such author: it goes first when that host''s share of the room is full';

CREATE TABLE quarantine (
    id              bigint PRIMARY KEY,
    received_at     timestamptz NOT NULL,
    quarantined_at  timestamptz NOT NULL,
    protocol        text NOT NULL,
    private         boolean NOT NULL,
    sender          text NOT NULL,
    body            bytea NOT NULL,
    reason          text NOT NULL
);
CREATE INDEX quarantine_quarantined_at ON quarantine (quarantined_at);
COMMENT ON TABLE quarantine IS 'What could not be judged three times; kept a week for the operator, in nobody''s way';
COMMENT ON COLUMN quarantine.id IS 'Its number in incoming';
COMMENT ON COLUMN quarantine.received_at IS 'When it was acknowledged';
COMMENT ON COLUMN quarantine.quarantined_at IS 'When it was given up';
COMMENT ON COLUMN quarantine.protocol IS 'As in incoming';
COMMENT ON COLUMN quarantine.private IS 'As in incoming';
COMMENT ON COLUMN quarantine.sender IS 'As in incoming';
COMMENT ON COLUMN quarantine.body IS 'The bytes; empty for a private message';
COMMENT ON COLUMN quarantine.reason IS 'What went wrong';

CREATE TABLE rejected (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    rejected_at  timestamptz NOT NULL,
    reason       text NOT NULL,
    author       text NOT NULL,
    guid         text NOT NULL,
    kind         text NOT NULL
);
CREATE INDEX rejected_rejected_at ON rejected (rejected_at, id);
COMMENT ON TABLE rejected IS 'Why bodies were not relayed, for a week; without the bodies';
COMMENT ON COLUMN rejected.id IS 'In the order of judging';
COMMENT ON COLUMN rejected.rejected_at IS 'When it was judged';
COMMENT ON COLUMN rejected.reason IS 'A name such as bad-signature';
COMMENT ON COLUMN rejected.author IS 'The handle it named; empty if none';
COMMENT ON COLUMN rejected.guid IS 'Its guid; empty if it was not read that far';
COMMENT ON COLUMN rejected.kind IS 'The entity''s name on the wire; empty if it was not read that far';

CREATE TABLE identity (
    hash     bytea PRIMARY KEY,
    seen_at  timestamptz NOT NULL
);
CREATE INDEX identity_seen_at ON identity (seen_at);
COMMENT ON TABLE identity IS 'What was relayed once and will not be again, for 90 days; claimed only by verified posts, in the statement that publishes them';
COMMENT ON COLUMN identity.hash IS 'SHA-256 of an identity (author and guid) or of decoded data';
COMMENT ON COLUMN identity.seen_at IS 'When it was claimed';

CREATE TABLE post (
    position      bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    received_at   timestamptz NOT NULL,
    published_at  timestamptz NOT NULL,
    protocol      text NOT NULL,
    kind          text NOT NULL,
    author        text NOT NULL,
    author_host   text NOT NULL,
    guid          text NOT NULL,
    tags          text[] NOT NULL,
    recipients    bytea NOT NULL,
    recipient_count integer NOT NULL,
    size          integer NOT NULL,
    publication   bigint NOT NULL,
    cancelled     boolean NOT NULL DEFAULT false,
    retraction    boolean NOT NULL DEFAULT false,
    digest        bytea NOT NULL DEFAULT ''
);
CREATE INDEX post_author ON post (author, guid);
CREATE INDEX post_published_at ON post (published_at, position);
-- Read for every post of a range: it must not be out of line.
ALTER TABLE post ALTER COLUMN recipients SET STORAGE MAIN;
COMMENT ON TABLE post IS 'The log: verified posts in the order in which they became visible';
COMMENT ON COLUMN post.position IS 'Place in the log. Drawn only by the publishing statement, under an advisory lock, so that positions become visible in order';
COMMENT ON COLUMN post.received_at IS 'When it was acknowledged';
COMMENT ON COLUMN post.published_at IS 'When it was verified and got its position';
COMMENT ON COLUMN post.protocol IS 'Which federation protocol it speaks';
COMMENT ON COLUMN post.kind IS 'The entity''s name on the wire';
COMMENT ON COLUMN post.author IS 'The author''s handle; empty, as are author_host, guid and tags, of what was taken back or erased';
COMMENT ON COLUMN post.author_host IS 'The host of that handle, without port: the origin';
COMMENT ON COLUMN post.guid IS 'Identifier, unique for its author';
COMMENT ON COLUMN post.tags IS 'Match keys';
COMMENT ON COLUMN post.recipients IS 'Bitmap: bit d (get_bit''s numbering) is destination number d. Fixed at publication';
COMMENT ON COLUMN post.recipient_count IS 'How many bits are set';
COMMENT ON COLUMN post.size IS 'Bytes of the body; 0 when it was taken back or erased';
COMMENT ON COLUMN post.publication IS 'Drawn for this act of publishing: when a connection is lost meanwhile, the relay finds by it whether the post was published';
COMMENT ON COLUMN post.cancelled IS 'Taken back or erased, its author no longer wishes to be relayed, or the operator blocked it: what is pending of it is cancelled';
COMMENT ON COLUMN post.retraction IS 'It takes another post back: guid is that of the other one, and it is not cancelled with the posts of its author. Its names go with its body';
COMMENT ON COLUMN post.digest IS 'The first six bytes of the SHA-256 of the body as it was received: the name under which the log speaks of it';

-- No foreign keys to post: what refers to a post is removed by the statement that removes the post, and a check for each row of a batch costs.
CREATE TABLE post_body (
    position  bigint PRIMARY KEY,
    body      bytea NOT NULL
);
COMMENT ON TABLE post_body IS 'Bodies of posts that have recipients, apart from the log, so that reading ranges of it stays cheap';
COMMENT ON COLUMN post_body.position IS 'Which post';
COMMENT ON COLUMN post_body.body IS 'The bytes as received, forwarded unchanged';

CREATE TABLE log_state (
    id              boolean PRIMARY KEY DEFAULT true CHECK (id),
    bodies_removed  bigint NOT NULL,
    followed        bigint NOT NULL
);
INSERT INTO log_state (bodies_removed, followed) VALUES (0, 0);
COMMENT ON TABLE log_state IS 'What is known of the log as a whole';
COMMENT ON COLUMN log_state.id IS 'Always true: there is one row';
COMMENT ON COLUMN log_state.followed IS 'Destinations whose row says that they follow are settled up to here: one row that changes instead of thousands';
COMMENT ON COLUMN log_state.bodies_removed IS 'The greatest position whose body was removed: who has not come past it has lost posts';

CREATE TABLE destination (
    number        integer PRIMARY KEY,
    host          text NOT NULL,
    protocol      text NOT NULL,
    url           text NOT NULL,
    subscribed    boolean NOT NULL DEFAULT true,
    state         text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'deferred', 'dead', 'gone', 'suspended')),
    cursor        bigint NOT NULL,
    ahead         bigint[] NOT NULL DEFAULT '{}',
    failures      integer NOT NULL DEFAULT 0,
    failing_since timestamptz,
    next_attempt  timestamptz,
    last_success  timestamptz,
    last_reason   text NOT NULL DEFAULT '',
    gone_answers  integer NOT NULL DEFAULT 0,
    gone_since    timestamptz,
    delivered     bigint NOT NULL DEFAULT 0,
    bounced       bigint NOT NULL DEFAULT 0,
    expired       bigint NOT NULL DEFAULT 0,
    cancelled     bigint NOT NULL DEFAULT 0,
    last_bounce   text NOT NULL DEFAULT '',
    following     boolean NOT NULL DEFAULT false,
    tried         bigint NOT NULL DEFAULT 0,
    missed        jsonb NOT NULL DEFAULT '[]',
    requeued      bigint NOT NULL DEFAULT 0,
    created_at    timestamptz NOT NULL,
    UNIQUE (host, protocol)
) WITH (fillfactor = 50);
COMMENT ON TABLE destination IS 'A node as deliveries see it; the row is never removed and its number never used again';
COMMENT ON COLUMN destination.number IS 'Its bit in post.recipients; given without gaps, since a bitmap is as long as the greatest number';
COMMENT ON COLUMN destination.host IS 'The node';
COMMENT ON COLUMN destination.protocol IS 'Which federation protocol it is sent';
COMMENT ON COLUMN destination.url IS 'Where posts are delivered to';
COMMENT ON COLUMN destination.subscribed IS 'New posts may name it';
COMMENT ON COLUMN destination.state IS 'active, deferred (waiting for its next attempt), dead (a week without success), gone (said 410), suspended (by the operator)';
COMMENT ON COLUMN destination.cursor IS 'Every post up to here that names it is settled';
COMMENT ON COLUMN destination.ahead IS 'Positions above the cursor that are settled already, at most 1024';
COMMENT ON COLUMN destination.failures IS 'Failed attempts in a row: the place in the back-off schedule';
COMMENT ON COLUMN destination.failing_since IS 'When the first of them failed';
COMMENT ON COLUMN destination.next_attempt IS 'Not to be tried before';
COMMENT ON COLUMN destination.last_success IS 'When it last took a post';
COMMENT ON COLUMN destination.last_reason IS 'The last failure, as the operator reads it';
COMMENT ON COLUMN destination.gone_answers IS 'How often it answered 410 in a row';
COMMENT ON COLUMN destination.gone_since IS 'When the first of those came';
COMMENT ON COLUMN destination.delivered IS 'Posts it took';
COMMENT ON COLUMN destination.bounced IS 'How often it refused a post for itself';
COMMENT ON COLUMN destination.requeued IS 'How many of these were put back by the operator: bounced less requeued is what is lost';
COMMENT ON COLUMN destination.expired IS 'Posts given up because they were older than the queue lifetime or the log';
COMMENT ON COLUMN destination.cancelled IS 'Posts no longer wanted: unsubscribed, blocked, retracted, erased';
COMMENT ON COLUMN destination.last_bounce IS 'Why it refused the last post that it refused for itself, as the operator reads it';
COMMENT ON COLUMN destination.following IS 'It took whatever names it up to log_state.followed: then that is its cursor, and what is between is delivered';
COMMENT ON COLUMN destination.tried IS 'No post above this position was ever begun to be sent to it: a retraction of such a post does not concern it';
COMMENT ON COLUMN destination.missed IS 'Stretches below the cursor that it gets after what is new, ascending: [after, up to, [settled positions in it]]';
COMMENT ON COLUMN destination.created_at IS 'When it was first subscribed';

CREATE TABLE deferred_delivery (
    destination   integer NOT NULL REFERENCES destination,
    position      bigint NOT NULL,
    attempts      integer NOT NULL,
    next_attempt  timestamptz NOT NULL,
    reason        text NOT NULL,
    PRIMARY KEY (destination, position)
);
CREATE INDEX deferred_delivery_position ON deferred_delivery (position);
COMMENT ON TABLE deferred_delivery IS 'A post that keeps failing at a destination which takes others: tried on its own, and settled for the cursor';
COMMENT ON COLUMN deferred_delivery.destination IS 'Where it fails';
COMMENT ON COLUMN deferred_delivery.position IS 'Which post';
COMMENT ON COLUMN deferred_delivery.attempts IS 'How often it was tried';
COMMENT ON COLUMN deferred_delivery.next_attempt IS 'Not to be tried before';
COMMENT ON COLUMN deferred_delivery.reason IS 'What the last try came to';

CREATE TABLE bounce (
    destination  integer NOT NULL REFERENCES destination,
    position     bigint NOT NULL,
    reason       text NOT NULL,
    bounced_at   timestamptz NOT NULL,
    PRIMARY KEY (destination, position)
);
CREATE INDEX bounce_bounced_at ON bounce (bounced_at);
COMMENT ON TABLE bounce IS 'Posts that destinations refused for themselves: the last 100 of each, for a week; without what was put back';
COMMENT ON COLUMN bounce.destination IS 'Who refused it';
COMMENT ON COLUMN bounce.position IS 'Which post';
COMMENT ON COLUMN bounce.reason IS 'The answer, as the operator reads it';
COMMENT ON COLUMN bounce.bounced_at IS 'When it was written down';

CREATE TABLE gap (
    destination  integer NOT NULL REFERENCES destination,
    after        bigint NOT NULL,
    upto         bigint NOT NULL,
    posts        bigint NOT NULL,
    outcome      text NOT NULL CHECK (outcome IN ('expired', 'cancelled')),
    reason       text NOT NULL,
    made_at      timestamptz NOT NULL,
    PRIMARY KEY (destination, after, outcome)
);
CREATE INDEX gap_made_at ON gap (made_at);
COMMENT ON TABLE gap IS 'Stretches of the log that a destination was never sent';
COMMENT ON COLUMN gap.destination IS 'Which destination';
COMMENT ON COLUMN gap.after IS 'The stretch begins after this position';
COMMENT ON COLUMN gap.upto IS 'and ends with this one';
COMMENT ON COLUMN gap.posts IS 'How many posts in it named the destination';
COMMENT ON COLUMN gap.outcome IS 'expired or cancelled';
COMMENT ON COLUMN gap.reason IS 'Why';
COMMENT ON COLUMN gap.made_at IS 'When';

CREATE TABLE node (
    host            text COLLATE "C" PRIMARY KEY,
    sources         text[] NOT NULL,
    first_seen      timestamptz NOT NULL,
    last_listed     timestamptz,
    scope           text CHECK (scope IN ('all', 'tags', 'none')),
    tags            text[] NOT NULL DEFAULT '{}',
    tag_count       integer NOT NULL GENERATED ALWAYS AS (cardinality(tags)) STORED,
    dropped_tags    integer NOT NULL DEFAULT 0,
    receive_url     text NOT NULL DEFAULT '',
    last_poll       timestamptz,
    last_answer     timestamptz,
    next_poll       timestamptz NOT NULL,
    poll_failures   integer NOT NULL DEFAULT 0,
    poll_error      text NOT NULL DEFAULT '',
    missing_since   timestamptz,
    polls           jsonb NOT NULL DEFAULT '[]'
);
CREATE INDEX node_next_poll ON node (next_poll);
COMMENT ON TABLE node IS 'Servers that the relay has heard of, and what they publish about themselves';
COMMENT ON COLUMN node.host IS 'Host name, lower case, A-labels';
COMMENT ON COLUMN node.sources IS 'How it became known: names of node lists, check, operator';
COMMENT ON COLUMN node.first_seen IS 'When it became known';
COMMENT ON COLUMN node.last_listed IS 'When a node list last named it';
COMMENT ON COLUMN node.scope IS 'Its preferences, as last read: all, tags or none; null when it never published any, or its grace period is over';
COMMENT ON COLUMN node.tags IS 'Match keys it asked for';
COMMENT ON COLUMN node.tag_count IS 'How many they are, for whoever does not want to read them';
COMMENT ON COLUMN node.dropped_tags IS 'How many tags were cut off or could not be tags';
COMMENT ON COLUMN node.receive_url IS 'Where it wants to be sent to';
COMMENT ON COLUMN node.last_poll IS 'When its preferences were last asked for';
COMMENT ON COLUMN node.last_answer IS 'When they were last read successfully';
COMMENT ON COLUMN node.next_poll IS 'When they are due again';
COMMENT ON COLUMN node.poll_failures IS 'Failed polls in a row';
COMMENT ON COLUMN node.poll_error IS 'The last failure, as the operator reads it; empty after a success';
COMMENT ON COLUMN node.missing_since IS 'When the first 404 of a row of them came';
COMMENT ON COLUMN node.polls IS 'The last ten polls, the latest first: [{at, outcome, scope, tags, error}]';

CREATE TABLE subscription (
    host        text PRIMARY KEY,
    scope       text NOT NULL CHECK (scope IN ('all', 'tags')),
    tags        text[] NOT NULL DEFAULT '{}',
    created_at  timestamptz NOT NULL,
    created_by  text NOT NULL
);
COMMENT ON TABLE subscription IS 'Subscriptions that the operator made by hand; a published refusal ends them';
COMMENT ON COLUMN subscription.host IS 'The node';
COMMENT ON COLUMN subscription.scope IS 'all or tags';
COMMENT ON COLUMN subscription.tags IS 'Match keys';
COMMENT ON COLUMN subscription.created_at IS 'When';
COMMENT ON COLUMN subscription.created_by IS 'Who';

CREATE TABLE rule (
    action      text NOT NULL CHECK (action IN ('block', 'limit', 'allow', 'forward')),
    subject     text COLLATE "C" NOT NULL,
    list        text NOT NULL DEFAULT '',
    reason      text NOT NULL DEFAULT '',
    created_at  timestamptz NOT NULL,
    created_by  text NOT NULL,
    ends_at     timestamptz,
    PRIMARY KEY (subject, action, list)
);
CREATE INDEX rule_list_action ON rule (list, action, subject);
COMMENT ON TABLE rule IS 'What operators decided, and what is on the lists that they took over';
COMMENT ON COLUMN rule.action IS 'block: nothing from it, nothing to it; limit: kept and not relayed; allow: member of the allow list, and taken out of lists; forward: is sent every post';
COMMENT ON COLUMN rule.subject IS 'A host (its subdomains included, except for forward), a handle, or # and the match key of a tag';
COMMENT ON COLUMN rule.list IS 'Name of the list that it is of; empty: made by hand';
COMMENT ON COLUMN rule.reason IS 'Why, in the words of the operator or of the list';
COMMENT ON COLUMN rule.created_at IS 'When';
COMMENT ON COLUMN rule.created_by IS 'Who';
COMMENT ON COLUMN rule.ends_at IS 'From then on it does not count';

CREATE TABLE rule_list (
    name        text PRIMARY KEY,
    source      text NOT NULL,
    action      text NOT NULL CHECK (action IN ('block', 'limit')),
    fetched_at  timestamptz,
    fetched_by  text NOT NULL DEFAULT '',
    tried_at    timestamptz NOT NULL,
    error       text NOT NULL DEFAULT ''
);
COMMENT ON TABLE rule_list IS 'Lists of rules that were taken over, or were to be';
COMMENT ON COLUMN rule_list.name IS 'As in rule';
COMMENT ON COLUMN rule_list.source IS 'URL or file that it came from; empty: it was handed over as a text';
COMMENT ON COLUMN rule_list.action IS 'block or limit: of entries that do not say it';
COMMENT ON COLUMN rule_list.fetched_at IS 'When it was last taken over; null: never';
COMMENT ON COLUMN rule_list.fetched_by IS 'Who did that';
COMMENT ON COLUMN rule_list.tried_at IS 'When that was last tried';
COMMENT ON COLUMN rule_list.error IS 'Why it could not be done then; empty: it could';

CREATE TABLE contact (
    handle      text PRIMARY KEY,
    wishes      boolean NOT NULL,
    changed_at  timestamptz NOT NULL
);
COMMENT ON TABLE contact IS 'Authors who told the relay whether they wish to be relayed';
COMMENT ON COLUMN contact.handle IS 'The author';
COMMENT ON COLUMN contact.wishes IS 'true: relay me; false: no more';
COMMENT ON COLUMN contact.changed_at IS 'When the last such message was judged';

CREATE TABLE profile (
    handle      text PRIMARY KEY,
    public_key  text NOT NULL,
    fetched_at  timestamptz NOT NULL,
    used_on     date NOT NULL
);
COMMENT ON TABLE profile IS 'Authors'' public keys, as discovered';
COMMENT ON COLUMN profile.handle IS 'The author, port included';
COMMENT ON COLUMN profile.public_key IS 'SubjectPublicKeyInfo, PEM';
COMMENT ON COLUMN profile.fetched_at IS 'When the key was read from the author''s node';
COMMENT ON COLUMN profile.used_on IS 'Day on which it last verified something; unused for 90 days it is removed';

CREATE TABLE statistic (
    hour     timestamptz NOT NULL,
    event    text NOT NULL,
    subject  text NOT NULL,
    count    bigint NOT NULL,
    PRIMARY KEY (hour, event, subject)
);
CREATE INDEX statistic_subject ON statistic (subject, hour);
COMMENT ON TABLE statistic IS 'Counts per hour';
COMMENT ON COLUMN statistic.hour IS 'Start of the hour';
COMMENT ON COLUMN statistic.event IS 'received, accepted, limited, rejected, ignored, duplicate, refused, delivered, bounced, expired, cancelled, failed, delay';
COMMENT ON COLUMN statistic.subject IS 'The author''s host for what comes in, the destination''s host for what goes out, a reason, or the upper bound of a delay in seconds';
COMMENT ON COLUMN statistic.count IS 'How many';

CREATE TABLE statistic_hour (
    hour   timestamptz NOT NULL,
    event  text NOT NULL,
    count  bigint NOT NULL,
    PRIMARY KEY (hour, event)
);
COMMENT ON TABLE statistic_hour IS 'Sums of statistic, so that a month is looked at without the thousands of rows of each hour';
COMMENT ON COLUMN statistic_hour.hour IS 'Start of the hour';
COMMENT ON COLUMN statistic_hour.event IS 'As in statistic';
COMMENT ON COLUMN statistic_hour.count IS 'How many, all subjects together';

CREATE TABLE statistic_total (
    event  text PRIMARY KEY,
    count  bigint NOT NULL
);
COMMENT ON TABLE statistic_total IS 'Counts of all time';
COMMENT ON COLUMN statistic_total.event IS 'As in statistic';
COMMENT ON COLUMN statistic_total.count IS 'How many, all subjects together';

CREATE TABLE takeover (
    event    text NOT NULL,
    subject  text NOT NULL,
    count    bigint NOT NULL,
    PRIMARY KEY (event, subject)
);
COMMENT ON TABLE takeover IS 'What is counted in totals and comes from an old relay, so that taking it over once more adds only the difference';
COMMENT ON COLUMN takeover.event IS 'As in statistic';
COMMENT ON COLUMN takeover.subject IS 'The destination''s host for what stands in its row; empty for what stands in statistic_total';
COMMENT ON COLUMN takeover.count IS 'How many';
