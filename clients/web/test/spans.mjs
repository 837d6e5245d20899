// A trace of a message as the functions export it, in the JSON encoding of OTLP. It contains cases that the real stack
// does not produce on demand: a failed push, a late span, a batch of many traces.

/** Returns an id for examples: repeated digits. */
export const id = (digits, length) => digits.repeat(length).slice(0, length);

const any = (value) => {
  if (typeof value === "boolean") return { boolValue: value };
  if (Number.isInteger(value)) return { intValue: String(value) };
  if (typeof value === "number") return { doubleValue: value };
  if (Array.isArray(value)) return { arrayValue: { values: value.map(any) } };
  return { stringValue: String(value) };
};

const attributes = (map = {}) => Object.entries(map).map(([key, value]) => ({ key, value: any(value) }));

/** OTLP's numbers of kinds and states. */
const KINDS = { internal: 1, server: 2, client: 3, producer: 4, consumer: 5 };

/**
 * Returns an `ExportTraceServiceRequest` of one service. Spans are `{id, parent, name, kind, at, ms, error, attributes,
 * events, links, trace}`, with `at` in ms after `start` (ms since the epoch).
 */
export function exported({ service, trace, start, spans }) {
  const nanoseconds = (ms) => String(BigInt(Math.round((start + ms) * 1000)) * 1000n);
  return {
    resourceSpans: [
      {
        resource: { attributes: attributes({ "service.name": service, "service.namespace": "switchboard", "cloud.platform": "aws_lambda" }) },
        scopeSpans: [
          {
            scope: { name: "example" },
            spans: spans.map((span) => ({
              traceId: span.trace ?? trace,
              spanId: id(span.id, 16),
              parentSpanId: span.parent ? id(span.parent, 16) : "",
              name: span.name,
              kind: KINDS[span.kind ?? "internal"],
              startTimeUnixNano: nanoseconds(span.at),
              endTimeUnixNano: nanoseconds(span.at + span.ms),
              attributes: attributes(span.attributes),
              status: span.error ? { code: 2, message: span.error } : {},
              events: (span.events ?? []).map((event) => ({ timeUnixNano: nanoseconds(event.at), name: event.name, attributes: attributes(event.attributes) })),
              links: (span.links ?? []).map((link) => ({ traceId: link.trace, spanId: id(link.id, 16) })),
            })),
          },
        ],
      },
    ],
  };
}

/** Returns the exports of one message's journey, one per function, in the order of arrival. */
export function exampleExports({ trace, channelId, seq, start }) {
  const dynamodb = (operation, table) => ({ "rpc.system.name": "aws-api", "db.system.name": "aws.dynamodb", "db.operation.name": operation, "aws.dynamodb.table_names": [table] });
  const message = (number, lag) => ({
    "messaging.system": "aws.dynamodb_streams",
    "messaging.destination.name": "chat_events",
    "messaging.batch.message_count": 1,
    "switchboard.channel_id": channelId,
    "switchboard.seq": number,
    "switchboard.stream.lag_ms": lag,
  });
  const of = (service, spans) => exported({ service: `switchboard-${service}`, trace, start, spans });
  return [
    of("send-channel-messages", [
      { id: "a1", name: "POST /channels/{channel_id}/messages", kind: "server", at: 0, ms: 14.2, attributes: { "http.request.method": "POST", "http.route": "/channels/{channel_id}/messages", "http.response.status_code": 201, "faas.coldstart": false, "switchboard.channel_id": channelId, "switchboard.seq": seq } },
      { id: "a2", parent: "a1", name: "DynamoDB.TransactWriteItems", kind: "client", at: 3.1, ms: 9.4, attributes: dynamodb("TransactWriteItems", "chat_events") },
    ]),
    of("chat-delivery-worker", [
      { id: "b1", parent: "a1", name: "process chat_events", kind: "consumer", at: 38.4, ms: 21.3, attributes: message(seq, 26) },
      { id: "b2", parent: "b1", name: "DynamoDB.Query", kind: "client", at: 39.2, ms: 4.6, attributes: dynamodb("Query", "chat_connections") },
      { id: "b3", parent: "b1", name: "deliver", at: 44.1, ms: 15.2, attributes: { "switchboard.connections": 3, "switchboard.pushes.delivered": 2, "switchboard.pushes.failed": 1 } },
      { id: "b4", parent: "b3", name: "push", kind: "client", at: 44.3, ms: 14.6, error: "1 of 3 connections could not be reached", attributes: { "server.address": "execute-api.us-east-1.amazonaws.com", "switchboard.connections": 3 }, events: [{ at: 58.2, name: "push failed", attributes: { "switchboard.connection_id": "JZ8fOcdWIAMCLRg=", "error.type": "429" } }] },
      { id: "b0", trace: id("5b8e", 32), name: "switchboard-chat-delivery-worker", kind: "consumer", at: 36.9, ms: 24.8, attributes: { "faas.trigger": "datasource", "messaging.batch.message_count": 5 }, links: [{ trace, id: "a1" }] },
    ]),
    of("chat-agent-worker", [
      { id: "c1", parent: "a1", name: "process chat_events", kind: "consumer", at: 41.2, ms: 151.4, attributes: message(seq, 29) },
      { id: "c2", parent: "c1", name: "DynamoDB.Query", kind: "client", at: 42.6, ms: 5.1, attributes: dynamodb("Query", "chat_events") },
      { id: "c3", parent: "c1", name: "chat llama3.2", kind: "client", at: 48.9, ms: 129.6, attributes: { "gen_ai.operation.name": "chat", "gen_ai.request.model": "llama3.2", "gen_ai.usage.input_tokens": 412, "gen_ai.usage.output_tokens": 38 } },
      { id: "c4", parent: "c1", name: "DynamoDB.TransactWriteItems", kind: "client", at: 180.3, ms: 10.9, attributes: { ...dynamodb("TransactWriteItems", "chat_events"), "switchboard.channel_id": channelId, "switchboard.seq": seq + 1 } },
    ]),
    of("chat-delivery-worker", [
      { id: "d1", parent: "c4", name: "process chat_events", kind: "consumer", at: 213.7, ms: 17.9, attributes: message(seq + 1, 24) },
      { id: "d2", parent: "d1", name: "DynamoDB.Query", kind: "client", at: 214.4, ms: 4.2, attributes: dynamodb("Query", "chat_connections") },
      { id: "d3", parent: "d1", name: "deliver", at: 219.1, ms: 12.1, attributes: { "switchboard.connections": 2, "switchboard.pushes.delivered": 2 } },
      { id: "d4", parent: "d3", name: "push", kind: "client", at: 219.4, ms: 11.2, attributes: { "switchboard.connections": 2 } },
    ]),
  ];
}
