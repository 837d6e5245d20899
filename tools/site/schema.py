"""JSON Schemas of the contracts as tables."""

import json
import re

from markdown import cell, code, slug, table

REFERENCE = re.compile(r"^(?P<document>\./openapi\.yaml)?#/components/schemas/(?P<name>\w+)$")
# Keywords of limits, in the words of the pages.
LIMITS = {
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minimum": "at least {}",
    "maximum": "at most {}",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "maxProperties": "at most {} fields",
    "pattern": "pattern `{}`",
    "default": "default `{}`",
}


def name(schema):
    """Returns the name of a referenced schema, or None."""
    found = REFERENCE.match(schema.get("$ref", "")) if isinstance(schema, dict) else None
    return found["name"] if found else None


class Schemas:
    """The schemas of one document.

    `page` is the link to the page with their tables. `others` are the schemas of the REST API, to which the socket's
    document refers, and `others_page` is their page.
    """

    def __init__(self, schemas, page, others=None, others_page=None):
        self.schemas, self.page, self.others, self.others_page = schemas, page, others or {}, others_page

    def link(self, schema, page=None):
        """Returns a link to a referenced schema. `page` replaces the page of the document's own schemas."""
        found = REFERENCE.match(schema["$ref"])
        at = self.others_page if found["document"] else self.page if page is None else page
        return f"[{found['name']}]({at}#{slug(found['name'])})"

    def target(self, schema):
        """Returns the schema that another one refers to, or the schema itself."""
        named = name(schema)
        return self.schemas.get(named) or self.others.get(named) or schema

    def type(self, schema, page=None):
        """Returns the type of a schema in words."""
        if not isinstance(schema, dict):
            return "any value" if schema else "none"
        if name(schema):
            return self.link(schema, page)
        for keyword in ("oneOf", "anyOf"):
            if keyword in schema:
                return " or ".join(dict.fromkeys(self.type(one, page) for one in schema[keyword]))
        if "allOf" in schema:
            return " and ".join(dict.fromkeys(self.type(one, page) for one in schema["allOf"] if "$ref" in one or "type" in one)) or "object"
        if "const" in schema:
            return code(schema["const"])
        if "enum" in schema:
            return ", ".join(code(value) for value in schema["enum"])
        kind = schema.get("type", "any value")
        if isinstance(kind, list):
            return " or ".join(kind)
        if kind == "array":
            return f"array of {self.type(schema.get('items', True), page)}"
        return f"{kind} ({schema['format']})" if "format" in schema else kind

    def limits(self, schema):
        """Returns the limits that a schema has itself."""
        if not isinstance(schema, dict):
            return ""
        found = [text.format(json.dumps(value) if isinstance(value := schema[keyword], bool) else value) for keyword, text in LIMITS.items() if keyword in schema]
        text = ", ".join(found)
        return text[:1].upper() + text[1:]

    def description(self, schema):
        """Returns the description of a schema; of a referenced one, its first sentence."""
        if not isinstance(schema, dict):
            return ""
        if text := schema.get("description"):
            return cell(text)
        return cell(self.target(schema).get("description", "")).split(". ")[0]

    def fields(self, schema, page=None):
        """Returns the fields of an object, and of the parts of an `allOf`."""
        required, properties = set(schema.get("required", [])), dict(schema.get("properties", {}))
        for part in schema.get("allOf", []):
            whole = self.target(part)
            required |= set(whole.get("required", []))
            properties |= whole.get("properties", {})
        rows = []
        for field, value in properties.items():
            words = [self.description(value), self.limits(value)]
            rows.append([f"`{field}`", self.type(value, page), "" if field in required else "optional", ". ".join(word.rstrip(".") for word in words if word)])
        return table(["field", "type", "", "meaning"], rows) if rows else ""

    def section(self, schema_name, level=2):
        """Returns the heading and the content of a schema."""
        schema = self.schemas[schema_name]
        parts = [f"{'#' * level} {schema_name}"]
        if schema.get("description"):
            parts.append(schema["description"].strip())
        if fields := self.fields(schema, ""):
            parts.append(fields)
        else:
            limits = self.limits(schema)
            extensible = " Further values may come." if schema.get("x-extensible") else ""
            parts.append(f"Type: {self.type(schema, '')}{f'. {limits}' if limits else ''}.{extensible}")
        return "\n\n".join(parts)
