//! Tags of calls that have limits.

use super::{Migration, Step};

pub(super) const MIGRATION: Migration = Migration {
    name: "0004_tags",
    steps: &[
        Step::Both(
            "CREATE TABLE tags (id {text} PRIMARY KEY, budget_id {text}, \
             version BIGINT NOT NULL, created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, body {text} NOT NULL)",
        ),
        Step::Both("CREATE INDEX tags_budget_id ON tags (budget_id, created_at, id)"),
        Step::Both("CREATE INDEX tags_created_at ON tags (created_at, id)"),
    ],
};
