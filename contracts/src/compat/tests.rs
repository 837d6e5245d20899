use serde_json::json;

use super::*;

const OPENAPI: &str = r"
openapi: 3.1.0
security: [{bearer: []}]
paths:
  /health:
    get:
      security: []
      responses: {'200': {description: ok}}
  /things/{id}:
    parameters:
      - {name: id, in: path, required: true, schema: {type: string, maxLength: 10}}
    get:
      parameters:
        - {name: limit, in: query, schema: {type: integer, maximum: 100}}
      responses:
        '200':
          headers: {ETag: {required: true, schema: {type: string}}}
          content: {application/json: {schema: {$ref: '#/components/schemas/Thing'}}}
        '404': {content: {application/problem+json: {schema: {type: object}}}}
    put:
      requestBody:
        content: {application/json: {schema: {$ref: '#/components/schemas/NewThing'}}}
      responses: {'200': {description: ok}}
components:
  schemas:
    Thing:
      allOf:
        - {$ref: '#/components/schemas/Base'}
        - type: object
          properties:
            parts: {type: array, items: {$ref: '#/components/schemas/Thing'}}
            sort: {type: string, enum: [a, b]}
    Base:
      type: object
      required: [name]
      properties:
        name: {type: string}
        size: {type: integer, maximum: 9}
    NewThing:
      type: object
      additionalProperties: false
      required: [name]
      properties:
        name: {type: [string, 'null'], maxLength: 10}
        kind: {type: string, enum: [a, b]}
";

const ASYNCAPI: &str = r"
asyncapi: 3.0.0
channels: {socket: {messages: {thing: {$ref: '#/components/messages/thing'}, ping: {$ref: '#/components/messages/ping'}}}}
operations:
  push: {action: send, messages: [{$ref: '#/channels/socket/messages/thing'}]}
  take: {action: receive, messages: [{$ref: '#/channels/socket/messages/ping'}]}
components:
  messages:
    thing: {name: thing, payload: {$ref: '#/components/schemas/Frame'}}
    ping: {name: ping, payload: {$ref: '#/components/schemas/Ping'}}
  schemas:
    Frame:
      type: object
      required: [type, thing]
      properties: {type: {type: string, const: thing}, thing: {$ref: './openapi.yaml#/components/schemas/Base'}}
    Ping: {type: object, properties: {action: {type: string}}}
";

fn pacts() -> Pacts {
    Pacts::of(vec![json!({
        "consumer": { "name": "phone" }, "provider": { "name": "switchboard" },
        "interactions": [
            {
                "type": "Synchronous/HTTP", "description": "a thing",
                "request": { "method": "GET", "path": "/things/7" },
                "response": { "status": 200, "body": { "content": { "name": "x", "parts": [{ "name": "y" }] } } },
            },
            {
                "type": "Asynchronous/Messages", "description": "a thing is pushed",
                "contents": { "content": { "type": "thing", "thing": { "name": "x" } } },
            },
        ],
    })])
}

/// Returns the breaks of a change of the documents, as text.
fn changed(openapi: &[(&str, &str)], asyncapi: &[(&str, &str)]) -> Vec<String> {
    let change = |text: &str, changes: &[(&str, &str)]| {
        changes.iter().fold(text.to_owned(), |text, (from, to)| {
            assert!(text.contains(from), "nothing to change: {from}");
            text.replace(from, to)
        })
    };
    let old = Documents::parse(OPENAPI, ASYNCAPI).unwrap();
    let new = Documents::parse(&change(OPENAPI, openapi), &change(ASYNCAPI, asyncapi)).unwrap();
    breaks(&old, &new).iter().map(|one| one.explain(&pacts())).collect()
}

#[track_caller]
fn breaks_with(openapi: (&str, &str), words: &[&str]) {
    let found = changed(&[openapi], &[]).join("\n");
    for word in words {
        assert!(found.contains(word), "{word:?} is not said in:\n{found}");
    }
}

#[test]
fn parameters_may_become_fields_of_one_object() {
    let single = "{name: limit, in: query, schema: {type: integer, maximum: 100}}";
    let object = |limit: &str| {
        format!(
            "{{name: page, in: query, schema: {{type: object, properties: {{limit: {limit}, after: {{type: string}}}}}}}}"
        )
    };
    assert_eq!(changed(&[(single, &object("{type: integer, maximum: 100}"))], &[]), Vec::<String>::new());
    breaks_with((single, &object("{type: integer, maximum: 50}")), &["limit", "maximum was 100 and is 50"]);
}

