"""Tests that the alarms of backend.yaml fire and end: each by its own metrics, and those of burn rates by their method."""

import pathlib
import re
import unittest

import check
from alarms import Alarms, Series, compute

PAGE = pathlib.Path(__file__).parent / "../docs/reference/service-levels.md"
DAY, HOUR = 24 * 60, 60
# Percent of events that may be bad.
BUDGETS = {"Sending": 0.1, "Push": 1}
OWN = "Switchboard/switchboard-staging"
ACCEPTED = (OWN, "switchboard.messages.accepted")
LATENCY = (OWN, "switchboard.push.latency")
FUNCTION = ("FunctionName", "SendChannelMessagesFunction")


def failed(template):
    """Returns the key of the metric with responses of the REST API."""
    stage = template.name("RestStage")
    return ("AWS/ApiGateway", "5XXError", ("ApiName", "switchboard-staging-rest"), ("Stage", stage))


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.template = check.templates()[1]

    def alarms(self, series):
        return Alarms(self.template, {key: Series(minutes) for key, minutes in series.items()})

    def sends(self, minutes, failing, each=10):
        """Returns the alarms with sends in each minute; `failing` gives the number of those that fail."""
        bad = [failing(minute) for minute in range(minutes)]
        # API Gateway has a sample for each request, a function one for each invocation.
        return self.alarms({
            ACCEPTED: [[each - count] if each > count else [] for count in bad],
            failed(self.template): [[1] * count + [0] * (each - count) for count in bad],
        })

    def pushes(self, minutes, late, each=40):
        slow = [late(minute) for minute in range(minutes)]
        return self.alarms({LATENCY: [[2500] * count + [150] * (each - count) for count in slow]})

    def first(self, alarms, name, minutes):
        return next((minute for minute in minutes if alarms.rings(name, minute)), None)


class Every(Case):
    def test_each_alarm_fires_by_its_metrics_and_ends(self):
        # Two days of trouble, long enough for the slowest alarm, and four days without.
        bad, end = 2 * DAY, 6 * DAY
        names = set(self.alarms({}).alarms)
        self.assertGreater(len(names), 25)
        for name in names:
            metrics = self.alarms({}).metrics(name)
            # Larger than each threshold. Successes have no share in trouble.
            trouble = {key: [[1e6]] * bad + [[0]] * (end - bad) for key, _ in metrics if key != ACCEPTED}
            if any(key == LATENCY for key in trouble):
                trouble[LATENCY] = [[1e6] * 5] * bad + [[0] * 5] * (end - bad)
            alarms = self.alarms(trouble)
            self.assertTrue(alarms.rings(name, bad), name)
            self.assertFalse(alarms.rings(name, end), name)
            self.assertFalse(self.alarms({}).rings(name, end), name)

    def test_every_alarm_is_heard(self):
        """Each alarm sends a notification, or is a window of an alarm that does."""
        alarms = self.alarms({})
        rules = " ".join(one.get("AlarmRule", "") for one in alarms.alarms.values())
        windows = re.findall(r'ALARM\("(\w+)"\)', rules)
        self.assertEqual(set(windows) | alarms.notifying(), set(alarms.alarms))
        self.assertEqual(set(windows) & alarms.notifying(), set())

    def test_burn_rates_can_be_left_out(self):
        values = {name: "sha256:" + "0" * 64 for name in self.template.body["Parameters"] if name.endswith("Digest")}
        without = check.Template(self.template.path, values | {"BurnRateAlarms": "false"})
        left = Alarms(without, {})
        self.assertEqual({name for name in left.alarms if re.match("Sending|Push(Burn|Fast|Slow|Drift)", name)}, set())
        self.assertEqual(left.notifying(), set(left.alarms))


