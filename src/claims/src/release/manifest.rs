//! The objects of a release, as Helm rendered them.

use super::Release;
use crate::{
    place::FileId,
    yaml::{Malformed, read},
};
use serde_json::Value;

impl Release {
    /// The rendered objects of these kinds. Of others, Secrets among them, nothing is read.
    ///
    /// # Errors
    /// A document of one of these kinds that is not YAML; it quotes nothing.
    pub fn objects(&self, kinds: &[&str]) -> Result<Vec<Value>, Malformed> {
        let mut objects = Vec::new();
        for document in documents(&self.manifest) {
            let line = document.lines().find(|line| !line.is_empty() && !line.starts_with('#'));
            // JSON is YAML as well, and has its kind anywhere.
            let is_json = line.is_some_and(|line| line.starts_with('{'));
            let kind = document.lines().find_map(|line| line.strip_prefix("kind:"));
            let is_wanted = |kind: &str| kinds.contains(&kind.trim().trim_matches('"'));
            if !is_json && !kind.is_some_and(is_wanted) {
                continue;
            }
            let node = read(&document, FileId::default(), 1, &mut Vec::new())?;
            let object = node.map(|node| node.json());
            objects.extend(object.filter(|object| object["kind"].as_str().is_some_and(is_wanted)));
        }
        Ok(objects)
    }
}

/// The documents of a text, without their separators. Text in block scalars is indented, so it does not separate.
fn documents(text: &str) -> Vec<String> {
    let mut documents = vec![String::new()];
    for line in text.lines() {
        if line == "---" || line.starts_with("--- ") {
            documents.push(String::new());
        } else if let Some(last) = documents.last_mut() {
            last.push_str(line);
            last.push('\n');
        }
    }
    documents
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn object_the_kinds_that_are_wanted_are_read_and_no_others() {
        let manifest = "---\n# Source: cilium/templates/a.yaml\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n\
                        data:\n  text: |\n    ---\n    more\n---\nkind: Secret\nmetadata: {name: {{\n---\nkind: \
                        DaemonSet\nmetadata: {name: cilium}\n---\n{\"kind\": \"Service\"}\n---\n{\"data\": {}, \
                        \"kind\": \"ConfigMap\"}\n";
        let release = Release {
            name: "cilium".to_owned(),
            namespace: "kube-system".to_owned(),
            revision: 1,
            status: "deployed".to_owned(),
            last_deployed: None,
            chart: "cilium".to_owned(),
            chart_version: "1.18.3".to_owned(),
            app_version: None,
            defaults: json!({}),
            config: json!({}),
            manifest: manifest.to_owned(),
            templates: String::new(),
        };
        let objects = release.objects(&["ConfigMap", "DaemonSet"]).expect("YAML");
        assert_eq!(objects.len(), 3);
        assert_eq!(objects[0]["data"]["text"], "---\nmore\n");
        assert_eq!(objects[1]["metadata"]["name"], "cilium");
        assert!(release.objects(&["Secret"]).is_err(), "it is not YAML");
    }
}
