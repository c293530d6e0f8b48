//! Where the gateway keeps its files.

use std::io;
use std::path::{Path, PathBuf};

use tollway_config::process_env;

/// The data directory: `given`, else `TOLLWAY_DATA_DIR`, else the platform's place for such data.
pub(crate) fn locate(given: Option<&Path>) -> PathBuf {
    let from_env = |name: &str| process_env(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    given
        .map(Path::to_path_buf)
        .or_else(|| from_env("TOLLWAY_DATA_DIR"))
        .or_else(|| platform(&from_env))
        .unwrap_or_else(|| PathBuf::from(".tollway"))
}

fn platform(env: &dyn Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    if cfg!(windows) {
        return env("LOCALAPPDATA").map(|base| base.join("tollway"));
    }
    if cfg!(target_os = "macos") {
        return env("HOME").map(|home| home.join("Library/Application Support/tollway"));
    }
    env("XDG_DATA_HOME")
        .or_else(|| env("HOME").map(|home| home.join(".local/share")))
        .map(|base| base.join("tollway"))
}

/// Makes the directory, readable by its owner only.
pub(crate) fn make(directory: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

/// Writes a file that only its owner can read, whole or not at all.
pub(crate) fn write_private(path: &Path, contents: &[u8]) -> io::Result<()> {
    use std::io::Write;
    let temporary = path.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&temporary)?;
    file.write_all(contents)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)
}
