//! Where a test's database is.

use tollway_model::Secret;
use tollway_store::records::{Key, Stamp};
use tollway_store::{Store, Upkeep as _};

/// An empty place for a database, gone with the value.
pub(crate) struct Place {
    /// What [`Store::open`] takes.
    pub(crate) location: String,
    /// The one store in memory.
    only: Option<Store>,
    _directory: Option<tempfile::TempDir>,
}

impl Place {
    pub(crate) fn memory() -> Option<Place> {
        let only = Store::open("memory:").unwrap();
        Some(Place { location: "memory:".to_owned(), only: Some(only), _directory: None })
    }

    pub(crate) fn file() -> Option<Place> {
        let directory = tempfile::tempdir().unwrap();
        let location = directory.path().join("tollway.db").display().to_string();
        Some(Place { location, only: None, _directory: Some(directory) })
    }

    pub(crate) fn postgres() -> Option<Place> {
        let location = tollway_testkit::services::new_database()?;
        Some(Place { location, only: None, _directory: None })
    }

    /// A store as another process would open it; in memory there is only one.
    pub(crate) fn open(&self) -> Store {
        self.only.clone().unwrap_or_else(|| Store::open(&self.location).unwrap())
    }

    /// As [`Place::open`], with its tables.
    pub(crate) async fn store(&self) -> Store {
        let store = self.open();
        store.migrate().await.unwrap();
        store
    }

    pub(crate) fn is_memory(&self) -> bool {
        self.only.is_some()
    }
}

/// Makes a test of every function, for every database.
macro_rules! on_every_database {
    ($($test:ident),* $(,)?) => {
        mod memory { $crate::place::on_every_database!(@ memory $($test)*); }
        mod file { $crate::place::on_every_database!(@ file $($test)*); }
        mod postgres { $crate::place::on_every_database!(@ postgres $($test)*); }
    };
    (@ $place:ident $($test:ident)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            if let Some(place) = $crate::place::Place::$place() {
                super::$test(place).await;
            }
        }
    )*};
}
pub(crate) use on_every_database;

/// A key as accounts would make it; `n` decides everything.
pub(crate) fn key(n: i64) -> Key {
    Key {
        id: format!("key-{n:07}"),
        token: format!("{n:064x}"),
        key_name: "sk-...abcd".to_owned(),
        key_alias: Some(format!("alias {n}")),
        team_id: Some(format!("team-{}", n % 3)),
        models: vec!["gpt-4o".to_owned()],
        stamp: Stamp { created_at: 1_000 + n, updated_at: 1_000 + n, ..Stamp::default() },
        ..Key::default()
    }
}

pub(crate) fn secret(text: &str) -> Secret {
    Secret::new(text)
}
