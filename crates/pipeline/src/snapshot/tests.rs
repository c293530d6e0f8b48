use tollway_model::Dialect;

use super::*;

/// What a configuration serves.
pub(crate) fn snapshot_of(text: &str) -> Snapshot {
    let config = tollway_config::from_str(text, &|_| None).config.unwrap();
    Snapshot::build(Sources {
        config: &config,
        stored: &[],
        from_environment: false,
        environment: Arc::new(|_: &str| None),
        catalog: Catalog::builtin(),
        demo: None,
        keyring: Keyring::default(),
    })
}

#[test]
fn the_configuration_decides_which_of_openais_dialects_a_model_is_spoken_to_in() {
    let chat = (Operation::Chat, Dialect::OpenaiChat);
    let responses = (Operation::Chat, Dialect::OpenaiResponses);
    let check = |model: &str, info: &str, expected: [(Operation, Dialect); 2]| {
        let text = format!(
            "model_list: [{{model_name: m, litellm_params: {{model: {model}, api_key: k}}, model_info: {info}}}]"
        );
        let deployment = deployment_of(&text);
        let endpoint = deployment.endpoint().unwrap();
        assert!(!deployment.model.contains("responses/"), "{model}");
        for (surface, lane) in [chat.1, responses.1].into_iter().zip(expected) {
            assert_eq!(endpoint.lane(Operation::Chat, surface), Some(lane), "{model} {info} {surface}");
        }
    };
    check("openai/gpt-4o", "{}", [chat, responses]);
    check("openai/gpt-4o", "{mode: chat}", [chat, chat]);
    check("openai/gpt-4o", "{mode: responses}", [responses, responses]);
    check("openai/responses/gpt-4o", "{}", [responses, responses]);
    // The models table knows that it has no other API.
    check("openai/o1-pro", "{}", [responses, responses]);
    check("deepseek/deepseek-chat", "{}", [chat, chat]);
}

#[test]
fn one_model_behind_a_wildcard_is_one_deployment_whatever_it_is_called() {
    let of = |model: &str, info: &str| {
        let text = format!(
            "model_list: [{{model_name: 'any/*', litellm_params: {{model: {model}, api_key: k}}, model_info: {info}}}]"
        );
        let snapshot = snapshot_of(&text);
        ["any/one", "any/other"].map(|name| snapshot.resolve(name).unwrap()[0].clone())
    };
    let [one, other] = of("openai/gpt-4o", "{}");
    assert_eq!((&one.id, &one.seat_name), (&other.id, &other.seat_name));
    assert_eq!(of("openai/gpt-4o", "{id: mine}").map(|one| one.id.to_string()), ["mine", "mine"]);
    for (info, id) in [("{}", None), ("{id: mine}", Some("mine"))] {
        let [one, other] = of("'openai/*'", info);
        assert_eq!(one.id, other.id, "its limits are for all of them together");
        assert!(id.is_none_or(|id| *one.id == *id));
        assert_ne!(one.seat_name, other.seat_name, "each of several models fails by itself");
    }
}

/// The first deployment of a configuration.
pub(crate) fn deployment_of(text: &str) -> Deployment {
    let snapshot = snapshot_of(text);
    (**snapshot.routes.deployments().next().unwrap()).clone()
}
