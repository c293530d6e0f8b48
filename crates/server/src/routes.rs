//! The one table of routes: what exists, who may use it, what it is for.

use http::Method;
use tollway_accounts::rights::Right;
use tollway_model::{Dialect, Operation};

pub use crate::manage::Manage;
pub use crate::spend::Spend;

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anyone. Says nothing that is not public.
    Public,
    /// Who has this right; how far, the table of rights says.
    Right(Right),
}

/// What a route does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A model call.
    Call(Dialect, Operation),
    /// A model call in Gemini's URL form, `{model}:{method}`.
    Gemini,
    /// The models a caller may use, in the shape that its client reads.
    Models,
    /// One of them.
    Model,
    /// The models in Gemini's shape.
    GeminiModels,
    /// One model in Gemini's shape.
    GeminiModel,
    /// Deployments with prices and capabilities.
    ModelInfo,
    /// The same, in pages.
    ModelPages,
    /// Model groups with what their deployments have in common.
    ModelGroups,
    /// Models that end on a known day.
    ModelDeprecations,
    /// How many tokens a prompt has.
    TokenCounter,
    /// Is the process alive?
    Liveness,
    /// Can it serve calls?
    Readiness,
    /// What is configured and what is not available.
    Health,
    /// The OpenAPI document.
    OpenApi,
    /// A page for people.
    Docs,
    /// The route list.
    Routes,
    /// Reads the configuration again.
    Reload,
    /// Looks at or changes accounts and stored models.
    Manage(Manage),
    /// Looks at what was spent, or sets it back.
    Spend(Spend),
    /// Looks at or deletes an answer that is kept.
    Response(OfResponse),
    /// Refuses, and says why: clients of LiteLLM know the route, and what it is for is not there.
    NotBuilt(&'static str),
}

/// What a route does with an answer that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OfResponse {
    /// Returns it.
    Get,
    /// Forgets it.
    Delete,
    /// Lists what was said before it.
    InputItems,
    /// Refuses: there is nothing in the background.
    Cancel,
    /// Refuses: nobody but the provider that made a compacted conversation could read it.
    Compact,
}

/// One route.
#[derive(Debug, Clone)]
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path; `{name}` stands for one segment, a last `{name...}` for all the rest.
    pub path: &'static str,
    /// Who may use it.
    pub access: Access,
    /// What it does.
    pub action: Action,
    /// What it is for, in one line.
    pub summary: &'static str,
}

macro_rules! access {
    (Public) => {
        Access::Public
    };
    ($right:ident) => {
        Access::Right(Right::$right)
    };
}

macro_rules! route {
    ($method:ident $path:literal $access:ident $action:expr, $summary:literal) => {
        Route {
            method: Method::$method,
            path: $path,
            access: access!($access),
            action: $action,
            summary: $summary,
        }
    };
}

const CHAT: Action = Action::Call(Dialect::OpenaiChat, Operation::Chat);
const COMPLETION: Action = Action::Call(Dialect::OpenaiText, Operation::Completion);
const EMBEDDING: Action = Action::Call(Dialect::OpenaiChat, Operation::Embedding);
const MESSAGES: Action = Action::Call(Dialect::Anthropic, Operation::Chat);
const RESPONSES: Action = Action::Call(Dialect::OpenaiResponses, Operation::Chat);
const COUNT_INPUT: Action = Action::Call(Dialect::OpenaiResponses, Operation::CountTokens);
const RESPONSE: Action = Action::Response(OfResponse::Get);
const FORGET: Action = Action::Response(OfResponse::Delete);
const INPUT_ITEMS: Action = Action::Response(OfResponse::InputItems);
const COMPACT: Action = Action::Response(OfResponse::Compact);
const CANCEL: Action = Action::Response(OfResponse::Cancel);
const COUNT: Action = Action::Call(Dialect::Anthropic, Operation::CountTokens);

