//! Tables, functions and their invokers in the real template.

use std::collections::BTreeSet;

use emulator::stack::{EventSourceMapping, Integration, StartingPosition};
use event_filter::Filters;
use serde_json::json;

use super::{backend, backend_stack, deployment, repository, resolve};

#[test]
fn every_function_has_a_folder_and_every_folder_a_function() {
    let folders: BTreeSet<String> = std::fs::read_dir(repository().join("services"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    let functions: BTreeSet<String> = backend_stack().functions.into_iter().map(|function| function.binary).collect();
    assert_eq!(functions, folders);
}

#[test]
fn every_function_has_its_image_described() {
    let text = std::fs::read_to_string(repository().join("images/README.md")).unwrap();
    let described: BTreeSet<String> =
        text.lines().filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned())).collect();
    let functions: BTreeSet<String> = backend_stack().functions.into_iter().map(|function| function.binary).collect();
    assert_eq!(described, functions);
}

#[test]
fn tables_become_create_table_requests() {
    let stack = backend_stack();
    let table = |id: &str| stack.tables.iter().find(|table| table.logical_id == id).unwrap();
    let events = table("EventsTable");
    assert_eq!(events.ttl_attribute.as_deref(), Some("expires_at"));
    assert_eq!(
        events.create_request,
        json!({
            "TableName": "chat_events",
            "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [
                {"AttributeName": "channel_id", "AttributeType": "S"},
                {"AttributeName": "seq", "AttributeType": "N"},
            ],
            "KeySchema": [
                {"AttributeName": "channel_id", "KeyType": "HASH"},
                {"AttributeName": "seq", "KeyType": "RANGE"},
            ],
            "StreamSpecification": {"StreamEnabled": true, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        })
    );
    let text = std::fs::read_to_string(repository().join("infra/backend.yaml")).unwrap();
    let index = "{IndexName: i, KeySchema: [{AttributeName: pk, KeyType: HASH}], Projection: {ProjectionType: ALL}}";
    let schema = "        - {AttributeName: pk, KeyType: HASH}\n        - {AttributeName: sk, KeyType: RANGE}\n";
    let indexed = text.replace(schema, &format!("{schema}      GlobalSecondaryIndexes: [{index}]\n"));
    let tables = resolve(&indexed).unwrap().tables;
    let connections = tables.iter().find(|table| table.logical_id == "ConnectionsTable").unwrap();
    assert_eq!(
        connections.create_request["GlobalSecondaryIndexes"],
        json!([{
            "IndexName": "i",
            "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
            "Projection": {"ProjectionType": "ALL"},
        }])
    );
}

#[test]
fn stage_addresses_become_local_ones() {
    let stack = backend_stack();
    assert_eq!(stack.outputs["RestUrl"], "http://127.0.0.1:3000");
    assert_eq!(stack.outputs["WebSocketUrl"], "ws://127.0.0.1:3001");
    assert_eq!(stack.outputs["ManagementUrl"], "http://127.0.0.1:3002");
    let function = |binary: &str| stack.functions.iter().find(|one| one.binary == binary).unwrap();
    let send = function("send-message");
    assert_eq!(send.environment["MANAGEMENT_URL"], "http://127.0.0.1:3002");
    assert_eq!(send.name, "switchboard-SendMessageFunction");
    assert_eq!(send.async_invoke.maximum_event_age.as_secs(), 300);
    assert!(stack.queues.iter().any(|one| Some(&one.arn) == send.async_invoke.on_failure.as_ref()));
    let delivery = function("chat-delivery-worker");
    assert_eq!(delivery.environment["SEND_MESSAGE_FUNCTION"], send.name);
    assert_eq!(delivery.environment["FANOUT_THRESHOLD"], "200");
}

#[test]
fn the_stream_readers_are_bounded_and_the_agent_reads_only_new_messages_of_users() {
    let stack = backend_stack();
    let reader = |function: &str| {
        let of_events = |one: &&EventSourceMapping| one.function.contains(function) && one.table == "chat_events";
        stack.event_source_mappings.iter().find(of_events).unwrap()
    };
    let agent = reader("ChatAgentWorker");
    // A record is delivered more often than a model may be called for its message.
    assert!(agent.maximum_retry_attempts >= Some(chat::model::limits::MODEL_CALLS));
    let image = json!({"role": {"S": ["user"]}, "no_agent": {"S": [{"exists": false}]}});
    let pattern = json!({"eventName": ["INSERT"], "dynamodb": {"NewImage": image}});
    assert_eq!(agent.filters, [pattern]);
    let delivery = reader("ChatDeliveryWorker");
    assert_eq!(delivery.filters, [json!({"eventName": ["INSERT", "MODIFY"]})]);
    for mapping in [agent, delivery] {
        assert_eq!(mapping.table, "chat_events");
        assert_eq!(mapping.starting_position, StartingPosition::TrimHorizon);
        assert!(mapping.maximum_retry_attempts.is_some());
        assert!(mapping.maximum_record_age.is_some());
        assert!(mapping.bisect_batch_on_function_error);
        assert!(mapping.report_batch_item_failures);
        assert!(stack.queues.iter().any(|one| Some(&one.arn) == mapping.on_failure.as_ref()));
    }
}

