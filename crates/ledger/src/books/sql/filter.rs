//! Conditions, put together from constants; data goes into parameters.

use tollway_meters::ScopeKind;
use tollway_store::sql::{Dialect, Value, placeholders};

use crate::books::{DayFilter, Filter, Place, Range, Within};

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

    fn any_of(&mut self, column: &str, list: &[String]) {
        if list.is_empty() {
            return;
        }
        let marks = placeholders(self.values.len() + 1, list.len());
        self.texts.push(format!("{column} IN ({marks})"));
        self.values.extend(list.iter().map(Value::from));
    }

    fn none_of(&mut self, column: &str, list: &[String]) {
        if list.is_empty() {
            return;
        }
        let marks = placeholders(self.values.len() + 1, list.len());
        self.texts.push(format!("{column} NOT IN ({marks})"));
        self.values.extend(list.iter().map(Value::from));
    }

    /// One of several things must hold; none of them: nothing does.
    fn within(&mut self, within: Option<&Within>) {
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

    /// `WHERE …`, or nothing.
    pub(super) fn text(&self) -> String {
        if self.texts.is_empty() { String::new() } else { format!(" WHERE {}", self.texts.join(" AND ")) }
    }
}

/// Which receipts.
pub(super) fn receipts(dialect: Dialect, filter: &Filter, after: Option<&Place>) -> Conditions {
    let mut found = Conditions::default();
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
    found
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

/// Which days.
pub(super) fn days(filter: &DayFilter) -> Conditions {
    let (of, ids) = filter.of.name_and_ids();
    let mut found = Conditions::default();
    found.add("of_kind = {}", of);
    found.add("day >= {}", filter.days.0);
    found.add("day <= {}", filter.days.1);
    for (column, list) in [
        ("of_id", ids),
        ("key_id", &filter.keys),
        ("token", &filter.tokens),
        ("user_id", &filter.users),
        ("team_id", &filter.teams),
        ("organization_id", &filter.organizations),
        ("model_group", &filter.model_groups),
        ("model", &filter.models),
        ("provider", &filter.providers),
    ] {
        found.any_of(column, list);
    }
    found.none_of("team_id", &filter.without_teams);
    found.within(filter.within.as_ref());
    found
}

/// Where a kind's receipts are, and its id in them; null where a receipt does not count for it.
pub(super) fn scope_of(dialect: Dialect, kind: ScopeKind) -> (&'static str, &'static str) {
    let id = match kind {
        ScopeKind::Global => "''",
        ScopeKind::Key => "NULLIF(key_id, '')",
        ScopeKind::User => "user_id",
        ScopeKind::Team => "team_id",
        ScopeKind::TeamMember => "team_id || '/' || user_id",
        ScopeKind::Organization => "organization_id",
        ScopeKind::Customer => "customer_id",
        ScopeKind::ModelPerKey => "NULLIF(key_id, '') || ':' || model_group",
        ScopeKind::ModelPerTeam => "team_id || ':' || model_group",
        ScopeKind::Deployment => "deployment",
        ScopeKind::Provider => "provider",
        ScopeKind::Tag => "tag.value",
    };
    let from = match (kind, dialect) {
        (ScopeKind::Tag, Dialect::Sqlite) => {
            "receipts JOIN (SELECT receipts.id AS tagged, value FROM receipts, json_each(receipts.tags) \
             GROUP BY receipts.id, value) AS tag ON tag.tagged = receipts.id"
        }
        (ScopeKind::Tag, Dialect::Postgres) => {
            "receipts CROSS JOIN LATERAL (SELECT DISTINCT value FROM jsonb_array_elements_text(CAST(tags AS JSONB))) AS tag"
        }
        _ => "receipts",
    };
    (from, id)
}
