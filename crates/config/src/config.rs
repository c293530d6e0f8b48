//! The whole file, and what its sections say together.

use indexmap::IndexMap;
use tollway_model::Secret;

use crate::diagnostic::Severity;
use crate::environment::Environment;
use crate::general::GeneralSettings;
use crate::litellm::LitellmSettings;
use crate::model_list::{Credential, Deployment, LitellmParams};
use crate::read::{Fields, FromNode, Reader, list};
use crate::router::{Fallbacks, RouterSettings};
use crate::section::{Section, settings};
use crate::tollway::Tollway;
use crate::tree::{Node, Value};
use crate::values::ByteSize;

settings! {
    /// The configuration file. Without one, every setting has its default and there are no deployments.
    pub struct Config in "top" {
        /// The deployments.
        pub model_list: Vec<Deployment> = Vec::new();
        /// How calls are translated.
        pub litellm_settings: LitellmSettings = LitellmSettings::default();
        /// Which deployment serves a call, and what happens when it fails.
        pub router_settings: RouterSettings = RouterSettings::default();
        /// The server and who may call it.
        pub general_settings: GeneralSettings = GeneralSettings::default();
        /// What LiteLLM has no setting for.
        pub tollway: Tollway = Tollway::default();
    }
    also {
        /// Values that several deployments share.
        pub credential_list: Vec<Credential>;
        /// Variables that lie over those of the process, for the gateway alone. Example: `{OPENAI_API_KEY: …}`.
        #[schemars(with = "IndexMap<String, String>")]
        pub environment_variables: IndexMap<String, Secret>;
        /// Further files, relative to this one. Their lists are added to those here; of anything else theirs counts.
        /// Example: `[models.yaml]`.
        pub include: Vec<String>;
    }
}

impl Section for Config {
    fn settle(&mut self, fields: &mut Fields<'_>, _reader: &mut Reader<'_>) {
        // Read before the rest, because the rest refers to them.
        for name in ["credential_list", "environment_variables"] {
            fields.entry(name);
        }
        // Merged when the files were read; wrong paths have been reported there.
        if let Some(Value::List(paths)) = fields.entry("include").map(|entry| &entry.value.value) {
            let text = |node: &Node| match &node.value {
                Value::Scalar(scalar) => Some(scalar.text.clone()),
                _ => None,
            };
            self.include = paths.iter().filter_map(text).collect();
        }
    }
}

/// Reads the credentials, so that deployments can refer to them.
pub(crate) fn credentials(root: &Node, reader: &mut Reader<'_>) -> Vec<Credential> {
    let mut all: Vec<Credential> = Vec::new();
    for entry in root.entries() {
        // LiteLLM takes the list under `litellm_settings` too.
        let nested = entry.key == "litellm_settings";
        let holders = if nested { entry.value.entries() } else { std::slice::from_ref(entry) };
        for holder in
            holders.iter().filter(|holder| holder.key == "credential_list" && !holder.value.is_null())
        {
            let read =
                reader.within(&holder.key, |reader| list(&holder.value, <Vec<Credential>>::EXPECTED, reader));
            all.extend(read.unwrap_or_default());
        }
    }
    for credential in &all {
        reader.credentials.insert(credential.credential_name.clone(), credential.credential_values.clone());
    }
    all
}

/// Reads `environment_variables`; refused ones are left out and reported.
pub(crate) fn environment_variables(root: &Node, reader: &mut Reader<'_>) -> IndexMap<String, Secret> {
    let mut variables = IndexMap::new();
    let Some(entry) = root.entries().iter().find(|entry| entry.key == "environment_variables") else {
        return variables;
    };
    if entry.value.is_null() {
        return variables;
    }
    let read =
        reader.within(&entry.key, |reader| IndexMap::<String, Secret>::from_node(&entry.value, reader));
    for (name, value) in read.unwrap_or_default() {
        if crate::environment::is_refused(&name) {
            let mark =
                entry.value.entries().iter().find(|entry| entry.key == name).map(|entry| entry.key_mark);
            let message = format!("`{name}` cannot be set from the file and is left as it is");
            reader
                .report(Severity::Warning, "refused-variable", mark.unwrap_or_default(), message)
                .help
                .push("set it where the gateway runs".to_owned());
            continue;
        }
        variables.insert(name, value);
    }
    variables
}

impl Config {
    /// Variables as the gateway sees them: those of the file over `base`, usually [`crate::process_env`].
    pub fn environment<'a>(&'a self, base: &'a dyn Fn(&str) -> Option<String>) -> Environment<'a> {
        Environment::new(&self.environment_variables, base)
    }

    /// Further tries of a call in its model group: `router_settings`, else `litellm_settings`, else 2.
    pub fn num_retries(&self) -> u32 {
        self.router_settings.num_retries.or(self.litellm_settings.num_retries).unwrap_or(2)
    }

    /// Most model groups tried in place of the first: `router_settings`, else `litellm_settings`, else 5.
    pub fn max_fallbacks(&self) -> u32 {
        self.router_settings.max_fallbacks.or(self.litellm_settings.max_fallbacks).unwrap_or(5)
    }

    /// Failures after which a deployment rests; none when LiteLLM's rules by kind apply.
    pub fn allowed_fails(&self) -> Option<u32> {
        self.router_settings.allowed_fails.or(self.litellm_settings.allowed_fails)
    }

    /// Model groups to try when one fails.
    pub fn fallbacks(&self) -> &Fallbacks {
        first(&self.router_settings.fallbacks, &self.litellm_settings.fallbacks)
    }

    /// Model groups to try when the prompt is too long.
    pub fn context_window_fallbacks(&self) -> &Fallbacks {
        first(&self.router_settings.context_window_fallbacks, &self.litellm_settings.context_window_fallbacks)
    }

    /// Model groups to try when the content is refused.
    pub fn content_policy_fallbacks(&self) -> &Fallbacks {
        first(&self.router_settings.content_policy_fallbacks, &self.litellm_settings.content_policy_fallbacks)
    }

    /// Model groups to try for any other.
    pub fn default_fallbacks(&self) -> &[String] {
        let own = &self.router_settings.default_fallbacks;
        if own.is_empty() { &self.litellm_settings.default_fallbacks } else { own }
    }

    /// Leaves a deployment's calls without what its provider lacks, instead of refusing them.
    pub fn drop_params(&self, deployment: &LitellmParams) -> bool {
        deployment.drop_params.unwrap_or(self.litellm_settings.drop_params)
    }

    /// Largest request body: `tollway.limits.max_body`, else `general_settings.max_request_size_mb`, else 32 MiB.
    pub fn max_body(&self) -> ByteSize {
        let litellm = self.general_settings.max_request_size_mb;
        let litellm = litellm.map(|mebibytes| ByteSize(mebibytes.saturating_mul(1 << 20)));
        self.tollway.limits.max_body.or(litellm).unwrap_or(ByteSize::mebibytes(32))
    }
}

fn first<'f>(own: &'f Fallbacks, general: &'f Fallbacks) -> &'f Fallbacks {
    if own.0.is_empty() { general } else { own }
}
