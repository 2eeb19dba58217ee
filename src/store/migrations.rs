//! The tables, and how an older database becomes this program's.

use std::time::Duration;

use super::link::Value;
use super::{Store, StoreError};
use crate::seal;

/// As long as PostgreSQL is told to take for a step.
pub(super) const MIGRATING: Duration = Duration::from_mins(11);

/// Each brings the database from the version that is its index to the next. Never changed once released: a new one is
/// added behind.
pub(super) const STEPS: &[&str] = &[FIRST, DEVICES, ACCESS, RECHECKS, RELINKS, ONCE, SORTED_WORDS];

/// Times are Unix seconds, truth is 0 or 1: the one type of number that both databases spell alike.
const FIRST: &str = "
CREATE TABLE instance (
    one BIGINT PRIMARY KEY CHECK (one = 1),
    id TEXT NOT NULL,
    feed BIGINT NOT NULL,
    admin_settled BIGINT NOT NULL
);
CREATE TABLE users (
    id TEXT PRIMARY KEY,
    email TEXT,
    email_folded TEXT UNIQUE,
    username TEXT,
    username_folded TEXT UNIQUE,
    name TEXT,
    role TEXT NOT NULL,
    deactivated BIGINT NOT NULL,
    created BIGINT NOT NULL,
    signed_in BIGINT
);
CREATE TABLE identities (
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created BIGINT NOT NULL,
    PRIMARY KEY (issuer, subject)
);
CREATE INDEX identities_of_user ON identities (user_id);
CREATE TABLE sessions (
    token_hash {bytes} PRIMARY KEY,
    sid TEXT NOT NULL UNIQUE,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created BIGINT NOT NULL,
    expires BIGINT NOT NULL,
    last_seen BIGINT NOT NULL,
    method TEXT NOT NULL,
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    provider_sid TEXT,
    provider_groups TEXT NOT NULL,
    groups_truncated BIGINT NOT NULL,
    amr TEXT,
    auth_time TEXT,
    id_token {bytes},
    refresh_token {bytes}
);
CREATE INDEX sessions_of_user ON sessions (user_id);
CREATE INDEX sessions_of_subject ON sessions (issuer, subject);
CREATE INDEX sessions_of_provider_sid ON sessions (issuer, provider_sid);
CREATE INDEX sessions_by_expiry ON sessions (expires);
CREATE TABLE used_attempts (
    id TEXT PRIMARY KEY,
    until BIGINT NOT NULL
);
CREATE TABLE signing_keys (
    kid TEXT PRIMARY KEY,
    sealed {bytes} NOT NULL,
    jwk TEXT NOT NULL,
    created BIGINT NOT NULL,
    signs_from BIGINT,
    signs_until BIGINT
);
CREATE TABLE changes (
    feed BIGINT NOT NULL,
    part BIGINT NOT NULL,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (feed, part)
);
CREATE INDEX changes_by_age ON changes (at);
";

/// From where somebody signed in, so that people know their sessions again.
const DEVICES: &str = "
ALTER TABLE sessions ADD COLUMN user_agent TEXT;
ALTER TABLE sessions ADD COLUMN address TEXT;
";

