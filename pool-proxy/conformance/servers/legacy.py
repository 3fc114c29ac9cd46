"""A stdio MCP server of the revisions up to 2025-11-25, with all that the conformance suite asks for."""

import threading

import tables
from wire import RpcError, Wire

VERSIONS = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"]
LEVELS = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"]


class LegacyServer:
    """One process is one session: the client's capabilities, its log level, its subscriptions."""

    def __init__(self):
        self.wire = Wire()
        self.client_capabilities = None
        self.level = "debug"
        self.subscribed = set()
        self.lock = threading.Lock()

    def run(self):
        self.wire.serve(self.on_request, lambda notification: None)

    def on_request(self, call):
        if self.client_capabilities is None and call.method not in ("initialize", "ping"):
            raise RpcError(-32601, f"no such method before initialize: {call.method}")
        methods = {
            "initialize": self.initialize,
            "ping": lambda call: {},
            "logging/setLevel": self.set_level,
            "tools/list": lambda call: {"tools": tables.TOOLS},
            "tools/call": self.call_tool,
            "prompts/list": lambda call: {"prompts": tables.PROMPTS},
            "prompts/get": self.get_prompt,
            "resources/list": self.list_resources,
            "resources/templates/list": lambda call: {"resourceTemplates": tables.TEMPLATES},
            "resources/read": self.read_resource,
            "resources/subscribe": self.subscribe,
            "resources/unsubscribe": self.unsubscribe,
            "completion/complete": lambda call: tables.completion(call.params),
        }
        method = methods.get(call.method)
        if method is None:
            raise RpcError(-32601, f"no such method: {call.method}")
        return method(call)

    def initialize(self, call):
        self.client_capabilities = call.params.get("capabilities") or {}
        asked = call.params.get("protocolVersion")
        return {
            "protocolVersion": asked if asked in VERSIONS else VERSIONS[0],
            "capabilities": {
                "tools": {"listChanged": True},
                "prompts": {"listChanged": True},
                "resources": {"subscribe": True, "listChanged": True},
                "logging": {},
                "completions": {},
            },
            "serverInfo": {"name": "legacy-test-server", "version": "1.0.0"},
        }

    def set_level(self, call):
        level = call.params.get("level")
        if level not in LEVELS:
            raise RpcError(-32602, f"no such level: {level}")
        self.level = level
        return {}

    def get_prompt(self, call):
        messages = tables.prompt(call.params.get("name"), call.params.get("arguments") or {})
        if messages is None:
            raise RpcError(-32602, f"no such prompt: {call.params.get('name')}")
        return {"messages": messages}

    def list_resources(self, call):
        page = tables.resources_page(call.params.get("cursor"))
        if page is None:
            raise RpcError(-32602, "no such cursor")
        return page

    def read_resource(self, call):
        uri = call.params.get("uri")
        contents = tables.read(uri)
        if contents is None:
            raise RpcError(-32002, "Resource not found", {"uri": uri})
        return {"contents": [contents]}

    def subscribe(self, call):
        with self.lock:
            self.subscribed.add(call.params["uri"])
        return {}

    def unsubscribe(self, call):
        with self.lock:
            self.subscribed.discard(call.params["uri"])
        return {}

    def log(self, call, level, words):
        if LEVELS.index(level) >= LEVELS.index(self.level):
            call.notify("notifications/message", {"level": level, "logger": "test", "data": words})

    def call_tool(self, call):
        name = call.params.get("name")
        arguments = call.params.get("arguments") or {}
        plain = tables.plain_tool(name)
        if plain is not None:
            return plain
        if name == "test_tool_with_progress":
            return tables.tool_with_progress(call)
        if name == "test_tool_with_logging":
            return tables.tool_with_logging(call, lambda level, words: self.log(call, level, words))
        if name == "test_logging_tool":
            self.log(call, "info", "a line")
            return {"content": [tables.text("A line was logged.")]}
        if name in ("test_trigger_tool_change", "test_trigger_prompt_change", "test_trigger_resource_update"):
            return self.announce(name, arguments)
        return self.call_asking_tool(call, name, arguments)

    def announce(self, name, arguments):
        if name == "test_trigger_tool_change":
            self.wire.notify("notifications/tools/list_changed")
        elif name == "test_trigger_prompt_change":
            self.wire.notify("notifications/prompts/list_changed")
        else:
            with self.lock:
                watched = arguments["uri"] in self.subscribed
            if watched:
                self.wire.notify("notifications/resources/updated", {"uri": arguments["uri"]})
        return {"content": [tables.text("Announced.")]}

    def call_asking_tool(self, call, name, arguments):
        """Tools that ask the client something before they reply."""
        if name == "test_sampling":
            return self.sample(call, arguments["prompt"])
        if name == "test_missing_capability":
            # The code of the next revision: a server of this one has none for it.
            if "sampling" not in self.client_capabilities:
                raise RpcError(-32021, "the client cannot sample", {"requiredCapabilities": {"sampling": {}}})
            return self.sample(call, "Say something.")
        if name == "test_elicitation":
            fields = {
                "username": {"type": "string", "description": "User's response"},
                "email": {"type": "string", "description": "User's email address"},
            }
            schema = {"type": "object", "properties": fields, "required": ["username", "email"]}
            return self.elicit(call, arguments["message"], schema)
        if name == "test_elicitation_sep1034_defaults":
            return self.elicit(call, "Please check the values.", tables.DEFAULTS_SCHEMA)
        if name == "test_elicitation_sep1330_enums":
            return self.elicit(call, "Please choose.", tables.ENUMS_SCHEMA)
        if name == "test_streaming_elicitation":
            call.progress(50, 100)
            if "elicitation" not in self.client_capabilities:
                return {"content": [tables.text("There is no user to ask.")]}
            return self.elicit(call, "Go on?", {"type": "object", "properties": {"ok": {"type": "boolean"}}})
        raise RpcError(-32602, f"no such tool: {name}")

    def sample(self, call, words):
        if "sampling" not in self.client_capabilities:
            return {"isError": True, "content": [tables.text("The client cannot sample.")]}
        messages = [{"role": "user", "content": tables.text(words)}]
        reply = self.wire.ask(call, "sampling/createMessage", {"messages": messages, "maxTokens": 100})
        return {"content": [tables.text(f"LLM response: {reply['content'].get('text')}")]}

    def elicit(self, call, message, schema):
        if "elicitation" not in self.client_capabilities:
            return {"isError": True, "content": [tables.text("The client has no user to ask.")]}
        reply = self.wire.ask(call, "elicitation/create", {"message": message, "requestedSchema": schema})
        words = f"Elicitation completed: action={reply['action']}, content={reply.get('content')}"
        return {"content": [tables.text(words)]}


if __name__ == "__main__":
    LegacyServer().run()
