-- create_saga_store --
-- One row: the format of these tables, and the epoch of whoever runs the sagas; one that is behind may not write.
CREATE TABLE IF NOT EXISTS syncline.saga_store (
  id bigint PRIMARY KEY CHECK (id = 1),
  format bigint NOT NULL,
  epoch bigint NOT NULL DEFAULT 0,
  holder text NOT NULL DEFAULT ''
)

-- create_saga_feed --
-- Up to which event of each service a saga has read, moved with what it made of it.
CREATE TABLE IF NOT EXISTS syncline.saga_feed (
  saga text COLLATE "C" NOT NULL,
  service text COLLATE "C" NOT NULL,
  incarnation text NOT NULL,
  n bigint NOT NULL,
  proof bigint NOT NULL,
  PRIMARY KEY (saga, service)
)

-- create_saga --
-- One row for each saga that was begun.
CREATE TABLE IF NOT EXISTS syncline.saga (
  saga text COLLATE "C" NOT NULL,
  key text COLLATE "C" NOT NULL,
  status text NOT NULL,      -- open -> ended; open, ended -> parked -> open, ended (retried), given up
  before text NOT NULL,      -- the status that a parked one goes back to
  received bigint NOT NULL, -- how many events have come for it
  handled bigint NOT NULL,  -- how many of them it has reacted to
  correlation_id text,
  begun_at double precision NOT NULL,    -- seconds since 1970, as all times here
  changed_at double precision NOT NULL,
  error text,                -- why it is parked
  PRIMARY KEY (saga, key)
)

-- create_saga_status_index --
-- The few that are parked are found among the many that have ended.
CREATE INDEX IF NOT EXISTS saga_parked ON syncline.saga (saga, changed_at) WHERE status = 'parked'

-- create_saga_input --
-- The events that came for each saga, numbered from 1: its own stream, from which its state is folded.
CREATE TABLE IF NOT EXISTS syncline.saga_input (
  saga text COLLATE "C" NOT NULL,
  key text COLLATE "C" NOT NULL,
  number bigint NOT NULL,
  service text COLLATE "C" NOT NULL,     -- whose event it is; the saga's own name for a rejection of one of its commands
  position bigint NOT NULL,
  name text NOT NULL,
  shape bigint NOT NULL,
  data text NOT NULL,        -- JSON
  at double precision NOT NULL,
  cause text,                -- the id of the command that decided it
  hops bigint NOT NULL,     -- how many commands of sagas led to it, one after the other
  PRIMARY KEY (saga, key, number)
)

-- create_saga_command --
-- The commands that sagas want sent, in order, and what became of them.
CREATE TABLE IF NOT EXISTS syncline.saga_command (
  seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id text COLLATE "C" NOT NULL UNIQUE,
  saga text COLLATE "C" NOT NULL,
  key text COLLATE "C" NOT NULL,
  service text COLLATE "C" NOT NULL,
  name text NOT NULL,
  payload text NOT NULL,     -- JSON
  correlation_id text,
  causation_id text,
  hops bigint NOT NULL,
  at double precision NOT NULL,
  state text NOT NULL,       -- waiting -> done, rejected, stuck, dropped; stuck -> waiting (retried), dropped
  attempts bigint NOT NULL DEFAULT 0,
  error text
)

-- create_saga_waiting_index --
-- What is still to be sent, among all that ever was.
CREATE INDEX IF NOT EXISTS saga_waiting ON syncline.saga_command (seq) WHERE state IN ('waiting', 'stuck')

-- create_saga_command_index --
-- The commands of one saga, for its history.
CREATE INDEX IF NOT EXISTS saga_commands ON syncline.saga_command (saga, key)

-- create_saga_deadline --
-- Commands to be sent when their time comes.
CREATE TABLE IF NOT EXISTS syncline.saga_deadline (
  saga text COLLATE "C" NOT NULL,
  key text COLLATE "C" NOT NULL,
  label text COLLATE "C" NOT NULL,
  due_at double precision NOT NULL,
  id text COLLATE "C" NOT NULL,
  name text NOT NULL,
  payload text NOT NULL,
  causation_id text,
  hops bigint NOT NULL,
  PRIMARY KEY (saga, key, label)
)

