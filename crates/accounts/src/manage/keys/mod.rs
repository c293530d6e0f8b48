//! Keys: made, changed, blocked, given new secrets, deleted.

mod list;
mod request;
mod show;

use serde_json::{Map, Value, json};
use tollway_model::{Error, Kind, Result, Secret};
use tollway_store::Query;
use tollway_store::records::{DeletedKey, Grace, Key, Team, User};

pub use request::{BulkKeys, DeleteKeys, GenerateKey, KeyFields, KeyNames, OneKey, RegenerateKey, UpdateKey};
pub(crate) use request::{check_aliases, put_free, put_name, put_names};

use self::request::GUARANTEED;
use super::desk::patiently;
use super::errors::{bad, forbidden, not_found};
use super::fields::{Field, MAX_NAME, Request as _};
use super::limits::check_within;
use super::{Management, periods, secret};
use crate::rights::{Grant, Right, Scope};

/// Also what a caller gets for a key that is none of its business.
pub(crate) fn unknown_key() -> Error {
    not_found("key", "No keys found: there is no such key, or it is not yours")
}

impl Management {
    /// `POST /key/generate`: a new key, shown this once.
    pub async fn key_generate(&self, grant: &Grant, body: &[u8]) -> Result<Value> {
        grant.demand(&[Right::KeyGenerate])?;
        let request = GenerateKey::parse(body)?;
        let (key, secret) = Box::pin(self.make_key(grant, request.key.get(), &request.fields)).await?;
        self.show_new(&key, &secret, &request.fields).await
    }

    /// `POST /key/service-account/generate`: a key of a team, without a user.
    pub async fn key_service_account(&self, grant: &Grant, body: &[u8]) -> Result<Value> {
        grant.demand(&[Right::KeyServiceAccount])?;
        let mut request = GenerateKey::parse(body)?;
        let fields = &mut request.fields;
        if fields.team_id.get().is_none_or(String::is_empty) {
            return Err(bad("team_id", "`team_id` is missing: a service account belongs to a team"));
        }
        if fields.user_id.get().is_some() {
            return Err(bad("user_id", "a service account has no `user_id`"));
        }
        let mut metadata = fields.metadata.get().cloned().unwrap_or_default();
        if !metadata.contains_key("service_account_id") {
            metadata.insert("service_account_id".into(), json!(fields.key_alias.get()));
        }
        fields.metadata = Field::Set(metadata);
        let (key, secret) = self.make_key(grant, request.key.get(), &request.fields).await?;
        self.show_new(&key, &secret, &request.fields).await
    }

    /// A new key, with the key in it.
    pub(crate) async fn show_new(&self, key: &Key, secret: &Secret, fields: &KeyFields) -> Result<Value> {
        let mut shown = Map::new();
        shown.insert("key".into(), json!(secret.expose()));
        shown.extend(self.show_key(key).await?);
        shown.insert("duration".into(), json!(fields.duration.get()));
        Ok(Value::Object(shown))
    }

    /// Makes a key, within what `grant` reaches.
    pub(crate) async fn make_key(
        &self,
        grant: &Grant,
        custom: Option<&String>,
        fields: &KeyFields,
    ) -> Result<(Key, Secret)> {
        let secret = match custom {
            Some(text) => self.custom_secret("key", text, grant).await?,
            None => secret::generate()?,
        };
        let mut key = Key {
            id: secret::id()?,
            token: secret::hash(secret.expose()),
            key_name: secret::shown(secret.expose()),
            ..Key::default()
        };
        fields.apply(&mut key, self.now())?;
        if grant.right() != Right::KeyServiceAccount && !fields.user_id.is_present() {
            key.user_id = match grant.scope() {
                Scope::Own(own) => own.user.clone(),
                Scope::All if key.team_id.is_none() && grant.actor().is_user => {
                    Some(grant.actor().id.clone())
                }
                Scope::All => None,
            };
        }
        self.check_new_owner(grant, None, &key).await?;
        self.check_references(None, &key).await?;
        self.check_bounds(grant, None, &key).await?;
        Box::pin(self.check_promises(None, &key)).await?;
        self.limit_life(fields, &mut key).await?;
        self.ensure_user(grant, &key).await?;
        let key = self.keys.create(grant.actor(), key).await?;
        // Someone may have made the same key and replaced or deleted it since it was looked for.
        if custom.is_some()
            && let Err(error) = self.check_never_used("key", &key.token).await
        {
            self.keys.remove(grant.actor(), &key).await?;
            return Err(error);
        }
        Ok((key, secret))
    }

