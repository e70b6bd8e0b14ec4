"""Coercions: the same fact comes as int, text, JSON in text, or under an alias, depending on the dialect."""

import math
import re
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation

import orjson

INT64_MAX = 2**63 - 1
COUNT_MAX = 10**11
MONEY_MAX = Decimal(10**6)
UNITS: Mapping[str, int] = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}

_TRUE = frozenset({"true", "yes", "1", "ok", "success"})
_FALSE = frozenset({"false", "no", "0", "error", "failure", "failed"})

_FINISH: Mapping[str, str] = {
    **dict.fromkeys(("stop", "end_turn", "stop_sequence", "completed", "complete", "pause_turn", "eos"), "stop"),
    **dict.fromkeys(("length", "max_tokens", "incomplete", "model_context_window_exceeded"), "length"),
    **dict.fromkeys(
        (
            "content_filter",
            "content_filtered",
            "safety",
            "refusal",
            "blocklist",
            "prohibited_content",
            "spii",
            "model_armor",
            "guardrail_intervened",
            "image_safety",
        ),
        "content_filter",
    ),
    **dict.fromkeys(("tool_calls", "tool_call", "tool_use", "function_call"), "tool_call"),
    **dict.fromkeys(
        ("error", "failed", "cancelled", "malformed_function_call", "recitation", "other", "language"), "error"
    ),
    "compaction": "compaction",
}
_NO_FINISH = frozenset({"", "finish_reason_unspecified", "in_progress", "queued", "none", "null"})

_PROVIDERS: Mapping[str, str] = {
    **dict.fromkeys(("anthropic", "anthropic.messages", "claude", "firstparty"), "anthropic"),
    **dict.fromkeys(("openai", "openai.chat", "openai.responses", "openai-chat", "openai-responses"), "openai"),
    **dict.fromkeys(
        ("google", "gemini", "google-gla", "google.generative-ai", "gcp.gen_ai", "gcp.gemini", "google_genai", "genai"),
        "gcp.gemini",
    ),
    **dict.fromkeys(
        ("google-vertex", "vertex_ai", "vertexai", "vertex", "google.vertex", "gcp.vertex_ai", "google_vertexai"),
        "gcp.vertex_ai",
    ),
    **dict.fromkeys(("bedrock", "amazon-bedrock", "aws_bedrock", "aws.bedrock", "bedrock_converse"), "aws.bedrock"),
    **dict.fromkeys(("azure", "az.ai.inference", "azure.ai.inference"), "azure.ai.inference"),
    **dict.fromkeys(("azure-openai", "azure_openai", "az.ai.openai", "azure.ai.openai", "foundry"), "azure.ai.openai"),
    **dict.fromkeys(("mistral", "mistralai", "mistral_ai"), "mistral_ai"),
    **dict.fromkeys(("xai", "x_ai", "grok"), "x_ai"),
    **dict.fromkeys(("moonshot", "moonshot_ai", "moonshotai"), "moonshot_ai"),
    **dict.fromkeys(("ibm", "watsonx", "ibm.watsonx.ai"), "ibm.watsonx.ai"),
    **{name: name for name in ("cohere", "deepseek", "groq", "perplexity", "openrouter", "ollama", "together")},
}
_FRAMEWORKS = frozenset(
    {
        "strands-agents",
        "microsoft.agent_framework",
        "langchain",
        "langgraph",
        "crewai",
        "autogen",
        "gcp.vertex.agent",
        "github",
        "litellm",
        "llama_index",
        "llamaindex",
        "smolagents",
        "gateway",
        "_other",
        "unknown",
    }
)
_MODEL_PROVIDERS = tuple(
    (re.compile(pattern), provider)
    for pattern, provider in (
        (r"^(?:[a-z]{2,}\.)?anthropic\.claude|^(?:us|eu|apac)\.", "aws.bedrock"),
        (r"^claude", "anthropic"),
        (r"^(?:gpt-|chatgpt-|o\d(?:-|$)|text-embedding-|codex-|davinci|ft:gpt)", "openai"),
        (r"^(?:models/)?gemini", "gcp.gemini"),
        (r"^(?:mistral|codestral|ministral|magistral)", "mistral_ai"),
        (r"^grok", "x_ai"),
        (r"^deepseek", "deepseek"),
        (r"^command", "cohere"),
    )
)


def parse_json(value: object) -> object:
    """`value` parsed when it is JSON text of an object, array or quoted string, else unchanged."""
    if isinstance(value, str) and value[:1] in ("{", "[", '"'):
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError:
            return value
    return value


MASK_CHARS_MAX = 14
_MASKS = frozenset({"__REDACTED__", "<REDACTED>", "[REDACTED]", "REDACTED", "<MASKED>", "[MASKED]"})


def is_mask(value: object) -> bool:
    """Whether the source put a placeholder where content was: that says nothing, and is equal for every record."""
    return isinstance(value, str) and len(value) <= MASK_CHARS_MAX and value.strip().strip('"').upper() in _MASKS


