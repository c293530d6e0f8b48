//! The management routes: from a request to a method of `tollway_accounts::manage::Management`.
//!
//! What may be done is settled before the body is read: [`act`] takes a grant, and every method checks that it was given
//! for what it does. Bodies, parameters and answers belong to the methods; here is only which route means which.

mod describe;

use std::sync::Arc;

use http::StatusCode;
use serde_json::Value;
use tollway_accounts::manage::{Management, Params};
use tollway_accounts::rights::{Grant, ROUTE_NOT_ALLOWED};
use tollway_model::{Dialect, Error, Kind, Result};
use tollway_pipeline::{Pieces, Reply, ReplyBody, json_reply, render_error};

pub(crate) use describe::{answer_schema, parameters, request_type, schemas};

/// What a management route does. The names are those of the routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the route of its name; the route table says what it does")]
pub enum Manage {
    KeyGenerate,
    KeyServiceAccount,
    KeyUpdate,
    KeyBulkUpdate,
    KeyDelete,
    KeyBlock,
    KeyUnblock,
    KeyRegenerate,
    KeyInfo,
    KeyInfos,
    KeyList,
    KeyHealth,
    KeyAliases,
    TeamKeysUpdate,
    TeamNew,
    TeamUpdate,
    TeamDelete,
    TeamBlock,
    TeamUnblock,
    MemberAdd,
    MemberUpdate,
    MemberDelete,
    MembersAdd,
    MembersUpdate,
    MembersDelete,
    MemberResetBudget,
    TeamModelAdd,
    TeamModelDelete,
    TeamInfo,
    TeamList,
    TeamPages,
    TeamPermissions,
    TeamPermissionsUpdate,
    TeamAvailable,
    TeamsPermissionsUpdate,
    TeamCallbacks,
    TeamCallbacksOff,
    UserNew,
    UserUpdate,
    UserBulkUpdate,
    UserDelete,
    UserInfo,
    UserInfoAlone,
    UserList,
    UserFilter,
    UsersAvailable,
    CustomerNew,
    CustomerUpdate,
    CustomerDelete,
    CustomerBlock,
    CustomerUnblock,
    CustomerInfo,
    CustomerList,
    BudgetNew,
    BudgetUpdate,
    BudgetDelete,
    BudgetInfo,
    BudgetList,
    BudgetSettings,
    TagNew,
    TagUpdate,
    TagDelete,
    TagInfo,
    TagList,
    ModelNew,
    ModelUpdate,
    ModelDelete,
    ModelBlock,
    ModelUnblock,
    AuditList,
    AuditVerify,
}

impl Manage {
    /// Does it change which models are served?
    pub(crate) fn changes_models(self) -> bool {
        matches!(
            self,
            Manage::ModelNew
                | Manage::ModelUpdate
                | Manage::ModelDelete
                | Manage::ModelBlock
                | Manage::ModelUnblock
        )
    }
}

/// The handle, or why there is none.
pub(crate) fn handle(management: Option<Arc<Management>>) -> Result<Arc<Management>> {
    management.ok_or_else(|| {
        Error::new(Kind::Unavailable, "there is no database: keys and teams are not managed here")
    })
}

/// The parameters of a query, decoded. `+` stands for a space.
pub(crate) fn params(query: Option<&str>) -> Params {
    let decoded = |text: &str| {
        let text = text.replace('+', " ");
        percent_encoding::percent_decode_str(&text).decode_utf8_lossy().into_owned()
    };
    let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    Params::new(pairs.map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(name), decoded(value))
    }))
}

