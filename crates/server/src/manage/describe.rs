//! What the OpenAPI document says of the management routes.

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};
use tollway_accounts::manage::fields::Request;
use tollway_accounts::manage::{
    AddMembers, BudgetIds, BudgetRequest, BulkKeys, BulkMembers, BulkUsers, CustomerIds, CustomerRequest,
    DeleteBudget, DeleteKeys, GenerateKey, KeyNames, MemberItems, ModelId, ModelRequest, NewCustomer,
    NewModel, NewTeam, NewUser, OneKey, OneTag, OneTeam, RegenerateKey, RemoveMember, TagNames, TagRequest,
    TeamIds, TeamKeys, TeamModels, TeamPermissions, TeamRequest, TeamsPermissions, UpdateKey, UpdateMember,
    UserIds, UserRequest, names,
};

use super::Manage;

/// The schema of a route's body; `None`: it has none.
pub(crate) fn request_type(what: Manage) -> Option<&'static str> {
    Some(match what {
        Manage::KeyGenerate | Manage::KeyServiceAccount => "GenerateKey",
        Manage::KeyUpdate => "UpdateKey",
        Manage::KeyBulkUpdate => "BulkKeys",
        Manage::KeyDelete => "DeleteKeys",
        Manage::KeyBlock | Manage::KeyUnblock => "OneKey",
        Manage::KeyRegenerate => "RegenerateKey",
        Manage::KeyInfos => "KeyNames",
        Manage::TeamNew => "NewTeam",
        Manage::TeamUpdate => "TeamRequest",
        Manage::TeamDelete => "TeamIds",
        Manage::TeamBlock | Manage::TeamUnblock => "OneTeam",
        Manage::MemberAdd => "AddMembers",
        Manage::MemberUpdate => "UpdateMember",
        Manage::MemberDelete => "RemoveMember",
        Manage::MembersAdd => "BulkMembers",
        Manage::MembersUpdate | Manage::MembersDelete => "MemberItems",
        Manage::TeamPermissionsUpdate => "TeamPermissions",
        Manage::TeamsPermissionsUpdate => "TeamsPermissions",
        Manage::TeamKeysUpdate => "TeamKeys",
        Manage::UserBulkUpdate => "BulkUsers",
        Manage::TeamModelAdd | Manage::TeamModelDelete => "TeamModels",
        Manage::UserNew => "NewUser",
        Manage::UserUpdate => "UserRequest",
        Manage::UserDelete => "UserIds",
        Manage::CustomerNew => "NewCustomer",
        Manage::CustomerUpdate => "CustomerRequest",
        Manage::CustomerDelete | Manage::CustomerBlock | Manage::CustomerUnblock => "CustomerIds",
        Manage::BudgetNew | Manage::BudgetUpdate => "BudgetRequest",
        Manage::BudgetDelete => "DeleteBudget",
        Manage::BudgetInfo => "BudgetIds",
        Manage::TagNew | Manage::TagUpdate => "TagRequest",
        Manage::TagDelete => "OneTag",
        Manage::TagInfo => "TagNames",
        Manage::ModelNew => "NewModel",
        Manage::ModelUpdate => "ModelRequest",
        Manage::ModelDelete | Manage::ModelBlock | Manage::ModelUnblock => "ModelId",
        _ => return None,
    })
}

/// The parameters of a route's query.
pub(crate) fn parameters(what: Manage) -> &'static [&'static str] {
    match what {
        Manage::KeyInfo => names::KEY_INFO,
        Manage::KeyList => names::KEY_LIST,
        Manage::KeyAliases => names::KEY_ALIASES,
        Manage::TeamInfo => names::TEAM_INFO,
        Manage::TeamList => names::TEAM_LIST,
        Manage::TeamPages => names::TEAM_PAGES,
        Manage::TeamPermissions => names::TEAM_PERMISSIONS,
        Manage::UserInfo | Manage::UserInfoAlone => names::USER_INFO,
        Manage::UserList => names::USER_LIST,
        Manage::UserFilter => names::USER_FILTER,
        Manage::CustomerInfo => names::CUSTOMER_INFO,
        Manage::CustomerList => names::CUSTOMER_LIST,
        Manage::BudgetSettings => names::BUDGET_SETTINGS,
        Manage::AuditList => names::AUDIT,
        _ => &[],
    }
}

