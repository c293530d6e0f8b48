//! The salt key: what secrets in the database are sealed with.

use std::path::Path;

use tollway_model::Secret;
use tollway_store::{SaltFile, SaltKey, Sealer};

/// Where the key is set; the first that is counts. The second is LiteLLM's.
const VARIABLES: [&str; 2] = ["TOLLWAY_SALT_KEY", "LITELLM_SALT_KEY"];
/// Keys that were set before, separated by commas: they open what they sealed.
const OLD: &str = "TOLLWAY_OLD_SALT_KEYS";
/// Where keys are kept, in the data directory, when none is set.
const FILE: &str = "salt-keys";

/// Where the salt keys are.
#[derive(Debug)]
pub(crate) enum SaltKeys {
    /// Set by the operator in the variable named.
    Set(Sealer, &'static str),
    /// In a file of the data directory.
    Kept(Sealer, SaltFile),
}

impl SaltKeys {
    /// Finds the keys, or makes one in the data directory.
    pub(crate) fn find(
        environment: &dyn Fn(&str) -> Option<String>,
        directory: &Path,
    ) -> Result<SaltKeys, String> {
        let set = |name: &str| environment(name).filter(|value| !value.trim().is_empty());
        let key = |text: &str| SaltKey::new(Secret::new(text.trim()));
        for name in VARIABLES {
            if let Some(value) = set(name) {
                let old = set(OLD).unwrap_or_default();
                let old = old.split(',').filter(|text| !text.trim().is_empty()).map(key).collect();
                return Ok(SaltKeys::Set(Sealer::new(key(&value), old), name));
            }
        }
        let path = directory.join(FILE);
        crate::data_dir::make(directory)
            .and_then(|()| Sealer::of_file(&path))
            .map(|sealer| SaltKeys::Kept(sealer, SaltFile::new(&path)))
            .map_err(|error| format!("the salt keys in {}: {error}", path.display()))
    }

    /// Seals and opens with them.
    pub(crate) fn sealer(&self) -> &Sealer {
        match self {
            SaltKeys::Set(sealer, _) | SaltKeys::Kept(sealer, _) => sealer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(set: &[(&str, &str)], directory: &Path) -> SaltKeys {
        let environment =
            |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        SaltKeys::find(&environment, directory).unwrap()
    }

    #[test]
    fn what_is_set_counts_before_what_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let kept = find(&[], directory.path());
        assert!(matches!(kept, SaltKeys::Kept(..)));
        let set = find(&[("LITELLM_SALT_KEY", "b"), ("TOLLWAY_SALT_KEY", "a")], directory.path());
        let id = |text: &str| SaltKey::new(Secret::new(text)).id().to_owned();
        assert_eq!(set.sealer().known(), [id("a")]);
        let old = find(&[("LITELLM_SALT_KEY", " b\n"), (OLD, "a, c,")], directory.path());
        assert_eq!(old.sealer().known(), [id("b"), id("a"), id("c")]);
        assert_eq!(
            find(&[("TOLLWAY_SALT_KEY", " ")], directory.path()).sealer().known(),
            kept.sealer().known()
        );
    }
}
