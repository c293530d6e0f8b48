//! Who may call, and what.
//!
//! [`Principal`] is who calls: the key and its owners, resolved once. The effective right is what key, owner and role all
//! allow, decided when it is used, so that a change of any of them counts from the next call on. [`rights`] is the one
//! table of that; [`manage`] changes the records, behind it.

pub mod manage;
mod principal;
pub mod rights;

pub use principal::{Principal, Role};
