"""The certificate an emulator serves https with: made at the start, self-signed, for 127.0.0.1 and localhost
alone.

Knows no server. ``cryptography`` comes with Airflow, and is imported only where an emulator speaks https. The
private key never leaves the temporary folder, and no system trusts the certificate unless it is told to.
"""

from __future__ import annotations

import datetime as dt
import ssl
import tempfile
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

LIFETIME = dt.timedelta(days=30)
_CLOCKS_DIFFER = dt.timedelta(hours=1)


class Certificate:
    """A certificate that is its own CA, in a temporary folder; ``remove`` ends both.

    Example::

        certificate = Certificate()
        requests.get("https://127.0.0.1:8123/", verify=str(certificate.ca_file))
        certificate.remove()

    :param ca_file: the file that clients trust: the connection extra ``verify``, or ``REQUESTS_CA_BUNDLE``.
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="seedream-emulator-")
        self.ca_file = Path(self._folder.name, "ca.pem")
        self._server_file = Path(self._folder.name, "server.pem")
        private, public = _made()
        self.ca_file.write_bytes(public)
        # The mode before the content: the private key is never readable for other users.
        self._server_file.touch(mode=0o600)
        self._server_file.write_bytes(private + public)

    def context(self) -> ssl.SSLContext:
        """The context that the servers of both origins listen with.

        :raises FileNotFoundError: :meth:`remove` was called before.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._server_file)
        return context

    def remove(self) -> None:
        """Delete the folder. Clients that read the file at each call fail from then on."""
        self._folder.cleanup()


def _made() -> tuple[bytes, bytes]:
    """Private key and certificate, both as PEM. The certificate is valid for 30 days, and from an hour
    ago.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private, _self_signed(key).public_bytes(serialization.Encoding.PEM)


def _self_signed(key: EllipticCurvePrivateKey) -> x509.Certificate:
    """The certificate, with every extension that Python 3.13 and later insist on (``VERIFY_X509_STRICT``).

    :param key: of the server; the same key signs, so the certificate is its own CA.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Seedream emulator")])
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1")), x509.DNSName("localhost")])
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder(issuer_name=name, subject_name=name, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        # A client in a container may have a clock that is behind.
        .not_valid_before(now - _CLOCKS_DIFFER)
        .not_valid_after(now + LIFETIME)
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(), critical=True)
        .add_extension(identifier, critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False
        )
        .sign(key, hashes.SHA256())
    )


def _key_usage() -> x509.KeyUsage:
    """The permissions of the key: to sign handshakes, and to sign this certificate as its CA."""
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
