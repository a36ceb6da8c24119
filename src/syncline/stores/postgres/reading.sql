-- generation_is --
-- Whether the rows of a build are those that a reader's snapshot is to see; raises where it is neither of the two that are there.
CREATE OR REPLACE FUNCTION syncline.generation_is(live bigint, this bigint, other bigint, view text) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $body$
BEGIN
  IF live = this THEN
    RETURN true;
  END IF;
  IF live = other THEN
    RETURN false;
  END IF;
  IF live IS NULL THEN
    RAISE EXCEPTION 'view % cannot be read in this snapshot: its rows are not complete', view
      USING ERRCODE = 'object_not_in_prerequisite_state', HINT = '`syncline status` tells what it waits for.';
  END IF;
  RAISE EXCEPTION 'view % was built anew after the snapshot of this transaction was taken', view
    USING ERRCODE = 'serialization_failure', HINT = 'Begin a new transaction.';
END
$body$

-- token_body --
-- What a consistency token says, as JSON; raises where it is none.
CREATE OR REPLACE FUNCTION syncline.token_body(token text) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
AS $body$
DECLARE
  word text := btrim(token, E' \t\r\n');
  packed bytea;
  sum bigint := 4294967295;
  found jsonb;
BEGIN
  IF word IS NULL OR word !~ '^sl1\.[A-Za-z0-9_-]+$' THEN
    RAISE EXCEPTION 'this is not a consistency token: %', coalesce(quote_literal(token), 'NULL')
      USING ERRCODE = 'invalid_parameter_value', HINT = 'A token begins with ''sl1.''; pass it on as it was given out.';
  END IF;
  word := translate(substr(word, 5), '-_', '+/');
  BEGIN
    packed := decode(word || repeat('=', (4 - length(word) % 4) % 4), 'base64');
    FOR place IN 4 .. length(packed) - 1 LOOP
      sum := sum # get_byte(packed, place);
      FOR bit IN 1 .. 8 LOOP
        sum := CASE WHEN sum & 1 = 1 THEN (sum >> 1) # 3988292384 ELSE sum >> 1 END;
      END LOOP;
    END LOOP;
    sum := sum # 4294967295;
    IF length(packed) < 4 OR decode(lpad(to_hex(sum), 8, '0'), 'hex') <> substr(packed, 1, 4) THEN
      RAISE EXCEPTION 'checksum' USING ERRCODE = 'data_exception';
    END IF;
    found := convert_from(substr(packed, 5), 'UTF8')::jsonb;
  EXCEPTION WHEN data_exception OR character_not_in_repertoire THEN
    RAISE EXCEPTION 'this consistency token is damaged: %', quote_literal(token)
      USING ERRCODE = 'invalid_parameter_value', HINT = 'Pass it on as it was given out.';
  END;
  RETURN found;
END
$body$

-- lacking --
-- The first service whose rows are not as new as a token says, with where it is; none when all are. Raises for a token of a history
-- that is gone. Services that the store does not follow do not matter.
CREATE OR REPLACE FUNCTION syncline.lacking(token jsonb, OUT service text, OUT reached bigint, OUT wanted bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $body$
DECLARE
  named record;
  feed record;
BEGIN
  FOR named IN SELECT key, value FROM jsonb_each(token) ORDER BY key LOOP
    SELECT f.incarnation, f.n, f.open::jsonb AS open, f.past::jsonb AS past, f.superseded::jsonb AS superseded
      INTO feed FROM syncline.feed AS f WHERE f.service = named.key;
    CONTINUE WHEN NOT FOUND;
    service := named.key;
    wanted := (named.value ->> 1)::bigint;
    reached := CASE WHEN feed.incarnation = named.value ->> 0 THEN feed.n END;
    IF feed.past ? (named.value ->> 0) THEN
      RAISE EXCEPTION 'the token names a history of service % that is gone (%, now %)', named.key, named.value ->> 0, feed.incarnation
        USING ERRCODE = 'invalid_parameter_value', HINT = 'It will never be reached. Leave it out and read again.';
    END IF;
    CONTINUE WHEN feed.superseded ? (named.value ->> 0) AND feed.incarnation <> named.value ->> 0;
    IF reached IS NULL OR reached < wanted OR EXISTS (
      SELECT FROM jsonb_array_elements(feed.open) AS still (number)
       WHERE still.number::bigint <= wanted
         AND NOT EXISTS (
           SELECT FROM jsonb_array_elements(named.value) WITH ORDINALITY AS known (number, place)
            WHERE known.place > 2 AND known.number = still.number
         )
    ) THEN
      RETURN;
    END IF;
  END LOOP;
  service := NULL;
END
$body$

-- wait_for --
-- Returns when all rows of the store are as new as a token says. For READ COMMITTED: the next statement has a new snapshot.
CREATE OR REPLACE FUNCTION syncline.wait_for(token text, timeout interval DEFAULT '5 seconds') RETURNS void
LANGUAGE plpgsql VOLATILE
AS $body$
DECLARE
  body jsonb := syncline.token_body(token);
  until timestamptz := clock_timestamp() + timeout;
  late record;
BEGIN
  IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
    RAISE EXCEPTION 'wait_for cannot be used in a transaction that is %: what it would wait for is not in its snapshot',
      upper(current_setting('transaction_isolation'))
      USING ERRCODE = 'invalid_transaction_state', HINT = 'Call it in READ COMMITTED, in a statement before the one that reads.';
  END IF;
  LOOP
    SELECT * INTO late FROM syncline.lacking(body);
    EXIT WHEN late.service IS NULL;
    IF clock_timestamp() >= until THEN
      RAISE EXCEPTION 'service % is at %, the token asks for %', late.service, coalesce(late.reached::text, 'another place'), late.wanted
        USING ERRCODE = 'query_canceled', HINT = 'Wait longer, or see `syncline status` for what holds it up.';
    END IF;
    PERFORM pg_sleep(0.002);
  END LOOP;
END
$body$
