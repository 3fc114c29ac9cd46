"""What both test servers offer: the tools, prompts and resources that the conformance suite asks for by name."""

import base64
import re
import struct
import zlib


def _png():
    """A red pixel."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0\xff\0\0")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def _wav():
    """Eight samples of silence: 8 kHz, one channel, eight bits."""
    samples = b"\x80" * 8
    form = struct.pack("<HHIIHH", 1, 1, 8000, 8000, 1, 8)
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(samples)) + samples
    return b"RIFF" + struct.pack("<I", len(body)) + body


PNG = base64.b64encode(_png()).decode()
WAV = base64.b64encode(_wav()).decode()


def text(words):
    return {"type": "text", "text": words}


def image():
    return {"type": "image", "data": PNG, "mimeType": "image/png"}


def embedded(uri, mime, words):
    return {"type": "resource", "resource": {"uri": uri, "mimeType": mime, "text": words}}


def _schema(required=(), **properties):
    schema = {"type": "object", "properties": properties}
    if required:
        schema["required"] = list(required)
    return schema


def _tool(name, description, schema=None):
    return {"name": name, "description": description, "inputSchema": schema or _schema()}


_STRING = {"type": "string"}

_JSON_SCHEMA_2020_12 = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": _STRING, "city": _STRING},
        }
    },
    "properties": {
        "name": _STRING,
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": _STRING,
        "email": _STRING,
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}

TOOLS = [
    _tool("test_simple_text", "Replies with a line of text."),
    _tool("test_image_content", "Replies with an image."),
    _tool("test_audio_content", "Replies with a sound."),
    _tool("test_embedded_resource", "Replies with an embedded resource."),
    _tool("test_multiple_content_types", "Replies with text, an image and a resource."),
    _tool("test_tool_with_logging", "Logs three lines while it works."),
    _tool("test_error_handling", "Always fails."),
    _tool("test_tool_with_progress", "Reports its progress three times."),
    _tool("test_sampling", "Has the client's model answer a prompt.", _schema(["prompt"], prompt=_STRING)),
    _tool("test_elicitation", "Asks the user for a name and an address.", _schema(["message"], message=_STRING)),
    _tool("test_elicitation_sep1034_defaults", "Asks the user with a default for each field."),
    _tool("test_elicitation_sep1330_enums", "Asks the user to choose, in all kinds of choices."),
    _tool("test_missing_capability", "Needs a client that can sample."),
    _tool("test_streaming_elicitation", "Would ask the user, if the user can be asked."),
    _tool("test_logging_tool", "Logs a line, if the client wants log lines."),
    _tool("test_trigger_tool_change", "Says that the list of tools has changed."),
    _tool("test_trigger_prompt_change", "Says that the list of prompts has changed."),
    _tool("test_trigger_resource_update", "Says that a resource was updated.", _schema(["uri"], uri=_STRING)),
    _tool(
        "test_header_parameters",
        "Has parameters that an HTTP client repeats in headers.",
        _schema(["region"], region={"type": "string", "x-mcp-header": "Region"}, query=_STRING),
    ),
    _tool("json_schema_2020_12_tool", "Has an input schema with many keywords.", _JSON_SCHEMA_2020_12),
]

PROMPTS = [
    {"name": "test_simple_prompt", "description": "A prompt without arguments."},
    {
        "name": "test_prompt_with_arguments",
        "description": "A prompt with two arguments.",
        "arguments": [
            {"name": "arg1", "description": "The first argument.", "required": True},
            {"name": "arg2", "description": "The second argument.", "required": True},
        ],
    },
    {
        "name": "test_prompt_with_embedded_resource",
        "description": "A prompt with an embedded resource.",
        "arguments": [{"name": "resourceUri", "description": "The resource to embed.", "required": True}],
    },
    {"name": "test_prompt_with_image", "description": "A prompt with an image."},
]

RESOURCES = [
    {
        "uri": "test://static-text",
        "name": "static-text",
        "description": "A text that never changes.",
        "mimeType": "text/plain",
    },
    {
        "uri": "test://static-binary",
        "name": "static-binary",
        "description": "An image that never changes.",
        "mimeType": "image/png",
    },
    {
        "uri": "test://watched-resource",
        "name": "watched-resource",
        "description": "A text to subscribe to.",
        "mimeType": "text/plain",
    },
]

# The first page of `resources/list` has so many entries, so that clients meet a cursor.
RESOURCES_PER_PAGE = 2

TEMPLATES = [
    {
        "uriTemplate": "test://template/{id}/data",
        "name": "template",
        "description": "Data of an id.",
        "mimeType": "application/json",
    }
]

_COMPLETIONS = {
    ("ref/prompt", "arg1"): ["test-first", "test-second", "other"],
    ("ref/prompt", "arg2"): ["later"],
    ("ref/resource", "id"): ["1", "12", "123"],
}


def resources_page(cursor):
    """One page of the resources and the cursor of the next; `None` for a cursor that is not ours."""
    if cursor is None:
        start = 0
    elif isinstance(cursor, str) and cursor.isdigit():
        start = int(cursor)
    else:
        return None
    end = start + RESOURCES_PER_PAGE
    page = {"resources": RESOURCES[start:end]}
    if end < len(RESOURCES):
        page["nextCursor"] = str(end)
    return page


def read(uri):
    """The contents of a resource, or `None`."""
    if uri == "test://static-text":
        return {"uri": uri, "mimeType": "text/plain", "text": "This is the content of the static text resource."}
    if uri == "test://static-binary":
        return {"uri": uri, "mimeType": "image/png", "blob": PNG}
    if uri == "test://watched-resource":
        return {"uri": uri, "mimeType": "text/plain", "text": "Watched."}
    template = re.fullmatch(r"test://template/([^/]+)/data", uri or "")
    if template:
        data = '{"id":"%s","templateTest":true,"data":"Data for ID: %s"}' % (template[1], template[1])
        return {"uri": uri, "mimeType": "application/json", "text": data}
    return None


def prompt(name, arguments):
    """The messages of a prompt, or `None`."""

    def said(*contents):
        return [{"role": "user", "content": content} for content in contents]

    if name == "test_simple_prompt":
        return said(text("This is a simple prompt for testing."))
    if name == "test_prompt_with_arguments":
        return said(text("Prompt with arguments: arg1='{arg1}', arg2='{arg2}'".format(**arguments)))
    if name == "test_prompt_with_embedded_resource":
        resource = embedded(arguments["resourceUri"], "text/plain", "Embedded resource content for testing.")
        return said(resource, text("Please process the embedded resource above."))
    if name == "test_prompt_with_image":
        return said(image(), text("Please analyze the image above."))
    return None


def completion(params):
    known = _COMPLETIONS.get((params["ref"]["type"], params["argument"]["name"]), [])
    values = [value for value in known if value.startswith(params["argument"]["value"])]
    return {"completion": {"values": values, "total": len(values), "hasMore": False}}


def plain_tool(name):
    """The result of a tool that only replies, or `None`."""
    if name == "test_simple_text":
        return {"content": [text("This is a simple text response for testing.")]}
    if name == "test_image_content":
        return {"content": [image()]}
    if name == "test_audio_content":
        return {"content": [{"type": "audio", "data": WAV, "mimeType": "audio/wav"}]}
    if name == "test_embedded_resource":
        resource = embedded("test://embedded-resource", "text/plain", "This is an embedded resource content.")
        return {"content": [resource]}
    if name == "test_multiple_content_types":
        resource = embedded("test://mixed-content-resource", "application/json", '{"test":"data","value":123}')
        return {"content": [text("Multiple content types test:"), image(), resource]}
    if name == "test_error_handling":
        return {"isError": True, "content": [text("This tool intentionally returns an error for testing")]}
    if name in ("test_header_parameters", "json_schema_2020_12_tool"):
        return {"content": [text(f"{name} was called.")]}
    return None


def tool_with_progress(call):
    for done in (0, 50, 100):
        call.progress(done, 100)
        call.pause(0.05)
    return {"content": [text("Progress was reported.")]}


def tool_with_logging(call, log):
    for words in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        log("info", words)
        call.pause(0.05)
    return {"content": [text("Lines were logged.")]}


DEFAULTS_SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "description": "Name", "default": "John Doe"},
        "age": {"type": "integer", "description": "Age", "default": 30},
        "score": {"type": "number", "description": "Score", "default": 95.5},
        "status": {
            "type": "string",
            "description": "Status",
            "enum": ["active", "inactive", "pending"],
            "default": "active",
        },
        "verified": {"type": "boolean", "description": "Verified", "default": True},
    },
}


def _titled(*pairs):
    return [{"const": value, "title": title} for value, title in pairs]


ENUMS_SCHEMA = {
    "type": "object",
    "properties": {
        "untitledSingle": {"type": "string", "enum": ["option1", "option2", "option3"]},
        "titledSingle": {
            "type": "string",
            "oneOf": _titled(("value1", "First Option"), ("value2", "Second Option"), ("value3", "Third Option")),
        },
        "legacyEnum": {
            "type": "string",
            "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"],
        },
        "untitledMulti": {
            "type": "array",
            "items": {"type": "string", "enum": ["option1", "option2", "option3"]},
        },
        "titledMulti": {
            "type": "array",
            "items": {"anyOf": _titled(("value1", "First Choice"), ("value2", "Second Choice"))},
        },
    },
}
