-- create_saga_store --
-- One row: the format of these tables, and the epoch of whoever runs the sagas; one that is behind may not write.
CREATE TABLE IF NOT EXISTS syncline_saga_store (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  format INTEGER NOT NULL,
  epoch INTEGER NOT NULL DEFAULT 0,
  holder TEXT NOT NULL DEFAULT ''
)

-- create_saga_feed --
-- Up to which event of each service a saga has read, moved with what it made of it.
CREATE TABLE IF NOT EXISTS syncline_saga_feed (
  saga TEXT NOT NULL,
  service TEXT NOT NULL,
  incarnation TEXT NOT NULL,
  n INTEGER NOT NULL,
  proof INTEGER NOT NULL,
  PRIMARY KEY (saga, service)
) WITHOUT ROWID

-- create_saga --
-- One row for each saga that was begun.
CREATE TABLE IF NOT EXISTS syncline_saga (
  saga TEXT NOT NULL,
  key TEXT NOT NULL,
  status TEXT NOT NULL,      -- open -> ended; open, ended -> parked -> open, ended (retried), given up
  before TEXT NOT NULL,      -- the status that a parked one goes back to
  received INTEGER NOT NULL, -- how many events have come for it
  handled INTEGER NOT NULL,  -- how many of them it has reacted to
  correlation_id TEXT,
  begun_at REAL NOT NULL,    -- seconds since 1970, as all times here
  changed_at REAL NOT NULL,
  error TEXT,                -- why it is parked
  PRIMARY KEY (saga, key)
) WITHOUT ROWID

-- create_saga_status_index --
-- The few that are parked are found among the many that have ended.
CREATE INDEX IF NOT EXISTS syncline_saga_parked ON syncline_saga (saga, changed_at) WHERE status = 'parked'

-- create_saga_input --
-- The events that came for each saga, numbered from 1: its own stream, from which its state is folded.
CREATE TABLE IF NOT EXISTS syncline_saga_input (
  saga TEXT NOT NULL,
  key TEXT NOT NULL,
  number INTEGER NOT NULL,
  service TEXT NOT NULL,     -- whose event it is; the saga's own name for a rejection of one of its commands
  position INTEGER NOT NULL,
  name TEXT NOT NULL,
  shape INTEGER NOT NULL,
  data TEXT NOT NULL,        -- JSON
  at REAL NOT NULL,
  cause TEXT,                -- the id of the command that decided it
  hops INTEGER NOT NULL,     -- how many commands of sagas led to it, one after the other
  PRIMARY KEY (saga, key, number)
) WITHOUT ROWID

-- create_saga_command --
-- The commands that sagas want sent, in order, and what became of them.
CREATE TABLE IF NOT EXISTS syncline_saga_command (
  seq INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  saga TEXT NOT NULL,
  key TEXT NOT NULL,
  service TEXT NOT NULL,
  name TEXT NOT NULL,
  payload TEXT NOT NULL,     -- JSON
  correlation_id TEXT,
  causation_id TEXT,
  hops INTEGER NOT NULL,
  at REAL NOT NULL,
  state TEXT NOT NULL,       -- waiting -> done, rejected, stuck, dropped; stuck -> waiting (retried), dropped
  attempts INTEGER NOT NULL DEFAULT 0,
  error TEXT
)

-- create_saga_waiting_index --
-- What is still to be sent, among all that ever was.
CREATE INDEX IF NOT EXISTS syncline_saga_waiting ON syncline_saga_command (seq) WHERE state IN ('waiting', 'stuck')

-- create_saga_command_index --
-- The commands of one saga, for its history.
CREATE INDEX IF NOT EXISTS syncline_saga_commands ON syncline_saga_command (saga, key)

-- create_saga_deadline --
-- Commands to be sent when their time comes.
CREATE TABLE IF NOT EXISTS syncline_saga_deadline (
  saga TEXT NOT NULL,
  key TEXT NOT NULL,
  label TEXT NOT NULL,
  due_at REAL NOT NULL,
  id TEXT NOT NULL,
  name TEXT NOT NULL,
  payload TEXT NOT NULL,
  causation_id TEXT,
  hops INTEGER NOT NULL,
  PRIMARY KEY (saga, key, label)
) WITHOUT ROWID

