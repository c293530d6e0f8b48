//! Who is in a team.

use serde_json::{Map, Value, json};
use tollway_meters::ScopeKind;
use tollway_model::{Error, Kind, Result};
use tollway_store::Query;
use tollway_store::records::{Limits, Membership, Team, User};

use super::request::Member;
use super::{AddMembers, RemoveMember, UpdateMember, unknown_team};
use crate::manage::desk::patiently;
use crate::manage::errors::{bad, not_found};
use crate::manage::fields::{Field, MAX_ITEMS, Request as _, check_name};
use crate::manage::keys::put_names;
use crate::manage::limits::{LimitFields, dollars};
use crate::manage::{Figures, Management, limits, secret, users};
use crate::rights::{Grant, Right};

/// On which terms somebody is in a team.
#[derive(Debug, Clone, Default)]
pub(crate) struct Terms {
    /// Limits of its calls with the team's keys.
    pub(crate) limits: Limits,
    /// Models it may use with them; empty: the team's default.
    pub(crate) allowed_models: Vec<String>,
}

impl Management {
    /// `POST /team/member_add`: adds users to a team; those who are unknown come into being.
    pub async fn member_add(&self, grant: &Grant, body: &[u8]) -> Result<Value> {
        grant.demand(&[Right::TeamMembers])?;
        let request = AddMembers::parse(body)?;
        let team =
            self.team_within(grant, request.team_id.get().map(String::as_str).unwrap_or_default()).await?;
        let members = request.member.get().cloned().map(super::OneOrMany::into_vec).unwrap_or_default();
        if members.is_empty() || members.len() > MAX_ITEMS {
            return Err(bad("member", format!("`member` names 1 to {MAX_ITEMS} users")));
        }
        let fields = LimitFields {
            max_budget: request.max_budget_in_team.clone(),
            budget_duration: request.budget_duration.clone(),
            tpm_limit: request.tpm_limit.clone(),
            rpm_limit: request.rpm_limit.clone(),
            ..LimitFields::default()
        };
        let mut own = Terms::default();
        fields.apply(&mut own.limits, self.now())?;
        put_names("allowed_models", &request.allowed_models, &mut own.allowed_models)?;
        members.iter().try_for_each(check_member)?;
        let (mut added_users, mut added) = (Vec::new(), Vec::new());
        for member in &members {
            let (user, membership) = self.add_member(grant, &team, member, &own).await?;
            // A team's admin may add anyone, and learns nothing of them by it.
            added_users.push(if grant.is_all() {
                Value::Object(users::show(&user, &Figures::default(), self.now()))
            } else {
                json!({ "user_id": user.user_id, "user_email": member.user_email })
            });
            added.push(self.show_membership(&membership).await);
        }
        let mut shown = self.show_team(&team).await?;
        shown.insert("updated_users".into(), json!(added_users));
        shown.insert("updated_team_memberships".into(), json!(added));
        Ok(Value::Object(shown))
    }

    /// Adds one member.
    pub(crate) async fn add_member(
        &self,
        grant: &Grant,
        team: &Team,
        member: &Member,
        terms: &Terms,
    ) -> Result<(User, Membership)> {
        check_member(member)?;
        let user = self.user_of_member(grant, member).await?;
        let id = Membership::id_of(&team.team_id, &user.user_id);
        if self.memberships.get(&id).await?.is_some() {
            let message = format!("`{}` is in the team already", user.user_id);
            return Err(bad("member", message));
        }
        let membership = Membership {
            id,
            team_id: team.team_id.clone(),
            user_id: user.user_id.clone(),
            user_email: member.user_email.clone(),
            role: member.role.clone(),
            limits: terms.limits.clone(),
            allowed_models: terms.allowed_models.clone(),
            ..Membership::default()
        };
        let membership = self.memberships.create(grant.actor(), membership).await?;
        Ok((user, membership))
    }

    /// The user that is meant; a new one without any role where there is none.
    async fn user_of_member(&self, grant: &Grant, member: &Member) -> Result<User> {
        let found = match (&member.user_id, &member.user_email) {
            (Some(id), _) => self.users.get(id).await?,
            (None, Some(email)) => self.user_by_email(email).await?,
            (None, None) => None,
        };
        if let Some(user) = found {
            return Ok(user);
        }
        let user_id = match &member.user_id {
            Some(id) => id.clone(),
            None => secret::id()?,
        };
        let user = User { user_id, user_email: member.user_email.clone(), ..User::default() };
        self.users.create(grant.actor(), user).await
    }

    /// The only user with this address. Of several, none is meant.
    async fn user_by_email(&self, email: &str) -> Result<Option<User>> {
        let query =
            Query { equal: vec![("user_email", Some(email.to_owned()))], limit: 2, ..Query::default() };
        let mut page = self.users.list(&query).await?;
        if page.records.len() > 1 {
            return Err(bad(
                "user_email",
                format!("several users have the address `{email}`; name one by `user_id`"),
            ));
        }
        Ok(page.records.pop())
    }

