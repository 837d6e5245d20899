"""Tests the twins of the rehearsal: they differ from the templates where they say it, and nowhere else."""

import pathlib
import socket
import threading
import unittest

import yaml

from rehearsal import twin
from rehearsal.door import Door
from template import Loader

FOLDER = pathlib.Path(__file__).parent
VALUES = {"architecture": "x86_64", "door": "127.0.0.1:2", "host": "127.0.0.1:1"}


class Twins(unittest.TestCase):
    def both(self, name):
        path = FOLDER / name
        return (yaml.load(text, Loader) for text in (path.read_text(), twin.make(path, **VALUES)))

    def test_parameters_and_conditions_are_the_same(self):
        for name in ("backend.yaml", "bootstrap.yaml", "environment.yaml"):
            template, copy = self.both(name)
            for part in ("Parameters", "Conditions"):
                self.assertEqual(template.get(part), copy.get(part), name)

    def test_only_the_named_resources_differ(self):
        template, copy = self.both("backend.yaml")
        kinds = {name: one["Type"].removeprefix("AWS::") for name, one in template["Resources"].items()}
        differing = {kinds[name] for name, one in template["Resources"].items() if copy["Resources"].get(name) != one}
        self.assertEqual(
            differing,
            {
                "ApiGatewayV2::RouteResponse",
                "ApiGatewayV2::Stage",
                "CloudWatch::Alarm",
                "CloudWatch::CompositeAlarm",
                "Lambda::EventSourceMapping",
                "Lambda::Function",
            },
        )
        left_out = set(template["Resources"]) - set(copy["Resources"])
        self.assertEqual({kinds[name] for name in left_out}, {"ApiGatewayV2::RouteResponse", "CloudWatch::CompositeAlarm"})
        self.assertLessEqual(set(copy["Resources"]), set(template["Resources"]))

    def test_functions_differ_in_their_code_and_addresses_only(self):
        template, copy = self.both("backend.yaml")
        functions = [name for name, one in template["Resources"].items() if one["Type"] == "AWS::Lambda::Function"]
        for name in functions:
            one, other = (body["Resources"][name]["Properties"] for body in (template, copy))
            differing = {key for key in {*one, *other} if one.get(key) != other.get(key)} - {"Environment"}
            self.assertEqual(differing, {"Architectures", "Code", "Handler", "PackageType", "Runtime"}, name)
            variables, others = (properties["Environment"]["Variables"] for properties in (one, other))
            differing = {key for key in {*variables, *others} if variables.get(key) != others.get(key)}
            self.assertLessEqual(differing, {"MANAGEMENT_URL"}, name)

    def test_a_template_without_a_replaced_line_is_refused(self):
        changed = [one._replace(pattern="no such line") for one in twin.REPLACED]
        twin.REPLACED, before = changed, twin.REPLACED
        self.addCleanup(setattr, twin, "REPLACED", before)
        with self.assertRaises(ValueError):
            twin.make(FOLDER / "environment.yaml", **VALUES)


class Doors(unittest.TestCase):
    def handshake(self, offered, answer):
        """Returns what a client receives for a handshake that the gateway answers, and one more byte."""
        with socket.create_server(("127.0.0.1", 0)) as gateway:

            def serve():
                with gateway.accept()[0] as one:
                    one.recv(4096)
                    one.sendall(answer + b"!")

            threading.Thread(target=serve, daemon=True).start()
            host, port = Door(gateway.getsockname()[1]).host.split(":")
            with socket.create_connection((host, int(port)), timeout=10) as client:
                client.sendall(b"GET / HTTP/1.1\r\n" + offered + b"\r\n")
                received = b""
                while part := client.recv(4096):
                    received += part
                return received

    def test_the_first_offered_subprotocol_is_added(self):
        answer = b"HTTP/1.1 101 \r\nUpgrade: websocket\r\n\r\n"
        added = b"HTTP/1.1 101 \r\nUpgrade: websocket\r\nSec-WebSocket-Protocol: bearer\r\n\r\n!"
        self.assertEqual(self.handshake(b"Sec-WebSocket-Protocol: bearer, token\r\n", answer), added)

    def test_other_answers_stay_as_they_are(self):
        for offered, answer in (
            (b"", b"HTTP/1.1 101 \r\n\r\n"),
            (b"Sec-WebSocket-Protocol: bearer, token\r\n", b"HTTP/1.1 403 \r\n\r\n"),
            (b"Sec-WebSocket-Protocol: a, b\r\n", b"HTTP/1.1 101 \r\nSec-WebSocket-Protocol: b\r\n\r\n"),
        ):
            self.assertEqual(self.handshake(offered, answer), answer + b"!")


if __name__ == "__main__":
    unittest.main()
