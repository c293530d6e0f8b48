//! How much to think: `thinkingConfig`, in and out.
//!
//! Models before 2.5 do not think. 2.5 takes `thinkingBudget` in tokens, later ones `thinkingLevel`; sending both is
//! an error. Ranges: Google's thinking guide.

use serde::Serialize;
use tollway_model::{Capabilities, Dialect, Effort, Notices, Reasoning, Request, Result};

use super::family::{Family, Size, Thinking};
use super::shape::Fields;

#[derive(Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ThinkingConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_budget: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_level: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    include_thoughts: Option<bool>,
}

/// Reads `thinkingConfig`.
pub(super) fn read(mut config: Fields<'_>) -> Result<Reasoning> {
    let mut reasoning = Reasoning { show: config.take("includeThoughts")?, ..Reasoning::default() };
    match config.whole::<i64>("thinkingBudget")? {
        Some(0) => reasoning.disabled = true,
        Some(budget) if budget < 0 => reasoning.adaptive = true,
        Some(budget) => reasoning.budget_tokens = u64::try_from(budget).ok(),
        None => {}
    }
    if let Some(level) = config.take::<String>("thinkingLevel")? {
        reasoning.effort = Effort::from_name(&level);
    }
    Ok(reasoning)
}

/// Writes `thinkingConfig`; `None` when the request says nothing or the model does not think.
pub(super) fn write(
    request: &Request,
    family: Family,
    capabilities: &Capabilities,
    notices: &mut Notices,
) -> Option<ThinkingConfig> {
    let reasoning = request.reasoning.as_ref()?;
    let off = reasoning.disabled || reasoning.effort == Some(Effort::None);
    let native = request.extras.dialect == Some(Dialect::Gemini);
    let thinking = if capabilities.reasoning.no() { Thinking::None } else { family.thinking() };
    let mut config = match thinking {
        Thinking::None => {
            if !off {
                notices.changed("reasoning_effort", "this model does not think");
            }
            return None;
        }
        Thinking::Budget => ThinkingConfig {
            thinking_budget: budget(reasoning, off, family, notices),
            ..ThinkingConfig::default()
        },
        // Google keeps reading budgets for its own older clients.
        Thinking::Level if native && reasoning.effort.is_none() && !off => {
            ThinkingConfig { thinking_budget: given_budget(reasoning), ..ThinkingConfig::default() }
        }
        Thinking::Level => ThinkingConfig {
            thinking_level: level(reasoning, off, family, capabilities, notices),
            ..ThinkingConfig::default()
        },
    };
    config.include_thoughts = match reasoning.show {
        Some(show) => Some(show && !off),
        None if native => None,
        None => Some(!off),
    };
    (config != ThinkingConfig::default()).then_some(config)
}

fn given_budget(reasoning: &Reasoning) -> Option<i64> {
    if reasoning.adaptive {
        return Some(-1);
    }
    reasoning.budget_tokens.and_then(|budget| i64::try_from(budget).ok())
}

/// Smallest and largest budget, and whether thinking can be switched off.
fn budget_range(size: Size) -> (i64, i64, bool) {
    match size {
        Size::Pro => (128, 32_768, false),
        Size::Flash => (1, 24_576, true),
        Size::FlashLite => (512, 24_576, true),
        Size::Other => (128, 32_768, true),
    }
}

fn budget(reasoning: &Reasoning, off: bool, family: Family, notices: &mut Notices) -> Option<i64> {
    let (least, most, can_stop) = budget_range(family.size);
    if off {
        if can_stop {
            return Some(0);
        }
        notices
            .changed("reasoning_effort", "this model always thinks; it is told to think as little as it can");
        return Some(least);
    }
    let asked = match (given_budget(reasoning), reasoning.effort) {
        (Some(budget), _) => budget,
        (None, Some(Effort::Minimal)) => least,
        (None, Some(effort)) => i64::try_from(effort.budget_tokens()).unwrap_or(most),
        (None, None) => return None,
    };
    if asked < 0 {
        return Some(-1);
    }
    let fitting = asked.clamp(least, most);
    if fitting != asked {
        notices.changed(
            "thinking.budget_tokens",
            format!("{asked} is outside {least} to {most}; sent {fitting}"),
        );
    }
    Some(fitting)
}

