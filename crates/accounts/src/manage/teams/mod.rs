//! Teams: made, changed, blocked, deleted with their keys.

mod bulk;
mod members;
mod request;

use serde_json::{Map, Value, json};
use tollway_meters::ScopeKind;
use tollway_model::{Error, Result};
use tollway_store::Query;
use tollway_store::records::{Budget, Team};

pub use request::{
    AddMembers, BulkMembers, Member, MemberItems, NewTeam, OneTeam, RemoveMember, TeamFields, TeamIds,
    TeamKeys, TeamModels, TeamPermissions, TeamRequest, TeamsPermissions, UpdateMember,
};

use super::desk::patiently;
use super::errors::{bad, forbidden, not_found};
use super::fields::{Field, MAX_ITEMS, OneOrMany, Request as _, check_names};
use super::limits::dollars;
use super::params::names;
use super::periods::iso;
use super::scan::{By, Facts, Scan};
use super::{Figures, Management, Params, limits, secret};
use crate::rights::{Grant, Right, Scope};

pub(crate) use members::Terms;
use request::{ADMINS_MAY, PERMISSIONS, check_team_id};

fn unknown_team(id: &str) -> Error {
    let shown: String = id.chars().take(80).collect();
    not_found("team_id", format!("there is no team `{shown}`, or you are not in it"))
}

impl Management {
    /// `POST /team/new`: a team; a user that makes one is its admin.
    pub async fn team_new(&self, grant: &Grant, body: &[u8]) -> Result<Value> {
        grant.demand(&[Right::TeamNew])?;
        let request = NewTeam::parse(body)?;
        let team_id = match request.team_id.get().filter(|id| !id.is_empty()) {
            Some(id) => id.clone(),
            None => secret::id()?,
        };
        check_team_id(&team_id)?;
        if self.teams.get(&team_id).await?.is_some() {
            return Err(bad("team_id", format!("there is a team `{team_id}` already")));
        }
        let mut members = request.members_with_roles.get().cloned().unwrap_or_default();
        if members.len() > MAX_ITEMS {
            return Err(bad(
                "members_with_roles",
                format!("a team is made with at most {MAX_ITEMS} members"),
            ));
        }
        let creator = grant.actor();
        if creator.is_user && !members.iter().any(|member| member.user_id.as_ref() == Some(&creator.id)) {
            members.push(Member {
                user_id: Some(creator.id.clone()),
                user_email: None,
                role: "admin".into(),
            });
        }
        let mut team = Team {
            team_id,
            team_member_permissions: vec!["/key/info".into(), "/key/health".into()],
            ..Team::default()
        };
        request.fields.apply(&mut team, self.now())?;
        self.put_member_budget(grant, &request.fields, &mut team).await?;
        let team = self.teams.create(grant.actor(), team).await?;
        for member in &members {
            self.add_member(grant, &team, member, &Terms::default()).await?;
        }
        Ok(Value::Object(self.show_team(&team).await?))
    }

    /// `POST /team/update` and `PATCH /team/{team_id}`.
    pub async fn team_update(&self, grant: &Grant, named: Option<&str>, body: &[u8]) -> Result<Value> {
        grant.demand(&[Right::TeamUpdate])?;
        let request = TeamRequest::parse(body)?;
        let id = named.or(request.team_id.get().map(String::as_str));
        let id = id.ok_or_else(|| bad("team_id", "`team_id` is missing"))?;
        self.team_within(grant, id).await?;
        if !grant.is_all() {
            let given = TeamFields::names().into_iter().filter(|name| request.fields.has(name));
            if let Some(name) = given.into_iter().find(|name| !ADMINS_MAY.contains(name)) {
                let message = format!(
                    "`{name}` is for the gateway's administrators; a team's admin changes {}",
                    ADMINS_MAY.join(", ")
                );
                return Err(forbidden(name, message));
            }
        }
        let team = patiently(|| async {
            let before = self.team_within(grant, id).await?;
            let mut after = before.clone();
            request.fields.apply(&mut after, self.now())?;
            self.put_member_budget(grant, &request.fields, &mut after).await?;
            self.teams.change(grant.actor(), "updated", &before, after).await
        })
        .await?;
        Ok(json!({ "team_id": team.team_id, "data": self.show_team(&team).await? }))
    }