    /// A member's key of a team lasts as long as the team says, where nobody else says how long.
    async fn limit_life(&self, fields: &KeyFields, key: &mut Key) -> Result<()> {
        let (Some(team), Some(_), false) = (&key.team_id, &key.user_id, fields.duration.is_present()) else {
            return Ok(());
        };
        let team = self.teams.get(team).await?;
        if let Some(text) = team.as_ref().and_then(|team| team.team_member_key_duration.as_deref()) {
            key.expires = Some(periods::parse("team_member_key_duration", text)?.over(self.now()));
        }
        Ok(())
    }

    /// Would a key with these fields be made?
    pub(crate) async fn check_key(&self, fields: &KeyFields) -> Result<()> {
        let mut key = Key::default();
        fields.apply(&mut key, self.now())?;
        self.check_references(None, &key).await
    }

    /// A key that the caller chose: nobody else's, now or before.
    async fn custom_secret(&self, field: &str, text: &str, grant: &Grant) -> Result<Secret> {
        if !text.starts_with("sk-") {
            return Err(bad(field, format!("`{field}` has to begin with `sk-`")));
        }
        let least = if grant.is_all() { 4 } else { 24 };
        let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_plain || text.len() < least || text.len() > MAX_NAME {
            let message = format!("`{field}` has {least} to {MAX_NAME} visible ASCII characters");
            return Err(bad(field, message));
        }
        if secret::is_mistyped(text) {
            return Err(bad(
                field,
                format!("`{field}`: keys that begin with `sk-tw-` are made by the gateway"),
            ));
        }
        let token = secret::hash(text);
        // First the keys: what ends one leaves its trace before.
        if self.keys.find("token", &token).await?.is_some() {
            return Err(bad(field, "this key is in use; change it with /key/update, or choose another one"));
        }
        self.check_never_used(field, &token).await?;
        Ok(Secret::new(text))
    }

    /// Refuses what was a key once: whoever still has a deleted key, or one that was replaced, must not find it working
    /// again one day.
    async fn check_never_used(&self, field: &str, token: &str) -> Result<()> {
        if let Some(grace) = self.graces.get(token).await? {
            let message = match grace.until > self.now() {
                true => "this key was replaced and works for a while yet; choose another one",
                false => "this key was replaced, and a replaced key does not come back; choose another one",
            };
            return Err(bad(field, message));
        }
        let gone = Query { equal: vec![("token", Some(token.to_owned()))], ..Query::default() };
        if self.deleted_keys.list(&gone).await?.total > 0 {
            let message = "this key was deleted, and a deleted key does not come back; choose another one";
            return Err(bad(field, message));
        }
        Ok(())
    }

    /// `POST /key/update`: changes what is named, leaves the rest.
    pub async fn key_update(&self, grant: &Grant, body: &[u8]) -> Result<Value> {
        grant.demand(&[Right::KeyUpdate])?;
        let request = UpdateKey::parse(body)?;
        self.update_key(grant, &request).await
    }

