"""Pages of the REST API from contracts/openapi.yaml, of the socket from contracts/asyncapi.yaml, and of the problems."""

import http
import re

import yaml
from markdown import cell, example, slug, table
from pages import ROOT, Page
from schema import Schemas

METHODS = ("get", "post", "put", "patch", "delete")
CONTRACTS = ROOT / "contracts"


def read(name):
    return yaml.safe_load((CONTRACTS / name).read_text(encoding="utf-8"))


class Rest:
    """The pages of the REST API: one for all rules, one for each tag, and one for the schemas."""

    def __init__(self):
        self.document = read("openapi.yaml")
        self.schemas = Schemas(self.document["components"]["schemas"], "schemas.md")

    def resolve(self, value):
        """Returns the value of a reference."""
        while "$ref" in value:
            found = self.document
            for part in value["$ref"].removeprefix("#/").split("/"):
                found = found[part]
            value = found
        return value

    def operations(self):
        """Yields the path, the method, the operation and the parameters of its path."""
        for path, item in self.document["paths"].items():
            for method in METHODS:
                if method in item:
                    yield path, method.upper(), item[method], item.get("parameters", [])

    def pages(self):
        info = self.document["info"]
        operations = list(self.operations())
        rows = []
        for path, method, operation, _ in operations:
            page = f"{operation['tags'][0]}.md#{slug(operation['operationId'])}"
            rows.append([f"[{operation['operationId']}]({page})", f"`{method} {path}`", operation["summary"]])
        index = [
            "# REST API",
            f"{info['summary']} This page and the pages below it are generated from `contracts/openapi.yaml`, version {info['version']}.",
            "## Operations",
            table(["operation", "request", ""], rows),
            "## Rules",
            info["description"].replace("(asyncapi.yaml)", "(../socket.md)"),
        ]
        pages = [Page("reference/rest/index.md", "REST API", "\n\n".join(index))]
        for tag in self.document["tags"]:
            of_tag = [one for one in operations if one[2]["tags"][0] == tag["name"]]
            text = [f"# REST: {tag['name']}", tag["description"]] + [self.operation(*one) for one in of_tag]
            pages.append(Page(f"reference/rest/{tag['name']}.md", tag["name"].capitalize(), "\n\n".join(text), 1))
        schemas = ["# REST: schemas", "The bodies of requests and responses."]
        schemas += [self.schemas.section(name) for name in self.document["components"]["schemas"]]
        pages.append(Page("reference/rest/schemas.md", "Schemas", "\n\n".join(schemas), 1))
        for page in pages:
            page.text = page.text.replace("](../docs/", "](../../")
        return pages

    def operation(self, path, method, operation, shared):
        parts = [f"## {operation['operationId']}", f"{operation['summary']}.", f"```text\n{method} {path}\n```"]
        parts.append(operation.get("description", "").strip())
        rows = []
        for parameter in map(self.resolve, shared + operation.get("parameters", [])):
            schema = parameter.get("schema", {})
            words = [parameter.get("description", self.schemas.description(schema)), self.schemas.limits(schema)]
            rows.append([
                f"`{parameter['name']}`", parameter["in"], self.schemas.type(schema),
                "" if parameter.get("required") else "optional", ". ".join(cell(word).rstrip(".") for word in words if word),
            ])
        if rows:
            parts += ["**Parameters**", table(["parameter", "in", "type", "", "meaning"], rows)]
        if body := operation.get("requestBody"):
            parts += ["**Body**", *self.content(self.resolve(body)["content"])]
        parts += ["**Responses**", self.responses(operation)]
        for status, response in operation["responses"].items():
            response = self.resolve(response)
            if status.startswith("2") and response.get("content"):
                parts += [f"`{status}`:", *self.content(response["content"])]
        return "\n\n".join(part for part in parts if part)

    def content(self, content):
        """Returns the schema and the first example of a body."""
        media, value = next(iter(content.items()))
        examples = [one["value"] for one in value.get("examples", {}).values() if "value" in one]
        shown = examples[:1] or ([value["example"]] if "example" in value else [])
        others = [name for name in content if name != media]
        also = f"; also as {', '.join(f'`{name}`' for name in others)}" if others else ""
        return [f"{self.schemas.type(value['schema'])} as `{media}`{also}.", *map(example, shown)]

    def responses(self, operation):
        rows = []
        for status, response in operation["responses"].items():
            response = self.resolve(response)
            codes = ", ".join(f"[`{code}`](../problems/{code}.md)" for code in response.get("x-problem-codes", []))
            rows.append([f"`{status}`", response["description"], codes])
        return table(["status", "meaning", "problems"], rows)

    def by_problem(self):
        """Returns the operations of each code of a problem."""
        found = {}
        for _, _, operation, _ in self.operations():
            for response in map(self.resolve, operation["responses"].values()):
                for code in response.get("x-problem-codes", []):
                    found.setdefault(code, []).append((operation["operationId"], operation["tags"][0]))
        return found


