//! Standard output belongs to the answers of commands; everything else goes to standard error.

use std::io::Write;

/// Writes a line. A closed pipe (`tollway models | head`) ends the process quietly.
pub(crate) fn line(text: &str) {
    text_now(text);
    text_now("\n");
}

/// Writes if anybody reads: what a server says does not decide whether it serves.
pub(crate) fn offer(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Writes without a line break, at once.
pub(crate) fn text_now(text: &str) {
    let mut out = std::io::stdout().lock();
    if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

/// A URL as it may be shown: without user, password and query.
pub(crate) fn shown_url(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{path}")
}
