//! Runs a fuzz target as an ordinary test: over its corpus, and over mutations of it that a fixed seed draws. The
//! crates with a target include this file in their tests.

use serde_json::{Value, json};
use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    time::{Duration, Instant},
};

/// An input that takes longer than this, on any machine, hangs.
const HANG: Duration = Duration::from_secs(20);
/// No input grows beyond this.
const LONGEST: usize = 8 << 10;

/// Calls `target` with every file of its corpus and with so many mutations of them, or as many as `MESHPROOF_FUZZ`
/// says.
///
/// # Panics
/// When the target panics or hangs; the message has the input.
pub(crate) fn replay(name: &str, mutations: u32, target: fn(&[u8])) {
    let corpus = corpus(name);
    let asked = std::env::var("MESHPROOF_FUZZ")
        .ok()
        .and_then(|number| number.parse().ok());
    let mutations = asked.unwrap_or(mutations);
    for seed in &corpus {
        check(name, seed, target);
    }
    let mut random = Random(0x6d65_7368 + name.len() as u64);
    for _ in 0..mutations {
        let mut input = random.of(&corpus).clone();
        for _ in 0..=random.below(3) {
            let other: &Vec<u8> = random.of(&corpus);
            input = mutate(input, other, &mut random);
        }
        input.truncate(LONGEST);
        check(name, &input, target);
    }
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(name);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = files.map(|file| file.expect("the folder can be read").path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    files
        .iter()
        .map(|file| fs::read(file).expect("the file can be read"))
        .collect()
}

fn check(name: &str, input: &[u8], target: fn(&[u8])) {
    let started = Instant::now();
    let ended = catch_unwind(AssertUnwindSafe(|| target(input)));
    let shown = || input.escape_ascii();
    assert!(ended.is_ok(), "{name} panicked with b\"{}\"", shown());
    assert!(started.elapsed() < HANG, "{name} hung with b\"{}\"", shown());
}

/// One change: of bytes, of lines, or (after the first line) of a JSON value.
fn mutate(mut input: Vec<u8>, other: &[u8], random: &mut Random) -> Vec<u8> {
    match random.below(10) {
        0..3 => json(&input, other, random).unwrap_or(input),
        3..6 => lines(&input, other, random).unwrap_or(input),
        _ => {
            bytes(&mut input, other, random);
            input
        }
    }
}

fn bytes(input: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    const WORDS: [&[u8]; 8] = [b"\0", b"\xff\xff\xff\xff", b"\x7f", b"\"", b"{", b"- ", b": ", b"\n"];
    let at = random.below(input.len() + 1);
    let end = (at + random.below(16)).min(input.len());
    match random.below(5) {
        0 if at < input.len() => input[at] ^= 1 << random.below(8),
        1 => drop(input.drain(at..end)),
        2 => {
            let copy = input[at..end].to_vec();
            input.splice(at..at, copy);
        }
        3 => {
            let from = random.below(other.len() + 1);
            input.splice(at..end, other[from..].iter().copied().take(64));
        }
        _ => drop(input.splice(at..at, random.of(&WORDS).iter().copied())),
    }
}

fn lines(input: &[u8], other: &[u8], random: &mut Random) -> Option<Vec<u8>> {
    let mut lines: Vec<&[u8]> = input.split(|byte| *byte == b'\n').collect();
    let others: Vec<&[u8]> = other.split(|byte| *byte == b'\n').collect();
    if lines.len() < 3 {
        return None;
    }
    let (at, to) = (random.below(lines.len()), random.below(lines.len()));
    match random.below(4) {
        0 => drop(lines.remove(at)),
        1 => lines.swap(at, to),
        2 => lines.insert(to, lines[at]),
        _ => lines.insert(at, *random.of::<&[u8]>(&others)),
    }
    Some(lines.join(&b'\n'))
}

/// Changes a JSON document, which may have a line of words before it: a value becomes another one of the two documents
/// or a strange one, is left out, or gets a neighbour.
fn json(input: &[u8], other: &[u8], random: &mut Random) -> Option<Vec<u8>> {
    let (head, mut document) = document(input)?;
    let target: String = random.of(&pointers(&document)).clone();
    let source = self::document(other).map_or(Value::Null, |(_, other)| other);
    let part = |of: &Value, random: &mut Random| of.pointer(random.of::<String>(&pointers(of))).cloned();
    let value = match random.below(3) {
        0 => random.of(&strange()).clone(),
        1 => part(&document, random)?,
        _ => part(&source, random)?,
    };
    match (document.pointer_mut(&target)?, random.below(3)) {
        (Value::Object(fields), 0) => {
            let keys: Vec<String> = fields.keys().cloned().collect();
            fields.remove(keys.get(random.below(keys.len()))?);
        }
        (Value::Object(fields), 1) => {
            let key = random.of(&["metadata", "name", "spec", "status", "path", "value", "count"]);
            fields.insert((*key).to_owned(), value);
        }
        (Value::Array(items), 0 | 1) => items.push(value),
        (place, _) => *place = value,
    }
    Some([head, document.to_string().as_bytes()].concat())
}

fn document(input: &[u8]) -> Option<(&[u8], Value)> {
    let line = input.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    [0, line].into_iter().find_map(|from| {
        let (head, rest) = input.split_at(from);
        Some((head, serde_json::from_slice(rest).ok()?))
    })
}

/// Pointers to every value of a document, itself included.
fn pointers(value: &Value) -> Vec<String> {
    let mut found = vec![String::new()];
    let mut below = |key: &str, value: &Value| {
        let key = key.replace('~', "~0").replace('/', "~1");
        found.extend(pointers(value).iter().map(|inner| format!("/{key}{inner}")));
    };
    match value {
        Value::Array(items) => items
            .iter()
            .enumerate()
            .for_each(|(at, item)| below(&at.to_string(), item)),
        Value::Object(fields) => fields.iter().for_each(|(key, field)| below(key, field)),
        _ => {}
    }
    found
}

fn strange() -> Vec<Value> {
    vec![
        Value::Null,
        json!(""),
        json!("x/y"),
        json!("\u{0}"),
        json!(-1),
        json!(u64::MAX),
        json!(1.5),
        json!(true),
        json!([]),
        json!([[null]]),
        json!({}),
        json!({"$patch": "delete"}),
        json!({"": {"~": []}}),
    ]
}

/// SplitMix64: the same inputs in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit.max(1) as u64).unwrap_or_default()
    }

    fn of<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }
}
