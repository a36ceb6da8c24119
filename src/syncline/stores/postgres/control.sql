-- create_request --
-- What other processes ask of the relay.
CREATE TABLE IF NOT EXISTS syncline.request (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  verb text NOT NULL,
  argument text NOT NULL,
  state text NOT NULL DEFAULT 'asked',  -- asked -> done, asked -> failed
  answer text,
  at timestamptz NOT NULL DEFAULT now()
)

-- insert_request --
-- Asks for something.
INSERT INTO syncline.request (verb, argument) VALUES (:verb, :argument) RETURNING id

-- select_request --
-- One request with its answer.
SELECT id, verb, argument, state, answer FROM syncline.request WHERE id = :id

-- select_waiting --
-- What is to be done, in the order asked.
SELECT id, verb, argument, state, answer FROM syncline.request WHERE state = 'asked' ORDER BY id

-- answer_request --
-- Says what became of a request.
UPDATE syncline.request SET state = :state, answer = :answer WHERE id = :id

-- delete_old --
-- Forgets requests that nobody waits for any more.
DELETE FROM syncline.request WHERE at < now() - :kept_s * interval '1 second'

-- take_lease --
-- Takes the right to be the relay, if nobody has it; it ends with the session.
SELECT pg_try_advisory_lock(:part, :number)

-- is_leased --
-- Whether any session has that right.
SELECT EXISTS (
  SELECT FROM pg_locks
   WHERE locktype = 'advisory' AND granted AND objsubid = 2
     AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
     AND classid::bigint = :part AND objid::bigint = :number
)
