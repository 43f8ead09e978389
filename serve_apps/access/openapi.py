"""What the OpenAPI document says of access: the bearer scheme, and the scope each path asks for."""

from typing import Any

from fastapi import FastAPI

from serve_apps.access.caller import SCOPES
from serve_apps.access.policy import rule_of

_SCHEME = "bearer"
_HEADERS = {
    "RateLimit-Policy": 'requests a caller has in a window of seconds, such as "user";q=1000;w=60',
    "RateLimit": 'requests left, and seconds until there are more, such as "user";r=999;t=60',
}


def describe(app: FastAPI) -> None:
    """Makes the application's document say so."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = plain()
            components = document.setdefault("components", {})
            components["securitySchemes"] = {
                _SCHEME: {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "Scopes: " + "; ".join(f"`{name}`: {what}" for name, what in SCOPES.items()),
                }
            }
            for path, operations in document["paths"].items():
                for operation in operations.values():
                    _secure(operation, rule_of(path).scope)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _secure(operation: dict[str, Any], scope: str) -> None:
    if not scope:
        operation["security"] = []
        return
    operation["security"] = [{_SCHEME: []}]
    operation["description"] = f"{operation.get('description', '')}\n\nScope: `{scope}`.".lstrip()
    for code, answer in operation["responses"].items():
        if code.startswith("2"):
            told = {name: {"description": what, "schema": {"type": "string"}} for name, what in _HEADERS.items()}
            answer["headers"] = {**answer.get("headers", {}), **told}