    pub(crate) async fn update_key(&self, grant: &Grant, request: &UpdateKey) -> Result<Value> {
        let token = secret::token_of(request.key.get().map(String::as_str).unwrap_or_default());
        // Apart, as all that holds several keys: futures of many routes would have room for them.
        let key = Box::pin(patiently(|| self.update_key_once(grant, &token, request))).await?;
        let mut shown = Map::new();
        shown.insert("key".into(), json!(key.token));
        shown.extend(self.show_key(&key).await?);
        Ok(Value::Object(shown))
    }

    async fn update_key_once(&self, grant: &Grant, token: &str, request: &UpdateKey) -> Result<Key> {
        let before = self.key_within(grant, token).await?;
        let mut after = before.clone();
        request.fields.apply(&mut after, self.now())?;
        request.temp_budget_increase.put(&mut after.temp_budget_increase);
        let expiry = &request.temp_budget_expiry;
        periods::put_end("temp_budget_expiry", expiry, &mut after.temp_budget_expiry, self.now())?;
        self.save_key(grant, "updated", &before, after).await
    }

    /// May a key become this?
    async fn check_change(&self, grant: &Grant, before: &Key, after: &Key) -> Result<()> {
        self.check_new_owner(grant, Some(before), after).await?;
        self.check_references(Some(before), after).await?;
        self.check_bounds(grant, Some(before), after).await?;
        Box::pin(self.check_promises(Some(before), after)).await
    }

    async fn save_key(&self, grant: &Grant, action: &str, before: &Key, after: Key) -> Result<Key> {
        self.check_change(grant, before, &after).await?;
        self.ensure_user(grant, &after).await?;
        self.keys.change(grant.actor(), action, before, after).await
    }

    /// `POST /key/bulk_update`: each change for itself; what failed is told.
    pub async fn key_bulk_update(&self, grant: &Grant, body: &[u8]) -> Result<Value> {
        grant.demand(&[Right::KeyUpdate])?;
        let items = BulkKeys::parse(body)?.keys.get().cloned().unwrap_or_default();
        if items.len() > 500 {
            return Err(bad("keys", "change at most 500 keys at once"));
        }
        let (mut changed, mut failed) = (Vec::new(), Vec::new());
        for item in &items {
            let result = match UpdateKey::parse(item.0.get().as_bytes()) {
                Ok(request) => self.update_key(grant, &request).await,
                Err(error) => Err(error),
            };
            let sent: Value = serde_json::from_str(item.0.get()).unwrap_or(Value::Null);
            let key = sent.get("key").and_then(Value::as_str).map(secret::token_of);
            match result {
                Ok(info) => changed.push(json!({ "key": key, "key_info": info })),
                Err(error) => failed.push(json!({ "key": key, "failed_reason": error.message() })),
            }
        }
        Ok(json!({ "total_requested": items.len(), "successful_updates": changed, "failed_updates": failed }))
    }

    /// `POST /key/block` and `/key/unblock`.
    pub async fn key_block(&self, grant: &Grant, body: &[u8], blocked: bool) -> Result<Value> {
        grant.demand(&[if blocked { Right::KeyBlock } else { Right::KeyUnblock }])?;
        let token = secret::token_of(OneKey::parse(body)?.key.get().map(String::as_str).unwrap_or_default());
        let action = if blocked { "blocked" } else { "unblocked" };
        let key = patiently(|| async {
            let before = self.key_within(grant, &token).await?;
            self.keys.change(grant.actor(), action, &before, Key { blocked, ..before.clone() }).await
        });
        Ok(Value::Object(self.show_key(&key.await?).await?))
    }

