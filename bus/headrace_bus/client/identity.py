"""Who is who on an installation's bus: operator, accounts and the users minted from them."""

from __future__ import annotations

from pathlib import Path

from headrace_api.errors import InvalidInput
from headrace_api.home import Home
from headrace_api.private_files import PRIVATE_FOLDER, write_private, write_private_once
from headrace_bus.client import jwt
from headrace_bus.client.credentials import Credentials
from headrace_bus.client.nkeys import KeyKind, KeyPair
from headrace_bus.client.roles import Role, instance_template, permissions
from headrace_bus.wire.subjects import InstanceAddress


class Identities:
    """The keys below `<home>/nats/keys`, made on first use and never changed after.

    Two processes may begin at once: a key file appears whole or not at all, and the first stays.
    """

    def __init__(self, home: Home) -> None:
        """Raises InvalidInput when a key file is damaged."""
        self._home = home
        self._keys = home.nats / "keys"
        home.root.mkdir(parents=True, exist_ok=True)
        for folder in (home.nats, self._keys, home.credentials):
            folder.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
        self.operator = self._key("operator", KeyKind.OPERATOR)
        self.system = self._key("system", KeyKind.ACCOUNT)
        self.account = self._key("account", KeyKind.ACCOUNT)
        self._signer = self._key("instances", KeyKind.ACCOUNT)

    def operator_jwt(self) -> str:
        return jwt.operator_jwt(self.operator, self.system)

    def account_jwts(self) -> dict[str, str]:
        """The server's resolver: public key to JWT, for the platform's and the system account."""
        return {
            self.account.public: jwt.account_jwt(
                self.operator, self.system, self.account, self._signer, instance_template()
            ),
            self.system.public: jwt.system_jwt(self.operator, self.system),
        }

    def mint_role(self, role: Role | str) -> Path:
        """Write `<home>/nats/creds/<role>.creds` anew, mode 0600, and return its path.

        Credentials minted before stay good.
        """
        path = self._home.credentials / f"{Role(role)}.creds"
        write_private(path, self.role_credentials(role))
        return path

    def ensure_role(self, role: Role) -> Path:
        """As `mint_role`, unless the file that is there grants what this release grants."""
        path = self._home.credentials / f"{role}.creds"
        try:
            kept = Credentials.read(path).jwt
        except InvalidInput:  # missing, or damaged
            return self.mint_role(role)
        if jwt.grants(kept, self.account, permissions(role)):
            return path
        return self.mint_role(role)

    def role_credentials(self, role: Role | str) -> str:
        """Return the text of new credentials of this role, which lie in no file: a secret."""
        role = Role(role)
        user = KeyPair.create(KeyKind.USER)
        signed = jwt.user_jwt(self.account, user, role.value, permissions(role))
        return Credentials(jwt=signed, key=user).text()

    def mint_instance(self, address: InstanceAddress) -> str:
        """Return the text of one instance's credentials; the caller keeps it in a 0600 file."""
        user = KeyPair.create(KeyKind.USER)
        tags = (f"ep:{address.endpoint}", f"dep:{address.deployment}")
        signed = jwt.scoped_user_jwt(self._signer, self.account.public, user, address.iid, tags)
        return Credentials(jwt=signed, key=user).text()

    def _key(self, name: str, kind: KeyKind) -> KeyPair:
        path = self._keys / f"{name}.seed"
        if not path.exists():
            write_private_once(path, KeyPair.create(kind).seed)
        return KeyPair.from_seed(path.read_text())
