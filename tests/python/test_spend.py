"""What calls cost, as operators' dashboards and scripts read it: every sum must say the same."""

import datetime
import subprocess
import time
import uuid

import httpx
import pytest

import harness
from test_management import Api, error

pytestmark = pytest.mark.gateway

DAY = {"start_date": "2020-01-01", "end_date": "2020-01-01"}


@pytest.fixture(scope="module")
def admin(stack):
    return Api(stack.url, stack.key)


@pytest.fixture
def name():
    return f"spend-{uuid.uuid4().hex[:12]}"


def today() -> dict:
    """Yesterday too: midnight may pass."""
    now = datetime.datetime.now(datetime.timezone.utc).date()
    return {"start_date": str(now - datetime.timedelta(days=1)), "end_date": str(now)}


def eventually(check, limit: float = 10):
    """Receipts reach the database in batches."""
    end = time.monotonic() + limit
    while True:
        try:
            return check()
        except AssertionError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def stream(stack, key: str, body: dict, pieces: int | None = None) -> None:
    """Reads a stream to its end, or hangs up after some pieces."""
    body = {"messages": [{"role": "user", "content": "say: a b c d e f"}], "stream": True, **body}
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.stream("POST", f"{stack.url}/v1/chat/completions", json=body, headers=headers, timeout=20) as answer:
        for number, _ in enumerate(answer.iter_lines()):
            if pieces is not None and number >= pieces:
                return


def spend_of(rows: list[dict]) -> float:
    return sum(row["spend"] for row in rows)


@pytest.fixture
def busy(stack, admin, name):
    """A user with a key that made every kind of call: eight receipts."""
    admin.post("/user/new", {"user_id": name, "auto_create_key": False})
    key = admin.post("/key/generate", {"user_id": name, "key_alias": name, "models": ["paid/*"]})["key"]
    mine = Api(stack.url, key)
    mine.chat("paid/fake-ok")
    mine.chat("paid/fake-ok", metadata={"tags": [name]})
    mine.chat("paid/fake-tokens-200")
    stream(stack, key, {"model": "paid/fake-ok"})
    stream(stack, key, {"model": "paid/fake-ok", "stream_options": {"include_usage": True}})
    mine.chat("paid/fake-error-500", status=500)
    mine.chat("plain-chat", status=403)
    stream(stack, key, {"model": "paid/fake-interval-50+tokens-400"}, pieces=12)

    def arrived():
        rows = admin.get("/spend/logs", api_key=key)
        assert len(rows) == 8, [row["status"] for row in rows]
        return rows

    return key, mine, eventually(arrived)


def test_every_sum_says_the_same(admin, name, busy):
    key, mine, rows = busy
    assert sorted(row["status"] for row in rows) == ["failure"] * 3 + ["success"] * 5
    answered = [row for row in rows if row["status"] == "success"]
    for row in answered:
        expected = row["prompt_tokens"] * 0.000125 + row["completion_tokens"] * 0.0005
        assert row["spend"] == pytest.approx(expected, abs=1e-9) and row["spend"] > 0
    outcomes = {row["metadata"]["tollway"]["outcome"]: row for row in rows if row["status"] == "failure"}
    assert set(outcomes) == {"failed", "refused", "client_closed"}
    assert outcomes["failed"]["spend"] == outcomes["refused"]["spend"] == 0
    # Whoever hangs up pays for what was made until then.
    assert outcomes["client_closed"]["spend"] > 0
    assert outcomes["client_closed"]["completion_tokens"] < 400

    total = spend_of(rows)
    token = rows[0]["api_key"]
    assert admin.get("/key/info", key=key)["info"]["spend"] == pytest.approx(total, abs=1e-9)
    assert mine.get("/key/info")["info"]["spend"] == pytest.approx(total, abs=1e-9)
    activity = admin.get("/user/daily/activity", user_id=name, **today())
    assert activity["metadata"]["total_spend"] == pytest.approx(total, abs=1e-9)
    assert activity["metadata"]["total_api_requests"] == 8
    assert activity["metadata"]["total_successful_requests"] == 5
    keys = [day["breakdown"]["api_keys"].get(token) for day in activity["results"]]
    assert {key["metadata"]["key_alias"] for key in keys if key} == {name}
    by_key = admin.get("/user/daily/activity", api_key=key, **today())
    assert by_key["metadata"] == activity["metadata"]
    days = admin.get("/spend/logs", user_id=name, **today())
    assert sum(day["spend"] for day in days) == pytest.approx(total, abs=1e-9)
    assert sum(day.get(token, 0) for day in days) == pytest.approx(total, abs=1e-9)
    report = admin.get("/user/spend/report", user_id=name, **today())
    assert [(row["api_key"], row["total_cost"]) for row in report] == [(token, pytest.approx(total, abs=1e-9))]
    [user] = admin.get("/spend/users", user_id=name)
    assert user["spend"] == pytest.approx(total, abs=1e-9)
    tag = [row for row in admin.get("/spend/tags") if row["individual_request_tag"] == name]
    assert [row["log_count"] for row in tag] == [1]
    assert admin.get("/global/spend")["spend"] >= total - 1e-9
    assert any(row["api_key"] == token for row in admin.get("/global/spend/keys", limit=100))


