//! Who may call, and what.
//!
//! [`Principal`] is who calls: the key and its owners. [`Identity`] is the same made ready for calls, and the
//! [`Directory`] finds it by the key's hash without asking the store twice. The effective right is what key, owner and
//! role all allow, decided when it is used, so that a change of any of them counts from the next call on. [`rights`] is the one
//! table of that; [`manage`] changes the records, behind it.

mod access;
mod claims;
mod directory;
mod hash;
mod identity;
mod key_spend;
pub mod manage;
mod principal;
pub mod rights;
mod tags;

pub use access::ModelAccess;
pub use directory::{Directory, KnownCustomer, Options, Shelves};
pub use hash::{KeyHash, KeyId};
pub use identity::{Identity, Names, Owner, Rules, SharedBudgets, iso};
pub use key_spend::{KeySpend, Question};
pub use principal::{Principal, Role};
pub use tags::KnownTag;

/// The `param` of the error for a key that opens nothing; other failures to identify have none.
pub const WRONG_KEY: &str = "key";

/// The zone that calendar windows begin in; one for the process, as it must be for limits to mean one thing.
static ZONE: std::sync::OnceLock<String> = std::sync::OnceLock::new();

/// Sets the zone that calendar windows begin in, an IANA name. The first call counts; without one it is UTC.
pub fn set_zone(zone: &str) {
    let _ = ZONE.set(zone.to_owned());
}

/// The zone that calendar windows begin in.
pub(crate) fn zone() -> &'static str {
    ZONE.get().map_or("UTC", String::as_str)
}

/// Wall time, milliseconds since 1970.
#[expect(
    clippy::disallowed_methods,
    reason = "the one clock of this crate: expiry and budget windows are wall time"
)]
pub(crate) fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The window of a budget. What cannot be read never resets: money must not come back by mistake; management refuses
/// to store such a duration in the first place.
pub(crate) fn window(duration: Option<&str>) -> tollway_meters::Window {
    use tollway_meters::Window;
    let Some(duration) = duration else { return Window::Lifetime };
    Window::parse(duration, zone()).unwrap_or_else(|error| {
        tracing::warn!(target: "tollway::accounts", duration, error, "a budget's window cannot be read; it never resets");
        Window::Lifetime
    })
}
