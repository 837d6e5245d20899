#!/usr/bin/env python3
"""Writes the benchmark results into docs/reports/performance.md and draws the charts.

    python3 docs/reports/performance.py           writes the tables between the markers, and the charts in docs/images/
    python3 docs/reports/performance.py --check   fails when a table or chart differs from the measurements

The measurements are the JSON files in docs/reports/performance/, written by `cargo bench-… --json FILE`. Without its file a
table is empty, and a warning names the file.
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


def path(name):
    return REPORTS / "performance" / f"{name}.json"


def measured():
    """Returns the measurements by the name of their file."""
    names = dict.fromkeys(name for name, *_ in PARTS.values())
    files = {name: json.loads(path(name).read_text()) for name in names if path(name).exists()}
    # A build that counts allocations is slower, so its run has a file of its own.
    if "overhead" in files and path("allocations").exists():
        counted = json.loads(path("allocations").read_text())["warm"]
        counts = {(row["function"], row["what"]): row.get("allocations") for row in counted}
        for row in files["overhead"]["warm"]:
            row["allocations"] = counts.get((row["function"], row["what"]))
    return files


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


def columns(rows, wanted):
    """Formats a table of `rows`. `wanted` has a header, a name of the row's field, and a function from the row to the cell
    for each column. A column whose field no row has is left out: older measurements lack it."""
    wanted = [column for column in wanted if any(column[1] in row for row in rows)]
    return table([header for header, *_ in wanted], [[cell(row) for *_, cell in wanted] for row in rows])


def machine(files):
    """Describes the machine and the days of the measurements; if they differ, each machine with its measurements."""
    runs = {}
    for name, file in files.items():
        about = file["machine"]
        memory = int(about["memory"].split()[0]) / 1024 / 1024
        text = (
            f"{about['cores']} cores ({about['processor']}), {memory:.0f} GB of memory, Linux {about['kernel'].split('-')[0]}, "
            f"{about['profile']} build"
        )
        runs.setdefault(text, []).append((name, about["at"]))
    lines = []
    for text, measurements in runs.items():
        names, days = zip(*measurements)
        first, last = min(days), max(days)
        which = f"{', '.join(names)}: " if len(runs) > 1 else ""
        lines.append(f"{which}{text}, {first if first == last else f'{first} to {last}'}.")
    return "\n\n".join(lines)


def end_to_end(measurements):
    rows = []
    for row in measurements:
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


def shown(rows):
    """Returns the summary at ten sockets and one sender."""
    cells = {row["system"]: row for row in rows if (row["senders"], row["sockets"]) == (1, 10)}
    if "serverless-offline" not in cells:
        return ""
    ours, same, bare = (cells[name] for name in ("switchboard", "serverless-offline", "serverless-offline, bare"))
    return (
        f"At ten sockets and one sender: **{short(ours['rate'] / same['rate'])} times** the messages per second of "
        f"serverless-offline.\nSwitchboard's push p99 is **{short(ours['push_ms']['p99'])} ms**; serverless-offline's p50 is "
        f"**{short(same['push_ms']['p50'])} ms**.\nAgainst serverless-offline, bare: {short(ours['rate'] / bare['rate'])} times the rate; "
        f"its p50 is {short(bare['push_ms']['p50'])} ms."
    )


def writers(rows):
    """Formats the hot channel of `end-to-end`."""
    header = ["senders", "messages/s", "of one sender's", "push p50 ms", "p99 ms", "`POST` p50 ms", "p99 ms", "p99 / p50",
              "lost or refused"]
    return table(header, [[
        row["senders"], short(row["rate"]), f"{100 * row['times_first']:.0f} %", short(row["push_ms"]["p50"]),
        short(row["push_ms"]["p99"]), short(row["post_ms"]["p50"]), short(row["post_ms"]["p99"]), short(row["p99_of_p50"]),
        row["missing"] + row["failures"],
    ] for row in rows])


def fan_out(measurements):
    rows = [[
        row["way"], f"{row['sockets']:,}", short(row["spread_ms"]["p50"]), short(row["spread_ms"]["p99"]), short(row["rate"]),
        f"{100 * row['of_bare']:.0f} %", short(row["whole_ms"]["p50"]), short(row["whole_ms"]["p99"]),
        short(row["whole_rate"]), f"{100 * row['whole_of_bare']:.0f} %",
    ] for row in measurements]
    header = ["way", "sockets", "first to last frame, p50 ms", "p99 ms", "sockets/s", "of bare", "request to last frame, p50 ms",
              "p99 ms", "sockets/s", "of bare"]
    return table(header, rows)


def crowd(runs):
    """Formats what a message costs: a column for each run."""
    lines = [
        ("parts of the subscriptions", lambda run: run["parts"]),
        ("messages", lambda run: run["reached_ms"]["count"]),
        ("request to the last socket, p50 s", lambda run: short(run["reached_ms"]["p50"] / 1000)),
        ("the same, maximum s", lambda run: short(run["reached_ms"]["max"] / 1000)),
        ("posts in the busiest second", lambda run: f"{run['posts_in_a_second']:,}"),
        ("posts that the account refused", lambda run: f"{run['throttled']:,}"),
        ("posts that reached a socket again", lambda run: f"{run['duplicates']:,}"),
        ("read units of a message", lambda run: short(run["read_units"])),
        ("the same, of the part with the most", lambda run: short(run["read_units_of_a_part"])),
    ]
    header = ["measurement", *(f"{run['subscriptions']:,} subscriptions" for run in runs)]
    return table(header, [[name, *(cell(run) for run in runs)] for name, cell in lines])


def crowd_requests(runs):
    rows = []
    for run in runs:
        for asked in run["requests"]:
            times = 1.0 if asked["phase"] == "idle" else run["p99_of_idle"]
            rows.append([
                asked["phase"], f"{run['subscriptions']:,}", f"{asked['took_ms']['count']:,}", short(asked["took_ms"]["p50"]),
                short(asked["took_ms"]["p99"]), short(times), asked["refused"], asked["failed"],
            ])
    return table(["requests", "subscriptions", "answered", "p50 ms", "p99 ms", "p99, × idle", "refused", "failed"], rows)


def crowd_memory(runs):
    names = sorted({name for run in runs for name in run["memory_mb"]})
    header = ["function", *(f"MB, {run['subscriptions']:,} subscriptions" for run in runs)]
    return table(header, [[name, *(short(run["memory_mb"].get(name)) for run in runs)] for name in names])


def crowd_scenarios(rows):
    def kinds(row):
        return ", ".join(f"{count:,} `{kind}`" for kind, count in sorted(row["kinds"].items()))

    header = ["scenario", "listeners", "requests", "refused", "posts", "in the busiest second", "bound", "throttled", "s",
              "frames"]
    return table(header, [[
        row["scenario"], f"{row['listeners']:,}", f"{row['accepted']:,}", f"{row['refused']:,}", f"{row['posts']:,}",
        f"{row['posts_in_a_second']:,}", f"{row['bound']:,}", f"{row['throttled']:,}", short(row["seconds"]), kinds(row),
    ] for row in rows])


def push(whole):
    rows = [
        ["signed request", short(whole["ours_us"]["p50"]), short(whole["ours_us"]["p99"]), "1.00"],
        ["SDK's client", short(whole["sdk_us"]["p50"]), short(whole["sdk_us"]["p99"]), short(whole["ratio"]["p50"])],
    ]
    made = table(["processor time of a push", "p50 µs", "p99 µs", "× signed request"], rows)
    bound = "not above" if whole["is_within"] else "above"
    pairs = f"{len(whole['pairs'])} pairs of {whole['pushes']:,} pushes each"
    return f"{made}\n\nThe ratio is the median of {pairs}. It is {bound} the decision's 1.25."


def warm(rows):
    return columns(rows, [
        ("function", "function", lambda row: row["function"]),
        ("event", "what", lambda row: row["what"]),
        ("p50 µs", "answered_us", lambda row: short(row["answered_us"]["p50"])),
        ("p99 µs", "answered_us", lambda row: short(row["answered_us"]["p99"])),
        ("calls", "calls", lambda row: short(row["calls"])),
        ("round trips", "round_trips", lambda row: short(row.get("round_trips"))),
        ("waited µs", "waited_us", lambda row: short(row["waited_us"]["p50"])),
        ("rest µs", "rest_us", lambda row: short(row["rest_us"]["p50"])),
        ("× empty", "times_empty", lambda row: short(row["times_empty"])),
        ("rest without SDK µs", "own_us", lambda row: short(row.get("own_us"))),
        ("× empty without SDK", "times_empty_without_sdk", lambda row: short(row["times_empty_without_sdk"])),
        ("CPU µs", "cpu_us", lambda row: short(row["cpu_us"])),
        ("allocations", "function", lambda row: short(row.get("allocations"))),
        ("peak MB", "peak_mb", lambda row: short(row["peak_mb"])),
    ])


def starts(rows):
    return columns(rows, [
        ("function", "function", lambda row: row["function"]),
        ("exec to first `/next`, p50 ms", "took_ms", lambda row: short(row["took_ms"]["p50"])),
        ("p99 ms", "took_ms", lambda row: short(row["took_ms"]["p99"])),
        ("own ms", "own_ms", lambda row: short(row.get("own_ms"))),
        ("× empty", "times_empty", lambda row: short(row["times_empty"])),
        ("× SDK only", "times_sdk", lambda row: short(row.get("times_sdk"))),
        ("peak MB", "peak_mb", lambda row: short(row.get("peak_mb"))),
        ("binary MB", "size_mb", lambda row: short(row["size_mb"])),
    ])


def growth(rows, size):
    header = ["operation", size, "p50 µs", "p99 µs", "AWS calls", "× smallest", "µs each"]
    return table(header, [[
        row["operation"], f"{row['size']:,}", short(row["took_us"]["p50"]), short(row["took_us"]["p99"]), short(row["calls"]),
        short(row["times_smallest"]), short(row["each_us"]) if "each_us" in row else "",
    ] for row in sorted(rows, key=lambda row: ([r["operation"] for r in rows].index(row["operation"]), row["size"]))])


def hot(rows):
    """Formats the hot channel of `growth`."""
    header = ["senders", "messages/s", "of one sender's", "`POST` p50 ms", "p99 ms", "p99 / p50", "lost or refused"]
    return table(header, [[
        row["senders"], short(row["rate"]), f"{100 * row['times_one']:.0f} %", short(row["post_ms"]["p50"]),
        short(row["post_ms"]["p99"]), short(row["post_ms"]["p99"] / row["post_ms"]["p50"]), row["failures"],
    ] for row in rows])


# Each generated part of the page: the file of its measurements, their name in the file, and the function that formats them.
PARTS = {
    "shown": ("end-to-end", "rows", shown),
    "end-to-end": ("end-to-end", "rows", end_to_end),
    "writers": ("end-to-end", "hot_channel", writers),
    "fan-out": ("fan-out", "rows", fan_out),
    "crowd": ("crowd", "rows", crowd),
    "crowd-requests": ("crowd", "rows", crowd_requests),
    "crowd-memory": ("crowd", "rows", crowd_memory),
    "crowd-scenarios": ("crowd", "scenarios", crowd_scenarios),
    "crowd-scenarios-before": ("crowd-before", "scenarios", crowd_scenarios),
    "push": ("push", "rows", push),
    "warm": ("overhead", "warm", warm),
    "starts": ("overhead", "starts", starts),
    "history": ("growth", "history", lambda rows: growth(rows, "messages")),
    "subscriptions": ("growth", "subscriptions", lambda rows: growth(rows, "subscriptions")),
    "hot-channel": ("growth", "hot_channel", hot),
}


def ticks(low, high):
    """Returns the powers of ten that enclose `low` and `high`."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    return [10.0**power for power in range(first, max(last, first + 1) + 1)]