def to_int(value: object) -> int | None:
    """A whole number from int, integral float or numeric text, else NULL; booleans are not numbers."""
    if type(value) is int:
        return value if -INT64_MAX <= value <= INT64_MAX else None
    if isinstance(value, str):
        value = _whole(value)
        if type(value) is int:
            return to_int(value)
    if isinstance(value, float) and math.isfinite(value) and abs(value) < INT64_MAX:
        return round(value)
    return None


def _whole(text: str) -> int | float | None:
    """The number in a text; whole ones exactly, beyond the 53 bits of a float too."""
    digits = text.strip().removeprefix("-")
    return int(text) if digits.isdecimal() and len(digits) < 20 else to_float(text)


def to_count(value: object) -> int | None:
    """A number of tokens, bytes or attempts: like `to_int`; negative or beyond `COUNT_MAX` is unknown.

    The bound keeps sums over a session within 64 bits.
    """
    number = value if type(value) is int else to_int(value)
    return number if number is not None and 0 <= number <= COUNT_MAX else None


def to_duration_ns(value: object) -> int | None:
    """A whole number of nanoseconds; negative is unknown."""
    number = to_int(value)
    return number if number is not None and number >= 0 else None


def to_float(value: object) -> float | None:
    """A finite float, else NULL."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        try:
            value = float(value.strip())
        except ValueError:
            return None
    if isinstance(value, int | float):
        number = float(value)
        return number if math.isfinite(number) else None
    return None


def to_text(value: object) -> str | None:
    """Text as it is; numbers and booleans as JSON writes them; NULL for empty and for structures."""
    if isinstance(value, str):
        return value or None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    return None


def to_bool(value: object) -> bool | None:
    """A truth value from bool or its usual words, else NULL."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        word = value.strip().lower()
        return True if word in _TRUE else False if word in _FALSE else None
    return None


def to_money(value: object) -> Decimal | None:
    """US dollars with nine places, else NULL; what is negative or beyond `MONEY_MAX` is no price of a call."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        amount = Decimal(str(value)).quantize(Decimal("1e-9"))
    except InvalidOperation:
        return None
    return amount if amount.is_finite() and 0 <= amount < MONEY_MAX else None


def duration_ns(unit: str) -> Callable[[object], int | None]:
    """A coercion from `s`, `ms`, `us` or `ns` to whole nanoseconds."""
    scale = UNITS[unit]

    def convert(value: object) -> int | None:
        number = to_float(value)
        if number is None or number < 0 or number * scale >= INT64_MAX:
            return None
        return round(number * scale)

    return convert


def to_texts(value: object) -> list[str] | None:
    """A list of texts from an array, JSON array in text, comma-separated text or scalar."""
    value = parse_json(value)
    if isinstance(value, list):
        texts = [text for item in value if (text := to_text(item)) is not None]
    elif isinstance(value, str):
        texts = [part.strip() for part in value.split(",") if part.strip()]
    else:
        return None
    return texts or None


def finish_reasons(value: object) -> list[str] | None:
    """Finish reasons in the convention's words; what no table knows stays as it came."""
    texts = to_texts(value)
    if texts is None:
        return None
    words = [text.rsplit(".", 1)[-1].lower().replace("-", "_") for text in texts]
    known = [_FINISH.get(word, word) for word in words if word not in _NO_FINISH]
    return known or None


def provider(value: object) -> str | None:
    """The provider in the convention's words; a framework's name is no provider, an API behind a dot no part of it."""
    text = to_text(value)
    if text is None:
        return None
    word = text.strip().lower()
    if word in _FRAMEWORKS:
        return None
    if word.startswith("azure") and "openai" in word:
        return "azure.ai.openai"
    parts = word.split(".")
    names = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((_PROVIDERS[name] for name in names if name in _PROVIDERS), word)


def provider_of_model(model: str | None) -> str | None:
    """The provider that a model name tells, else NULL."""
    if model is None:
        return None
    name = model.lower()
    return next((found for pattern, found in _MODEL_PROVIDERS if pattern.match(name)), None)


_DECISIONS: Mapping[str, str] = {
    **dict.fromkeys(
        ("accept", "accepted", "approved", "approved_for_session", "allow", "auto_accept", "pass", "yes"), "allow"
    ),
    **dict.fromkeys(("reject", "rejected", "denied", "deny", "abort", "block", "blocked", "no"), "deny"),
    **dict.fromkeys(("modify", "modified", "edit"), "modify"),
    **dict.fromkeys(("ask", "approvalrequired", "require_approval"), "require_approval"),
}


def decision(value: object) -> str | None:
    """`allow`, `deny`, `modify` or `require_approval`, else NULL."""
    text = to_text(value)
    return None if text is None else _DECISIONS.get(text.strip().lower())


def decision_source(value: object) -> str | None:
    """`user`, `config`, `hook`, `policy` or `gateway`, else NULL."""
    text = (to_text(value) or "").strip().lower()
    for word in ("user", "config", "hook", "policy", "gateway"):
        if text.startswith(word):
            return word
    return None