fn level(
    reasoning: &Reasoning,
    off: bool,
    family: Family,
    capabilities: &Capabilities,
    notices: &mut Notices,
) -> Option<&'static str> {
    let flash = matches!(family.size, Size::Flash | Size::FlashLite);
    let least = if flash { Effort::Minimal } else { Effort::Low };
    if off {
        notices
            .changed("reasoning_effort", "this model always thinks; it is told to think as little as it can");
        return Some(least.name());
    }
    let asked = reasoning.effort.or_else(|| reasoning.budget_tokens.map(Effort::from_budget))?;
    let mut fitting = asked.max(least);
    if !capabilities.efforts.is_empty() {
        // The next effort the model knows, upwards first: asking for less than wanted costs quality.
        let known = || capabilities.efforts.iter().copied().filter(|effort| *effort != Effort::None);
        let above = known().filter(|effort| *effort >= fitting).min();
        fitting = above.or_else(|| known().max()).unwrap_or(fitting);
    } else {
        fitting = fitting.min(Effort::High);
    }
    if fitting != asked {
        let message = format!("{} is not among this model's levels; sent {}", asked.name(), fitting.name());
        notices.changed("reasoning_effort", message);
    }
    Some(fitting.name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(model: &str, reasoning: Reasoning, expected: Value, changed: bool) {
        let request = Request { reasoning: Some(reasoning), ..Request::default() };
        let mut notices = Notices::new();
        let config = write(&request, Family::of(model), &Capabilities::default(), &mut notices);
        assert_eq!(serde_json::to_value(&config).unwrap(), expected, "{model}");
        assert_eq!(!notices.is_empty(), changed, "{model} {notices:?}");
    }

    fn effort(effort: Effort) -> Reasoning {
        Reasoning { effort: Some(effort), ..Reasoning::default() }
    }

    #[test]
    fn efforts_become_budgets_or_levels_by_generation() {
        let budget = |tokens: i64| json!({"thinkingBudget": tokens, "includeThoughts": true});
        let level = |level: &str| json!({"thinkingLevel": level, "includeThoughts": true});
        check("gemini-2.5-flash", effort(Effort::Minimal), budget(1), false);
        check("gemini-2.5-pro", effort(Effort::Minimal), budget(128), false);
        check("gemini-2.5-flash-lite", effort(Effort::Minimal), budget(512), false);
        check("gemini-2.5-flash", effort(Effort::Low), budget(1024), false);
        check("gemini-2.5-flash", effort(Effort::High), budget(4096), false);
        check("gemini-3-pro-preview", effort(Effort::Medium), level("medium"), false);
        check("gemini-3-pro-preview", effort(Effort::Minimal), level("low"), true);
        check("gemini-3-flash", effort(Effort::Minimal), level("minimal"), false);
        check("gemini-3-flash", effort(Effort::Max), level("high"), true);
        check("gemini-2.0-flash", effort(Effort::High), Value::Null, true);
        check("gemini-2.0-flash", effort(Effort::None), Value::Null, false);
    }

    #[test]
    fn thinking_is_switched_off_only_where_it_can_be() {
        let off = || Reasoning { disabled: true, ..Reasoning::default() };
        let none = || effort(Effort::None);
        let shown = false;
        check("gemini-2.5-flash", off(), json!({"thinkingBudget": 0, "includeThoughts": shown}), false);
        check("gemini-2.5-flash", none(), json!({"thinkingBudget": 0, "includeThoughts": shown}), false);
        check("gemini-2.5-pro", off(), json!({"thinkingBudget": 128, "includeThoughts": shown}), true);
        check("gemini-3-flash", off(), json!({"thinkingLevel": "minimal", "includeThoughts": shown}), true);
        check("gemini-3-pro", none(), json!({"thinkingLevel": "low", "includeThoughts": shown}), true);
    }

    #[test]
    fn budgets_are_kept_in_range_or_turned_into_levels() {
        let tokens = |budget| Reasoning { budget_tokens: Some(budget), ..Reasoning::default() };
        check(
            "gemini-2.5-pro",
            tokens(2000),
            json!({"thinkingBudget": 2000, "includeThoughts": true}),
            false,
        );
        check(
            "gemini-2.5-pro",
            tokens(64_000),
            json!({"thinkingBudget": 32_768, "includeThoughts": true}),
            true,
        );
        check(
            "gemini-3-pro",
            tokens(2500),
            json!({"thinkingLevel": "medium", "includeThoughts": true}),
            false,
        );
        let adaptive = Reasoning { adaptive: true, ..Reasoning::default() };
        check(
            "gemini-2.5-pro",
            adaptive.clone(),
            json!({"thinkingBudget": -1, "includeThoughts": true}),
            false,
        );
        check("gemini-3-pro", adaptive, json!({"includeThoughts": true}), false);
    }
}