#[test]
fn nothing_changed_breaks_nothing() {
    assert_eq!(changed(&[], &[]), Vec::<String>::new());
}

#[test]
fn additions_pass() {
    let more = [
        // Adds a route, an optional field of a request and of a response, a response, a parameter and a header.
        ("  /things/{id}:", "  /others:\n    get: {responses: {'200': {description: ok}}}\n  /things/{id}:"),
        (
            "        kind: {type: string, enum: [a, b]}\n",
            "        kind: {type: string, enum: [a, b, c]}\n        colour: {type: string}\n",
        ),
        (
            "        size: {type: integer, maximum: 9}",
            "        size: {type: integer, maximum: 9}\n        age: {type: integer}",
        ),
        ("        '404':", "        '429': {description: slow down}\n        '404':"),
        (
            "schema: {type: integer, maximum: 100}}",
            "schema: {type: integer, maximum: 200}}\n        - {name: page, in: query, schema: {type: string}}",
        ),
        ("headers: {ETag:", "headers: {Age: {schema: {type: string}}, ETag:"),
    ];
    let found = changed(
        &more,
        &[("properties: {action: {type: string}}", "properties: {action: {type: string}, id: {type: string}}")],
    );
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn a_field_that_is_gone_names_who_reads_it() {
    let found = changed(&[("        name: {type: string}\n", "        title: {type: string}\n")], &[]);
    let of =
        |place: &str| found.iter().find(|one| one.starts_with(place)).unwrap_or_else(|| panic!("{place}: {found:#?}"));
    let answer = of("GET /things/{id}, answer 200, field name: is gone");
    assert!(answer.contains("would break: phone (\"a thing\"), and any other client"), "{answer}");
    assert!(of("frame thing, field thing.name: is gone").contains("phone (\"a thing is pushed\")"));
    let found = changed(&[("        size: {type: integer, maximum: 9}\n", "")], &[]);
    assert!(found.iter().all(|one| one.contains("no published pact uses this")), "{found:#?}");
}

#[test]
fn what_is_read_may_not_become_wider() {
    breaks_with(
        ("        name: {type: string}\n", "        name: {type: [string, 'null']}\n"),
        &["may be null, which is new", "phone"],
    );
    breaks_with(
        ("        name: {type: string}\n", "        name: {type: integer}\n"),
        &["may be integer, which is new"],
    );
    breaks_with(
        (
            "      required: [name]\n      properties:\n        name: {type: string}\n",
            "      properties:\n        name: {type: string}\n",
        ),
        &["field name: may be missing"],
    );
    breaks_with(
        ("size: {type: integer, maximum: 9}", "size: {type: integer, maximum: 10}"),
        &["wider limits", "was 9 and is 10"],
    );
    breaks_with(("sort: {type: string, enum: [a, b]}", "sort: {type: string}"), &["may be anything"]);
    breaks_with(
        ("headers: {ETag: {required: true, schema: {type: string}}}", "headers: {}"),
        &["field ETag: is no longer a header"],
    );
    breaks_with(("{ETag: {required: true,", "{ETag: {"), &["field ETag: may be missing"]);
}

#[test]
fn what_is_written_may_not_become_narrower() {
    let written = "      additionalProperties: false\n      required: [name]\n";
    breaks_with(
        (written, "      additionalProperties: false\n      required: [name, kind]\n"),
        &["PUT /things/{id}, field kind: became required"],
    );
    breaks_with(
        ("name: {type: [string, 'null'], maxLength: 10}", "name: {type: string, maxLength: 10}"),
        &["may no longer be null"],
    );
    breaks_with(
        ("name: {type: [string, 'null'], maxLength: 10}", "name: {type: [string, 'null'], maxLength: 9}"),
        &["narrower limits", "was 10 and is 9"],
    );
    breaks_with(
        ("name: {type: [string, 'null'], maxLength: 10}", "name: {type: [string, 'null'], maxLength: 10, pattern: x}"),
        &["must match a new pattern"],
    );
    breaks_with(
        ("        kind: {type: string, enum: [a, b]}\n", "        kind: {type: string, enum: [a]}\n"),
        &["PUT /things/{id}, field kind: may no longer be \"b\""],
    );
    breaks_with(
        ("        kind: {type: string, enum: [a, b]}\n", ""),
        &["PUT /things/{id}, field kind: is no longer accepted"],
    );
    breaks_with(("      requestBody:\n", "      requestBody:\n        required: true\n"), &["requires a body"]);
}

#[test]
fn operations_and_parameters_may_not_go() {
    breaks_with(("    put:\n", "    post:\n"), &["PUT /things/{id}: is gone"]);
    breaks_with(("  /things/{id}:", "  /objects/{id}:"), &["GET /things/{id}: is gone", "phone (\"a thing\")"]);
    breaks_with(
        ("{name: limit, in: query,", "{name: most, in: query,"),
        &["field limit: is no longer a query parameter"],
    );
    breaks_with(
        ("{name: limit, in: query,", "{name: limit, required: true, in: query,"),
        &["field limit: became a required parameter"],
    );
    breaks_with(("      security: []\n", ""), &["GET /health: requires a token"]);
    breaks_with(("        '200':\n", "        '201':\n"), &["answer 200: is gone"]);
    breaks_with(("schema: {type: string, maxLength: 10}}\n", "schema: {type: string, maxLength: 5}}\n"), &["narrower"]);
}

#[test]
fn frames_may_not_go() {
    let found = changed(&[], &[("thing: {name: thing,", "thing: {name: object,")]);
    assert!(found[0].starts_with("frame thing: is gone") && found[0].contains("phone"), "{found:#?}");
    let found =
        changed(&[], &[("Ping: {type: object, properties:", "Ping: {type: object, required: [action], properties:")]);
    assert!(found[0].starts_with("client's frame ping, field action: became required"), "{found:#?}");
}

#[test]
fn an_extensible_enumeration_may_get_values() {
    let open = ("sort: {type: string, enum: [a, b]}", "sort: {type: string, enum: [a, b], x-extensible: true}");
    let more = ("sort: {type: string, enum: [a, b]}", "sort: {type: string, enum: [a, b, c]}");
    breaks_with(more, &["field sort: may be \"c\", which is new"]);
    let old = Documents::parse(&OPENAPI.replace(open.0, open.1), ASYNCAPI).unwrap();
    let new = Documents::parse(&OPENAPI.replace(more.0, more.1), ASYNCAPI).unwrap();
    assert_eq!(breaks(&old, &new), Vec::new());
}

/// Readers of a union with a discriminator ignore unknown types.
#[test]
fn a_union_with_a_discriminator_may_get_types() {
    let union = |kinds: &[(&str, &str)]| {
        let shape = |(kind, field): &(&str, &str)| {
            format!(
                "{{type: object, required: [{field}], properties: {{kind: {{const: {kind}}}, {field}: {{type: string}}}}}}"
            )
        };
        let shapes: Vec<String> = kinds.iter().map(shape).collect();
        let changed = format!("properties: {{thing: {{discriminator: kind, oneOf: [{}]}}, type:", shapes.join(", "));
        let asyncapi = ASYNCAPI.replace(", thing: {$ref: './openapi.yaml#/components/schemas/Base'}", "");
        Documents::parse(OPENAPI, &asyncapi.replace("properties: {type:", &changed)).unwrap()
    };
    let found = |old: &Documents, new: &Documents| -> Vec<String> {
        breaks(old, new).iter().map(|one| format!("{}: {}", one.place, one.what)).collect()
    };
    let old = union(&[("car", "wheels"), ("boat", "mast")]);
    assert_eq!(found(&old, &union(&[("plane", "wing"), ("boat", "mast"), ("car", "wheels")])), Vec::<String>::new());
    assert_eq!(found(&old, &union(&[("car", "wheels")])), ["frame thing, field thing: is no longer \"boat\""]);
    let other = found(&old, &union(&[("car", "wheels"), ("boat", "sail")]));
    assert!(other.contains(&"frame thing, field thing.mast: is gone".to_owned()), "{other:?}");
}

/// The union of all frames has no name on the wire.
#[test]
fn a_message_of_all_frames_is_no_frame() {
    let push = "push: {action: send, messages: [{$ref: '#/channels/socket/messages/thing'}]}";
    let more =
        "push: {action: send, messages: [{$ref: '#/components/messages/any'}, {$ref: '#/components/messages/thing'}]}";
    let message = "    thing: {name: thing,";
    let any = format!("    any: {{name: any, payload: {{$ref: '#/components/schemas/Any'}}}}\n{message}");
    let schema = "    Frame:\n";
    let union = format!("    Any: {{oneOf: [{{$ref: '#/components/schemas/Frame'}}]}}\n{schema}");
    let asyncapi = ASYNCAPI.replace(push, more).replace(message, &any).replace(schema, &union);
    let documents = Documents::parse(OPENAPI, &asyncapi).unwrap();
    assert_eq!(documents.sent_messages().len(), 1);
}
