//! Why a directory can't be used.

use std::sync::Arc;

/// Why the directory can't be used. Nobody's wrong password.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Unusable {
    /// No connection, or not a secure one.
    #[error("{server}: {why}")]
    NotReached {
        /// Which.
        server: Arc<str>,
        /// Why.
        why: String,
    },
    /// The service account is not let in.
    #[error("{server}: the service account (LOCAL_LDAP_BIND_DN) is not let in: result {code} {text}")]
    ServiceAccount {
        /// Which.
        server: Arc<str>,
        /// The result code (RFC 4511, appendix A).
        code: u32,
        /// What the server says.
        text: String,
    },
    /// A search fails.
    #[error("{server}: a search under {base:?} fails: result {code} {text}")]
    Search {
        /// Which.
        server: Arc<str>,
        /// Where.
        base: String,
        /// The result code.
        code: u32,
        /// What the server says.
        text: String,
    },
    /// The search for one person was cut short, so that nobody knows whether there is one.
    #[error("{server}: the search for a person was cut short by a limit of the server's")]
    CutShort {
        /// Which.
        server: Arc<str>,
    },
    /// A connection ended, hung, or brought nonsense.
    #[error("{server}: {why}")]
    Broken {
        /// Which.
        server: Arc<str>,
        /// Why.
        why: String,
    },
    /// A bind that a server would take for nobody's.
    #[error("a bind without a name or password is not sent")]
    EmptyBind,
    /// A step panicked, or the program is ending.
    #[error("a question to the directory was broken off")]
    Nonsense,
    /// All of it took too long.
    #[error("no server of the directory answered within {0} s")]
    Late(u64),
    /// No address is set.
    #[error("there is no server (LOCAL_LDAP_ADDRESS)")]
    NoServer,
}

impl Unusable {
    /// Whether it is the server's fault, so that the others are asked first for a while.
    pub(super) const fn is_the_servers(&self) -> bool {
        !matches!(self, Self::EmptyBind | Self::CutShort { .. } | Self::NoServer)
    }
}