/// Does what the route says, as far as the grant reaches. `named` is the part of the path that names something.
pub(crate) async fn act(
    management: &Management,
    grant: &Grant,
    what: Manage,
    named: Option<&str>,
    params: &Params,
    body: &[u8],
) -> Result<Value> {
    match what {
        Manage::KeyGenerate => management.key_generate(grant, body).await,
        Manage::KeyServiceAccount => management.key_service_account(grant, body).await,
        Manage::KeyUpdate => management.key_update(grant, body).await,
        Manage::KeyBulkUpdate => Box::pin(management.key_bulk_update(grant, body)).await,
        Manage::KeyDelete => management.key_delete(grant, body).await,
        Manage::KeyBlock => management.key_block(grant, body, true).await,
        Manage::KeyUnblock => management.key_block(grant, body, false).await,
        Manage::KeyRegenerate => management.key_regenerate(grant, named, body).await,
        Manage::KeyInfo => management.key_info(grant, params).await,
        Manage::KeyInfos => management.key_infos(grant, body).await,
        Manage::KeyList => management.key_list(grant, params).await,
        Manage::KeyHealth => management.key_health(grant).await,
        Manage::KeyAliases => management.key_aliases(grant, params).await,
        Manage::TeamKeysUpdate => Box::pin(management.team_keys_update(grant, body)).await,
        Manage::TeamNew => management.team_new(grant, body).await,
        Manage::TeamUpdate => management.team_update(grant, named, body).await,
        Manage::TeamDelete => management.team_delete(grant, body).await,
        Manage::TeamBlock => management.team_block(grant, body, true).await,
        Manage::TeamUnblock => management.team_block(grant, body, false).await,
        Manage::MemberAdd => management.member_add(grant, body).await,
        Manage::MemberUpdate => management.member_update(grant, body).await,
        Manage::MemberDelete => management.member_delete(grant, body).await,
        Manage::MembersAdd => management.members_add(grant, body).await,
        Manage::MembersUpdate => management.members_update(grant, named, body).await,
        Manage::MembersDelete => management.members_delete(grant, named, body).await,
        Manage::MemberResetBudget => management.member_reset_budget(grant, named).await,
        Manage::TeamModelAdd => management.team_models(grant, body, true).await,
        Manage::TeamModelDelete => management.team_models(grant, body, false).await,
        Manage::TeamInfo => management.team_info(grant, params).await,
        Manage::TeamList => management.team_list(grant, params).await,
        Manage::TeamPages => management.team_pages(grant, params).await,
        Manage::TeamPermissions => management.team_permissions(grant, params).await,
        Manage::TeamPermissionsUpdate => management.team_permissions_update(grant, body).await,
        Manage::TeamAvailable => management.team_available(grant, params).await,
        Manage::TeamsPermissionsUpdate => management.teams_permissions_update(grant, body).await,
        Manage::TeamCallbacks => management.team_callbacks(grant, named).await,
        Manage::TeamCallbacksOff => management.team_callbacks_off(grant, named).await,
        Manage::UserNew => management.user_new(grant, body).await,
        Manage::UserUpdate => management.user_update(grant, body).await,
        Manage::UserBulkUpdate => management.user_bulk_update(grant, body).await,
        Manage::UserDelete => management.user_delete(grant, body).await,
        Manage::UserInfo => management.user_info(grant, params).await,
        Manage::UserInfoAlone => management.user_info_alone(grant, params).await,
        Manage::UserList => management.user_list(grant, params).await,
        Manage::UserFilter => management.user_filter(grant, params).await,
        Manage::UsersAvailable => management.users_available(grant, params).await,
        Manage::CustomerNew => management.customer_new(grant, body).await,
        Manage::CustomerUpdate => management.customer_update(grant, body).await,
        Manage::CustomerDelete => management.customer_delete(grant, body).await,
        Manage::CustomerBlock => management.customer_block(grant, body, true).await,
        Manage::CustomerUnblock => management.customer_block(grant, body, false).await,
        Manage::CustomerInfo => management.customer_info(grant, params).await,
        Manage::CustomerList => management.customer_list(grant, params).await,
        Manage::BudgetNew => management.budget_new(grant, body).await,
        Manage::BudgetUpdate => management.budget_update(grant, body).await,
        Manage::BudgetDelete => management.budget_delete(grant, body).await,
        Manage::BudgetInfo => management.budget_info(grant, body).await,
        Manage::BudgetList => management.budget_list(grant, params).await,
        Manage::BudgetSettings => management.budget_settings(grant, params).await,
        Manage::TagNew => management.tag_new(grant, body).await,
        Manage::TagUpdate => management.tag_update(grant, body).await,
        Manage::TagDelete => management.tag_delete(grant, body).await,
        Manage::TagInfo => management.tag_info(grant, body).await,
        Manage::TagList => management.tag_list(grant, params).await,
        Manage::ModelNew => management.model_new(grant, body).await,
        Manage::ModelUpdate => management.model_update(grant, named, body).await,
        Manage::ModelDelete => management.model_delete(grant, body).await,
        Manage::ModelBlock => management.model_block(grant, body, true).await,
        Manage::ModelUnblock => management.model_block(grant, body, false).await,
        Manage::AuditList => management.audit_list(grant, params).await,
        Manage::AuditVerify => management.audit_verify(grant).await,
    }
}

/// Answers a management request.
pub(crate) fn reply(value: &Value) -> Reply {
    let mut reply = json_reply(StatusCode::OK, value);
    // Answers may hold a key that is shown this once.
    reply.headers.insert(http::header::CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
    reply
}

/// The same, as it is made.
pub(crate) fn long_reply(pieces: Pieces) -> Reply {
    let mut reply = reply(&Value::Null);
    reply.body = ReplyBody::Pieces(pieces);
    reply
}

/// An error as a reply. A refusal by a key's `allowed_routes` says it under `detail`, too, where LiteLLM's clients look.
pub(crate) fn refuse(error: &Error, dialect: Dialect) -> Reply {
    let mut reply = render_error(error, dialect);
    if matches!(dialect, Dialect::OpenaiChat | Dialect::OpenaiText | Dialect::OpenaiResponses)
        && error.provider_type() == Some(ROUTE_NOT_ALLOWED)
        && let ReplyBody::Full(Some(body)) = &reply.body
        && let Ok(Value::Object(mut map)) = serde_json::from_slice(body)
    {
        map.insert("detail".into(), Value::String(error.message().to_owned()));
        reply.body = ReplyBody::full(Value::Object(map).to_string());
    }
    reply
}

#[cfg(test)]
mod tests;