class Windows(Case):
    def rows(self):
        text = PAGE.read_text()
        _, _, rest = text.partition("<!-- begin windows -->\n")
        rows = rest.partition("<!-- end windows -->")[0].splitlines()[2:]
        return [[cell.strip(" `") for cell in row.strip("|").split("|")] for row in rows]

    def minutes(self, text):
        number, unit = text.split()
        return int(number) * {"min": 1, "h": HOUR, "days": DAY}[unit]

    def pairs(self, rule):
        return [re.findall(r'ALARM\("(\w+)"\)', part) for part in rule.split(" OR ")]

    def test_the_page_the_workbook_and_the_template_agree(self):
        alarms = self.alarms({}).alarms
        checked = set()
        for level, budget in BUDGETS.items():
            pairs = {kind: self.pairs(alarms[f"{level}{kind}"]["AlarmRule"]) for kind in ("BurnAlarm", "DriftAlarm")}
            for alarm, long, short, rate, spent, sends, late in self.rows():
                pair = pairs[alarm.removeprefix("…")].pop(0)
                rate, share = float(rate), float({"Sending": sends, "Push": late}[level].removesuffix(" %"))
                self.assertAlmostEqual(share, rate * budget)
                # The part of the budget that the long window spends at this rate.
                self.assertAlmostEqual(float(spent.removesuffix(" %")), 100 * rate * self.minutes(long) / (30 * DAY))
                for window, minutes in zip(pair, (self.minutes(long), self.minutes(short)), strict=True):
                    one = alarms[window]
                    periods = {int(metric["MetricStat"]["Period"]) for metric in one["Metrics"] if "MetricStat" in metric}
                    self.assertEqual(periods, {60 * minutes}, window)
                    self.assertEqual((one["Threshold"], one["EvaluationPeriods"]), (share, 1), window)
                    checked.add(window)
                self.assertEqual(self.minutes(long), 12 * self.minutes(short))
            self.assertEqual(pairs, {"BurnAlarm": [], "DriftAlarm": []})
        self.assertEqual(checked, {name for name, one in alarms.items() if not one.get("AlarmActions")})

    def test_windows_fit_into_what_cloudwatch_evaluates(self):
        """Periods of less than an hour may cover one day, others seven days ("PutMetricAlarm", the parameter Period)."""
        for name, alarm in self.alarms({}).alarms.items():
            stats = [one["MetricStat"] for one in alarm.get("Metrics", []) if "MetricStat" in one]
            for period in {int(one["Period"]) for one in stats} | ({int(alarm["Period"])} if "Period" in alarm else set()):
                longest = 86_400 if period < 3_600 else 604_800
                self.assertLessEqual(period * alarm["EvaluationPeriods"], longest, name)


