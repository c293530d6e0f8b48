"""Keys, teams, users, customers, budgets and models as operators' scripts manage them: plain HTTP, the master key."""

import hashlib
import time
import uuid

import httpx
import pytest

pytestmark = pytest.mark.gateway


class Api:
    """The management API with one key."""

    def __init__(self, url: str, key: str):
        self.http = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=20)

    def post(self, path: str, body=None, status: int = 200, method: str = "POST"):
        answer = self.http.request(method, path, json=body)
        assert answer.status_code == status, f"{path}: {answer.status_code} {answer.text}"
        return answer.json()

    def get(self, path: str, status: int = 200, **params):
        answer = self.http.get(path, params=params)
        assert answer.status_code == status, f"{path}: {answer.status_code} {answer.text}"
        return answer.json()

    def chat(self, model: str = "plain-chat", status: int = 200, **rest):
        body = {"model": model, "messages": [{"role": "user", "content": "hi"}], **rest}
        return self.post("/v1/chat/completions", body, status)


@pytest.fixture(scope="module")
def admin(stack):
    return Api(stack.url, stack.key)


@pytest.fixture
def name():
    return f"e2e-{uuid.uuid4().hex[:12]}"


def error(answer: dict) -> dict:
    """The error, which always has the same four fields."""
    fault = answer["error"]
    assert {"message", "type", "param", "code"} <= fault.keys()
    assert isinstance(fault["code"], str)
    return fault


def eventually(check, limit: float = 2) -> None:
    """Changes of keys count within a second, on this process at once."""
    end = time.monotonic() + limit
    while True:
        try:
            return check()
        except AssertionError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def test_a_key_is_made_used_shown_and_deleted(stack, admin, name):
    made = admin.post("/key/generate", {"key_alias": name, "models": ["plain-chat"], "max_budget": 10.5, "duration": "30d"})
    key = made["key"]
    assert key.startswith("sk-") and made["key_name"] == f"sk-...{key[-4:]}"
    assert made["token"] == hashlib.sha256(key.encode()).hexdigest()
    assert made["expires"] and made["max_budget"] == 10.5

    mine = Api(stack.url, key)
    assert mine.chat()["choices"]
    assert mine.get("/key/info")["key"] == made["token"]
    info = admin.get("/key/info", key=key)["info"]
    assert (info["key_alias"], info["models"], info["blocked"]) == (name, ["plain-chat"], False)
    assert "token" not in info

    assert admin.post("/key/delete", {"keys": [key]}) == {"deleted_keys": [key]}
    eventually(lambda: mine.chat(status=401))
    fault = error(admin.post("/key/delete", {"keys": [key]}, 404))
    assert fault["type"] == "not_found_error" and fault["message"].startswith("No keys found")


def test_what_is_wrong_is_a_400_that_names_the_field(admin, name):
    admin.post("/key/generate", {"key_alias": name})
    for body, field in [
        ({"key_alias": name}, "key_alias"),
        ({"key": "no-prefix"}, "key"),
        ({"max_budgett": 1}, "max_budgett"),
        ({"max_budget": -1}, "max_budget"),
        ({"duration": "soon"}, "duration"),
        ({"guardrails": ["x"]}, "guardrails"),
        ({"router_settings": {"num_retries": 30}}, "router_settings.num_retries"),
        ({"router_settings": {"routing_strategy": "least-busy"}}, "router_settings.routing_strategy"),
        ({"budget_fallbacks": {"paid/x": "plain-chat"}}, "budget_fallbacks"),
        ({"spend": 3}, "spend"),
        ({"models": [1]}, "models"),
    ]:
        fault = error(admin.post("/key/generate", body, 400))
        assert (fault["type"], fault["param"], fault["code"]) == ("bad_request_error", field, "400")
    for path in ["/key/generate", "/model/new", "/model/update", "/model/delete", "/team/update"]:
        answer = admin.http.post(path)
        assert answer.status_code == 400 and error(answer.json())["type"] == "bad_request_error", path
    assert error(admin.post("/key/update", {"key": "sk-unknown"}, 404))["type"] == "not_found_error"
    assert error(admin.post("/key/generate", {"team_id": "none"}, 404))["param"] == "team_id"