    /// `POST /key/{key}/regenerate` and `/key/regenerate`: a new secret for the same key. Without a grace period the old
    /// one, and those before it, end now.
    pub async fn key_regenerate(&self, grant: &Grant, named: Option<&str>, body: &[u8]) -> Result<Value> {
        grant.demand(&[Right::KeyRegenerate])?;
        let is_empty = body.iter().all(u8::is_ascii_whitespace);
        let request = if is_empty { RegenerateKey::default() } else { RegenerateKey::parse(body)? };
        let named = named.or(request.key.get().map(String::as_str));
        let named = named.ok_or_else(|| bad("key", "name the key, in the path or as `key`"))?;
        let token = secret::token_of(named);
        let secret = match request.new_key.get() {
            Some(text) => self.custom_secret("new_key", text, grant).await?,
            None => secret::generate()?,
        };
        let now = self.now();
        let until = match request.grace_period.get().filter(|text| !text.is_empty()) {
            Some(text) => Some(periods::parse("grace_period", text)?.over(now)),
            None => None,
        };
        let key = patiently(|| async {
            let before = self.key_within(grant, &token).await?;
            let mut after = before.clone();
            request.fields.apply(&mut after, now)?;
            after.token = secret::hash(secret.expose());
            after.key_name = secret::shown(secret.expose());
            after.rotation_count += 1;
            self.check_change(grant, &before, &after).await?;
            // The trace that the old one leaves is there before it ends, so that nobody can make it again in between.
            self.leave_grace(grant, &before, until.unwrap_or(now)).await?;
            if until.is_none() {
                self.end_graces(grant, &before.id).await?;
            }
            self.save_key(grant, "regenerated", &before, after).await
        });
        self.show_new(&Box::pin(key).await?, &secret, &request.fields).await
    }

    /// The hash that a key has now works until then, and is a key's own no more. It stays on record for ever.
    async fn leave_grace(&self, grant: &Grant, key: &Key, until: i64) -> Result<()> {
        match self.graces.get(&key.token).await? {
            None => {
                let grace =
                    Grace { token: key.token.clone(), key_id: key.id.clone(), until, ..Grace::default() };
                self.graces.create(grant.actor(), grace).await?;
            }
            Some(before) if before.until != until => {
                let after = Grace { until, ..before.clone() };
                self.graces.change(grant.actor(), "updated", &before, after).await?;
            }
            Some(_) => {}
        }
        Ok(())
    }

    /// Hashes that the key had before work no longer. They stay on record, so that nobody makes them anew.
    async fn end_graces(&self, grant: &Grant, key_id: &str) -> Result<()> {
        let query = Query { equal: vec![("key_id", Some(key_id.to_owned()))], ..Query::default() };
        let now = self.now();
        for before in self.graces.all(query).await?.into_iter().filter(|grace| grace.until > now) {
            let after = Grace { until: now, ..before.clone() };
            self.graces.change(grant.actor(), "ended", &before, after).await?;
        }
        Ok(())
    }

    /// `POST /key/delete`: all that are named, or none when one of them is unknown.
    pub async fn key_delete(&self, grant: &Grant, body: &[u8]) -> Result<Value> {
        grant.demand(&[Right::KeyDelete])?;
        let request = DeleteKeys::parse(body)?;
        let names = request.keys.get().cloned().unwrap_or_default();
        let aliases = request.key_aliases.get().cloned().unwrap_or_default();
        if names.is_empty() && aliases.is_empty() {
            return Err(bad("keys", "name keys with `keys`, or their aliases with `key_aliases`"));
        }
        if names.len() + aliases.len() > 500 {
            return Err(bad("keys", "delete at most 500 keys at once"));
        }
        let mut keys = Vec::with_capacity(names.len() + aliases.len());
        for name in &names {
            keys.push(self.key_within(grant, &secret::token_of(name)).await?);
        }
        for alias in &aliases {
            let found = self.keys.find("key_alias", alias).await?;
            let token = found.map(|key| key.token).ok_or_else(unknown_key)?;
            keys.push(self.key_within(grant, &token).await?);
        }
        self.delete_keys(grant, keys).await?;
        let gone: Vec<&String> = names.iter().chain(&aliases).collect();
        Ok(json!({ "deleted_keys": gone }))
    }