    /// Limits of members without their own live in a budget of the team's.
    async fn put_member_budget(&self, grant: &Grant, fields: &TeamFields, team: &mut Team) -> Result<()> {
        let Some(fields) = fields.member_limits() else { return Ok(()) };
        let now = self.now();
        if let Some(id) = &team.team_member_budget_id
            && let Some(before) = self.budgets.get(id).await?
        {
            let mut after = before.clone();
            fields.apply(&mut after.limits, now)?;
            self.budgets.change(grant.actor(), "updated", &before, after).await?;
            return Ok(());
        }
        let mut budget = Budget { budget_id: secret::id()?, ..Budget::default() };
        fields.apply(&mut budget.limits, now)?;
        let budget = self.budgets.create(grant.actor(), budget).await?;
        team.team_member_budget_id = Some(budget.budget_id);
        Ok(())
    }

    /// `GET /team/info`: a team with its members and keys.
    pub async fn team_info(&self, grant: &Grant, params: &Params) -> Result<Value> {
        grant.demand(&[Right::TeamInfo])?;
        params.allow(names::TEAM_INFO)?;
        let id = match (params.text("team_id")?, grant.scope()) {
            (Some(id), _) => id.to_owned(),
            (None, Scope::Own(own)) if own.member_of.len() == 1 => {
                own.member_of.iter().next().cloned().unwrap_or_default()
            }
            (None, _) => return Err(bad("team_id", "name a team: `/team/info?team_id=…`")),
        };
        let team = self.team_within(grant, &id).await?;
        let mut query = Query { equal: vec![("team_id", Some(id.clone()))], ..Query::default() };
        query.limit = params.paging("key_limit", 100, 1000)?.size;
        // Plain members see of the team's keys only their own.
        if let Scope::Own(own) = grant.scope()
            && !own.admin_of.contains(&id)
        {
            match (&own.user, &own.key) {
                (Some(user), _) => query.equal.push(("user_id", Some(user.clone()))),
                (None, Some(key)) => query.equal.push(("token", Some(key.token.clone()))),
                (None, None) => query.limit = 0,
            }
        }
        let keys = self.keys.list(&query).await?.records;
        let mut memberships = Vec::new();
        for membership in self.members_of(&id).await? {
            memberships.push(self.show_membership(&membership).await);
        }
        Ok(json!({
            "team_id": id, "team_info": self.show_team(&team).await?, "keys": self.show_keys(&keys).await?,
            "team_memberships": memberships,
        }))
    }

    /// `GET /team/list`: the caller's teams; every one for administrators.
    pub async fn team_list(&self, grant: &Grant, params: &Params) -> Result<Value> {
        grant.demand(&[Right::TeamList])?;
        params.allow(names::TEAM_LIST)?;
        let mut query = Query::default();
        let of_nothing = !matches!(params.text("organization_id")?, None | Some("default_organization"));
        if of_nothing || !self.narrow(grant, params.text("user_id")?, &mut query).await? {
            return Ok(json!([]));
        }
        let teams = self.teams.all(query).await?;
        let of: Vec<_> = teams.iter().map(|team| (team.team_id.as_str(), &team.limits)).collect();
        let figures = self.figures(ScopeKind::Team, &of).await;
        let mut shown = Vec::with_capacity(teams.len());
        for (team, figures) in teams.iter().zip(&figures) {
            shown.push(self.show_team_with(team, figures).await?);
        }
        Ok(json!(shown))
    }

