//! Users: made with a first key, changed, deleted with their keys.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use tollway_meters::ScopeKind;
use tollway_model::{Error, Kind, Result};
use tollway_store::Query;
use tollway_store::records::{Millis, User};

use super::desk::patiently;
use super::errors::{bad, forbidden, not_found};
use super::fields::{
    Field, Item, MAX_ITEMS, NO_CACHE, NO_GRANTS, NO_GROUPS, NO_GUARDS, NO_LOGIN, NO_MAIL, NO_ORGANIZATIONS,
    NOT_BUILT, Request as _, check_name, request,
};
use super::keys::{KeyFields, put_free, put_name, put_names};
use super::limits::{LimitFields, dollars};
use super::params::names;
use super::periods::iso;
use super::scan::{By, Facts, Scan};
use super::teams::{Member, Terms};
use super::{Figures, Management, Params, limits, secret};
use crate::rights::{Grant, Right, Scope};

/// LiteLLM's fields of users that have no effect here.
const REFUSED: &[(&str, &str)] = &[
    ("spend", "is what the ledger says; it cannot be set"),
    ("budget_reset_at", "follows from `budget_duration`"),
    ("password", NO_LOGIN),
    ("send_invite_email", NO_MAIL),
    ("organizations", NO_ORGANIZATIONS),
    ("organization_id", NO_ORGANIZATIONS),
    ("agent_id", NO_ORGANIZATIONS),
    ("allowed_cache_controls", NO_CACHE),
    ("config", NOT_BUILT),
    ("permissions", NOT_BUILT),
    ("mcp_rpm_limit", NO_GRANTS),
    ("tag_rpm_limit", "is kept for keys; set it there"),
    ("guardrails", NO_GUARDS),
    ("policies", NO_GUARDS),
    ("prompts", NO_GUARDS),
    ("object_permission", NO_GRANTS),
    ("budget_fallbacks", "is kept for keys; set it there"),
    ("access_group_ids", NO_GROUPS),
];

request! {
    /// What may be said about a user whenever it is made or changed.
    UserFields {
        /// Its address.
        user_email: String,
        /// Its name.
        user_alias: String,
        /// `proxy_admin`, `proxy_admin_viewer`, `internal_user` or `internal_user_viewer`.
        user_role: String,
        /// Its id at the identity provider.
        sso_user_id: String,
        /// Models its own keys may use; empty: all.
        models: Vec<String>,
        /// Its keys are refused while true.
        blocked: bool,
        /// Free.
        metadata: Map<String, Value>,
        ; with limits: LimitFields
    }
}

request! {
    /// `POST /user/new`
    NewUser {
        /// Its id; without it, a random one.
        user_id: String,
        /// Teams it joins: ids, or `{"team_id", "user_role", "max_budget_in_team"}`.
        teams: Vec<Item>,
        /// Make a key, too; true without.
        auto_create_key: bool,
        /// The key's name.
        key_alias: String,
        /// When the key ends.
        duration: String,
        /// The key's team.
        team_id: String,
        /// The key's names for models.
        aliases: BTreeMap<String, String>,
        /// Which routes the key may use.
        key_type: String,
        ; with fields: UserFields
        ; refused REFUSED
    }
}

request! {
    /// `POST /user/update`
    UserRequest {
        /// Which, by id; the address names it otherwise.
        user_id: String,
        ; with fields: UserFields
        ; refused REFUSED
    }
}

request! {
    /// `POST /user/bulk_update`
    BulkUsers {
        /// Changes of users, each as `POST /user/update` takes it.
        users: Vec<Item>,
        /// Change every user there is.
        all_users: bool,
        /// What changes of all of them.
        user_updates: Item,
    }
}

request! {
    /// `POST /user/delete`
    UserIds {
        /// Which.
        user_ids: Vec<String>,
        ; required ["user_ids"]
    }
}

request! {
    /// A team that a new user joins.
    Joining {
        /// Which.
        team_id: String,
        /// `admin` or `user`.
        user_role: String,
        /// The member's budget, dollars.
        max_budget_in_team: super::fields::Dollars,
        ; required ["team_id"]
    }
}

/// What users may change of themselves.
const OWN: &[&str] = &["user_alias"];

fn unknown_user(id: &str) -> Error {
    let shown: String = id.chars().take(80).collect();
    not_found("user_id", format!("there is no user `{shown}`, or it is not you"))
}

