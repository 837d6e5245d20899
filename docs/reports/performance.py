#!/usr/bin/env python3
"""Writes the benchmark results into docs/reports/performance.md and draws the charts.

    python3 docs/reports/performance.py           writes the tables between the markers, and the charts in docs/images/
    python3 docs/reports/performance.py --check   fails when a table or chart differs from the measurements

The measurements are the JSON files in docs/reports/performance/, written by `cargo bench-… --json FILE`.
"""

import argparse
import html
import json
import math
import pathlib
import re
import sys

REPORTS = pathlib.Path(__file__).parent
IMAGES = REPORTS.parent / "images"
PAGE = REPORTS / "performance.md"
COLOURS = ["#2563eb", "#d97706", "#059669", "#9333ea", "#dc2626", "#475569"]
ORDER = ["switchboard", "floor", "serverless-offline", "serverless-offline, bare"]


def measured(name):
    file = REPORTS / "performance" / f"{name}.json"
    return json.loads(file.read_text()) if file.exists() else None


def short(value):
    """Formats a number with about three significant digits."""
    if value is None:
        return "-"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def table(header, rows):
    """Formats a table: the first column left-aligned, the others right-aligned."""
    lines = ["| " + " | ".join(header) + " |", "| " + " | ".join(["---"] + ["---:"] * (len(header) - 1)) + " |"]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def machine(*files):
    file = next(file for file in files if file)
    about = file["machine"]
    memory = int(about["memory"].split()[0]) / 1024 / 1024
    return (
        f"{about['cores']} cores ({about['processor']}), {memory:.0f} GB of memory, Linux {about['kernel'].split('-')[0]}, "
        f"{about['profile']} build, {about['at']}."
    )


def end_to_end(file):
    rows = []
    for row in file["rows"]:
        name = f"**{row['system']}**" if row["system"] == "switchboard" else row["system"]
        rows.append([
            name, row["senders"], f"{row['sockets']:,}", short(row["rate"]),
            short(row["times_serverless_offline"]) if "times_serverless_offline" in row else "",
            short(100 * row["of_floor"]) + " %" if "of_floor" in row else "",
            short(row["push_ms"]["p50"]), short(row["push_ms"]["p99"]),
            short(row["post_ms"]["p50"]), short(row["post_ms"]["p99"]), row["missing"] + row["failures"],
        ])
    header = ["system", "senders", "sockets", "messages/s", "× serverless-offline", "of the floor", "push p50 ms", "p99 ms",
              "`POST` p50 ms", "p99 ms", "lost or refused"]
    return table(header, rows)


def shown(file):
    """Returns the summary at ten sockets and one sender."""
    cells = {row["system"]: row for row in file["rows"] if (row["senders"], row["sockets"]) == (1, 10)}
    ours, same, bare = (cells[name] for name in ("switchboard", "serverless-offline", "serverless-offline, bare"))
    return (
        f"At ten sockets and one sender: **{short(ours['rate'] / same['rate'])} times** the messages per second of "
        f"serverless-offline.\nSwitchboard's push p99 is **{short(ours['push_ms']['p99'])} ms**; serverless-offline's p50 is "
        f"**{short(same['push_ms']['p50'])} ms**.\nAgainst serverless-offline, bare: {short(ours['rate'] / bare['rate'])} times the rate; "
        f"its p50 is {short(bare['push_ms']['p50'])} ms."
    )


def fan_out(file):
    rows = [[
        row["way"], f"{row['sockets']:,}", short(row["spread_ms"]["p50"]), short(row["spread_ms"]["p99"]), short(row["rate"]),
        f"{100 * row['of_bare']:.0f} %", short(row["whole_ms"]["p50"]), short(row["whole_ms"]["p99"]),
        short(row["whole_rate"]), f"{100 * row['whole_of_bare']:.0f} %",
    ] for row in file["rows"]]
    header = ["way", "sockets", "first to last frame, p50 ms", "p99 ms", "sockets/s", "of bare", "request to last frame, p50 ms",
              "p99 ms", "sockets/s", "of bare"]
    return table(header, rows)


