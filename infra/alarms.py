"""Evaluates the alarms of a template on given samples, as CloudWatch does: statistics, metric math, missing data, states.

It covers what the template uses. Anything else raises an error, so that a new alarm is not taken for a silent one. Time is
in minutes from zero. A metric's samples are a list for each minute.
"""

import ast
import itertools
import operator
import re

OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
}
COMPARISONS = {"GreaterThanThreshold": operator.gt, "GreaterThanOrEqualToThreshold": operator.ge}


class Series:
    """The samples of a metric. Counts are kept as running sums, so that a window of days costs two look-ups."""

    def __init__(self, minutes):
        self.minutes = minutes
        self.sums = self.running(sum)
        self.counts = self.running(len)
        self.ranks = {}

    def running(self, of_minute):
        return [0, *itertools.accumulate(map(of_minute, self.minutes))]

    def between(self, sums, start, end):
        last = len(self.minutes)
        return sums[min(max(end, 0), last)] - sums[min(max(start, 0), last)]

    def statistic(self, name, start, end):
        """Returns a statistic of the samples from `start` to before `end`, or `None` without a sample."""
        count = self.between(self.counts, start, end)
        if not count:
            return None
        if name == "SampleCount":
            return count
        if name == "Sum":
            return self.between(self.sums, start, end)
        if rank := re.fullmatch(r"PR\(:(\d+)\)", name):
            bound = int(rank[1])
            if bound not in self.ranks:
                self.ranks[bound] = self.running(lambda samples: sum(sample <= bound for sample in samples))
            return 100 * self.between(self.ranks[bound], start, end) / count
        samples = sorted(itertools.chain.from_iterable(self.minutes[max(start, 0) : max(end, 0)]))
        if name == "Maximum":
            return samples[-1]
        if percentile := re.fullmatch(r"p(\d+)", name):
            return samples[min(len(samples) * int(percentile[1]) // 100, len(samples) - 1)]
        raise ValueError(f"unknown statistic {name}")


def fill(value, instead):
    return instead if value is None else value


def total(values):
    present = [value for value in values if value is not None]
    return sum(present) if present else None


def choose(condition, then, otherwise):
    return None if condition is None else then if condition else otherwise


FUNCTIONS = {"FILL": fill, "IF": choose, "SUM": total}


def compute(expression, names):
    """Returns the value of an expression of metric math. A missing operand or a division by zero has no value."""

    def value(node):
        if isinstance(node, ast.Expression):
            return value(node.body)
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Name):
            return names(node.id)
        if isinstance(node, ast.List):
            return [value(one) for one in node.elts]
        if isinstance(node, ast.Call):
            return FUNCTIONS[node.func.id](*map(value, node.args))
        if isinstance(node, ast.BinOp):
            kind, operands = type(node.op), (value(node.left), value(node.right))
        elif isinstance(node, ast.Compare) and len(node.ops) == 1:
            kind, operands = type(node.ops[0]), (value(node.left), value(node.comparators[0]))
        else:
            raise ValueError(f"unknown syntax in {expression}")
        if None in operands or (kind is ast.Div and operands[1] == 0):
            return None
        return OPERATORS[kind](*operands)

    return value(ast.parse(expression, mode="eval"))


def key(metric):
    """Returns the name and dimensions of a metric of an alarm."""
    dimensions = sorted((one["Name"], one["Value"]) for one in metric.get("Dimensions", []))
    return (metric["Namespace"], metric["MetricName"], *dimensions)


class Alarms:
    """The alarms of a resolved template, with the series of their metrics. A metric without a series has no samples."""

    def __init__(self, template, series):
        kinds = ("AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm")
        self.alarms = {name: value for name, (kind, value) in template.resources.items() if kind in kinds}
        self.series = series

    def notifying(self):
        """Returns the names of the alarms that send a notification."""
        return {name for name, alarm in self.alarms.items() if alarm.get("AlarmActions")}

    def metrics(self, name):
        """Returns the keys of the metrics that an alarm depends on, with their statistics."""
        alarm = self.alarms[name]
        if "AlarmRule" in alarm:
            return set().union(*(self.metrics(one) for one in re.findall(r'ALARM\("(\w+)"\)', alarm["AlarmRule"])))
        if "Metrics" not in alarm:
            return {(key(alarm), alarm.get("Statistic") or alarm["ExtendedStatistic"])}
        found = [one["MetricStat"] for one in alarm["Metrics"] if "MetricStat" in one]
        return {(key(one["Metric"]), one["Stat"]) for one in found}

    def sample(self, metric, statistic, period, end):
        series = self.series.get(metric)
        minutes = int(period) // 60
        return series and series.statistic(statistic, end - minutes, end)

    def point(self, alarm, back, now):
        """Returns the value of an alarm's data point, `back` periods ago."""
        if "Metrics" not in alarm:
            period = int(alarm["Period"])
            statistic = alarm.get("Statistic") or alarm["ExtendedStatistic"]
            return self.sample(key(alarm), statistic, period, now - back * period // 60)
        queries = {one["Id"]: one for one in alarm["Metrics"]}
        (returned,) = [one["Id"] for one in alarm["Metrics"] if one.get("ReturnData", True)]

        def named(name):
            query = queries[name]
            if "Expression" in query:
                return compute(query["Expression"], named)
            stat = query["MetricStat"]
            period = int(stat["Period"])
            return self.sample(key(stat["Metric"]), stat["Stat"], period, now - back * period // 60)

        return named(returned)

    def rings(self, name, now):
        """Returns whether an alarm is in the state ALARM at a minute."""
        alarm = self.alarms[name]
        if "AlarmRule" in alarm:
            rule = re.sub(r'ALARM\("(\w+)"\)', lambda match: str(self.rings(match[1], now)), alarm["AlarmRule"])
            words = {"True", "False", "and", "or"}
            rule = rule.replace("AND", "and").replace("OR", "or")
            if not set(re.findall(r"\w+", rule)) <= words:
                raise ValueError(f"{name}: unknown rule {alarm['AlarmRule']}")
            return eval(rule, {"__builtins__": {}})  # noqa: S307: words and parentheses only
        if alarm["TreatMissingData"] != "notBreaching":
            raise ValueError(f"{name} treats missing data in another way")
        points = [self.point(alarm, back, now) for back in range(int(alarm["EvaluationPeriods"]))]
        breaches = COMPARISONS[alarm["ComparisonOperator"]]
        breaching = sum(value is not None and breaches(value, float(alarm["Threshold"])) for value in points)
        return breaching >= int(alarm.get("DatapointsToAlarm", alarm["EvaluationPeriods"]))

    def ringing(self, now):
        """Returns the names of the notifying alarms that ring at a minute."""
        return {name for name in self.notifying() if self.rings(name, now)}