impl UserFields {
    fn apply(&self, user: &mut User, now: Millis) -> Result<()> {
        put_name("user_email", &self.user_email, &mut user.user_email)?;
        put_name("user_alias", &self.user_alias, &mut user.user_alias)?;
        put_name("sso_user_id", &self.sso_user_id, &mut user.sso_user_id)?;
        if let Some(role) = self.user_role.get()
            && !ROLES.contains(&role.as_str())
        {
            return Err(bad("user_role", format!("`user_role` is one of {}", ROLES.join(", "))));
        }
        self.user_role.put(&mut user.user_role);
        put_names("models", &self.models, &mut user.models)?;
        self.blocked.fill(&mut user.blocked);
        put_free("metadata", &self.metadata, &mut user.metadata)?;
        self.limits.apply(&mut user.limits, now)
    }
}

const ROLES: [&str; 6] =
    ["proxy_admin", "proxy_admin_viewer", "internal_user", "internal_user_viewer", "team", "customer"];

impl Management {
    /// `POST /user/new`: a user, and a key of it unless `auto_create_key` is false.
    pub async fn user_new(&self, grant: &Grant, body: &[u8]) -> Result<Value> {
        grant.demand(&[Right::UserNew])?;
        let request = NewUser::parse(body)?;
        let user_id = match request.user_id.get().filter(|id| !id.is_empty()) {
            Some(id) => id.clone(),
            None => secret::id()?,
        };
        check_name("user_id", &user_id)?;
        if self.users.get(&user_id).await?.is_some() {
            return Err(taken("user_id", &user_id));
        }
        self.check_email(&request.fields.user_email, &user_id).await?;
        let mut user = User { user_id, ..User::default() };
        request.fields.apply(&mut user, self.now())?;
        let joining = self.joining(&request).await?;
        let fields = KeyFields {
            user_id: Field::Set(user.user_id.clone()),
            key_alias: request.key_alias.clone(),
            duration: request.duration.clone(),
            team_id: request.team_id.clone(),
            aliases: request.aliases.clone(),
            key_type: request.key_type.clone(),
            ..KeyFields::default()
        };
        // What is wrong with the key is found before there is a user without one.
        self.check_key(&fields).await?;
        let user = self.users.create(grant.actor(), user).await?;
        for (team, member, terms) in joining {
            let member = Member { user_id: Some(user.user_id.clone()), ..member };
            self.add_member(grant, &team, &member, &terms).await?;
        }
        let mut shown = Map::new();
        if request.auto_create_key.get() != Some(&false) {
            let (key, secret) = self.make_key(grant, None, &fields).await?;
            if let Value::Object(map) = self.show_new(&key, &secret, &fields).await? {
                shown = map;
            }
        } else {
            shown.insert("key".into(), json!(""));
        }
        shown.extend(self.show_user(&user).await?);
        Ok(Value::Object(shown))
    }

    async fn joining(&self, request: &NewUser) -> Result<Vec<(tollway_store::records::Team, Member, Terms)>> {
        let items = request.teams.get().cloned().unwrap_or_default();
        if items.len() > MAX_ITEMS {
            return Err(bad("teams", format!("`teams` has more than {MAX_ITEMS} entries")));
        }
        let mut joining = Vec::with_capacity(items.len());
        for item in &items {
            let asked = match serde_json::from_str::<String>(item.0.get()) {
                Ok(id) => Joining { team_id: Field::Set(id), ..Joining::default() },
                Err(_) => Joining::parse(item.0.get().as_bytes())?,
            };
            let id = asked.team_id.get().cloned().unwrap_or_default();
            let team = self.teams.get(&id).await?;
            let team = team.ok_or_else(|| not_found("teams", format!("there is no team `{id}`")))?;
            let role = asked.user_role.get().cloned().unwrap_or_else(|| "user".to_owned());
            let mut terms = Terms::default();
            asked.max_budget_in_team.put(&mut terms.limits.max_budget);
            joining.push((team, Member { user_id: None, user_email: None, role }, terms));
        }
        Ok(joining)
    }

    /// Addresses are unique, or nobody could be found by theirs.
    async fn check_email(&self, email: &Field<String>, user_id: &str) -> Result<()> {
        let Some(email) = email.get().filter(|email| !email.is_empty()) else { return Ok(()) };
        match self.users.find("user_email", email).await? {
            Some(other) if other.user_id != user_id => Err(taken("user_email", email)),
            _ => Ok(()),
        }
    }