    /// Deletes keys; what they were stays in the history.
    pub(crate) async fn delete_keys(&self, grant: &Grant, keys: Vec<Key>) -> Result<()> {
        let now = self.now();
        for key in keys {
            if self.deleted_keys.get(&key.id).await?.is_none() {
                let record = match serde_json::to_value(&key) {
                    Ok(Value::Object(map)) => map,
                    _ => Map::new(),
                };
                let gone = DeletedKey {
                    id: key.id.clone(),
                    token: key.token.clone(),
                    team_id: key.team_id.clone(),
                    user_id: key.user_id.clone(),
                    record,
                    deleted_at: now,
                    deleted_by: Some(grant.actor().id.clone()),
                    ..DeletedKey::default()
                };
                self.deleted_keys.create(grant.actor(), gone).await?;
            }
            self.end_graces(grant, &key.id).await?;
            self.keys.remove(grant.actor(), &key).await?;
        }
        Ok(())
    }

    /// The key with this hash, if the grant reaches it. One out of reach is as unknown as one that is not there.
    pub(crate) async fn key_within(&self, grant: &Grant, token: &str) -> Result<Key> {
        let key = self.keys.find("token", token).await?.ok_or_else(unknown_key)?;
        if self.reaches_key(grant, &key).await? { Ok(key) } else { Err(unknown_key()) }
    }

    async fn reaches_key(&self, grant: &Grant, key: &Key) -> Result<bool> {
        if grant.is_all() {
            return Ok(true);
        }
        let is_own = key.user_id.as_deref().is_some_and(|user| grant.reaches_user(user));
        let reads = matches!(grant.right(), Right::KeyInfo | Right::KeyList);
        // Whoever owns a key may look at it, and may always make an end of it.
        let ends = matches!(grant.right(), Right::KeyBlock | Right::KeyDelete | Right::KeyRegenerate);
        if (reads && (is_own || grant.is_own_key(&key.id))) || (ends && is_own) {
            return Ok(true);
        }
        match &key.team_id {
            Some(team) => self.reaches_team_keys(grant, team).await,
            // A block may be someone else's decision about the owner.
            None => Ok(is_own && grant.right() != Right::KeyUnblock),
        }
    }

    async fn reaches_team_keys(&self, grant: &Grant, team: &str) -> Result<bool> {
        if grant.reaches_team(team) {
            return Ok(true);
        }
        let permissions = self.teams.get(team).await?.map(|team| team.team_member_permissions);
        Ok(permissions.is_some_and(|permissions| grant.reaches_in_team(team, &permissions)))
    }

    /// Who a key is given to must be within the caller's reach.
    async fn check_new_owner(&self, grant: &Grant, before: Option<&Key>, after: &Key) -> Result<()> {
        let Scope::Own(own) = grant.scope() else { return Ok(()) };
        if let Some(team) = &after.team_id
            && before.and_then(|key| key.team_id.as_ref()) != Some(team)
            && !self.reaches_team_keys(grant, team).await?
        {
            // Whether the team exists is not told.
            return Err(forbidden("team_id", "you may not manage keys of this team"));
        }
        let had = before.and_then(|key| key.user_id.as_deref());
        if after.user_id.as_deref() == had && before.is_some() {
            return Ok(());
        }
        // Whoever may only change a key must not make it its own: an owner may ask for its secret anew.
        let was_own = before.is_none() || (had.is_some() && had == own.user.as_deref());
        let led = before.and_then(|key| key.team_id.as_ref()).is_some_and(|team| own.admin_of.contains(team));
        if !was_own && !led {
            return Err(forbidden("user_id", "you may not take over this key"));
        }
        let allowed = match (&after.user_id, &after.team_id) {
            (Some(user), _) if own.user.as_ref() == Some(user) => true,
            (Some(user), Some(team)) if own.admin_of.contains(team) => self.is_member(team, user).await?,
            (None, Some(team)) => own.admin_of.contains(team) || grant.right() == Right::KeyServiceAccount,
            _ => false,
        };
        if allowed {
            Ok(())
        } else {
            Err(forbidden("user_id", "you may make and give keys only to yourself"))
        }
    }

