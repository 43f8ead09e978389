"""A key of this machine that signs development tokens, with the JWK set that `vitanexus up` checks them by."""

import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from cluster.stack.state import StateDir
from engine.errors import SettingsError

KEY_FILE, JWKS_FILE = "token-key.pem", "jwks.json"
_OWNER_ONLY = 0o600


def signed(directory: Path, claims: Mapping[str, object]) -> str:
    """The claims as a token with an identifier of its own, signed by the key in `directory`.

    Raises SettingsError where others than its owner can read the key.
    """
    key = _local_key(directory)
    headers = {"kid": _kid(key), "typ": "at+jwt"}
    return jwt.encode({**claims, "jti": uuid.uuid4().hex}, key, "ES256", headers=headers)


def _local_key(directory: Path) -> ec.EllipticCurvePrivateKey:
    """The signing key in `directory`, made on first use with its public JWK set beside it."""
    StateDir(directory).prepare()
    path = directory / KEY_FILE
    if not path.is_file():
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY), "wb") as file:
            file.write(pem)
        (directory / JWKS_FILE).write_text(json.dumps({"keys": [_public(key)]}, indent=1))
        return key
    mode = path.stat().st_mode & 0o777
    if mode & ~_OWNER_ONLY:
        raise SettingsError(f"{path} has mode {mode:04o}: others can read the key; remove it and have a new one made")
    loaded = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(loaded, ec.EllipticCurvePrivateKey):
        raise SettingsError(f"{path} is no elliptic-curve key: remove it and have a new one made")
    return loaded


def _public(key: ec.EllipticCurvePrivateKey) -> dict[str, str]:
    return ECAlgorithm.to_jwk(key.public_key(), as_dict=True) | {"kid": _kid(key), "use": "sig", "alg": "ES256"}


def _kid(key: ec.EllipticCurvePrivateKey) -> str:
    numbers = key.public_key().public_numbers()
    return f"local-{numbers.x % (1 << 64):016x}"
