"""`FOLDLINE_KAFKA_*` to the settings that every kafka-python client takes, in one place."""

from typing import Any

from foldline_contracts.config import Environment

_OPTIONS = {
    "KAFKA_SECURITY_PROTOCOL": "security_protocol",
    "KAFKA_SECURITY_SASL_MECHANISM": "sasl_mechanism",
    "KAFKA_SECURITY_SASL_USERNAME": "sasl_plain_username",
    "KAFKA_SECURITY_SASL_PASSWORD": "sasl_plain_password",
    "KAFKA_SECURITY_SSL_CAFILE": "ssl_cafile",
    "KAFKA_SECURITY_SSL_CERTFILE": "ssl_certfile",
    "KAFKA_SECURITY_SSL_KEYFILE": "ssl_keyfile",
}


def kafka_client_settings(environment: Environment) -> dict[str, Any]:
    """Keyword arguments for a kafka-python client: addresses and security."""
    settings: dict[str, Any] = {
        "bootstrap_servers": environment.required("KAFKA_BOOTSTRAP_SERVERS").split(","),
    }
    for variable, option in _OPTIONS.items():
        value = environment.text(variable)
        if value is not None:
            settings[option] = value
    return settings
