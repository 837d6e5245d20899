"""Pages about a deployment from infra/backend.yaml: parameters, and alarms."""

import re
import sys

import yaml
from markdown import cell, code, table
from pages import ROOT, Page

sys.path.append(str(ROOT / "infra"))
from template import Loader, Template  # noqa: E402

BACKEND = ROOT / "infra/backend.yaml"
COMPARISONS = {
    "GreaterThanThreshold": "more than",
    "GreaterThanOrEqualToThreshold": "at least",
    "LessThanThreshold": "less than",
    "LessThanOrEqualToThreshold": "at most",
}


def template():
    """Returns the template. Parameters without a default get their own name as the value."""
    given = yaml.load(BACKEND.read_text(encoding="utf-8"), Loader)["Parameters"]
    return Template(BACKEND, {name: name for name, one in given.items() if "Default" not in one})


def default(parameter):
    if "Default" not in parameter:
        return "none: has to be given"
    return "empty" if parameter["Default"] == "" else code(str(parameter["Default"]))


def allowed(parameter):
    """Returns the values that a parameter may have, in words."""
    words = []
    if "AllowedValues" in parameter:
        words.append(", ".join(f"`{value}`" for value in parameter["AllowedValues"]))
    if "MinValue" in parameter or "MaxValue" in parameter:
        ends = [f"at least {parameter['MinValue']}" if "MinValue" in parameter else "", f"at most {parameter['MaxValue']}" if "MaxValue" in parameter else ""]
        words.append(", ".join(end for end in ends if end))
    if "MaxLength" in parameter:
        words.append(f"at most {parameter['MaxLength']} characters")
    if "AllowedPattern" in parameter:
        words.append(f"`{parameter['AllowedPattern']}`")
    return "; ".join(words) or parameter["Type"].lower()


def parameters():
    rows = []
    for name, parameter in template().body["Parameters"].items():
        hidden = " Its value is masked." if parameter.get("NoEcho") else ""
        rows.append([f"`{name}`", default(parameter), allowed(parameter), f"{parameter['Description']}.{hidden}"])
    text = [
        "# Template parameters",
        "Generated from `infra/backend.yaml`. [Deploy](../guides/deploy.md#template-parameters) says how to set them; "
        "`cargo local -- --parameter NAME=VALUE` sets one of the local run.",
        table(["parameter", "default", "allowed", "meaning"], rows),
    ]
    return [Page("reference/parameters.md", "Template parameters", "\n\n".join(text))]


def condition(alarm):
    """Returns the condition of an alarm in words."""
    periods, points = alarm.get("EvaluationPeriods", 1), alarm.get("DatapointsToAlarm")
    statistic = alarm.get("Statistic") or alarm.get("ExtendedStatistic")
    metric = alarm.get("MetricName")
    if not metric:
        metrics = alarm.get("Metrics", [])
        stats = [one["MetricStat"] for one in metrics if "MetricStat" in one]
        names = sorted({one["Metric"]["MetricName"] for one in stats})
        statistic, metric = ", ".join(sorted({one["Stat"] for one in stats})), ", ".join(names)
        alarm = alarm | {"Period": next((one["Period"] for one in stats), None)}
    each = f" in {points or periods} of {periods} periods" if periods != 1 else ""
    length = f" of {alarm['Period']} s" if alarm.get("Period") else ""
    threshold = alarm.get("Threshold")
    return f"{statistic} of `{metric}` {COMPARISONS.get(alarm['ComparisonOperator'], alarm['ComparisonOperator'])} {threshold}{each}{length}"


def alarms():
    rows = []
    for name, (kind, properties) in template().resources.items():
        if kind == "AWS::CloudWatch::Alarm":
            description, _, section = properties["AlarmDescription"].partition(" See ")
            link = re.sub(r"^docs/(.+)$", r"[what to do](../\1)", section.strip())
            rows.append([f"`{name}`", cell(description), condition(properties), link])
        elif kind == "AWS::CloudWatch::CompositeAlarm":
            description, _, section = properties["AlarmDescription"].partition(" See ")
            link = re.sub(r"^docs/(.+)$", r"[what to do](../\1)", section.strip())
            rows.append([f"`{name}`", cell(description), f"`{properties['AlarmRule']}`", link])
    text = [
        "# Alarms",
        "Generated from `infra/backend.yaml`. Mail goes to the address in `AlarmsEmail`.",
        table(["alarm", "meaning", "condition", ""], rows),
    ]
    return [Page("reference/alarms.md", "Alarms", "\n\n".join(text))]
