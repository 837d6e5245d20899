"""Sends one message through the local run, with an independent OTLP receiver (oteltap): one trace, from the request to
the sockets and the agent's reply.

    one_trace.py LOCAL BIN_DIR    the runner's binary, and the folder with those of the functions
"""

import asyncio
import json
import pathlib
import socket
import subprocess
import sys
import tempfile
import urllib.request

import websockets
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from oteltap import OtelTapHttpProtobufReceiver, OtelTapHttpProtobufReceiverSettings

PATIENCE = 120
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CONTENT = "what nobody exports"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def attributes(span: Span) -> dict:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value") or "string_value") for pair in span.attributes}


class Spans:
    """The received spans of the trace, and the spans that link to it."""

    def __init__(self) -> None:
        self.all: list[Span] = []
        self.changed = asyncio.Condition()

    async def listen(self, receiver: OtelTapHttpProtobufReceiver) -> None:
        async for span in receiver.stream_traces():
            async with self.changed:
                self.all.append(span)
                self.changed.notify_all()

    def below(self, parent: str, name: str, **wanted) -> list[Span]:
        found = [span for span in self.all if span.parent_span_id.hex() == parent and span.name == name]
        found = [span for span in found if span.trace_id.hex() == TRACE]
        return [span for span in found if all(attributes(span).get(key) == value for key, value in wanted.items())]

    def linking_to(self, span_id: str) -> list[Span]:
        is_it = lambda link: link.trace_id.hex() == TRACE and link.span_id.hex() == span_id
        return [span for span in self.all if span.trace_id.hex() != TRACE and any(map(is_it, span.links))]

    async def wait(self, what: str, look):
        """Returns the result of `look` as soon as there is one."""

        async def found():
            async with self.changed:
                await self.changed.wait_for(look)
                return look()

        try:
            return await asyncio.wait_for(found(), PATIENCE)
        except asyncio.TimeoutError:
            lines = (f"{span.trace_id.hex()} {span.span_id.hex()} < {span.parent_span_id.hex()} {span.name}" for span in self.all)
            raise AssertionError("not in time: " + what + "\n" + "\n".join(sorted(lines))) from None


def post(rest: str, token: str) -> int:
    request = urllib.request.Request(
        f"{rest}/channels/lobby/messages",
        data=json.dumps({"content": CONTENT}).encode(),
        headers={"authorization": f"Bearer {token}", "traceparent": f"00-{TRACE}-{PARENT}-01"},
    )
    with urllib.request.urlopen(request, timeout=PATIENCE) as response:
        return response.status


passed = 0


def check(holds: bool, what: str) -> None:
    global passed
    assert holds, what
    passed += 1
    print("ok", what)


async def events(websocket) -> list[dict]:
    """Returns the events of the next frame with events."""
    while True:
        frame = json.loads(await asyncio.wait_for(websocket.recv(), PATIENCE))
        if frame["type"] == "events":
            return frame["events"]


