"""Every variable of the Collector's files, in words: `HEADGATE_COLLECTOR_…`, which no setting of Headgate uses."""

from collections.abc import Mapping

DESCRIPTIONS: Mapping[str, str] = {
    "HEADGATE_COLLECTOR_LISTEN": "Host that agents reach it at; 0.0.0.0 offers it to the network.",
    "HEADGATE_COLLECTOR_GRPC_PORT": "Port for OTLP over gRPC.",
    "HEADGATE_COLLECTOR_HTTP_PORT": "Port for OTLP over HTTP.",
    "HEADGATE_COLLECTOR_PLATFORM_PORT": "Port for Headgate's own parts, OTLP over gRPC.",
    "HEADGATE_COLLECTOR_HEALTH_PORT": "Port of the health check.",
    "HEADGATE_COLLECTOR_METRICS_LISTEN": "Host of its own metrics.",
    "HEADGATE_COLLECTOR_METRICS_PORT": "Port of its own metrics, which `headgate doctor` reads.",
    "HEADGATE_COLLECTOR_RECEIVER": "Where Headgate's receiver listens, HOST:PORT.",
    "HEADGATE_COLLECTOR_RECEIVER_DNS_NAME": "Name whose addresses are all receivers.",
    "HEADGATE_COLLECTOR_RECEIVER_PORT": "Port of every receiver.",
    "HEADGATE_COLLECTOR_RECEIVER_INSECURE": "`true`, and no authority: it sends to the receiver without TLS.",
    "HEADGATE_COLLECTOR_RECEIVER_CA_FILE": "Authority of the receiver's certificate; empty: those of the system.",
    "HEADGATE_COLLECTOR_RECEIVER_CERT_FILE": "Its certificate for the receiver, where that wants one.",
    "HEADGATE_COLLECTOR_RECEIVER_KEY_FILE": "The key of that certificate.",
    "HEADGATE_COLLECTOR_GATEWAY": "The gateway Collector, HOST:PORT.",
    "HEADGATE_COLLECTOR_GATEWAY_CA_FILE": "Authority of the gateway's certificate; empty: those of the system.",
    "HEADGATE_COLLECTOR_TOKEN": (
        "Its token at the receiver, of the role collector: without one it is a client like any other, and the subjects"
        " that it stamps are not believed. `headgate token create --role collector` makes one."
    ),
    "HEADGATE_COLLECTOR_TOKEN_FILE": "File with its token at the gateway; read again when it changes.",
    "HEADGATE_COLLECTOR_CERT_FILE": "Its own certificate, in PEM; read again every minute.",
    "HEADGATE_COLLECTOR_KEY_FILE": "The key of that certificate.",
    "HEADGATE_COLLECTOR_CLIENT_CA_FILE": "With a file here senders need a certificate of that authority as well.",
    "HEADGATE_COLLECTOR_ISSUER": "The `iss` of tokens that it takes.",
    "HEADGATE_COLLECTOR_JWKS_FILE": "Public keys of that issuer, a JWK set; read again when it changes.",
    "HEADGATE_COLLECTOR_KAFKA_BROKER": "A broker of the cluster, HOST:PORT.",
    "HEADGATE_COLLECTOR_DATA": "Folder of the queue on disk. `headgate collector run` takes one in the store.",
    "HEADGATE_COLLECTOR_QUEUE_BYTES": "Most bytes that wait in the queue of each signal; past it senders wait.",
    "HEADGATE_COLLECTOR_MEMORY_MIB": "Memory past which it answers UNAVAILABLE, which senders repeat.",
}

BINARY = "HEADGATE_COLLECTOR_BINARY"
"""Names the program that `headgate collector` runs."""
