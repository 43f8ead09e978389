"""Attacks on bearer tokens against the running application: each is refused, and the good token beside it is not."""

import base64
import datetime as dt
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from engine.storage.tokens import DeniedTokens
from serve_apps.access.keys import KeySet, usable_keys
from tests.service import OURS, Issuer, Service
from tests.waiting import PATIENCE

PATH = f"/v1/members/{OURS}/score"


def raw(header: dict[str, Any], claims: dict[str, Any], signature: bytes = b"") -> str:
    return ".".join(b64(part) for part in (json.dumps(header).encode(), json.dumps(claims).encode(), signature))


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def asked(service: Service, token: str) -> httpx2.Response:
    with service.client(token) as http:
        return http.get(PATH)


def assert_refused(answer: httpx2.Response, why: str) -> None:
    assert answer.status_code == 401, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"].startswith('Bearer realm="vitanexus", error="invalid_token"')
    assert why in answer.json()["detail"], answer.text


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_a_good_token_is_admitted(service: Service, algorithm: str) -> None:
    answer = asked(service, service.issuer.token(algorithm))
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("name", ["none", "None", "NONE", "nOnE"])
def test_alg_none_is_refused(service: Service, name: str) -> None:
    for header in ({"alg": name, "kid": "ec-1"}, {"alg": name}):
        answer = asked(service, raw(header, service.issuer.claims()))
        assert answer.status_code == 401, answer.text


@pytest.mark.parametrize("encoding", [serialization.Encoding.PEM, serialization.Encoding.DER])
@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_a_public_key_is_no_shared_secret(service: Service, encoding: serialization.Encoding, algorithm: str) -> None:
    public = service.issuer.rsa.public_key().public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)
    header, claims = {"alg": algorithm, "typ": "JWT", "kid": "rsa-1"}, service.issuer.claims()
    signed = raw(header, claims).rsplit(".", 1)[0]
    digest = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}[algorithm]
    token = f"{signed}.{b64(hmac.new(public, signed.encode(), digest).digest())}"
    assert_refused(asked(service, token), "its key's algorithm")


@pytest.mark.parametrize("algorithm", ["RS512", "PS256", "RS384"])
def test_the_key_decides_the_algorithm(service: Service, algorithm: str) -> None:
    token = jwt.encode(service.issuer.claims(), service.issuer.rsa, algorithm, headers={"kid": "rsa-1"})
    assert_refused(asked(service, token), "its key's algorithm")


def test_another_kind_of_key_under_a_known_name_is_refused(service: Service) -> None:
    token = jwt.encode(service.issuer.claims(), service.issuer.ec, "ES256", headers={"kid": "rsa-1"})
    assert_refused(asked(service, token), "its key's algorithm")


NOW = int(time.time())
YEAR = 365 * 86_400


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"exp": NOW - 3600}, "expired"),
        ({"nbf": NOW + YEAR}, "not valid yet"),
        ({"iat": NOW + YEAR}, "not valid yet"),
        ({"aud": "billing"}, "another audience"),
        ({"aud": ["billing", "crm"]}, "another audience"),
        ({"iss": "https://issuer.test.evil"}, "another issuer"),
        ({"iss": ["https://issuer.test"]}, "issuer"),
        ({"exp": None}, "lacks a claim"),
        ({"aud": None}, "lacks a claim"),
        ({"iss": None}, "lacks a claim"),
        ({"sub": None}, "lacks a claim"),
        ({"jti": None}, "lacks a claim"),
        ({"exp": "never"}, "malformed"),
        ({"jti": {"$ne": ""}}, ""),
        ({"tenant": ["acme", "default"]}, "tenant"),
        ({"tenant": ""}, "tenant"),
        ({"tenant": "a b\n"}, "tenant"),
        ({"scope": ["ops"]}, "scope"),
        ({"purpose": "a\nb"}, "purpose"),
    ],
)
def test_claims_are_checked(service: Service, claims: dict[str, Any], why: str) -> None:
    # PyJWT refuses to make some of these; an attacker does not use PyJWT
    body = {name: value for name, value in (service.issuer.claims() | claims).items() if value is not None}
    signed = raw({"alg": "RS256", "kid": "rsa-1"}, body).rsplit(".", 1)[0]
    algorithm = jwt.get_algorithm_by_name("RS256")
    token = f"{signed}.{b64(algorithm.sign(signed.encode(), service.issuer.rsa))}"
    assert_refused(asked(service, token), why)