    async fn is_member(&self, team: &str, user: &str) -> Result<bool> {
        let id = tollway_store::records::Membership::id_of(team, user);
        Ok(self.memberships.get(&id).await?.is_some())
    }

    /// What a key names must exist, and its name must be free.
    async fn check_references(&self, before: Option<&Key>, after: &Key) -> Result<()> {
        if let Some(team) = changed(before.and_then(|key| key.team_id.as_ref()), after.team_id.as_ref())
            && self.teams.get(team).await?.is_none()
        {
            return Err(not_found("team_id", format!("there is no team `{team}`")));
        }
        for (field, had, has) in [
            ("budget_id", before.and_then(|key| key.budget_id.as_ref()), after.budget_id.as_ref()),
            (
                "end_user_budget_id",
                before.and_then(|key| key.end_user_budget_id.as_ref()),
                after.end_user_budget_id.as_ref(),
            ),
        ] {
            if let Some(budget) = changed(had, has)
                && self.budgets.get(budget).await?.is_none()
            {
                return Err(not_found(field, format!("there is no budget `{budget}`")));
            }
        }
        if let Some(alias) = changed(before.and_then(|key| key.key_alias.as_ref()), after.key_alias.as_ref())
            && self.keys.find("key_alias", alias).await?.is_some_and(|other| other.id != after.id)
        {
            return Err(bad(
                "key_alias",
                format!("another key is called `{alias}`; names of keys are unique"),
            ));
        }
        Ok(())
    }

    /// A user that an administrator names for a key comes into being with it.
    async fn ensure_user(&self, grant: &Grant, key: &Key) -> Result<()> {
        let Some(user) = &key.user_id else { return Ok(()) };
        if !grant.is_all() || self.users.get(user).await?.is_some() {
            return Ok(());
        }
        match self.users.create(grant.actor(), User { user_id: user.clone(), ..User::default() }).await {
            // Someone else was faster.
            Err(error) if error.kind() == Kind::InvalidRequest => Ok(()),
            result => result.map(drop),
        }
    }

    /// Whoever is no administrator gives no key more than its owner has, and does not loosen what others tied.
    async fn check_bounds(&self, grant: &Grant, before: Option<&Key>, after: &Key) -> Result<()> {
        let Scope::Own(own) = grant.scope() else { return Ok(()) };
        let is_admin = after.team_id.as_ref().is_some_and(|team| own.admin_of.contains(team));
        if let Some(before) = before {
            if before.blocked && !after.blocked && !is_admin {
                return Err(forbidden("blocked", "a blocked key is unblocked by an administrator"));
            }
            let is_own_making = before.stamp.created_by.as_deref() == Some(grant.actor().id.as_str());
            if !is_own_making && !is_admin && !same_bounds(before, after) {
                let message =
                    "limits, models and routes of this key were set by someone else; ask an administrator";
                return Err(forbidden("key", message));
            }
            if before.temp_budget_increase != after.temp_budget_increase && !is_admin {
                return Err(forbidden("temp_budget_increase", "ask an administrator for a higher budget"));
            }
            if before.temp_budget_expiry != after.temp_budget_expiry && !is_admin {
                return Err(forbidden("temp_budget_expiry", "ask an administrator for a longer one"));
            }
        }
        let user: Option<User> = match (&after.user_id, &after.team_id) {
            (Some(user), None) => self.users.get(user).await?,
            _ => None,
        };
        let team: Option<Team> = match &after.team_id {
            Some(team) => self.teams.get(team).await?,
            None => None,
        };
        let owners = [
            user.as_ref().map(|user| (&user.limits, &user.models, "user")),
            team.as_ref().map(|team| (&team.limits, &team.models, "team")),
        ];
        for (limits, models, whose) in owners.into_iter().flatten() {
            check_within(&after.limits, limits, whose)?;
            check_models(&after.models, models, whose)?;
        }
        Ok(())
    }
}

