//! `router_settings`: which deployment serves a call, and how often it is tried.

use std::time::Duration;

use indexmap::IndexMap;
use serde_json::Value as Json;

use crate::diagnostic::Severity;
use crate::read::{FromNode, Reader};
use crate::section::{Section, choice, settings};
use crate::tree::{Node, Value};
use crate::values::DurationSchema;

choice! {
    /// How the deployment for a call is chosen among those of its model group. All but the first are known and have no
    /// effect yet: calls are shuffled.
    pub enum Strategy {
        /// At random, by `weight`, else `rpm`, else `tpm`.
        SimpleShuffle = "simple-shuffle",
        /// The one with the fewest calls in flight. Has no effect yet.
        LeastBusy = "least-busy",
        /// The one that answered fastest lately. Has no effect yet.
        Latency = "latency-based-routing",
        /// The one that used the fewest tokens this minute. Has no effect yet.
        Usage = "usage-based-routing-v2" or "usage-based-routing",
        /// The cheapest. Has no effect yet.
        Cost = "cost-based-routing",
    }
}

settings! {
    /// `router_settings`: which deployment serves a call, and how often it is tried.
    pub struct RouterSettings in "router_settings" {
        /// How the deployment is chosen. Another than the default loads with a warning, and calls are shuffled.
        /// Default: `simple-shuffle`.
        pub routing_strategy: Strategy = Strategy::SimpleShuffle;
        /// Further tries of a call in its model group, from 0 to 20. Default: `litellm_settings.num_retries`, else 2.
        /// Example: `num_retries: 3`.
        pub num_retries: Option<u32> = None;
        /// Longest duration of one attempt where neither the deployment nor `litellm_settings.request_timeout` says.
        /// Example: `timeout: 120`.
        #[schemars(with = "Option<DurationSchema>")]
        pub timeout: Option<Duration> = None;
        /// The same for streamed calls. Default: `timeout`.
        #[schemars(with = "Option<DurationSchema>")]
        pub stream_timeout: Option<Duration> = None;
        /// Further names of model groups. Example: `model_group_alias: {gpt-4: gpt-4o}`.
        #[schemars(with = "IndexMap<String, Json>")]
        pub model_group_alias: IndexMap<String, Alias> = IndexMap::new();
    }
}

/// Most retries that a configuration may ask for.
pub(crate) const MOST_RETRIES: u32 = 20;

impl Section for RouterSettings {
    fn settle(&mut self, fields: &mut crate::read::Fields<'_>, reader: &mut Reader<'_>) {
        bound_retries(&mut self.num_retries, fields, reader);
        let strategy = self.routing_strategy;
        if let Some(entry) = fields.entry("routing_strategy").filter(|_| strategy != Strategy::SimpleShuffle)
        {
            let message = format!("the routing strategy `{}` is not built yet", strategy.word());
            let diagnostic = reader.report(Severity::Warning, "not-built", entry.value.mark, message);
            diagnostic.notes.push("calls are shuffled by `weight`, else `rpm`, else `tpm`".to_owned());
        }
    }
}

/// Keeps `num_retries` within [`MOST_RETRIES`], and says so.
pub(crate) fn bound_retries(
    retries: &mut Option<u32>,
    fields: &mut crate::read::Fields<'_>,
    reader: &mut Reader<'_>,
) {
    let Some(entry) = fields.entry("num_retries") else { return };
    if retries.is_some_and(|retries| retries > MOST_RETRIES) {
        *retries = Some(MOST_RETRIES);
        let message = format!("`num_retries` is more than {MOST_RETRIES}; {MOST_RETRIES} is used");
        reader.report(Severity::Warning, "out-of-range", entry.value.mark, message);
    }
}

/// Another name of a model group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alias {
    /// The group meant.
    pub model: String,
    /// Left out of the list of models.
    pub hidden: bool,
}

impl FromNode for Alias {
    const EXPECTED: &'static str = "the name of a model group, or `{model: …, hidden: true}`";

    fn from_node(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        if let Value::Scalar(_) = node.value {
            return String::from_node(node, reader).map(|model| Alias { model, hidden: false });
        }
        let mut fields = crate::read::Fields::of(node, "", reader)?;
        let model = fields.take(reader, "model", &[]);
        let hidden = fields.take(reader, "hidden", &[]).unwrap_or(false);
        fields.finish(reader);
        if model.is_none() {
            reader.wrong(node, Self::EXPECTED);
        }
        Some(Alias { model: model?, hidden })
    }
}
