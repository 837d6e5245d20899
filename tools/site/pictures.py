#!/usr/bin/env python3
"""Draws the two pictures of the concepts: docs/images/architecture.svg and docs/images/life-of-a-message.svg.

    python3 tools/site/pictures.py            writes both
    python3 tools/site/pictures.py --check    fails if one differs, or names what infra/backend.yaml does not have
"""

import argparse
import html
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
IMAGES = ROOT / "docs/images"

INK, SOFT, LINE, BACK = "#0f172a", "#475569", "#94a3b8", "#ffffff"
# Fill and border of each kind of part.
KINDS = {
    "client": ("#f1f5f9", "#64748b"),
    "gateway": ("#f5f3ff", "#7c3aed"),
    "function": ("#fff7ed", "#ea580c"),
    "table": ("#eff6ff", "#2563eb"),
    "model": ("#ecfdf5", "#059669"),
}


class Picture:
    """An SVG picture with boxes, arrows and texts."""

    def __init__(self, width, height, title, description):
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
            f'aria-labelledby="title description" font-family="system-ui, sans-serif" font-size="14">',
            f'<title id="title">{html.escape(title)}</title>',
            f'<desc id="description">{html.escape(description)}</desc>',
            "<defs>",
            *(
                f'<marker id="{name}" viewBox="0 0 10 10" refX="9" refY="5" markerUnits="userSpaceOnUse" markerWidth="12" '
                f'markerHeight="12" orient="auto-start-reverse"><path d="M0 0L10 5L0 10z" fill="{color}"/></marker>'
                for name, color in (("arrow", SOFT), ("stream", "#2563eb"))
            ),
            "</defs>",
            f'<rect width="{width}" height="{height}" rx="12" fill="{BACK}"/>',
        ]

    def text(self, x, y, text, size=14, color=INK, anchor="middle", weight="normal"):
        self.parts.append(
            f'<text x="{x}" y="{y}" font-size="{size}" fill="{color}" text-anchor="{anchor}" font-weight="{weight}">{html.escape(text)}</text>'
        )

    def box(self, x, y, width, height, kind, title, *lines):
        fill, border = KINDS[kind]
        self.parts.append(f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="8" fill="{fill}" stroke="{border}" stroke-width="1.5"/>')
        middle, step = x + width / 2, 18
        top = y + height / 2 - len(lines) * step / 2 + 5
        self.text(middle, top, title, 14, INK, weight="600")
        for number, line in enumerate(lines, 1):
            self.text(middle, top + number * step, line, 12, SOFT)

    def arrow(self, points, kind="call", both=False):
        color, dash, width = {"call": (SOFT, "", 1.5), "stream": ("#2563eb", "", 3), "push": (SOFT, ' stroke-dasharray="5 4"', 1.5)}[kind]
        marker = "stream" if kind == "stream" else "arrow"
        begin = f' marker-start="url(#{marker})"' if both else ""
        path = " ".join(f"{'M' if at == 0 else 'L'}{x} {y}" for at, (x, y) in enumerate(points))
        self.parts.append(
            f'<path d="{path}" fill="none" stroke="{color}" stroke-width="{width}" stroke-linejoin="round"{dash}{begin} marker-end="url(#{marker})"/>'
        )

    def label(self, x, y, text, anchor="middle"):
        """Writes a text that interrupts the lines behind it."""
        width = len(text) * 6.3 + 8
        left = {"middle": x - width / 2, "start": x - 4, "end": x - width + 4}[anchor]
        self.parts.append(f'<rect x="{left:.1f}" y="{y - 12}" width="{width:.1f}" height="17" fill="{BACK}"/>')
        self.text(x, y, text, 12, SOFT, anchor)

    def number(self, x, y, value):
        self.parts.append(f'<circle cx="{x}" cy="{y}" r="11" fill="{INK}"/>')
        self.text(x, y + 4.5, str(value), 12, "#ffffff", weight="600")

    def done(self):
        return "\n".join([*self.parts, "</svg>", ""])


def architecture():
    picture = Picture(
        980, 640, "Architecture of Switchboard",
        "Clients call the REST API and hold sockets of the WebSocket API. Functions store messages in chat_events, whose "
        "stream invokes the agent and the delivery worker. The delivery worker pushes to the sockets.",
    )
    for x, title in ((20, "Clients"), (200, "API Gateway"), (400, "Lambda"), (700, "DynamoDB")):
        picture.text(x, 34, title, 13, SOFT, "start", "600")
    picture.box(20, 60, 130, 360, "client", "Clients", "page, app,", "program, bot")
    picture.box(200, 60, 140, 170, "gateway", "REST API")
    picture.box(200, 270, 140, 150, "gateway", "WebSocket API")

    functions = [
        (60, "send-channel-messages", "sends, edits, deletes, reacts"),
        (126, "get-channel-messages", "history, changes, threads"),
        (192, "channels", "channels, members, tickets"),
        (270, "on-connect, on-disconnect", "open and close sockets"),
        (336, "answer-frame", "answers pings"),
        (436, "chat-delivery-worker", "pushes to up to 200 sockets"),
        (502, "send-message", "pushes shards of 500 sockets"),
        (568, "chat-agent-worker", "writes and stores the reply"),
    ]
    for y, name, about in functions:
        picture.box(400, y, 220, 52, "function", name, about)
    picture.box(700, 60, 190, 118, "table", "chat_events", "messages")
    picture.box(700, 192, 190, 80, "table", "chat_channels", "channels, members, numbers")
    picture.box(700, 286, 190, 86, "table", "chat_connections", "sockets, subscriptions")
    picture.box(700, 568, 190, 52, "model", "Language model", "Bedrock, or OpenAI's protocol")

    picture.arrow([(150, 145), (200, 145)])
    picture.arrow([(150, 345), (200, 345)], both=True)
    picture.label(175, 136, "REST")
    picture.label(175, 336, "WSS")
    for y in (86, 152, 218):
        picture.arrow([(340, y), (400, y)])
    for y in (296, 362):
        picture.arrow([(340, y), (400, y)])
    picture.arrow([(620, 86), (700, 86)])
    picture.label(660, 78, "appends")
    picture.arrow([(620, 152), (700, 152)], both=True)
    picture.arrow([(620, 226), (700, 226)], both=True)
    picture.arrow([(620, 300), (700, 320)], both=True)
    # Streams.
    picture.arrow([(890, 110), (940, 110), (940, 452), (620, 452)], "stream")
    picture.arrow([(940, 452), (940, 540), (660, 540), (660, 584), (620, 584)], "stream")
    picture.label(800, 444, "stream of messages")
    picture.arrow([(790, 372), (790, 396), (650, 396), (650, 444), (620, 444)], "stream")
    picture.label(720, 390, "stream of sockets")
    picture.arrow([(620, 604), (700, 604)], both=True)
    picture.arrow([(510, 488), (510, 502)])
    # Pushes.
    picture.arrow([(400, 462), (300, 462), (300, 420)], "push")
    picture.arrow([(400, 528), (240, 528), (240, 420)], "push")
    picture.label(352, 454, "push")
    picture.label(320, 520, "push")
    # Legend.
    picture.arrow([(20, 560), (64, 560)])
    picture.text(74, 565, "request", 12, SOFT, "start")
    picture.arrow([(20, 585), (64, 585)], "stream")
    picture.text(74, 590, "stream: asynchronous, in order", 12, SOFT, "start")
    picture.arrow([(20, 610), (64, 610)], "push")
    picture.text(74, 615, "push to sockets (@connections)", 12, SOFT, "start")
    return picture.done()


def life_of_a_message():
    lanes = [
        ("client", "Alice", 80), ("gateway", "REST API", 220), ("function", "send-channel-", 370), ("table", "chat_events", 530),
        ("function", "chat-delivery-", 690), ("function", "chat-agent-", 830), ("client", "Alice, Bob", 960),
    ]
    second = {370: "messages", 690: "worker", 830: "worker"}
    picture = Picture(
        1040, 620, "Life of a message",
        "Alice sends a message. It is stored in one transaction and acknowledged. The stream passes it to the delivery worker, "
        "which pushes it to all sockets, and to the agent, whose reply takes the same way.",
    )
    for kind, title, x in lanes:
        picture.box(x - 62, 20, 124, 50, kind, title, *([second[x]] if x in second else []))
        picture.parts.append(f'<line x1="{x}" y1="70" x2="{x}" y2="595" stroke="{LINE}" stroke-dasharray="3 5"/>')

    def step(number, y, begin, end, text, kind="call"):
        picture.arrow([(begin, y), (end, y)], kind)
        picture.label((begin + end) / 2, y - 8, text)
        if number:
            picture.number(begin, y, number)

    step(1, 110, 80, 220, "POST, key")
    step(None, 126, 220, 370, "invoke")
    step(2, 168, 370, 530, "one transaction")
    picture.label(545, 190, "message 7, head 7, key", "start")
    step(3, 228, 370, 80, "201 with seq 7: durable")
    step(4, 276, 530, 690, "stream", "stream")
    picture.arrow([(530, 292), (830, 292)], "stream")
    step(5, 334, 690, 960, "push message 7 to each socket", "push")
    step(6, 386, 830, 960, "draft", "push")
    picture.label(815, 400, "the model writes; each piece is stored first", "end")
    step(7, 450, 830, 530, "reply in one transaction: message 8")
    picture.arrow([(530, 492), (690, 492)], "stream")
    picture.label(610, 484, "stream")
    picture.arrow([(690, 530), (960, 530)], "push")
    picture.label(825, 522, "push message 8")
    picture.text(80, 575, "A client that misses a push sees a gap in the numbers, and reads the rest over REST.", 13, SOFT, "start")
    return picture.done()


PICTURES = {"architecture.svg": architecture, "life-of-a-message.svg": life_of_a_message}


def unknown_names(text):
    """Returns the names of functions and tables in a picture that the repository does not have."""
    folders = {path.name for path in (ROOT / "services").iterdir()}
    template = (ROOT / "infra/backend.yaml").read_text(encoding="utf-8")
    names = re.findall(r">((?:[a-z]+-)+[a-z]+(?:, (?:[a-z]+-)+[a-z]+)*|chat_[a-z]+)<", text)
    split = [name for names_ in names for name in names_.split(", ")]
    return [name for name in split if name not in folders and not (name.startswith("chat_") and name in template)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    options = parser.parse_args()
    faults = []
    for name, draw in PICTURES.items():
        text, path = draw(), IMAGES / name
        faults += [f"{name}: there is no {unknown}" for unknown in unknown_names(text)]
        if not options.check:
            path.write_text(text, encoding="utf-8")
        elif not path.is_file() or path.read_text(encoding="utf-8") != text:
            faults.append(f"{name} is out of date: run tools/site/pictures.py")
    sys.exit("\n".join(faults) or 0)


if __name__ == "__main__":
    main()