def test_a_custom_key_is_taken_once(stack, admin):
    key = f"sk-custom-{uuid.uuid4().hex}"
    admin.post("/key/generate", {"key": key, "max_budget": 1})
    assert error(admin.post("/key/generate", {"key": key, "max_budget": 100}, 400))["param"] == "key"
    assert admin.get("/key/info", key=key)["info"]["max_budget"] == 1
    Api(stack.url, key).chat()


def test_an_update_changes_one_field_and_leaves_the_rest(admin, name):
    key = admin.post("/key/generate", {"key_alias": name, "metadata": {"a": 1}, "tpm_limit": 5, "tags": ["t"]})["key"]
    before = admin.get("/key/info", key=key)["info"]
    admin.post("/key/update", {"key": key, "rpm_limit": 7})
    after = admin.get("/key/info", key=key)["info"]
    moved = {field for field in before if before[field] != after[field]}
    assert moved - {"updated_at", "updated_by"} == {"rpm_limit"}
    admin.post("/key/update", {"key": key, "tpm_limit": None})
    assert admin.get("/key/info", key=key)["info"]["tpm_limit"] is None


def test_a_blocked_key_is_refused_until_it_is_unblocked(stack, admin):
    key = admin.post("/key/generate", {})["key"]
    mine = Api(stack.url, key)
    mine.chat()
    assert admin.post("/key/block", {"key": key})["blocked"] is True
    eventually(lambda: mine.chat(status=401))
    fault = error(mine.chat(status=401))
    assert fault["type"] == "auth_error" and "blocked" in fault["message"]
    admin.post("/key/unblock", {"key": key})
    eventually(lambda: mine.chat())


def test_regenerating_keeps_the_key_and_ends_the_secret(stack, admin, name):
    old = admin.post("/key/generate", {"key_alias": name, "max_budget": 5})["key"]
    made = admin.post(f"/key/{hashlib.sha256(old.encode()).hexdigest()}/regenerate", {"grace_period": "1h"})
    new = made["key"]
    assert new != old and (made["key_alias"], made["max_budget"]) == (name, 5)
    eventually(lambda: Api(stack.url, new).chat())
    eventually(lambda: Api(stack.url, old).chat())
    third = admin.post("/key/regenerate", {"key": new})["key"]
    for ended in (old, new):
        eventually(lambda: Api(stack.url, ended).chat(status=401))
    Api(stack.url, third).chat()


def test_routes_and_models_of_a_key(stack, admin):
    key = admin.post("/key/generate", {"models": ["plain-chat"], "allowed_routes": ["llm_api_routes"]})
    mine = Api(stack.url, key["key"])
    mine.chat()
    fault = error(mine.chat("plain-claude", status=403))
    assert (fault["type"], fault["param"]) == ("key_model_access_denied", "model")
    refused = mine.get("/key/info", status=403)
    assert isinstance(refused["detail"], str)


def test_lists_have_pages(admin, name):
    user = f"user-{name}"
    keys = [admin.post("/key/generate", {"user_id": user})["token"] for _ in range(3)]
    page = admin.get("/key/list", user_id=user, size=2, page=2, sort_order="asc")
    assert (page["total_count"], page["total_pages"], page["keys"]) == (3, 2, keys[2:])
    whole = admin.get("/key/list", user_id=user, return_full_object="true")["keys"]
    assert {key["token"] for key in whole} == set(keys)
    assert admin.http.get("/key/list", params={"size": 101}).status_code == 422
    assert admin.get("/key/list", status=400, sizes=1)


