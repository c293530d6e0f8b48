//! `groundingMetadata` and citations.
//!
//! Gemini counts bytes of the answer's text, the model characters. Sources are listed once and referred to by number.

use serde_json::{Value, json};
use tollway_model::Citation;

/// The citations of an answer whose visible text is `text`.
pub(super) fn read(metadata: &Value, text: &str) -> Vec<Citation> {
    let list = |key: &str| metadata.get(key).and_then(Value::as_array).into_iter().flatten();
    let chunks: Vec<&Value> = list("groundingChunks").collect();
    let mut citations = Vec::new();
    for support in list("groundingSupports") {
        let span = support.get("segment").and_then(|segment| span(segment, text));
        let numbers = support.get("groundingChunkIndices").and_then(Value::as_array);
        let numbers = numbers.into_iter().flatten().filter_map(Value::as_u64);
        for chunk in numbers.filter_map(|number| chunks.get(usize::try_from(number).ok()?)) {
            citations.push(citation(chunk, span));
        }
    }
    citations
}

/// How many searches ran.
pub(super) fn searches(metadata: &Value) -> u64 {
    let queries = metadata.get("webSearchQueries").and_then(Value::as_array).map_or(0, Vec::len);
    let maps = metadata.get("groundingChunks").and_then(Value::as_array);
    let maps = maps.is_some_and(|chunks| chunks.iter().any(|chunk| chunk.get("maps").is_some()));
    (queries as u64).max(u64::from(maps))
}

fn citation(chunk: &Value, span: Option<(u64, u64)>) -> Citation {
    let source = ["web", "retrievedContext", "maps", "image"].iter().find_map(|kind| chunk.get(kind));
    let text = |key: &str| source.and_then(|source| source.get(key)?.as_str()).map(str::to_owned);
    Citation {
        url: text("uri").or_else(|| text("sourceUri")),
        title: text("title"),
        cited_text: text("text"),
        start: span.map(|(start, _)| start),
        end: span.map(|(_, end)| end),
        native: None,
    }
}

/// Characters a segment covers. When its bytes do not hold the text it names, the text is looked for.
fn span(segment: &Value, text: &str) -> Option<(u64, u64)> {
    let number =
        |key: &str| segment.get(key).map_or(Some(0), Value::as_u64).and_then(|n| usize::try_from(n).ok());
    let (start, end) = (number("startIndex")?, number("endIndex")?);
    let named = segment.get("text").and_then(Value::as_str);
    let held = text.get(start..end);
    let (start, end) = match (held, named) {
        (Some(_), None) => (start, end),
        (Some(held), Some(named)) if held == named => (start, end),
        (_, Some(named)) => {
            let start = text.find(named)?;
            (start, start + named.len())
        }
        (None, None) => return None,
    };
    let characters = |bytes: usize| text.get(..bytes).map(|text| text.chars().count() as u64);
    Some((characters(start)?, characters(end)?))
}

/// Citations of one answer, for clients: each with the span of its text part for want of a better one.
#[derive(Debug, Default)]
pub(super) struct Sources {
    text: String,
    cited: Vec<(Citation, usize, usize)>,
}

impl Sources {
    /// Visible text that comes before the citations that follow.
    pub(super) fn text(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// Where the next part begins, in bytes.
    pub(super) fn mark(&self) -> usize {
        self.text.len()
    }

    /// A citation of the part that began at `mark`.
    pub(super) fn cite(&mut self, citation: &Citation, mark: usize) {
        self.cited.push((citation.clone(), mark, self.text.len()));
    }

    /// `groundingMetadata`; `None` without citations.
    pub(super) fn write(&self) -> Option<Value> {
        if self.cited.is_empty() {
            return None;
        }
        let mut chunks: Vec<Value> = Vec::new();
        let mut supports: Vec<Value> = Vec::new();
        for (citation, from, to) in &self.cited {
            let mut web = serde_json::Map::new();
            web.extend(citation.url.as_deref().map(|url| ("uri".to_owned(), json!(url))));
            web.extend(citation.title.as_deref().map(|title| ("title".to_owned(), json!(title))));
            let chunk = json!({"web": web});
            let number = chunks.iter().position(|known| *known == chunk).unwrap_or_else(|| {
                chunks.push(chunk);
                chunks.len() - 1
            });
            let (start, end) = self.bytes(citation).unwrap_or((*from, *to));
            let mut segment = json!({"endIndex": end, "text": self.text.get(start..end).unwrap_or_default()});
            if start > 0
                && let Some(segment) = segment.as_object_mut()
            {
                segment.insert("startIndex".into(), json!(start));
            }
            supports.push(json!({"segment": segment, "groundingChunkIndices": [number]}));
        }
        Some(json!({"groundingChunks": chunks, "groundingSupports": supports}))
    }

    fn bytes(&self, citation: &Citation) -> Option<(usize, usize)> {
        let at = |characters: u64| {
            let characters = usize::try_from(characters).ok()?;
            let mut starts =
                self.text.char_indices().map(|(at, _)| at).chain(std::iter::once(self.text.len()));
            starts.nth(characters)
        };
        let (start, end) = (at(citation.start?)?, at(citation.end?)?);
        (start <= end).then_some((start, end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_become_characters_and_back() {
        let text = "Größe: ja. Ende";
        let metadata = json!({
            "groundingChunks": [{"web": {"uri": "https://a.example", "title": "A"}}, {"maps": {"uri": "https://m.example"}}],
            "groundingSupports": [
                {"segment": {"startIndex": 9, "endIndex": 12, "text": "ja."}, "groundingChunkIndices": [0, 1, 9]},
                {"segment": {"startIndex": 100, "endIndex": 104, "text": "Ende"}, "groundingChunkIndices": [0]},
                {"segment": {"endIndex": 3}, "groundingChunkIndices": [0]}
            ]
        });
        let citations = read(&metadata, text);
        let spans: Vec<_> = citations.iter().map(|one| (one.start, one.end)).collect();
        // Byte 3 is inside a letter: no span rather than a wrong one.
        assert_eq!(spans, [(Some(7), Some(10)), (Some(7), Some(10)), (Some(11), Some(15)), (None, None)]);
        assert_eq!(citations[1].url.as_deref(), Some("https://m.example"));
        let mut sources = Sources::default();
        let mark = sources.mark();
        sources.text(text);
        for citation in &citations {
            sources.cite(citation, mark);
        }
        let written = sources.write().unwrap();
        let again = read(&written, text);
        let spans: Vec<_> = again.iter().map(|one| (one.start, one.end)).collect();
        assert_eq!(
            spans,
            [(Some(7), Some(10)), (Some(7), Some(10)), (Some(11), Some(15)), (Some(0), Some(15))]
        );
        assert_eq!(searches(&metadata), 1);
    }
}