    /// `GET /v2/team/list`: the same, in pages.
    pub async fn team_pages(&self, grant: &Grant, params: &Params) -> Result<Value> {
        grant.demand(&[Right::TeamList])?;
        params.allow(names::TEAM_PAGES)?;
        let paging = params.paging("page_size", 10, 100)?;
        let mut query = Query::default();
        let sorts = [("created_at", "created_at"), ("team_alias", "team_alias"), ("team_id", "id")];
        let others = [("spend", By::Spend), ("max_budget", By::MaxBudget)];
        params.order(&mut query, &sorts, &others)?;
        let search = params.text("search")?;
        let keep = |team: &Team| {
            let within = |alias: &str, text: &str| alias.to_lowercase().contains(&text.to_lowercase());
            search.is_none_or(|text| {
                team.team_id == text || team.team_alias.as_deref().is_some_and(|alias| within(alias, text))
            })
        };
        let scan = Scan {
            kind: ScopeKind::Team,
            by: params.order_beyond_columns(&others)?,
            keep: search.is_some().then_some(&keep),
            facts: |team| Facts { limits: &team.limits, expires: None },
        };
        let found = self.narrow(grant, params.text("user_id")?, &mut query).await?
            && params.text("organization_id")?.is_none();
        if let Some(alias) = params.text("team_alias")? {
            query.contains.push(("team_alias", alias.to_owned()));
        }
        if let Some(id) = params.text("team_id")? {
            query.any_of.push(("id", vec![id.to_owned()]));
        }
        let (mut shown, mut total) = (Vec::new(), 0);
        if found {
            let records;
            (records, total) = self.scan(&self.teams, query, paging, &scan).await?;
            for team in &records {
                shown.push(self.show_team(team).await?);
            }
        }
        Ok(json!({
            "teams": shown, "total": total, "page": paging.page, "page_size": paging.size,
            "total_pages": paging.pages(total),
        }))
    }

    /// Narrows a query to the caller's teams and to those of `user`; false when nothing is left.
    async fn narrow(&self, grant: &Grant, user: Option<&str>, query: &mut Query) -> Result<bool> {
        let mut teams: Option<Vec<String>> = match grant.scope() {
            Scope::All => None,
            Scope::Own(own) => Some(own.member_of.iter().cloned().collect()),
        };
        if let Some(user) = user {
            let theirs: Vec<String> =
                self.memberships_of(user).await?.into_iter().map(|one| one.team_id).collect();
            teams = Some(match teams {
                None => theirs,
                Some(own) => own.into_iter().filter(|team| theirs.contains(team)).collect(),
            });
        }
        let Some(teams) = teams else { return Ok(true) };
        let found = !teams.is_empty();
        query.any_of.push(("id", teams));
        Ok(found)
    }

    /// `POST /team/delete`: teams, their keys and memberships.
    pub async fn team_delete(&self, grant: &Grant, body: &[u8]) -> Result<Value> {
        grant.demand(&[Right::TeamDelete])?;
        let ids = TeamIds::parse(body)?.team_ids.get().cloned().unwrap_or_default();
        if ids.is_empty() || ids.len() > 100 {
            return Err(bad("team_ids", "`team_ids` names 1 to 100 teams"));
        }
        for id in &ids {
            self.team_within(grant, id).await?;
        }
        for id in &ids {
            let of_team = Query { equal: vec![("team_id", Some(id.clone()))], ..Query::default() };
            self.delete_keys(grant, self.keys.all(of_team).await?).await?;
            for member in self.members_of(id).await? {
                self.memberships.remove(grant.actor(), &member).await?;
            }
            let team = self.team_within(grant, id).await?;
            self.teams.remove(grant.actor(), &team).await?;
            let budget = match &team.team_member_budget_id {
                Some(budget) => self.budgets.get(budget).await?,
                None => None,
            };
            if let Some(budget) = budget {
                self.budgets.remove(grant.actor(), &budget).await?;
            }
        }
        Ok(json!({ "deleted_teams": ids }))
    }

