-- create_request --
-- What other processes ask of the relay.
CREATE TABLE IF NOT EXISTS request (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  verb TEXT NOT NULL,
  argument TEXT NOT NULL,
  state TEXT NOT NULL DEFAULT 'asked',  -- asked -> done, asked -> failed
  answer TEXT,
  at REAL NOT NULL
)

-- insert_request --
-- Asks for something.
INSERT INTO request (verb, argument, at) VALUES (:verb, :argument, :at)

-- select_request --
-- One request with its answer.
SELECT id, verb, argument, state, answer FROM request WHERE id = :id

-- select_waiting --
-- What is to be done, in the order asked.
SELECT id, verb, argument, state, answer FROM request WHERE state = 'asked' ORDER BY id

-- answer_request --
-- Says what became of a request.
UPDATE request SET state = :state, answer = :answer WHERE id = :id

-- delete_old --
-- Forgets requests that nobody waits for any more.
DELETE FROM request WHERE at < :before
