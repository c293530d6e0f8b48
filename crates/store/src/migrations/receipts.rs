//! Receipts and the sums that derive from them. What they mean: `tollway-ledger`.

use super::{Migration, Step};
use Step::{Both, Postgres, Sqlite};

/// The columns of a receipt. The primary key has the time in it because partitions are made by it.
macro_rules! receipts {
    ($before:literal, $after:literal) => {
        concat!(
            "CREATE TABLE receipts (id {text} NOT NULL, at BIGINT NOT NULL, call_id {text}, token {text} NOT NULL, \
             key_id {text} NOT NULL, user_id {text}, team_id {text}, organization_id {text}, customer_id {text}, \
             model {text}, model_group {text} NOT NULL, provider {text}, deployment {text}, surface {text} NOT NULL, \
             operation {text} NOT NULL, status BIGINT NOT NULL, outcome {text} NOT NULL, nanos BIGINT, \
             unknown BIGINT NOT NULL, held BIGINT, estimated BIGINT NOT NULL, input BIGINT NOT NULL, \
             output BIGINT NOT NULL, cache_read BIGINT NOT NULL, cache_write BIGINT NOT NULL, total_us BIGINT NOT NULL, \
             first_byte_us BIGINT, stream BIGINT NOT NULL, session_id {text}, tags {text}, detail {bytes} NOT NULL, ",
            $before,
            ")",
            $after
        )
    };
}

