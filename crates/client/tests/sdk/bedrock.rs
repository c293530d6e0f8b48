//! Bedrock: binary streams, and requests signed with credentials from everywhere they may be.
//!
//! The fake computes every signature anew from what arrived, and its services give out credentials that it knows.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper of a test that fails has failed the test")]

use serde_json::json;
use tollway::model::{FinishReason, Message};
use tollway::{AwsSettings, Client, Completion, Error, Kind, Request, Tool};
use tollway_testkit::FakeProvider;

const MODEL: &str = "bedrock/converse/us.anthropic.claude-fake-ok";
const KEYS: [(&str, &str); 2] =
    [("AWS_ACCESS_KEY_ID", "AKIAFAKEUSER"), ("AWS_SECRET_ACCESS_KEY", "fake/secret+key")];

/// A client of the fake in an environment of its own.
fn client(fake: &FakeProvider, variables: &[(&str, &str)], settings: AwsSettings) -> Client {
    let region = AwsSettings { region: Some("eu-west-1".to_owned()), ..settings };
    let mut all: Vec<(String, String)> = vec![
        ("AWS_ENDPOINT_URL_STS".to_owned(), fake.url()),
        ("AWS_EC2_METADATA_DISABLED".to_owned(), "true".to_owned()),
    ];
    all.extend(
        variables.iter().map(|(name, value)| ((*name).to_owned(), value.replace("{URL}", &fake.url()))),
    );
    // The last of equal names counts.
    let environment =
        move |name: &str| all.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    Client::builder().environment(environment).api_base("bedrock", fake.url()).aws("bedrock", region).build()
}

async fn say(client: &Client) -> Result<Completion, Error> {
    let options = tollway::CallOptions::default().retries(0);
    client.completion_with(&Request::chat(MODEL, "say: one two three"), &options).await
}

#[tokio::test]
async fn a_signed_call_is_answered_whole_and_streamed() {
    let fake = FakeProvider::start().await.unwrap();
    let client = client(&fake, &KEYS, AwsSettings::default());
    assert_eq!(say(&client).await.unwrap().text(), "one two three");
    for model in
        [MODEL, "bedrock/us.anthropic.claude-fake-chunk-1", "bedrock/anthropic.claude-fake-reasoning+chunk-7"]
    {
        let mut stream = client.stream(&Request::chat(model, "say: one two three")).await.unwrap();
        let mut pieces = 0;
        while let Some(piece) = stream.next_text().await {
            piece.unwrap();
            pieces += 1;
        }
        let answer = stream.collect().await.unwrap();
        assert_eq!((answer.text().as_str(), pieces), ("one two three", 3), "{model}");
        assert!(answer.response.usage.is_some_and(|usage| usage.input > 0 && usage.output > 0));
        assert_eq!(answer.response.choices[0].finish, Some(FinishReason::Stop));
    }
    let call = fake.received().pop().unwrap();
    assert_eq!(call.path, "/model/anthropic.claude-fake-reasoning%2Bchunk-7/converse-stream");
    assert!(call.header("authorization").unwrap().contains("/eu-west-1/bedrock/aws4_request"));
}

#[tokio::test]
async fn tools_and_thinking_come_and_go_back() {
    let fake = FakeProvider::start().await.unwrap();
    let client = client(&fake, &KEYS, AwsSettings::default());
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    let mut request =
        Request::chat("bedrock/anthropic.claude-fake-reasoning", "How is the weather_today in Oslo?")
            .tool(Tool::function("weather.today", "The weather of a city now.", schema));
    let answer = client.stream(&request).await.unwrap().collect().await.unwrap();
    assert!(!answer.response.choices[0].reasoning().is_empty());
    let calls: Vec<_> = answer.tool_calls().map(|call| call.name.clone()).collect();
    assert_eq!(calls, ["weather.today"]);
    request = request.message(answer.message());
    for call in answer.tool_calls() {
        request = request.message(Message::tool_result(call.result("7 °C")));
    }
    // The fake refuses thinking whose signature changed, and results that answer nothing.
    let answer = client.completion(&request).await.unwrap();
    assert_eq!(answer.text(), "The tool weather_today says: 7 °C");
}