async def journey(spans: Spans, rest: str, token: str, websocket) -> None:
    status = await asyncio.to_thread(post, rest, token)
    check(status == 201, "the message is accepted")
    seen: list[dict] = []
    while len(seen) < 2:
        seen += await events(websocket)
    check(all(event["traceparent"].split("-")[1] == TRACE for event in seen), "both frames carry the trace id")

    async def one(parent: Span | str, name: str, **wanted) -> Span:
        parent_id = parent if isinstance(parent, str) else parent.span_id.hex()
        found = await spans.wait(f"{name} below {parent_id}", lambda: spans.below(parent_id, name, **wanted))
        check(len(found) == 1, f"one span {name} {wanted or ''}")
        return found[0]

    request = await one(PARENT, "POST /channels/{channel_id}/messages")
    check(request.kind == Span.SPAN_KIND_SERVER, "it is a server's")
    check(attributes(request)["http.response.status_code"] == 201, "it tells the status")
    transaction = await one(request, "DynamoDB.TransactWriteItems")
    check(transaction.kind == Span.SPAN_KIND_CLIENT, "the transaction is a client's")
    check(attributes(transaction)["db.system.name"] == "aws.dynamodb", "it tells the database")

    of_request = lambda: spans.below(request.span_id.hex(), "process chat_events")
    workers = await spans.wait("both workers", lambda: len(of_request()) == 2 and of_request())
    check(all(span.kind == Span.SPAN_KIND_CONSUMER for span in workers), "two workers consume the message")
    check(all("switchboard.stream.lag_ms" in attributes(span) for span in workers), "both tell the stream's lag")
    is_delivery = lambda span: bool(spans.below(span.span_id.hex(), "deliver"))
    delivery = (await spans.wait("the delivery", lambda: [span for span in workers if is_delivery(span)]))[0]
    agent = next(span for span in workers if span is not delivery)

    deliver = await one(delivery, "deliver")
    await one(deliver, "DynamoDB.Query")
    push = await one(deliver, "push")
    check(attributes(push)["switchboard.pushes.delivered"] == 1, "one socket got it")

    await one(agent, "chat built-in")
    await one(agent, "DynamoDB.TransactWriteItems")
    reply = await one(agent, "process chat_events")
    deliver_reply = await one(reply, "deliver")
    await one(deliver_reply, "push")

    for span, count, what in [(request, 2, "both workers' invocations link"), (agent, 1, "the reply's delivery links")]:
        find = lambda span=span, count=count: len(found := spans.linking_to(span.span_id.hex())) >= count and found
        links = await spans.wait(what, find)
        check(len(links) == count, f"{what} to what they handled")
        check(all(link.parent_span_id == b"" for link in links), "in traces of their own")
    exported = b"".join(span.SerializeToString() for span in spans.all)
    check(CONTENT.encode() not in exported and token.encode() not in exported, "no content and no token is exported")


async def main(local: str, bin_dir: str) -> None:
    port = free_port()
    settings = OtelTapHttpProtobufReceiverSettings(http_port=port)
    async with OtelTapHttpProtobufReceiver(settings) as receiver:
        spans = Spans()
        listening = asyncio.create_task(spans.listen(receiver))
        with tempfile.TemporaryDirectory() as work:
            ready = pathlib.Path(work) / "ready.json"
            ports = [part for name in ("rest", "websocket", "dynamodb", "page", "otlp") for part in (f"--{name}-port", "0")]
            options = ["--in-memory", "--bin-dir", bin_dir, "--ready-file", str(ready), *ports]
            collector = ["--parameter", f"OtlpEndpoint=http://127.0.0.1:{port}"]
            stack = subprocess.Popen([local, *options, *collector], stdout=subprocess.PIPE, text=True)
            try:
                # The runner reports that it is up; then all ports accept connections.
                await asyncio.to_thread(lambda: next(line for line in stack.stdout if "is up" in line))
                draining = asyncio.create_task(asyncio.to_thread(stack.stdout.read))
                addresses = json.loads(ready.read_text())
                ask = [local, "token", "--ready-file", str(ready), "--user", "alice"]
                token = subprocess.run(ask, stdout=subprocess.PIPE, text=True, check=True)
                token = token.stdout.strip()
                headers = {"Authorization": f"Bearer {token}"}
                url = f"{addresses['websocket']}/?channels=lobby"
                async with websockets.connect(url, additional_headers=headers, open_timeout=PATIENCE) as websocket:
                    await journey(spans, addresses["rest"], token, websocket)
                stack.terminate()
                check(await asyncio.to_thread(stack.wait, PATIENCE) == 0, "the run ends cleanly")
                await draining
            finally:
                stack.kill()
        listening.cancel()


if __name__ == "__main__":
    failed = 0
    try:
        asyncio.run(main(*sys.argv[1:3]))
    except AssertionError as error:
        failed = 1
        print("not ok", error)
    print(f"# pass {passed}\n# fail {failed}")
    sys.exit(failed)
