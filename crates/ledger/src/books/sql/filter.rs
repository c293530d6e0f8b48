//! Conditions, put together from constants; data goes into parameters.

use tollway_meters::ScopeKind;
use tollway_store::sql::{Dialect, Value, placeholders};

use crate::books::{Filter, Place, Range, Within};

/// Conditions that must all hold, and their parameters.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    texts: Vec<String>,
    pub(super) values: Vec<Value>,
}

impl Conditions {
    /// With parameters that are in use already.
    pub(super) fn after(values: Vec<Value>) -> Conditions {
        Conditions { texts: Vec::new(), values }
    }

    /// `{}` in the text becomes the parameter.
    pub(super) fn add(&mut self, text: &str, value: impl Into<Value>) {
        self.values.push(value.into());
        self.texts.push(text.replace("{}", &format!("${}", self.values.len())));
    }

    pub(super) fn plain(&mut self, text: &str) {
        self.texts.push(text.to_owned());
    }

    fn maybe(&mut self, text: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.add(text, value);
        }
    }

    pub(super) fn any_of(&mut self, column: &str, list: &[String]) {
        if list.is_empty() {
            return;
        }
        let marks = placeholders(self.values.len() + 1, list.len());
        self.texts.push(format!("{column} IN ({marks})"));
        self.values.extend(list.iter().map(Value::from));
    }

    pub(super) fn none_of(&mut self, column: &str, list: &[String]) {
        if list.is_empty() {
            return;
        }
        let marks = placeholders(self.values.len() + 1, list.len());
        self.texts.push(format!("{column} NOT IN ({marks})"));
        self.values.extend(list.iter().map(Value::from));
    }

    /// One of several things must hold; none of them: nothing does.
    pub(super) fn within(&mut self, within: Option<&Within>) {
        let Some(within) = within else { return };
        let mut any = Conditions::after(std::mem::take(&mut self.values));
        any.any_of("key_id", &within.keys);
        any.any_of("user_id", &within.users);
        any.any_of("team_id", &within.teams);
        self.values = any.values;
        let text = if any.texts.is_empty() { "1 = 0".to_owned() } else { any.texts.join(" OR ") };
        self.texts.push(format!("({text})"));
    }

    pub(super) fn range(&mut self, range: Range) {
        if let Some(from) = range.from {
            self.add("at >= {}", from);
        }
        if let Some(until) = range.until {
            self.add("at < {}", until);
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.texts.len()
    }

    /// All of them as one condition.
    pub(super) fn all(&self) -> String {
        if self.texts.is_empty() { "1 = 1".to_owned() } else { self.texts.join(" AND ") }
    }

    /// `WHERE …`, or nothing.
    pub(super) fn text(&self) -> String {
        if self.texts.is_empty() { String::new() } else { format!(" WHERE {}", self.texts.join(" AND ")) }
    }
}

/// Which receipts.
pub(super) fn receipts(dialect: Dialect, filter: &Filter, after: Option<&Place>) -> Conditions {
    let mut found = Conditions::default();
    add_receipts(&mut found, dialect, filter, after);
    found
}

/// Adds to conditions which receipts.
pub(super) fn add_receipts(found: &mut Conditions, dialect: Dialect, filter: &Filter, after: Option<&Place>) {
    found.range(filter.range);
    for (text, value) in [
        ("token = {}", &filter.token),
        ("key_id = {}", &filter.key),
        ("user_id = {}", &filter.user),
        ("team_id = {}", &filter.team),
        ("organization_id = {}", &filter.organization),
        ("customer_id = {}", &filter.customer),
        ("model = {}", &filter.model),
        ("model_group = {}", &filter.model_group),
        ("provider = {}", &filter.provider),
        ("deployment = {}", &filter.deployment),
        ("session_id = {}", &filter.session),
        ("(id = {} OR call_id = {})", &filter.call),
        (has_tag(dialect), &filter.tag),
    ] {
        found.maybe(text, value.as_deref());
    }
    found.any_of("team_id", &filter.teams);
    found.within(filter.within.as_ref());
    match filter.answered {
        Some(true) => found.plain("outcome = 'answered'"),
        Some(false) => found.plain("outcome <> 'answered'"),
        None => {}
    }
    if let Some(status) = filter.status {
        found.add("status = {}", i64::from(status));
    }
    if let Some(min) = filter.min {
        found.add("COALESCE(nanos, 0) >= {}", min.nanos());
    }
    if let Some(max) = filter.max {
        found.add("COALESCE(nanos, 0) <= {}", max.nanos());
    }
    if let Some(place) = after {
        // The first is what the index understands.
        found.add("at <= {}", place.at);
        let at = found.values.len();
        found.add(&format!("(at < ${at} OR id < {{}})"), place.id.as_str());
    }
}

