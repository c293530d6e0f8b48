//! YAML text into a tree.
//!
//! Anchors, aliases and merge keys (`<<`) are resolved here, so that nothing above knows of them. Three things bound
//! the work a file can cause: nesting depth, nodes after expanding aliases, and, before this is called, its size.
//! Spec: <https://yaml.org/spec/1.2.2/> and, for merge keys, <https://yaml.org/type/merge.html>

use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle, Span};

use crate::source::Mark;
use crate::tree::{Entry, Node, Scalar, Value};

/// Deepest nesting of lists and maps.
pub(crate) const DEPTH: usize = 64;
/// Most values in all files together, aliases expanded.
pub(crate) const NODES: usize = 200_000;

/// Faults after which reading stops.
const FAULTS: usize = 200;

/// Something wrong with the text itself.
pub(crate) struct Fault {
    pub code: &'static str,
    pub mark: Mark,
    pub message: String,
    /// The first of two equal keys.
    pub also: Option<Mark>,
    pub help: Option<&'static str>,
}

impl Fault {
    fn new(code: &'static str, mark: Mark, message: impl Into<String>) -> Box<Fault> {
        Box::new(Fault { code, mark, message: message.into(), also: None, help: None })
    }
}

/// Reads the one document in `text`. `nodes` is what is left of [`NODES`].
///
/// Returns the tree when the syntax holds, none for an empty file, and every fault found. A fault with the code
/// `duplicate-key` leaves a tree in which the last of the equal keys counts, as in LiteLLM.
pub(crate) fn parse(text: &str, file: usize, nodes: &mut usize) -> (Option<Node>, Vec<Fault>) {
    let mut builder =
        Builder { file, nodes, open: Vec::new(), anchors: HashMap::new(), root: None, faults: Vec::new() };
    let mut documents = 0;
    for next in Parser::new_from_str(text) {
        let step = match next {
            Ok((Event::DocumentStart(..), span)) => {
                documents += 1;
                if documents > 1 {
                    Err(Fault::new("yaml", mark(file, span), "a second document in the same file"))
                } else {
                    Ok(())
                }
            }
            Ok((event, span)) => builder.take(event, span),
            Err(error) => Err(syntax(file, text, &error)),
        };
        let hopeless = builder.faults.len() >= FAULTS;
        if let Err(fault) = step {
            builder.faults.push(*fault);
            return (None, builder.faults);
        }
        if hopeless {
            return (None, builder.faults);
        }
    }
    (builder.root, builder.faults)
}

/// The parser's complaint, at its place.
fn syntax(file: usize, text: &str, error: &granit_parser::ScanError) -> Box<Fault> {
    let at = error.marker();
    let byte = at.byte_offset().unwrap_or(0);
    let mut mark =
        Mark { file, line: at.line().max(1), column: at.col() + 1, length: 1, bytes: (byte, byte) };
    // The parser names the value before the line that a tab begins.
    if error.info().contains("found a tab")
        && let Some(line) = text.lines().skip(mark.line - 1).position(begins_with_tab)
    {
        mark = Mark { file, line: mark.line + line, column: 1, length: 1, bytes: (byte, byte) };
    }
    let mut fault = Fault::new("yaml", mark, format!("this is not YAML: {}", error.info()));
    fault.help = Some(
        "check the indentation (spaces, never tabs), and quote text that contains `: `, ` #`, or starts with one of `*&!%@{[`",
    );
    fault
}

fn begins_with_tab(line: &str) -> bool {
    line.trim_start_matches(' ').starts_with('\t')
}

/// A parser's span as ours, in which lines and columns count from 1.
fn mark(file: usize, span: Span) -> Mark {
    let (start, end) = (span.start, span.end);
    let length = if start.line() == end.line() { end.col().saturating_sub(start.col()) } else { 1 };
    let bytes = (start.byte_offset().unwrap_or(0), end.byte_offset().unwrap_or(0));
    Mark { file, line: start.line().max(1), column: start.col() + 1, length: length.max(1), bytes }
}

/// A list or map whose end has not been seen.
struct Open {
    mark: Mark,
    anchor: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map(Map),
}

#[derive(Default)]
struct Map {
    entries: Vec<Entry>,
    places: HashMap<String, usize>,
    key: Option<(String, Mark, bool)>,
    merged: Vec<Node>,
}

struct Builder<'a> {
    file: usize,
    nodes: &'a mut usize,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    root: Option<Node>,
    faults: Vec<Fault>,
}

