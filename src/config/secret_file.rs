//! The sealing key that is made once and kept in a file beside the SQLite database.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::SecretKeys;
use crate::seal::SecretKey;

/// Why the key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be read or made.
    #[error(
        "the key file {path} cannot be used: {source}; give the key in VESTIBULE_SECRET_KEY, or make the folder writable"
    )]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// Others can read it.
    #[error("the key file {0} can be read by others: run `chmod 600` on it, and think about who may have read it")]
    Open(PathBuf),
    /// It does not hold 32 bytes in base64.
    #[error(
        "the key file {0} does not hold 32 bytes in base64: put the key back from a backup; without it nothing sealed by it opens"
    )]
    Damaged(PathBuf),
}

impl SecretKeys {
    /// The keys: those given, or those of the file, which is made where there is none.
    ///
    /// # Errors
    /// If the file cannot be read or made, is readable by others, or is damaged.
    pub fn load(&self) -> Result<Vec<SecretKey>, KeyFileError> {
        match self {
            Self::Given(keys) => Ok(keys.clone()),
            Self::File(path) => {
                if !path.try_exists().map_err(|source| io_error(path, source))? {
                    make(path)?;
                }
                read(path)
            }
        }
    }
}

/// Writes a fresh key under a name of its own first: a file that exists is whole, and of two processes that start at once
/// both use the one that came first.
fn make(path: &Path) -> Result<(), KeyFileError> {
    let text = STANDARD.encode(SecretKey::generate().expose());
    let draft = path.with_extension(format!("new-{:016x}", u64::from_ne_bytes(crate::seal::random())));
    let written = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)?;
        file.write_all(text.as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::hard_link(&draft, path)?;
        // The name must survive a power cut as the database beside it does.
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    })();
    drop(fs::remove_file(&draft));
    match written {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other.map_err(|source| io_error(path, source)),
    }
}

fn read(path: &Path) -> Result<Vec<SecretKey>, KeyFileError> {
    let mode = fs::metadata(path)
        .map_err(|source| io_error(path, source))?
        .permissions()
        .mode();
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Open(path.to_owned()));
    }
    let text = zeroize::Zeroizing::new(fs::read_to_string(path).map_err(|source| io_error(path, source))?);
    let keys = text
        .split([',', '\n'])
        .map(str::trim)
        .filter(|key| !key.is_empty())
        .map(|key| {
            let bytes: [u8; 32] = STANDARD.decode(key).ok()?.try_into().ok()?;
            Some(SecretKey::new(bytes))
        });
    let keys: Option<Vec<SecretKey>> = keys.collect();
    keys.filter(|keys| !keys.is_empty())
        .ok_or_else(|| KeyFileError::Damaged(path.to_owned()))
}

fn io_error(path: &Path, source: io::Error) -> KeyFileError {
    KeyFileError::Io {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::{KeyFileError, SecretKeys};

    #[test]
    fn the_key_is_made_once_and_for_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vestibule.db.key");
        let keys = SecretKeys::File(path.clone());
        let first = keys.load().unwrap();
        assert_eq!(first[0].expose(), keys.load().unwrap()[0].expose());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(keys.load(), Err(KeyFileError::Open(_))));
    }

    #[test]
    fn a_damaged_key_file_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, "short").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(
            SecretKeys::File(path.clone()).load(),
            Err(KeyFileError::Damaged(_))
        ));
        assert_eq!(fs::read_to_string(path).unwrap(), "short");
    }

    #[test]
    fn many_that_start_at_once_use_one_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let loaded: Vec<[u8; 32]> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| *SecretKeys::File(path.clone()).load().unwrap()[0].expose()))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(loaded.windows(2).all(|pair| pair[0] == pair[1]));
    }
}
