//! Several members or keys of a team at once: each change for itself, and what failed is told.

use serde_json::{Map, Value, json};
use tollway_meters::ScopeKind;
use tollway_model::{Money, Result};
use tollway_store::Query;
use tollway_store::records::{Limits, Membership, Record};

use super::request::{BulkMembers, Member, MemberItems, TeamKeys};
use super::{Terms, unknown_team};
use crate::manage::desk::patiently;
use crate::manage::errors::bad;
use crate::manage::fields::{Field, Item, MAX_ITEMS, Request as _};
use crate::manage::keys::{UpdateKey, put_names};
use crate::manage::limits::LimitFields;
use crate::manage::spend::{ResetSpend, SpendReset};
use crate::manage::{Management, secret};
use crate::rights::{Grant, Right};

/// Most members or keys of one request.
const MOST: usize = 500;

impl Management {
    /// `POST /team/bulk_member_add`
    pub async fn members_add(&self, grant: &Grant, body: &[u8]) -> Result<Value> {
        grant.demand(&[Right::TeamMembers])?;
        let request = BulkMembers::parse(body)?;
        let team =
            self.team_within(grant, request.team_id.get().map(String::as_str).unwrap_or_default()).await?;
        let members = match request.all_users.get() {
            Some(true) if grant.is_all() => {
                let users = self.users.all(Query::default()).await?;
                let member = |id| Member { user_id: Some(id), user_email: None, role: "user".into() };
                users.into_iter().map(|user| member(user.user_id)).collect()
            }
            Some(true) => return Err(bad("all_users", "`all_users` is for administrators")),
            _ => request.members.get().cloned().unwrap_or_default(),
        };
        if members.is_empty() || (members.len() > MAX_ITEMS && request.all_users.get() != Some(&true)) {
            return Err(bad("members", format!("`members` names 1 to {MAX_ITEMS} users")));
        }
        let fields = LimitFields {
            max_budget: request.max_budget_in_team.clone(),
            budget_duration: request.budget_duration.clone(),
            tpm_limit: request.tpm_limit.clone(),
            rpm_limit: request.rpm_limit.clone(),
            ..LimitFields::default()
        };
        let mut terms = Terms::default();
        fields.apply(&mut terms.limits, self.now())?;
        put_names("allowed_models", &request.allowed_models, &mut terms.allowed_models)?;
        let mut results = Vec::with_capacity(members.len());
        let mut added = 0_usize;
        for member in &members {
            let result = self.add_member(grant, &team, member, &terms).await;
            added += usize::from(result.is_ok());
            results.push(json!({
                "user_id": result.as_ref().ok().map(|(user, _)| &user.user_id).or(member.user_id.as_ref()),
                "user_email": member.user_email,
                "success": result.is_ok(),
                "error": result.err().map(|error| error.message().to_owned()),
            }));
        }
        Ok(json!({
            "team_id": team.team_id, "results": results, "total_requested": members.len(),
            "successful_additions": added, "failed_additions": members.len() - added,
            "updated_team": self.show_team(&team).await?,
        }))
    }

    /// `POST /management/v1/teams/{team_id}/members/bulk_update`
    pub async fn members_update(&self, grant: &Grant, team: Option<&str>, body: &[u8]) -> Result<Value> {
        grant.demand(&[Right::TeamMembers])?;
        let mut results = Vec::new();
        for (who, change) in self.member_items(grant, team, body).await? {
            results.push(outcome(who, self.member_update(grant, change.as_bytes()).await));
        }
        Ok(json!({ "data": results }))
    }

    /// `POST /management/v1/teams/{team_id}/members/bulk_delete`
    pub async fn members_delete(&self, grant: &Grant, team: Option<&str>, body: &[u8]) -> Result<Value> {
        grant.demand(&[Right::TeamMembers])?;
        let mut results = Vec::new();
        for (who, change) in self.member_items(grant, team, body).await? {
            let result = self.member_delete(grant, change.as_bytes()).await;
            results.push(outcome(who, result.map(|_| json!({}))));
        }
        Ok(json!({ "data": results }))
    }

    /// The members of a request, each as a request of its own about this team, with what names it.
    async fn member_items(
        &self,
        grant: &Grant,
        team: Option<&str>,
        body: &[u8],
    ) -> Result<Vec<(Map<String, Value>, String)>> {
        let team = self.team_within(grant, team.unwrap_or_default()).await?;
        let items = MemberItems::parse(body)?.members.get().cloned().unwrap_or_default();
        if items.is_empty() || items.len() > MOST {
            return Err(bad("members", format!("`members` names 1 to {MOST} members")));
        }
        let about = |item: &Item| match serde_json::from_str::<Map<String, Value>>(item.0.get()) {
            Ok(map) if map.contains_key("team_id") => {
                Err(bad("members.team_id", "the address names the team"))
            }
            Ok(mut map) => {
                let named = |name: &str| (name.to_owned(), map.get(name).cloned().unwrap_or(Value::Null));
                let who = Map::from_iter([named("user_id"), named("user_email")]);
                map.insert("team_id".into(), json!(team.team_id));
                Ok((who, Value::Object(map).to_string()))
            }
            Err(_) => Err(bad("members", "`members` is a list of objects")),
        };
        items.iter().map(about).collect()
    }

