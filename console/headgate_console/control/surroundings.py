"""The environment that points an unmodified agent at Headgate."""

import shlex
from collections.abc import Mapping

HOOK_URL = "HEADGATE_HOOK_URL"
HOOK_KEY = "HEADGATE_HOOK_KEY"


def agent_environment(
    *, instance_id: str, gateway_key: str, telemetry_token: str, control: str, gateway: str, otlp: str
) -> Mapping[str, str]:
    """Variables that agents and SDKs read: where models are, the key, and where telemetry goes.

    `control`, `gateway` and `otlp` are `HOST:PORT` or a URL; `otlp` speaks OTLP over HTTP.
    """
    control, gateway, otlp = (one if "://" in one else f"http://{one}" for one in (control, gateway, otlp))
    return {
        "OPENAI_BASE_URL": f"{gateway}/openai/v1",
        # What clients read that are older than the name above, and those that keep to them.
        "OPENAI_API_BASE": f"{gateway}/openai/v1",
        "OPENAI_API_KEY": gateway_key,
        "ANTHROPIC_BASE_URL": f"{gateway}/anthropic",
        "ANTHROPIC_API_KEY": gateway_key,
        "OTEL_EXPORTER_OTLP_ENDPOINT": otlp,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{telemetry_token}",
        # What is the default elsewhere, Claude Code must be told.
        **{f"OTEL_{signal}_EXPORTER": "otlp" for signal in ("TRACES", "METRICS", "LOGS")},
        "CLAUDE_CODE_ENABLE_TELEMETRY": "1",
        "OTEL_RESOURCE_ATTRIBUTES": f"headgate.instance.id={instance_id}",
        HOOK_URL: f"{control}/hooks/claude-code",
        HOOK_KEY: gateway_key,
    }


def export_lines(environment: Mapping[str, str]) -> list[str]:
    """The same for a shell: `export NAME=VALUE`."""
    return [f"export {name}={shlex.quote(value)}" for name, value in environment.items()]
