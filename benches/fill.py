"""Fills a gateway's SQLite database with people and their sessions, and prints cookies of some of them.

    fill.py DATABASE KEY_FILE COOKIE_NAME PEOPLE SESSIONS COOKIES EXPIRED

The last EXPIRED of the sessions are over. Tokens are made as src/session/token.rs makes them.
"""

import base64
import hashlib
import hmac
import os
import sqlite3
import sys
import time

database, key_file, name = sys.argv[1:4]
people, sessions, cookies, expired = map(int, sys.argv[4:])
key = base64.b64decode(open(key_file).read().strip())
check_key = hmac.digest(key, b"vestibule token check", "sha256")
now = int(time.time())


def token():
    random = os.urandom(32)
    check = hmac.digest(check_key, b"session token " + random, "sha256")[:16]
    return base64.urlsafe_b64encode(random + check)


def session_rows():
    for number in range(sessions):
        # Nobody will ask with the others: any hash does.
        if number < cookies:
            text = token()
            print(f"{name}={text.decode()}")
            digest = hashlib.sha256(text).digest()
        else:
            digest = os.urandom(32)
        # What is over is kept for ten minutes, for clocks that differ.
        began, ends = (now - 4600, now - 1000) if number >= sessions - expired else (now - 60, now + 86400)
        yield (digest, f"s{number}", f"u{number % people}", began, ends, began, "oidc", "https://idp.example.com",
               f"subject-{number % people}", '["engineering"]', 0)


link = sqlite3.connect(database)
link.execute("PRAGMA synchronous = OFF")
link.executemany(
    "INSERT INTO users (id, email, email_folded, username, username_folded, name, role, deactivated, created, signed_in) "
    "VALUES (?, ?, ?, ?, ?, ?, 'member', 0, ?, ?)",
    ((f"u{n}", f"p{n}@example.com", f"p{n}@example.com", f"p{n}", f"p{n}", f"Person {n}", now, now) for n in range(people)),
)
link.executemany(
    "INSERT INTO identities (issuer, subject, user_id, created) VALUES ('https://idp.example.com', ?, ?, ?)",
    ((f"subject-{n}", f"u{n}", now) for n in range(people)),
)
link.executemany(
    "INSERT INTO sessions (token_hash, sid, user_id, created, expires, last_seen, method, issuer, subject, provider_groups, "
    "groups_truncated) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    session_rows(),
)
link.commit()