    /// `POST /team/member_update`: a member's role and limits.
    pub async fn member_update(&self, grant: &Grant, body: &[u8]) -> Result<Value> {
        grant.demand(&[Right::TeamMembers])?;
        let request = UpdateMember::parse(body)?;
        let team_id = request.team_id.get().map(String::as_str).unwrap_or_default();
        let team = self.team_within(grant, team_id).await?;
        if let Some(role) = request.role.get() {
            check_role(role)?;
        }
        let fields = LimitFields {
            max_budget: request.max_budget_in_team.clone(),
            budget_duration: request.budget_duration.clone(),
            tpm_limit: request.tpm_limit.clone(),
            rpm_limit: request.rpm_limit.clone(),
            ..LimitFields::default()
        };
        let membership = patiently(|| async {
            let before = self.member(&team, request.user_id.get(), request.user_email.get()).await?;
            let mut after = before.clone();
            if let Field::Set(role) = &request.role {
                after.role.clone_from(role);
            }
            fields.apply(&mut after.limits, self.now())?;
            put_names("allowed_models", &request.allowed_models, &mut after.allowed_models)?;
            self.memberships.change(grant.actor(), "updated", &before, after).await
        })
        .await?;
        Ok(json!({
            "team_id": membership.team_id, "user_id": membership.user_id, "user_email": membership.user_email,
            "role": membership.role, "max_budget_in_team": dollars(membership.limits.max_budget),
            "budget_duration": membership.limits.budget_duration, "tpm_limit": membership.limits.tpm_limit,
            "rpm_limit": membership.limits.rpm_limit, "allowed_models": membership.allowed_models,
        }))
    }

    /// `POST /team/member_delete`: takes a user out of a team; its keys of the team are deleted.
    pub async fn member_delete(&self, grant: &Grant, body: &[u8]) -> Result<Value> {
        grant.demand(&[Right::TeamMembers])?;
        let request = RemoveMember::parse(body)?;
        let team_id = request.team_id.get().map(String::as_str).unwrap_or_default();
        let team = self.team_within(grant, team_id).await?;
        let membership = self.member(&team, request.user_id.get(), request.user_email.get()).await?;
        let query = Query {
            equal: vec![
                ("team_id", Some(team.team_id.clone())),
                ("user_id", Some(membership.user_id.clone())),
            ],
            ..Query::default()
        };
        // Keys first: whoever is out of the team must not call with them.
        self.delete_keys(grant, self.keys.all(query).await?).await?;
        self.memberships.remove(grant.actor(), &membership).await?;
        Ok(Value::Object(self.show_team(&team).await?))
    }

    pub(super) async fn member(
        &self,
        team: &Team,
        user: Option<&String>,
        email: Option<&String>,
    ) -> Result<Membership> {
        let members = self.members_of(&team.team_id).await?;
        let wanted = |one: &Membership| match (user, email) {
            (Some(user), _) => &one.user_id == user,
            (None, email) => email.is_some() && one.user_email.as_ref() == email,
        };
        if user.is_none() && email.is_none() {
            return Err(bad("user_id", "name the member by `user_id` or `user_email`"));
        }
        let mut found = members.into_iter().filter(wanted);
        match (found.next(), found.next()) {
            (Some(member), None) => Ok(member),
            (Some(_), Some(_)) => {
                Err(bad("user_email", "several members have this address; name one by `user_id`"))
            }
            (None, _) => Err(not_found("user_id", "this user is not in the team")),
        }
    }

    pub(crate) async fn members_of(&self, team: &str) -> Result<Vec<Membership>> {
        self.memberships
            .all(Query { equal: vec![("team_id", Some(team.to_owned()))], ..Query::default() })
            .await
    }

    pub(crate) async fn show_membership(&self, membership: &Membership) -> Value {
        let figures = self.figure(ScopeKind::TeamMember, &membership.id, &membership.limits).await;
        let mut table = Map::new();
        limits::show(&membership.limits, self.now(), &mut table);
        json!({
            "user_id": membership.user_id, "team_id": membership.team_id, "role": membership.role, "budget_id": null,
            "allowed_models": membership.allowed_models,
            "spend": dollars(Some(figures.spend)), "total_spend": dollars(Some(figures.total)),
            "litellm_budget_table": table,
        })
    }

    /// The team, if the grant reaches it.
    pub(super) async fn team_within(&self, grant: &Grant, id: &str) -> Result<Team> {
        if !grant.reaches_team(id) {
            return Err(unknown_team(id));
        }
        self.teams.get(id).await?.ok_or_else(|| unknown_team(id))
    }
}

fn check_member(member: &Member) -> Result<()> {
    check_role(&member.role)?;
    if member.user_id.is_none() && member.user_email.is_none() {
        return Err(bad("member", "name the member by `user_id` or `user_email`"));
    }
    if let Some(id) = &member.user_id {
        check_name("user_id", id)?;
    }
    if let Some(email) = &member.user_email {
        check_name("user_email", email)?;
    }
    Ok(())
}

fn check_role(role: &str) -> Result<()> {
    if matches!(role, "admin" | "user") {
        return Ok(());
    }
    let error = Error::new(Kind::InvalidRequest, "`role` in a team is `admin` or `user`").with_param("role");
    Err(error.with_provider(None, Some("bad_request_error".into())))
}
