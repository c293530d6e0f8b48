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