impl Builder<'_> {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Box<Fault>> {
        let mark = mark(self.file, span);
        if let Some(tag) = event.tag().filter(|tag| !tag.is_yaml_core_schema() && tag.original() != "!") {
            let fault = Fault::new("yaml", mark, format!("the tag `{}` means nothing here", tag.original()));
            return Err(fault);
        }
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let quoted =
                    tag.is_some_and(|tag| tag.is_yaml_core_schema_tag("str") || tag.original() == "!");
                let plain = style == ScalarStyle::Plain && !quoted;
                self.add(
                    Node {
                        mark,
                        value: Value::Scalar(Scalar { text: text.into_owned(), plain }),
                        anchored: anchor != 0,
                    },
                    anchor,
                )
            }
            Event::SequenceStart(_, anchor, _) => self.start(mark, anchor, Content::List(Vec::new())),
            Event::MappingStart(_, anchor, _) => self.start(mark, anchor, Content::Map(Map::default())),
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(anchor) => self.alias(mark, anchor),
            _ => Ok(()),
        }
    }

    fn start(&mut self, mark: Mark, anchor: usize, content: Content) -> Result<(), Box<Fault>> {
        if self.open.len() >= DEPTH {
            return Err(Fault::new("too-large", mark, format!("lists and maps nest deeper than {DEPTH}")));
        }
        self.open.push(Open { mark, anchor, content });
        Ok(())
    }

    fn end(&mut self) -> Result<(), Box<Fault>> {
        let Some(Open { mark, anchor, content }) = self.open.pop() else { return Ok(()) };
        let value = match content {
            Content::List(items) => Value::List(items),
            Content::Map(map) => Value::Map(self.merge(map)?),
        };
        self.add(Node { mark, value, anchored: anchor != 0 }, anchor)
    }

    /// Spends `count` of the nodes that may be made.
    fn spend(&mut self, mark: Mark, count: usize) -> Result<(), Box<Fault>> {
        match self.nodes.checked_sub(count) {
            Some(left) => {
                *self.nodes = left;
                Ok(())
            }
            None => Err(Fault::new("too-large", mark, format!("more than {NODES} values, aliases expanded"))),
        }
    }

    fn alias(&mut self, mark: Mark, anchor: usize) -> Result<(), Box<Fault>> {
        let Some(target) = self.anchors.get(&anchor) else {
            return Err(Fault::new("yaml", mark, "this alias stands inside what it names"));
        };
        let (nodes, depth) = target.weight(*self.nodes);
        if depth + self.open.len() > DEPTH {
            return Err(Fault::new("too-large", mark, format!("lists and maps nest deeper than {DEPTH}")));
        }
        self.spend(mark, nodes)?;
        let node = self.anchors.get(&anchor).cloned();
        node.map_or(Ok(()), |node| self.place(node))
    }

    /// Places a complete node, and remembers it under its anchor.
    fn add(&mut self, node: Node, anchor: usize) -> Result<(), Box<Fault>> {
        self.spend(node.mark, 1)?;
        if anchor != 0 {
            let (nodes, _) = node.weight(*self.nodes);
            self.spend(node.mark, nodes)?;
            self.anchors.insert(anchor, node.clone());
        }
        self.place(node)
    }

    fn place(&mut self, node: Node) -> Result<(), Box<Fault>> {
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open { content: Content::List(items), .. }) => items.push(node),
            Some(Open { content: Content::Map(map), .. }) => match map.key.take() {
                Some((key, mark, plain)) if plain && key == "<<" => merge_source(map, mark, node)?,
                Some((key, mark, _)) => {
                    if let Some(fault) = insert(map, key, mark, node) {
                        self.faults.push(*fault);
                    }
                }
                None => match node.value {
                    Value::Scalar(scalar) => map.key = Some((scalar.text, node.mark, scalar.plain)),
                    _ => return Err(Fault::new("yaml", node.mark, "a key must be text, not a list or map")),
                },
            },
        }
        Ok(())
    }

    /// The entries of a map with what it merges: its own keys count most, then earlier sources.
    fn merge(&mut self, mut map: Map) -> Result<Vec<Entry>, Box<Fault>> {
        for source in std::mem::take(&mut map.merged) {
            let Value::Map(entries) = source.value else { continue };
            for entry in entries {
                if !map.places.contains_key(&entry.key) {
                    map.places.insert(entry.key.clone(), map.entries.len());
                    map.entries.push(entry);
                }
            }
        }
        Ok(map.entries)
    }
}

/// Keeps what `<<` names, to be merged when the map is complete.
fn merge_source(map: &mut Map, mark: Mark, node: Node) -> Result<(), Box<Fault>> {
    match node.value {
        Value::Map(_) => map.merged.push(node),
        Value::List(items) if items.iter().all(|item| matches!(item.value, Value::Map(_))) => {
            map.merged.extend(items);
        }
        _ => return Err(Fault::new("yaml", mark, "`<<` takes a map, or a list of maps, to merge")),
    }
    Ok(())
}

/// Adds an entry; the last of equal keys counts, and is a fault.
fn insert(map: &mut Map, key: String, key_mark: Mark, value: Node) -> Option<Box<Fault>> {
    let Some(first) = map.places.get(&key).and_then(|&at| map.entries.get_mut(at)) else {
        map.places.insert(key.clone(), map.entries.len());
        map.entries.push(Entry { key, key_mark, value });
        return None;
    };
    let mut fault = Fault::new("duplicate-key", key_mark, format!("the key `{key}` is here twice"));
    fault.also = Some(first.key_mark);
    fault.help = Some("only the last one would count: keep one");
    *first = Entry { key, key_mark, value };
    Some(fault)
}
