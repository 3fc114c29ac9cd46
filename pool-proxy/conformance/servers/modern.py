"""A stdio MCP server of revision 2026-07-28, with all that the conformance suite asks for."""

import base64
import hashlib
import hmac
import json
import threading

import tables
from wire import RpcError, Wire

VERSION = "2026-07-28"
META = "io.modelcontextprotocol/"
# A client may bring a request's state to any process of this server, so all have one key.
STATE_KEY = b"a key that only signs the states of tests"
# How long a client may keep a list or a resource.
TTL_MS = 60_000

LIST_CHANGES = {
    "toolsListChanged": "notifications/tools/list_changed",
    "promptsListChanged": "notifications/prompts/list_changed",
    "resourcesListChanged": "notifications/resources/list_changed",
}


def seal(state):
    body = base64.urlsafe_b64encode(json.dumps(state).encode()).decode()
    return body + "." + hmac.new(STATE_KEY, body.encode(), hashlib.sha256).hexdigest()


def unseal(sealed):
    body, _, seal_of_body = str(sealed).partition(".")
    expected = hmac.new(STATE_KEY, body.encode(), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(seal_of_body, expected):
        raise RpcError(-32602, "requestState was changed")
    return json.loads(base64.urlsafe_b64decode(body))


def form(message, field, kind):
    """A question to the user with one field."""
    schema = {"type": "object", "properties": {field: {"type": kind}}, "required": [field]}
    return {"method": "elicitation/create", "params": {"mode": "form", "message": message, "requestedSchema": schema}}


def sampling(words, tokens):
    messages = [{"role": "user", "content": tables.text(words)}]
    return {"method": "sampling/createMessage", "params": {"messages": messages, "maxTokens": tokens}}


ROOTS = {"method": "roots/list", "params": {}}
# Which capability of the client each kind of question needs.
CAPABILITY = {"elicitation/create": "elicitation", "sampling/createMessage": "sampling", "roots/list": "roots"}

# What each asking tool asks at once. `stateful` ones also hand out a state and want it back.
ASKING_TOOLS = {
    "test_elicitation": {"questions": {"answer": form("Please answer.", "username", "string")}},
    "test_input_required_result_elicitation": {
        "questions": {"user_name": form("What is your name?", "name", "string")}
    },
    "test_input_required_result_sampling": {
        "questions": {"capital_question": sampling("What is the capital of France?", 100)}
    },
    "test_input_required_result_list_roots": {"questions": {"client_roots": ROOTS}},
    "test_input_required_result_request_state": {
        "questions": {"confirm": form("Please confirm", "ok", "boolean")},
        "stateful": True,
    },
    "test_input_required_result_tampered_state": {
        "questions": {"confirm": form("Please confirm", "ok", "boolean")},
        "stateful": True,
    },
    "test_input_required_result_multiple_inputs": {
        "questions": {
            "user_name": form("What is your name?", "name", "string"),
            "greeting": sampling("Generate a greeting", 50),
            "client_roots": ROOTS,
        },
        "stateful": True,
    },
}

# The rounds of the tool that asks twice.
ROUNDS = [
    {"step1": form("Step 1: What is your name?", "name", "string")},
    {"step2": form("Step 2: What is your favorite color?", "color", "string")},
]

# Questions of which the client gets those that it can answer.
CHOOSY = {"question": form("What is your name?", "name", "string"), "greeting": sampling("Generate a greeting", 50)}

EXTRA_TOOLS = [
    {"name": name, "description": "Needs input from the client.", "inputSchema": {"type": "object", "properties": {}}}
    for name in [
        *(name for name in ASKING_TOOLS if name.startswith("test_input")),
        "test_input_required_result_multi_round",
        "test_input_required_result_capabilities",
    ]
]
# Tools that exist to ask over an open stream, as only older revisions allow.
LEGACY_TOOLS = {"test_sampling", "test_elicitation_sep1034_defaults", "test_elicitation_sep1330_enums"}
ASKING_PROMPT = {"name": "test_input_required_result_prompt", "description": "Needs input from the client."}


class ModernServer:
    """Knows nothing of its clients between two requests, but for their open subscriptions."""

    def __init__(self):
        self.wire = Wire()
        self.lock = threading.Lock()
        self.subscriptions = []

    def run(self):
        self.wire.serve(self.on_request, lambda notification: None)

    def on_request(self, call):
        methods = {
            "server/discover": self.discover,
            "tools/list": lambda call: cacheable({"tools": TOOLS}),
            "tools/call": self.call_tool,
            "prompts/list": lambda call: cacheable({"prompts": [*tables.PROMPTS, ASKING_PROMPT]}),
            "prompts/get": self.get_prompt,
            "resources/list": self.list_resources,
            "resources/templates/list": lambda call: cacheable({"resourceTemplates": tables.TEMPLATES}),
            "resources/read": self.read_resource,
            "completion/complete": lambda call: tables.completion(call.params),
            "subscriptions/listen": self.listen,
        }
        method = methods.get(call.method)
        if method is None:
            raise RpcError(-32601, f"no such method: {call.method}")
        check_meta(call)
        result = method(call)
        if result is None:
            return None
        meta = {META + "serverInfo": {"name": "modern-test-server", "version": "1.0.0"}}
        return {"resultType": "complete", **result, "_meta": meta}

    def discover(self, call):
        capabilities = {
            "tools": {"listChanged": True},
            "prompts": {"listChanged": True},
            "resources": {"subscribe": True, "listChanged": True},
            "completions": {},
        }
        return cacheable({"supportedVersions": [VERSION], "capabilities": capabilities})

    def list_resources(self, call):
        page = tables.resources_page(call.params.get("cursor"))
        if page is None:
            raise RpcError(-32602, "no such cursor")
        return cacheable(page)

    def read_resource(self, call):
        uri = call.params.get("uri")
        contents = tables.read(uri)
        if contents is None:
            raise RpcError(-32602, "Resource not found", {"uri": uri})
        return cacheable({"contents": [contents]})

    def get_prompt(self, call):
        name = call.params.get("name")
        if name == ASKING_PROMPT["name"]:
            questions = {"user_context": form("What context should the prompt use?", "context", "string")}
            asked = ask_for_missing(call, questions)
            if asked:
                return asked
            context = answers(call)["user_context"]["content"]["context"]
            return {"messages": [{"role": "user", "content": tables.text(f"With context: {context}")}]}
        messages = tables.prompt(name, call.params.get("arguments") or {})
        if messages is None:
            raise RpcError(-32602, f"no such prompt: {name}")
        return {"messages": messages}

    def call_tool(self, call):
        name = call.params.get("name")
        plain = tables.plain_tool(name)
        if plain is not None:
            return plain
        if name in ASKING_TOOLS:
            return asking_tool(call, **ASKING_TOOLS[name])
        if name == "test_input_required_result_multi_round":
            return asking_twice(call)
        if name == "test_input_required_result_capabilities":
            able = {key: question for key, question in CHOOSY.items() if can_answer(call, question)}
            return ask_for_missing(call, able) or {"content": [tables.text("All was answered.")]}
        if name == "test_tool_with_progress":
            return tables.tool_with_progress(call)
        if name == "test_tool_with_logging":
            return tables.tool_with_logging(call, lambda level, words: log(call, level, words))
        return self.call_diagnostic_tool(call, name, call.params.get("arguments") or {})

    def call_diagnostic_tool(self, call, name, arguments):
        if name == "test_logging_tool":
            log(call, "info", "a line")
            return {"content": [tables.text("A line was logged, if it was wanted.")]}
        if name == "test_missing_capability":
            require(call, "sampling")
            return {"content": [tables.text("The client can sample.")]}
        if name == "test_streaming_elicitation":
            call.progress(50, 100)
            return asking_tool(call, {"go_on": form("Go on?", "ok", "boolean")})
        if name == "test_trigger_tool_change":
            self.announce("toolsListChanged")
        elif name == "test_trigger_prompt_change":
            self.announce("promptsListChanged")
        elif name == "test_trigger_resource_update":
            self.announce_update(arguments["uri"])
        else:
            raise RpcError(-32602, f"no such tool: {name}")
        return {"content": [tables.text("Announced.")]}

    def listen(self, call):
        """Acknowledges and stays open: there is no result until the client cancels."""
        wanted = call.params.get("notifications") or {}
        agreed = {kind: True for kind in LIST_CHANGES if wanted.get(kind)}
        if wanted.get("resourceSubscriptions"):
            agreed["resourceSubscriptions"] = wanted["resourceSubscriptions"]
        with self.lock:
            self.tell(call, "notifications/subscriptions/acknowledged", {"notifications": agreed})
            self.subscriptions.append((call, agreed))
        return None

    def announce(self, kind):
        for call, agreed in self.open_subscriptions():
            if agreed.get(kind):
                self.tell(call, LIST_CHANGES[kind], {})

    def announce_update(self, uri):
        for call, agreed in self.open_subscriptions():
            if uri in agreed.get("resourceSubscriptions", []):
                self.tell(call, "notifications/resources/updated", {"uri": uri})

    def open_subscriptions(self):
        with self.lock:
            self.subscriptions = [entry for entry in self.subscriptions if not entry[0].cancelled.is_set()]
            return list(self.subscriptions)

    def tell(self, call, method, params):
        call.notify(method, {**params, "_meta": {META + "subscriptionId": call.id}})


def cacheable(result):
    return {**result, "ttlMs": TTL_MS, "cacheScope": "public"}


def check_meta(call):
    version = call.meta.get(META + "protocolVersion")
    if version is None:
        raise RpcError(-32602, f"_meta has no {META}protocolVersion")
    if not isinstance(call.meta.get(META + "clientCapabilities"), dict):
        raise RpcError(-32602, f"_meta has no {META}clientCapabilities")
    if version != VERSION:
        raise RpcError(-32022, "unsupported protocol version", {"supported": [VERSION], "requested": version})


def log(call, level, words):
    levels = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"]
    wanted = call.meta.get(META + "logLevel")
    if wanted in levels and levels.index(level) >= levels.index(wanted):
        call.notify("notifications/message", {"level": level, "logger": "test", "data": words})


def require(call, capability):
    if capability not in call.meta[META + "clientCapabilities"]:
        raise RpcError(-32021, f"the client needs {capability}", {"requiredCapabilities": {capability: {}}})


def can_answer(call, question):
    return CAPABILITY[question["method"]] in call.meta[META + "clientCapabilities"]


def answers(call):
    """The client's answers so far; those that are no objects count as malformed."""
    given = call.params.get("inputResponses", {})
    if not isinstance(given, dict) or any(not isinstance(answer, dict) for answer in given.values()):
        raise RpcError(-32602, "inputResponses is malformed")
    return given


def ask_for_missing(call, questions, state=None):
    """The result that asks for what is not answered yet, or `None`."""
    given = answers(call)
    missing = {key: question for key, question in questions.items() if key not in given}
    if not missing:
        return None
    for question in missing.values():
        require(call, CAPABILITY[question["method"]])
    asked = {"resultType": "input_required", "inputRequests": missing}
    if state is not None:
        asked["requestState"] = seal(state)
    return asked


def asking_tool(call, questions, stateful=False):
    state = {"tool": call.params["name"]} if stateful else None
    returned = call.params.get("requestState")
    if returned is not None and unseal(returned) != state:
        raise RpcError(-32602, "requestState is not of this tool")
    asked = ask_for_missing(call, questions, state)
    if asked:
        return asked
    if stateful and returned is None:
        raise RpcError(-32602, "requestState is missing")
    words = "state-ok " if stateful else ""
    return {"content": [tables.text(words + json.dumps(answers(call)))]}


def asking_twice(call):
    returned = call.params.get("requestState")
    done = unseal(returned)["done"] if returned is not None else 0
    if done > 0 and not ask_for_missing(call, ROUNDS[done - 1]):
        if done == len(ROUNDS):
            return {"content": [tables.text("Both rounds are done.")]}
        call.params["inputResponses"] = {}
        return ask_for_missing(call, ROUNDS[done], {"done": done + 1})
    round_now = max(done, 1)
    return ask_for_missing(call, ROUNDS[round_now - 1], {"done": round_now})


TOOLS = [tool for tool in tables.TOOLS if tool["name"] not in LEGACY_TOOLS] + EXTRA_TOOLS


if __name__ == "__main__":
    ModernServer().run()