-- create_saga_deadline_index --
-- The next that are due.
CREATE INDEX IF NOT EXISTS saga_due ON syncline.saga_deadline (due_at)

-- create_saga_request --
-- What people ask of whoever runs the sagas.
CREATE TABLE IF NOT EXISTS syncline.saga_request (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  saga text COLLATE "C" NOT NULL,
  key text COLLATE "C" NOT NULL,
  verb text NOT NULL         -- retry, give up
)

-- is_made --
-- Whether there are these tables.
SELECT to_regclass('syncline.saga_store') IS NOT NULL

-- insert_store --
-- The first who comes says which format this is.
INSERT INTO syncline.saga_store (id, format) VALUES (1, :format) ON CONFLICT DO NOTHING

-- select_store --
-- Which format these tables are of, and whose turn it is; nobody changes that until the transaction ends.
SELECT format, epoch, holder FROM syncline.saga_store WHERE id = 1 FOR UPDATE

-- take_over --
-- A new epoch: whoever wrote in the one before is refused from now on.
UPDATE syncline.saga_store SET epoch = epoch + 1, holder = :holder WHERE id = 1

-- select_format --
-- Which format these tables are of.
SELECT format FROM syncline.saga_store WHERE id = 1

-- select_feeds --
-- Where each saga goes on.
SELECT saga, service, incarnation, n, proof FROM syncline.saga_feed

-- upsert_feed --
-- A saga has read up to here.
INSERT INTO syncline.saga_feed (saga, service, incarnation, n, proof) VALUES (:saga, :service, :incarnation, :n, :proof)
ON CONFLICT (saga, service) DO UPDATE SET incarnation = excluded.incarnation, n = excluded.n, proof = excluded.proof

-- select_sagas --
-- Those of these keys that were begun.
SELECT saga, key, status, before, received, handled, correlation_id, begun_at, changed_at, error
  FROM syncline.saga WHERE saga = :saga AND key = ANY (:keys)

-- upsert_saga --
-- A saga after its step.
INSERT INTO syncline.saga (saga, key, status, before, received, handled, correlation_id, begun_at, changed_at, error)
VALUES (:saga, :key, :status, :before, :received, :handled, :correlation_id, :begun_at, :changed_at, :error)
ON CONFLICT (saga, key) DO UPDATE SET status = excluded.status, before = excluded.before, received = excluded.received,
  handled = excluded.handled, changed_at = excluded.changed_at, error = excluded.error

-- select_inputs --
-- All that came for these, to fold their states from, and for what is still to be reacted to.
SELECT key, number, service, position, name, shape, data, at, cause, hops
  FROM syncline.saga_input WHERE saga = :saga AND key = ANY (:keys) ORDER BY key, number

-- insert_input --
-- One more event of a saga.
INSERT INTO syncline.saga_input (saga, key, number, service, position, name, shape, data, at, cause, hops)
VALUES (:saga, :key, :number, :service, :position, :name, :shape, :data, :at, :cause, :hops)

-- select_waiting --
-- What is still to be sent, in order, when sagas begin to run; what is stuck keeps those behind it waiting.
SELECT seq, id, saga, key, service, name, payload, correlation_id, causation_id, hops, at, state, attempts, error
  FROM syncline.saga_command WHERE state IN ('waiting', 'stuck') ORDER BY seq

-- select_commands --
-- All commands of one saga.
SELECT seq, id, saga, key, service, name, payload, correlation_id, causation_id, hops, at, state, attempts, error
  FROM syncline.saga_command WHERE saga = :saga AND key = :key ORDER BY seq