impl Management {
    /// What is promised to the keys of a team is never more together than the team's own limit.
    async fn check_promises(&self, before: Option<&Key>, after: &Key) -> Result<()> {
        let promised = |key: &Key| {
            [
                promise(&key.tpm_limit_type, key.limits.tpm_limit),
                promise(&key.rpm_limit_type, key.limits.rpm_limit),
            ]
        };
        let wanted = promised(after);
        let is_same =
            before.is_some_and(|before| promised(before) == wanted && before.team_id == after.team_id);
        if is_same || wanted == [None, None] {
            return Ok(());
        }
        let Some(id) = &after.team_id else {
            let message = "a throughput is guaranteed to keys of a team, within the team's limit";
            return Err(bad("team_id", message));
        };
        let Some(team) = self.teams.get(id).await? else { return Ok(()) };
        let others =
            self.keys.all(Query { equal: vec![("team_id", Some(id.clone()))], ..Query::default() }).await?;
        let mut taken = [0_u64; 2];
        for key in others.iter().filter(|key| key.id != after.id) {
            for (sum, more) in taken.iter_mut().zip(promised(key)) {
                *sum = sum.saturating_add(more.unwrap_or(0));
            }
        }
        let limits = [("tpm_limit", team.limits.tpm_limit), ("rpm_limit", team.limits.rpm_limit)];
        for (((name, most), taken), wanted) in limits.into_iter().zip(taken).zip(wanted) {
            if let (Some(most), Some(wanted)) = (most, wanted)
                && taken.saturating_add(wanted) > most
            {
                let message = format!(
                    "`{name}`: {wanted} cannot be guaranteed; the team has {most}, of which {taken} are promised to other keys"
                );
                return Err(bad(name, message));
            }
        }
        Ok(())
    }
}

/// So much of a limit is promised.
fn promise(how: &Option<String>, limit: Option<u64>) -> Option<u64> {
    limit.filter(|_| how.as_deref() == Some(GUARANTEED))
}

/// `has`, where it is something new.
fn changed<'v>(had: Option<&String>, has: Option<&'v String>) -> Option<&'v String> {
    has.filter(|has| had != Some(*has))
}

fn same_bounds(before: &Key, after: &Key) -> bool {
    before.limits == after.limits
        && before.models == after.models
        && before.expires == after.expires
        && before.budget_id == after.budget_id
        && before.end_user_budget_id == after.end_user_budget_id
        && before.allowed_routes == after.allowed_routes
        && before.key_type == after.key_type
        && before.aliases == after.aliases
        && before.budget_fallbacks == after.budget_fallbacks
        && before.tag_rpm_limit == after.tag_rpm_limit
        && before.tpm_limit_type == after.tpm_limit_type
        && before.rpm_limit_type == after.rpm_limit_type
        && before.router_settings == after.router_settings
        && before.enforced_params == after.enforced_params
        && before.tags == after.tags
        && before.team_id == after.team_id
}

/// Refuses models that the owner may not use. Where the owner has no list, it may use everything.
fn check_models(wanted: &[String], owner: &[String], whose: &str) -> Result<()> {
    let is_open = |name: &String| matches!(name.as_str(), "*" | "all-proxy-models" | "all-team-models");
    if owner.is_empty() || owner.iter().any(is_open) {
        return Ok(());
    }
    let covers = |model: &String| {
        model == "all-team-models"
            || model == "no-default-models"
            || owner.iter().any(|one| match one.strip_suffix('*') {
                Some(start) => model.starts_with(start),
                None => one == model,
            })
    };
    match wanted.iter().find(|model| !covers(model)) {
        None => Ok(()),
        Some(model) => Err(forbidden("models", format!("the {whose} may not use `{model}`"))),
    }
}