def test_pages_are_complete_and_filters_hold(admin, busy):
    key, mine, rows = busy
    for api in (admin, mine):
        seen = []
        for page in range(1, 5):
            answer = api.get("/spend/logs/v2", api_key=key, page=page, page_size=3)
            assert (answer["total"], answer["total_pages"], answer["page"]) == (8, 3, page)
            seen += [row["request_id"] for row in answer["data"]]
        assert seen == [row["request_id"] for row in rows]
    failed = mine.get("/spend/logs/v2", status_filter="failure", page_size=100)
    assert failed["total"] == 3
    dear = admin.get("/spend/logs/v2", api_key=key, min_spend=0.05)
    assert {row["request_id"] for row in dear["data"]} == {row["request_id"] for row in rows if row["spend"] >= 0.05}
    assert dear["total"] > 0
    assert admin.get("/spend/logs/v2", api_key=key, **DAY)["total"] == 0
    fault = error(admin.get("/spend/logs/v2", status=400, start_date="yesterday"))
    assert fault["param"] == "start_date" and "YYYY-MM-DD" in fault["message"]
    assert error(admin.get("/spend/logs/v2", status=400, modell="x"))["param"] == "modell"


def test_others_see_nothing_of_it(stack, admin, name, busy):
    key, mine, rows = busy
    other = f"{name}-other"
    admin.post("/user/new", {"user_id": other, "auto_create_key": False, "user_role": "internal_user"})
    stranger = Api(stack.url, admin.post("/key/generate", {"user_id": other})["key"])
    stranger.chat("paid/fake-ok")
    one = rows[0]["request_id"]
    assert mine.get(f"/receipts/{one}")["id"] == one
    assert stranger.get(f"/receipts/{one}", status=404)["error"]
    assert stranger.get(f"/spend/logs/ui/{one}", status=404)["error"]
    eventually(lambda: check_one(stranger))
    for query in ({"api_key": key}, {"user_id": name}, {"request_id": one}):
        assert stranger.get("/spend/logs", **query) == []
        assert stranger.get("/spend/logs/v2", **query)["data"] == []
    activity = stranger.get("/user/daily/activity", **today())
    assert name not in {group for day in activity["results"] for group in day["breakdown"]["entities"]}
    for path in ("/global/spend", "/global/spend/keys", "/global/activity"):
        assert stranger.get(path, status=401)["error"]


def check_one(api):
    assert len(api.get("/spend/logs")) == 1


def test_spend_is_set_back(stack, admin, name):
    key = admin.post("/key/generate", {"key_alias": name, "models": ["paid/*"], "max_budget": 0.9})["key"]
    mine = Api(stack.url, key)
    mine.chat("paid/fake-tokens-2000")
    mine.chat("paid/fake-ok", status=422)
    before = admin.get("/key/info", key=key)["info"]["spend"]
    assert before > 0.9
    error(mine.post(f"/key/{key}/reset_spend", {}, status=401))
    answer = admin.post(f"/key/{key}/reset_spend", {"reset_to": 0})
    assert (answer["spend"], answer["previous_spend"]) == (0, before)
    assert admin.get("/key/info", key=key)["info"]["spend"] == 0
    mine.chat("paid/fake-ok")
    # What was recorded stays.
    eventually(lambda: check_rows(admin, key, 3))
    log = admin.get("/audit", page_size=20)["audit_logs"]
    assert any(entry["action"] == "spend_reset" for entry in log)


def check_rows(admin, key: str, count: int):
    rows = admin.get("/spend/logs", api_key=key)
    assert len(rows) == count
    assert spend_of(rows) > 0.9


