#!/usr/bin/env python3
"""Computes the AWS cost of a million messages, and of a million changes of messages, from the requests that a test counts
(calls.json beside this file).

    python3 docs/reports/cost.py                                  prints the tables of docs/reports/cost.md
    python3 docs/reports/cost.py --fan-out 25 --private           prints one case, line by line
    python3 docs/reports/cost.py --check docs/reports/cost.md     fails when a table in the file differs

Prices are list prices of us-east-1 in US dollars, without free tiers and volume discounts. docs/reports/cost.md names
their sources.
"""

import argparse
import json
import math
import pathlib
import sys

# DynamoDB on-demand, standard table class, per million request units.
WRITE_UNIT, READ_UNIT = 0.625, 0.125
# API Gateway, per million: REST requests, WebSocket messages of up to 32 KB, connection minutes.
REST_REQUEST, SOCKET_MESSAGE, CONNECTION_MINUTE = 3.50, 1.00, 0.25
# Lambda on arm64: per million requests, per GB-second.
LAMBDA_REQUEST, LAMBDA_GB_SECOND = 0.20, 0.0000133334
# CloudWatch Logs, per GB taken in.
LOG_GB = 0.50

# AppSync Events, per million operations of up to 5 KB; Ably, per million messages of up to 5 KB. Ably counts a message that
# it stores once more.
APPSYNC_OPERATION, ABLY_MESSAGE, ABLY_STORED = 1.00, 2.50, 1

MEMORY_GB = 0.25
# Duration of a warm function, mostly waiting for DynamoDB. An assumption: measure yours.
SEND_SECONDS, DELIVER_SECONDS, POSTS_AT_ONCE, POST_SECONDS = 0.015, 0.010, 64, 0.010
# Log lines, counted from their fields: of a request the line of the access log, that of the function and its metrics; of a
# delivery the line of the function and its metrics.
REQUEST_LOG_BYTES, DELIVERY_LOG_BYTES = 800, 740
# An item of `chat_events` beside its content; a subscription in `chat_connections`.
MESSAGE_OVERHEAD, SUBSCRIPTION_BYTES = 400, 220
# Recipients of one invocation of SendMessageFunction; recipients that a worker serves itself (FanoutThreshold).
SHARD, THRESHOLD = 500, 200

FAN_OUTS = (1, 10, 100, 1_000)

# Messages for which a busy sender writes its token bucket once (HANDFUL_TOKENS).
HANDFUL = 10
# Messages of one channel in a delivery batch: of a busy sender who sends 10 a second, as Lambda polls a stream four times a
# second; and of a busy channel.
BUSY_SENDER_BATCH, BUSY_CHANNEL_BATCH = 2.5, 10

# Write units of the sender's token bucket, which an edit or a reaction updates before the counted requests.
TOKEN_WRITES = 1
# Requests of a second in which a reply is generated: a transaction of the lease and a piece of the draft of up to 1 KB, and
# reads of the channel and of the question. The first second has two pieces more.
PIECE_ITEMS, SECOND_READS, FIRST_PIECES = 2, 2, 2
REPLY_SECONDS = (1, 10, 60)
CHANGES = {"an edit": "edit", "a reaction": "reaction"}
CALLS = json.loads((pathlib.Path(__file__).parent / "calls.json").read_text())


def transaction_items(case, private):
    (call,) = CALLS[case]["private" if private else "public"]
    return int(call.rsplit(" ", 1)[1])


def write_units(private, size, key, busy):
    """Returns the write units of one transaction: two per item and started KB."""
    items = transaction_items("message_with_a_key" if key else "message", private)
    if busy:
        # All but one message of a handful have so many items fewer: the token bucket.
        bucket = transaction_items("message", private) - transaction_items("message_of_a_handful", private)
        items -= bucket * (1 - 1 / HANDFUL)
    return 2 * (items - 1 + math.ceil((size + MESSAGE_OVERHEAD) / 1024))


def lines(fan_out, private=False, size=200, batch=1, key=False, mention=False, busy=False):
    """Returns pairs of a cost item and its dollars per million messages."""
    (query,) = CALLS["delivery_of_a_batch"]
    (look,) = CALLS["batch_without_a_reply"]
    assert (query, look) == ("Query", "GetItem")
    read_units = math.ceil(max(fan_out, 1) * SUBSCRIPTION_BYTES / 4096)
    shards = math.ceil(fan_out / SHARD) if fan_out > THRESHOLD else 0
    frames = math.ceil(batch * (size + 600) / 32_768)
    workers = 2 if mention else 1
    invocations = 1 + workers / batch + shards / batch
    pushing = math.ceil(fan_out / POSTS_AT_ONCE) * POST_SECONDS * frames
    seconds = SEND_SECONDS + (workers * DELIVER_SECONDS + pushing) / batch
    log_bytes = REQUEST_LOG_BYTES + (workers + shards) * DELIVERY_LOG_BYTES / batch
    return [
        ("REST request", REST_REQUEST),
        ("DynamoDB: the transaction", write_units(private, size, key, busy) * WRITE_UNIT),
        ("DynamoDB: subscriptions", read_units * READ_UNIT / batch),
        ("DynamoDB: agent settings", READ_UNIT / batch if mention else 0),
        ("Lambda: invocations", invocations * LAMBDA_REQUEST),
        ("Lambda: time", seconds * MEMORY_GB * LAMBDA_GB_SECOND * 1e6),
        ("WebSocket pushes", fan_out * frames / batch * SOCKET_MESSAGE),
        ("Logs", log_bytes * 1e6 / 1e9 * LOG_GB),
    ]


