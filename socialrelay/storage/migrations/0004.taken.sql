-- Who took a post that others who follow did not take yet: what would be sent twice if the relay were killed.

ALTER TABLE log_state ADD COLUMN taken bigint[] NOT NULL DEFAULT '{}', ADD COLUMN takers bytea[] NOT NULL DEFAULT '{}';
COMMENT ON COLUMN log_state.taken IS 'Positions above followed that some of those who follow took, ascending';
COMMENT ON COLUMN log_state.takers IS 'Who took each of these, of those who follow: bitmaps as in post.recipients';
