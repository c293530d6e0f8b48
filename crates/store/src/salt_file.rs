//! Salt keys kept in a file: one a line, the first is the active one. Only its owner can read it.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use tollway_model::Secret;

use crate::SaltKey;

/// A file of salt keys.
#[derive(Debug, Clone)]
pub struct SaltFile {
    path: PathBuf,
}

impl SaltFile {
    /// The file at `path`, there or not.
    pub fn new(path: &Path) -> SaltFile {
        SaltFile { path: path.to_owned() }
    }

    /// The keys, the active one first. An empty file is an error: a new key would hide that the old one is lost.
    pub fn read(&self) -> io::Result<Vec<SaltKey>> {
        let text = zeroize::Zeroizing::new(std::fs::read_to_string(&self.path)?);
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let keys: Vec<_> = lines.map(|line| SaltKey::new(Secret::new(line))).collect();
        if keys.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{} holds no key; put the salt key back there", self.path.display()),
            ));
        }
        Ok(keys)
    }

    /// As [`SaltFile::read`], with a new key in a new file when it is missing.
    pub fn read_or_make(&self) -> io::Result<Vec<SaltKey>> {
        match self.read() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let key = SaltKey::random().map_err(io::Error::other)?;
                // Another process may be doing the same: the first wins.
                match self.write_new(&key) {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.read(),
                    result => result.map(|()| vec![key]),
                }
            }
            result => result,
        }
    }

    /// Makes a new key the active one; the others go on opening. Returns all.
    pub fn add(&self) -> io::Result<Vec<SaltKey>> {
        let mut keys = self.read_or_make()?;
        keys.insert(0, SaltKey::random().map_err(io::Error::other)?);
        self.replace(&keys)?;
        Ok(keys)
    }

    /// Forgets all keys but the active one.
    pub fn forget_old(&self) -> io::Result<()> {
        let mut keys = self.read()?;
        keys.truncate(1);
        self.replace(&keys)
    }

    fn write_new(&self, key: &SaltKey) -> io::Result<()> {
        let draft = self.draft(std::slice::from_ref(key))?;
        let linked = std::fs::hard_link(&draft, &self.path);
        std::fs::remove_file(&draft)?;
        linked
    }

    fn replace(&self, keys: &[SaltKey]) -> io::Result<()> {
        std::fs::rename(self.draft(keys)?, &self.path)
    }

    /// Writes the keys to a file beside it, whole, so that nobody reads half of them.
    fn draft(&self, keys: &[SaltKey]) -> io::Result<PathBuf> {
        let path = self.path.with_extension(format!("{}.new", std::process::id()));
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&path)?;
        for key in keys {
            writeln!(file, "{}", key.secret().expose())?;
        }
        file.sync_all()?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sealer;

    #[test]
    fn a_key_is_made_once_and_is_its_owners() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("salt-keys");
        let made = Sealer::of_file(&path).unwrap();
        assert_eq!(Sealer::of_file(&path).unwrap().active(), made.active());
        #[cfg(unix)]
        {
            let mode = std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions());
            assert_eq!(mode & 0o777, 0o600);
        }
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "no draft stays");
    }

    #[test]
    fn a_running_process_learns_of_a_new_key_when_it_meets_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("salt-keys");
        let running = Sealer::of_file(&path).unwrap();
        let old = running.seal("model", "m", &Secret::new("x")).unwrap();
        SaltFile::new(&path).add().unwrap();
        let new = Sealer::of_file(&path).unwrap().reseal("m", &old).unwrap().unwrap();
        assert_eq!(running.open("model", "m", &new).unwrap().expose(), "x");
        assert_eq!(running.open("model", "m", &old).unwrap().expose(), "x");
        SaltFile::new(&path).forget_old().unwrap();
        assert!(Sealer::of_file(&path).unwrap().open("model", "m", &old).is_err());
    }

    #[test]
    fn an_empty_file_is_an_error_and_not_a_new_key() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("salt-keys");
        std::fs::write(&path, "\n").unwrap();
        assert!(Sealer::of_file(&path).unwrap_err().to_string().contains("holds no key"));
    }
}
