"""What must never be lost or forged: the database and who may act on it (principals, keys, roles)."""