def test_a_team_holds_its_keys_and_members(stack, admin, name):
    team = admin.post("/team/new", {"team_alias": name, "models": ["plain-chat"]})["team_id"]
    added = admin.post("/team/member_add", {
        "team_id": team, "member": {"role": "user", "user_email": f"{name}@example.com"}, "max_budget_in_team": 3,
    })
    assert added["members_with_roles"][0]["role"] == "user"
    member = added["updated_users"][0]["user_id"]
    key = admin.post("/key/generate", {"team_id": team, "user_id": member})["key"]
    mine = Api(stack.url, key)
    mine.chat()
    assert error(mine.chat("plain-claude", status=403))["type"] == "team_model_access_denied"
    info = admin.get("/team/info", team_id=team)
    assert info["team_info"]["team_alias"] == name and len(info["keys"]) == 1
    assert info["team_memberships"][0]["litellm_budget_table"]["max_budget"] == 3
    updated = admin.post("/team/update", {"team_id": team, "tpm_limit": 1000})
    assert updated["data"]["team_alias"] == name and updated["data"]["tpm_limit"] == 1000
    admin.post("/team/block", {"team_id": team})
    eventually(lambda: mine.chat(status=401))
    admin.post("/team/unblock", {"team_id": team})
    eventually(lambda: mine.chat())
    assert admin.post("/team/delete", {"team_ids": [team]}) == {"deleted_teams": [team]}
    eventually(lambda: mine.chat(status=401))
    admin.get("/team/info", status=404, team_id=team)


def test_users_have_roles_that_bind(stack, admin, name):
    made = admin.post("/user/new", {"user_id": name, "user_role": "internal_user", "max_budget": 5})
    mine = Api(stack.url, made["key"])
    assert mine.get("/user/info")["user_id"] == name
    own = mine.post("/key/generate", {"max_budget": 5})
    assert own["user_id"] == name
    assert error(mine.post("/key/generate", {"max_budget": 6}, 403))["param"] == "max_budget"
    for path, body in [("/user/new", {}), ("/team/new", {}), ("/model/new", {}), ("/budget/new", {}), ("/customer/new", {})]:
        fault = error(mine.post(path, body, 401))
        assert fault["type"] == "auth_error" and path in fault["message"] and "internal_user" in fault["message"]
    assert error(mine.post("/user/update", {"user_id": name, "user_role": "proxy_admin"}, 403))["param"] == "user_role"
    mine.get("/user/info", status=404, user_id="someone-else")
    other = admin.post("/key/generate", {})
    mine.get("/key/info", status=404, key=other["token"])
    assert other["token"] not in mine.get("/key/list", size=100)["keys"]

    without = admin.post("/user/new", {"user_id": f"{name}-2", "auto_create_key": False})
    assert not without["key"]
    listed = admin.get("/user/list", user_ids=f"{name},{name}-2")
    assert {user["user_id"]: user["key_count"] for user in listed["users"]} == {name: 2, f"{name}-2": 0}
    assert admin.post("/user/delete", {"user_ids": [name, f"{name}-2"]}) == 2
    eventually(lambda: mine.chat(status=401))


@pytest.mark.parametrize("prefix", ["/customer", "/end_user"])
def test_customers_are_blocked_at_once(stack, admin, name, prefix):
    made = admin.post(f"{prefix}/new", {"user_id": name, "alias": "Cy", "max_budget": 4})
    assert (made["alias"], made["litellm_budget_table"]["max_budget"]) == ("Cy", 4)
    key = Api(stack.url, admin.post("/key/generate", {})["key"])
    key.chat(user=name)
    assert admin.post(f"{prefix}/block", {"user_ids": [name]})["blocked_users"][0]["user_id"] == name
    eventually(lambda: assert_refused(key, name))
    admin.post(f"{prefix}/unblock", {"user_ids": [name]})
    eventually(lambda: key.chat(user=name))
    assert name in [customer["user_id"] for customer in admin.get(f"{prefix}/list")]
    assert admin.post(f"{prefix}/delete", {"user_ids": [name]})["deleted_customers"] == 1
    admin.get(f"{prefix}/info", status=404, end_user_id=name)


