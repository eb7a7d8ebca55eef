-- The questions of `shiftgate report`, asked of records by DuckDB's program, in the folder of the records:
--
--     duckdb -init records.sql
--
-- The files are all that match *records*.jsonl*, rotated (.1) and compressed (.gz) ones too; no file that matches is an
-- error. Every view reads them anew: CREATE TABLE pairs AS FROM record_pairs; keeps what was read. Names and figures are
-- those of `report --json`, a path in one word: total_ms_candidate_p95. Counts, shares, means and quantiles are all here;
-- intervals and verdicts are the report's alone, and so are its limits of 256 rows and 131,072 key-hours.
--
-- Which model's candidate fails most, of how many requests?
--     SELECT route, model, candidate, n, share_candidate, share_baseline FROM report_checks
--     WHERE "check" = 'failed' ORDER BY share_candidate DESC;
-- Where is the candidate slower for one user in twenty?
--     SELECT route, model, total_ms_n, total_ms_baseline_p95, total_ms_candidate_p95 FROM report_rows
--     WHERE "current" AND total_ms_candidate_p95 > total_ms_baseline_p95;
-- Which JSON answers differ most, and in which traces?
--     SELECT id, trace_id, "at", agreement FROM record_pairs WHERE kind = 'json' ORDER BY agreement, id LIMIT 10;

