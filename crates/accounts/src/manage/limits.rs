//! Limits in requests and answers: what keys, teams, users, customers and budgets share.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Number, Value, json};
use tollway_model::{Money, Result};
use tollway_store::records::{BudgetLimit, Limits, Millis, ModelBudget};

use super::errors::{bad, forbidden};
use super::fields::{Count, Dollars, MAX_ITEMS, check_name, request};
use super::periods::iso;

request! {
    /// Limits.
    LimitFields {
        /// Most US dollars, in the window of `budget_duration` or for ever; 0 refuses every call that costs something.
        max_budget: Dollars,
        /// Dollars at which an alert goes out.
        soft_budget: Dollars,
        /// The budget's window: `30s`, `15m`, `24h`, `7d`, `1mo`, `daily`, `weekly`, `monthly`.
        budget_duration: String,
        /// Further budgets that hold at the same time.
        budget_limits: Vec<WindowBudget>,
        /// Tokens a minute.
        tpm_limit: Count,
        /// Requests a minute.
        rpm_limit: Count,
        /// Tokens a day, from midnight to midnight UTC.
        tpd_limit: Count,
        /// Calls in flight.
        max_parallel_requests: Count,
        /// Tokens a minute, by model.
        model_tpm_limit: BTreeMap<String, Count>,
        /// Requests a minute, by model.
        model_rpm_limit: BTreeMap<String, Count>,
        /// Budgets by model.
        model_max_budget: BTreeMap<String, ModelMoney>,
    }
}

/// One of several budgets.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WindowBudget {
    /// The window.
    pub budget_duration: String,
    /// Most dollars in it.
    pub max_budget: Dollars,
    /// Shown in answers; not read.
    #[serde(default)]
    #[schemars(skip)]
    #[expect(dead_code, reason = "clients send back what they were shown")]
    reset_at: Option<String>,
}

/// A model's budget.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelBudgetFields {
    /// Most dollars in the window.
    #[serde(default, alias = "max_budget")]
    pub budget_limit: Option<Dollars>,
    /// The window.
    #[serde(default, alias = "budget_duration")]
    pub time_period: Option<String>,
    /// Tokens a minute.
    #[serde(default)]
    pub tpm_limit: Option<Count>,
    /// Requests a minute.
    #[serde(default)]
    pub rpm_limit: Option<Count>,
}

/// A model's budget: an object, or only the dollars.
#[derive(Debug, Clone)]
pub struct ModelMoney(ModelBudgetFields);

impl<'de> Deserialize<'de> for ModelMoney {
    fn deserialize<D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> std::result::Result<ModelMoney, D::Error> {
        let raw = Box::<serde_json::value::RawValue>::deserialize(deserializer)?;
        let read = if raw.get().starts_with('{') {
            serde_json::from_str(raw.get())
        } else {
            serde_json::from_str(raw.get()).map(|dollars| ModelBudgetFields {
                budget_limit: Some(dollars),
                time_period: None,
                tpm_limit: None,
                rpm_limit: None,
            })
        };
        read.map(ModelMoney).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for ModelMoney {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ModelBudget".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        ModelBudgetFields::json_schema(generator)
    }
}

impl LimitFields {
    /// Changes `limits` as the fields say. A new budget window begins now.
    pub(crate) fn apply(&self, limits: &mut Limits, now: Millis) -> Result<()> {
        self.max_budget.put(&mut limits.max_budget);
        self.soft_budget.put(&mut limits.soft_budget);
        if self.budget_duration.is_present() {
            if let Some(text) = self.budget_duration.get() {
                check_window("budget_duration", text)?;
            }
            if self.budget_duration.get() != limits.budget_duration.as_ref() {
                limits.budget_started_at = self.budget_duration.get().map(|_| now);
            }
            self.budget_duration.put(&mut limits.budget_duration);
        }
        self.apply_windows(limits, now)?;
        self.tpm_limit.put(&mut limits.tpm_limit);
        self.rpm_limit.put(&mut limits.rpm_limit);
        self.tpd_limit.put(&mut limits.tpd_limit);
        self.max_parallel_requests.put(&mut limits.max_parallel_requests);
        for (name, field, target) in [
            ("model_tpm_limit", &self.model_tpm_limit, &mut limits.model_tpm_limit),
            ("model_rpm_limit", &self.model_rpm_limit, &mut limits.model_rpm_limit),
        ] {
            if field.is_present() {
                let given = field.get().cloned().unwrap_or_default();
                check_models(name, given.keys())?;
                *target = given.into_iter().map(|(model, count)| (model, count.0)).collect();
            }
        }
        if self.model_max_budget.is_present() {
            let given = self.model_max_budget.get().cloned().unwrap_or_default();
            check_models("model_max_budget", given.keys())?;
            let budgets =
                given.into_iter().map(|(model, ModelMoney(budget))| Ok((model, model_budget(budget)?)));
            limits.model_max_budget = budgets.collect::<Result<_>>()?;
        }
        Ok(())
    }