    /// `POST /user/update`
    pub async fn user_update(&self, grant: &Grant, body: &[u8]) -> Result<Value> {
        grant.demand(&[Right::UserUpdate])?;
        let user = self.update_user(grant, &UserRequest::parse(body)?).await?;
        Ok(json!({ "user_id": user.user_id, "data": self.show_user(&user).await? }))
    }

    /// `POST /user/bulk_update`: each change for itself; what failed is told.
    pub async fn user_bulk_update(&self, grant: &Grant, body: &[u8]) -> Result<Value> {
        grant.demand(&[Right::UserUpdate])?;
        let request = BulkUsers::parse(body)?;
        let mut changes: Vec<(Option<String>, Result<UserRequest>)> = Vec::new();
        if request.all_users.get() == Some(&true) {
            let same =
                request.user_updates.get().ok_or_else(|| bad("user_updates", "`user_updates` is missing"))?;
            let same = UserRequest::parse(same.0.get().as_bytes())?;
            if !grant.is_all() {
                return Err(forbidden("all_users", "`all_users` is for administrators"));
            }
            if let Some(name) =
                ["user_id", "user_email", "sso_user_id"].into_iter().find(|name| same.has(name))
            {
                return Err(bad("user_updates", format!("`{name}` cannot be the same of all users")));
            }
            for user in self.users.all(Query::default()).await? {
                let change = UserRequest { user_id: Field::Set(user.user_id.clone()), ..same.clone() };
                changes.push((Some(user.user_id), Ok(change)));
            }
        } else {
            let items = request.users.get().cloned().unwrap_or_default();
            if items.is_empty() || items.len() > 500 {
                return Err(bad("users", "`users` names 1 to 500 users"));
            }
            for item in &items {
                let sent: Value = serde_json::from_str(item.0.get()).unwrap_or(Value::Null);
                let id = ["user_id", "user_email"].iter().find_map(|name| sent.get(name)?.as_str());
                changes.push((id.map(str::to_owned), UserRequest::parse(item.0.get().as_bytes())));
            }
        }
        let (total, mut done, mut results) = (changes.len(), 0_usize, Vec::with_capacity(changes.len()));
        for (id, change) in changes {
            let result = match change {
                Ok(change) => self.update_user(grant, &change).await,
                Err(error) => Err(error),
            };
            results.push(match result {
                Ok(user) => {
                    done += 1;
                    json!({
                        "user_id": user.user_id, "user_email": user.user_email, "success": true, "error": null,
                        "updated_user": self.show_user(&user).await?,
                    })
                }
                Err(error) => json!({ "user_id": id, "success": false, "error": error.message() }),
            });
        }
        Ok(json!({
            "results": results, "total_requested": total, "successful_updates": done,
            "failed_updates": total - done,
        }))
    }

    async fn update_user(&self, grant: &Grant, request: &UserRequest) -> Result<User> {
        let id = match (request.user_id.get(), request.fields.user_email.get(), grant.scope()) {
            (Some(id), _, _) => id.clone(),
            (None, Some(email), Scope::All) => {
                let found = self.users.find("user_email", email).await?;
                found.ok_or_else(|| unknown_user(email))?.user_id
            }
            (None, _, Scope::Own(own)) => own.user.clone().ok_or_else(|| unknown_user(""))?,
            (None, None, Scope::All) => return Err(bad("user_id", "`user_id` is missing")),
        };
        let given = UserFields::names().into_iter().filter(|name| request.fields.has(name));
        if !grant.is_all()
            && let Some(name) = given.into_iter().find(|name| !OWN.contains(name))
        {
            let message =
                format!("`{name}` is for administrators; of yourself you may change {}", OWN.join(", "));
            return Err(forbidden(name, message));
        }
        patiently(|| async {
            let before = self.user_within(grant, &id).await?;
            self.check_email(&request.fields.user_email, &id).await?;
            let mut after = before.clone();
            request.fields.apply(&mut after, self.now())?;
            self.users.change(grant.actor(), "updated", &before, after).await
        })
        .await
    }