-- Lines. A line that is torn, of a later version, longer than 4 MiB or no record is left out. (An optional field of another
-- type than the schema's is null here; the report leaves the line out.) No record holds the delimiter: JSON escapes it.
CREATE OR REPLACE VIEW record_lines AS
SELECT TRY_CAST(line AS JSON) AS record
FROM read_csv('*records*.jsonl*', columns = {'line': 'VARCHAR'}, auto_detect = false, header = false, delim = chr(1),
              quote = '', escape = '', comment = '', strict_mode = false, ignore_errors = true, max_line_size = 4194305)
WHERE strlen(line) <= 4194304 AND starts_with(trim(line, E' \t\r'), '{')
  AND TRY_CAST(json_extract(TRY_CAST(line AS JSON), '$.v') AS DOUBLE) = 1;

-- Returns a string of JSON; NULL of anything else.
CREATE OR REPLACE MACRO record_text(value) AS CASE WHEN json_type(value) = 'VARCHAR' THEN value ->> '$' END;

-- Returns milliseconds since 1970 of a time.
CREATE OR REPLACE MACRO record_ms(value) AS epoch_us(TRY_CAST(record_text(value) AS TIMESTAMPTZ)) // 1000;

-- Returns a number in parts of one; NULL of one that is negative or beyond any real one. Sums of whole numbers do not
-- depend on their order.
CREATE OR REPLACE MACRO record_whole(number, parts) AS
    CASE WHEN round(number * parts) BETWEEN 0 AND 9e15 THEN round(number * parts)::BIGINT END;

-- Returns part / whole with six decimals; NULL of nothing.
CREATE OR REPLACE MACRO record_share(part, whole) AS round(part / nullif(whole::DOUBLE, 0), 6);

-- A leg: what a report needs of it.
CREATE OR REPLACE MACRO record_leg(leg) AS {
    backend: record_text(leg.backend),
    outcome: CASE WHEN leg.outcome IN ('ok', 'status_4xx', 'status_5xx', 'rate_limited', 'timeout', 'reset', 'bad_answer',
                                       'cancelled') THEN leg.outcome END,
    mode: CASE WHEN leg.mode IN ('refusal', 'cut', 'tools', 'empty', 'json', 'text') THEN leg.mode END,
    finish: leg.finish,
    refused: coalesce(leg.refused, false),
    json_valid: leg.json_valid,
    schema_valid: leg.schema_valid,
    ttft_us: record_whole(leg.ttft_ms, 1000),
    total_us: record_whole(leg.total_ms, 1000),
    input: record_whole(leg.input_tokens, 1),
    output: record_whole(leg.output_tokens, 1),
    is_warm: record_whole(leg.cached_input_tokens, 1) * 2 >= nullif(record_whole(leg.input_tokens, 1), 0),
    nano_usd: record_whole(leg.cost_usd, 1000000000)
};

-- True if the application can use the answer.
CREATE OR REPLACE MACRO record_good(leg, asks_json) AS
    leg.outcome = 'ok' AND NOT leg.refused AND leg.mode IS DISTINCT FROM 'empty' AND leg.finish IS DISTINCT FROM 'length'
    AND NOT (asks_json AND (leg.json_valid IS NOT DISTINCT FROM false OR leg.schema_valid IS NOT DISTINCT FROM false));

-- Agreement in 10⁻⁴ of scores that have one; NULL of others.
CREATE OR REPLACE MACRO record_agreement(scores) AS
    CASE WHEN scores.agreement BETWEEN 0 AND 1 AND scores.kind IN ('empty', 'json', 'refusal', 'short', 'text', 'tools')
         THEN round(scores.agreement * 10000)::BIGINT END;

-- Pairs: the columns of a row first, then what the figures are made of. A leg has times in microseconds and its cost in
-- 10⁻⁹ USD. Pairs of one user_key, instance and hour are one observation of a mean.
CREATE OR REPLACE VIEW record_pairs AS
WITH wire AS (
    SELECT json_transform(record, '{
        "kind": "VARCHAR", "id": "JSON", "at": "JSON", "instance": "JSON", "epoch": "JSON", "route": "JSON", "model": "JSON",
        "percent": "DOUBLE", "served_by": "VARCHAR", "key": "VARCHAR", "trace_id": "VARCHAR",
        "request": {"format": "VARCHAR", "temperature": "DOUBLE"},
        "baseline": {"backend": "JSON", "outcome": "VARCHAR", "mode": "VARCHAR", "finish": "VARCHAR", "refused": "BOOLEAN",
            "json_valid": "BOOLEAN", "schema_valid": "BOOLEAN", "ttft_ms": "DOUBLE", "total_ms": "DOUBLE",
            "input_tokens": "DOUBLE", "cached_input_tokens": "DOUBLE", "output_tokens": "DOUBLE", "cost_usd": "DOUBLE"},
        "candidate": {"backend": "JSON", "outcome": "VARCHAR", "mode": "VARCHAR", "finish": "VARCHAR", "refused": "BOOLEAN",
            "json_valid": "BOOLEAN", "schema_valid": "BOOLEAN", "ttft_ms": "DOUBLE", "total_ms": "DOUBLE",
            "input_tokens": "DOUBLE", "cached_input_tokens": "DOUBLE", "output_tokens": "DOUBLE", "cost_usd": "DOUBLE"},
        "scores": {"kind": "VARCHAR", "agreement": "DOUBLE", "finish_equal": "BOOLEAN", "exact": "BOOLEAN",
            "tool_names": "DOUBLE", "tools_equal": "BOOLEAN", "script_equal": "BOOLEAN", "fence_equal": "BOOLEAN",
            "length_ratio": "DOUBLE", "null": {"agreement": "VARCHAR"}},
        "floor": {"kind": "VARCHAR", "agreement": "DOUBLE", "finish_equal": "BOOLEAN", "exact": "BOOLEAN",
            "tool_names": "DOUBLE", "tools_equal": "BOOLEAN", "script_equal": "BOOLEAN", "fence_equal": "BOOLEAN"}}') AS w
    FROM record_lines WHERE json_type(record, '$.scores') = 'OBJECT'
), pairs AS (
    SELECT w, record_text(w.route) AS route, record_text(w.model) AS model, record_text(w.epoch) AS epoch,
        record_text(w.id) AS id, record_ms(w."at") AS at_ms, record_text(w.instance) AS instance,
        record_leg(w.baseline) AS baseline_leg, record_leg(w.candidate) AS candidate_leg,
        record_agreement(w.scores) AS agreed, record_agreement(w.floor) AS agreed_itself
    FROM wire WHERE w.kind = 'pair'
)
SELECT route, model, candidate_leg.backend AS candidate, w.served_by AS served_by,
    CASE WHEN w.request.temperature = 0 THEN 'greedy' ELSE 'sampled' END AS sampling, epoch,
    id, w.trace_id AS trace_id, make_timestamp_ms(at_ms) AS "at", instance, coalesce(w.key, id) AS user_key,
    at_ms // 3600000 AS "hour", CASE WHEN w.percent BETWEEN 0 AND 100 THEN round(w.percent, 2) END AS percent,
    baseline_leg.backend AS baseline, baseline_leg, candidate_leg,
    baseline_leg.outcome = 'ok' AND candidate_leg.outcome = 'ok' AS is_ok,
    coalesce(w.request.format IN ('json_object', 'json_schema'), false) AS asks_json,
    w.scores.kind AS kind, agreed / 10000 AS agreement,
    CASE WHEN agreed IS NOT NULL AND w.floor.kind = w.scores.kind THEN agreed_itself / 10000 END AS floor,
    CASE WHEN agreed IS NULL THEN coalesce(w.scores."null".agreement, 'unknown') END AS unscored,
    CASE WHEN w.scores.length_ratio > 0 THEN w.scores.length_ratio END AS length_ratio,
    w.scores AS scores, w.floor AS floor_scores
FROM pairs
WHERE id IS NOT NULL AND at_ms IS NOT NULL AND instance IS NOT NULL AND epoch IS NOT NULL AND route IS NOT NULL
  AND model IS NOT NULL AND w.served_by IN ('baseline', 'candidate')
  AND baseline_leg.backend IS NOT NULL AND baseline_leg.outcome IS NOT NULL
  AND candidate_leg.backend IS NOT NULL AND candidate_leg.outcome IS NOT NULL;

-- Rows. ttft_ms_ratio_n counts key-hours, and ttft_ms_ratio_median is the median over them.
CREATE OR REPLACE VIEW report_rows AS
WITH pairs AS (
    SELECT *,
        is_ok AND b.ttft_us IS NOT NULL AND c.ttft_us IS NOT NULL AS has_ttft,
        is_ok AND b.total_us IS NOT NULL AND c.total_us IS NOT NULL AS has_total,
        CASE WHEN b.is_warm AND c.is_warm THEN 'warm' WHEN NOT b.is_warm AND NOT c.is_warm THEN 'cold'
             WHEN b.is_warm <> c.is_warm THEN 'mixed' ELSE 'unknown' END AS cache,
        CASE WHEN has_ttft AND b.ttft_us > 0 AND c.ttft_us > 0 THEN ln(c.ttft_us / b.ttft_us) END AS ln_ttft,
        CASE WHEN has_total AND b.total_us > 0 AND c.total_us > 0 THEN ln(c.total_us / b.total_us) END AS ln_total,
        CASE WHEN is_ok THEN ln(length_ratio) END AS ln_length,
        b.input IS NOT NULL AND b.output IS NOT NULL AND c.input IS NOT NULL AND c.output IS NOT NULL AS has_tokens,
        b.nano_usd IS NOT NULL AND c.nano_usd IS NOT NULL AS has_cost
    FROM (SELECT *, baseline_leg AS b, candidate_leg AS c FROM record_pairs)
), hours AS (
    SELECT route, model, candidate, served_by, sampling, epoch, instance, user_key, "hour",
        avg(ln_ttft) AS ttft, avg(ln_ttft) FILTER (cache = 'cold') AS cold, avg(ln_ttft) FILTER (cache = 'warm') AS warm,
        avg(ln_ttft) FILTER (cache = 'mixed') AS mixed, avg(ln_ttft) FILTER (cache = 'unknown') AS unknown,
        avg(ln_total) AS total, avg(ln_length) AS length
    FROM pairs GROUP BY ALL
), ratios AS (
    SELECT route, model, candidate, served_by, sampling, epoch, count(*) AS key_hours,
        count(DISTINCT (user_key, instance)) AS keys,
        count(ttft) AS ttft_n, round(exp(median(ttft)), 6) AS ttft, count(cold) AS cold_n, round(exp(median(cold)), 6) AS cold,
        count(warm) AS warm_n, round(exp(median(warm)), 6) AS warm, count(mixed) AS mixed_n,
        round(exp(median(mixed)), 6) AS mixed, count(unknown) AS unknown_n, round(exp(median(unknown)), 6) AS unknown,
        count(total) AS total_n, round(exp(median(total)), 6) AS total, count(length) AS length_n,
        round(exp(median(length)), 6) AS length
    FROM hours GROUP BY ALL
), sums AS (
    SELECT route, model, candidate, served_by, sampling, epoch,
        arg_max(baseline, {t: "at", name: baseline}) AS baseline, min("at") AS "from", max("at") AS "to", count(*) AS pairs,
        list_sort(list(DISTINCT percent) FILTER (percent IS NOT NULL)) AS percents,
        histogram(unscored) FILTER (unscored IS NOT NULL) AS unscored,
        count(*) FILTER (has_ttft) AS ttft_n,
        quantile_disc(b.ttft_us / 1000, [0.5, 0.95, 0.99]) FILTER (has_ttft) AS ttft_b,
        quantile_disc(c.ttft_us / 1000, [0.5, 0.95, 0.99]) FILTER (has_ttft) AS ttft_c,
        count(*) FILTER (has_ttft AND cache = 'cold') AS cold_n, count(*) FILTER (has_ttft AND cache = 'warm') AS warm_n,
        count(*) FILTER (has_ttft AND cache = 'mixed') AS mixed_n,
        count(*) FILTER (has_ttft AND cache = 'unknown') AS unknown_n,
        count(*) FILTER (has_total) AS total_n,
        quantile_disc(b.total_us / 1000, [0.5, 0.95, 0.99]) FILTER (has_total) AS total_b,
        quantile_disc(c.total_us / 1000, [0.5, 0.95, 0.99]) FILTER (has_total) AS total_c,
        count(ln_length) AS length_n, count(*) FILTER (has_tokens) AS tokens_n,
        coalesce(sum(b.input) FILTER (has_tokens), 0)::BIGINT AS input_b,
        coalesce(sum(b.output) FILTER (has_tokens), 0)::BIGINT AS output_b,
        coalesce(sum(c.input) FILTER (has_tokens), 0)::BIGINT AS input_c,
        coalesce(sum(c.output) FILTER (has_tokens), 0)::BIGINT AS output_c,
        count(*) FILTER (has_cost) AS cost_n,
        -- 1,000 × 10⁻⁹ USD.
        sum(b.nano_usd) FILTER (has_cost) / 1e6 AS cost_b, sum(c.nano_usd) FILTER (has_cost) / 1e6 AS cost_c,
        count(*) FILTER (has_cost AND record_good(b, asks_json)) AS good_b,
        count(*) FILTER (has_cost AND record_good(c, asks_json)) AS good_c
    FROM pairs GROUP BY ALL
), latest AS (
    SELECT route, candidate, arg_max(epoch, {t: "at", name: epoch}) AS last_epoch FROM record_pairs GROUP BY ALL
)
SELECT route, model, candidate, served_by, sampling, epoch,
    s.baseline AS baseline, epoch = last_epoch AS "current", s."from" AS "from", s."to" AS "to", s.pairs AS pairs,
    r.keys AS keys, r.key_hours AS key_hours, s.percents AS percents, s.unscored AS unscored,
    s.ttft_n AS ttft_ms_n, s.ttft_b[1] AS ttft_ms_baseline_p50, s.ttft_b[2] AS ttft_ms_baseline_p95,
    s.ttft_b[3] AS ttft_ms_baseline_p99, s.ttft_c[1] AS ttft_ms_candidate_p50, s.ttft_c[2] AS ttft_ms_candidate_p95,
    s.ttft_c[3] AS ttft_ms_candidate_p99, r.ttft_n AS ttft_ms_ratio_n, r.ttft AS ttft_ms_ratio_median,
    s.cold_n AS ttft_ms_cold_n, r.cold_n AS ttft_ms_cold_ratio_n, r.cold AS ttft_ms_cold_ratio_median,
    s.warm_n AS ttft_ms_warm_n, r.warm_n AS ttft_ms_warm_ratio_n, r.warm AS ttft_ms_warm_ratio_median,
    s.mixed_n AS ttft_ms_mixed_n, r.mixed_n AS ttft_ms_mixed_ratio_n, r.mixed AS ttft_ms_mixed_ratio_median,
    s.unknown_n AS ttft_ms_unknown_n, r.unknown_n AS ttft_ms_unknown_ratio_n, r.unknown AS ttft_ms_unknown_ratio_median,
    s.total_n AS total_ms_n, s.total_b[1] AS total_ms_baseline_p50, s.total_b[2] AS total_ms_baseline_p95,
    s.total_b[3] AS total_ms_baseline_p99, s.total_c[1] AS total_ms_candidate_p50, s.total_c[2] AS total_ms_candidate_p95,
    s.total_c[3] AS total_ms_candidate_p99, r.total_n AS total_ms_ratio_n, r.total AS total_ms_ratio_median,
    s.length_n AS length_n, r.length_n AS length_ratio_n, r.length AS length_ratio_median,
    s.tokens_n AS tokens_n, s.input_b AS tokens_baseline_input, s.output_b AS tokens_baseline_output,
    s.input_c AS tokens_candidate_input, s.output_c AS tokens_candidate_output,
    s.cost_n AS cost_n, record_share(s.cost_n, s.pairs) AS cost_coverage,
    record_share(s.cost_b, s.cost_n) AS cost_baseline_per_1000, s.good_b AS cost_baseline_good,
    record_share(s.cost_b, s.good_b) AS cost_baseline_per_1000_good,
    record_share(s.cost_c, s.cost_n) AS cost_candidate_per_1000, s.good_c AS cost_candidate_good,
    record_share(s.cost_c, s.good_c) AS cost_candidate_per_1000_good
FROM sums s JOIN ratios r USING (route, model, candidate, served_by, sampling, epoch)
JOIN latest USING (route, candidate)
ORDER BY route, model, candidate, served_by, sampling, epoch;

-- Checks: how many pairs each is over, and whose fault was found. The difference is over key-hours.
CREATE OR REPLACE VIEW report_checks AS
WITH pairs AS (
    SELECT *,
        b.outcome IN ('cancelled', 'rate_limited') OR c.outcome IN ('cancelled', 'rate_limited') AS is_nobodys,
        b.outcome = 'status_4xx' AND c.outcome = 'status_4xx' AS is_of_request,
        NOT asks_json OR b.json_valid IS NOT NULL AND c.json_valid IS NOT NULL AS has_json,
        NOT asks_json OR b.schema_valid IS NOT NULL AND c.schema_valid IS NOT NULL AS has_schema
    FROM (SELECT *, baseline_leg AS b, candidate_leg AS c FROM record_pairs)
), faults AS (
    SELECT route, model, candidate, served_by, sampling, epoch, instance, user_key, "hour", UNNEST([
        {name: 'failed', has: NOT is_nobodys, b: b.outcome <> 'ok' AND NOT is_of_request,
         c: c.outcome <> 'ok' AND NOT is_of_request},
        {name: 'refused', has: is_ok, b: b.refused, c: c.refused},
        {name: 'empty', has: is_ok, b: b.mode IS NOT DISTINCT FROM 'empty', c: c.mode IS NOT DISTINCT FROM 'empty'},
        {name: 'cut', has: is_ok, b: b.finish IS NOT DISTINCT FROM 'length', c: c.finish IS NOT DISTINCT FROM 'length'},
        {name: 'json_broken', has: is_ok AND has_json, b: asks_json AND NOT b.json_valid, c: asks_json AND NOT c.json_valid},
        {name: 'schema_broken', has: is_ok AND has_schema, b: asks_json AND NOT b.schema_valid,
         c: asks_json AND NOT c.schema_valid},
        {name: 'script', has: is_ok AND scores.script_equal IS NOT NULL, b: false, c: NOT scores.script_equal}
    ]) AS f
    FROM pairs
), hours AS (
    SELECT route, model, candidate, served_by, sampling, epoch, f.name AS "check", instance, user_key, "hour",
        count(*) FILTER (f.has) AS n, count(*) FILTER (f.has AND f.b AND f.c) AS both_sides,
        count(*) FILTER (f.has AND f.b AND NOT f.c) AS baseline_only,
        count(*) FILTER (f.has AND f.c AND NOT f.b) AS candidate_only
    FROM faults GROUP BY ALL
), checks AS (
    SELECT route, model, candidate, served_by, sampling, epoch, "check", sum(n)::BIGINT AS n,
        sum(both_sides)::BIGINT AS "both", sum(baseline_only)::BIGINT AS baseline_only,
        sum(candidate_only)::BIGINT AS candidate_only,
        record_share(sum(both_sides + baseline_only), sum(n)) AS share_baseline,
        record_share(sum(both_sides + candidate_only), sum(n)) AS share_candidate,
        count(*) FILTER (n > 0) AS difference_n,
        round(avg((candidate_only - baseline_only) / nullif(n, 0)), 6) AS difference_mean
    FROM hours GROUP BY ALL
)
FROM checks
ORDER BY route, model, candidate, served_by, sampling, epoch,
    list_position(['failed', 'refused', 'empty', 'cut', 'json_broken', 'schema_broken', 'script'], "check");

-- Agreement by kind, with the baseline beside itself. Loss and difference are over key-hours.
CREATE OR REPLACE VIEW report_kinds AS
WITH hours AS (
    SELECT route, model, candidate, served_by, sampling, epoch, kind, instance, user_key, "hour", count(*) AS n,
        sum(agreement) AS agreed, count(floor) AS floor_n, sum(floor) AS agreed_itself, avg(1 - agreement) AS loss,
        avg(floor - agreement) AS difference
    FROM record_pairs WHERE agreement IS NOT NULL GROUP BY ALL
)
SELECT route, model, candidate, served_by, sampling, epoch, kind, sum(n)::BIGINT AS n,
    record_share(sum(agreed), sum(n)) AS agreement, sum(floor_n)::BIGINT AS floor_n,
    record_share(sum(agreed_itself), sum(floor_n)) AS floor_agreement,
    count(loss) AS loss_n, round(avg(loss), 6) AS loss_mean,
    count(difference) AS difference_n, round(avg(difference), 6) AS difference_mean
FROM hours GROUP BY ALL ORDER BY ALL;

-- Properties that differ, of the ok pairs in which they are known, and the same of the baseline with itself.
CREATE OR REPLACE VIEW report_flips AS
WITH flips AS (
    SELECT route, model, candidate, served_by, sampling, epoch, is_ok, UNNEST([
        {name: 'finish', x: NOT scores.finish_equal, f: NOT floor_scores.finish_equal},
        {name: 'exact', x: NOT scores.exact, f: NOT floor_scores.exact},
        {name: 'tool_names', x: scores.tool_names < 1, f: floor_scores.tool_names < 1},
        {name: 'tools', x: NOT scores.tools_equal, f: NOT floor_scores.tools_equal},
        {name: 'script', x: NOT scores.script_equal, f: NOT floor_scores.script_equal},
        {name: 'fence', x: NOT scores.fence_equal, f: NOT floor_scores.fence_equal}
    ]) AS property
    FROM record_pairs
), counts AS (
    SELECT route, model, candidate, served_by, sampling, epoch, property.name AS flip,
        count(property.x) FILTER (is_ok) AS n, count(*) FILTER (is_ok AND property.x) AS "count",
        count(property.f) FILTER (is_ok) AS floor_n, count(*) FILTER (is_ok AND property.f) AS floor_count
    FROM flips GROUP BY ALL
)
FROM counts
ORDER BY route, model, candidate, served_by, sampling, epoch,
    list_position(['finish', 'exact', 'tool_names', 'tools', 'script', 'fence'], flip);

-- Matrices, baseline to candidate: outcomes of all pairs, modes and finishes of ok pairs.
CREATE OR REPLACE VIEW report_matrices AS
WITH cells AS (
    SELECT route, model, candidate, served_by, sampling, epoch, UNNEST([
        {matrix: 'outcomes', a: baseline_leg.outcome, z: candidate_leg.outcome, has: true},
        {matrix: 'modes', a: baseline_leg.mode, z: candidate_leg.mode, has: is_ok},
        {matrix: 'finishes', a: baseline_leg.finish, z: candidate_leg.finish, has: is_ok}
    ]) AS cell
    FROM record_pairs
)
SELECT route, model, candidate, served_by, sampling, epoch, cell.matrix AS matrix, cell.a AS "from", cell.z AS "to",
    count(*) AS pairs
FROM cells WHERE cell.has AND cell.a IS NOT NULL AND cell.z IS NOT NULL GROUP BY ALL ORDER BY ALL;

-- Served requests by route and backend: real traffic. `hours` are those of the route; `admitted` and `shadow_…` are of the
-- copies that were meant for the backend.
CREATE OR REPLACE VIEW report_served AS
WITH wire AS (
    SELECT json_transform(record, '{"kind": "VARCHAR", "at": "JSON", "instance": "JSON", "route": "JSON",
        "backends": "MAP(VARCHAR, STRUCT(chosen DOUBLE, attempted DOUBLE, served DOUBLE, failed DOUBLE, usd DOUBLE, priced DOUBLE))",
        "shadow": "MAP(VARCHAR, MAP(VARCHAR, DOUBLE))"}') AS w
    FROM record_lines
), counts AS (
    SELECT record_text(w.route) AS route, record_ms(w."at") AS at_ms, w.backends AS backends, w.shadow AS shadow
    FROM wire WHERE w.kind = 'counts' AND record_text(w.instance) IS NOT NULL
), hours AS (
    SELECT route, round(count(DISTINCT at_ms // 60000) / 60, 6) AS hours
    FROM counts WHERE route IS NOT NULL AND at_ms IS NOT NULL GROUP BY ALL
), entries AS (
    SELECT route, UNNEST(map_entries(backends)) AS entry FROM counts WHERE route IS NOT NULL AND at_ms IS NOT NULL
), served AS (
    SELECT route, entry.key AS backend,
        coalesce(sum(record_whole(entry.value.chosen, 1)), 0)::BIGINT AS chosen,
        coalesce(sum(record_whole(entry.value.attempted, 1)), 0)::BIGINT AS attempted,
        coalesce(sum(record_whole(entry.value.served, 1)), 0)::BIGINT AS served,
        coalesce(sum(record_whole(entry.value.failed, 1)), 0)::BIGINT AS failed,
        coalesce(sum(record_whole(entry.value.usd, 1000000000)), 0) AS nano_usd,
        coalesce(sum(record_whole(entry.value.priced, 1)), 0)::BIGINT AS priced
    FROM entries GROUP BY ALL
), receivers AS (
    SELECT route, UNNEST(map_entries(shadow)) AS entry FROM counts WHERE route IS NOT NULL AND at_ms IS NOT NULL
), results AS (
    SELECT route, entry.key AS backend, UNNEST(map_entries(entry.value)) AS result FROM receivers
), copies AS (
    SELECT route, backend, result.key AS name, record_whole(result.value, 1) AS n FROM results
), shadow AS (
    SELECT route, backend, sum(n) FILTER (name = 'sent') AS sent, sum(n) FILTER (name = 'opted_out') AS opted_out,
        sum(n) FILTER (name = 'ineligible') AS ineligible, sum(n) FILTER (name = 'residency') AS residency,
        sum(n) FILTER (name = 'untranslatable') AS untranslatable, sum(n) FILTER (name = 'unwell') AS unwell,
        sum(n) FILTER (name = 'in_flight') AS in_flight, sum(n) FILTER (name = 'bytes') AS bytes,
        sum(n) FILTER (name = 'budget') AS budget,
        sum(n) FILTER (name IN ('sent', 'unwell', 'in_flight', 'bytes', 'budget')) AS fit
    FROM copies GROUP BY ALL
)
SELECT route, backend, coalesce(chosen, 0) AS chosen, coalesce(attempted, 0) AS attempted, coalesce(served, 0) AS served,
    coalesce(failed, 0) AS failed, CASE WHEN priced > 0 THEN round(nano_usd / 1e9, 6) END AS usd,
    coalesce(priced, 0) AS priced, hours, record_share(coalesce(sent, 0), fit) AS admitted,
    coalesce(sent, 0)::BIGINT AS shadow_sent, coalesce(opted_out, 0)::BIGINT AS shadow_opted_out,
    coalesce(ineligible, 0)::BIGINT AS shadow_ineligible, coalesce(residency, 0)::BIGINT AS shadow_residency,
    coalesce(untranslatable, 0)::BIGINT AS shadow_untranslatable, coalesce(unwell, 0)::BIGINT AS shadow_unwell,
    coalesce(in_flight, 0)::BIGINT AS shadow_in_flight, coalesce(bytes, 0)::BIGINT AS shadow_bytes,
    coalesce(budget, 0)::BIGINT AS shadow_budget
FROM served FULL JOIN shadow USING (route, backend) JOIN hours USING (route) ORDER BY route, backend;