def assert_refused(key: Api, user: str) -> None:
    body = {"model": "plain-chat", "messages": [{"role": "user", "content": "hi"}], "user": user}
    assert key.http.post("/v1/chat/completions", json=body).status_code in (401, 403)


def test_budgets_are_shared(admin, name):
    made = admin.post("/budget/new", {"budget_id": name, "max_budget": 0.1, "budget_duration": "1mo"})
    assert made["budget_reset_at"].endswith("-01T00:00:00Z")
    key = admin.post("/key/generate", {"budget_id": name})["key"]
    assert admin.get("/key/info", key=key)["info"]["litellm_budget_table"]["max_budget"] == 0.1
    admin.post("/budget/update", {"budget_id": name, "max_budget": 0.2})
    assert admin.post("/budget/info", {"budgets": [name]})[0]["max_budget"] == 0.2
    admin.post("/budget/delete", {"id": name}, 400)
    admin.post("/key/delete", {"keys": [key]})
    admin.post("/budget/delete", {"id": name})
    assert name not in [budget["budget_id"] for budget in admin.get("/budget/list")]


def test_a_model_is_added_called_and_taken_away(stack, admin, name):
    canary = "fake-openai-key"
    made = admin.post("/model/new", {
        "model_name": name,
        "litellm_params": {"model": "openai/fake-ok", "api_base": f"{stack.fake_url}/v1", "api_key": canary},
    })
    model = made["model_info"]["id"]
    assert made["litellm_params"]["api_key"] == "***"
    # Served here as soon as the answer is there.
    admin.chat(name)
    assert name in [entry["id"] for entry in admin.get("/v1/models")["data"]]
    pages = admin.get("/v2/model/info", model=name)
    assert pages["total_count"] == 1 and pages["data"][0]["model_info"]["db_model"] is True
    assert admin.get("/model_group/info", model_group=name)["data"][0]["providers"] == ["openai"]
    assert canary not in str(pages)
    assert {"deprecated", "imminent", "upcoming", "warn_within_days"} <= admin.get("/v1/model/deprecations").keys()
    moved = {"litellm_params": {"api_base": "http://elsewhere.invalid/v1"}}
    admin.post(f"/model/{model}/update", moved, 400, method="PATCH")
    admin.post(f"/model/{model}/update", {"litellm_params": {"rpm": 100}}, method="PATCH")
    admin.post("/model/update", {"id": model, "litellm_params": {"rpm": 200}})
    admin.post("/model/block", {"model_id": model})
    eventually(lambda: assert_not_served(admin, name))
    admin.post("/model/unblock", {"model_id": model})
    eventually(lambda: admin.chat(name))
    admin.post("/model/delete", {"id": model})
    eventually(lambda: admin.chat(name, status=400))


def assert_not_served(admin: Api, model: str) -> None:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
    assert admin.http.post("/v1/chat/completions", json=body).status_code >= 400


def test_every_change_is_in_the_audit_log_without_secrets(admin, name):
    made = admin.post("/key/generate", {"key_alias": name})
    admin.post("/key/update", {"key": made["key"], "max_budget": 1})
    admin.post("/key/delete", {"key_aliases": [name]})
    log = admin.get("/audit", table_name="keys", page_size=100)["audit_logs"]
    mine = [entry for entry in log if name in str(entry)]
    assert [entry["action"] for entry in mine][:1] == ["deleted"]
    everything = str(admin.get("/audit", page_size=1000))
    assert made["key"] not in everything and made["token"] not in everything
    assert admin.get("/audit/verify")["intact"] is True


def test_no_key_and_wrong_keys(stack):
    answer = httpx.get(f"{stack.url}/key/list")
    assert answer.status_code == 401 and error(answer.json())["type"] == "auth_error"
    answer = httpx.get(f"{stack.url}/key/list", headers={"Authorization": "Bearer sk-wrong"})
    fault = error(answer.json())
    assert (answer.status_code, fault["type"], fault["param"]) == (401, "token_not_found_in_db", "key")