def test_a_token_of_another_signer_is_refused(service: Service) -> None:
    stranger = ec.generate_private_key(ec.SECP256R1())
    token = jwt.encode(service.issuer.claims(), stranger, "ES256", headers={"kid": "ec-1"})
    assert_refused(asked(service, token), "signature is not the issuer's")


def test_keys_that_a_token_brings_or_points_to_are_not_used(service: Service) -> None:
    stranger = ec.generate_private_key(ec.SECP256R1())
    own = Issuer.public("mine", stranger)
    for header in (
        {"kid": "mine", "jwk": own},
        {"kid": "mine", "jku": "http://127.0.0.1:1/keys"},
        {"kid": "../../../dev/null"},
        {"kid": "ec-1' OR '1'='1"},
    ):
        token = jwt.encode(service.issuer.claims(), stranger, "ES256", headers=header)
        assert_refused(asked(service, token), "kid")


def test_an_unknown_or_missing_key_name_is_refused(service: Service) -> None:
    for kid in ("ec-2", 7, "", "x" * 1000):
        signed = raw({"alg": "ES256", "kid": kid}, service.issuer.claims(), b"x" * 64)
        assert_refused(asked(service, signed), "" if kid == 7 else "kid")
    assert_refused(asked(service, raw({"alg": "ES256"}, service.issuer.claims(), b"x" * 64)), "kid")


def test_an_altered_signature_payload_or_padding_is_refused(service: Service) -> None:
    header, payload, signature = service.issuer.token("ES256").split(".")
    flipped = bytearray(base64.urlsafe_b64decode(signature + "=="))
    flipped[5] ^= 1
    other = b64(json.dumps(service.issuer.claims(scope="ops", tenant="default")).encode())
    tokens = [
        f"{header}.{payload}.{b64(bytes(flipped))}",
        f"{header}.{payload}.{signature[:-4]}",
        f"{header}.{payload}.",
        f"{header}.{payload}",
        f"{header}.{other}.{signature}",
        f"{header}.{payload}.{b64(bytes(64))}",
        f"{header}.{payload}.{signature}.{signature}",
        "....",
        "not a token",
        f"{header}.{payload}.{signature}" * 40,
    ]
    for token in tokens:
        assert asked(service, token).status_code == 401, token
    # the last two bits of the last character are padding: another character, the same bytes, is not the same token
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    at = alphabet.index(signature[-1])
    cousin = f"{header}.{payload}.{signature[:-1]}{alphabet[at ^ 1]}"
    answer = asked(service, cousin)
    assert answer.status_code in (200, 401)
    if answer.status_code == 200:  # then it is the same token under another spelling, and revoked with it
        identifier = jwt.decode(cousin, options={"verify_signature": False})["jti"]
        deny(service, identifier)
        assert asked(service, cousin).status_code == 401


def deny(service: Service, identifier: str) -> None:
    store = DeniedTokens(service.database, pool_size=1)
    store.deny(identifier, "test", dt.datetime.now(dt.UTC) + dt.timedelta(hours=1))
    store.close()
    time.sleep(0.6)


def test_critical_extensions_are_not_understood(service: Service) -> None:
    for header in ({"crit": ["exp"]}, {"crit": ["b64"], "b64": False}, {"typ": "secevent+jwt"}):
        token = service.issuer.token("ES256", {"x": 1})
        _, payload, _ = token.split(".")
        signed = f"{b64(json.dumps({'alg': 'ES256', 'kid': 'ec-1', **header}).encode())}.{payload}"
        signature = jwt.get_algorithm_by_name("ES256").sign(signed.encode(), service.issuer.ec)
        assert_refused(asked(service, f"{signed}.{b64(signature)}"), "")