#[tokio::test]
async fn structured_answers_come_as_text() {
    let fake = FakeProvider::start().await.unwrap();
    let client = client(&fake, &KEYS, AwsSettings::default());
    let schema = json!({"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]});
    let request = Request::chat(MODEL, "The capital of Norway.").json_schema("city", schema);
    for stream in [false, true] {
        let answer = if stream {
            client.stream(&request).await.unwrap().collect().await.unwrap()
        } else {
            client.completion(&request).await.unwrap()
        };
        let city: serde_json::Value = answer.json().unwrap();
        assert!(city["name"].is_string(), "{city}");
        assert_eq!(answer.response.choices[0].finish, Some(FinishReason::Stop));
    }
}

#[tokio::test]
async fn a_bearer_key_is_sent_as_it_is() {
    let fake = FakeProvider::start().await.unwrap();
    let client = client(&fake, &[("AWS_BEARER_TOKEN_BEDROCK", "bedrock-key")], AwsSettings::default());
    assert_eq!(say(&client).await.unwrap().text(), "one two three");
    assert_eq!(fake.received()[0].header("authorization"), Some("Bearer bedrock-key"));
}

/// The session's credentials signed the call, after `asked` calls of other services.
async fn check_session(variables: &[(&str, &str)], settings: AwsSettings, asked: usize) {
    let fake = FakeProvider::start().await.unwrap();
    let client = client(&fake, variables, settings);
    for _ in 0..3 {
        let answer = say(&client).await;
        let answer = answer.unwrap_or_else(|error| panic!("{variables:?} {error} {:?}", error.context()));
        assert_eq!(answer.text(), "one two three");
    }
    let received = fake.received();
    assert_eq!(received.len(), asked + 3, "credentials are fetched once: {received:#?}");
    let signed = received.last().unwrap();
    assert!(signed.header("authorization").unwrap().contains("Credential=ASIAFAKESESSION/"));
}

fn files(config: &str, credentials: &str) -> (tempfile::TempDir, [(&'static str, String); 2]) {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let variables = [
        ("AWS_CONFIG_FILE", write("config", config)),
        ("AWS_SHARED_CREDENTIALS_FILE", write("credentials", credentials)),
    ];
    (folder, variables)
}

#[tokio::test]
async fn roles_are_taken_on_with_keys_and_with_tokens() {
    let role = |arn: &str| AwsSettings { role: Some(arn.to_owned()), ..AwsSettings::default() };
    check_session(&KEYS, role("arn:aws:iam::1:role/x"), 1).await;
    let guarded = AwsSettings {
        external_id: Some("external".to_owned()),
        session_tags: vec![("team".to_owned(), "search & find".to_owned())],
        ..role("arn:aws:iam::1:role/guarded")
    };
    check_session(&KEYS, guarded, 1).await;
    let given = AwsSettings {
        access_key_id: Some(KEYS[0].1.into()),
        secret_access_key: Some(KEYS[1].1.into()),
        ..role("arn:aws:iam::1:role/x")
    };
    check_session(&[("AWS_ACCESS_KEY_ID", "other")], given, 1).await;
    let token = AwsSettings {
        web_identity_token: Some("web.identity.token".into()),
        ..role("arn:aws:iam::1:role/x")
    };
    check_session(&[], token, 1).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "web.identity.token\n").unwrap();
    let variables = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", file.to_str().unwrap()),
        ("AWS_ROLE_ARN", "arn:aws:iam::1:role/pod"),
    ];
    check_session(&variables, AwsSettings::default(), 1).await;
}

#[tokio::test]
async fn machines_and_containers_give_credentials() {
    let machine = [("AWS_EC2_METADATA_DISABLED", "false"), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "{URL}")];
    check_session(&machine, AwsSettings::default(), 3).await;
    let container = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "{URL}/container-credentials"),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "container-token"),
    ];
    check_session(&container, AwsSettings::default(), 1).await;
}

#[tokio::test]
async fn profiles_lead_to_keys_and_roles() {
    let config = "\
[profile work]
role_arn = arn:aws:iam::1:role/guarded
external_id = external
source_profile = base
[profile box]
role_arn = arn:aws:iam::1:role/x
credential_source = EcsContainer
";
    let (_folder, paths) =
        files(config, "[base]\naws_access_key_id = AKIAFAKEUSER\naws_secret_access_key = fake/secret+key\n");
    let paths: Vec<_> = paths.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let profile = |name: &str| AwsSettings { profile: Some(name.to_owned()), ..AwsSettings::default() };
    check_session(&paths, profile("work"), 1).await;
    let named = [paths[0], paths[1], ("AWS_PROFILE", "work")];
    check_session(&named, AwsSettings::default(), 1).await;
    let fake = FakeProvider::start().await.unwrap();
    let plain = client(&fake, &paths, profile("base"));
    assert_eq!(say(&plain).await.unwrap().text(), "one two three");
    let error = say(&client(&fake, &paths, profile("absent"))).await.unwrap_err();
    assert!(error.context().iter().any(|(_, cause)| cause.contains("no profile `absent`")), "{error:?}");
}

