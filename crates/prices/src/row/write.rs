//! [`Entry`] to a line of the table. Keys stand in one fixed order, so that a refreshed table gives a small diff.

use serde_json::Value;
use tollway_model::Price;

use crate::entry::{Entry, Limits};
use crate::sheet::{Above, Measure, OffPeak, Range, Rates, Service, Tier, Window};

/// The entry as one line of JSON, without a line end.
pub(crate) fn write(entry: &Entry) -> String {
    let mut object = Object::new();
    object.text("id", Some(&entry.id));
    object.text("provider", Some(&entry.label));
    object.text("mode", entry.mode.as_ref());
    object.put("limits", limits(&entry.limits));
    object.put("price", tokens(&entry.prices.base));
    object.put("tiers", tiers(&entry.prices.tiers));
    object.put("ranges", array(entry.prices.ranges.iter().map(range)));
    let mut services = Object::new();
    for (name, service) in &entry.prices.services {
        services.put(name, self::service(service));
    }
    object.put("service", services.end());
    object.put("off_peak", entry.prices.off_peak.as_ref().and_then(off_peak));
    object.put("units", units(&entry.prices.base));
    object.texts("caps", &entry.caps);
    object.texts("no", &entry.no);
    object.texts("effort_levels", &entry.effort_levels);
    object.text("effort_default", entry.effort_default.as_ref());
    object.texts("endpoints", &entry.endpoints);
    object.texts("modalities_in", &entry.modalities_in);
    object.texts("modalities_out", &entry.modalities_out);
    object.texts("regions", &entry.regions);
    object.text("deprecated", entry.deprecated.as_ref());
    let extra = (!entry.extra.is_empty()).then(|| Value::Object(entry.extra.clone()).to_string());
    object.put("extra", extra);
    object.text("source", entry.source.as_ref());
    object.end().unwrap_or_else(|| "{}".into())
}

/// A JSON object under construction; absent values leave no key.
struct Object(String);

impl Object {
    fn new() -> Object {
        Object(String::new())
    }

    fn put(&mut self, key: &str, json: Option<String>) {
        let Some(json) = json else { return };
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        self.0.push_str(&Value::from(key).to_string());
        self.0.push(':');
        self.0.push_str(&json);
    }

    fn text(&mut self, key: &str, text: Option<&String>) {
        self.put(key, text.map(|text| Value::from(text.as_str()).to_string()));
    }

    fn texts(&mut self, key: &str, texts: &[String]) {
        self.put(key, (!texts.is_empty()).then(|| Value::from(texts).to_string()));
    }

    fn end(mut self) -> Option<String> {
        if self.0.is_empty() {
            return None;
        }
        self.0.push('}');
        Some(self.0)
    }
}

fn array(items: impl Iterator<Item = Option<String>>) -> Option<String> {
    let items: Vec<_> = items.flatten().collect();
    (!items.is_empty()).then(|| format!("[{}]", items.join(",")))
}

fn limits(limits: &Limits) -> Option<String> {
    let mut object = Object::new();
    for (key, value) in [
        ("in", limits.input),
        ("out", limits.output),
        ("legacy_max", limits.legacy_max),
        ("rpm", limits.requests_per_minute),
        ("tpm", limits.tokens_per_minute),
        ("dims", limits.dimensions),
        ("cache_min", limits.cache_min),
    ] {
        object.put(key, value.map(|value| value.to_string()));
    }
    object.end()
}

/// Picodollars as a decimal with `places` digits after the point, trailing zeros left out.
fn decimal(price: Price, places: usize) -> String {
    let digits = format!("{:0>width$}", price.picos(), width = places + 1);
    let (whole, fraction) = digits.split_at(digits.len() - places);
    match fraction.trim_end_matches('0') {
        "" => whole.to_owned(),
        fraction => format!("{whole}.{fraction}"),
    }
}

fn put_tokens(object: &mut Object, rates: &Rates) {
    for (rate, price) in &rates.tokens {
        object.put(rate.name(), Some(decimal(*price, 6)));
    }
}

fn put_units(object: &mut Object, rates: &Rates) {
    for (unit, price) in &rates.units {
        object.put(&format!("unit.{unit}"), Some(decimal(*price, 12)));
    }
}

fn tokens(rates: &Rates) -> Option<String> {
    let mut object = Object::new();
    put_tokens(&mut object, rates);
    object.end()
}

fn units(rates: &Rates) -> Option<String> {
    let mut object = Object::new();
    for (unit, price) in &rates.units {
        object.put(unit, Some(decimal(*price, 12)));
    }
    object.end()
}

fn tiers(tiers: &[Tier]) -> Option<String> {
    array(tiers.iter().map(|tier| {
        let mut object = Object::new();
        match tier.above {
            Above::Tokens(tokens) => object.put("above_tokens", Some(tokens.to_string())),
            Above::Seconds(seconds) => object.put("above_seconds", Some(seconds.to_string())),
        }
        put_tokens(&mut object, &tier.rates);
        put_units(&mut object, &tier.rates);
        object.end()
    }))
}

fn range(range: &Range) -> Option<String> {
    let (from, to) = match range.measure {
        Measure::Tokens => ("from", "to"),
        Measure::Results => ("results_from", "results_to"),
    };
    let mut object = Object::new();
    object.put(from, Some(range.from.to_string()));
    object.put(to, Some(range.to.to_string()));
    put_tokens(&mut object, &range.rates);
    put_units(&mut object, &range.rates);
    object.end()
}

fn service(service: &Service) -> Option<String> {
    let mut object = Object::new();
    put_tokens(&mut object, &service.rates);
    put_units(&mut object, &service.rates);
    object.put("tiers", tiers(&service.tiers));
    object.end()
}

fn off_peak(off_peak: &OffPeak) -> Option<String> {
    let mut object = Object::new();
    put_tokens(&mut object, &off_peak.rates);
    put_units(&mut object, &off_peak.rates);
    object.text("weekday_timezone", off_peak.weekday_zone.map(|zone| zone.name().to_owned()).as_ref());
    object.put("windows", array(off_peak.windows.iter().map(window)));
    object.end()
}

fn window(window: &Window) -> Option<String> {
    let time = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
    let spans = window.spans.iter().map(|(start, end)| format!("{}-{}", time(*start), time(*end)));
    let mut object = Object::new();
    object.texts("hours_utc", &spans.collect::<Vec<_>>());
    object.put(
        "weekdays",
        (!window.weekdays.is_empty()).then(|| Value::from(window.weekdays.as_slice()).to_string()),
    );
    object.end()
}