pub(super) const MIGRATION: Migration = Migration {
    name: "0002_receipts",
    steps: &[
        Sqlite(receipts!("PRIMARY KEY (id, at)", "")),
        Postgres(receipts!("PRIMARY KEY (id, at)", " PARTITION BY RANGE (at)")),
        Both("CREATE INDEX receipts_at ON receipts (at)"),
        Both("CREATE INDEX receipts_key ON receipts (key_id, at)"),
        Both("CREATE INDEX receipts_user ON receipts (user_id, at) WHERE user_id IS NOT NULL"),
        Both("CREATE INDEX receipts_team ON receipts (team_id, at) WHERE team_id IS NOT NULL"),
        Both("CREATE INDEX receipts_customer ON receipts (customer_id, at) WHERE customer_id IS NOT NULL"),
        Both("CREATE INDEX receipts_call ON receipts (call_id) WHERE call_id IS NOT NULL"),
        Both("CREATE INDEX receipts_session ON receipts (session_id, at) WHERE session_id IS NOT NULL"),
        // Which minutes (since 1970) have receipts of a model, a provider, a tag and the like, how many, and between what
        // they cost: instead of an index for each of them, which every receipt would pay for.
        Sqlite(
            "CREATE TABLE receipt_minutes (of_kind {text} NOT NULL, of_id {text} NOT NULL, minute BIGINT NOT NULL, \
             calls BIGINT NOT NULL, least BIGINT NOT NULL, most BIGINT NOT NULL, \
             PRIMARY KEY (of_kind, of_id, minute)) WITHOUT ROWID",
        ),
        Postgres(
            "CREATE TABLE receipt_minutes (of_kind {text} NOT NULL, of_id {text} NOT NULL, minute BIGINT NOT NULL, \
             calls BIGINT NOT NULL, least BIGINT NOT NULL, most BIGINT NOT NULL, \
             PRIMARY KEY (of_kind, of_id, minute)) WITH (fillfactor = 80)",
        ),
        // Everyone who ever called. Days are looked up by what is found here.
        Sqlite(
            "CREATE TABLE spend_callers (key_id {text} NOT NULL, token {text} NOT NULL, user_id {text} NOT NULL, \
             team_id {text} NOT NULL, organization_id {text} NOT NULL, \
             PRIMARY KEY (key_id, token, user_id, team_id, organization_id)) WITHOUT ROWID",
        ),
        Postgres(
            "CREATE TABLE spend_callers (key_id {text} NOT NULL, token {text} NOT NULL, user_id {text} NOT NULL, \
             team_id {text} NOT NULL, organization_id {text} NOT NULL, \
             PRIMARY KEY (key_id, token, user_id, team_id, organization_id))",
        ),
        Both("CREATE INDEX spend_callers_token ON spend_callers (token)"),
        Both("CREATE INDEX spend_callers_user ON spend_callers (user_id)"),
        Both("CREATE INDEX spend_callers_team ON spend_callers (team_id)"),
        // Sums by scope: an hour each (hours since 1970), and negative hours for sums of days and over time. The hour
        // comes first, so that what a batch of receipts changes lies close together, however many keys they are of.
        Sqlite(
            "CREATE TABLE spend (scope {text} NOT NULL, id {text} NOT NULL, hour BIGINT NOT NULL, nanos BIGINT NOT NULL, \
             calls BIGINT NOT NULL, unknown BIGINT NOT NULL, PRIMARY KEY (hour, scope, id)) WITHOUT ROWID",
        ),
        Postgres(
            "CREATE TABLE spend (scope {text} NOT NULL, id {text} NOT NULL, hour BIGINT NOT NULL, nanos BIGINT NOT NULL, \
             calls BIGINT NOT NULL, unknown BIGINT NOT NULL, PRIMARY KEY (hour, scope, id))",
        ),
        Sqlite(
            "CREATE TABLE spend_days (day BIGINT NOT NULL, of_kind {text} NOT NULL, of_id {text} NOT NULL, \
             key_id {text} NOT NULL, token {text} NOT NULL, user_id {text} NOT NULL, team_id {text} NOT NULL, \
             organization_id {text} NOT NULL, model {text} NOT NULL, model_group {text} NOT NULL, \
             provider {text} NOT NULL, surface {text} NOT NULL, operation {text} NOT NULL, nanos BIGINT NOT NULL, \
             input BIGINT NOT NULL, output BIGINT NOT NULL, cache_read BIGINT NOT NULL, cache_write BIGINT NOT NULL, \
             answered BIGINT NOT NULL, failed BIGINT NOT NULL, unknown BIGINT NOT NULL, total_us BIGINT NOT NULL, \
             PRIMARY KEY (of_kind, day, of_id, key_id, token, user_id, team_id, organization_id, model, model_group, \
             provider, surface, operation)) WITHOUT ROWID",
        ),
        Postgres(
            "CREATE TABLE spend_days (day BIGINT NOT NULL, of_kind {text} NOT NULL, of_id {text} NOT NULL, \
             key_id {text} NOT NULL, token {text} NOT NULL, user_id {text} NOT NULL, team_id {text} NOT NULL, \
             organization_id {text} NOT NULL, model {text} NOT NULL, model_group {text} NOT NULL, \
             provider {text} NOT NULL, surface {text} NOT NULL, operation {text} NOT NULL, nanos BIGINT NOT NULL, \
             input BIGINT NOT NULL, output BIGINT NOT NULL, cache_read BIGINT NOT NULL, cache_write BIGINT NOT NULL, \
             answered BIGINT NOT NULL, failed BIGINT NOT NULL, unknown BIGINT NOT NULL, total_us BIGINT NOT NULL, \
             PRIMARY KEY (of_kind, day, of_id, key_id, token, user_id, team_id, organization_id, model, model_group, \
             provider, surface, operation))",
        ),
        Both(
            "CREATE TABLE spend_adjustments (id {text} PRIMARY KEY, at BIGINT NOT NULL, scope {text} NOT NULL, \
             scope_id {text} NOT NULL, nanos BIGINT NOT NULL, reason {text} NOT NULL)",
        ),
        Both("CREATE INDEX spend_adjustments_at ON spend_adjustments (at)"),
        Both("CREATE INDEX spend_adjustments_scope ON spend_adjustments (scope, scope_id, at)"),
        // `forgotten_before`: receipts that arrived earlier are gone.
        Both("CREATE TABLE spend_facts (name {text} PRIMARY KEY, value BIGINT NOT NULL)"),
    ],
};
