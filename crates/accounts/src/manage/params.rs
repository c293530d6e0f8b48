//! The query of a management request: known names only, each at most once unless it is a list.

use std::collections::BTreeMap;

use tollway_model::nearest::nearest;
use tollway_model::{Error, Result};
use tollway_store::Query;

use super::errors::bad;

/// The parameters that each list and look-up knows.
pub mod names {
    /// Of the route of this name.
    pub const KEY_INFO: &[&str] = &["key"];
    /// Of the route of this name.
    pub const KEY_LIST: &[&str] = &[
        "page",
        "size",
        "user_id",
        "team_id",
        "key_hash",
        "key_alias",
        "search",
        "substring_matching",
        "return_full_object",
        "include_team_keys",
        "sort_by",
        "sort_order",
        "status",
        "expand",
        "include_created_by_keys",
        "organization_id",
        "project_id",
        "agent_id",
        "access_group_id",
    ];
    /// Filters of lists by what there is not: nothing belongs to it.
    pub const NOWHERE: &[&str] =
        &["organization_id", "organization_ids", "project_id", "agent_id", "access_group_id"];
    /// Of the route of this name.
    pub const KEY_ALIASES: &[&str] = &["page", "size", "search", "team_id", "user_id"];
    /// Of the route of this name.
    pub const TEAM_INFO: &[&str] = &["team_id", "key_limit"];
    /// Of the route of this name.
    pub const TEAM_LIST: &[&str] = &["user_id", "organization_id"];
    /// Of the route of this name.
    pub const TEAM_PAGES: &[&str] = &[
        "user_id",
        "team_id",
        "team_alias",
        "search",
        "organization_id",
        "page",
        "page_size",
        "sort_by",
        "sort_order",
    ];
    /// Of the route of this name.
    pub const TEAM_PERMISSIONS: &[&str] = &["team_id"];
    /// Of the route of this name.
    pub const USER_INFO: &[&str] = &["user_id"];
    /// Of the route of this name.
    pub const USER_LIST: &[&str] = &[
        "user_ids",
        "sso_user_ids",
        "user_email",
        "search",
        "role",
        "organization_ids",
        "team",
        "page",
        "page_size",
        "sort_by",
        "sort_order",
    ];
    /// Of the route of this name.
    pub const USER_FILTER: &[&str] = &["user_id", "user_email", "page", "page_size"];
    /// Of the route of this name.
    pub const CUSTOMER_INFO: &[&str] = &["end_user_id"];
    /// Of the route of this name.
    pub const CUSTOMER_LIST: &[&str] = &["page", "page_size"];
    /// Of the route of this name.
    pub const TAG_LIST: &[&str] = &[];
    /// Of the route of this name.
    pub const BUDGET_LIST: &[&str] = &[];
    /// Of the route of this name.
    pub const BUDGET_SETTINGS: &[&str] = &["budget_id"];
    /// Of the route of this name.
    pub const AUDIT: &[&str] = &["page", "page_size", "table_name", "object_id"];
}

/// The parameters after `?`, decoded.
#[derive(Debug, Clone, Default)]
pub struct Params(BTreeMap<String, Vec<String>>);

/// A page that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paging {
    /// From 1.
    pub page: u64,
    /// Entries of a page.
    pub size: u64,
}

impl Params {
    /// From decoded pairs in their order.
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Params {
        let mut params = Params::default();
        for (name, value) in pairs {
            params.0.entry(name).or_default().push(value);
        }
        params
    }

    /// Refuses names that the route does not know. `key` may be there always: it is how some clients present their key.
    pub fn allow(&self, names: &[&str]) -> Result<()> {
        match self.0.keys().find(|name| !names.contains(&name.as_str()) && *name != "key") {
            None => Ok(()),
            Some(name) => {
                let shown: String = name.chars().take(80).collect();
                let hint = nearest(&shown, names.iter().copied())
                    .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
                Err(bad(&shown, format!("there is no parameter `{shown}` here{hint}")))
            }
        }
    }

    /// The value of a parameter; an empty one is none.
    pub fn text(&self, name: &str) -> Result<Option<&str>> {
        match self.0.get(name).map(Vec::as_slice) {
            None => Ok(None),
            Some([one]) => Ok(Some(one.as_str()).filter(|text| !text.is_empty())),
            Some(_) => Err(bad(name, format!("the parameter `{name}` is there more than once"))),
        }
    }

    /// Values of a parameter that may come several times, or be separated by commas.
    pub fn list(&self, name: &str) -> Vec<String> {
        let values = self.0.get(name).into_iter().flatten();
        values.flat_map(|value| value.split(',')).filter(|text| !text.is_empty()).map(str::to_owned).collect()
    }

    /// A yes or no.
    pub fn flag(&self, name: &str) -> Result<bool> {
        match self.text(name)? {
            None => Ok(false),
            Some(text) if matches!(text.to_ascii_lowercase().as_str(), "true" | "1" | "yes" | "on") => {
                Ok(true)
            }
            Some(text) if matches!(text.to_ascii_lowercase().as_str(), "false" | "0" | "no" | "off") => {
                Ok(false)
            }
            Some(_) => Err(bad(name, format!("the parameter `{name}` is `true` or `false`"))),
        }
    }

    fn number(&self, name: &str, usual: u64, most: u64) -> Result<u64> {
        match self.text(name)? {
            None => Ok(usual),
            Some(text) => text.parse().ok().filter(|number| (1..=most).contains(number)).ok_or_else(|| {
                let message = format!("the parameter `{name}` is a whole number from 1 to {most}");
                Error::invalid_at(name, message)
                    .with_status(422)
                    .with_provider(None, Some("bad_request_error".into()))
            }),
        }
    }

    /// `page` and the size of a page, at most `most`.
    pub fn paging(&self, size: &str, usual: u64, most: u64) -> Result<Paging> {
        Ok(Paging { page: self.number("page", 1, 1_000_000_000)?, size: self.number(size, usual, most)? })
    }

    /// Sets the order of `query`: `sort_by` one of `columns`, `sort_order` `asc` or `desc`. Newest first without.
    ///
    /// What is in `others` is a known order, too, but none of the store's.
    pub(crate) fn order<T>(
        &self,
        query: &mut Query,
        columns: &[(&str, &'static str)],
        others: &[(&str, T)],
    ) -> Result<()> {
        let asked = self.text("sort_by")?.filter(|by| !others.iter().any(|(name, _)| name == by));
        if let Some(by) = asked {
            let column = columns.iter().find(|(name, _)| *name == by).ok_or_else(|| {
                let names = columns.iter().map(|(name, _)| *name);
                let names: Vec<&str> = names.chain(others.iter().map(|(name, _)| *name)).collect();
                bad("sort_by", format!("lists are sorted by {}", names.join(", ")))
            })?;
            query.sort = Some(column.1);
        }
        query.descending = match self.text("sort_order")? {
            None | Some("desc") => true,
            Some("asc") => false,
            Some(_) => return Err(bad("sort_order", "`sort_order` is `asc` or `desc`")),
        };
        Ok(())
    }
}

impl Paging {
    /// Sets offset and limit of `query`.
    pub(crate) fn cut(self, query: &mut Query) {
        query.offset = (self.page - 1).saturating_mul(self.size);
        query.limit = self.size;
    }

    /// How many pages `total` entries are.
    pub fn pages(self, total: u64) -> u64 {
        total.div_ceil(self.size)
    }
}