def warm(file, counted):
    allocations = {(row["function"], row["what"]): row.get("allocations") for row in (counted or {"warm": []})["warm"]}
    rows = [[
        row["function"], row["what"], short(row["answered_us"]["p50"]), short(row["answered_us"]["p99"]), short(row["calls"]),
        short(row["waited_us"]["p50"]), short(row["rest_us"]["p50"]), short(row["times_empty"]),
        short(row["times_empty_without_sdk"]), short(row["cpu_us"]),
        short(allocations.get((row["function"], row["what"]))), short(row["peak_mb"]),
    ] for row in file["warm"]]
    header = ["function", "event", "p50 µs", "p99 µs", "calls", "waited µs", "rest µs", "× empty", "× empty without SDK",
              "CPU µs", "allocations", "peak MB"]
    return table(header, rows)


def starts(file):
    rows = [[
        row["function"], short(row["took_ms"]["p50"]), short(row["took_ms"]["p99"]), short(row["times_empty"]),
        short(row["size_mb"]),
    ] for row in file["starts"]]
    return table(["function", "exec to first `/next`, p50 ms", "p99 ms", "× empty", "binary MB"], rows)


def growth(rows, size):
    header = ["operation", size, "p50 µs", "p99 µs", "AWS calls", "× smallest", "µs each"]
    return table(header, [[
        row["operation"], f"{row['size']:,}", short(row["took_us"]["p50"]), short(row["took_us"]["p99"]), short(row["calls"]),
        short(row["times_smallest"]), short(row["each_us"]) if "each_us" in row else "",
    ] for row in sorted(rows, key=lambda row: ([r["operation"] for r in rows].index(row["operation"]), row["size"]))])


def hot(rows):
    header = ["senders", "messages/s", "× one sender", "`POST` p50 ms", "p99 ms", "refused"]
    return table(header, [[
        row["senders"], short(row["rate"]), short(row["times_one"]), short(row["post_ms"]["p50"]),
        short(row["post_ms"]["p99"]), row["failures"],
    ] for row in rows])