def plot(title, across, up, lines):
    """Draws lines by name, each a list of (x, y), on two logarithmic axes. Leaves lines without points out."""
    lines = {name: line for name, line in lines.items() if line}
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
    end, fan, grown = (files.get(name) for name in ("end-to-end", "fan-out", "growth"))
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


def generated(files):
    """Returns the generated parts of the page. Those without measurements are empty, with a warning."""
    made, missing = {"machine": machine(files)}, []
    for part, (name, rows, format_rows) in PARTS.items():
        found = files.get(name, {}).get(rows)
        made[part] = format_rows(found) if found else ""
        if not found:
            missing.append(f"{path(name)} has no {rows}" if name in files else f"{path(name)} is missing")
    for reason in dict.fromkeys(missing):
        print(f"warning: {reason}: its tables are empty", file=sys.stderr)
    return made


def page(text, files):
    for name, part in generated(files).items():
        begin, end_mark = f"<!-- begin {name} -->", f"<!-- end {name} -->"
        pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end_mark)}", re.DOTALL)
        if not pattern.search(text):
            sys.exit(f"{PAGE} lacks the markers of {name}: {begin} … {end_mark}")
        whole = "\n".join(filter(None, [begin, part, end_mark]))
        text = pattern.sub(lambda _, whole=whole: whole, text)
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a table or chart is out of date")
    options = parser.parse_args()
    files = measured()
    made = {PAGE: page(PAGE.read_text(), files), **pictures(files)}
    for file, text in made.items():
        if not options.check:
            file.write_text(text)
        elif not file.exists() or file.read_text() != text:
            sys.exit(f"{file} is out of date: run python3 docs/reports/performance.py")


if __name__ == "__main__":
    main()
