//! What requests may ask for that the APIs of Claude's makers have no parameter for.

use tollway_model::{Notices, Request};

/// Notes what decides the answer, and cannot be asked for.
pub(crate) fn sampling(request: &Request, notices: &mut Notices) {
    let nonzero = |value: Option<f64>| value.is_some_and(|value| value != 0.0);
    let asks_for_sound =
        request.modalities.iter().any(|modality| modality != "text") || request.audio.is_some();
    let asked = [
        ("seed", request.seed.is_some()),
        ("n", request.n.is_some_and(|n| n > 1)),
        ("presence_penalty", nonzero(request.presence_penalty)),
        ("frequency_penalty", nonzero(request.frequency_penalty)),
        ("logit_bias", request.logit_bias.as_ref().is_some_and(|bias| !bias.is_null() && bias.get() != "{}")),
        ("logprobs", request.logprobs == Some(true)),
        ("top_logprobs", request.top_logprobs.is_some_and(|count| count > 0)),
        ("modalities", asks_for_sound),
    ];
    for (field, _) in asked.into_iter().filter(|(_, asked)| *asked) {
        notices.dropped(field, "this provider has no such parameter");
    }
}

/// Notes what changes no answer, or hardly one, and is left out; `more`: fields, and whether they are given.
pub(crate) fn bookkeeping(more: &[(&'static str, bool)], request: &Request, notices: &mut Notices) {
    let given = [
        ("verbosity", request.verbosity.is_some()),
        ("prediction", request.prediction.is_some()),
        ("prompt_cache_key", request.prompt_cache_key.is_some()),
    ];
    for (field, _) in given.iter().chain(more).filter(|(_, given)| *given) {
        notices.changed(*field, "means nothing here: left out");
    }
}