/// What people are sorted and filtered by is stored as it is compared; `people.rs` writes it, and writes it anew for those
/// who were there before.
const ACCESS: &str = "
ALTER TABLE instance ADD COLUMN audited BIGINT NOT NULL DEFAULT 0;
ALTER TABLE users ADD COLUMN version BIGINT NOT NULL DEFAULT 1;
ALTER TABLE users ADD COLUMN invited_until BIGINT;
ALTER TABLE users ADD COLUMN invited_by TEXT;
ALTER TABLE users ADD COLUMN status TEXT NOT NULL DEFAULT '';
ALTER TABLE users ADD COLUMN sort_email {text} NOT NULL DEFAULT '';
ALTER TABLE users ADD COLUMN sort_name {text} NOT NULL DEFAULT '';
ALTER TABLE users ADD COLUMN sort_seen BIGINT NOT NULL DEFAULT 0;
CREATE INDEX users_by_email ON users (sort_email, id);
CREATE INDEX users_by_name ON users (sort_name, id);
CREATE INDEX users_by_age ON users (created, id);
CREATE INDEX users_by_sign_in ON users (sort_seen, id);
CREATE INDEX users_by_role ON users (role, status);
CREATE INDEX users_by_status ON users (status);
CREATE TABLE user_words (
    word {text} NOT NULL,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    PRIMARY KEY (word, user_id)
);
CREATE INDEX words_of_user ON user_words (user_id, word);
CREATE TABLE teams (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    name_folded {text} NOT NULL UNIQUE,
    created BIGINT NOT NULL,
    version BIGINT NOT NULL
);
CREATE TABLE team_members (
    team_id TEXT NOT NULL REFERENCES teams (id) ON DELETE CASCADE,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    source TEXT NOT NULL,
    group_name TEXT NOT NULL,
    role TEXT NOT NULL,
    since BIGINT NOT NULL,
    PRIMARY KEY (team_id, user_id, source, group_name)
);
CREATE INDEX teams_of_user ON team_members (user_id, team_id);
CREATE TABLE team_groups (
    team_id TEXT NOT NULL REFERENCES teams (id) ON DELETE CASCADE,
    group_name TEXT NOT NULL,
    role TEXT NOT NULL,
    PRIMARY KEY (team_id, group_name)
);
CREATE INDEX teams_of_group ON team_groups (group_name);
CREATE TABLE refused (
    id TEXT PRIMARY KEY,
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    email TEXT,
    email_folded TEXT,
    username TEXT,
    name TEXT,
    at BIGINT NOT NULL,
    times BIGINT NOT NULL,
    UNIQUE (issuer, subject)
);
CREATE INDEX refused_by_time ON refused (at, id);
CREATE INDEX refused_by_email ON refused (email_folded);
CREATE TABLE audit (
    id BIGINT PRIMARY KEY,
    at BIGINT NOT NULL,
    event TEXT NOT NULL,
    actor_kind TEXT NOT NULL,
    actor_id TEXT,
    actor_name TEXT,
    address TEXT,
    target_kind TEXT,
    target_id TEXT,
    target_name TEXT,
    before TEXT,
    after TEXT,
    detail TEXT,
    request_id TEXT
);
CREATE INDEX audit_by_time ON audit (at);
CREATE INDEX audit_by_event ON audit (event, id);
CREATE INDEX audit_by_actor ON audit (actor_id, id);
CREATE INDEX audit_by_target ON audit (target_id, id);
CREATE INDEX audit_by_target_name ON audit (target_name, id);
";

/// Accounts that wait for their identity at another issuer.
const RELINKS: &str = "
CREATE TABLE relinks (
    issuer TEXT NOT NULL,
    email_folded TEXT NOT NULL,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    from_issuer TEXT NOT NULL,
    until BIGINT NOT NULL,
    PRIMARY KEY (issuer, email_folded)
);
CREATE INDEX relinks_of_user ON relinks (user_id);
";

/// The version from which on the columns of `people.rs` are there.
const WITH_WORDS: i64 = 3;

/// When a session's identity was last vouched for, and when it is to be asked about again.
const RECHECKS: &str = "
ALTER TABLE sessions ADD COLUMN vouched BIGINT;
ALTER TABLE sessions ADD COLUMN recheck_at BIGINT;
CREATE INDEX sessions_by_recheck ON sessions (method, recheck_at);
";

/// The one-time link, by its hash, and wrong passwords by a hash of whose they are.
const ONCE: &str = "
CREATE TABLE restore_link (
    one BIGINT PRIMARY KEY,
    token_hash {bytes} NOT NULL,
    until BIGINT NOT NULL,
    used BIGINT NOT NULL
);
CREATE TABLE failures (
    whose {bytes} NOT NULL,
    slot BIGINT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (whose, slot)
);
CREATE INDEX failures_by_age ON failures (at);
";