def test_lists_are_sorted_by_spend_and_filtered(stack, admin, name):
    user = f"user-{name}"
    keys = [admin.post("/key/generate", {"user_id": user, "key_alias": f"{name}-{n}", "max_budget": 9 - n})["key"] for n in range(3)]
    for calls, key in enumerate(keys):
        for _ in range(calls):
            Api(stack.url, key).chat("paid/fake-ok")

    def aliases(**params):
        params = {"user_id": user, "return_full_object": "true", **params}
        listed = admin.http.get("/key/list", params=params).json()["keys"]
        return [int(key["key_alias"][-1]) for key in listed]

    def spenders():
        assert aliases(sort_by="spend") == [2, 1, 0]

    eventually(spenders, 5)
    assert aliases(sort_by="max_budget", sort_order="asc") == [2, 1, 0]
    admin.post("/key/block", {"key": keys[1]})
    assert aliases(status="revoked") == [1] and 1 not in aliases(status="active")
    assert aliases(organization_id="none") == []
    expanded = admin.get("/key/list", user_id=user, expand="user")["keys"]
    assert {key["user"]["user_id"] for key in expanded} == {user}
    info = admin.get("/key/info", key=keys[2])["info"]
    assert info["last_active"] and info["model_spend"]["paid/fake-ok"] == pytest.approx(info["spend"])

    made = admin.post("/user/new", {"user_id": name, "user_role": "proxy_admin_viewer"})
    assert Api(stack.url, made["key"]).get("/key/info")["key"] == made["token"]
    assert [one["user_id"] for one in admin.get("/user/list", role="proxy_admin_viewer", search=name)["users"]] == [name]
    assert admin.get("/user/list", search=name, sort_by="spend", page_size=1)["users"][0]["user_id"] == user
    admin.get("/user/list", status=400, role="boss")


def test_members_keys_and_users_change_in_bulk(admin, name):
    team = admin.post("/team/new", {"team_alias": name, "team_member_budget": 5})["team_id"]
    added = admin.post("/team/bulk_member_add", {"team_id": team, "members": [{"user_id": name, "role": "user"}], "max_budget_in_team": 2})
    assert (added["total_requested"], added["successful_additions"]) == (1, 1)
    done = admin.post(f"/management/v1/teams/{team}/members/bulk_update", {"members": [{"user_id": name, "rpm_limit": 5}, {"user_id": "nobody"}]})
    assert [one["success"] for one in done["data"]] == [True, False]
    assert admin.post(f"/team/{team}/member/{name}/reset_budget")["budget_source"] == "team_default"
    assert admin.post(f"/team/{team}/member/{name}/reset_spend", {"reset_to": 0})["spend"] == 0
    admin.post(f"/team/{team}/member/nobody/reset_spend", {}, 404)
    key = admin.post("/key/generate", {"team_id": team})["token"]
    changed = admin.post("/team/key/bulk_update", {"team_id": team, "all_keys_in_team": True, "update_fields": {"tpm_limit": 7}})
    assert [one["key"] for one in changed["successful_updates"]] == [key]
    users = admin.post("/user/bulk_update", {"users": [{"user_id": name, "max_budget": 3}, {"user_id": "nobody"}]})
    assert (users["successful_updates"], users["failed_updates"]) == (1, 1)
    allowed = admin.post("/team/permissions_update", {"team_id": team, "team_member_permissions": ["/key/generate"]})
    assert allowed["team_member_permissions"] == ["/key/generate"]
    assert admin.get("/team/available") == []
    assert [one["team_id"] for one in admin.get("/v2/team/list", search=name.upper(), sort_by="spend")["teams"]] == [team]
    admin.post("/budget/new", {"budget_id": name, "max_budget": 4})
    settings = {one["field_name"]: one["field_value"] for one in admin.get("/budget/settings", budget_id=name)}
    assert settings["max_budget"] == 4 and settings["rpm_limit"] is None
    admin.post(f"/management/v1/teams/{team}/members/bulk_delete", {"members": [{"user_id": name}]})
    assert admin.get("/team/info", team_id=team)["team_memberships"] == []