    /// `POST /team/block` and `/team/unblock`.
    pub async fn team_block(&self, grant: &Grant, body: &[u8], blocked: bool) -> Result<Value> {
        grant.demand(&[Right::TeamBlock])?;
        let request = OneTeam::parse(body)?;
        let id = request.team_id.get().map(String::as_str).unwrap_or_default();
        let action = if blocked { "blocked" } else { "unblocked" };
        let team = patiently(|| async {
            let before = self.team_within(grant, id).await?;
            self.teams.change(grant.actor(), action, &before, Team { blocked, ..before.clone() }).await
        });
        Ok(Value::Object(self.show_team(&team.await?).await?))
    }

    /// `POST /team/model/add` and `/team/model/delete`.
    pub async fn team_models(&self, grant: &Grant, body: &[u8], add: bool) -> Result<Value> {
        grant.demand(&[Right::TeamModels])?;
        let request = TeamModels::parse(body)?;
        let id = request.team_id.get().map(String::as_str).unwrap_or_default();
        let models = request.models.get().cloned().unwrap_or_default();
        check_names("models", &models)?;
        let team = patiently(|| async {
            let before = self.team_within(grant, id).await?;
            let mut after = before.clone();
            after.models.retain(|model| !models.contains(model));
            if add {
                after.models.extend(models.iter().cloned());
            } else if after.models.is_empty() && !before.models.is_empty() {
                // An empty list would open every model.
                after.models.push("no-default-models".into());
            }
            self.teams.change(grant.actor(), "updated", &before, after).await
        });
        Ok(Value::Object(self.show_team(&team.await?).await?))
    }

    /// `GET /team/permissions_list`: what plain members may do with the team's keys.
    pub async fn team_permissions(&self, grant: &Grant, params: &Params) -> Result<Value> {
        grant.demand(&[Right::TeamInfo])?;
        params.allow(names::TEAM_PERMISSIONS)?;
        let team = self.team_within(grant, params.text("team_id")?.unwrap_or_default()).await?;
        Ok(json!({
            "team_id": team.team_id, "team_member_permissions": team.team_member_permissions,
            "all_available_permissions": PERMISSIONS,
        }))
    }

    /// `POST /team/permissions_update`
    pub async fn team_permissions_update(&self, grant: &Grant, body: &[u8]) -> Result<Value> {
        grant.demand(&[Right::TeamUpdate])?;
        let request = TeamPermissions::parse(body)?;
        let fields = TeamFields {
            team_member_permissions: request.team_member_permissions.clone(),
            ..TeamFields::default()
        };
        let id = request.team_id.get().map(String::as_str).unwrap_or_default();
        let team = patiently(|| async {
            let before = self.team_within(grant, id).await?;
            let mut after = before.clone();
            fields.apply(&mut after, self.now())?;
            self.teams.change(grant.actor(), "updated", &before, after).await
        });
        Ok(Value::Object(self.show_team(&team.await?).await?))
    }

    /// `GET /team/{team_id}/callback`: where the team's calls are logged. Nowhere but in the receipts.
    pub async fn team_callbacks(&self, grant: &Grant, named: Option<&str>) -> Result<Value> {
        grant.demand(&[Right::TeamInfo])?;
        let team = self.team_within(grant, named.unwrap_or_default()).await?;
        Ok(json!({ "status": "success", "data": {
            "team_id": team.team_id, "success_callbacks": [], "success_callback": [],
            "failure_callbacks": [], "failure_callback": [], "callback_vars": {},
        } }))
    }

    /// `POST /team/{team_id}/disable_logging`: holds already, as there are no callbacks.
    pub async fn team_callbacks_off(&self, grant: &Grant, named: Option<&str>) -> Result<Value> {
        grant.demand(&[Right::TeamUpdate])?;
        let team = self.team_within(grant, named.unwrap_or_default()).await?;
        Ok(json!({
            "status": "success",
            "message": format!("the team `{}` has no callbacks", team.team_id),
            "data": { "team_id": team.team_id, "success_callbacks": [], "failure_callbacks": [] },
        }))
    }