-- create_saga_deadline_index --
-- The next that are due.
CREATE INDEX IF NOT EXISTS syncline_saga_due ON syncline_saga_deadline (due_at)

-- create_saga_request --
-- What people ask of whoever runs the sagas.
CREATE TABLE IF NOT EXISTS syncline_saga_request (
  id INTEGER PRIMARY KEY,
  saga TEXT NOT NULL,
  key TEXT NOT NULL,
  verb TEXT NOT NULL         -- retry, give up
)

-- is_made --
-- Whether there are these tables.
SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = 'syncline_saga_store')

-- insert_store --
-- The first who comes says which format this is.
INSERT INTO syncline_saga_store (id, format) VALUES (1, :format) ON CONFLICT DO NOTHING

-- select_store --
-- Which format these tables are of, and whose turn it is.
SELECT format, epoch, holder FROM syncline_saga_store WHERE id = 1

-- take_over --
-- A new epoch: whoever wrote in the one before is refused from now on.
UPDATE syncline_saga_store SET epoch = epoch + 1, holder = :holder WHERE id = 1

-- select_format --
-- Which format these tables are of.
SELECT format FROM syncline_saga_store WHERE id = 1

-- select_feeds --
-- Where each saga goes on.
SELECT saga, service, incarnation, n, proof FROM syncline_saga_feed

-- upsert_feed --
-- A saga has read up to here.
INSERT INTO syncline_saga_feed (saga, service, incarnation, n, proof) VALUES (:saga, :service, :incarnation, :n, :proof)
ON CONFLICT (saga, service) DO UPDATE SET incarnation = excluded.incarnation, n = excluded.n, proof = excluded.proof

-- select_sagas --
-- Those of these keys that were begun.
SELECT saga, key, status, before, received, handled, correlation_id, begun_at, changed_at, error
  FROM syncline_saga WHERE saga = :saga AND key IN (SELECT text_of_json(value) FROM json_each(:keys))

-- upsert_saga --
-- A saga after its step.
INSERT INTO syncline_saga (saga, key, status, before, received, handled, correlation_id, begun_at, changed_at, error)
VALUES (:saga, :key, :status, :before, :received, :handled, :correlation_id, :begun_at, :changed_at, :error)
ON CONFLICT (saga, key) DO UPDATE SET status = excluded.status, before = excluded.before, received = excluded.received,
  handled = excluded.handled, changed_at = excluded.changed_at, error = excluded.error

-- select_inputs --
-- All that came for these, to fold their states from, and for what is still to be reacted to.
SELECT key, number, service, position, name, shape, data, at, cause, hops
  FROM syncline_saga_input WHERE saga = :saga AND key IN (SELECT text_of_json(value) FROM json_each(:keys)) ORDER BY key, number

-- insert_input --
-- One more event of a saga.
INSERT INTO syncline_saga_input (saga, key, number, service, position, name, shape, data, at, cause, hops)
VALUES (:saga, :key, :number, :service, :position, :name, :shape, :data, :at, :cause, :hops)

-- select_waiting --
-- What is still to be sent, in order, when sagas begin to run; what is stuck keeps those behind it waiting.
SELECT seq, id, saga, key, service, name, payload, correlation_id, causation_id, hops, at, state, attempts, error
  FROM syncline_saga_command WHERE state IN ('waiting', 'stuck') ORDER BY seq

-- select_commands --
-- All commands of one saga.
SELECT seq, id, saga, key, service, name, payload, correlation_id, causation_id, hops, at, state, attempts, error
  FROM syncline_saga_command WHERE saga = :saga AND key = :key ORDER BY seq