def test_a_small_limit_lets_calls_through_until_it_is_used_up(stack, admin):
    """Nothing is known of a new key's calls: a guess must not use up what the limit has."""
    def answers(model: str, **limits):
        key = Api(stack.url, admin.post("/key/generate", limits)["key"])
        body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
        return [key.http.post("/v1/chat/completions", json=body).status_code for _ in range(9)]

    tokens = answers("plain-chat", tpm_limit=100)
    assert tokens[0] == 200 and tokens[-1] == 429
    money = answers("paid/fake-ok", max_budget=0.02)
    assert money[0] == 200 and money[-1] == 422
    assert set(answers("paid/fake-ok", max_budget=0)) == {422}


def test_a_budget_is_there_again_in_its_next_window(stack, admin):
    key = Api(stack.url, admin.post("/key/generate", {"max_budget": 0.007, "budget_duration": "4s"})["key"])
    body = {"model": "paid/fake-ok", "messages": [{"role": "user", "content": "hi"}]}

    def until(status):
        eventually(lambda: key.post("/v1/chat/completions", body, status), 10)

    for status in (200, 422, 200):
        until(status)


def test_a_key_that_may_not_use_a_route_is_told_so_on_every_openai_surface(stack, admin):
    key = Api(stack.url, admin.post("/key/generate", {"allowed_routes": ["/key/info"]})["key"])
    for path, body in [("/v1/chat/completions", {"messages": []}), ("/v1/responses", {"input": "hi"}), ("/v1/completions", {"prompt": "hi"})]:
        assert isinstance(key.post(path, {"model": "plain-chat", **body}, 403)["detail"], str), path


def test_the_end_of_an_earlier_secret_tells_nothing_of_the_new_one(stack, admin):
    old = admin.post("/key/generate", {})["key"]
    new = admin.post("/key/regenerate", {"key": old, "grace_period": "1s"})["key"]
    mine = Api(stack.url, old)
    mine.chat()
    eventually(lambda: mine.chat(status=401), 5)
    fault = error(mine.chat(status=401))
    assert fault["type"] == "expired_key" and new[-4:] not in str(fault)


