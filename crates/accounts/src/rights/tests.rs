use super::*;

fn holder(role: Role, key: Key) -> Principal {
    Principal {
        role,
        token: "0123456789abcdef0123".into(),
        key: Some(Arc::new(key)),
        user: None,
        team: None,
        membership: None,
    }
}

#[test]
fn the_table_has_one_row_a_right_and_looking_changes_nothing() {
    let mut names: Vec<&str> = TABLE.iter().map(|rule| rule.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), TABLE.len());
    let harmless = [
        "call",
        "models",
        "model_info",
        "count_tokens",
        "health",
        "responses",
        "key_info",
        "key_list",
        "team_info",
        "team_list",
        "user_info",
        "user_list",
        "customer_read",
        "budget_read",
        "tag_read",
        "spend",
        "global_spend",
        "cost_estimate",
        "receipts",
        "audit",
    ];
    for rule in TABLE {
        assert_eq!(rule.right.rule().name, rule.name);
        assert_eq!(reach(Role::ProxyAdmin, rule.right), Reach::All, "{}", rule.name);
        for role in [Role::ProxyAdminViewer, Role::InternalUserViewer, Role::Team, Role::Customer] {
            let may = reach(role, rule.right) != Reach::No;
            assert!(!may || harmless.contains(&rule.name), "{role:?} may {}", rule.name);
        }
        let beyond = reach(Role::InternalUser, rule.right) == Reach::All;
        assert!(
            !beyond || matches!(rule.right, Right::Call | Right::CountTokens | Right::Health),
            "{}",
            rule.name
        );
    }
}

#[test]
fn a_role_without_the_right_gets_a_401_that_names_route_and_role() {
    let key = Key { user_id: Some("alice".into()), ..Key::default() };
    let error = authorize(&holder(Role::InternalUser, key), &[], Right::UserNew, "/user/new", "/user/new")
        .unwrap_err();
    assert_eq!((error.status(), error.provider_type()), (401, Some("auth_error")));
    assert!(error.message().contains("/user/new") && error.message().contains("internal_user"));
    assert!(error.message().contains("al***") && !error.message().contains("alice"));
}

fn check(allowed: &[&str], kind: Option<&str>, right: Right, pattern: &str, path: &str, expected: bool) {
    let key = Key {
        allowed_routes: allowed.iter().map(|route| (*route).to_owned()).collect(),
        key_type: kind.map(str::to_owned),
        ..Key::default()
    };
    assert_eq!(key_permits(&key, right, pattern, path), expected, "{allowed:?} {kind:?} {path}");
    // A key's own routes narrow every role, administrators too, and widen none.
    for role in ROLES {
        let result = permits(&holder(role, key.clone()), right, pattern, path);
        match (expected, reach(role, right)) {
            (false, _) => assert_eq!(result.unwrap_err().status(), 403, "{role:?} {path}"),
            (true, Reach::No) => assert_eq!(result.unwrap_err().status(), 401, "{role:?} {path}"),
            (true, _) => assert!(result.is_ok(), "{role:?} {path}"),
        }
    }
}

#[test]
fn routes_of_a_key_are_paths_wildcards_and_groups() {
    let (chat, messages, gemini) = ("/v1/chat/completions", "/v1/messages", "/v1beta/models/{call...}");
    check(&[], None, Right::KeyGenerate, "/key/generate", "/key/generate", true);
    check(&[chat], None, Right::Call, chat, chat, true);
    check(&[chat], None, Right::Call, chat, "/v1/chat/completions/", true);
    check(&[chat], None, Right::Call, messages, messages, false);
    check(&["/v1/*"], None, Right::Call, messages, messages, true);
    check(&["/v1/*"], None, Right::KeyInfo, "/key/info", "/key/info", false);
    check(&["/v1"], None, Right::Call, messages, messages, false);
    check(&["*"], None, Right::KeyGenerate, "/key/generate", "/key/generate", true);
    check(
        &["/key/{key}/regenerate"],
        None,
        Right::KeyRegenerate,
        "/key/{key}/regenerate",
        "/key/x/regenerate",
        true,
    );
    check(&["llm_api_routes"], None, Right::Call, gemini, "/v1beta/models/m:generateContent", true);
    check(&["llm_api_routes"], None, Right::KeyGenerate, "/key/generate", "/key/generate", false);
    check(&["openai_routes"], None, Right::Call, chat, chat, true);
    check(&["openai_routes"], None, Right::Call, messages, messages, false);
    check(&["anthropic_routes"], None, Right::Call, messages, messages, true);
    check(&["google_routes"], None, Right::Call, gemini, "/v1beta/models/m:generateContent", true);
    check(&["google_routes"], None, Right::Call, chat, chat, false);
    check(&["nonsense"], None, Right::Call, chat, chat, false);
    check(&[], Some("llm_api"), Right::Call, chat, chat, true);
    check(&[], Some("llm_api"), Right::KeyInfo, "/key/info", "/key/info", false);
    check(&[], Some("management"), Right::KeyGenerate, "/key/generate", "/key/generate", true);
    check(&[], Some("management"), Right::Call, chat, chat, false);
    check(&[], Some("read_only"), Right::KeyInfo, "/key/info", "/key/info", true);
    check(&[], Some("read_only"), Right::KeyGenerate, "/key/generate", "/key/generate", false);
    check(&[], Some("made up"), Right::Call, chat, chat, false);
}

#[test]
fn a_grant_reaches_as_far_as_memberships_say() {
    let member = |team: &str, user: &str, role: &str| Membership {
        id: Membership::id_of(team, user),
        team_id: team.into(),
        user_id: user.into(),
        role: role.into(),
        ..Membership::default()
    };
    let memberships =
        [member("led", "u", "admin"), member("joined", "u", "user"), member("strange", "v", "admin")];
    let key = Key { id: "k".into(), user_id: Some("u".into()), ..Key::default() };
    let grant = |role, right| authorize(&holder(role, key.clone()), &memberships, right, "/x", "/x").unwrap();
    let update = grant(Role::InternalUser, Right::KeyUpdate);
    assert!(update.reaches_team("led") && !update.reaches_team("joined") && !update.reaches_team("strange"));
    assert!(update.reaches_in_team("joined", &["/key/update".into()]));
    assert!(!update.reaches_in_team("joined", &["/key/delete".into()]));
    assert!(!update.reaches_in_team("strange", &["/key/update".into()]));
    assert!(update.reaches_user("u") && !update.reaches_user("v"));
    let info = grant(Role::InternalUserViewer, Right::TeamInfo);
    assert!(info.reaches_team("led") && info.reaches_team("joined") && !info.reaches_team("strange"));
    // Whoever only looks is nobody's admin, whatever a membership says.
    assert!(!grant(Role::InternalUserViewer, Right::KeyInfo).reaches_team("led"));
    // A key of a team speaks for no user.
    let team = authorize(&holder(Role::Team, key.clone()), &memberships, Right::KeyInfo, "/x", "/x").unwrap();
    assert!(!team.reaches_user("u") && team.is_own_key("k"));
    assert!(update.demand(&[Right::KeyUpdate]).is_ok() && update.demand(&[Right::KeyDelete]).is_err());
}