def ticks(low, high):
    """Returns the powers of ten that enclose `low` and `high`."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    return [10.0**power for power in range(first, max(last, first + 1) + 1)]


def plot(title, across, up, lines):
    """Draws lines by name, each a list of (x, y), on two logarithmic axes."""
    width, height, left, top, right, bottom = 640, 340, 66, 40, 190, 48
    points = [point for line in lines.values() for point in line]
    xs, ys = ticks(min(x for x, _ in points), max(x for x, _ in points)), ticks(min(y for _, y in points), max(y for _, y in points))

    def place(value, marks, start, length):
        share = (math.log10(value) - math.log10(marks[0])) / (math.log10(marks[-1]) - math.log10(marks[0]))
        return start + share * length

    def at(x, y):
        return place(x, xs, left, width - left - right), place(y, ys, height - bottom, top + bottom - height)

    def label(value):
        if value >= 1_000_000:
            return f"{value / 1_000_000:g} M"
        return f"{value / 1000:g} k" if value >= 1000 else f"{value:g}"

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="{left}" y="22" font-size="14" font-weight="bold" fill="#0f172a">{html.escape(title)}</text>',
    ]
    for mark in xs:
        x, _ = at(mark, ys[0])
        out.append(f'<line x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{height - bottom}" stroke="#e2e8f0"/>')
        out.append(f'<text x="{x:.1f}" y="{height - bottom + 16}" text-anchor="middle" fill="#475569">{label(mark)}</text>')
    for mark in ys:
        _, y = at(xs[0], mark)
        out.append(f'<line x1="{left}" y1="{y:.1f}" x2="{width - right}" y2="{y:.1f}" stroke="#e2e8f0"/>')
        out.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end" fill="#475569">{label(mark)}</text>')
    middle = left + (width - left - right) / 2
    out.append(f'<text x="{middle:.1f}" y="{height - 10}" text-anchor="middle" fill="#0f172a">{html.escape(across)}</text>')
    middle = top + (height - top - bottom) / 2
    out.append(
        f'<text x="16" y="{middle:.1f}" text-anchor="middle" fill="#0f172a" '
        f'transform="rotate(-90 16 {middle:.1f})">{html.escape(up)}</text>'
    )
    for index, (name, line) in enumerate(lines.items()):
        colour = COLOURS[index % len(COLOURS)]
        places = [at(x, y) for x, y in sorted(line)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
        y = top + 12 + 18 * index
        out.append(f'<rect x="{width - right + 14}" y="{y - 9}" width="10" height="10" fill="{colour}"/>')
        out.append(f'<text x="{width - right + 30}" y="{y}" fill="#0f172a">{html.escape(name)}</text>')
    return "\n".join([*out, "</svg>", ""])


def pictures(files):
    end, fan, grown = files["end-to-end"], files["fan-out"], files["growth"]
    made = {}
    if end:
        one = [row for row in end["rows"] if row["senders"] == 1]
        lines = {name: [(row["sockets"], row["rate"]) for row in one if row["system"] == name] for name in ORDER}
        made["performance-rate"] = plot("One sender: messages a second", "sockets", "messages/s", lines)
        lines = {}
        for name in ORDER:
            for quantile in ("p50", "p99"):
                lines[f"{name} {quantile}"] = [(row["sockets"], row["push_ms"][quantile]) for row in one if row["system"] == name]
        made["performance-latency"] = plot("One sender: latency from POST to frame", "sockets", "ms", lines)
    if fan:
        ways = {row["way"]: None for row in fan["rows"]}
        lines = {way: [(row["sockets"], row["whole_ms"]["p50"]) for row in fan["rows"] if row["way"] == way] for way in ways}
        made["performance-fan-out"] = plot("One message: latency from request to last frame", "sockets", "ms", lines)
    if grown:
        for name, across, title in [("history", "messages in the history", "Cost by length of the history"),
                                    ("subscriptions", "subscriptions of the channel", "Cost by number of subscriptions")]:
            lines = {}
            for row in grown[name]:
                lines.setdefault(row["operation"], []).append((row["size"], row["took_us"]["p50"]))
            made[f"performance-{name}"] = plot(title, across, "µs", lines)
        lines = {"messages/s": [(row["senders"], row["rate"]) for row in grown["hot_channel"]]}
        made["performance-hot-channel"] = plot("One channel: rate by number of senders", "senders", "messages/s", lines)
    return {IMAGES / f"{name}.svg": text for name, text in made.items()}


def page(text, files):
    end, fan, over, grown = (files[name] for name in ("end-to-end", "fan-out", "overhead", "growth"))
    parts = {"machine": machine(*files.values())}
    if end:
        parts |= {"end-to-end": end_to_end(end), "shown": shown(end)}
    if fan:
        parts["fan-out"] = fan_out(fan)
    if over:
        parts |= {"warm": warm(over, files["allocations"]), "starts": starts(over)}
    if grown:
        parts |= {
            "history": growth(grown["history"], "messages"),
            "subscriptions": growth(grown["subscriptions"], "subscriptions"),
            "hot-channel": hot(grown["hot_channel"]),
        }
    for name, part in parts.items():
        begin, end_mark = f"<!-- begin {name} -->", f"<!-- end {name} -->"
        pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end_mark)}", re.DOTALL)
        if not pattern.search(text):
            sys.exit(f"{PAGE} lacks the markers of {name}: {begin} … {end_mark}")
        text = pattern.sub(lambda _, part=part: f"{begin}\n{part}\n{end_mark}", text)
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a table or chart is out of date")
    options = parser.parse_args()
    names = ("end-to-end", "fan-out", "overhead", "allocations", "growth")
    files = {name: measured(name) for name in names}
    made = {PAGE: page(PAGE.read_text(), files), **pictures(files)}
    for file, text in made.items():
        if not options.check:
            file.write_text(text)
        elif not file.exists() or file.read_text() != text:
            sys.exit(f"{file} is out of date: run python3 docs/reports/performance.py")


if __name__ == "__main__":
    main()