const NO_CALLBACKS: Action = Action::NotBuilt(
    "log services are not built yet: a team's calls are in the receipts (GET /receipts, GET /spend/logs) and go nowhere else",
);
const NO_LOGIN: Action = Action::NotBuilt(
    "nobody logs in with a password here, so there are no invitations to set one: make a user's key with POST /user/new or \
     POST /key/generate, and hand it over",
);

const fn manage(what: Manage) -> Action {
    Action::Manage(what)
}

const fn spend(what: Spend) -> Action {
    Action::Spend(what)
}

/// Every route. The first that matches counts.
pub const ROUTES: &[Route] = &[
    route!(POST "/v1/chat/completions" Call CHAT, "Chat with a model (OpenAI Chat Completions)"),
    route!(POST "/chat/completions" Call CHAT, "Chat with a model (OpenAI Chat Completions)"),
    route!(POST "/v1/messages" Call MESSAGES, "Chat with a model (Anthropic Messages)"),
    route!(POST "/v1/messages/count_tokens" Call COUNT, "Count the input tokens of a message (Anthropic)"),
    route!(POST "/v1/responses" Call RESPONSES, "Answer an input (OpenAI Responses)"),
    route!(POST "/v1/responses/input_tokens" Call COUNT_INPUT, "Count the tokens of an input (OpenAI Responses)"),
    route!(POST "/v1/responses/compact" Responses COMPACT, "Refused: a compacted conversation could be read by its provider alone"),
    route!(GET "/v1/responses/{response_id}" Responses RESPONSE, "A response that is kept"),
    route!(DELETE "/v1/responses/{response_id}" Responses FORGET, "Forget a response"),
    route!(GET "/v1/responses/{response_id}/input_items" Responses INPUT_ITEMS, "What was said before a response, in pages"),
    route!(POST "/v1/responses/{response_id}/cancel" Responses CANCEL, "Refused: no response is made in the background"),
    route!(POST "/responses" Call RESPONSES, "Answer an input (OpenAI Responses)"),
    route!(POST "/responses/input_tokens" Call COUNT_INPUT, "Count the tokens of an input (OpenAI Responses)"),
    route!(POST "/responses/compact" Responses COMPACT, "Refused: a compacted conversation could be read by its provider alone"),
    route!(GET "/responses/{response_id}" Responses RESPONSE, "A response that is kept"),
    route!(DELETE "/responses/{response_id}" Responses FORGET, "Forget a response"),
    route!(GET "/responses/{response_id}/input_items" Responses INPUT_ITEMS, "What was said before a response, in pages"),
    route!(POST "/responses/{response_id}/cancel" Responses CANCEL, "Refused: no response is made in the background"),
    route!(POST "/openai/v1/responses" Call RESPONSES, "Answer an input (OpenAI Responses)"),
    route!(POST "/openai/v1/responses/input_tokens" Call COUNT_INPUT, "Count the tokens of an input (OpenAI Responses)"),
    route!(POST "/openai/v1/responses/compact" Responses COMPACT, "Refused: a compacted conversation could be read by its provider alone"),
    route!(GET "/openai/v1/responses/{response_id}" Responses RESPONSE, "A response that is kept"),
    route!(DELETE "/openai/v1/responses/{response_id}" Responses FORGET, "Forget a response"),
    route!(GET "/openai/v1/responses/{response_id}/input_items" Responses INPUT_ITEMS, "What was said before a response, in pages"),
    route!(POST "/openai/v1/responses/{response_id}/cancel" Responses CANCEL, "Refused: no response is made in the background"),
    route!(POST "/v1/embeddings" Call EMBEDDING, "Turn texts into vectors (OpenAI Embeddings)"),
    route!(POST "/embeddings" Call EMBEDDING, "Turn texts into vectors (OpenAI Embeddings)"),
    route!(POST "/v1/completions" Call COMPLETION, "Complete a text (OpenAI, legacy)"),
    route!(POST "/completions" Call COMPLETION, "Complete a text (OpenAI, legacy)"),
    route!(POST "/engines/{model}/chat/completions" Call CHAT, "Chat; the model is in the path"),
    route!(POST "/engines/{model}/completions" Call COMPLETION, "Complete a text; the model is in the path"),
    route!(POST "/engines/{model}/embeddings" Call EMBEDDING, "Vectors; the model is in the path"),
    route!(POST "/openai/deployments/{model}/chat/completions" Call CHAT, "Chat, Azure's form of the path"),
    route!(POST "/openai/deployments/{model}/completions" Call COMPLETION, "Complete a text, Azure's form of the path"),
    route!(POST "/openai/deployments/{model}/embeddings" Call EMBEDDING, "Vectors, Azure's form of the path"),
    route!(GET "/v1beta/models" Models Action::GeminiModels, "The models a caller may use (Gemini's shape)"),
    route!(GET "/v1beta/models/{id...}" Models Action::GeminiModel, "One model (Gemini's shape)"),
    route!(POST "/v1beta/models/{call...}" Call Action::Gemini, "generateContent, streamGenerateContent, countTokens, embedContent, batchEmbedContents (Gemini)"),
    route!(GET "/v1alpha/models" Models Action::GeminiModels, "The models a caller may use (Gemini's shape)"),
    route!(GET "/v1alpha/models/{id...}" Models Action::GeminiModel, "One model (Gemini's shape)"),
    route!(POST "/v1alpha/models/{call...}" Call Action::Gemini, "generateContent, streamGenerateContent, countTokens, embedContent, batchEmbedContents (Gemini)"),
    route!(POST "/v1/models/{call...}" Call Action::Gemini, "generateContent, streamGenerateContent, countTokens, embedContent, batchEmbedContents (Gemini)"),
    route!(POST "/models/{call...}" Call Action::Gemini, "generateContent, streamGenerateContent, countTokens, embedContent, batchEmbedContents (Gemini)"),
    route!(GET "/v1/models" Models Action::Models, "The models a caller may use"),
    route!(GET "/models" Models Action::Models, "The models a caller may use"),
    route!(GET "/v1/models/{id...}" Models Action::Model, "One model"),
    route!(GET "/models/{id...}" Models Action::Model, "One model"),
    route!(GET "/v1/model/info" ModelInfo Action::ModelInfo, "Deployments with limits, prices and capabilities"),
    route!(GET "/model/info" ModelInfo Action::ModelInfo, "Deployments with limits, prices and capabilities"),
    route!(POST "/utils/token_counter" CountTokens Action::TokenCounter, "Count the tokens of a prompt or of messages"),
    route!(GET "/health" Health Action::Health, "What is configured, and which deployments cannot be called"),
    route!(GET "/health/liveliness" Public Action::Liveness, "Is the process alive?"),
    route!(GET "/health/liveness" Public Action::Liveness, "Is the process alive?"),
    route!(GET "/health/readiness" Public Action::Readiness, "Can it serve calls?"),
    route!(GET "/receipts" Receipts spend(Spend::Receipts), "The latest receipts, newest first"),
    route!(GET "/receipts/{id}" Receipts spend(Spend::Receipt), "Why a call went the way it went"),
    route!(POST "/config/reload" Reload Action::Reload, "Read the configuration again; the old one stays when the new one is wrong"),
    route!(GET "/v2/model/info" ModelInfo Action::ModelPages, "Deployments, in pages"),
    route!(GET "/model/deprecations" ModelInfo Action::ModelDeprecations, "Models that end on a known day"),
    route!(GET "/v1/model/deprecations" ModelInfo Action::ModelDeprecations, "Models that end on a known day"),
    route!(GET "/model_group/info" ModelInfo Action::ModelGroups, "Model groups with limits, prices and capabilities"),
    route!(POST "/key/generate" KeyGenerate manage(Manage::KeyGenerate), "Make a key; it is shown this once"),
    route!(POST "/key/service-account/generate" KeyServiceAccount manage(Manage::KeyServiceAccount), "Make a key of a team, without a user"),
    route!(POST "/key/update" KeyUpdate manage(Manage::KeyUpdate), "Change a key: what is named changes, the rest stays"),
    route!(POST "/key/bulk_update" KeyUpdate manage(Manage::KeyBulkUpdate), "Change several keys"),
    route!(POST "/key/delete" KeyDelete manage(Manage::KeyDelete), "Delete keys"),
    route!(POST "/key/block" KeyBlock manage(Manage::KeyBlock), "Block a key"),
    route!(POST "/key/unblock" KeyUnblock manage(Manage::KeyUnblock), "Unblock a key"),
    route!(POST "/key/regenerate" KeyRegenerate manage(Manage::KeyRegenerate), "Give a key a new secret"),
    route!(POST "/key/{key}/regenerate" KeyRegenerate manage(Manage::KeyRegenerate), "Give a key a new secret"),
    route!(GET "/key/info" KeyInfo manage(Manage::KeyInfo), "A key; without `key`, the one that asks"),
    route!(POST "/key/health" KeyInfo manage(Manage::KeyHealth), "May the key that asks call?"),
    route!(POST "/v2/key/info" KeyInfo manage(Manage::KeyInfos), "Several keys"),
    route!(GET "/key/list" KeyList manage(Manage::KeyList), "Keys, in pages"),
    route!(GET "/key/aliases" KeyList manage(Manage::KeyAliases), "Names of keys"),
    route!(POST "/team/key/bulk_update" KeyUpdate manage(Manage::TeamKeysUpdate), "Change several keys of a team alike"),
    route!(POST "/team/new" TeamNew manage(Manage::TeamNew), "Make a team"),
    route!(POST "/team/update" TeamUpdate manage(Manage::TeamUpdate), "Change a team"),
    route!(POST "/team/delete" TeamDelete manage(Manage::TeamDelete), "Delete teams with their keys"),
    route!(POST "/team/block" TeamBlock manage(Manage::TeamBlock), "Block a team"),
    route!(POST "/team/unblock" TeamBlock manage(Manage::TeamUnblock), "Unblock a team"),
    route!(POST "/team/member_add" TeamMembers manage(Manage::MemberAdd), "Add members to a team"),
    route!(POST "/team/member_update" TeamMembers manage(Manage::MemberUpdate), "Change a member's role and limits"),
    route!(POST "/team/member_delete" TeamMembers manage(Manage::MemberDelete), "Take a member out of a team"),
    route!(POST "/team/bulk_member_add" TeamMembers manage(Manage::MembersAdd), "Add several members to a team"),
    route!(POST "/management/v1/teams/{team_id}/members/bulk_update" TeamMembers manage(Manage::MembersUpdate), "Change several members"),
    route!(POST "/management/v1/teams/{team_id}/members/bulk_delete" TeamMembers manage(Manage::MembersDelete), "Take several members out of a team"),
    route!(POST "/team/{team_id}/member/{user_id}/reset_budget" TeamMembers manage(Manage::MemberResetBudget), "Give a member the team's default limits again"),
    route!(POST "/team/{team_id}/member/{user_id}/reset_spend" KeyResetSpend spend(Spend::MemberReset), "Set a member's spend back, to nothing or `reset_to`"),
    route!(POST "/team/permissions_update" TeamUpdate manage(Manage::TeamPermissionsUpdate), "Say what plain members may do with the team's keys"),
    route!(POST "/team/permissions_bulk_update" TeamUpdate manage(Manage::TeamsPermissionsUpdate), "Say it for several teams"),
    route!(GET "/team/{team_id}/callback" TeamInfo manage(Manage::TeamCallbacks), "The log services a team's calls go to: none"),
    route!(POST "/team/{team_id}/callback" TeamUpdate NO_CALLBACKS, "Refused: there are no log services"),
    route!(POST "/team/{team_id}/disable_logging" TeamUpdate manage(Manage::TeamCallbacksOff), "Send a team's calls to no log service, as it is"),
    route!(GET "/team/available" TeamList manage(Manage::TeamAvailable), "Teams that one may join alone: none"),
    route!(POST "/team/model/add" TeamModels manage(Manage::TeamModelAdd), "Allow a team more models"),
    route!(POST "/team/model/delete" TeamModels manage(Manage::TeamModelDelete), "Allow a team fewer models"),
    route!(GET "/team/info" TeamInfo manage(Manage::TeamInfo), "A team with its keys and members"),
    route!(GET "/team/list" TeamList manage(Manage::TeamList), "Teams"),
    route!(GET "/v2/team/list" TeamList manage(Manage::TeamPages), "Teams, in pages"),
    route!(GET "/team/permissions_list" TeamInfo manage(Manage::TeamPermissions), "What plain members may do with the team's keys"),
    route!(PATCH "/team/{team_id}" TeamUpdate manage(Manage::TeamUpdate), "Change a team"),
    route!(POST "/user/new" UserNew manage(Manage::UserNew), "Make a user, with a key unless `auto_create_key` is false"),
    route!(POST "/user/update" UserUpdate manage(Manage::UserUpdate), "Change a user"),
    route!(POST "/user/bulk_update" UserUpdate manage(Manage::UserBulkUpdate), "Change several users, or all of them alike"),
    route!(POST "/user/delete" UserDelete manage(Manage::UserDelete), "Delete users with their keys"),
    route!(GET "/user/info" UserInfo manage(Manage::UserInfo), "A user with its keys and teams"),
    route!(GET "/v2/user/info" UserInfo manage(Manage::UserInfoAlone), "A user"),
    route!(GET "/user/list" UserList manage(Manage::UserList), "Users, in pages"),
    route!(GET "/user/filter/ui" UserList manage(Manage::UserFilter), "Ids and addresses of users with these pieces in them"),
    route!(GET "/user/available_users" UserList manage(Manage::UsersAvailable), "How many users and teams there are"),
    route!(POST "/user/password/change" UserUpdate NO_LOGIN, "Refused: there are no passwords"),
    route!(POST "/invitation/new" UserNew NO_LOGIN, "Refused: there are no passwords to invite for"),
    route!(POST "/invitation/update" UserNew NO_LOGIN, "Refused: there are no passwords to invite for"),
    route!(POST "/invitation/delete" UserNew NO_LOGIN, "Refused: there are no passwords to invite for"),
    route!(GET "/invitation/info" UserNew NO_LOGIN, "Refused: there are no passwords to invite for"),
    route!(POST "/customer/new" CustomerWrite manage(Manage::CustomerNew), "Make a customer"),
    route!(POST "/customer/update" CustomerWrite manage(Manage::CustomerUpdate), "Change a customer"),
    route!(POST "/customer/delete" CustomerWrite manage(Manage::CustomerDelete), "Delete customers"),
    route!(POST "/customer/block" CustomerWrite manage(Manage::CustomerBlock), "Block customers"),
    route!(POST "/customer/unblock" CustomerWrite manage(Manage::CustomerUnblock), "Unblock customers"),
    route!(GET "/customer/info" CustomerRead manage(Manage::CustomerInfo), "A customer"),
    route!(GET "/customer/list" CustomerRead manage(Manage::CustomerList), "Customers"),
    route!(POST "/end_user/new" CustomerWrite manage(Manage::CustomerNew), "Make a customer"),
    route!(POST "/end_user/update" CustomerWrite manage(Manage::CustomerUpdate), "Change a customer"),
    route!(POST "/end_user/delete" CustomerWrite manage(Manage::CustomerDelete), "Delete customers"),
    route!(POST "/end_user/block" CustomerWrite manage(Manage::CustomerBlock), "Block customers"),
    route!(POST "/end_user/unblock" CustomerWrite manage(Manage::CustomerUnblock), "Unblock customers"),
    route!(GET "/end_user/info" CustomerRead manage(Manage::CustomerInfo), "A customer"),
    route!(GET "/end_user/list" CustomerRead manage(Manage::CustomerList), "Customers"),
    route!(POST "/budget/new" BudgetWrite manage(Manage::BudgetNew), "Make a budget"),
    route!(POST "/budget/update" BudgetWrite manage(Manage::BudgetUpdate), "Change a budget"),
    route!(POST "/budget/delete" BudgetWrite manage(Manage::BudgetDelete), "Delete a budget that binds nobody"),
    route!(POST "/budget/info" BudgetRead manage(Manage::BudgetInfo), "Several budgets"),
    route!(GET "/budget/settings" BudgetRead manage(Manage::BudgetSettings), "What can be set of a budget, and what is"),
    route!(GET "/budget/list" BudgetRead manage(Manage::BudgetList), "Budgets"),
    route!(POST "/tag/new" TagWrite manage(Manage::TagNew), "Give a tag of calls limits"),
    route!(POST "/tag/update" TagWrite manage(Manage::TagUpdate), "Change a tag"),
    route!(POST "/tag/delete" TagWrite manage(Manage::TagDelete), "Take a tag's limits away"),
    route!(POST "/tag/info" TagRead manage(Manage::TagInfo), "Several tags"),
    route!(GET "/tag/list" TagRead manage(Manage::TagList), "Tags that have limits, and those that calls had"),
    route!(POST "/model/new" ModelWrite manage(Manage::ModelNew), "Add a model"),
    route!(POST "/model/update" ModelWrite manage(Manage::ModelUpdate), "Change a model that was added here"),
    route!(PATCH "/model/{model_id}/update" ModelWrite manage(Manage::ModelUpdate), "Change a model that was added here"),
    route!(POST "/model/delete" ModelWrite manage(Manage::ModelDelete), "Delete a model that was added here"),
    route!(POST "/model/block" ModelWrite manage(Manage::ModelBlock), "Stop calling a model"),
    route!(POST "/model/unblock" ModelWrite manage(Manage::ModelUnblock), "Call a model again"),
    route!(GET "/audit" Audit manage(Manage::AuditList), "The audit log, newest first"),
    route!(GET "/audit/verify" Audit manage(Manage::AuditVerify), "Does every entry of the audit log fit the one before?"),
    route!(POST "/key/{key}/reset_spend" KeyResetSpend spend(Spend::KeyReset), "Set a key's spend back, to nothing or `reset_to`"),
    route!(POST "/global/spend/reset" GlobalResetSpend spend(Spend::GlobalReset), "Set the spend of all keys and teams back; the master key only"),
    route!(GET "/spend/logs" Spend spend(Spend::Logs), "Calls, or with dates what was spent each day"),
    route!(GET "/spend/logs/v2" Spend spend(Spend::LogPages), "Calls in pages, newest first"),
    route!(GET "/spend/logs/ui" Spend spend(Spend::LogPages), "Calls in pages, newest first"),
    route!(GET "/spend/logs/session/ui" Spend spend(Spend::LogSession), "The calls of a session, newest first"),
    route!(GET "/spend/logs/ui/{id}" Spend spend(Spend::Log), "One call"),
    route!(GET "/spend/keys" Spend spend(Spend::Keys), "The keys that spent most"),
    route!(GET "/spend/users" Spend spend(Spend::Users), "The users that spent most, or one"),
    route!(GET "/spend/tags" Spend spend(Spend::Tags), "The tags that most was spent for"),
    route!(POST "/spend/calculate" CostEstimate spend(Spend::Calculate), "What a call would cost, or what an answer did"),
    route!(GET "/global/spend" GlobalSpend spend(Spend::Global), "What was spent of the budget over everything"),
    route!(GET "/global/spend/logs" GlobalSpend spend(Spend::GlobalLogs), "What was spent each day"),
    route!(GET "/global/spend/keys" GlobalSpend spend(Spend::GlobalKeys), "The keys that spent most lately"),
    route!(GET "/global/spend/models" GlobalSpend spend(Spend::GlobalModels), "The models that most was spent on lately"),
    route!(GET "/global/spend/teams" GlobalSpend spend(Spend::GlobalTeams), "What each team spent lately"),
    route!(GET "/global/spend/tags" GlobalSpend spend(Spend::GlobalTags), "The tags that most was spent for lately"),
    route!(GET "/global/spend/provider" GlobalSpend spend(Spend::GlobalProviders), "What was spent with each provider lately"),
    route!(GET "/global/spend/report" GlobalSpend spend(Spend::GlobalReport), "What was spent, by team, customer or key"),
    route!(GET "/key/spend/report" Spend spend(Spend::KeyReport), "What a key spent, by model"),
    route!(GET "/user/spend/report" Spend spend(Spend::UserReport), "What a user's keys spent, by model"),
    route!(GET "/team/spend/report" Spend spend(Spend::TeamReport), "What a team's keys spent, by model"),
    route!(GET "/global/activity" GlobalSpend spend(Spend::GlobalActivity), "Calls and tokens each day"),
    route!(GET "/global/activity/model" GlobalSpend spend(Spend::GlobalActivityByModel), "Calls and tokens each day, by model"),
    route!(GET "/global/activity/exceptions" GlobalSpend spend(Spend::GlobalExceptions), "Calls that a rate limit ended, each day"),
    route!(GET "/user/daily/activity" Spend spend(Spend::UserActivity), "What users used each day, by model, provider and key"),
    route!(GET "/user/daily/activity/aggregated" Spend spend(Spend::UserActivityWhole), "The same for all days at once"),
    route!(GET "/team/daily/activity" Spend spend(Spend::TeamActivity), "What teams used each day, by model, provider and key"),
    route!(GET "/team/daily/activity/aggregated" Spend spend(Spend::TeamActivityWhole), "The same for all days at once"),
    route!(GET "/tag/daily/activity" Spend spend(Spend::TagActivity), "What was used each day, by tag"),
    route!(GET "/customer/daily/activity" Spend spend(Spend::CustomerActivity), "What was used each day, by customer"),
    route!(GET "/end_user/daily/activity" Spend spend(Spend::CustomerActivity), "What was used each day, by customer"),
    route!(GET "/tag/daily/activity/aggregated" Spend spend(Spend::TagActivityWhole), "The same for all days at once"),
    route!(GET "/customer/daily/activity/aggregated" Spend spend(Spend::CustomerActivityWhole), "The same for all days at once"),
    route!(GET "/end_user/daily/activity/aggregated" Spend spend(Spend::CustomerActivityWhole), "The same for all days at once"),
    route!(POST "/cost/estimate" CostEstimate spend(Spend::Estimate), "What calls of a size would cost, each, a day and a month"),
    route!(GET "/openapi.json" Public Action::OpenApi, "This API as an OpenAPI document"),
    route!(GET "/docs" Public Action::Docs, "The routes, for people"),
    route!(GET "/" Public Action::Docs, "The routes, for people"),
    route!(GET "/routes" Public Action::Routes, "The routes, for programs"),
];