def change_lines(case, private):
    """Returns pairs of a cost item and its dollars per million changes of a message, in a channel with one socket."""
    counted = CALLS[case]["private" if private else "public"]
    (query,) = CALLS["delivery_of_a_batch"]
    assert query == "Query"
    writes, reads = counted["write_units"] + TOKEN_WRITES, counted["read_units"]
    subscriptions = math.ceil(SUBSCRIPTION_BYTES / 4096)
    return [
        ("REST request", REST_REQUEST),
        ("DynamoDB: writes", writes * WRITE_UNIT),
        ("DynamoDB: reads", (reads + subscriptions) * READ_UNIT),
        ("Lambda: invocations", 2 * LAMBDA_REQUEST),
        ("Lambda: time", (SEND_SECONDS + DELIVER_SECONDS + POST_SECONDS) * MEMORY_GB * LAMBDA_GB_SECOND * 1e6),
        ("WebSocket pushes", SOCKET_MESSAGE),
        ("Logs", (REQUEST_LOG_BYTES + DELIVERY_LOG_BYTES) * 1e6 / 1e9 * LOG_GB),
    ]


def changes_table():
    rows = [
        "| change | channel | write units | read units | of DynamoDB | with one socket |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for name, case in CHANGES.items():
        for private in (False, True):
            kind = "private" if private else "public"
            counted, costs = CALLS[case][kind], change_lines(case, private)
            stored = sum(cost for item, cost in costs if item.startswith("DynamoDB"))
            units = (counted["write_units"] + TOKEN_WRITES, counted["read_units"])
            cells = [name, kind, *(f"{unit:g}" for unit in units), f"${stored:,.2f}"]
            rows.append("| " + " | ".join([*cells, f"${sum(cost for _, cost in costs):,.2f}"]) + " |")
    return "\n".join(rows)


def drafts_table():
    rows = ["| seconds of a reply | write units | read units | dollars per million replies |", "| ---: | ---: | ---: | ---: |"]
    for seconds in REPLY_SECONDS:
        writes, reads = 2 * PIECE_ITEMS * (seconds + FIRST_PIECES), SECOND_READS * seconds
        cost = writes * WRITE_UNIT + reads * READ_UNIT
        rows.append(f"| {seconds} | {writes} | {reads} | ${cost:,.2f} |")
    return "\n".join(rows)


def table():
    rows = [
        "| sockets in the channel | one at a time | a busy sender | a busy channel | of the first, pushes | AppSync Events | Ably |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for fan_out in FAN_OUTS:
        cases = [
            lines(fan_out),
            lines(fan_out, batch=BUSY_SENDER_BATCH, busy=True),
            lines(fan_out, batch=BUSY_CHANNEL_BATCH, busy=True),
        ]
        pushes = dict(cases[0])["WebSocket pushes"]
        appsync, ably = (1 + fan_out) * APPSYNC_OPERATION, (1 + fan_out + ABLY_STORED) * ABLY_MESSAGE
        total = [sum(cost for _, cost in case) for case in cases]
        rows.append("| " + " | ".join([f"{fan_out:,}", *(f"${x:,.2f}" for x in (*total, pushes, appsync, ably))]) + " |")
    return "\n".join(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fan-out", type=int, help="sockets subscribed to the channel")
    parser.add_argument("--private", action="store_true", help="a private channel: the append checks the membership")
    parser.add_argument("--key", action="store_true", help="sent with an Idempotency-Key")
    parser.add_argument("--mention", action="store_true", help="a channel whose agent replies to mentions")
    parser.add_argument("--bytes", type=int, default=200, help="bytes of a message's content")
    parser.add_argument("--batch", type=float, default=1, help="messages of the channel in one delivery batch")
    parser.add_argument("--busy", action="store_true", help="the sender's token bucket is written once for a handful")
    parser.add_argument("--minutes", type=int, default=0, help="minutes that each socket is open per million messages")
    parser.add_argument("--check", type=pathlib.Path, metavar="FILE", help="fail when FILE does not contain the tables")
    options = parser.parse_args()
    tables = [table(), changes_table(), drafts_table()]
    if options.check:
        text = options.check.read_text()
        if missing := [one for one in tables if one not in text]:
            outdated = "\n\n".join(missing)
            sys.exit(f"{options.check} is out of date; replace its tables with the output of `python3 docs/reports/cost.py`:\n{outdated}")
    elif options.fan_out is None:
        print("\n\n".join(tables))
    else:
        costs = lines(
            options.fan_out, options.private, options.bytes, options.batch, options.key, options.mention, options.busy
        )
        costs.append(("Connection minutes", options.fan_out * options.minutes / 1e6 * CONNECTION_MINUTE))
        for item, cost in costs:
            print(f"{item:28} ${cost:12,.2f}")
        print(f"{'a million messages':28} ${sum(cost for _, cost in costs):12,.2f}")


if __name__ == "__main__":
    main()
