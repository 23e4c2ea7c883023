"""``[account]``: the keys, and who is paid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import Attribute, field, frozen
from podium_hookspecs import Secret

from podium.config.address import parse_account
from podium.config.fields import checked, doc, optional_file


def _private_key(instance: object, attribute: Attribute[Any], value: Secret | None) -> None:
    if value is None:
        return
    digits = value.reveal.removeprefix("0x")
    try:
        key = bytes.fromhex(digits)
    except ValueError:
        key = b""
    if len(digits) != 64 or len(key) != 32 or not any(key):
        raise ValueError("must be a private key: 32 bytes as 64 hex digits")


def _one_source(instance: KeySettings, attribute: Attribute[Any], value: Path | None) -> None:
    if value is not None and instance.private_key is not None:
        raise ValueError("give private_key or keystore, not both")


@frozen(kw_only=True)
class KeySettings:
    """A key: given as it is, or in a keystore."""

    private_key: Secret | None = field(
        default=None, validator=_private_key, metadata=doc("64 hex digits.")
    )
    keystore: Path | None = field(
        default=None,
        converter=optional_file,
        validator=_one_source,
        metadata=doc("A key file, or a folder of them (podium account create)."),
    )
    address: str = field(
        default="",
        validator=checked(parse_account),
        metadata=doc("Which key of the keystore; not needed while there is only one."),
    )
    password: Secret | None = field(
        default=None,
        metadata=doc("Of the key file. Without one it is asked for on a terminal."),
    )

    @property
    def given(self) -> bool:
        """Whether there is a key at all."""
        return self.private_key is not None or self.keystore is not None

    @property
    def key_bytes(self) -> bytes | None:
        """The 32 bytes of a private key that is given as it is."""
        if self.private_key is None:
            return None
        return bytes.fromhex(self.private_key.reveal.removeprefix("0x"))

    @property
    def address_bytes(self) -> bytes | None:
        """The 20 bytes of the address, None when there is none."""
        return parse_account(self.address) if self.address else None


@frozen(kw_only=True)
class RedeemerSettings(KeySettings):
    """``[account.redeemer]``: another key that sends redemptions, and pays their gas.

    Anyone may redeem a ticket: its value goes to the recipient all the same.
    """


@frozen(kw_only=True)
class RewarderSettings(KeySettings):
    """``[account.rewarder]``: the recipient's own key, when the node signs with another.

    Only the registered orchestrator itself may call rewards. Where its key should not be on the
    node, leave this out and run ``podium rewards watch`` elsewhere.
    """


@frozen(kw_only=True)
class AccountSettings(KeySettings):
    """``[account]``: the key that signs, and who is paid.

    Without a key the node is off chain: no signatures, no payments.
    """

    private_key: Secret | None = field(
        default=None,
        validator=_private_key,
        metadata=doc(
            "Signs results and receives tickets: 64 hex digits. Without one, and without a "
            "keystore, the node is off chain: no signatures, no payments."
        ),
    )
    recipient: str = field(
        default="",
        validator=checked(parse_account),
        metadata=doc(
            "Address that tickets are made out to, the registered orchestrator, when it is not "
            "the key's own."
        ),
    )
    redeemer: RedeemerSettings = field(
        factory=RedeemerSettings, metadata=doc("The key that redeems, if it is another.")
    )
    rewarder: RewarderSettings = field(
        factory=RewarderSettings, metadata=doc("The recipient's key, if it is another.")
    )

    @property
    def recipient_bytes(self) -> bytes | None:
        """The 20 bytes of the recipient, None when it is the key's own address."""
        return parse_account(self.recipient) if self.recipient else None