-- insert_command --
-- A command to be sent. One that is there under its id was wanted before.
INSERT INTO syncline.saga_command (id, saga, key, service, name, payload, correlation_id, causation_id, hops, at, state)
VALUES (:id, :saga, :key, :service, :name, :payload, :correlation_id, :causation_id, :hops, :at, 'waiting')
ON CONFLICT (id) DO NOTHING

-- update_command --
-- What became of a command.
UPDATE syncline.saga_command SET state = :state, attempts = :attempts, error = :error WHERE id = :id

-- reopen_commands --
-- The stuck commands of a saga that is retried are sent again.
UPDATE syncline.saga_command SET state = 'waiting', attempts = 0 WHERE saga = :saga AND key = :key AND state = 'stuck'

-- drop_commands --
-- What a saga that is given up still wanted sent.
UPDATE syncline.saga_command SET state = 'dropped' WHERE saga = :saga AND key = :key AND state IN ('waiting', 'stuck')

-- select_due --
-- Deadlines of these sagas whose time has come, where they wait for no person.
SELECT d.saga, d.key, d.label, d.due_at, d.id, d.name, d.payload, d.causation_id, d.hops
  FROM syncline.saga_deadline AS d JOIN syncline.saga AS s ON s.saga = d.saga AND s.key = d.key
 WHERE d.due_at <= :now AND s.status IN ('open', 'ended') AND d.saga = ANY (:sagas)
 ORDER BY d.due_at LIMIT :limit

-- select_next_due --
-- When the next deadline of these sagas comes.
SELECT d.due_at
  FROM syncline.saga_deadline AS d JOIN syncline.saga AS s ON s.saga = d.saga AND s.key = d.key
 WHERE s.status IN ('open', 'ended') AND d.saga = ANY (:sagas)
 ORDER BY d.due_at LIMIT 1

-- select_deadlines --
-- The deadlines of one saga.
SELECT saga, key, label, due_at, id, name, payload, causation_id, hops
  FROM syncline.saga_deadline WHERE saga = :saga AND key = :key ORDER BY due_at

-- upsert_deadline --
-- A deadline, in the place of one of the same label.
INSERT INTO syncline.saga_deadline (saga, key, label, due_at, id, name, payload, causation_id, hops)
VALUES (:saga, :key, :label, :due_at, :id, :name, :payload, :causation_id, :hops)
ON CONFLICT (saga, key, label) DO UPDATE SET due_at = excluded.due_at, id = excluded.id, name = excluded.name,
  payload = excluded.payload, causation_id = excluded.causation_id, hops = excluded.hops

-- delete_deadline --
-- One that was withdrawn, or whose time has come.
DELETE FROM syncline.saga_deadline WHERE saga = :saga AND key = :key AND label = :label

-- delete_deadlines --
-- Those of a saga that is over.
DELETE FROM syncline.saga_deadline WHERE saga = :saga AND key = :key

-- insert_request --
-- A person asks for something.
INSERT INTO syncline.saga_request (saga, key, verb) VALUES (:saga, :key, :verb)

-- select_requests --
-- What was asked, in order.
SELECT id, saga, key, verb FROM syncline.saga_request ORDER BY id

-- delete_request --
-- What was asked is done.
DELETE FROM syncline.saga_request WHERE id = :id

-- select_counts --
-- How many sagas there are of each status.
SELECT saga, status, COUNT(*) FROM syncline.saga GROUP BY saga, status

-- select_outgoing --
-- How many commands wait to be sent, by saga, and since when the oldest.
SELECT saga, COUNT(*), MIN(at) FROM syncline.saga_command WHERE state IN ('waiting', 'stuck') GROUP BY saga

-- select_listed --
-- The newest sagas, of one status or of any, of one name or of any.
SELECT saga, key, status, before, received, handled, correlation_id, begun_at, changed_at, error
  FROM syncline.saga
 WHERE (CAST(:status AS text) IS NULL OR status = :status) AND (CAST(:saga AS text) IS NULL OR saga = :saga)
 ORDER BY changed_at DESC LIMIT :limit