def socket():
    """Returns the page of the socket."""
    document = read("asyncapi.yaml")
    components, info = document["components"], document["info"]
    schemas = Schemas(components["schemas"], "", read("openapi.yaml")["components"]["schemas"], "rest/schemas.md")
    text = [
        "# Socket",
        f"Generated from `contracts/asyncapi.yaml`, version {info['version']}.",
        info["description"].replace("(openapi.yaml)", "(rest/index.md)"),
        "## Close codes",
        table(["code", "meaning"], [[f"`{code}`", meaning] for code, meaning in document["x-close-codes"].items()]),
        "## Frames",
    ]
    for message in components["messages"].values():
        text += [f"### {message['title']}", message.get("summary", ""), f"Payload: {schemas.type(message['payload'])}."]
        for one in message.get("examples", [])[:1]:
            text.append(example(one["payload"]) if not isinstance(one["payload"], str) else f"```text\n{one['payload']}\n```")
    text.append("## Schemas")
    text += [schemas.section(name, 3) for name in components["schemas"]]
    whole = "\n\n".join(part for part in text if part).replace("](../docs/", "](../")
    return [Page("reference/socket.md", "Socket", whole)]


ROW = re.compile(r"^\| `(?P<code>[a-z_]+)` \| (?P<status>\d{3}) \| (?P<meaning>.+?) \| (?P<remedy>.+?) \|$", re.MULTILINE)


def problem_codes():
    """Returns the table of the codes, which `cargo test` compares with the code."""
    text = (ROOT / "docs/reference/problems.md").read_text(encoding="utf-8")
    return list(ROW.finditer(text.split("<!-- begin codes -->")[1].split("<!-- end codes -->")[0]))


def problems():
    """Returns a page for each code of a problem."""
    rest = Rest()
    operations = rest.by_problem()
    pages = []
    for row in problem_codes():
        code, status = row["code"], row["status"]
        named, phrase = operations.get(code, []), http.HTTPStatus(int(status)).phrase
        body = {"type": "about:blank", "title": phrase, "status": int(status), "code": code, "detail": "…", "instance": "6b2f6f4e-6c1c-4f37-9d55-1f8c3d9f3a10"}
        text = [
            f"# `{code}`",
            row["meaning"],
            table(["property", "value"], [["status", f"`{status}` {phrase}"], ["remedy", row["remedy"]]]),
            example(body),
            "`detail` has the reason in words, and `instance` the id of the request.",
        ]
        if named:
            links = [f"- [{name}](../rest/{tag}.md#{slug(name)})" for name, tag in dict.fromkeys(named)]
            text += ["## Operations", f"Responses of these operations with the status `{status}` may have the code:", "\n".join(links)]
        text.append("[All problems](../problems.md)")
        pages.append(Page(f"reference/problems/{code}.md", code, "\n\n".join(text), 1))
    return pages