    /// `POST /team/permissions_bulk_update`: more permissions for plain members of several teams, or of all.
    pub async fn teams_permissions_update(&self, grant: &Grant, body: &[u8]) -> Result<Value> {
        grant.demand(&[Right::TeamUpdate])?;
        let request = TeamsPermissions::parse(body)?;
        let more = request.permissions.get().cloned().unwrap_or_default();
        let all = request.apply_to_all_teams.get() == Some(&true);
        let named = request.team_ids.get().cloned().unwrap_or_default();
        let ids = match (all, named.is_empty()) {
            (true, false) => {
                return Err(bad("team_ids", "either `team_ids` or `apply_to_all_teams`, not both"));
            }
            (false, true) => {
                return Err(bad(
                    "team_ids",
                    "`team_ids` is missing: which teams? or set `apply_to_all_teams`",
                ));
            }
            (true, true) if !grant.is_all() => {
                return Err(forbidden("apply_to_all_teams", "`apply_to_all_teams` is for administrators"));
            }
            (true, true) => {
                let all = self.teams.all(Query::default()).await?;
                all.into_iter().map(|team| team.team_id).collect()
            }
            (false, false) => named,
        };
        // All are there and within reach before the first is changed.
        for id in &ids {
            self.team_within(grant, id).await?;
        }
        for id in &ids {
            patiently(|| async {
                let before = self.team_within(grant, id).await?;
                let mut both = before.team_member_permissions.clone();
                both.extend(more.iter().filter(|one| !before.team_member_permissions.contains(one)).cloned());
                let fields =
                    TeamFields { team_member_permissions: Field::Set(both), ..TeamFields::default() };
                let mut after = before.clone();
                fields.apply(&mut after, self.now())?;
                self.teams.change(grant.actor(), "updated", &before, after).await
            })
            .await?;
        }
        Ok(json!({
            "message": "plain members may do more", "teams_updated": ids.len(), "permissions_appended": more,
        }))
    }

    /// `GET /team/available`: teams that one may join alone. There are none: a team's admin adds its members.
    pub async fn team_available(&self, grant: &Grant, params: &Params) -> Result<Value> {
        grant.demand(&[Right::TeamList])?;
        params.allow(&[])?;
        Ok(json!([]))
    }

    /// A team with its members.
    pub(crate) async fn show_team(&self, team: &Team) -> Result<Map<String, Value>> {
        let figures = self.figure(ScopeKind::Team, &team.team_id, &team.limits).await;
        self.show_team_with(team, &figures).await
    }

    async fn show_team_with(&self, team: &Team, figures: &Figures) -> Result<Map<String, Value>> {
        let members = self.members_of(&team.team_id).await?;
        let with_roles: Vec<Value> = members
            .iter()
            .map(|one| json!({ "user_id": one.user_id, "user_email": one.user_email, "role": one.role }))
            .collect();
        let now = self.now();
        let mut out = Map::new();
        let mut put = |name: &str, value: Value| {
            out.insert(name.to_owned(), value);
        };
        put("team_id", json!(team.team_id));
        put("team_alias", json!(team.team_alias));
        put("organization_id", json!(team.organization_id));
        put("members_with_roles", json!(with_roles));
        put("members", json!([]));
        put("admins", json!([]));
        put("models", json!(team.models));
        put("model_aliases", json!(team.model_aliases));
        put("blocked", json!(team.blocked));
        put("spend", dollars(Some(figures.spend)));
        put("total_spend", dollars(Some(figures.total)));
        put("team_member_permissions", json!(team.team_member_permissions));
        put("team_member_key_duration", json!(team.team_member_key_duration));
        put("tags", json!(team.tags));
        put("metadata", json!(team.metadata));
        put("default_team_member_models", json!(team.default_team_member_models));
        put("router_settings", json!(team.router_settings));
        put("object_permission", Value::Null);
        put("created_at", iso(Some(team.stamp.created_at)));
        put("updated_at", iso(Some(team.stamp.updated_at)));
        limits::show(&team.limits, now, &mut out);
        if let Some(id) = &team.team_member_budget_id
            && let Some(budget) = self.budgets.get(id).await?
        {
            out.insert("team_member_budget_table".into(), Value::Object(super::budgets::show(&budget, now)));
        }
        Ok(out)
    }
}