def test_a_members_models_and_a_budgets_models_bind(stack, admin, name):
    team = admin.post("/team/new", {"team_alias": name, "default_team_member_models": ["plain-chat"]})["team_id"]
    for user, allowed in [(f"{name}-1", []), (f"{name}-2", ["plain-claude"])]:
        admin.post("/team/member_add", {"team_id": team, "member": {"user_id": user, "role": "user"}, "allowed_models": allowed})
        key = Api(stack.url, admin.post("/key/generate", {"team_id": team, "user_id": user})["key"])
        model, other = ("plain-claude", "plain-chat") if allowed else ("plain-chat", "plain-claude")
        key.chat(model)
        assert error(key.chat(other, status=403))["type"] == "team_model_access_denied"
        assert [entry["id"] for entry in key.get("/v1/models")["data"]] == [model]
    admin.post("/team/member_update", {"team_id": team, "user_id": f"{name}-2", "allowed_models": ["plain-chat"]})
    eventually(lambda: key.chat("plain-chat"))

    admin.post("/budget/new", {"budget_id": name, "allowed_models": ["plain-chat"]})
    key = Api(stack.url, admin.post("/key/generate", {"budget_id": name})["key"])
    key.chat()
    assert error(key.chat("plain-claude", status=403))["type"] == "key_model_access_denied"
    admin.post("/customer/new", {"user_id": name, "budget_id": name})
    admin.chat(user=name)
    assert error(admin.chat("plain-claude", status=403, user=name))["type"] == "customer_model_access_denied"
    assert error(admin.post("/customer/update", {"user_id": name, "allowed_model_region": "mars"}, 400))["param"] == "allowed_model_region"
    admin.post("/customer/update", {"user_id": name, "default_model": "plain-chat"})
    eventually(lambda: admin.post("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}], "user": name}))
    admin.post("/customer/update", {"user_id": name, "allowed_model_region": "eu"})
    eventually(lambda: admin.chat(user=name, status=403))


def test_models_that_end_are_told(admin, name):
    for ending in ("2020-01-01", "2999-01-01"):
        params = {"model": "openai/fake-ok", "api_base": "http://127.0.0.1:9/v1", "api_key": "k"}
        admin.post("/model/new", {"model_name": f"{name}-{ending}", "litellm_params": params, "model_info": {"deprecation_date": ending}})
    found = admin.get("/model/deprecations", warn_within_days=7)
    for kind, ending, sign in [("deprecated", "2020-01-01", -1), ("upcoming", "2999-01-01", 1)]:
        mine = [one for one in found[kind] if one["model_name"] == f"{name}-{ending}"]
        assert len(mine) == 1 and mine[0]["status"] == kind and mine[0]["days_until_deprecation"] * sign > 0


def test_fallbacks_that_a_caller_sends_must_be_within_its_reach(stack, admin):
    key = Api(stack.url, admin.post("/key/generate", {"models": ["plain-chat"]})["key"])
    key.chat(fallbacks=["plain-chat"])
    fault = error(key.chat(fallbacks=["plain-claude"], status=403))
    assert (fault["type"], fault["param"]) == ("key_model_access_denied", "model")


def test_a_tag_is_made_binds_calls_and_is_deleted(stack, admin, name):
    made = admin.post("/tag/new", {"name": name, "description": "for a test", "models": ["plain-chat"], "rpm_limit": 2})
    assert made["tag"]["name"] == name and made["tag"]["rpm_limit"] == 2
    assert error(admin.post("/tag/new", {"name": name}, 400))["param"] == "name"
    tagged = {"metadata": {"tags": [name]}}
    eventually(lambda: error(admin.chat("plain-claude", 403, **tagged))["type"] == "tag_model_access_denied")
    for _ in range(2):
        admin.chat(**tagged)
    assert f"for tag: {name}" in error(admin.chat(status=429, **tagged))["message"]
    admin.chat()
    assert admin.post("/tag/info", {"names": [name]})[name]["description"] == "for a test"
    admin.post("/tag/update", {"name": name, "rpm_limit": None})
    eventually(lambda: admin.chat(**tagged))
    assert name in [tag["name"] for tag in admin.get("/tag/list")]
    admin.post("/tag/delete", {"name": name})
    assert error(admin.post("/tag/info", {"names": [name]}, 404))["param"] == "name"


def test_tokens_of_a_day_are_limited_and_told(stack, admin):
    mine = Api(stack.url, admin.post("/key/generate", {"tpd_limit": 100})["key"])
    body = {"model": "plain-chat", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}
    for _ in range(100):
        answer = mine.http.post("/v1/chat/completions", json=body)
        if answer.status_code != 200:
            break
        assert answer.headers["x-ratelimit-api_key-limit-tokens_per_day"] == "100"
    assert answer.status_code == 429 and answer.headers["rate_limit_type"] == "tokens_per_day"
    assert "Limit type: tokens_per_day" in error(answer.json())["message"]


def test_what_is_not_there_says_what_and_why(admin):
    for field, value, why in [
        ("guardrails", ["pii"], "guards"),
        ("object_permission", {"mcp_servers": ["x"]}, "MCP"),
        ("auto_rotate", True, "/key/regenerate"),
        ("send_invite_email", True, "e-mail"),
        ("access_group_ids", ["x"], "model_info.access_groups"),
    ]:
        fault = error(admin.post("/key/generate", {field: value}, 400))
        assert fault["param"] == field and "not built yet" in fault["message"] and why in fault["message"], fault
    admin.post("/team/x/callback", {"callback_name": "langfuse"}, 400)
    assert "password" in error(admin.post("/invitation/new", {"user_id": "x"}, 400))["message"]
