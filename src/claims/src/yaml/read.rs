//! From the parser's events to a tree.

use super::{Entry, Node, Value, scalar};
use crate::place::{FileId, Place};
use granit_parser::{Event, Parser, ScalarStyle, Tag};
use std::{borrow::Cow, collections::HashMap};

/// Most nodes of one document once its aliases are followed: a few lines of YAML can ask for billions.
const MOST_NODES: usize = 2_000_000;
/// Deepest nesting.
const DEEPEST: usize = 128;

/// Brackets that stand for those of a template in a text that was made readable.
pub(super) const HOLE_OPEN: &str = "⟪";
const HOLE_CLOSE: &str = "⟫";

/// A text that is not YAML. It says where, and quotes nothing: the text may hold secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Malformed {
    /// Where reading stopped.
    pub place: Place,
    /// Why.
    pub reason: String,
}

/// A key that a mapping has twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Duplicate {
    /// The key.
    pub key: String,
    /// Where it stands the second time.
    pub place: Place,
}

/// Reads one document; `first_line` is the line of the file on which the text begins. An empty one is `None`.
///
/// # Errors
/// The position and the reason.
pub fn read(
    text: &str,
    file: FileId,
    first_line: u32,
    duplicates: &mut Vec<Duplicate>,
) -> Result<Option<Node>, Malformed> {
    Reader::new(file, first_line, &[], duplicates).run(text)
}

/// Reads one document up to the end of the mapping under these keys: what follows is not looked at, and costs nothing.
///
/// # Errors
/// The position and the reason.
pub fn read_until(
    text: &str,
    file: FileId,
    first_line: u32,
    until: &[&str],
    duplicates: &mut Vec<Duplicate>,
) -> Result<Option<Node>, Malformed> {
    Reader::new(file, first_line, until, duplicates).run(text)
}

/// The text with `{{ ... }}` made readable as plain scalars, and lines that are nothing else made comments. Lines keep
/// their numbers. What stood there is opaque afterwards.
pub fn with_holes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let trimmed = line.trim();
        if trimmed.starts_with("{{") && trimmed.ends_with("}}") && trimmed.matches("{{").count() == 1 {
            out.push_str("#\n");
            continue;
        }
        let mut rest = line;
        while let Some((before, after)) = rest.split_once("{{") {
            let Some((inside, after)) = after.split_once("}}") else {
                break;
            };
            out.push_str(before);
            out.push_str(HOLE_OPEN);
            out.extend(
                inside
                    .chars()
                    .map(|c| if "\"':#,[]{}|>&*!%@`\\".contains(c) { '_' } else { c }),
            );
            out.push_str(HOLE_CLOSE);
            rest = after;
        }
        out.push_str(rest);
    }
    out
}

enum Frame {
    List {
        place: Place,
        anchor: usize,
        first: usize,
        items: Vec<Node>,
    },
    Map {
        place: Place,
        anchor: usize,
        first: usize,
        entries: Vec<Entry>,
        known: HashMap<String, usize>,
        key: Option<(String, Place)>,
        merged: Vec<Node>,
    },
}

struct Reader<'a> {
    file: FileId,
    first_line: u32,
    stack: Vec<Frame>,
    root: Option<Node>,
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
    /// The keys of the mapping after which reading stops; none reads all.
    until: &'a [&'a str],
    duplicates: &'a mut Vec<Duplicate>,
}

