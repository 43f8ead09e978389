"""`vitanexus token`: development tokens from a local key, and revoking any issuer's."""

import datetime as dt
import time
from typing import Annotated

import typer

from cluster.commands.stack import DEFAULT, Directory
from engine.domain.events import DEFAULT_TENANT
from engine.errors import SettingsError
from serve_apps.access.caller import SCOPES

token = typer.Typer(
    help="Development tokens from a key of this machine; `token deny` revokes a token of any issuer.",
    epilog="With VITANEXUS_AUTH_JWKS=.vitanexus/jwks.json `vitanexus up` asks for such tokens.",
)


@token.callback(invoke_without_command=True)
def issue(
    context: typer.Context,
    subject: Annotated[str, typer.Option(help="user or service the token speaks for")] = "developer",
    client: Annotated[str, typer.Option(help="application that uses it")] = "local-app",
    tenant: Annotated[str, typer.Option(help="tenant whose members it may see")] = DEFAULT_TENANT,
    scope: Annotated[list[str] | None, typer.Option(help=f"of: {', '.join(SCOPES)}; all where none is named")] = None,
    purpose: Annotated[str, typer.Option(help="why members are looked at, for the audit, such as TREAT")] = "",
    minutes: Annotated[int, typer.Option(help="how long it holds", min=1, max=24 * 60)] = 60,
    directory: Directory = DEFAULT,
) -> None:
    """Print a development token, signed by a key in the state directory (mode 0600) that is made on first use.

    Example: curl -H "Authorization: Bearer $(vitanexus token --scope score:read)" ...
    """
    if context.invoked_subcommand is not None:
        return
    unknown = [name for name in scope or [] if name not in SCOPES]
    if unknown:
        raise SettingsError(f"--scope is {unknown[0]!r}: must be one of {', '.join(SCOPES)}")
    from cluster.local_tokens import signed
    from engine.settings import load_settings

    auth, now = load_settings().auth, int(time.time())
    claims = {
        "iss": auth.issuer,
        "aud": auth.audience,
        "sub": subject,
        "client_id": client,
        "tenant": tenant,
        "scope": " ".join(scope or SCOPES),
        "iat": now,
        "nbf": now,
        "exp": now + 60 * minutes,
    }
    if purpose:
        claims["purpose"] = purpose
    typer.echo(signed(directory, claims))


@token.command()
def deny(
    jti: Annotated[str, typer.Argument(help="the token's identifier, its claim jti")],
    reason: Annotated[str, typer.Option(help="why")],
    hours: Annotated[int, typer.Option(help="until when at the latest the token holds", min=1)] = 24,
    directory: Directory = DEFAULT,
) -> None:
    """Revoke a token. Every replica refuses it within auth.denylist_seconds."""
    from cluster.bootstrap import connect
    from engine.storage.tokens import DeniedTokens

    store = DeniedTokens(connect(directory, "postgres").postgres, pool_size=1)
    store.deny(jti, reason, dt.datetime.now(dt.UTC) + dt.timedelta(hours=hours))
    store.close()
    typer.echo(f"{jti} is refused")