def test_a_revoked_token_is_refused_though_it_was_admitted_before(service: Service) -> None:
    token, identifier = service.issuer.token(jti="to-be-revoked"), "to-be-revoked"
    assert asked(service, token).status_code == 200
    deny(service, identifier)
    assert_refused(asked(service, token), "revoked")


def test_a_remembered_token_expires(service: Service) -> None:
    # leeway 30 s: one second is left of it
    token = service.issuer.token(exp=int(time.time()) - 28)
    assert asked(service, token).status_code == 200
    time.sleep(2.5)
    assert_refused(asked(service, token), "expired")


def test_other_ways_to_bring_a_token_are_not_taken(service: Service) -> None:
    token = service.issuer.token()
    with service.bare() as http:
        assert http.get(PATH).status_code == 401
        assert http.get(PATH, params={"access_token": token}).status_code == 401
        assert http.get(PATH, headers={"Authorization": f"Basic {token}"}).status_code == 401
        assert http.get(PATH, headers={"Cookie": f"token={token}"}).status_code == 401
        assert http.get(PATH, headers={"Authorization": f"bearer {token}"}).status_code == 200
        assert "error" not in http.get(PATH).headers["www-authenticate"]


def test_only_signing_keys_of_the_two_algorithms_are_taken() -> None:
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    good = ec.generate_private_key(ec.SECP256R1())
    keys = [
        Issuer.public("weak", weak),
        Issuer.public("p384", ec.generate_private_key(ec.SECP384R1())),
        {"kty": "oct", "kid": "shared", "k": b64(b"secret" * 8)},
        Issuer.public("for-encryption", good) | {"use": "enc"},
        Issuer.public("other-alg", good) | {"alg": "ES512"},
        Issuer.public("good", good),
        {name: value for name, value in Issuer.public("x", good).items() if name != "kid"},
    ]
    found, refused = usable_keys(json.dumps({"keys": keys}).encode())
    assert list(found) == ["good"] and len(refused) == 6
    for content in (b"[]", b"{}", b'{"keys": 3}', b"<html>"):
        with pytest.raises(ValueError, match="not a JWK set"):
            usable_keys(content)
    twice = json.dumps({"keys": [Issuer.public("one", good), Issuer.public("one", good)]}).encode()
    with pytest.raises(ValueError, match="two keys"):
        usable_keys(twice)


async def _rotated(folder: Path) -> tuple[int, int, int, bool, bool]:
    issuer = Issuer(folder)
    keys = KeySet(str(issuer.jwks), 300.0, fewest=0.2)
    assert await keys.key("ec-1") is not None
    first = keys.version
    fresh = ec.generate_private_key(ec.SECP256R1())
    issuer.publish({"ec-2": fresh})
    unknown = await keys.key("ec-2")  # too soon after the first reading
    held = keys.version
    time.sleep(0.25)
    found = await keys.key("ec-2")
    return first, held, keys.version, unknown is None, found is not None


def test_a_rotated_key_is_read_once_in_a_while(tmp_path: Path) -> None:
    import asyncio

    first, held, last, unknown, found = asyncio.run(_rotated(tmp_path))
    assert (first, held, last) == (1, 1, 2)
    assert unknown and found


def test_tokens_of_a_key_that_has_left_the_set_are_refused(make_args: Callable[..., Any], tmp_path: Path) -> None:
    from tests.service import served

    issuer = Issuer(tmp_path)
    args = make_args(jwks=str(issuer.jwks), keys_seconds=1.0)
    with served(args) as url:
        service = Service(url, issuer, args.postgres_url, args)
        token = issuer.token("RS256")
        assert asked(service, token).status_code == 200
        issuer.publish({"ec-1": issuer.ec})
        deadline = time.monotonic() + PATIENCE
        while asked(service, token).status_code == 200:
            assert time.monotonic() < deadline, "the key is still taken"
            time.sleep(0.2)
        assert_refused(asked(service, token), "kid")
        assert asked(service, issuer.token("ES256")).status_code == 200