#[tokio::test]
async fn expired_credentials_are_fetched_again() {
    let fake = FakeProvider::start().await.unwrap();
    let role = AwsSettings { role: Some("arn:aws:iam::1:role/expired".to_owned()), ..AwsSettings::default() };
    let client = client(&fake, &KEYS, role);
    for _ in 0..2 {
        say(&client).await.unwrap();
    }
    assert_eq!(fake.received().iter().filter(|call| call.path == "/").count(), 2);
}

#[tokio::test]
async fn many_calls_fetch_credentials_once() {
    let fake = FakeProvider::start().await.unwrap();
    let role = AwsSettings { role: Some("arn:aws:iam::1:role/x".to_owned()), ..AwsSettings::default() };
    let client = client(&fake, &KEYS, role);
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { say(&client).await.map(|answer| answer.text()) })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap(), "one two three");
    }
    assert_eq!(fake.received().iter().filter(|call| call.path == "/").count(), 1);
}

#[tokio::test]
async fn what_is_missing_or_refused_is_said_without_secrets() {
    let fake = FakeProvider::start().await.unwrap();
    let nothing = say(&client(&fake, &[], AwsSettings::default())).await.unwrap_err();
    assert_eq!(nothing.kind(), Kind::Authentication);
    assert!(nothing.message().contains("no AWS credentials"), "{nothing}");
    assert!(fake.received().is_empty());

    let wrong = [KEYS[0], ("AWS_SECRET_ACCESS_KEY", "canary-secret")];
    let refused = say(&client(&fake, &wrong, AwsSettings::default())).await.unwrap_err();
    assert_eq!((refused.kind(), refused.status()), (Kind::Authentication, 403));
    assert_eq!(refused.provider_type(), Some("InvalidSignatureException"));

    // The service explains a wrong signature with all that was signed.
    let session = [
        ("AWS_ACCESS_KEY_ID", "ASIAFAKESESSION"),
        ("AWS_SECRET_ACCESS_KEY", "canary-secret"),
        ("AWS_SESSION_TOKEN", "fake/session/token=="),
    ];
    let refused = say(&client(&fake, &session, AwsSettings::default())).await.unwrap_err();
    assert!(refused.message().contains("x-amz-security-token:***"), "{refused}");
    assert!(!format!("{refused:?}").contains("fake/session/token"), "{refused:?}");

    let role = AwsSettings { role: Some("arn:aws:iam::1:role/guarded".to_owned()), ..AwsSettings::default() };
    let client = client(&fake, &KEYS, role);
    let refused = say(&client).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Authentication);
    assert!(!refused.message().contains("arn:"), "{refused}");
    assert!(refused.context().iter().any(|(_, cause)| cause.contains("not authorized")), "{refused:?}");
    // Nobody is asked again at once.
    let asked = fake.received().len();
    assert_eq!(say(&client).await.unwrap_err().kind(), Kind::Authentication);
    assert_eq!(fake.received().len(), asked);
}

#[tokio::test]
async fn failures_have_their_kind() {
    let fake = FakeProvider::start().await.unwrap();
    let client = client(&fake, &KEYS, AwsSettings::default());
    let options = tollway::CallOptions::default().retries(0);
    let failure = async |model: &str, stream: bool| {
        let request = Request::chat(format!("bedrock/anthropic.claude-fake-{model}"), "say: a b c d e");
        let result = if stream {
            match client.stream_with(&request, &options).await {
                Ok(stream) => stream.collect().await.map(|_| ()),
                Err(error) => Err(error),
            }
        } else {
            client.completion_with(&request, &options).await.map(|_| ())
        };
        result.unwrap_err().kind()
    };
    assert_eq!(failure("ratelimit", false).await, Kind::RateLimit);
    assert_eq!(failure("context-window", true).await, Kind::ContextWindow);
    assert_eq!(failure("content-policy", false).await, Kind::ContentPolicy);
    assert_eq!(failure("model-not-found", false).await, Kind::NotFound);
    assert_eq!(failure("error-503", false).await, Kind::Overloaded);
    assert_eq!(failure("error-mid-stream-3", true).await, Kind::Upstream);
    assert_eq!(failure("malformed-after-3", true).await, Kind::Upstream);
    assert_eq!(failure("cut-after-3-chunks", true).await, Kind::Connection);
}
