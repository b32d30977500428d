-- The account of each destination: what is examined while the relay runs, and what makes it right after a crash.

ALTER TABLE destination ADD COLUMN begin bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN destination.begin IS 'The log''s end when it was last subscribed anew, or closed: what names it up to here and is not settled is given up';

ALTER TABLE log_state ADD COLUMN run bigint NOT NULL DEFAULT 0, ADD COLUMN written bigint NOT NULL DEFAULT 0, ADD COLUMN forgotten bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN log_state.run IS 'How often the relay was started: who opens the stores draws it';
COMMENT ON COLUMN log_state.written IS 'Number, in this run, of the last progress that was written: an earlier one that comes late changes nothing';

COMMENT ON COLUMN log_state.forgotten IS 'The greatest position that was removed from post: up to there nothing can be counted any more';

CREATE TABLE account (
    destination  integer PRIMARY KEY REFERENCES destination,
    position     bigint NOT NULL,
    posts        bigint NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE account IS 'For how many posts each destination has to account: what it settled is held against it';
COMMENT ON COLUMN account.destination IS 'Which destination';
COMMENT ON COLUMN account.position IS 'Up to this position of the log';
COMMENT ON COLUMN account.posts IS 'so many posts named it; those that it had before its account was opened count as it had them then';UPDATE log_state SET forgotten = coalesce((SELECT min(position) - 1 FROM post), 0);

-- What was before is not examined any more.
INSERT INTO account (destination, position, posts)
SELECT number, cursor,
       delivered + bounced - requeued + expired + cancelled - cardinality(ahead)
       + (SELECT count(*) FROM deferred_delivery tried WHERE tried.destination = number)
  FROM destination
 WHERE missed = '[]';