-- insert_command --
-- A command to be sent. One that is there under its id was wanted before.
INSERT INTO syncline_saga_command (id, saga, key, service, name, payload, correlation_id, causation_id, hops, at, state)
VALUES (:id, :saga, :key, :service, :name, :payload, :correlation_id, :causation_id, :hops, :at, 'waiting')
ON CONFLICT (id) DO NOTHING

-- update_command --
-- What became of a command.
UPDATE syncline_saga_command SET state = :state, attempts = :attempts, error = :error WHERE id = :id

-- reopen_commands --
-- The stuck commands of a saga that is retried are sent again.
UPDATE syncline_saga_command SET state = 'waiting', attempts = 0 WHERE saga = :saga AND key = :key AND state = 'stuck'

-- drop_commands --
-- What a saga that is given up still wanted sent.
UPDATE syncline_saga_command SET state = 'dropped' WHERE saga = :saga AND key = :key AND state IN ('waiting', 'stuck')

-- select_due --
-- Deadlines of these sagas whose time has come, where they wait for no person.
SELECT d.saga, d.key, d.label, d.due_at, d.id, d.name, d.payload, d.causation_id, d.hops
  FROM syncline_saga_deadline AS d JOIN syncline_saga AS s ON s.saga = d.saga AND s.key = d.key
 WHERE d.due_at <= :now AND s.status IN ('open', 'ended') AND d.saga IN (SELECT text_of_json(value) FROM json_each(:sagas))
 ORDER BY d.due_at LIMIT :limit

-- select_next_due --
-- When the next deadline of these sagas comes.
SELECT d.due_at
  FROM syncline_saga_deadline AS d JOIN syncline_saga AS s ON s.saga = d.saga AND s.key = d.key
 WHERE s.status IN ('open', 'ended') AND d.saga IN (SELECT text_of_json(value) FROM json_each(:sagas))
 ORDER BY d.due_at LIMIT 1

-- select_deadlines --
-- The deadlines of one saga.
SELECT saga, key, label, due_at, id, name, payload, causation_id, hops
  FROM syncline_saga_deadline WHERE saga = :saga AND key = :key ORDER BY due_at

-- upsert_deadline --
-- A deadline, in the place of one of the same label.
INSERT INTO syncline_saga_deadline (saga, key, label, due_at, id, name, payload, causation_id, hops)
VALUES (:saga, :key, :label, :due_at, :id, :name, :payload, :causation_id, :hops)
ON CONFLICT (saga, key, label) DO UPDATE SET due_at = excluded.due_at, id = excluded.id, name = excluded.name,
  payload = excluded.payload, causation_id = excluded.causation_id, hops = excluded.hops

-- delete_deadline --
-- One that was withdrawn, or whose time has come.
DELETE FROM syncline_saga_deadline WHERE saga = :saga AND key = :key AND label = :label

-- delete_deadlines --
-- Those of a saga that is over.
DELETE FROM syncline_saga_deadline WHERE saga = :saga AND key = :key

-- insert_request --
-- A person asks for something.
INSERT INTO syncline_saga_request (saga, key, verb) VALUES (:saga, :key, :verb)

-- select_requests --
-- What was asked, in order.
SELECT id, saga, key, verb FROM syncline_saga_request ORDER BY id

-- delete_request --
-- What was asked is done.
DELETE FROM syncline_saga_request WHERE id = :id

-- select_counts --
-- How many sagas there are of each status.
SELECT saga, status, COUNT(*) FROM syncline_saga GROUP BY saga, status

-- select_outgoing --
-- How many commands wait to be sent, by saga, and since when the oldest.
SELECT saga, COUNT(*), MIN(at) FROM syncline_saga_command WHERE state IN ('waiting', 'stuck') GROUP BY saga

-- select_listed --
-- The newest sagas, of one status or of any, of one name or of any.
SELECT saga, key, status, before, received, handled, correlation_id, begun_at, changed_at, error
  FROM syncline_saga
 WHERE (:status IS NULL OR status = :status) AND (:saga IS NULL OR saga = :saga)
 ORDER BY changed_at DESC LIMIT :limit
