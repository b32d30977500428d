-- The message bus.

CREATE TABLE bus_message (
    seq          bigint PRIMARY KEY,
    msg_id       text COLLATE "C" NOT NULL UNIQUE,
    topic        text COLLATE "C" NOT NULL,
    body         text NOT NULL,
    source       text NOT NULL CHECK (source IN ('legacy', 'ingest', 'http', 'own')),
    received_at  timestamptz NOT NULL
);
CREATE INDEX bus_message_own ON bus_message (seq) WHERE source = 'own';
-- Strangers can have what names them taken out, as often as they like: by taking back posts.
CREATE INDEX bus_message_actor ON bus_message ((body::jsonb -> 'msg' ->> 'actor')) WHERE source = 'own';
-- Compressing costs more than all the rest; up to half a page, which signed messages have, a body stays in its row.
ALTER TABLE bus_message ALTER COLUMN body SET STORAGE EXTERNAL;
ALTER TABLE bus_message SET (toast_tuple_target = 4080);
COMMENT ON TABLE bus_message IS 'What was said on the message bus, in the order in which it was kept and published';
COMMENT ON COLUMN bus_message.seq IS 'Its number: given without holes, visible in order';
COMMENT ON COLUMN bus_message.msg_id IS 'What its sender calls it, or the SHA-256 of topic and body: what comes twice is kept once';
COMMENT ON COLUMN bus_message.topic IS 'The first frame';
COMMENT ON COLUMN bus_message.body IS 'The second, JSON, as it came';
COMMENT ON COLUMN bus_message.source IS 'legacy: the compatible socket; ingest: the acknowledging one; http; own: the relay itself';
COMMENT ON COLUMN bus_message.received_at IS 'When it was kept';

CREATE TABLE bus_state (
    id          boolean PRIMARY KEY DEFAULT true CHECK (id),
    last_seq    bigint NOT NULL,
    published   bigint NOT NULL,
    pruned      bigint NOT NULL,
    pruned_own  bigint NOT NULL,
    bytes       bigint NOT NULL,
    bytes_own   bigint NOT NULL
);
INSERT INTO bus_state (last_seq, published, pruned, pruned_own, bytes, bytes_own) VALUES (0, 0, 0, 0, 0, 0);
COMMENT ON TABLE bus_state IS 'What is known of the messages of the bus as a whole';
COMMENT ON COLUMN bus_state.id IS 'Always true: there is one row';
COMMENT ON COLUMN bus_state.last_seq IS 'The last number that was given; who gives one holds the lock of this row until the message can be seen';
COMMENT ON COLUMN bus_state.published IS 'Up to here all is known to have been published';
COMMENT ON COLUMN bus_state.pruned IS 'Up to here all is forgotten';
COMMENT ON COLUMN bus_state.pruned_own IS 'Up to here the relay''s own messages are forgotten, whose share is smaller';
COMMENT ON COLUMN bus_state.bytes IS 'Bytes of all bodies that are kept';
COMMENT ON COLUMN bus_state.bytes_own IS 'Of these, those of the relay''s own';