    fn apply_windows(&self, limits: &mut Limits, now: Millis) -> Result<()> {
        if !self.budget_limits.is_present() {
            return Ok(());
        }
        let given = self.budget_limits.get().cloned().unwrap_or_default();
        if given.len() > 16 {
            return Err(bad("budget_limits", "`budget_limits` has more than 16 windows"));
        }
        let mut windows: Vec<BudgetLimit> = Vec::with_capacity(given.len());
        for window in given {
            check_window("budget_limits", &window.budget_duration)?;
            if windows.iter().any(|other| other.budget_duration == window.budget_duration) {
                let message = format!("`budget_limits` has the window `{}` twice", window.budget_duration);
                return Err(bad("budget_limits", message));
            }
            windows.push(BudgetLimit {
                budget_duration: window.budget_duration,
                max_budget: window.max_budget.0,
            });
        }
        if !windows.is_empty() {
            limits.budget_started_at.get_or_insert(now);
        }
        limits.budget_limits = windows;
        Ok(())
    }
}

fn model_budget(fields: ModelBudgetFields) -> Result<ModelBudget> {
    if let Some(period) = &fields.time_period {
        check_window("model_max_budget", period)?;
    }
    Ok(ModelBudget {
        budget_limit: fields.budget_limit.map(Money::from),
        time_period: fields.time_period,
        tpm_limit: fields.tpm_limit.map(u64::from),
        rpm_limit: fields.rpm_limit.map(u64::from),
    })
}

fn check_models<'m>(field: &str, models: impl ExactSizeIterator<Item = &'m String>) -> Result<()> {
    if models.len() > MAX_ITEMS {
        return Err(bad(field, format!("`{field}` has more than {MAX_ITEMS} models")));
    }
    models.into_iter().try_for_each(|model| check_name(field, model))
}

/// Refuses limits that are looser than their owner's. No limit is none looser: the owner's holds anyway.
pub(crate) fn check_within(limits: &Limits, owner: &Limits, whose: &str) -> Result<()> {
    let numbers = [
        ("tpm_limit", limits.tpm_limit, owner.tpm_limit),
        ("rpm_limit", limits.rpm_limit, owner.rpm_limit),
        ("tpd_limit", limits.tpd_limit, owner.tpd_limit),
        ("max_parallel_requests", limits.max_parallel_requests, owner.max_parallel_requests),
    ];
    for (name, wanted, most) in numbers {
        if let (Some(wanted), Some(most)) = (wanted, most)
            && wanted > most
        {
            return Err(forbidden(name, format!("`{name}` {wanted} is more than the {whose}'s {most}")));
        }
    }
    if let (Some(wanted), Some(most)) = (limits.max_budget, owner.max_budget)
        && wanted > most
    {
        let message = format!("`max_budget` {wanted} is more than the {whose}'s {most}");
        return Err(forbidden("max_budget", message));
    }
    Ok(())
}

/// The running window of the main budget: when it began and when it ends; `None`: it never ends.
pub(crate) fn window(limits: &Limits, now: Millis) -> Option<(Millis, Millis)> {
    running(limits.budget_duration.as_deref()?, now)
}

/// As the meters count it, so that what is shown is what holds.
fn running(duration: &str, now: Millis) -> Option<(Millis, Millis)> {
    let span = tollway_meters::Window::parse(duration, crate::zone()).ok()?.current(now);
    Some((span.start?, span.end?))
}

fn check_window(field: &str, text: &str) -> Result<()> {
    let parsed = tollway_meters::Window::parse(text, crate::zone());
    parsed.map(|_| ()).map_err(|error| bad(field, format!("`{field}`: {error}")))
}

/// Limits as LiteLLM shows them.
pub(crate) fn show(limits: &Limits, now: Millis, out: &mut Map<String, Value>) {
    out.insert("max_budget".into(), dollars(limits.max_budget));
    out.insert("soft_budget".into(), dollars(limits.soft_budget));
    out.insert("budget_duration".into(), json!(limits.budget_duration));
    out.insert("budget_reset_at".into(), iso(window(limits, now).map(|(_, ends)| ends)));
    let windows: Vec<Value> = limits.budget_limits.iter().map(|one| show_window(one, now)).collect();
    out.insert("budget_limits".into(), json!(windows));
    out.insert("tpm_limit".into(), json!(limits.tpm_limit));
    out.insert("rpm_limit".into(), json!(limits.rpm_limit));
    out.insert("tpd_limit".into(), json!(limits.tpd_limit));
    out.insert("max_parallel_requests".into(), json!(limits.max_parallel_requests));
    out.insert("model_tpm_limit".into(), json!(limits.model_tpm_limit));
    out.insert("model_rpm_limit".into(), json!(limits.model_rpm_limit));
    let budgets: Map<String, Value> =
        limits.model_max_budget.iter().map(|(model, budget)| (model.clone(), show_model(budget))).collect();
    out.insert("model_max_budget".into(), Value::Object(budgets));
}

fn show_window(one: &BudgetLimit, now: Millis) -> Value {
    let ends = running(&one.budget_duration, now).map(|(_, ends)| ends);
    json!({
        "budget_duration": one.budget_duration, "max_budget": dollars(Some(one.max_budget)), "reset_at": iso(ends),
    })
}

fn show_model(budget: &ModelBudget) -> Value {
    json!({
        "budget_limit": dollars(budget.budget_limit), "time_period": budget.time_period,
        "tpm_limit": budget.tpm_limit, "rpm_limit": budget.rpm_limit,
    })
}

/// Dollars as the number that clients expect; null for none.
pub(crate) fn dollars(money: Option<Money>) -> Value {
    money.and_then(|money| Number::from_f64(money.to_dollars_lossy())).map_or(Value::Null, Value::Number)
}
