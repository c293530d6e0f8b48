//! How much to think, and the fields of their own that models take for it.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use tollway_model::{Capabilities, Dialect, Effort, Notices, Reasoning, Request};

use super::family::Family;
use crate::anthropic::thinking;

/// `additionalModelRequestFields`, and the limit that goes with them.
#[derive(Debug, Default)]
pub(super) struct Fields {
    pub(super) members: Map<String, Value>,
    pub(super) betas: BTreeSet<String>,
    pub(super) max_tokens: Option<u64>,
    /// Thinking has a budget in tokens.
    pub(super) has_budget: bool,
    /// The limit without thinking.
    without: Option<u64>,
}

impl Fields {
    /// Will the model think, as far as the request says?
    pub(super) fn thinks(&self) -> bool {
        self.members
            .get("thinking")
            .is_some_and(|thinking| thinking.get("type").is_none_or(|kind| kind != "disabled"))
    }

    /// Takes thinking back.
    pub(super) fn stop_thinking(&mut self) {
        self.members.remove("thinking");
        self.betas.clear();
        self.has_budget = false;
        self.max_tokens = self.without;
    }
}

/// Plans thinking and the limit together: a budget needs room.
pub(super) fn plan(
    request: &Request,
    family: Family,
    capabilities: &Capabilities,
    notices: &mut Notices,
) -> Fields {
    let limit = limit(request, capabilities, notices);
    let mut fields = Fields { max_tokens: limit, without: limit, ..Fields::default() };
    let Some(reasoning) = &request.reasoning else { return fields };
    if family.may_be_claude() {
        claude(request, family, capabilities, &mut fields, notices);
        return fields;
    }
    let is_off = reasoning.disabled || reasoning.effort == Some(Effort::None);
    let effort = effort(reasoning);
    match family {
        Family::GptOss | Family::DeepSeek if !is_off => {
            fields.members.insert("reasoning_effort".to_owned(), effort.name().into());
        }
        Family::Gpt => {
            let effort = if is_off { Effort::None } else { effort };
            fields.members.insert("reasoning".to_owned(), json!({ "effort": effort.name() }));
        }
        Family::Nova { thinks: true } if !is_off => {
            let config = json!({ "type": "enabled", "maxReasoningEffort": effort.name() });
            fields.members.insert("reasoningConfig".to_owned(), config);
        }
        _ if is_off => {
            if capabilities.thinking_always_on || matches!(family, Family::GptOss | Family::DeepSeekR1) {
                notices.changed("reasoning_effort", "the model cannot stop thinking: it thinks as it likes");
            }
        }
        Family::DeepSeekR1 => {
            notices.changed("reasoning_effort", "the model thinks as much as it likes: left out");
        }
        _ if request.extras.dialect == Some(Dialect::Anthropic) => {
            // Agents of that dialect ask every model to think.
            notices.changed("thinking", "the model is not known to think: left out");
        }
        _ => notices.dropped("reasoning_effort", "the model is not known to think"),
    }
    fields
}

/// Claude is told what its own API is told.
fn claude(
    request: &Request,
    family: Family,
    capabilities: &Capabilities,
    fields: &mut Fields,
    notices: &mut Notices,
) {
    let is_theirs = request.extras.dialect == Some(Dialect::Anthropic);
    // The limit has been dealt with; its notices must not come twice.
    let plan = thinking::plan(request, capabilities, is_theirs, notices);
    let has_budget = matches!(plan.thinking, Some(thinking::Thinking::Enabled { .. }));
    if let Some(thinking) = &plan.thinking {
        fields.members.insert("thinking".to_owned(), json!(thinking));
    }
    if let Some(effort) = plan.effort {
        fields.members.insert("output_config".to_owned(), json!({ "effort": effort }));
    }
    if has_budget {
        fields.has_budget = true;
        fields.max_tokens = Some(plan.max_tokens);
        if !request.tools.is_empty() && family.may_be_claude_since((4, 0)) {
            fields.betas.insert("interleaved-thinking-2025-05-14".to_owned());
        }
    }
}

/// The models of other makers know three efforts.
fn effort(reasoning: &Reasoning) -> Effort {
    let wanted = reasoning.effort.or_else(|| reasoning.budget_tokens.map(Effort::from_budget));
    wanted.unwrap_or(Effort::Medium).clamp(Effort::Low, Effort::High)
}

fn limit(request: &Request, capabilities: &Capabilities, notices: &mut Notices) -> Option<u64> {
    match (request.max_output_tokens?, capabilities.max_output_tokens) {
        (wanted, Some(most)) if wanted > most => {
            let message = format!("the model generates at most {most} tokens: {wanted} was lowered");
            notices.changed("max_tokens", message);
            Some(most)
        }
        (wanted, _) => Some(wanted),
    }
}
