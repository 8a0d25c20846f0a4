"""JSON Web Tokens (RFC 7519) as credentials, by PyJWT: signature, expiry, issuer and audience are its business."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import jwt

from realtime.actors.credentials import MAX_NAME_CHARACTERS, NotAuthenticated
from realtime.policy.access import Principal
from realtime.policy.bearer import MAX_TOKEN_CHARACTERS

MIN_SECRET_BYTES: Final = {"HS256": 32, "HS384": 48, "HS512": 64}
"""As long as the hash, RFC 7518 section 3.2: a shorter secret can be found by whoever sees one token."""


class UnfitKey(ValueError):
    """A key that an algorithm cannot use, or that is too weak for it."""


class JsonWebTokens:
    """Recognises tokens that were signed for us.

    ``sub`` is the principal's name; it and ``exp`` have to be there. ``nbf`` and ``iat`` are heeded.

    Args:
      keys: by algorithm; a token's own word decides among these alone, so that no other algorithm, and no key of
        another kind, can be forced upon us.

    Raises:
      UnfitKey: naming the algorithm, and not the key.
    """

    def __init__(self, keys: Mapping[str, str], *, issuer: str | None, audience: str | None, scopes_claim: str) -> None:
        self._keys: dict[str, Any] = {name: _prepared(name, text) for name, text in keys.items()}
        self._jwt = jwt.PyJWT()
        self._issuer = issuer
        self._audience = audience
        self._scopes_claim = scopes_claim
        whole = "\n".join(f"{name} {text}" for name, text in sorted(keys.items()))
        self.mark: bytes = hashlib.sha256(f"{whole}\n{issuer}\n{audience}".encode()).digest()

    def recognise(self, token: str) -> Principal:
        """See `realtime.actors.credentials.Tokens.recognise`."""
        if len(token) > MAX_TOKEN_CHARACTERS:
            raise NotAuthenticated(f"the token is longer than {MAX_TOKEN_CHARACTERS} characters")
        # `from None`: what PyJWT says of a token stays here.
        try:
            claims = self._claims(token)
        except jwt.ExpiredSignatureError:
            raise NotAuthenticated("the token has expired; get a new one") from None
        except jwt.ImmatureSignatureError:
            raise NotAuthenticated("the token is not valid yet; look at the clocks") from None
        except jwt.MissingRequiredClaimError as error:
            raise NotAuthenticated(f"the token has no claim {error.claim!r}, which is needed") from None
        except (jwt.InvalidIssuerError, jwt.InvalidAudienceError):
            raise NotAuthenticated("the token was made by or for somebody else; see its iss and aud") from None
        except (jwt.InvalidSignatureError, jwt.InvalidAlgorithmError):
            raise NotAuthenticated("the token is not signed by a key and algorithm that count here") from None
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError):
            raise NotAuthenticated("the token cannot be read") from None
        return self._principal(claims)

    def _claims(self, token: str) -> Mapping[str, Any]:
        algorithm = jwt.get_unverified_header(token).get("alg")
        if not isinstance(algorithm, str) or algorithm not in self._keys:
            raise jwt.InvalidAlgorithmError
        return self._jwt.decode(
            token,
            self._keys[algorithm],
            algorithms=[algorithm],
            issuer=self._issuer,
            audience=self._audience,
            options={"require": ["exp", "sub"], "verify_aud": self._audience is not None},
        )

    def _principal(self, claims: Mapping[str, Any]) -> Principal:
        name, scopes = claims["sub"], claims.get(self._scopes_claim, ())
        if not (isinstance(name, str) and 0 < len(name) <= MAX_NAME_CHARACTERS and name.isprintable()):
            raise NotAuthenticated(f"the token's sub must be 1 to {MAX_NAME_CHARACTERS} printable characters")
        if isinstance(scopes, str):
            scopes = scopes.split()
        if not isinstance(scopes, list | tuple) or not all(isinstance(scope, str) for scope in scopes):
            raise NotAuthenticated(f"the token's {self._scopes_claim} must be a list of scopes, or a text of them")
        return Principal(name, frozenset(scopes), float(claims["exp"]), "jwt", self.mark)


def _prepared(algorithm: str, text: str) -> Any:
    least = MIN_SECRET_BYTES.get(algorithm, 0)
    if len(text.encode()) < least:
        raise UnfitKey(f"{algorithm} needs a secret of at least {least} bytes, got {len(text.encode())}")
    try:
        key = jwt.get_algorithm_by_name(algorithm).prepare_key(text)
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        raise UnfitKey(f"{algorithm} cannot use this key: {type(error).__name__}") from None
    if hasattr(key, "private_bytes"):
        raise UnfitKey(f"{algorithm}: this is the private key; give the public one, the other is for the issuer alone")
    return key
