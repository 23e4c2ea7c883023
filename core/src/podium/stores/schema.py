"""What leads from each version of the database's schema to the next."""

from __future__ import annotations

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE ticketQueue (
            createdAt DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
            sender TEXT NOT NULL,
            recipient TEXT NOT NULL,
            faceValue BLOB NOT NULL,
            winProb BLOB NOT NULL,
            senderNonce INTEGER NOT NULL,
            recipientRand BLOB NOT NULL,
            recipientRandHash TEXT NOT NULL,
            sig BLOB NOT NULL PRIMARY KEY,
            creationRound INTEGER NOT NULL,
            creationRoundBlockHash TEXT NOT NULL,
            paramsExpirationBlock INTEGER NOT NULL,
            redeemedAt DATETIME,
            txHash TEXT,
            failure TEXT,
            UNIQUE (recipientRandHash, senderNonce)
        )
        """,
        "CREATE INDEX ticketQueueSender ON ticketQueue (sender)",
    ),
    (
        "ALTER TABLE ticketQueue ADD COLUMN state TEXT NOT NULL DEFAULT 'pending'",
        "ALTER TABLE ticketQueue ADD COLUMN attempts INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE ticketQueue ADD COLUMN nextTryAt REAL NOT NULL DEFAULT 0",
        "ALTER TABLE ticketQueue ADD COLUMN txKey TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE ticketQueue ADD COLUMN paid BLOB",
        "ALTER TABLE ticketQueue ADD COLUMN txBlock INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE ticketQueue ADD COLUMN gasPriceLimit BLOB NOT NULL DEFAULT x''",
        "ALTER TABLE ticketQueue ADD COLUMN updatedAt DATETIME",
        """
        UPDATE ticketQueue SET state = CASE WHEN failure IS NULL THEN 'confirmed' ELSE 'dead' END
        WHERE redeemedAt IS NOT NULL OR txHash IS NOT NULL OR failure IS NOT NULL
        """,
        "CREATE INDEX ticketQueueState ON ticketQueue (state)",
        """
        CREATE TABLE transactions (
            key TEXT NOT NULL PRIMARY KEY,
            purpose TEXT NOT NULL,
            account TEXT NOT NULL,
            nonce INTEGER NOT NULL,
            raws TEXT NOT NULL,
            hashes TEXT NOT NULL,
            firstSentAt REAL NOT NULL,
            request TEXT NOT NULL
        )
        """,
        """
        CREATE TABLE heads (
            number INTEGER NOT NULL PRIMARY KEY,
            hash TEXT NOT NULL,
            parent TEXT NOT NULL,
            timestamp INTEGER NOT NULL,
            l1Number INTEGER NOT NULL,
            baseFee TEXT
        )
        """,
        "CREATE TABLE remembered (name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL)",
    ),
    (
        """
        CREATE TABLE balances (
            sender BLOB NOT NULL,
            key TEXT NOT NULL,
            balance TEXT NOT NULL,
            fixedPrice TEXT,
            updatedAt REAL NOT NULL,
            PRIMARY KEY (sender, key)
        )
        """,
        """
        CREATE TABLE nonces (
            recipientRand BLOB NOT NULL,
            expirationBlock INTEGER NOT NULL,
            nonces TEXT NOT NULL,
            PRIMARY KEY (recipientRand, expirationBlock)
        )
        """,
    ),
)
"""``user_version`` counts them. Never change one that was released: add another."""
