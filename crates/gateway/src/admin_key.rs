//! The admin key that the gateway makes for itself when no master key is configured.

use std::io;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tollway_model::Secret;
use tollway_pipeline::KeyHash;

const FILE: &str = "admin-key.sha256";

/// The generated admin key.
#[derive(Debug)]
pub(crate) struct AdminKey {
    pub(crate) hash: KeyHash,
    /// The key itself: only in the run that made it.
    pub(crate) fresh: Option<Secret>,
}

/// Reads the key's hash from the data directory, or makes a key (256 random bits) and stores its hash there.
pub(crate) fn load_or_make(directory: &Path) -> io::Result<AdminKey> {
    let path = directory.join(FILE);
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            let hash = KeyHash::from_hex(text.trim()).ok_or_else(|| {
                let message = format!("{} is damaged; delete it to get a new admin key", path.display());
                io::Error::new(io::ErrorKind::InvalidData, message)
            })?;
            Ok(AdminKey { hash, fresh: None })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = generate()?;
            let hash = KeyHash::of(key.expose());
            crate::data_dir::write_private(&path, format!("{}\n", hash.to_hex()).as_bytes())?;
            Ok(AdminKey { hash, fresh: Some(key) })
        }
        Err(error) => Err(error),
    }
}

fn generate() -> io::Result<Secret> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| io::Error::other("the system gives no random numbers"))?;
    Ok(Secret::new(format!("sk-{}", URL_SAFE_NO_PAD.encode(bytes))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_shown_once_and_only_its_hash_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let first = load_or_make(directory.path()).unwrap();
        let key = first.fresh.unwrap();
        let second = load_or_make(directory.path()).unwrap();
        assert!(second.fresh.is_none());
        assert!(second.hash.matches(&KeyHash::of(key.expose())));
        let stored = std::fs::read_to_string(directory.path().join(FILE)).unwrap();
        assert!(!stored.contains(key.expose()) && key.expose().len() == 46);
    }

    #[test]
    fn a_damaged_file_is_an_error_and_not_a_new_key() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(FILE), "junk").unwrap();
        assert!(load_or_make(directory.path()).unwrap_err().to_string().contains("damaged"));
    }
}
