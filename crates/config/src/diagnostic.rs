//! What is wrong with a file, where, and what to write instead; printed as compilers do.

use std::fmt;

use crate::source::Place;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The file is not used.
    Error,
    /// The file is used, and something the operator relies on for safety is not in force.
    Danger,
    /// The file is used, and something in it has no effect.
    Warning,
}

impl Severity {
    /// `error`, `danger` or `warning`.
    pub const fn name(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Danger => "danger",
            Severity::Warning => "warning",
        }
    }
}

/// One finding. `Display` prints it with its source line, secrets masked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Stable name of the kind of finding, such as `unknown-key`.
    pub code: &'static str,
    /// What is wrong, with the offending text unless that is secret.
    pub message: String,
    /// The key it is about, such as `model_list[3].litellm_params.timeout`; empty for the file as a whole.
    pub path: String,
    /// Where; none when there is no text to point at, such as a missing file.
    pub place: Option<Place>,
    /// Further places with the same finding.
    pub also: Vec<Place>,
    /// What it means, each a line.
    pub notes: Vec<String>,
    /// What to do, each a line.
    pub help: Vec<String>,
}

impl Diagnostic {
    pub(crate) fn new(severity: Severity, code: &'static str, message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            severity,
            code,
            message: crate::mask::text(&message.into()),
            path: String::new(),
            place: None,
            also: Vec::new(),
            notes: Vec::new(),
            help: Vec::new(),
        }
    }

    pub(crate) fn at(mut self, place: Option<Place>) -> Diagnostic {
        self.place = place;
        self
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Diagnostic {
        self.help.push(help.into());
        self
    }

    pub(crate) fn note(mut self, note: impl Into<String>) -> Diagnostic {
        self.notes.push(note.into());
        self
    }
}

impl Diagnostic {
    /// The further places: `line 7` in the same file, `other.yaml:7` in another.
    fn elsewhere(&self) -> String {
        let here = self.place.as_ref().map(|place| place.file.as_str());
        let listed = self.also.iter().take(LISTED).map(|place| match here {
            Some(here) if here == place.file => format!("line {}", place.line),
            _ => format!("{}:{}", place.file, place.line),
        });
        let listed = listed.collect::<Vec<_>>().join(", ");
        match self.also.len().saturating_sub(LISTED) {
            0 => listed,
            more => format!("{listed} and {more} more"),
        }
    }
}

/// Places listed by number before the rest is counted.
const LISTED: usize = 6;

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.severity.name(), printable(&self.message))?;
        let width = self.place.as_ref().map_or(1, |place| place.line.to_string().len());
        if let Some(place) = &self.place {
            write!(f, "\n{:width$}--> {}:{}:{}", "", printable(&place.file), place.line, place.column)?;
            excerpt(f, place, width)?;
        }
        if !self.also.is_empty() {
            write!(f, "\n{:width$} = also at {}", "", printable(&self.elsewhere()))?;
        }
        for note in &self.notes {
            write!(f, "\n{:width$} = note: {}", "", printable(note))?;
        }
        for help in &self.help {
            write!(f, "\n{:width$} = help: {}", "", printable(help))?;
        }
        Ok(())
    }
}

/// The source line with a row of carets under what is meant.
fn excerpt(f: &mut fmt::Formatter<'_>, place: &Place, width: usize) -> fmt::Result {
    let lead = if place.text_column > 1 { "…" } else { "" };
    let column = place.column.saturating_sub(place.text_column);
    let room = place.text.chars().count().saturating_sub(column).max(1);
    let carets = "^".repeat(place.length.clamp(1, room));
    let indent = column + lead.chars().count();
    write!(f, "\n{:width$} |\n{:>width$} | {lead}{}", "", place.line, place.text.trim_end())?;
    write!(f, "\n{:width$} | {:indent$}{carets}", "", "")
}

/// Control characters, which a terminal might obey, as spaces.
fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}
