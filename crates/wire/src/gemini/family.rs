//! What a model's name says about its generation.
//!
//! Gemini's request format changed with the models (thinking budgets became levels, OpenAPI schemas became JSON
//! Schema), and the name is the only thing that tells. Unknown names count as modern.

/// A place in the Gemini family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Family {
    /// `(2, 5)` for `gemini-2.5-pro`; `None` when the name does not say.
    version: Option<(u8, u8)>,
    pub(super) size: Size,
    /// Speaks only (`…-tts`).
    pub(super) speech: bool,
}

/// Pro, Flash or Flash-Lite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Size {
    Pro,
    Flash,
    FlashLite,
    Other,
}

/// How a model is told how much to think.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Thinking {
    /// It does not think.
    None,
    /// `thinkingBudget`, in tokens.
    Budget,
    /// `thinkingLevel`, a word.
    Level,
}

impl Family {
    /// Reads a model name, with or without a path before it (`models/…`, `publishers/…/models/…`).
    pub(super) fn of(model: &str) -> Family {
        let name = model.rsplit('/').next().unwrap_or(model).to_ascii_lowercase();
        let size = if name.contains("flash-lite") {
            Size::FlashLite
        } else if name.contains("flash") {
            Size::Flash
        } else if name.contains("pro") {
            Size::Pro
        } else {
            Size::Other
        };
        Family { version: version(&name), size, speech: name.contains("-tts") }
    }

    /// Known to be older than `version`.
    pub(super) fn before(self, version: (u8, u8)) -> bool {
        self.version.is_some_and(|own| own < version)
    }

    /// Known to be `version` or newer.
    pub(super) fn since(self, version: (u8, u8)) -> bool {
        self.version.is_some_and(|own| own >= version)
    }

    /// How it is told to think. Unknown models get a budget, which every thinking generation reads.
    pub(super) fn thinking(self) -> Thinking {
        match self.version {
            Some(version) if version < (2, 5) => Thinking::None,
            Some(version) if version >= (3, 0) => Thinking::Level,
            _ => Thinking::Budget,
        }
    }

    /// Plain JSON Schema is understood, in tools and for answers.
    pub(super) fn json_schema(self) -> bool {
        !self.before((2, 0))
    }
}

fn version(name: &str) -> Option<(u8, u8)> {
    let rest = name.strip_prefix("gemini-")?;
    if rest.ends_with("-latest") && !rest.starts_with(|c: char| c.is_ascii_digit()) {
        // `gemini-flash-latest` follows the newest release, which is of the third generation.
        return Some((3, 0));
    }
    if rest == "pro" || rest == "pro-vision" || rest == "ultra" {
        return Some((1, 0));
    }
    let number = rest.split('-').next()?;
    let mut digits = number.split('.');
    let major: u8 = digits.next()?.parse().ok()?;
    let minor: u8 = digits.next().map_or(Some(0), |minor| minor.parse().ok())?;
    Some((major, minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(model: &str, version: Option<(u8, u8)>, size: Size, thinking: Thinking) {
        let family = Family::of(model);
        assert_eq!((family.version, family.size, family.thinking()), (version, size, thinking), "{model}");
    }

    #[test]
    fn the_name_tells_the_generation() {
        check("gemini-1.5-pro-002", Some((1, 5)), Size::Pro, Thinking::None);
        check("models/gemini-2.0-flash", Some((2, 0)), Size::Flash, Thinking::None);
        check("gemini-2.5-flash-lite", Some((2, 5)), Size::FlashLite, Thinking::Budget);
        check("publishers/google/models/gemini-2.5-pro", Some((2, 5)), Size::Pro, Thinking::Budget);
        check("gemini-3-pro-preview", Some((3, 0)), Size::Pro, Thinking::Level);
        check("gemini-3.5-flash", Some((3, 5)), Size::Flash, Thinking::Level);
        check("gemini-flash-latest", Some((3, 0)), Size::Flash, Thinking::Level);
        check("gemini-pro", Some((1, 0)), Size::Pro, Thinking::None);
        check("gemini-exp-1206", None, Size::Other, Thinking::Budget);
        check("endpoints/12345", None, Size::Other, Thinking::Budget);
        check("gemini-9999999.1", None, Size::Other, Thinking::Budget);
    }
}