def test_a_call_is_priced_without_being_made(admin):
    messages = [{"role": "user", "content": "How much is this?"}]
    prompt = admin.post("/spend/calculate", {"model": "paid/fake-ok", "messages": messages})
    assert prompt["cost"] == pytest.approx(prompt["prompt_tokens"] * 0.000125)
    answer = admin.chat("paid/fake-ok")
    answer["model"] = "paid/fake-ok"
    whole = admin.post("/spend/calculate", {"completion_response": answer})
    usage = answer["usage"]
    assert whole["cost"] == pytest.approx(usage["prompt_tokens"] * 0.000125 + usage["completion_tokens"] * 0.0005)
    error(admin.post("/spend/calculate", {"model": "paid/fake-ok"}, status=400))


def test_a_receipt_that_left_memory_is_explained(stack, admin):
    headers = {"Authorization": f"Bearer {stack.key}"}
    body = {"model": "paid/fake-ok", "messages": [{"role": "user", "content": "hi"}]}
    answer = httpx.post(f"{stack.url}/v1/chat/completions", json=body, headers=headers, timeout=20)
    receipt = answer.headers["x-tollway-receipt"]
    eventually(lambda: admin.get(f"/spend/logs/ui/{receipt}"))
    command = [harness.binary("TOLLWAY_BIN", "tollway"), "why", receipt, "--url", stack.url, "--key", stack.key]
    explained = subprocess.run(command, capture_output=True, text=True, timeout=20, env=harness.clean_environment())
    assert explained.returncode == 0, explained.stderr
    assert f"call {receipt}" in explained.stdout and "outcome   answered" in explained.stdout


def test_a_price_is_known_of_models_that_nobody_serves_here(admin):
    messages = [{"role": "user", "content": "hi"}]
    assert admin.post("/spend/calculate", {"model": "gpt-4o", "messages": messages})["cost"] > 0
    usage = {"prompt_tokens": 1000, "completion_tokens": 1000, "total_tokens": 2000}
    answer = {"model": "anthropic/claude-sonnet-4-5", "object": "chat.completion", "choices": [], "usage": usage}
    assert admin.post("/spend/calculate", {"completion_response": answer})["cost"] == pytest.approx(0.018)
    assert error(admin.post("/spend/calculate", {"model": "no-such-model", "messages": messages}, 400))["param"] == "model"


def test_many_calls_are_estimated(admin):
    sizes = {"model": "paid/x", "input_tokens": 1000, "output_tokens": 100, "num_requests_per_day": 10}
    found = admin.post("/cost/estimate", sizes)
    assert found["cost_per_request"] == pytest.approx(0.175)
    assert (found["input_cost_per_request"], found["output_cost_per_request"]) == pytest.approx((0.125, 0.05))
    assert (found["daily_cost"], found["monthly_cost"]) == (pytest.approx(1.75), None)
    for wrong, field in [({"model": "paid/x", "input_tokens": 1}, "output_tokens"), ({**sizes, "reasoning_tokens": 101}, "reasoning_tokens"),
                         ({**sizes, "input": 1}, "input")]:
        assert error(admin.post("/cost/estimate", wrong, 400))["param"] == field


def test_sessions_aliases_and_ones_own_reports(stack, admin, name):
    admin.post("/user/new", {"user_id": name, "auto_create_key": False, "user_role": "internal_user"})
    key = admin.post("/key/generate", {"user_id": name, "key_alias": name})["key"]
    mine = Api(stack.url, key)
    mine.http.headers["x-litellm-session-id"] = name
    for _ in range(3):
        mine.chat("paid/fake-ok")
    page = eventually(lambda: whole(admin.get("/spend/logs/session/ui", session_id=name, page_size=2)))
    assert (len(page["data"]), page["total_pages"]) == (2, 2)
    assert error(admin.get("/spend/logs/session/ui", status=400))["param"] == "session_id"
    assert admin.get("/spend/logs/v2", key_alias=name, page_size=1000)["total"] == 3
    assert admin.get("/spend/logs/v2", key_alias=f"no-{name}")["total"] == 0
    own = mine.get("/user/spend/report", **today())
    assert own == admin.get("/user/spend/report", internal_user_id=name, **today())
    assert own == mine.get("/key/spend/report", **today())


def test_a_customer_that_nobody_made_has_spend_all_the_same(stack, admin, name):
    key = Api(stack.url, admin.post("/key/generate", {})["key"])
    key.chat("paid/fake-ok", user=name)
    found = eventually(lambda: admin.get("/customer/info", end_user_id=name))
    assert found["spend"] == found["total_spend"] == pytest.approx(0.006) and found["created_at"] is None
    admin.get("/customer/info", status=404, end_user_id=f"no-{name}")


def whole(page: dict) -> dict:
    assert page["total"] == 3
    return page
