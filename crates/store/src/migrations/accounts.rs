//! Records of accounts, news of their changes, and the audit log.
//!
//! A table of records has its columns to look up by, the record itself as JSON in `body`, and an index for every way it
//! is sorted: the column, then `id`.

use super::{Migration, Step};
use Step::{Both, Postgres, Sqlite};

pub(super) const MIGRATION: Migration = Migration {
    name: "0001_accounts",
    steps: &[
        Both(
            "CREATE TABLE keys (id {text} PRIMARY KEY, token {text}, key_alias {text}, user_id {text}, team_id {text}, \
             budget_id {text}, version BIGINT NOT NULL, created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, \
             body {text} NOT NULL)",
        ),
        Both("CREATE UNIQUE INDEX keys_token ON keys (token)"),
        // Looking for a part of an alias reads one of these as a whole, and not the keys.
        Postgres("CREATE UNIQUE INDEX keys_key_alias ON keys (key_alias) INCLUDE (id, created_at)"),
        Sqlite("CREATE UNIQUE INDEX keys_key_alias ON keys (key_alias)"),
        Sqlite("CREATE INDEX keys_search ON keys (key_alias, created_at, id)"),
        Both("CREATE INDEX keys_user_id ON keys (user_id, created_at, id)"),
        Both("CREATE INDEX keys_team_id ON keys (team_id, created_at, id)"),
        Both("CREATE INDEX keys_budget_id ON keys (budget_id, created_at, id)"),
        Both("CREATE INDEX keys_created_at ON keys (created_at, id)"),
        Both("CREATE INDEX keys_updated_at ON keys (updated_at, id)"),
        Both(
            "CREATE TABLE teams (id {text} PRIMARY KEY, team_alias {text}, organization_id {text}, \
             version BIGINT NOT NULL, created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, body {text} NOT NULL)",
        ),
        Both("CREATE INDEX teams_team_alias ON teams (team_alias, id)"),
        Both("CREATE INDEX teams_organization_id ON teams (organization_id, created_at, id)"),
        Both("CREATE INDEX teams_created_at ON teams (created_at, id)"),
        Both(
            "CREATE TABLE memberships (id {text} PRIMARY KEY, team_id {text}, user_id {text}, \
             version BIGINT NOT NULL, created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, body {text} NOT NULL)",
        ),
        Both("CREATE INDEX memberships_team_id ON memberships (team_id, created_at, id)"),
        Both("CREATE INDEX memberships_user_id ON memberships (user_id, created_at, id)"),
        Both(
            "CREATE TABLE users (id {text} PRIMARY KEY, sso_user_id {text}, user_email {text}, \
             version BIGINT NOT NULL, created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, body {text} NOT NULL)",
        ),
        Both("CREATE UNIQUE INDEX users_sso_user_id ON users (sso_user_id)"),
        Both("CREATE INDEX users_user_email ON users (user_email, id)"),
        Both("CREATE INDEX users_created_at ON users (created_at, id)"),
        Both(
            "CREATE TABLE customers (id {text} PRIMARY KEY, budget_id {text}, \
             version BIGINT NOT NULL, created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, body {text} NOT NULL)",
        ),
        Both("CREATE INDEX customers_budget_id ON customers (budget_id, created_at, id)"),
        Both("CREATE INDEX customers_created_at ON customers (created_at, id)"),
        Both(
            "CREATE TABLE budgets (id {text} PRIMARY KEY, \
             version BIGINT NOT NULL, created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, body {text} NOT NULL)",
        ),
        Both("CREATE INDEX budgets_created_at ON budgets (created_at, id)"),
        Both(
            "CREATE TABLE models (id {text} PRIMARY KEY, model_name {text}, \
             version BIGINT NOT NULL, created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, body {text} NOT NULL)",
        ),
        Both("CREATE INDEX models_model_name ON models (model_name, created_at, id)"),
        Both("CREATE INDEX models_created_at ON models (created_at, id)"),
        Both(
            "CREATE TABLE graces (id {text} PRIMARY KEY, key_id {text}, \
             version BIGINT NOT NULL, created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, body {text} NOT NULL)",
        ),
        Both("CREATE INDEX graces_key_id ON graces (key_id, created_at, id)"),
        Both(
            "CREATE TABLE deleted_keys (id {text} PRIMARY KEY, token {text}, team_id {text}, user_id {text}, \
             version BIGINT NOT NULL, created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, body {text} NOT NULL)",
        ),
        Both("CREATE INDEX deleted_keys_token ON deleted_keys (token, id)"),
        Both("CREATE INDEX deleted_keys_team_id ON deleted_keys (team_id, created_at, id)"),
        Both("CREATE INDEX deleted_keys_user_id ON deleted_keys (user_id, created_at, id)"),
        Both("CREATE INDEX deleted_keys_created_at ON deleted_keys (created_at, id)"),
        Both(
            "CREATE TABLE responses (id {text} PRIMARY KEY, owner {text}, expires {text}, \
             version BIGINT NOT NULL, created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, body {text} NOT NULL)",
        ),
        Both("CREATE INDEX responses_owner ON responses (owner, created_at, id)"),
        Both("CREATE INDEX responses_expires ON responses (expires)"),
        // News of changes. The head's row is locked from a change to its commit, so sequences appear in order.
        Both(
            "CREATE TABLE changes (sequence BIGINT PRIMARY KEY, table_name {text} NOT NULL, record_id {text} NOT NULL, \
             tokens {text} NOT NULL)",
        ),
        Both("CREATE TABLE changes_head (id BIGINT PRIMARY KEY, sequence BIGINT NOT NULL)"),
        Both("INSERT INTO changes_head (id, sequence) VALUES (1, 0)"),
        // The audit log, and the hash its next entry is chained to.
        Both(
            "CREATE TABLE audit (sequence BIGINT PRIMARY KEY, at BIGINT NOT NULL, actor {text} NOT NULL, \
             actor_key {text} NOT NULL, action {text} NOT NULL, table_name {text} NOT NULL, \
             record_id {text} NOT NULL, old_value {text}, new_value {text}, hash {text} NOT NULL)",
        ),
        Both("CREATE INDEX audit_record ON audit (table_name, record_id, sequence)"),
        Both(
            "CREATE TABLE audit_head (id BIGINT PRIMARY KEY, sequence BIGINT NOT NULL, hash {text} NOT NULL)",
        ),
        Both("INSERT INTO audit_head (id, sequence, hash) VALUES (1, 0, '')"),
    ],
};