fn has_tag(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => {
            "tags IS NOT NULL AND EXISTS (SELECT 1 FROM json_each(receipts.tags) AS tag WHERE tag.value = {})"
        }
        Dialect::Postgres => {
            "tags IS NOT NULL AND CAST(tags AS JSONB) @> jsonb_build_array(CAST({} AS TEXT))"
        }
    }
}

/// The table of receipts where the time is all that an index can be used for. SQLite would rather try every key there
/// is, once it has looked at how many there are.
pub(super) fn by_time(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => "receipts INDEXED BY receipts_at",
        Dialect::Postgres => "receipts",
    }
}

/// How the receipts of a kind's scopes are added up: columns of what is joined.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source {
    pub(super) from: &'static str,
    /// The scope's id; null where a receipt does not count for one of this kind.
    pub(super) id: &'static str,
    pub(super) nanos: &'static str,
    pub(super) calls: &'static str,
    pub(super) unknown: &'static str,
}

/// Where a kind's receipts are, and what of them counts.
pub(super) fn source_of(dialect: Dialect, kind: ScopeKind) -> Source {
    let whole =
        Source { from: "receipts", id: "''", nanos: "COALESCE(nanos, 0)", calls: "1", unknown: "unknown" };
    let of = |id| Source { id, ..whole };
    match (kind, dialect) {
        (ScopeKind::Global, _) => whole,
        (ScopeKind::Key, _) => of("NULLIF(key_id, '')"),
        (ScopeKind::User, _) => of("user_id"),
        (ScopeKind::Team, _) => of("team_id"),
        (ScopeKind::TeamMember, _) => of("team_id || '/' || user_id"),
        (ScopeKind::Organization, _) => of("organization_id"),
        (ScopeKind::Customer, _) => of("customer_id"),
        (ScopeKind::ModelPerKey, _) => of("NULLIF(key_id, '') || ':' || model_group"),
        (ScopeKind::ModelPerTeam, _) => of("team_id || ':' || model_group"),
        (ScopeKind::ModelPerUser, _) => of("user_id || ':' || model_group"),
        (ScopeKind::ModelPerMember, _) => of("team_id || '/' || user_id || ':' || model_group"),
        (ScopeKind::ModelPerCustomer, _) => of("customer_id || ':' || model_group"),
        (ScopeKind::ModelPerTag, dialect) => {
            let tag = source_of(dialect, ScopeKind::Tag);
            let id = match dialect {
                Dialect::Sqlite => {
                    "CASE WHEN EXISTS (SELECT 1 FROM json_each(receipts.tags) AS earlier \
                     WHERE earlier.value = tag.value AND earlier.id < tag.id) THEN NULL \
                     ELSE tag.value || ':' || model_group END"
                }
                Dialect::Postgres => "tag.value || ':' || model_group",
            };
            Source { id, ..tag }
        }
        // No money is spent there.
        (ScopeKind::TokensADay | ScopeKind::TagPerKey, _) => of("NULL"),
        (ScopeKind::Tag, Dialect::Sqlite) => Source {
            from: "receipts CROSS JOIN json_each(receipts.tags) AS tag",
            // A tag counts once.
            ..of("CASE WHEN EXISTS (SELECT 1 FROM json_each(receipts.tags) AS earlier \
                  WHERE earlier.value = tag.value AND earlier.id < tag.id) THEN NULL ELSE tag.value END")
        },
        (ScopeKind::Tag, Dialect::Postgres) => Source {
            from: "receipts CROSS JOIN LATERAL (SELECT DISTINCT value FROM \
                   jsonb_array_elements_text(CAST(tags AS JSONB))) AS tag",
            ..of("tag.value")
        },
        (ScopeKind::Deployment | ScopeKind::Provider, Dialect::Sqlite) => Source {
            from: "receipts LEFT JOIN json_each(receipts.shares) AS share",
            id: match kind {
                ScopeKind::Deployment => "COALESCE(json_extract(share.value, '$.d'), deployment)",
                _ => "COALESCE(json_extract(share.value, '$.p'), provider)",
            },
            nanos: "COALESCE(json_extract(share.value, '$.n'), nanos, 0)",
            calls: "COALESCE(json_extract(share.value, '$.c'), 1)",
            unknown: "COALESCE(json_extract(share.value, '$.u'), unknown)",
        },
        (ScopeKind::Deployment | ScopeKind::Provider, Dialect::Postgres) => Source {
            from: "receipts LEFT JOIN LATERAL jsonb_array_elements(CAST(shares AS JSONB)) AS share (value) ON TRUE",
            id: match kind {
                ScopeKind::Deployment => "COALESCE(share.value ->> 'd', deployment)",
                _ => "COALESCE(share.value ->> 'p', provider)",
            },
            nanos: "COALESCE(CAST(share.value ->> 'n' AS BIGINT), nanos, 0)",
            calls: "COALESCE(CAST(share.value ->> 'c' AS BIGINT), 1)",
            unknown: "COALESCE(CAST(share.value ->> 'u' AS BIGINT), unknown)",
        },
    }
}
