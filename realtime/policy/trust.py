"""What people are told of a server whose certificate is not trusted."""

from __future__ import annotations

import ssl
from typing import Final

UNVOUCHED: Final = frozenset({2, 18, 19, 20, 21})
"""What OpenSSL says (``X509_V_ERR_...``) of a chain that leads to nobody who is trusted."""

ADVICE: Final = (
    "if it is to be trusted, name a file with the certificate of its authority, "
    "or with itself if it is self-signed, in SSL_CERT_FILE"
)


def unverified(address: str, error: ssl.SSLCertVerificationError) -> str:
    """One line: that the certificate of the server at *address* was refused, why, and what helps if that does.

    Nothing is advised for a certificate that has expired or belongs to another host: to trust it helps neither.
    """
    advice = f"; {ADVICE}" if error.verify_code in UNVOUCHED else ""
    return f"the certificate of {address} cannot be verified: {error.verify_message.rstrip('.')}{advice}"