    /// `POST /team/key/bulk_update`: the same change of several keys of one team.
    pub async fn team_keys_update(&self, grant: &Grant, body: &[u8]) -> Result<Value> {
        grant.demand(&[Right::KeyUpdate])?;
        let request = TeamKeys::parse(body)?;
        let id = request.team_id.get().map(String::as_str).unwrap_or_default();
        if !grant.reaches_team(id) || self.teams.get(id).await?.is_none() {
            return Err(unknown_team(id));
        }
        let fields = request.update_fields.get().map_or("{}", |item| item.0.get());
        let mut fields: Map<String, Value> =
            serde_json::from_str(fields).map_err(|_| bad("update_fields", "`update_fields` is an object"))?;
        if fields.contains_key("key") {
            return Err(bad("update_fields.key", "`key_ids` names the keys"));
        }
        let tokens: Vec<String> = match (request.all_keys_in_team.get(), request.key_ids.get()) {
            (Some(true), None) => {
                let of_team = Query { equal: vec![("team_id", Some(id.to_owned()))], ..Query::default() };
                self.keys.all(of_team).await?.into_iter().map(|key| key.token).collect()
            }
            (_, Some(keys)) if !keys.is_empty() && keys.len() <= MOST => {
                keys.iter().map(|key| secret::token_of(key)).collect()
            }
            _ => {
                let message = format!("name 1 to {MOST} keys with `key_ids`, or set `all_keys_in_team`");
                return Err(bad("key_ids", message));
            }
        };
        // What is wrong with the change itself is told once.
        fields.insert("key".into(), json!(""));
        UpdateKey::parse(Value::Object(fields.clone()).to_string().as_bytes())?;
        let (mut changed, mut failed) = (Vec::new(), Vec::new());
        for token in &tokens {
            fields.insert("key".into(), json!(token));
            let found = self.keys.find("token", token).await?;
            let result = match found.filter(|key| key.team_id.as_deref() == Some(id)) {
                Some(_) => {
                    let change = UpdateKey::parse(Value::Object(fields.clone()).to_string().as_bytes())?;
                    self.update_key(grant, &change).await
                }
                None => Err(bad("key_ids", "this is no key of the team")),
            };
            match result {
                Ok(info) => changed.push(json!({ "key": token, "key_info": info })),
                Err(error) => failed.push(json!({ "key": token, "failed_reason": error.message() })),
            }
        }
        Ok(
            json!({ "total_requested": tokens.len(), "successful_updates": changed, "failed_updates": failed }),
        )
    }

    /// `POST /team/{team_id}/member/{user_id}/reset_budget`: the member gets the team's default limits again.
    pub async fn member_reset_budget(&self, grant: &Grant, named: Option<&str>) -> Result<Value> {
        grant.demand(&[Right::TeamMembers])?;
        let (team, user) = member_of_path(named)?;
        let team = self.team_within(grant, team).await?;
        let membership = patiently(|| async {
            let before = self.member(&team, Some(&user.to_owned()), None).await?;
            let after = Membership { limits: Limits::default(), ..before.clone() };
            self.memberships.change(grant.actor(), "updated", &before, after).await
        })
        .await?;
        let source = if team.team_member_budget_id.is_some() { json!("team_default") } else { Value::Null };
        Ok(json!({
            "team_id": membership.team_id, "user_id": membership.user_id, "budget_id": team.team_member_budget_id,
            "budget_source": source,
        }))
    }

    /// What `POST /team/{team_id}/member/{user_id}/reset_spend` asks for, once it is in the audit log.
    pub async fn member_reset(&self, grant: &Grant, named: Option<&str>, body: &[u8]) -> Result<SpendReset> {
        grant.demand(&[Right::KeyResetSpend])?;
        let (team, user) = member_of_path(named)?;
        let request = if body.iter().all(u8::is_ascii_whitespace) {
            ResetSpend::default()
        } else {
            ResetSpend::parse(body)?
        };
        let team = self.team_within(grant, team).await?;
        let member = self.member(&team, Some(&user.to_owned()), None).await?;
        let limits = self.limits_of(&team, &member).await?;
        let before = self.figure(ScopeKind::TeamMember, &member.id, &limits).await.spend;
        let after = match &request.reset_to {
            Field::Set(dollars) => dollars.0,
            _ => Money::ZERO,
        };
        if after > before {
            let message = format!("`reset_to` is at most what the member has spent, {before} dollars");
            return Err(bad("reset_to", message));
        }
        let reset = SpendReset { kind: ScopeKind::TeamMember, id: member.id, before, after };
        self.note_reset(grant, Membership::TABLE, &reset).await?;
        Ok(reset)
    }

    /// The limits that hold for a member: its own, or the team's default.
    async fn limits_of(&self, team: &tollway_store::records::Team, member: &Membership) -> Result<Limits> {
        match &team.team_member_budget_id {
            Some(id) if member.limits == Limits::default() => {
                Ok(self.budgets.get(id).await?.map(|budget| budget.limits).unwrap_or_default())
            }
            _ => Ok(member.limits.clone()),
        }
    }
}

/// `team/member/user`, as the address has it.
fn member_of_path(named: Option<&str>) -> Result<(&str, &str)> {
    named
        .and_then(|named| named.split_once("/member/"))
        .ok_or_else(|| bad("team_id", "the address names a team and a member"))
}

fn outcome(mut who: Map<String, Value>, result: Result<Value>) -> Value {
    match result {
        Ok(Value::Object(done)) => {
            who.extend(done);
            who.insert("success".into(), json!(true));
            who.insert("error".into(), Value::Null);
        }
        Ok(_) => {
            who.insert("success".into(), json!(true));
        }
        Err(error) => {
            who.insert("success".into(), json!(false));
            who.insert("error".into(), json!(error.message()));
        }
    }
    Value::Object(who)
}
