//! Which part of a call's money belongs to which deployment, where a call has several that are paid. What it means:
//! `tollway-ledger`.

use super::{Migration, Step};

pub(super) const MIGRATION: Migration = Migration {
    name: "0003_shares",
    // A list as JSON; null, as mostly, where all of it belongs to the deployment of the row.
    steps: &[Step::Both("ALTER TABLE receipts ADD COLUMN shares {text}")],
};