/// The schemas of every body, and of what they consist of.
pub(crate) fn schemas() -> Map<String, Value> {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
    });
    let mut generator = SchemaGenerator::new(settings);
    let mut schemas = Map::new();
    let mut put = |name: &str, schema: fn(&mut SchemaGenerator) -> Value| {
        let schema = schema(&mut generator);
        schemas.insert(name.to_owned(), schema);
    };
    put("GenerateKey", GenerateKey::schema);
    put("UpdateKey", UpdateKey::schema);
    put("BulkKeys", BulkKeys::schema);
    put("DeleteKeys", DeleteKeys::schema);
    put("OneKey", OneKey::schema);
    put("RegenerateKey", RegenerateKey::schema);
    put("KeyNames", KeyNames::schema);
    put("NewTeam", NewTeam::schema);
    put("TeamRequest", TeamRequest::schema);
    put("TeamIds", TeamIds::schema);
    put("OneTeam", OneTeam::schema);
    put("AddMembers", AddMembers::schema);
    put("UpdateMember", UpdateMember::schema);
    put("RemoveMember", RemoveMember::schema);
    put("TeamModels", TeamModels::schema);
    put("BulkMembers", BulkMembers::schema);
    put("MemberItems", MemberItems::schema);
    put("TeamPermissions", TeamPermissions::schema);
    put("TeamsPermissions", TeamsPermissions::schema);
    put("TeamKeys", TeamKeys::schema);
    put("BulkUsers", BulkUsers::schema);
    put("NewUser", NewUser::schema);
    put("UserRequest", UserRequest::schema);
    put("UserIds", UserIds::schema);
    put("NewCustomer", NewCustomer::schema);
    put("CustomerRequest", CustomerRequest::schema);
    put("CustomerIds", CustomerIds::schema);
    put("BudgetRequest", BudgetRequest::schema);
    put("DeleteBudget", DeleteBudget::schema);
    put("BudgetIds", BudgetIds::schema);
    put("TagRequest", TagRequest::schema);
    put("TagNames", TagNames::schema);
    put("OneTag", OneTag::schema);
    put("NewModel", NewModel::schema);
    put("ModelRequest", ModelRequest::schema);
    put("ModelId", ModelId::schema);
    schemas.extend(generator.take_definitions(true));
    schemas
}

/// What a route answers, as far as clients rely on it.
pub(crate) fn answer_schema(what: Manage) -> Value {
    let text = json!({ "type": "string" });
    let object = json!({ "type": "object" });
    let list = json!({ "type": "array", "items": object });
    let open = |properties: Value| {
        let required: Vec<&String> =
            properties.as_object().map(|map| map.keys().collect()).unwrap_or_default();
        json!({ "type": "object", "required": required, "properties": properties, "additionalProperties": true })
    };
    match what {
        Manage::KeyGenerate | Manage::KeyServiceAccount | Manage::KeyRegenerate => open(
            json!({ "key": text, "token": text, "key_name": text, "expires": { "type": ["string", "null"] } }),
        ),
        Manage::KeyInfo => open(json!({ "key": text, "info": object })),
        Manage::KeyList => open(json!({ "keys": { "type": "array" }, "total_count": { "type": "integer" } })),
        Manage::KeyDelete => open(json!({ "deleted_keys": { "type": "array", "items": text } })),
        Manage::TeamInfo => open(json!({ "team_id": text, "team_info": object, "keys": list })),
        Manage::TeamUpdate => open(json!({ "team_id": text, "data": object })),
        Manage::UserUpdate => open(json!({ "user_id": text, "data": object })),
        Manage::UserInfo => open(json!({ "user_info": object, "keys": list, "teams": list })),
        Manage::UserDelete => json!({ "type": "integer" }),
        Manage::TeamAvailable
        | Manage::UserFilter
        | Manage::BudgetSettings
        | Manage::TeamList
        | Manage::CustomerList
        | Manage::BudgetList
        | Manage::TagList
        | Manage::BudgetInfo => list,
        _ => object,
    }
}
