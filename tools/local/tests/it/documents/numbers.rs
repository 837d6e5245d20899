//! Numbers in sentences.

use emulator::{quotas::Limits, template};

use super::{
    constants::{Value, value},
    read, repository, words,
};

/// A page, the words before the number, the file and the name of the constant, and the words after the number.
type Number = (&'static str, &'static str, (&'static str, &'static str), &'static str);

const LIMITS: &str = "crates/chat/src/model/limits.rs";
const GATEWAY: &str = "crates/chat/src/ports/socket_gateway.rs";
const KEYS: &str = "crates/auth/src/jwks.rs";
const DOORS: &str = "emulator/src/doors/mod.rs";
const EXPORT: &str = "crates/telemetry/src/export.rs";
const TEMPLATE: &str = "infra/backend.yaml";

const AGENT: &str = "docs/reference/agent.md";
const API: &str = "docs/reference/api.md";
const AUTHORIZATION: &str = "docs/reference/authorization.md";
const CHANNELS: &str = "docs/concepts/channels.md";
const DELIVERY: &str = "docs/concepts/delivery.md";
const NUMBERS_OF_CHANNELS: &str = "docs/concepts/numbers.md";
const LOCAL: &str = "docs/guides/local.md";
const SECURITY: &str = "docs/security-model.md";
const TELEMETRY: &str = "docs/reference/telemetry.md";

const NUMBERS: &[Number] = &[
    (AGENT, "a reply lease of", (LIMITS, "LEASE_DURATION"), "in `chat_channels`"),
    (AGENT, "renewed every", (LIMITS, "LEASE_RENEWAL_INTERVAL"), ""),
    (AGENT, "the first text that is found, every", (LIMITS, "DELTA_INTERVAL"), "the next after"),
    (AGENT, "the worker waits at most", ("crates/models/src/reply.rs", "USAGE_WAIT"), "for the token usage"),
    (AGENT, "the worker waits that long, at most", (LIMITS, "MAX_MODEL_RETRY_AFTER"), ""),
    (AGENT, "calls again; after", (LIMITS, "MODEL_FAILURES"), "failures the reply fails"),
    (AGENT, "an interrupted stream, or", (LIMITS, "MODEL_IDLE_TIMEOUT"), "without a byte"),
    (AGENT, "keep-alives for", (LIMITS, "MODEL_FIRST_TEXT_TIMEOUT"), "without text"),
    (AGENT, "a reply longer than a message", (LIMITS, "CONTENT_BYTES"), ""),
    (AGENT, "less than", (LIMITS, "MIN_TIME_FOR_MODEL_CALL"), "of the invocation remain"),
    (AGENT, "generated for more than", (LIMITS, "MIN_PARTIAL_REPLY_DURATION"), "is stored"),
    (AGENT, "Draft frames start", (LIMITS, "DELTA_INTERVAL"), "after the beginning of the reply"),
    (API, "a ticket that opens one socket within", (LIMITS, "TICKET_DURATION"), ""),
    (AUTHORIZATION, "An id has at most", (LIMITS, "USER_ID_CHARS"), "characters"),
    (AUTHORIZATION, "a leeway of", ("crates/auth/src/lib.rs", "LEEWAY"), "after"),
    (AUTHORIZATION, "a set older than", (KEYS, "fresh_for"), "is renewed concurrently"),
    (AUTHORIZATION, "delays the request by at most", (KEYS, "RENEWAL_WAIT"), ""),
    (AUTHORIZATION, "and is less than", (KEYS, "interval"), "old"),
    (AUTHORIZATION, "one fetch (at most", (KEYS, "FETCH_TIMEOUT"), "for all waiting requests"),
    (AUTHORIZATION, "the next fetch runs after", (KEYS, "retry_after"), "then 2, 4, 8 and 10"),
    (AUTHORIZATION, "A new key is accepted at most", (KEYS, "interval"), "after"),
    (AUTHORIZATION, "is refused after", (KEYS, "fresh_for"), "and one request"),
    (AUTHORIZATION, "A `kid` has at most", ("crates/auth/src/refusal.rs", "KID_BYTES"), "bytes"),
    (AUTHORIZATION, "bytes, a key set", (KEYS, "SET_BYTES"), ""),
    (AUTHORIZATION, "channels of a socket | fixed:", (LIMITS, "CHANNELS_PER_CONNECTION"), ""),
    (AUTHORIZATION, "A user has at most", (LIMITS, "INVITATIONS_PER_USER"), "open invitations"),
    (CHANNELS, "One socket receives at most", (LIMITS, "CHANNELS_PER_CONNECTION"), "channels"),
    (DELIVERY, "shards of up to", ("crates/chat/src/ports/fan_out.rs", "SHARD_CONNECTIONS"), "which other invocations"),
    (NUMBERS_OF_CHANNELS, "Records are stored for", (LIMITS, "CHANGE_DURATION"), "by default"),
    (NUMBERS_OF_CHANNELS, "names one attempt to send. For", (LIMITS, "IDEMPOTENCY_DURATION"), "the same request"),
    ("docs/concepts/recovery.md", "or after", (GATEWAY, "CONNECTION_DURATION"), "at the latest"),
    (
        "tools/site/pictures.py",
        "pushes shards of",
        ("crates/chat/src/ports/fan_out.rs", "SHARD_CONNECTIONS"),
        "sockets",
    ),
    ("docs/guides/operate.md", "The functions find it by its `kid` within", (KEYS, "interval"), ""),
    (LOCAL, "from its first byte |", (DOORS, "head"), "|"),
    (LOCAL, "between two pieces of a body |", (DOORS, "body_pause"), "| 15 min"),
    (LOCAL, "does not read its response |", (DOORS, "write_pause"), "|"),
    (LOCAL, "WebSocket API", (DOORS, "WEBSOCKET_CONNECTIONS"), "| 64"),
    (LOCAL, "concurrent connections |", (DOORS, "connections"), "WebSocket API"),
    (LOCAL, "after two more records or", ("emulator/src/event_source/mod.rs", "READ_PAUSE"), ""),
    (LOCAL, "and again after", ("emulator/src/event_source/mod.rs", "READ_WRITES"), "more records"),
    (LOCAL, "for an idle socket,", (GATEWAY, "CONNECTION_DURATION"), "for any socket"),
    (LOCAL, "The published limits of AWS apply as well:", (GATEWAY, "HANDSHAKE_DURATION"), "for an integration"),
    (SECURITY, "Gate items live for", (LIMITS, "GATE_DURATION"), "longer than any connection"),
    (SECURITY, "longer than any connection", (GATEWAY, "CONNECTION_DURATION"), ""),
    (SECURITY, "a gate that is at most", (LIMITS, "AUTHORITY_DURATION"), "old"),
    (SECURITY, "push fails after at most", (LIMITS, "PUSH_DURATION"), ""),
    (SECURITY, "closes sockets itself for up to", (LIMITS, "SHUT_OUT_DURATION"), "the sum"),
    (SECURITY, "A lease of", (LIMITS, "PENDING_LEASE_DURATION"), "lets one function"),
    (SECURITY, "and at most", ("crates/chat/src/model/text/name.rs", "MARKS_IN_A_ROW"), "combining marks in a row"),
    (SECURITY, "may slightly exceed", (LIMITS, "INVITATIONS_PER_USER"), "because"),
    (TELEMETRY, "Spans enter a queue of", ("crates/telemetry/src/queue.rs", "QUEUED_SPANS"), "Metrics"),
    (TELEMETRY, "It takes at most", (EXPORT, "BUDGET"), "and two attempts"),
    (TELEMETRY, "second and", ("crates/telemetry/src/client.rs", "ATTEMPTS"), "attempts"),
    (TELEMETRY, "a SIGTERM before its end and", (EXPORT, "LAST_BUDGET"), "for the remaining spans"),
    (TELEMETRY, "Metrics leave at most once", (EXPORT, "METRICS_EVERY"), ""),
    (TELEMETRY, "a push was slow", (LIMITS, "SLOW_PUSH"), "or more"),
    ("testing/fuzz/README.md", "no frame over", (GATEWAY, "FRAME_BYTES"), ""),
];

/// Sentences about code that is no constant: a page and its words, a file and its code.
const SENTENCES: &[(&str, &str, &str, &str)] = &[
    (TELEMETRY, "The local run sets the delay to 20.", "tools/local/src/run/functions.rs", r#"DELAY", "20")"#),
    (
        TELEMETRY,
        "exports pause for 5 s, then 10 s, up to two minutes.",
        EXPORT,
        "from_secs(5), Duration::from_mins(2))",
    ),
    (
        "README.md",
        "ten thousand seeded schedules",
        "testing/simulator/tests/schedules.rs",
        r#"variable("SIMULATOR_SCHEDULES").unwrap_or(10_000)"#,
    ),
    (
        DELIVERY,
        "up to 200 sockets itself (`FanoutThreshold`)",
        TEMPLATE,
        "FanoutThreshold: {Type: Number, Default: 200,",
    ),
    (
        "tools/site/pictures.py",
        "pushes to up to 200 sockets",
        TEMPLATE,
        "FanoutThreshold: {Type: Number, Default: 200,",
    ),
    (DELIVERY, "attempted five times within an hour", TEMPLATE, "MaximumRetryAttempts: 5"),
    (LOCAL, "`--data-dir .local`", "tools/local/src/cli.rs", "default_value = DATA_DIR"),
    (LOCAL, "--rest-port 3000", "tools/local/src/cli.rs", "default_value_t = 3000"),
    (LOCAL, "--websocket-port 3001", "tools/local/src/cli.rs", "default_value_t = 3001"),
    (LOCAL, "--dynamodb-port 8000", "tools/local/src/cli.rs", "default_value_t = 8000"),
    (LOCAL, "--otlp-port 0", "tools/local/src/cli.rs", "default_value_t = 0"),
    (LOCAL, "--log-level warn", "tools/local/src/cli.rs", r#"default_value = "warn""#),
    (LOCAL, "--page-port 3002", "tools/local/src/run/listen.rs", "PAGE_PORT: u16 = 3002"),
];

#[test]
fn numbers_in_sentences_are_those_of_the_code() {
    for (page, before, (file, name), after) in NUMBERS {
        let value = value(file, name).unwrap_or_else(|| panic!("{file} has no {name}"));
        let text = words(&read(page));
        let said = |way: &String| text.contains(&words(&format!("{before} {way} {after}")));
        let written = value.written();
        assert!(written.iter().any(said), "{page}: {before} … {after}: {name} is {written:?}");
    }
}

#[test]
fn sentences_are_about_the_code_as_it_is() {
    for (page, sentence, file, code) in SENTENCES {
        assert!(words(&read(page)).contains(&words(sentence)), "{page} lacks: {sentence}");
        assert!(read(file).contains(code), "{page}: {sentence}: {file} lacks {code}");
    }
}

#[test]
fn quotas_have_the_values_of_their_profile() {
    let limits = serde_json::to_value(Limits::AWS).unwrap();
    for (name, limit) in limits.as_object().unwrap() {
        let value = Value::Number(limit.as_u64().unwrap());
        let rows = |page: &str| -> Vec<String> {
            let named = format!("`{name}`");
            read(page)
                .lines()
                .filter(|line| line.starts_with('|') && line.contains(&named))
                .map(str::to_owned)
                .collect()
        };
        for page in [LOCAL, "docs/reference/limits.md"] {
            assert!(rows(page).iter().any(|row| value.is_in(row)), "{page}: {name} is {:?}", value.written());
        }
    }
}

#[test]
fn the_functions_are_counted() {
    let template = template::load(&repository().join("infra/backend.yaml")).unwrap();
    let functions =
        template.resources().values().filter(|resource| resource["Type"] == "AWS::Lambda::Function").count();
    let count = Value::Number(functions.try_into().unwrap());
    for (page, before, after) in [
        ("README.md", "executes the", "deployed function binaries"),
        (LOCAL, "the", "function binaries behind"),
        ("docs/guides/deploy.md", "images", ""),
    ] {
        let text = read(page);
        let said = |line: &str| count.is_in(line) && line.contains(before) && line.contains(after);
        assert!(text.lines().any(said), "{page} does not count {functions} functions");
    }
}
