//! The signing keys at rest.

use super::{Change, Reading, StoreError};
use crate::clock::UnixTime;

/// A row of `signing_keys`.
#[derive(Clone, Debug)]
pub(crate) struct KeyRow {
    pub(crate) kid: String,
    /// The private key (PKCS #8), sealed under its `kid`.
    pub(crate) sealed: Vec<u8>,
    /// The public key as it is published.
    pub(crate) jwk: String,
    pub(crate) created: UnixTime,
    pub(crate) signs_from: Option<UnixTime>,
    pub(crate) signs_until: Option<UnixTime>,
}

impl Reading {
    pub(crate) async fn keys(&mut self) -> Result<Vec<KeyRow>, StoreError> {
        let rows = self
            .link
            .rows("SELECT * FROM signing_keys ORDER BY created, kid", &[])
            .await?;
        rows.iter()
            .map(|row| {
                Ok(KeyRow {
                    kid: row.get("kid")?,
                    sealed: row.get("sealed")?,
                    jwk: row.get("jwk")?,
                    created: UnixTime(row.get("created")?),
                    signs_from: row.get::<Option<i64>>("signs_from")?.map(UnixTime),
                    signs_until: row.get::<Option<i64>>("signs_until")?.map(UnixTime),
                })
            })
            .collect()
    }
}

impl Change {
    pub(crate) async fn insert_key(&mut self, key: &KeyRow) -> Result<(), StoreError> {
        let sql = "INSERT INTO signing_keys (kid, sealed, jwk, created, signs_from, signs_until) \
                   VALUES ($1, $2, $3, $4, $5, $6)";
        let values = [
            key.kid.as_str().into(),
            key.sealed.as_slice().into(),
            key.jwk.as_str().into(),
            key.created.0.into(),
            key.signs_from.map(|time| time.0).into(),
            key.signs_until.map(|time| time.0).into(),
        ];
        self.link.execute(sql, &values).await.map(drop)
    }

    pub(crate) async fn plan_key(&mut self, key: &KeyRow) -> Result<(), StoreError> {
        let values = [
            key.kid.as_str().into(),
            key.signs_from.map(|time| time.0).into(),
            key.signs_until.map(|time| time.0).into(),
        ];
        self.link
            .execute(
                "UPDATE signing_keys SET signs_from = $2, signs_until = $3 WHERE kid = $1",
                &values,
            )
            .await
            .map(drop)
    }

    pub(crate) async fn delete_key(&mut self, kid: &str) -> Result<(), StoreError> {
        self.link
            .execute("DELETE FROM signing_keys WHERE kid = $1", &[kid.into()])
            .await
            .map(drop)
    }
}