class Sending(Case):
    def test_calm_raises_no_alarm(self):
        alarms = self.sends(80 * HOUR, lambda minute: 0)
        for minute in range(0, 80 * HOUR, 37):
            self.assertEqual(alarms.ringing(minute), set())

    def test_an_outage_pages_at_once_and_ends_with_it(self):
        start, end = 7 * HOUR, 8 * HOUR
        alarms = self.sends(12 * HOUR, lambda minute: 10 if start <= minute < end else 0)
        began = self.first(alarms, "SendingBurnAlarm", range(start, end))
        self.assertIsNotNone(began)
        self.assertLessEqual(began - start, 5)
        self.assertIn("SendingBurnAlarm", alarms.ringing(end))
        self.assertNotIn("SendingBurnAlarm", alarms.ringing(end + 31))

    def test_errors_and_refused_invocations_are_failures(self):
        for name in ("Errors", "Throttles"):
            minutes = [[0]] * 6 * HOUR + [[1]] * 60
            alarms = self.alarms({ACCEPTED: [[10]] * 7 * HOUR, ("AWS/Lambda", name, FUNCTION): minutes})
            self.assertIn("SendingBurnAlarm", alarms.ringing(7 * HOUR), name)

    def test_a_slow_burn_pages_by_the_slow_pair(self):
        # 0.8 % of sends fail.
        start = 6 * HOUR
        alarms = self.sends(14 * HOUR, lambda minute: int(minute >= start), each=125)
        self.assertIsNone(self.first(alarms, "SendingBurnAlarm", range(0, start + HOUR)))
        began = self.first(alarms, "SendingBurnAlarm", range(start + HOUR, start + 6 * HOUR + 1))
        self.assertIsNotNone(began)
        self.assertFalse(alarms.rings("SendingFast1Hour", began))

    def test_a_drift_is_a_ticket_and_no_page(self):
        # 0.2 % of sends fail.
        alarms = self.sends(80 * HOUR, lambda minute: int(minute % 50 == 0))
        self.assertEqual(alarms.ringing(79 * HOUR), {"SendingDriftAlarm"})
        self.assertIsNone(self.first(alarms, "SendingBurnAlarm", range(0, 80 * HOUR, 7)))

    def test_half_a_minute_of_failures_is_no_alarm(self):
        alarms = self.sends(80 * HOUR, lambda minute: 5 if minute == 75 * HOUR else 0)
        for minute in range(75 * HOUR, 80 * HOUR):
            self.assertEqual(alarms.ringing(minute), set())

    def test_a_few_failures_with_little_traffic_are_no_alarm(self):
        few = [60 * HOUR + 30 * index for index in range(4)]
        series = {
            ACCEPTED: [[1] if minute % 30 == 0 and minute not in few else [] for minute in range(80 * HOUR)],
            failed(self.template): [[int(minute in few)] if minute % 30 == 0 else [] for minute in range(80 * HOUR)],
        }
        alarms = self.alarms(series)
        for minute in range(60 * HOUR, 80 * HOUR, 5):
            self.assertEqual(alarms.ringing(minute), set())


class Push(Case):
    def test_late_pushes_page(self):
        start = 6 * HOUR
        alarms = self.pushes(8 * HOUR, lambda minute: 40 if minute >= start else 0)
        began = self.first(alarms, "PushBurnAlarm", range(start, 8 * HOUR))
        self.assertLessEqual(began - start, 15)

    def test_an_eighth_of_late_pushes_pages_by_the_slow_pair(self):
        start = 6 * HOUR
        alarms = self.pushes(14 * HOUR, lambda minute: 5 if minute >= start else 0)
        began = self.first(alarms, "PushBurnAlarm", range(start, start + 6 * HOUR))
        self.assertGreater(began - start, HOUR)
        self.assertFalse(alarms.rings("PushFast1Hour", began))

    def test_pushes_within_the_target_raise_no_alarm(self):
        alarms = self.pushes(80 * HOUR, lambda minute: int(minute % 5 == 0))
        for minute in range(0, 80 * HOUR, 37):
            self.assertEqual(alarms.ringing(minute), set())


class Math(unittest.TestCase):
    def test_a_missing_value_and_a_division_by_zero_have_no_value(self):
        names = {"a": 1, "b": None, "c": 0}.get
        for expression, value in (
            ("a + b", None), ("a / c", None), ("FILL(b, 0) + a", 1), ("IF(c > 0, a / c, 7)", 7), ("IF(b > 0, 1, 2)", None),
            ("SUM([a, b, c])", 1), ("100 * a / (a + FILL(b, 3))", 25),
        ):
            self.assertEqual(compute(expression, names), value, expression)

    def test_unknown_syntax_is_refused(self):
        for expression in ("a ** 2", "RATE(a)", "-a"):
            with self.assertRaises((ValueError, KeyError)):
                compute(expression, {"a": 1}.get)

    def test_statistics(self):
        series = Series([[1, 2], [], [3, 4]])
        statistics = {"Sum": 10, "SampleCount": 4, "Maximum": 4, "PR(:2)": 50, "p99": 4}
        for name, value in statistics.items():
            self.assertEqual(series.statistic(name, -5, 9), value, name)
            self.assertIsNone(series.statistic(name, 1, 2), name)


if __name__ == "__main__":
    unittest.main()