/// The words hold what people are sorted and filtered by: a search that many meet goes through them alone.
const SORTED_WORDS: &str = "
CREATE TABLE sorted_words (
    word {text} NOT NULL,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role TEXT NOT NULL,
    status TEXT NOT NULL,
    sort_email {text} NOT NULL,
    sort_name {text} NOT NULL,
    created BIGINT NOT NULL,
    sort_seen BIGINT NOT NULL,
    PRIMARY KEY (word, user_id)
) {by_key};
INSERT INTO sorted_words (word, user_id, role, status, sort_email, sort_name, created, sort_seen)
    SELECT word, user_id, role, status, sort_email, sort_name, created, sort_seen
    FROM user_words JOIN users ON users.id = user_words.user_id ORDER BY word, user_id;
DROP TABLE user_words;
ALTER TABLE sorted_words RENAME TO user_words;
CREATE INDEX words_of_user ON user_words (user_id, word);
DROP INDEX users_by_role;
DROP INDEX users_by_status;
CREATE INDEX users_by_role ON users (role, status, id);
CREATE INDEX users_by_status_and_age ON users (status, created, id);
CREATE INDEX users_by_status_and_sign_in ON users (status, sort_seen, id);
";

impl Store {
    /// The version of the database, 0 if it holds nothing of ours.
    pub(super) async fn version(&self) -> Result<i64, StoreError> {
        let mut reading = self.reading().await?;
        let there = if reading.link.is_postgres() {
            "SELECT COUNT(*) AS n FROM pg_tables WHERE tablename = 'schema_version' AND schemaname = current_schema()"
        } else {
            "SELECT COUNT(*) AS n FROM sqlite_master WHERE name = 'schema_version'"
        };
        if reading.link.one(there, &[]).await?.get::<i64>("n")? == 0 {
            return Ok(0);
        }
        match reading.link.row("SELECT version FROM schema_version", &[]).await? {
            Some(row) => row.get("version"),
            None => Ok(0),
        }
    }

    /// Brings the database to this program's version, whole or not at all; says whether it was empty.
    pub(super) async fn migrate(&self) -> Result<bool, StoreError> {
        let known = known();
        // Most who open it find nothing to do, and need not wait for whoever writes.
        if self.version().await? == known {
            return Ok(false);
        }
        let mut writing = self.writing().await?;
        let link = &mut writing.reading.link;
        // Of a big table a step may take its time; and who comes second waits for who came first.
        link.patience = MIGRATING;
        if link.is_postgres() {
            link.script("SET LOCAL statement_timeout = '10min'; SET LOCAL lock_timeout = '10min'")
                .await?;
            // CREATE TABLE IF NOT EXISTS fails when two do it at once; the number is ours alone.
            link.execute("SELECT pg_advisory_xact_lock(7310579182461054976)", &[])
                .await?;
        }
        link.script("CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)")
            .await?;
        let found = match link.row("SELECT version FROM schema_version", &[]).await? {
            Some(row) => row.get("version")?,
            None => 0,
        };
        if found > known {
            return Err(StoreError::Newer { found, known });
        }
        if found == known {
            return Ok(false);
        }
        for step in STEPS.iter().skip(usize::try_from(found).unwrap_or_default()) {
            link.script(step).await?;
        }
        if found < WITH_WORDS {
            writing.index_people().await?;
        }
        let link = &mut writing.reading.link;
        if found == 0 {
            let id = format!("i_{}", seal::random_name());
            link.execute(
                "INSERT INTO instance (one, id, feed, admin_settled) VALUES (1, $1, 0, 0)",
                &[Value::Text(&id)],
            )
            .await?;
        }
        link.execute("DELETE FROM schema_version", &[]).await?;
        link.execute("INSERT INTO schema_version (version) VALUES ($1)", &[known.into()])
            .await?;
        writing.commit().await?;
        Ok(found == 0)
    }
}

/// The version of this program.
pub(super) fn known() -> i64 {
    i64::try_from(STEPS.len()).unwrap_or(i64::MAX)
}