    /// `GET /user/info`: a user with its keys and teams; without `user_id`, oneself.
    pub async fn user_info(&self, grant: &Grant, params: &Params) -> Result<Value> {
        grant.demand(&[Right::UserInfo])?;
        params.allow(names::USER_INFO)?;
        let id = match (params.text("user_id")?, grant.scope()) {
            (Some(id), _) => id.to_owned(),
            (None, Scope::Own(own)) => own.user.clone().ok_or_else(|| unknown_user(""))?,
            (None, Scope::All) if grant.actor().is_user => grant.actor().id.clone(),
            (None, Scope::All) => {
                let info = json!({ "user_role": "proxy_admin" });
                return Ok(json!({ "user_id": null, "user_info": info, "keys": [], "teams": [] }));
            }
        };
        let user = self.user_within(grant, &id).await?;
        let of_user = Query { equal: vec![("user_id", Some(id.clone()))], limit: 1000, ..Query::default() };
        let keys = self.keys.list(&of_user).await?.records;
        let mut teams = Vec::new();
        for membership in self.memberships_of(&id).await? {
            if let Some(team) = self.teams.get(&membership.team_id).await? {
                teams.push(self.show_team(&team).await?);
            }
        }
        Ok(json!({
            "user_id": id, "user_info": self.show_user(&user).await?, "keys": self.show_keys(&keys).await?,
            "teams": teams,
        }))
    }

    /// `GET /v2/user/info`: a user alone.
    pub async fn user_info_alone(&self, grant: &Grant, params: &Params) -> Result<Value> {
        grant.demand(&[Right::UserInfo])?;
        params.allow(names::USER_INFO)?;
        let id = match (params.text("user_id")?, grant.scope()) {
            (Some(id), _) => id.to_owned(),
            (None, Scope::Own(own)) => own.user.clone().unwrap_or_default(),
            (None, Scope::All) => grant.actor().id.clone(),
        };
        let user = self.user_within(grant, &id).await?;
        Ok(Value::Object(self.show_user(&user).await?))
    }

    /// `GET /user/list`: users in pages.
    pub async fn user_list(&self, grant: &Grant, params: &Params) -> Result<Value> {
        grant.demand(&[Right::UserList])?;
        params.allow(names::USER_LIST)?;
        let paging = params.paging("page_size", 25, 100)?;
        let mut query = Query::default();
        let sorts = [("created_at", "created_at"), ("user_id", "id"), ("user_email", "user_email")];
        let others = [("spend", By::Spend), ("max_budget", By::MaxBudget)];
        params.order(&mut query, &sorts, &others)?;
        let role = params.text("role")?;
        if let Some(wrong) = role.filter(|role| !ROLES.contains(role)) {
            return Err(bad("role", format!("`role` is one of {}, not `{wrong}`", ROLES.join(", "))));
        }
        let search = params.text("search")?.map(str::to_lowercase);
        let keep = |user: &User| {
            let within = |text: &str, wanted: &String| text.to_lowercase().contains(wanted);
            role.is_none_or(|role| user.user_role.as_deref() == Some(role))
                && search.as_ref().is_none_or(|wanted| {
                    within(&user.user_id, wanted)
                        || user.user_email.as_deref().is_some_and(|email| within(email, wanted))
                })
        };
        let scan = Scan {
            kind: ScopeKind::User,
            by: params.order_beyond_columns(&others)?,
            keep: (role.is_some() || search.is_some()).then_some(&keep),
            facts: |user| Facts { limits: &user.limits, expires: None },
        };
        for (name, column) in [("user_ids", "id"), ("sso_user_ids", "sso_user_id")] {
            let values = params.list(name);
            if !values.is_empty() {
                query.any_of.push((column, values));
            }
        }
        if let Some(team) = params.text("team")? {
            let members = self.members_of(team).await?;
            query.any_of.push(("id", members.into_iter().map(|member| member.user_id).collect()));
        }
        if let Some(text) = params.text("user_email")? {
            query.contains.push(("user_email", text.to_owned()));
        }
        let (found, total) = match params.text("organization_ids")? {
            // There are no organizations, so nobody is in one.
            Some(_) => (Vec::new(), 0),
            None => self.scan(&self.users, query, paging, &scan).await?,
        };
        let mut users = Vec::with_capacity(found.len());
        for user in &found {
            let of_user = Query { equal: vec![("user_id", Some(user.user_id.clone()))], ..Query::default() };
            let mut shown = self.show_user(user).await?;
            shown.insert("key_count".into(), json!(self.keys.list(&of_user).await?.total));
            users.push(shown);
        }
        Ok(json!({
            "users": users, "total": total, "page": paging.page, "page_size": paging.size,
            "total_pages": paging.pages(total),
        }))
    }

