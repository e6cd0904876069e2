use super::*;
use crate::place::FileId;

fn parse(text: &str) -> Node {
    let mut duplicates = Vec::new();
    read(text, FileId(0), 1, &mut duplicates)
        .expect("YAML")
        .expect("a document")
}

fn fails(text: &str) -> (u32, u32, String) {
    let error = read(text, FileId(0), 1, &mut Vec::new()).expect_err("not YAML");
    (error.place.line, error.place.column, error.reason)
}

#[test]
fn every_leaf_has_its_line_and_column() {
    let node = parse("a:\n  b: 1\n  c: [x, yes]\n");
    let leaf = node.dig(&["a", "b"]).expect("b");
    assert_eq!(
        (leaf.place.line, leaf.place.column, &leaf.value),
        (2, 6, &Value::Int(1))
    );
    assert_eq!(node.dig(&["a"]).and_then(|a| a.entry("b")).expect("b").place.column, 3);
    let list = node.items_at(&["a", "c"]);
    assert_eq!((list[1].place.column, &list[1].value), (10, &Value::Bool(true)));
}

#[test]
fn scalars_mean_what_helm_takes_them_for() {
    let cases = [
        ("7445", Value::Int(7445)),
        ("0x10", Value::Int(16)),
        ("0o17", Value::Int(15)),
        ("010", Value::Int(8)),
        ("-3", Value::Int(-3)),
        ("1_000", Value::Int(1000)),
        ("0.0025", Value::Float(0.0025)),
        ("-.5", Value::Float(-0.5)),
        ("1e3", Value::Float(1000.0)),
        ("1.18.3", Value::Text("1.18.3".to_owned())),
        ("10.244.0.0/16", Value::Text("10.244.0.0/16".to_owned())),
        ("5m0s", Value::Text("5m0s".to_owned())),
        ("-", Value::Text("-".to_owned())),
        ("no", Value::Bool(false)),
        ("On", Value::Bool(true)),
        ("none", Value::Text("none".to_owned())),
        ("~", Value::Null),
        ("\"true\"", Value::Text("true".to_owned())),
        ("!!str 7", Value::Text("7".to_owned())),
        ("!!int \"7\"", Value::Int(7)),
    ];
    for (text, expected) in cases {
        let node = parse(&format!("key: {}\n", if text == "-" { "'-'" } else { text }));
        assert_eq!(node.get("key").expect("key").value, expected, "{text}");
    }
}

#[test]
fn anchors_aliases_and_merge_keys_are_followed_and_keep_the_place_of_the_original() {
    let node = parse("base: &base\n  a: 1\n  b: 2\nuse:\n  <<: *base\n  b: 3\nsame: *base\n");
    assert_eq!(node.dig(&["use", "a"]).expect("a").place.line, 2);
    assert_eq!(node.dig(&["use", "b"]).expect("b").value, Value::Int(3));
    assert_eq!(node.dig(&["same", "b"]).expect("b").value, Value::Int(2));
}

#[test]
fn a_bomb_of_aliases_is_refused() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let alias = format!("*a{}, ", level - 1).repeat(9);
        text.push_str(&format!("a{level}: &a{level} [{alias}]\n"));
    }
    assert!(fails(&text).2.contains("two million"));
    assert!(fails(&"[".repeat(300)).2.contains("nested") || fails(&"[".repeat(300)).0 == 1);
}

#[test]
fn carriage_returns_change_nothing() {
    let node = parse("a:\r\n  b: text\r\n  c: true\r\n");
    assert_eq!(node.text_at(&["a", "b"]), Some("text"));
    assert_eq!(node.dig(&["a", "c"]).expect("c").place.line, 3);
}

#[test]
fn an_error_has_its_position_and_quotes_nothing() {
    let (line, _, reason) = fails("password: hunter2\n  indented: hunter2\n bad\n");
    assert!(line >= 2, "{line} {reason}");
    assert!(!reason.contains("hunter2"));
    let (.., reason) = fails("a: 'hunter2\nb: 1\n");
    assert!(!reason.is_empty() && !reason.contains("hunter2"), "{reason}");
}

#[test]
fn a_key_written_twice_is_told_and_the_last_one_wins() {
    let mut duplicates = Vec::new();
    let node = read("a: 1\nb: 2\na: 3\n", FileId(0), 1, &mut duplicates)
        .expect("YAML")
        .expect("a map");
    assert_eq!(node.get("a").expect("a").value, Value::Int(3));
    assert_eq!((duplicates[0].key.as_str(), duplicates[0].place.line), ("a", 3));
}

#[test]
fn a_template_becomes_readable_and_what_it_fills_in_is_opaque() {
    let text = "{{ if .x }}\nname: {{ .Values.name | quote }}\npath: ../{{ .Environment.Name }}/v.yaml\n{{ end }}\n";
    let node = parse(&read::with_holes(text));
    assert!(node.get("name").expect("name").is_opaque());
    assert_eq!(node.text_at(&["path"]), Some("../⟪ .Environment.Name ⟫/v.yaml"));
    assert_eq!(node.entry("path").expect("path").place.line, 3);
}

#[test]
fn what_sops_encrypts_is_opaque() {
    let node = parse("key: ENC[AES256_GCM,data:abc,iv:def,tag:ghi,type:str]\nplain: text\n");
    assert!(node.get("key").expect("key").is_opaque() && !node.get("plain").expect("plain").is_opaque());
}

#[test]
fn ten_megabytes_are_read() {
    let mut text = String::new();
    for number in 0..250_000 {
        text.push_str(&format!("key{number}:\n  - {{a: {number}, b: some text here}}\n"));
    }
    text.truncate(text.len().min(10_000_000));
    let end = text.rfind("key").expect("a key");
    let node = parse(&text[..end]);
    assert!(node.entries().len() > 150_000);
}

#[test]
fn reading_stops_after_the_mapping_that_is_asked_for() {
    let text =
        "metadata: {name: a}\nspec:\n  other: [1]\n  template:\n    metadata:\n      labels: {app: b}\n    spec: [\n";
    let until = ["spec", "template", "metadata", "labels"];
    let node = read_until(text, FileId(0), 1, &until, &mut Vec::new())
        .expect("not read to its end")
        .expect("a map");
    assert_eq!(
        node.text_at(&["spec", "template", "metadata", "labels", "app"]),
        Some("b")
    );
    assert_eq!(node.text_at(&["metadata", "name"]), Some("a"));
    assert!(
        read(text, FileId(0), 1, &mut Vec::new()).is_err(),
        "the rest is no YAML"
    );
}