/// Clients are greeted by records of opened connections. An id may be used again while the item of its earlier
/// connection exists, so changed items are read too.
#[test]
fn records_of_connections_and_subscriptions_reach_the_delivery_worker() {
    let stack = backend_stack();
    let presence = stack.event_source_mappings.iter().find(|one| one.logical_id == "PresenceEvents").unwrap();
    let filters = Filters::compile(&presence.filters).unwrap();
    let connection = json!({"left_out": {"N": "0"}, "connected_at": {"S": "2027-01-15T08:00:00.000Z"}});
    for (name, pk, sk, expected) in [
        ("INSERT", "conn#a=", "meta", true),
        ("MODIFY", "conn#a=", "meta", true),
        ("REMOVE", "conn#a=", "meta", false),
        ("INSERT", "chan#general@01arz3ndektsv4rrffq69g5fav", "conn#a=", true),
        ("REMOVE", "chan#general@01arz3ndektsv4rrffq69g5fav", "conn#a=", true),
        ("MODIFY", "chan#general@01arz3ndektsv4rrffq69g5fav", "conn#a=", false),
        ("INSERT", "chan#general@01arz3ndektsv4rrffq69g5fav", "a-gate", false),
        ("INSERT", "user#bob", "conn#a=", false),
        ("INSERT", "ticket#x", "meta", false),
        ("INSERT", "ends#30000000", "conn#a=", false),
    ] {
        let keys = json!({"pk": {"S": pk}, "sk": {"S": sk}});
        let record = json!({"eventName": name, "dynamodb": {"Keys": keys, "NewImage": connection}});
        assert_eq!(filters.match_any(&record), expected, "{name} {pk} {sk}");
    }
    // No client has the socket of a pending connection.
    let pending = json!({"opening": {"BOOL": true}, "connected_at": {"S": "2027-01-15T08:00:00.000Z"}});
    let keys = json!({"pk": {"S": "conn#a="}, "sk": {"S": "meta"}});
    let record = json!({"eventName": "INSERT", "dynamodb": {"Keys": keys, "NewImage": pending}});
    assert!(!filters.match_any(&record));
}

/// Lambda's own filter of JSON lines is INFO by default ("Log-level filtering"). Lines without a level, such as those of
/// metrics, count as INFO. So it must let all lines pass, and `LogLevel` alone selects them in the function. Of Lambda's
/// own lines only those of failures are paid for.
#[test]
fn lambda_drops_no_line_that_a_function_writes() {
    let template = backend();
    let functions = template.resources().values().filter(|resource| resource["Type"] == "AWS::Lambda::Function");
    let mut count = 0;
    for function in functions {
        let properties = &function["Properties"];
        assert_eq!(properties["LoggingConfig"]["LogFormat"], "JSON", "{properties}");
        assert_eq!(properties["LoggingConfig"]["ApplicationLogLevel"], "TRACE", "{properties}");
        assert_eq!(properties["LoggingConfig"]["SystemLogLevel"], "WARN", "{properties}");
        assert_eq!(properties["Environment"]["Variables"]["LOG_LEVEL"], json!({"Ref": "LogLevel"}), "{properties}");
        count += 1;
    }
    assert_eq!(count, backend_stack().functions.len());
}

/// A key that AWS manages in the account costs money per request. A key that AWS owns costs nothing.
#[test]
fn tables_are_encrypted_with_a_key_that_aws_owns() {
    let template = backend();
    let tables = template.resources().values().filter(|resource| resource["Type"] == "AWS::DynamoDB::Table");
    let keys: Vec<_> = tables.map(|table| table["Properties"]["SSESpecification"].clone()).collect();
    assert_eq!(keys, vec![json!({"SSEEnabled": false}); 3]);
}

#[test]
fn the_upkeep_comes_every_minute() {
    let stack = backend_stack();
    let [schedule] = stack.schedules.as_slice() else { panic!("one schedule") };
    assert_eq!(schedule.every.as_secs(), 60);
    let [function] = schedule.functions.as_slice() else { panic!("one target") };
    assert!(stack.functions.iter().any(|known| known.name == *function && known.binary == "maintenance"));
}

/// "Integration timeout" and "Lambda timeout" must be consistent: the caller must wait longer than the function runs.
#[test]
fn timeouts_and_concurrency_make_sense_together() {
    let mut given = deployment();
    given.parameters.insert("ReserveConcurrency".into(), "true".into());
    let stack = backend().resolve(&given).unwrap();
    let function = |name: &str| stack.functions.iter().find(|function| function.name == name).unwrap();
    for method in &stack.rest_api.methods {
        let Integration::LambdaProxy { function: name, timeout } = &method.integration else { continue };
        assert!(function(name).timeout < *timeout, "{name} answers {} too late", method.path);
    }
    for route in stack.websocket_api.routes.iter().filter(|route| route.route_key.contains("connect")) {
        assert!(function(&route.function).timeout < route.timeout, "{}", route.route_key);
    }
    for mapping in &stack.event_source_mappings {
        let function = function(&mapping.function);
        assert!(mapping.maximum_record_age.unwrap() >= function.timeout, "{}", mapping.logical_id);
        // Four shards: a new table with on-demand billing has four partitions.
        let wanted: usize = stack
            .event_source_mappings
            .iter()
            .filter(|other| other.function == function.name)
            .map(|other| 4 * other.parallelization_factor)
            .sum();
        assert_eq!(function.reserved_concurrency, Some(wanted), "{}", function.name);
    }
    for function in &stack.functions {
        assert!(function.async_invoke.maximum_event_age >= function.timeout, "{}", function.name);
    }
    // Lambda keeps 100 of the account's 1,000 for functions without a reservation.
    let reserved: usize = stack.functions.iter().filter_map(|function| function.reserved_concurrency).sum();
    assert!(reserved <= 900);
    assert!(backend_stack().functions.iter().all(|function| function.reserved_concurrency.is_none()));
}