    /// `GET /user/filter/ui`: ids and addresses of users that have these pieces in them, for whoever picks one.
    pub async fn user_filter(&self, grant: &Grant, params: &Params) -> Result<Value> {
        grant.demand(&[Right::UserList])?;
        params.allow(names::USER_FILTER)?;
        let paging = params.paging("page_size", 50, 100)?;
        let mut query = Query { descending: true, ..Query::default() };
        for (name, column) in [("user_id", "id"), ("user_email", "user_email")] {
            if let Some(text) = params.text(name)? {
                query.contains.push((column, text.to_owned()));
            }
        }
        paging.cut(&mut query);
        let found = self.users.list(&query).await?;
        let shown = |user: &User| json!({ "user_id": user.user_id, "user_email": user.user_email });
        Ok(found.records.iter().map(shown).collect())
    }

    /// `GET /user/available_users`: how many users and teams there are. Nothing limits them.
    pub async fn users_available(&self, grant: &Grant, params: &Params) -> Result<Value> {
        grant.demand(&[Right::UserList])?;
        params.allow(&[])?;
        let one = Query { limit: 1, ..Query::default() };
        let (users, teams) = (self.users.list(&one).await?.total, self.teams.list(&one).await?.total);
        Ok(json!({
            "total_users": null, "total_users_used": users, "total_users_remaining": null,
            "total_teams": null, "total_teams_used": teams, "total_teams_remaining": null,
        }))
    }

    /// `POST /user/delete`: users, their keys and memberships; how many.
    pub async fn user_delete(&self, grant: &Grant, body: &[u8]) -> Result<Value> {
        grant.demand(&[Right::UserDelete])?;
        let ids = UserIds::parse(body)?.user_ids.get().cloned().unwrap_or_default();
        if ids.is_empty() || ids.len() > 100 {
            return Err(bad("user_ids", "`user_ids` names 1 to 100 users"));
        }
        let mut users = Vec::with_capacity(ids.len());
        for id in &ids {
            users.push(self.user_within(grant, id).await?);
        }
        for user in &users {
            let of_user = Query { equal: vec![("user_id", Some(user.user_id.clone()))], ..Query::default() };
            self.delete_keys(grant, self.keys.all(of_user).await?).await?;
            for membership in self.memberships_of(&user.user_id).await? {
                self.memberships.remove(grant.actor(), &membership).await?;
            }
            self.users.remove(grant.actor(), user).await?;
        }
        Ok(json!(users.len()))
    }

    /// The user, if the grant reaches it.
    async fn user_within(&self, grant: &Grant, id: &str) -> Result<User> {
        if !grant.reaches_user(id) {
            return Err(unknown_user(id));
        }
        self.users.get(id).await?.ok_or_else(|| unknown_user(id))
    }

    pub(crate) async fn show_user(&self, user: &User) -> Result<Map<String, Value>> {
        let figures = self.figure(ScopeKind::User, &user.user_id, &user.limits).await;
        let mut shown = show(user, &figures, self.now());
        let teams: Vec<String> =
            self.memberships_of(&user.user_id).await?.into_iter().map(|one| one.team_id).collect();
        shown.insert("teams".into(), json!(teams));
        Ok(shown)
    }
}

fn taken(field: &str, value: &str) -> Error {
    let error = Error::new(Kind::Conflict, format!("there is a user with `{field}` {value} already"));
    error.with_param(field).with_provider(None, Some("bad_request_error".into()))
}

/// A user as LiteLLM shows it.
pub(crate) fn show(user: &User, figures: &Figures, now: Millis) -> Map<String, Value> {
    let mut out = Map::new();
    let mut put = |name: &str, value: Value| {
        out.insert(name.to_owned(), value);
    };
    put("user_id", json!(user.user_id));
    put("user_email", json!(user.user_email));
    put("user_alias", json!(user.user_alias));
    put("user_role", json!(user.user_role));
    put("sso_user_id", json!(user.sso_user_id));
    put("models", json!(user.models));
    put("blocked", json!(user.blocked));
    put("spend", dollars(Some(figures.spend)));
    put("total_spend", dollars(Some(figures.total)));
    put("metadata", json!(user.metadata));
    put("object_permission", Value::Null);
    put("created_at", iso(Some(user.stamp.created_at)));
    put("updated_at", iso(Some(user.stamp.updated_at)));
    limits::show(&user.limits, now, &mut out);
    out
}
