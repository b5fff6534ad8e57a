-- Whether a lease that touches no index would save anything on PostgreSQL: two designs drain the same backlog in turn.
--
--     psql --no-psqlrc --quiet --file benches/lease.sql DATABASE_URL
--
-- The database is a migrated one, of which only the definition of `outbox_event` is used; all else happens in a schema of its own. The
-- statements are those of claiming and settling without what both designs share: turns, receipts of the destination, quotes. One session
-- holds eight claims of 256 events while it settles the oldest. It prints microseconds and bytes of log (WAL) for each event.
\set ON_ERROR_STOP on
\set QUIET on
SET client_min_messages = warning;
CREATE SCHEMA lease_bench;
SET search_path = lease_bench, public;

-- `marked`: the lease changes the status, so the event leaves the index of pending ones. `passed_over`: the status stays, and claims
-- pass over what is leased; no index knows `leased_until`, so that the lease is a heap-only update where its page has room.
CREATE PROCEDURE fill(design text, fillfactor int, events int) LANGUAGE plpgsql AS $$
BEGIN
    DROP TABLE IF EXISTS event;
    EXECUTE format('CREATE TABLE event (LIKE public.outbox_event INCLUDING ALL) WITH (fillfactor = %s, autovacuum_enabled = false)', fillfactor);
    IF design = 'passed_over' THEN
        EXECUTE (SELECT 'DROP INDEX ' || indexrelid::regclass FROM pg_index
            WHERE indrelid = 'event'::regclass AND pg_get_indexdef(indexrelid) LIKE '%(leased_until)%');
    END IF;
    INSERT INTO event (id, aggregate_type, aggregate_id, event_type, destination, sequence, payload, status, attempts, created_at,
        live_since, due_at, outcome_unknown, withdrawn, failures, partner)
    SELECT gen_random_uuid(), 'quote', gen_random_uuid(), 'quote.submitted', 'fees', 1, jsonb_build_object(
            'quote_id', gen_random_uuid(), 'customer_id', 'customer-7', 'currency', 'EUR', 'amount_minor', 285000, 'lines', jsonb_build_array(
                jsonb_build_object('description', 'Consulting, one day', 'quantity', 3, 'unit_price_minor', 95000))),
        'pending', 0, now(), now(), now() - interval '1 hour' + n * interval '1 ms', false, false, '[]', ''
    FROM generate_series(1, events) n;
    ANALYZE event;
END $$;

CREATE PROCEDURE drain(design text) LANGUAGE plpgsql AS $$
DECLARE
    claims text[] := '{}';
    claimed uuid[];
BEGIN
    LOOP
        claimed := NULL;
        IF cardinality(claims) < 8 AND design = 'marked' THEN
            WITH leased AS (
                UPDATE event SET status = 'leased', attempts = attempts + 1, lease_token = gen_random_uuid(),
                    leased_until = now() + interval '30 s', leased_by = 'worker'
                WHERE id = ANY (ARRAY (
                    SELECT due.id FROM event due
                    WHERE due.destination = 'fees' AND due.status = 'pending' AND due.partner >= '' AND (due.partner, due.due_at) <= ('', now())
                    ORDER BY due.partner, due.due_at LIMIT 256 FOR UPDATE OF due SKIP LOCKED))
                RETURNING id)
            SELECT array_agg(id) INTO claimed FROM leased;
        ELSIF cardinality(claims) < 8 THEN
            WITH leased AS (
                UPDATE event SET attempts = attempts + 1, lease_token = gen_random_uuid(),
                    leased_until = now() + interval '30 s', leased_by = 'worker'
                WHERE id = ANY (ARRAY (
                    SELECT due.id FROM event due
                    WHERE due.destination = 'fees' AND due.status = 'pending' AND due.partner >= '' AND (due.partner, due.due_at) <= ('', now())
                        AND (due.leased_until IS NULL OR due.leased_until < now())
                    ORDER BY due.partner, due.due_at LIMIT 256 FOR UPDATE OF due SKIP LOCKED))
                RETURNING id)
            SELECT array_agg(id) INTO claimed FROM leased;
        END IF;
        COMMIT;
        IF claimed IS NOT NULL THEN
            claims := claims || claimed::text;
            CONTINUE;
        END IF;
        EXIT WHEN cardinality(claims) = 0;
        PERFORM id, status, lease_token, leased_until FROM event WHERE id = ANY (claims[1]::uuid[]) ORDER BY id FOR UPDATE;
        UPDATE event SET status = 'delivered', settled_at = now(), leased_until = NULL, receipt = '{"fee_id": 7}' WHERE id = ANY (claims[1]::uuid[]);
        COMMIT;
        claims := claims[2:];
    END LOOP;
END $$;

CREATE TABLE result (design text, fillfactor int, event_us numeric, log_bytes numeric);

CREATE PROCEDURE measure(rounds int, events int) LANGUAGE plpgsql AS $$
DECLARE
    design text;
    fillfactor int;
    begun timestamptz;
    log pg_lsn;
BEGIN
    FOR round IN 1..rounds LOOP
        FOREACH fillfactor IN ARRAY '{80, 50}'::int[] LOOP
            FOREACH design IN ARRAY '{marked, passed_over}'::text[] LOOP
                CALL fill(design, fillfactor, events);
                COMMIT;
                begun := clock_timestamp();
                log := pg_current_wal_insert_lsn();
                CALL drain(design);
                IF (SELECT count(*) FROM event WHERE status = 'delivered') <> events THEN
                    RAISE EXCEPTION '% left events behind', design;
                END IF;
                INSERT INTO result VALUES (design, fillfactor, extract(epoch FROM clock_timestamp() - begun) * 1e6 / events,
                    (pg_current_wal_insert_lsn() - log) / events);
                COMMIT;
            END LOOP;
        END LOOP;
    END LOOP;
END $$;

CALL measure(5, 20000);
SELECT design, fillfactor, round(percentile_cont(0.5) WITHIN GROUP (ORDER BY event_us)::numeric, 1) AS us_an_event,
    round(min(event_us), 1) AS fastest, round(max(event_us), 1) AS slowest, round(avg(log_bytes)) AS log_bytes_an_event
FROM result GROUP BY design, fillfactor ORDER BY fillfactor DESC, design;
DROP SCHEMA lease_bench CASCADE;