/// What a request's path and method lead to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Matched<'a> {
    /// A route, with what its `{name}` stands for.
    Route(usize, Option<&'a str>),
    /// The path exists with other methods.
    OtherMethod,
    /// No such path.
    None,
}

/// Finds the route of a request. A single trailing slash is ignored.
pub fn find<'a>(method: &Method, path: &'a str) -> Matched<'a> {
    let path = match path.strip_suffix('/') {
        Some(shorter) if !shorter.is_empty() => shorter,
        _ => path,
    };
    let mut other_method = false;
    for (index, route) in ROUTES.iter().enumerate() {
        let Some(captured) = capture(route.path, path) else { continue };
        if route.method == *method || (*method == Method::HEAD && route.method == Method::GET) {
            return Matched::Route(index, captured);
        }
        other_method = true;
    }
    if other_method { Matched::OtherMethod } else { Matched::None }
}

/// The methods that `path` takes, for `Allow`.
pub fn allowed(path: &str) -> String {
    let taken = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE]
        .into_iter()
        .filter(|method| matches!(find(method, path), Matched::Route(..)));
    taken.map(|method| method.to_string()).collect::<Vec<_>>().join(", ")
}

/// `Some(None)`: a plain match; `Some(Some(text))`: a match with a captured part.
fn capture<'a>(pattern: &str, path: &'a str) -> Option<Option<&'a str>> {
    let Some((before, rest)) = pattern.split_once('{') else { return (pattern == path).then_some(None) };
    let (name, after) = rest.split_once('}')?;
    if let Some((between, last)) = after.split_once('{') {
        // Two names: both are captured, with what is between them.
        let found = path.strip_prefix(before)?.strip_suffix(last.split_once('}')?.1)?;
        let (one, other) = found.split_once(between)?;
        let is_name = |part: &str| !part.is_empty() && !part.contains('/');
        return (is_name(one) && is_name(other)).then_some(Some(found));
    }
    let found = path.strip_prefix(before)?.strip_suffix(after)?;
    let whole = name.ends_with("...");
    (!found.is_empty() && (whole || after.len() > 1 || !found.contains('/'))).then_some(Some(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: Method, path: &str, action: Option<(Action, Option<&str>)>) {
        let found = match find(&method, path) {
            Matched::Route(index, captured) => Some((ROUTES[index].action, captured)),
            _ => None,
        };
        assert_eq!(found, action, "{method} {path}");
    }

    #[test]
    fn every_form_of_a_path_leads_to_its_action() {
        check(Method::POST, "/v1/chat/completions", Some((CHAT, None)));
        check(Method::POST, "/chat/completions/", Some((CHAT, None)));
        check(Method::POST, "/engines/gpt-4o/chat/completions", Some((CHAT, Some("gpt-4o"))));
        check(Method::POST, "/openai/deployments/a/b/embeddings", Some((EMBEDDING, Some("a/b"))));
        check(
            Method::POST,
            "/v1beta/models/gemini/x:generateContent",
            Some((Action::Gemini, Some("gemini/x:generateContent"))),
        );
        check(
            Method::POST,
            "/v1/models/gemini/x:countTokens",
            Some((Action::Gemini, Some("gemini/x:countTokens"))),
        );
        check(Method::GET, "/v1/models/groq/llama", Some((Action::Model, Some("groq/llama"))));
        check(Method::GET, "/v1/models", Some((Action::Models, None)));
        for start in ["", "/v1", "/openai/v1"] {
            let check =
                |method, rest: &str, action| check(method, &format!("{start}/responses{rest}"), action);
            check(Method::POST, "", Some((RESPONSES, None)));
            check(Method::POST, "/input_tokens", Some((COUNT_INPUT, None)));
            check(Method::GET, "/resp_1", Some((RESPONSE, Some("resp_1"))));
            check(Method::DELETE, "/resp_1", Some((FORGET, Some("resp_1"))));
            check(Method::GET, "/resp_1/input_items", Some((INPUT_ITEMS, Some("resp_1"))));
            check(Method::POST, "/resp_1/cancel", Some((CANCEL, Some("resp_1"))));
            check(Method::POST, "/compact", Some((COMPACT, None)));
        }
        let reset = Some((spend(Spend::MemberReset), Some("t/member/u")));
        check(Method::POST, "/team/t/member/u/reset_spend", reset);
        for path in ["/team/t/member//reset_spend", "/team/t/member/u/v/reset_spend", "/team/t/u/reset_spend"]
        {
            check(Method::POST, path, None);
        }
        check(Method::GET, "/receipts/1", Some((spend(Spend::Receipt), Some("1"))));
        check(Method::GET, "/receipts/1/2", None);
        check(Method::GET, "/nothing", None);
        assert_eq!(find(&Method::GET, "/v1/chat/completions"), Matched::OtherMethod);
        assert_eq!(find(&Method::GET, "/v1/chat"), Matched::None);
        assert_eq!(allowed("/v1/chat/completions"), "POST");
        assert_eq!(allowed("/models/x"), "GET, HEAD, POST");
    }

    #[test]
    fn only_routes_that_say_nothing_are_public() {
        let public: Vec<_> =
            ROUTES.iter().filter(|route| route.access == Access::Public).map(|route| route.path).collect();
        assert_eq!(
            public,
            [
                "/health/liveliness",
                "/health/liveness",
                "/health/readiness",
                "/openapi.json",
                "/docs",
                "/",
                "/routes"
            ]
        );
    }
}