impl<'a> Reader<'a> {
    fn new(file: FileId, first_line: u32, until: &'a [&'a str], duplicates: &'a mut Vec<Duplicate>) -> Self {
        Self {
            file,
            first_line,
            stack: Vec::new(),
            root: None,
            anchors: HashMap::new(),
            nodes: 0,
            until,
            duplicates,
        }
    }

    /// Whether the innermost open mapping is the one after which reading stops.
    fn is_at_end(&self) -> bool {
        let Some((_, parents)) = self.stack.split_last() else {
            return false;
        };
        let is_key = |(frame, key): (&Frame, &&str)| match frame {
            Frame::Map {
                key: Some((open, _)), ..
            } => open == key,
            _ => false,
        };
        !self.until.is_empty() && parents.len() == self.until.len() && parents.iter().zip(self.until).all(is_key)
    }

    fn run(mut self, text: &str) -> Result<Option<Node>, Malformed> {
        let mut parser = Parser::new_from_str(text);
        while let Some(event) = parser.next_event() {
            let (event, span) = event.map_err(|error| Malformed {
                place: self.place(error.marker().line(), error.marker().col()),
                // The parser's reasons quote one character at most.
                reason: error.info(),
            })?;
            let place = self.place(span.start.line(), span.start.col());
            match event {
                Event::Scalar(text, style, anchor, tag) => {
                    let value = value(text, style, tag.as_deref());
                    self.add(Node { place, value }, anchor, 1)?;
                }
                Event::SequenceStart(_, anchor, _) => self.open(Frame::List {
                    place,
                    anchor,
                    first: self.nodes,
                    items: Vec::new(),
                })?,
                Event::MappingStart(_, anchor, _) => self.open(Frame::Map {
                    place,
                    anchor,
                    first: self.nodes,
                    entries: Vec::new(),
                    known: HashMap::new(),
                    key: None,
                    merged: Vec::new(),
                })?,
                Event::SequenceEnd | Event::MappingEnd => {
                    let is_end = self.is_at_end();
                    self.close()?;
                    if is_end {
                        while !self.stack.is_empty() {
                            self.close()?;
                        }
                        break;
                    }
                }
                Event::Alias(anchor) => {
                    let (node, size) = self.anchors.get(&anchor).cloned().ok_or_else(|| Malformed {
                        place,
                        reason: "an alias of the node that contains it".to_owned(),
                    })?;
                    self.add(node, 0, size)?;
                }
                Event::DocumentEnd => break,
                _ => {}
            }
        }
        Ok(self.root)
    }

    fn place(&self, line: usize, column: usize) -> Place {
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        Place {
            file: self.file,
            line: number(line).saturating_add(self.first_line).saturating_sub(1),
            column: number(column).saturating_add(1),
        }
    }

    fn open(&mut self, frame: Frame) -> Result<(), Malformed> {
        let (Frame::List { place, .. } | Frame::Map { place, .. }) = &frame;
        if self.stack.len() >= DEEPEST {
            return Err(Malformed {
                place: *place,
                reason: "nested too deeply".to_owned(),
            });
        }
        self.stack.push(frame);
        Ok(())
    }

    fn close(&mut self) -> Result<(), Malformed> {
        let (node, anchor, first) = match self.stack.pop().expect("an end has a start") {
            Frame::List {
                place,
                anchor,
                first,
                mut items,
            } => {
                items.shrink_to_fit();
                (
                    Node {
                        place,
                        value: Value::List(items),
                    },
                    anchor,
                    first,
                )
            }
            Frame::Map {
                place,
                anchor,
                first,
                mut entries,
                merged,
                ..
            } => {
                merge_in(&mut entries, merged);
                entries.shrink_to_fit();
                (
                    Node {
                        place,
                        value: Value::Map(entries),
                    },
                    anchor,
                    first,
                )
            }
        };
        let size = self.nodes - first + 1;
        self.nodes = first;
        self.add(node, anchor, size)
    }

    /// Takes a complete node of `size` nodes into what is open.
    fn add(&mut self, node: Node, anchor: usize, size: usize) -> Result<(), Malformed> {
        self.nodes += size;
        if self.nodes > MOST_NODES {
            return Err(Malformed {
                place: node.place,
                reason: "more than two million nodes, aliases followed".to_owned(),
            });
        }
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), size));
        }
        match self.stack.last_mut() {
            None => self.root = Some(node),
            Some(Frame::List { items, .. }) => items.push(node),
            Some(Frame::Map {
                entries,
                known,
                key,
                merged,
                ..
            }) => match key.take() {
                None => {
                    let text = node.scalar().or_else(|| node.is_null().then(String::new));
                    let text = text.ok_or_else(|| Malformed {
                        place: node.place,
                        reason: "a key that is not a scalar".to_owned(),
                    })?;
                    *key = Some((text, node.place));
                }
                Some((key, _)) if key == "<<" => merged.push(node),
                Some((key, place)) => {
                    // Helm lets the last one win.
                    if let Some(at) = position(entries, known, &key) {
                        self.duplicates.push(Duplicate { key, place });
                        (entries[at].place, entries[at].node) = (place, node);
                    } else {
                        entries.push(Entry { key, place, node });
                    }
                }
            },
        }
        Ok(())
    }
}

/// Where a mapping has the key. Small ones are searched; of large ones `known` keeps the positions.
fn position(entries: &[Entry], known: &mut HashMap<String, usize>, key: &str) -> Option<usize> {
    if entries.len() < 32 {
        return entries.iter().position(|entry| entry.key == key);
    }
    for (at, entry) in entries.iter().enumerate().skip(known.len()) {
        known.insert(entry.key.clone(), at);
    }
    known.get(key).copied()
}

/// `<<`: keys of the merged mappings that the mapping itself lacks.
fn merge_in(entries: &mut Vec<Entry>, merged: Vec<Node>) {
    for node in merged {
        match node.value {
            Value::Map(more) => {
                for entry in more {
                    if entries.iter().all(|known| known.key != entry.key) {
                        entries.push(entry);
                    }
                }
            }
            Value::List(nodes) => merge_in(entries, nodes),
            _ => {}
        }
    }
}

fn value(text: Cow<'_, str>, style: ScalarStyle, tag: Option<&Tag>) -> Value {
    let core = tag.and_then(Tag::core_suffix);
    match (style, core) {
        (ScalarStyle::Plain, None) => scalar::plain(&text),
        (_, Some("int" | "float" | "bool" | "null")) => scalar::plain(&text),
        _ => Value::Text(text.into_owned()),
    }
}
