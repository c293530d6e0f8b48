//! Looks for pieces of secrets in bytes.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

/// A piece of so many bytes tells enough of a secret to count as found.
pub(super) const PIECE: usize = 12;

/// Every piece of every secret, in every form.
pub(super) struct Needles {
    pieces: HashMap<[u8; PIECE], String>,
    /// Whether any piece begins with these two bytes: most places begin none.
    begins: Vec<bool>,
}

impl Needles {
    pub(super) fn new(secrets: &[(String, String)]) -> Needles {
        let mut needles = Needles { pieces: HashMap::new(), begins: vec![false; 1 << 16] };
        for (name, secret) in secrets {
            for (form, text) in forms(secret) {
                assert!(text.len() >= PIECE, "{name} is too short to be looked for");
                for piece in text.as_bytes().windows(PIECE) {
                    let piece: [u8; PIECE] = piece.try_into().unwrap();
                    needles.begins[start(&piece)] = true;
                    needles.pieces.entry(piece).or_insert_with(|| format!("{name}, {form}"));
                }
            }
        }
        needles
    }

    /// The first place of each secret, with what is around it.
    pub(super) fn found(&self, place: &str, bytes: &[u8]) -> Vec<String> {
        let mut found: HashMap<&str, usize> = HashMap::new();
        for (at, piece) in bytes.windows(PIECE).enumerate() {
            if self.begins[start(piece)]
                && let Some(name) = self.pieces.get(piece)
            {
                found.entry(name).or_insert(at);
            }
        }
        let near = |at: usize| {
            let around = &bytes[at.saturating_sub(160)..bytes.len().min(at + 60)];
            String::from_utf8_lossy(around).escape_debug().to_string()
        };
        found.into_iter().map(|(name, at)| format!("{name} in {place}: {}", near(at))).collect()
    }
}

fn start(piece: &[u8]) -> usize {
    usize::from(piece[0]) << 8 | usize::from(piece[1])
}

/// A text as it is, and as it looks after the encodings that are in use here.
fn forms(secret: &str) -> Vec<(&'static str, String)> {
    let escaped = serde_json::to_string(secret).unwrap();
    let percent = |upper: bool| {
        let byte = |byte: u8| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
            byte if upper => format!("%{byte:02X}"),
            byte => format!("%{byte:02x}"),
        };
        secret.bytes().map(byte).collect::<String>()
    };
    let hex = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut forms = vec![
        ("plain", secret.to_owned()),
        ("JSON", escaped[1..escaped.len() - 1].to_owned()),
        ("JSON with slashes escaped", escaped[1..escaped.len() - 1].replace('/', "\\/")),
        ("percent-encoded", percent(true)),
        ("percent-encoded", percent(false)),
        ("hexadecimal", hex),
    ];
    // Encoded together with what is before it, a text has one of three looks.
    for before in 0..3 {
        let text = [&b"\0\0"[..before], secret.as_bytes()].concat();
        for engine in [&STANDARD, &URL_SAFE] {
            let encoded = engine.encode(&text);
            let whole = encoded.trim_end_matches('=');
            // The characters at the ends hold bits of the neighbours.
            forms.push(("base64", whole[if before == 0 { 0 } else { 4 }..whole.len() - 1].to_owned()));
        }
    }
    forms
}

#[test]
fn pieces_are_found_in_every_encoding() {
    let secret = "pk/canary+17\"ab%cd-ef";
    let needles = Needles::new(&[("it".to_owned(), secret.to_owned())]);
    let check = |text: &str, expected: usize| {
        assert_eq!(needles.found("here", text.as_bytes()).len().min(1), expected, "{text}");
    };
    check("nothing of it: pk/canary", 0);
    check("only a piece: k/canary+17\"a", 1);
    check(&serde_json::to_string(&format!("key {secret}!")).unwrap(), 1);
    check("?key=pk%2Fcanary%2B17%22ab", 1);
    check("?key=pk%2fcanary%2b17%22ab", 1);
    for before in ["", "u", "us", "use", "Bearer "] {
        check(&STANDARD.encode(format!("{before}{secret} after")), 1);
    }
}
